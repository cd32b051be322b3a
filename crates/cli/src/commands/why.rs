//! `shipline why`: what had a say about a stage, in a plan or in a recorded run.

use event::{Event, RunState};
use pipeline::Plan;
use serde_json::Value;
use store::Store;

use crate::arguments::{Format, WhyArguments};
use crate::client::{Client, segment};
use crate::error::{CommandError, Context as _};
use crate::history;
use crate::home::Home;
use crate::local;
use crate::stage_name::no_such_stage;

pub(super) async fn why(arguments: &WhyArguments) -> Result<u8, CommandError> {
    let client = Client::of(&arguments.server)?;
    let (state, waits) = match (&arguments.run, client) {
        (Some(run), Some(client)) => {
            let detail = client.get(&format!("/api/v1/runs/{}", segment(run))).await?;
            (Some(of_server(&client, run).await?), detail["waits"].clone())
        }
        (Some(run), None) => {
            let store = Home::from_environment()?.store().await?;
            let detail = history::run(&store, run).await?;
            (Some(of_home(&store, run).await?), detail["waits"].clone())
        }
        // What is only planned has no server.
        (None, _) => (None, Value::Null),
    };
    match state {
        None => {
            let planned = local::plan(&arguments.pipeline, &arguments.simulation).await?;
            show(arguments, &planned.plan, None, &waits)
        }
        Some(state) => {
            let plan = state.plan.clone().ok_or_else(|| {
                CommandError::usage("the run has no plan, so there is nothing to explain")
            })?;
            show(arguments, &plan, Some(&state), &waits)
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

async fn of_home(store: &Store, run: &str) -> Result<RunState, CommandError> {
    let id = history::find(store, run).await?.id;
    store.run_state(id).await.environment("cannot read the run")
}

fn show(
    arguments: &WhyArguments,
    plan: &Plan,
    state: Option<&RunState>,
    waits: &Value,
) -> Result<u8, CommandError> {
    let Some(why) = event::why::why(plan, state, &arguments.stage) else {
        return Err(no_such_stage(plan, &arguments.stage));
    };
    match arguments.format {
        Format::Json => {
            let text = serde_json::to_string_pretty(&why).environment("the trace is no JSON")?;
            super::print(&format!("{text}\n"))?;
        }
        Format::Text => super::print(&(why.to_string() + &waiting(waits, &arguments.stage)))?,
    }
    Ok(0)
}

/// Which concurrency groups the stage, or its whole run, waits for.
fn waiting(waits: &Value, stage: &str) -> String {
    let waits = waits.as_array().into_iter().flatten();
    let concerns = |wait: &&Value| wait["stage"].is_null() || wait["stage"] == stage;
    let lines = waits.filter(concerns).map(|wait| {
        let who = if wait["stage"].is_null() { "the run" } else { "it" };
        format!("\n{who} {}\n", wait["reason"].as_str().unwrap_or_default())
    });
    lines.collect()
}
