//! A run from its first event to its last, and the cleaning up after it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use event::group::GroupEntry;
use event::{EventKind, IllegalEvent, Phase, RunResult, RunState};
use pipeline::{Concurrency, ImageSource, Plan, PlannedStage};
use tokio::sync::{OnceCell, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug_span};

use crate::adopt::{self, Orphan};
use crate::aftermath;
use crate::backend::{Backend, LayerId, RunContext};
use crate::clock::Clock;
use crate::coming::coming;
use crate::config::RunConfig;
use crate::decide::Effect;
use crate::dispatcher::Dispatcher;
use crate::environment::Identity;
use crate::executor::{Assignment, Shared, Source, execute};
use crate::groups;
use crate::limit::Stop;
use crate::masker::Masker;
use crate::resolved::{Hashed, Resolved};
use crate::run_timeout;
use crate::schedule::{Intake, Schedule, ScheduleError};
use crate::when;
use crate::{CancelNote, Carried, Journal, JournalError, Observation};

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
/// process died. Of a durable run they are taken up where they are, and the run goes
/// on; else they end as `infra-error`, what did not start cannot run any more, and
/// the run ends with that verdict.
///
/// A durable run whose journal cannot be written leaves everything as it is, for
/// whoever runs it next.
pub async fn run(
    config: RunConfig,
    backend: Arc<dyn Backend>,
    journal: Arc<dyn Journal>,
    cancel: CancellationToken,
) -> Result<Outcome, RunError> {
    run_from(Utc::now(), config, backend, journal, cancel).await
}

