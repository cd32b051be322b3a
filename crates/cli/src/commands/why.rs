//! `shipline why`: what had a say about a stage, in a plan or in a recorded run.

use event::{Event, RunState};
use pipeline::Plan;

use crate::arguments::{Format, WhyArguments};
use crate::client::{Client, segment};
use crate::error::{CommandError, Context as _};
use crate::history;
use crate::home::Home;
use crate::local;

/// Names that a message lists.
const NAMES: usize = 20;

pub(super) async fn why(arguments: &WhyArguments) -> Result<u8, CommandError> {
    let client = Client::of(&arguments.server)?;
    let state = match (&arguments.run, client) {
        (Some(run), Some(client)) => Some(of_server(&client, run).await?),
        (Some(run), None) => Some(of_home(run).await?),
        // What is only planned has no server.
        (None, _) => None,
    };
    match state {
        None => {
            let planned = local::plan(&arguments.pipeline, &arguments.simulation).await?;
            show(arguments, &planned.plan, None)
        }
        Some(state) => {
            let plan = state.plan.clone().ok_or_else(|| {
                CommandError::usage("the run has no plan, so there is nothing to explain")
            })?;
            show(arguments, &plan, Some(&state))
        }
    }
}

async fn of_server(client: &Client, run: &str) -> Result<RunState, CommandError> {
    let mut state = RunState::default();
    client
        .lines(&format!("/api/v1/runs/{}/events", segment(run)), |line| {
            let event: Event =
                serde_json::from_str(line).environment("the server sent no event")?;
            state.apply(&event).environment("the server sent an event that cannot follow")
        })
        .await?;
    Ok(state)
}

async fn of_home(run: &str) -> Result<RunState, CommandError> {
    let store = Home::from_environment()?.store().await?;
    let id = history::find(&store, run).await?.id;
    store.run_state(id).await.environment("cannot read the run")
}

fn show(
    arguments: &WhyArguments,
    plan: &Plan,
    state: Option<&RunState>,
) -> Result<u8, CommandError> {
    let Some(why) = event::why::why(plan, state, &arguments.stage) else {
        return Err(unknown(plan, &arguments.stage));
    };
    match arguments.format {
        Format::Json => {
            let text = serde_json::to_string_pretty(&why).environment("the trace is no JSON")?;
            super::print(&format!("{text}\n"))?;
        }
        Format::Text => super::print(&why.to_string())?,
    }
    Ok(0)
}

fn unknown(plan: &Plan, name: &str) -> CommandError {
    let cells: Vec<&str> = named(plan.stages.iter().filter(|stage| stage.stage == name));
    if !cells.is_empty() {
        return CommandError::usage(format_args!(
            "stage `{name}` has a matrix: name one of its cells"
        ))
        .hint(format_args!("its cells are {}", listed(&cells)));
    }
    CommandError::usage(format_args!("the plan has no stage `{name}`"))
        .hint(format_args!("its stages are {}", listed(&named(plan.stages.iter()))))
}

fn named<'a>(stages: impl Iterator<Item = &'a pipeline::PlannedStage>) -> Vec<&'a str> {
    stages.map(|stage| stage.name.as_str()).collect()
}

fn listed(names: &[&str]) -> String {
    let shown = names[..names.len().min(NAMES)].join(", ");
    match names.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
