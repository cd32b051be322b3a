//! A run from its first event to its last, and the cleaning up after it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::Utc;
use event::{EventKind, IllegalEvent, Outputs, Phase, RunResult, RunState, StageResult};
use pipeline::{ImageSource, PlannedStage};
use tokio::sync::{OnceCell, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::aftermath;
use crate::backend::{Backend, RunContext};
use crate::clock::Clock;
use crate::config::RunConfig;
use crate::decide::Effect;
use crate::dispatcher::Dispatcher;
use crate::environment::Identity;
use crate::executor::{Assignment, Shared, Source, execute};
use crate::masker::Masker;
use crate::resolved::{Hashed, Resolved};
use crate::schedule::{Intake, Schedule, ScheduleError};
use crate::when;
use crate::{CancelNote, Journal, JournalError};

/// How long the cleaning up may take; it never runs under the cancelled token.
const CLEAN_UP: Duration = Duration::from_secs(60);
/// Reports on their way; and the most that one append takes.
const REPORTS: usize = 256;

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    pub result: RunResult,
    /// The fold of all events of the run.
    pub state: RunState,
    /// Why not everything of the run could be removed; it changes no verdict.
    pub left_behind: Option<String>,
}

/// Why a run could not be brought to its last event.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the run has no plan")]
    NoPlan,
    #[error("the plan cannot be scheduled")]
    Plan(#[from] ScheduleError),
    #[error("the secrets to mask are too many")]
    Masker(#[from] aho_corasick::BuildError),
    /// Nothing was decided after the last event that was written; what ran was stopped.
    #[error("the journal of the run cannot be written")]
    Journal(#[source] JournalError),
    #[error("an event contradicts the state of the run")]
    Illegal(#[source] IllegalEvent),
}

/// Runs the plan of `config.state` to its `run.finished`.
///
/// Returns after every task has ended and everything of the run is removed, also
/// when it was cancelled or failed. When the state has attempts already, their
/// process died: they end as `infra-error`, what did not start cannot run any
/// more, and the run ends with that verdict.
pub async fn run(
    config: RunConfig,
    backend: Arc<dyn Backend>,
    journal: Arc<dyn Journal>,
    cancel: CancellationToken,
) -> Result<Outcome, RunError> {
    if let Some(result) = config.state.result {
        return Ok(Outcome { result, state: config.state, left_behind: None });
    }
    let plan = config.state.plan.clone().ok_or(RunError::NoPlan)?;
    let lost = config.state.stages.values().any(|stage| !stage.attempts.is_empty());
    let intake = if lost { Intake::Lost } else { Intake::Open };
    let schedule =
        Schedule::new(plan.clone(), config.run, config.concurrency, config.side_effects, intake)?
            .at(config.run_url.clone());
    let context = RunContext {
        run: config.run,
        instance: config.instance,
        project: config.project.clone(),
        keep_layers: config.keep_layers,
        trusted: plan.trusted,
        cache_limit: config.cache_limit,
    };
    let passwords = config.registries.named.values().map(|registry| registry.password.as_str());
    let secrets = config.secrets.0.values().map(String::as_str);
    let masker = Arc::new(Masker::new(passwords.chain(secrets))?);
    let clock = Clock::starting_at(Utc::now());
    let halt = config.kill.child_token();
    let (reports, mut inbox) = mpsc::channel(REPORTS);
    let shared = Arc::new(Shared {
        plan,
        backend: backend.clone(),
        context: context.clone(),
        identity: Identity {
            run: config.run,
            number: config.state.number,
            url: config.run_url,
            project: config.project,
            git: config.git,
        },
        by: config.state.by.clone(),
        workspace: config.workspace,
        output: config.output,
        artifacts: config.artifacts,
        registries: config.registries,
        secrets: config.secrets,
        targets: config.targets,
        ledger: config.ledger,
        journal: Arc::clone(&journal),
        masker,
        observer: config.observer.clone(),
        clock,
        halt: halt.clone(),
        reports,
        touched: AtomicBool::new(false),
        prepared: OnceCell::new(),
    });
    let mut dispatcher = Dispatcher::new(
        config.run,
        schedule,
        config.state,
        journal,
        config.observer,
        halt.clone(),
        clock,
    );
    let mut left_behind = None;
    if lost {
        // Its layers are of no use, and what still runs must not go on beside a verdict.
        left_behind = clean(backend.as_ref(), &context).await;
    }
    let mut executors = JoinSet::new();
    let driven = drive(
        &mut dispatcher,
        &mut executors,
        &shared,
        &mut inbox,
        &cancel,
        &config.kill,
        &config.cancel_note,
    )
    .instrument(tracing::info_span!("run", run.id = %config.run))
    .await;
    // Only needed when the journal broke; otherwise every executor has reported.
    halt.cancel();
    drop(inbox);
    while executors.join_next().await.is_some() {}
    if shared.touched.load(Ordering::Relaxed) {
        left_behind = clean(backend.as_ref(), &context).await;
    }
    let result = driven?;
    Ok(Outcome { result, state: dispatcher.state, left_behind })
}

/// The loop: a fact, what follows from it, until the last event.
async fn drive(
    dispatcher: &mut Dispatcher,
    executors: &mut JoinSet<()>,
    shared: &Arc<Shared>,
    inbox: &mut mpsc::Receiver<EventKind>,
    cancel: &CancellationToken,
    kill: &CancellationToken,
    note: &CancelNote,
) -> Result<RunResult, RunError> {
    let mut stops: HashMap<usize, CancellationToken> = HashMap::new();
    let mut cleaned_up = false;
    begin(dispatcher, cancel.is_cancelled() || kill.is_cancelled(), note)?;
    loop {
        for effect in dispatcher.commit().await? {
            match effect {
                Effect::Start { index, attempt, name, not_before } => {
                    let stop = CancellationToken::new();
                    stops.insert(index, stop.clone());
                    let assignment =
                        Assignment { not_before, ..assign(dispatcher, index, attempt, name, stop) };
                    let span = tracing::info_span!(
                        "attempt",
                        stage = shared.plan.stages[index].name,
                        attempt
                    );
                    executors.spawn(execute(shared.clone(), assignment).instrument(span));
                }
                Effect::Stop { index } => {
                    if let Some(stop) = stops.get(&index) {
                        stop.cancel();
                    }
                }
            }
        }
        if let Some(result) = dispatcher.state.result {
            return Ok(result);
        }
        while executors.try_join_next().is_some() {}
        let is_cancelled = dispatcher.state.cancel.is_some();
        tokio::select! {
            biased;
            () = cancelled(cancel, kill), if !is_cancelled => {
                dispatcher.take(cancel_requested(note, &dispatcher.state.by))?;
            }
            () = kill.cancelled(), if is_cancelled && !dispatcher.state.killed => {
                let by = dispatcher.state.by.clone();
                let reason = "interrupted again".to_owned();
                dispatcher.take(EventKind::CancelRequested { reason, by })?;
            }
            () = aftermath_over(dispatcher), if is_cancelled && !cleaned_up => {
                // What of them ends now is told why, and what waits never begins.
                cleaned_up = true;
                stops.values().for_each(CancellationToken::cancel);
            }
            report = inbox.recv() => {
                // `shared` holds a sender, so the channel is open.
                let Some(report) = report else { continue };
                dispatcher.take(report)?;
                // One append for all that has come meanwhile.
                for _ in 1..REPORTS {
                    let Ok(report) = inbox.try_recv() else { break };
                    dispatcher.take(report)?;
                }
            }
        }
    }
}

/// Returns when a cancelled run has cleaned up long enough.
async fn aftermath_over(dispatcher: &Dispatcher) {
    match aftermath::end(&dispatcher.schedule, &dispatcher.state) {
        Some(end) => {
            let left = (end - dispatcher.clock.now()).to_std().unwrap_or_default();
            tokio::time::sleep(left).await;
        }
        None => std::future::pending().await,
    }
}

/// The first facts: of a new run, or of one whose process died.
fn begin(dispatcher: &mut Dispatcher, cancelled: bool, note: &CancelNote) -> Result<(), RunError> {
    let by = dispatcher.state.by.clone();
    for lost in lost_attempts(&dispatcher.state) {
        dispatcher.take(lost)?;
    }
    if dispatcher.state.started_at.is_some() {
        return dispatcher.resume();
    }
    if cancelled && dispatcher.state.cancel.is_none() {
        // Before the start, so that nothing is started only to be stopped.
        dispatcher.take(cancel_requested(note, &by))?;
    }
    dispatcher.take(EventKind::RunStarted { by })
}

/// The attempts that nobody will report any more.
fn lost_attempts(state: &RunState) -> Vec<EventKind> {
    let attempts = state.stages.iter().filter(|(_, stage)| stage.phase == Phase::Running);
    attempts
        .flat_map(|(name, stage)| stage.attempts.iter().map(move |attempt| (name, attempt)))
        .filter(|(_, attempt)| attempt.result.is_none())
        .map(|(name, attempt)| EventKind::AttemptFinished {
            stage: name.clone(),
            attempt: attempt.number,
            result: StageResult::InfraError,
            exit: None,
            reason: Some("shipline was stopped while this stage ran".to_owned()),
            code: Some("E099".to_owned()),
            outputs: Outputs::new(),
            duration_ms: 0,
        })
        .collect()
}

async fn cancelled(cancel: &CancellationToken, kill: &CancellationToken) {
    tokio::select! {
        () = cancel.cancelled() => {}
        () = kill.cancelled() => {}
    }
}

fn cancel_requested(note: &CancelNote, by: &str) -> EventKind {
    let (reason, by) = note.read().unwrap_or_else(|| ("interrupted".to_owned(), by.to_owned()));
    EventKind::CancelRequested { reason, by }
}

/// Returns the attempt with what it needs of the state, now that it is durable.
fn assign(
    dispatcher: &Dispatcher,
    index: usize,
    attempt: u32,
    name: String,
    stop: CancellationToken,
) -> Assignment {
    let (schedule, state) = (&dispatcher.schedule, &dispatcher.state);
    let planned = schedule.stage(index);
    let resolved = resolve(dispatcher, planned, attempt);
    let now = match &resolved {
        Resolved::Done(stage) => stage,
        Resolved::Plain | Resolved::Hashed(_) | Resolved::Failed(_) => planned,
    };
    let source = image_source(now).and_then(|stage| state.stage(stage)).map_or_else(
        Source::default,
        |stage| Source {
            result: match stage.phase {
                Phase::Done(result) => Some(result),
                Phase::Waiting | Phase::Running => None,
            },
            outputs: stage.outputs.clone(),
        },
    );
    let lower = schedule.lower(index, state);
    Assignment { index, attempt, name, not_before: None, resolved, lower, source, stop }
}

/// Puts the pending values of a stage in their places, as far as that needs no files.
fn resolve(dispatcher: &Dispatcher, planned: &PlannedStage, attempt: u32) -> Resolved {
    if planned.pending.is_empty() {
        return Resolved::Plain;
    }
    let (schedule, finished) = (&dispatcher.schedule, &dispatcher.finished);
    let facts = when::facts(&dispatcher.state, schedule, attempt);
    let asked = RefCell::new(Vec::new());
    // What it says is not used: once it was asked, all is resolved again with the files.
    let hash = |globs: &[String]| {
        asked.borrow_mut().push(globs.to_owned());
        Ok(String::new())
    };
    let resolved = pipeline::resolve(schedule.plan(), planned, finished, &facts, &hash);
    let globs = asked.into_inner();
    if !globs.is_empty() {
        return Resolved::Hashed(Box::new(Hashed { globs, finished: finished.clone(), facts }));
    }
    match resolved {
        Ok(stage) => Resolved::Done(Box::new(stage)),
        Err(unresolved) => Resolved::Failed(Box::new(unresolved)),
    }
}

fn image_source(stage: &PlannedStage) -> Option<&str> {
    match stage.work.image()? {
        ImageSource::Stage(stage) => Some(stage),
        ImageSource::Reference(_) => None,
    }
}

/// Removes what the run made, and returns why if that did not succeed.
async fn clean(backend: &dyn Backend, context: &RunContext) -> Option<String> {
    let reason = match timeout(CLEAN_UP, backend.clean(context)).await {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("not done after {} seconds", CLEAN_UP.as_secs()),
    };
    tracing::error!(run.id = %context.run, "run {} could not be cleaned up: {reason}", context.run);
    Some(reason)
}