/// As [`run`], with `now` for the time of the world: from here on only the monotonic clock
/// is asked, so that everything that happens is a matter of what is given.
pub(crate) async fn run_from(
    now: DateTime<Utc>,
    config: RunConfig,
    backend: Arc<dyn Backend>,
    journal: Arc<dyn Journal>,
    cancel: CancellationToken,
) -> Result<Outcome, RunError> {
    #[cfg(feature = "crash-points")]
    let backend = crate::crash_points::around(backend);
    if let Some(result) = config.state.result {
        return Ok(Outcome { result, state: config.state, left_behind: None });
    }
    let plan = config.state.plan.clone().ok_or(RunError::NoPlan)?;
    let begun = config.state.stages.values().any(|stage| !stage.attempts.is_empty());
    let lost = begun && !config.durable;
    let intake = if lost { Intake::Lost } else { Intake::Open };
    let schedule =
        Schedule::new(plan.clone(), config.run, config.concurrency, config.side_effects, intake)?
            .at(config.run_url.clone());
    let reuse = config.reuse && config.results.is_some();
    let context = RunContext {
        run: config.run,
        instance: config.instance,
        project: config.project.clone(),
        keep_layers: config.keep_layers,
        durable: config.durable,
        trusted: plan.trusted,
        cache_limit: config.cache_limit,
        coming: coming(&schedule, &config.state, &config.carried, reuse),
    };
    let passwords = config.registries.named.values().map(|registry| registry.password.as_str());
    let secrets = config.secrets.0.values().map(String::as_str);
    let masker = Arc::new(Masker::new(passwords.chain(secrets))?);
    let clock = Clock::starting_at(now);
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
        releases: config.releases,
        registries: config.registries,
        secrets: config.secrets,
        targets: config.targets,
        ledger: config.ledger,
        approver: config.approver,
        breakpoint: config.breakpoint,
        results: config.results,
        reuse: config.reuse,
        journal: Arc::clone(&journal),
        masker,
        observer: config.observer.clone(),
        clock,
        halt: halt.clone(),
        reports,
        touched: AtomicBool::new(begun && config.durable),
        placed: OnceLock::new(),
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
    // A run whose process died is only to be ended; one of a server may hold it already.
    let entry = GroupEntry::of_run(config.run, &shared.context.project, group(&shared.plan))
        .filter(|_| config.durable || (dispatcher.state.started_at.is_none() && !lost));
    if let Some(entry) = entry.as_ref().filter(|_| dispatcher.state.started_at.is_none()) {
        wait(&shared, entry, &cancel, &config.kill).await?;
    }
    let (cancel, superseded) = (cancel.child_token(), CancelNote::default());
    let notes = [&superseded, &config.cancel_note];
    let driven = drive(
        &mut dispatcher,
        &mut executors,
        &shared,
        &mut inbox,
        &cancel,
        &config.kill,
        &notes,
        config.carried,
    )
    .instrument(tracing::info_span!("run", run.id = %config.run));
    let driven = tokio::select! {
        biased;
        driven = driven => driven,
        never = give_way(&shared, entry.as_ref(), &superseded, &cancel) => match never {},
    };
    if driven.is_err() && context.durable {
        // As if this process had died: whoever runs it next finds everything.
        executors.shutdown().await;
        return driven.map(|result| Outcome { result, state: dispatcher.state, left_behind });
    }
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

fn group(plan: &Plan) -> Option<&Concurrency> {
    plan.concurrency.as_ref()
}

/// Waits for the place of a run in its group, or for its cancellation.
async fn wait(
    shared: &Shared,
    entry: &GroupEntry,
    cancel: &CancellationToken,
    kill: &CancellationToken,
) -> Result<(), RunError> {
    let mut waiting = groups::Waiting::new(shared.journal.as_ref(), entry);
    loop {
        let told = tokio::select! {
            biased;
            told = waiting.next() => told.map_err(RunError::Journal)?,
            () = cancelled(cancel, kill) => return Ok(()),
        };
        let Some(line) = told else { return Ok(()) };
        tracing::info!("run {} {line}", entry.run);
        if let Some(observer) = &shared.observer {
            // Nobody listening any more is not an error of the run.
            let _ = observer.send(Observation::Waiting(line)).await;
        }
    }
}

/// Cancels the run when another is to have its place in the group.
async fn give_way(
    shared: &Shared,
    entry: Option<&GroupEntry>,
    note: &CancelNote,
    cancel: &CancellationToken,
) -> std::convert::Infallible {
    if let Some(entry) = entry {
        let run = groups::superseded(shared.journal.as_ref(), entry).await;
        note.write(groups::superseded_by(run, entry), "concurrency");
        cancel.cancel();
    }
    std::future::pending().await
}

/// The loop: a fact, what follows from it, until the last event.
async fn drive(
    dispatcher: &mut Dispatcher,
    executors: &mut JoinSet<()>,
    shared: &Arc<Shared>,
    inbox: &mut mpsc::Receiver<EventKind>,
    cancel: &CancellationToken,
    kill: &CancellationToken,
    notes: &[&CancelNote],
    carried: BTreeMap<String, Carried>,
) -> Result<RunResult, RunError> {
    let mut stops: BTreeMap<usize, Stop> = BTreeMap::new();
    let mut cleaned_up = false;
    let orphans = begin(dispatcher, cancel.is_cancelled() || kill.is_cancelled(), notes, carried)?;
    shared.placed.get_or_init(|| placed(dispatcher));
    for orphan in orphans {
        let Orphan { index, attempt, ref name, .. } = orphan;
        let stop = Stop::default();
        orphan.stop(&stop);
        stops.insert(index, stop.clone());
        let assignment = Assignment {
            not_before: orphan.not_before,
            begun: orphan.begun.clone(),
            ..assign(dispatcher, index, attempt, name.clone(), stop)
        };
        let span = span(shared, &assignment);
        executors.spawn(execute(shared.clone(), assignment).instrument(span));
    }
    loop {
        let effects = dispatcher.commit().instrument(debug_span!("events")).await?;
        release(dispatcher, shared).await;
        for effect in effects {
            match effect {
                Effect::Start { index, attempt, name, not_before } => {
                    let stop = Stop::default();
                    stops.insert(index, stop.clone());
                    let assignment =
                        Assignment { not_before, ..assign(dispatcher, index, attempt, name, stop) };
                    let span = span(shared, &assignment);
                    debug_span!(parent: &span, "waiting", passed_us = waited(dispatcher, index));
                    executors.spawn(execute(shared.clone(), assignment).instrument(span));
                }
                Effect::Stop { index, overdue } => match (stops.get(&index), overdue) {
                    (Some(stop), Some(reason)) => stop.overdue(&reason),
                    (Some(stop), None) => stop.cancel(),
                    (None, _) => {}
                },
            }
        }
        if let Some(result) = dispatcher.state.result {
            return Ok(result);
        }
        while executors.try_join_next().is_some() {}
        let is_cancelled = dispatcher.state.cancel.is_some();
        let is_cut = dispatcher.state.cut_at().is_some();
        tokio::select! {
            biased;
            () = cancelled(cancel, kill), if !is_cancelled => {
                dispatcher.take(cancel_requested(notes, &dispatcher.state.by))?;
            }
            () = kill.cancelled(), if is_cancelled && !dispatcher.state.killed => {
                let by = dispatcher.state.by.clone();
                let reason = "interrupted again".to_owned();
                dispatcher.take(EventKind::CancelRequested { reason, by })?;
            }
            () = time_over(dispatcher), if !is_cut => {
                let reason = run_timeout::reason(&shared.plan);
                dispatcher.take(EventKind::RunTimedOut { reason })?;
            }
            () = aftermath_over(dispatcher), if is_cut && !cleaned_up => {
                // What of them ends now is told why, and what waits never begins.
                cleaned_up = true;
                stops.values().for_each(Stop::cancel);
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

fn span(shared: &Shared, assignment: &Assignment) -> tracing::Span {
    let (stage, attempt) = (&shared.plan.stages[assignment.index].name, assignment.attempt);
    tracing::info_span!("attempt", stage, attempt)
}

/// Lets go of what attempts ran in whose ends are durable.
async fn release(dispatcher: &mut Dispatcher, shared: &Shared) {
    let ended = dispatcher.ended();
    if !shared.context.durable {
        return;
    }
    for (stage, attempt) in ended {
        if let Some(released) = adopt::released(dispatcher, shared.context.run, &stage, attempt) {
            shared.backend.release(&shared.context, &released).await;
        }
    }
}

/// Microseconds since a stage has had all that it needs, which it waited for its turn.
fn waited(dispatcher: &Dispatcher, index: usize) -> u64 {
    let state = &dispatcher.state;
    let needs = &dispatcher.schedule.stage(index).needs;
    let ended = needs.iter().filter_map(|need| state.stage(&need.stage)?.finished_at);
    let since = ended.max().or(state.started_at);
    let waited = since.and_then(|since| (dispatcher.clock.now() - since).num_microseconds());
    waited.and_then(|waited| u64::try_from(waited).ok()).unwrap_or_default()
}

/// Returns when the run has reached its `run-timeout`.
async fn time_over(dispatcher: &Dispatcher) {
    let end = run_timeout::deadline(&dispatcher.schedule, &dispatcher.state);
    sleep_until(dispatcher, end).await;
}

/// Returns when a run that was cut has cleaned up long enough.
async fn aftermath_over(dispatcher: &Dispatcher) {
    let end = aftermath::end(&dispatcher.schedule, &dispatcher.state);
    sleep_until(dispatcher, end).await;
}

async fn sleep_until(dispatcher: &Dispatcher, end: Option<DateTime<Utc>>) {
    match end {
        Some(end) => {
            let left = (end - dispatcher.clock.now()).to_std().unwrap_or_default();
            tokio::time::sleep(left).await;
        }
        None => std::future::pending().await,
    }
}

/// The first facts: of a new run, or of one whose process died; returns the attempts to go on
/// with.
fn begin(
    dispatcher: &mut Dispatcher,
    cancelled: bool,
    notes: &[&CancelNote],
    carried: BTreeMap<String, Carried>,
) -> Result<Vec<Orphan>, RunError> {
    let by = dispatcher.state.by.clone();
    let mut orphans = adopt::orphans(dispatcher);
    if dispatcher.schedule.intake == Intake::Lost {
        for Orphan { index, attempt, .. } in std::mem::take(&mut orphans) {
            let stage = dispatcher.schedule.stage(index).name.clone();
            dispatcher.take(adopt::lost(stage, attempt))?;
        }
    }
    if dispatcher.state.started_at.is_some() {
        dispatcher.resume()?;
        return Ok(orphans);
    }
    if cancelled && dispatcher.state.cancel.is_none() {
        // Before the start, so that nothing is started only to be stopped.
        dispatcher.take(cancel_requested(notes, &by))?;
    }
    dispatcher.start(carried)?;
    Ok(orphans)
}

/// The layers of other runs that stages of this one stand for already.
fn placed(dispatcher: &Dispatcher) -> Vec<(String, LayerId, Vec<LayerId>)> {
    let (schedule, state) = (&dispatcher.schedule, &dispatcher.state);
    let stages = schedule.plan().stages.iter().enumerate();
    let placed = stages.filter_map(|(index, planned)| {
        let layer = LayerId::from(state.stage(&planned.name)?.reused?);
        Some((planned.name.clone(), layer, schedule.lower(index, &dispatcher.standing)))
    });
    placed.collect()
}

async fn cancelled(cancel: &CancellationToken, kill: &CancellationToken) {
    tokio::select! {
        biased;
        () = cancel.cancelled() => {}
        () = kill.cancelled() => {}
    }
}

fn cancel_requested(notes: &[&CancelNote], by: &str) -> EventKind {
    let note = notes.iter().find_map(|note| note.read());
    let (reason, by) = note.unwrap_or_else(|| ("interrupted".to_owned(), by.to_owned()));
    EventKind::CancelRequested { reason, by }
}

/// Returns the attempt with what it needs of the state, now that it is durable.
fn assign(
    dispatcher: &Dispatcher,
    index: usize,
    attempt: u32,
    name: String,
    stop: Stop,
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
    let lower = schedule.lower(index, &dispatcher.standing);
    Assignment {
        run: schedule.run,
        index,
        attempt,
        name,
        not_before: None,
        resolved,
        lower,
        source,
        stop,
        begun: None,
    }
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
    let cleaned = backend.clean(context).instrument(debug_span!("clean up"));
    let reason = match timeout(CLEAN_UP, cleaned).await {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("not done after {} seconds", CLEAN_UP.as_secs()),
    };
    tracing::error!(run.id = %context.run, "run {} could not be cleaned up: {reason}", context.run);
    Some(reason)
}
