//! A run on this machine: what it needs, its end, and what stays of it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use event::{RunId, RunResult};
use pipeline::Plan;
use runner::backend::docker::DockerBackend;
use runner::{Breakpoint, CancelNote, Carried, Results, RunConfig, SideEffects, Workspace};
use store::Store;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug_span};

use crate::arguments::{ExecutionArguments, Format};
use crate::display::{self, Clock, View};
use crate::docker_credentials;
use crate::error::{CommandError, Kind};
use crate::former;
use crate::home::Home;
use crate::interrupt::Interrupts;
use crate::local::{self, Planned};
use crate::local_environment;
use crate::local_secrets;
use crate::person::{LocalApprover, LocalBreakpoint, Person};
use crate::published;
use crate::question::can_ask;
use crate::recovery;
use crate::secret_sources;

/// Observations that may wait for a slow terminal before the run waits for it; one may be 16 KiB
/// of output.
const BACKLOG: usize = 128;
/// How long a full disk is waited for: nobody sees on a screen that it is.
pub(crate) const ROOM: Duration = Duration::from_secs(5);
/// How long the display has for the rest after the second Ctrl-C.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a run needs of this machine.
pub(crate) struct LocalRun {
    pub(crate) home: Home,
    pub(crate) store: Store,
    pub(crate) backend: Arc<DockerBackend>,
    interrupts: Interrupts,
}

impl LocalRun {
    /// Ends what dead processes left; `None` when somebody interrupted that.
    pub(crate) async fn open(options: &ExecutionArguments) -> Result<Option<Self>, CommandError> {
        Self::open_on(options, connecting(options)).await
    }

    /// The same, on an engine that was asked before.
    pub(crate) async fn open_on(
        options: &ExecutionArguments,
        engine: Connecting,
    ) -> Result<Option<Self>, CommandError> {
        let configuration = docker_credentials::configuration()?;
        if options.breaks && !can_ask() {
            return Err(CommandError::usage("`--break` asks on a terminal, and here is none")
                .hint("`shipline shell STAGE` looks into a stage after the run"));
        }
        let interrupts = Interrupts::listen()?;
        let home = Home::from_environment()?;
        // Not entered: the threads of the store would keep it.
        let opening = debug_span!("store");
        let (backend, store) = tokio::join!(engine, home.store());
        drop(opening);
        let backend = backend.map_err(CommandError::environment)??;
        let backend = Arc::new(backend.with_subnets(configuration.runner.subnets));
        let store = store?;
        tokio::select! {
            recovered = recovery::recover(&home, &store, &backend).instrument(debug_span!("recover")) => recovered?,
            // Dropped half-way it is like another crash: the next run goes on.
            () = interrupts.cancel.cancelled() => return Ok(None),
        }
        Ok(Some(Self { home, store, backend, interrupts }))
    }

