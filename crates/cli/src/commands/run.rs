//! `shipline run`: the whole way on this machine, on one screen.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use event::{RunId, RunResult};
use pipeline::Plan;
use runner::backend::docker::DockerBackend;
use runner::{CancelNote, Observation, RunConfig, SideEffects, Workspace};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::arguments::{Format, RunArguments};
use crate::docker_credentials;
use crate::error::{CommandError, Kind};
use crate::home::Home;
use crate::interrupt::Interrupts;
use crate::local;
use crate::local_environment;
use crate::local_secrets;
use crate::published;
use crate::recovery;
use crate::terminal::{Reporter, Style};

/// Observations that may wait for a slow terminal before the run waits for it.
const BACKLOG: usize = 1024;
/// How long the display has for the rest after the second Ctrl-C.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub(super) async fn run(arguments: RunArguments) -> Result<u8, CommandError> {
    let planned = local::plan(&arguments.pipeline, &arguments.simulation).await?;
    let side_effects =
        if arguments.allow_side_effects { SideEffects::Allowed } else { SideEffects::Withheld };
    refuse(&planned.plan, side_effects)?;
    let backend = Arc::new(connect(arguments.docker_host.as_deref()).await?);
    let interrupts = Interrupts::listen()?;
    let home = Home::from_environment()?;
    let store = home.store().await?;
    tokio::select! {
        recovered = recovery::recover(&home, &store, &backend) => recovered?,
        // Dropped half-way it is like another crash: the next run goes on.
        () = interrupts.cancel.cancelled() => return Ok(130),
    }

    let configuration = docker_credentials::configuration()?;
    let registries = docker_credentials::registries(&planned.plan, &configuration)?;
    // Whatever may refuse the run does so before it is written down.
    let targets = if arguments.allow_side_effects {
        local_environment::targets(&planned.plan, &store, &registries).await?
    } else {
        BTreeMap::new()
    };
    let run = RunId::new(uuid::Uuid::now_v7());
    let lock = home.claim(&planned.directory, run)?;
    let (state, queued) = local::queue(&store, &planned, run).await?;
    let archives = home.artifacts(&planned.directory, run);
    let (observer, observations) = mpsc::channel(BACKLOG);
    let config = RunConfig {
        run,
        state,
        instance: store.instance().to_string(),
        project: planned.project.clone(),
        run_url: String::new(),
        workspace: Workspace::Tree(planned.directory.clone()),
        git: planned.git.clone(),
        output: home.output(&planned.directory, run),
        artifacts: archives.clone(),
        targets,
        registries,
        secrets: local_secrets::values(&planned.directory, &planned.plan).await?,
        ledger: Arc::new(store.clone()),
        concurrency: arguments.jobs.map_or_else(default_jobs, usize::from),
        side_effects,
        keep_layers: false,
        cache_limit: configuration.runner.cache_limit,
        observer: Some(observer),
        kill: interrupts.kill.clone(),
        cancel_note: CancelNote::default(),
    };
    let journal = Arc::new(server::StoreJournal::new(store.clone()));
    let display =
        tokio::task::spawn_blocking(move || display(arguments.format, &queued, observations));
    let outcome = runner::run(config, backend, journal, interrupts.cancel.clone()).await;
    let shown = tokio::select! {
        // It ends with the run's half of the channel,
        shown = display => Some(shown),
        // unless nobody reads on, as in a pager at its first page.
        () = given_up(&interrupts.kill) => None,
    };
    drop(lock);
    let outcome = outcome.map_err(|error| {
        CommandError::caused(Kind::Environment, "the run could not go on", &error)
    })?;
    let published = published::copy(&outcome.state, &archives, &planned.directory)?;
    if arguments.format == Format::Text && !published.is_empty() {
        // A closed stdout changes nothing about what is there.
        let _ = writeln!(std::io::stdout(), "artifacts in .shipline/out: {}", published.join(", "));
    }
    if let Some(Ok(Err(error))) = shown
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        return Err(CommandError::environment(format_args!("cannot write to stdout: {error}")));
    }
    Ok(if interrupts.came() && outcome.result == RunResult::Cancelled {
        130
    } else {
        exit_code(outcome.result)
    })
}

/// Exit codes of language.md §11.
pub(super) const fn exit_code(result: RunResult) -> u8 {
    match result {
        RunResult::Passed | RunResult::Skipped | RunResult::Warning => 0,
        RunResult::Failed | RunResult::Cancelled => 1,
        RunResult::InfraError => 3,
    }
}

/// Says everything that this version cannot run, before anything has begun.
fn refuse(plan: &Plan, side_effects: SideEffects) -> Result<(), CommandError> {
    let unsupported = runner::unsupported(plan, side_effects);
    if unsupported.is_empty() {
        return Ok(());
    }
    let text: String = unsupported.iter().map(|found| format!("{found}\n\n")).collect();
    // A closed stderr changes nothing about the verdict.
    let _ = std::io::stderr().write_all(text.as_bytes());
    Err(CommandError::silent(Kind::Usage))
}

/// Connects, or fails with the one line that says how to get an engine.
pub(crate) async fn connect(address: Option<&str>) -> Result<DockerBackend, CommandError> {
    DockerBackend::connect(address).await.map_err(CommandError::environment)
}

/// Returns some time after the second Ctrl-C.
async fn given_up(kill: &CancellationToken) {
    kill.cancelled().await;
    tokio::time::sleep(LAST_WORDS).await;
}

/// Twice the cores: on two of them, four at a time is the best.
fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| cores.get() * 2)
}

/// Where observations are shown: as JSON lines, or as text.
enum Display {
    Json(std::io::BufWriter<std::io::Stdout>),
    Text(Reporter<std::io::Stdout>),
}

impl Display {
    fn new(format: Format) -> Self {
        match format {
            Format::Json => Self::Json(std::io::BufWriter::new(std::io::stdout())),
            Format::Text => Self::Text(Reporter::new(std::io::stdout(), Style::of_stdout())),
        }
    }

    fn show(&mut self, observation: &Observation) -> std::io::Result<()> {
        match (self, observation) {
            (Self::Json(out), Observation::Event(event)) => json_line(out, event),
            (Self::Json(out), Observation::Frame(frame)) => json_line(out, frame),
            (Self::Text(reporter), Observation::Event(event)) => reporter.event(event),
            (Self::Text(reporter), Observation::Frame(frame)) => reporter.frame(frame),
        }
    }
}

fn json_line(out: &mut impl std::io::Write, value: &impl serde::Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)?;
    out.flush()
}

/// Shows what was written before the run was observed, and then the run.
fn display(
    format: Format,
    queued: &[event::Event],
    mut observations: mpsc::Receiver<Observation>,
) -> std::io::Result<()> {
    let mut display = Display::new(format);
    let mut result = Ok(());
    for event in queued {
        result = result.and_then(|()| display.show(&Observation::Event(Box::new(event.clone()))));
    }
    // After a broken pipe the run goes on: its verdict is recorded all the same.
    while let Some(observation) = observations.blocking_recv() {
        if result.is_ok() {
            result = display.show(&observation);
        }
    }
    result
}