    /// Runs a plan to its end and returns the exit code.
    pub(crate) async fn run(
        self,
        planned: Planned,
        workspace: Workspace,
        carried: BTreeMap<String, Carried>,
        options: &ExecutionArguments,
    ) -> Result<u8, CommandError> {
        let Self { home, store, backend, interrupts } = self;
        let preparing = debug_span!("prepare");
        let configuration = docker_credentials::configuration()?;
        let side_effects = options.side_effects();
        let registries =
            docker_credentials::registries(&planned.plan, &configuration, side_effects).await?;
        // Whatever may refuse the run does so before it is written down.
        let targets = match options.side_effects() {
            SideEffects::Allowed => {
                local_environment::targets(&planned.plan, &store, &registries).await?
            }
            SideEffects::Withheld => BTreeMap::new(),
        };
        let mut secrets = local_secrets::values(&planned.directory, &planned.plan).await?;
        let had = |name: &str| carried.contains_key(name);
        let (plan, project, cancel) = (&planned.plan, &planned.project, &interrupts.cancel);
        if !secret_sources::complete(plan, project, had, &mut secrets, cancel).await? {
            return Ok(130);
        }
        let run = RunId::new(uuid::Uuid::now_v7());
        let lock = home.claim(&planned.directory, run)?;
        home.keep_files(&planned.directory, run, &planned.files)?;
        let files = planned.files.clone();
        drop(preparing);
        let queued = local::queue(&store, &planned, run).instrument(debug_span!("queue"));
        let (state, queued) = queued.await?;
        let archives = home.artifacts(&planned.directory, run);
        let (observer, observations) = mpsc::channel(BACKLOG);
        let (turns, requests) = display::turns();
        let (person, note) = (Person::new(turns), CancelNote::default());
        let breakpoint = options.breaks.then(|| {
            Arc::new(LocalBreakpoint {
                person: person.clone(),
                run,
                project: planned.project.clone(),
                git: planned.git.clone(),
                store: store.clone(),
                backend: Arc::clone(&backend),
                registries: registries.clone(),
                cancel: interrupts.cancel.clone(),
                note: note.clone(),
            }) as Arc<dyn Breakpoint>
        });
        let config = RunConfig {
            run,
            state,
            instance: store.instance().to_string(),
            project: planned.project.clone(),
            run_url: String::new(),
            workspace,
            git: planned.git.clone(),
            output: home.output(&planned.directory, run),
            carried,
            artifacts: archives.clone(),
            releases: home.releases(),
            targets,
            registries,
            secrets,
            ledger: Arc::new(store.clone()),
            approver: Some(Arc::new(LocalApprover {
                person,
                approved: options.approve.iter().cloned().collect(),
            })),
            breakpoint,
            results: Some(results(&home, &store)),
            reuse: !options.no_reuse,
            concurrency: options.jobs.map_or_else(default_jobs, usize::from),
            side_effects: options.side_effects(),
            keep_layers: true,
            durable: false,
            cache_limit: configuration.runner.cache_limit,
            observer: Some(observer),
            kill: interrupts.kill.clone(),
            cancel_note: note,
        };
        let others = Home::from_environment()?;
        let journal = server::StoreJournal::new(store.clone()).waiting_for(ROOM);
        let journal = Arc::new(journal.beside(move |run| others.is_alive(run)));
        let format = options.format;
        let view = View::of(format, options.verbose, Clock::Wall);
        let display = tokio::task::spawn_blocking(move || {
            display::display(view, files, &queued, observations, requests)
        });
        let backend_of_run = Arc::clone(&backend);
        let outcome = runner::run(config, backend_of_run, journal, interrupts.cancel.clone());
        let outcome = outcome.instrument(debug_span!("pipeline")).await;
        let shown = tokio::select! {
            // It ends with the run's half of the channel,
            shown = display.instrument(debug_span!("display")) => Some(shown),
            // unless nobody reads on, as in a pager at its first page.
            () = given_up(&interrupts.kill) => None,
        };
        drop(lock);
        let outcome = outcome.map_err(|error| {
            CommandError::caused(Kind::Environment, "the run could not go on", &error)
                .hint("`shipline rerun` ends it and goes on from what passed")
        })?;
        let directory = &planned.directory;
        // What stays too long is no fault of this run.
        let retired = former::retire(&home, &store, &backend, directory, &outcome.state);
        if let Err(error) = retired.instrument(debug_span!("retire")).await {
            error.warn();
        }
        let published = published::copy(&outcome.state, &archives, directory)?;
        if format == Format::Text && !published.is_empty() {
            // A closed stdout changes nothing about what is there.
            let _ =
                writeln!(std::io::stdout(), "artifacts in .shipline/out: {}", published.join(", "));
        }
        if let Some(Ok(Err(error))) = shown
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            return Err(CommandError::environment(format_args!("cannot write to stdout: {error}")));
        }
        if let Some(left) = &outcome.left_behind {
            recovery::left_behind(left);
        }
        if outcome.result == RunResult::InfraError {
            crate::commands::note(
                "once that works again, `shipline rerun` goes on from what passed",
            );
        }
        Ok(if interrupts.came() && outcome.result == RunResult::Cancelled {
            130
        } else {
            exit_code(outcome.result)
        })
    }
}

/// Results of stages with `inputs`, whatever directory they ran in.
fn results(home: &Home, store: &Store) -> Arc<dyn Results> {
    let home = home.clone();
    let nowhere = std::path::PathBuf::new;
    let archives =
        move |run| home.find(run).map_or_else(nowhere, |folder| folder.join("artifacts"));
    Arc::new(server::StoreResults::new(store.clone(), archives))
}

/// Exit codes of language.md §11.
pub(crate) const fn exit_code(result: RunResult) -> u8 {
    match result {
        RunResult::Passed | RunResult::Skipped | RunResult::Warning => 0,
        RunResult::Failed | RunResult::Cancelled => 1,
        RunResult::InfraError => 3,
    }
}

/// Says everything that this version cannot run, before anything has begun.
pub(crate) fn refuse(plan: &Plan, side_effects: SideEffects) -> Result<(), CommandError> {
    let unsupported = runner::unsupported(plan, side_effects, true);
    if unsupported.is_empty() {
        return Ok(());
    }
    let text: String = unsupported.iter().map(|found| format!("{found}\n\n")).collect();
    // A closed stderr changes nothing about the verdict.
    let _ = std::io::stderr().write_all(text.as_bytes());
    Err(CommandError::silent(Kind::Usage))
}

/// A connection that is being made.
pub(crate) type Connecting = JoinHandle<Result<DockerBackend, CommandError>>;

/// Begins to connect, while something else is done.
pub(crate) fn connecting(options: &ExecutionArguments) -> Connecting {
    let address = options.docker_host.clone();
    let connecting = async move { connect(address.as_deref()).await };
    tokio::spawn(connecting.instrument(debug_span!("connect")))
}

/// Connects, or fails with the one line that says how to get an engine.
pub(crate) async fn connect(address: Option<&str>) -> Result<DockerBackend, CommandError> {
    let layers = docker_credentials::configuration()?.runner.layers;
    let runtime = std::env::var_os("XDG_RUNTIME_DIR");
    let backend = DockerBackend::connect_as(address, runtime.as_deref().map(Path::new)).await;
    let backend = backend.map_err(CommandError::environment)?;
    Ok(backend.with_layers(layers))
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
