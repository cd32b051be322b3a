//! One attempt of one stage: carries out what the dispatcher decided, and
//! reports back as events.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use event::{EventKind, Outputs, Peak, RunId, StageResult};
use futures_util::FutureExt;
use pipeline::{OriginKind, Plan, PlannedStage, Work};
use tokio::sync::{OnceCell, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug_span};

use crate::adopt::Begun;
use crate::backend::{Backend, BackendError, Chunk, LayerId, RunContext, View};
use crate::clock::Clock;
use crate::environment::Identity;
use crate::limit::{Cause, Ended, GRACE, Limit, Pause, Stop};
use crate::masker::Masker;
use crate::output::AttemptLog;
use crate::resolved::Resolved;
use crate::schedule::number;
use crate::unchanged::Before;
use crate::verdict::{Cut, Verdict, is_allowed};
use crate::{
    AfterBreak, Approver, Breakpoint, Journal, Observation, Registries, Results, Secrets,
    Workspace, approval, container_stage, deploy_stage, groups, image_stage, unchanged,
};

/// Chunks of output on their way to the file; at 64 KiB each, 4 MiB at most.
const CHUNKS: usize = 64;
/// How long a layer may take to be sealed.
const SEALING: Duration = Duration::from_secs(120);

/// What all executors of a run share.
pub(crate) struct Shared {
    pub(crate) plan: Arc<Plan>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) context: RunContext,
    pub(crate) identity: Identity,
    /// Who started the run.
    pub(crate) by: String,
    pub(crate) workspace: Workspace,
    pub(crate) output: PathBuf,
    pub(crate) artifacts: PathBuf,
    pub(crate) releases: PathBuf,
    pub(crate) registries: Registries,
    pub(crate) secrets: Secrets,
    pub(crate) targets: BTreeMap<String, Arc<dyn deploy::Target>>,
    pub(crate) ledger: Arc<dyn deploy::Ledger>,
    pub(crate) approver: Option<Arc<dyn Approver>>,
    pub(crate) breakpoint: Option<Arc<dyn Breakpoint>>,
    pub(crate) results: Option<Arc<dyn Results>>,
    pub(crate) reuse: bool,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) masker: Arc<Masker>,
    pub(crate) observer: Option<mpsc::Sender<Observation>>,
    pub(crate) clock: Clock,
    /// Ends everything at once.
    pub(crate) halt: CancellationToken,
    pub(crate) reports: mpsc::Sender<EventKind>,
    /// Whether the backend may have something of this run.
    pub(crate) touched: AtomicBool,
    /// Layers of a former run that this one stands on, each with its stage and what lies
    /// below it here.
    pub(crate) placed: OnceLock<Vec<(String, LayerId, Vec<LayerId>)>>,
    /// The backend is made ready by whoever needs it first.
    pub(crate) prepared: OnceCell<()>,
}

/// What the stage that a `push` or `deploy` names as its image left.
#[derive(Default)]
pub(crate) struct Source {
    pub(crate) result: Option<StageResult>,
    pub(crate) outputs: Outputs,
}

/// One attempt, with what it needs of the state of the run.
pub(crate) struct Assignment {
    pub(crate) run: RunId,
    pub(crate) index: usize,
    pub(crate) attempt: u32,
    /// Of the container.
    pub(crate) name: String,
    /// When it repeats another.
    pub(crate) not_before: Option<DateTime<Utc>>,
    /// The stage with its pending values in place, if it has any.
    pub(crate) resolved: Resolved,
    /// Layers below, newest first.
    pub(crate) lower: Vec<LayerId>,
    pub(crate) source: Source,
    pub(crate) stop: Stop,
    /// Another process began it.
    pub(crate) begun: Option<Begun>,
}

impl Assignment {
    pub(crate) fn layer(&self) -> LayerId {
        LayerId { run: self.run, index: number(self.index), attempt: self.attempt }
    }

    /// Its workspace.
    pub(crate) fn view(&self, stage: &PlannedStage) -> View {
        View {
            stage: stage.name.clone(),
            attempt: self.attempt,
            name: self.name.clone(),
            layer: self.layer(),
            lower: self.lower.clone(),
            merge: stage.merge.clone(),
        }
    }
}

/// One attempt at work.
pub(crate) struct Attempt<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) assignment: &'a Assignment,
    pub(crate) stage: &'a PlannedStage,
    pub(crate) limit: Limit,
    pub(crate) log: AttemptLog,
    /// What it used at most, once that is known.
    pub(crate) peak: &'a OnceLock<Peak>,
}

/// Runs an attempt to its end; reports `attempt.finished` whatever happens.
pub(crate) async fn execute(shared: Arc<Shared>, assignment: Assignment) {
    let begun = Instant::now();
    let peak = OnceLock::new();
    let verdict = AssertUnwindSafe(attempt(&shared, &assignment, &peak)).catch_unwind().await;
    let verdict = verdict.unwrap_or_else(|panic| {
        Verdict::infrastructure(format!("shipline panicked: {}", panic_message(panic.as_ref())))
    });
    let repeat = looked_at(&shared, &assignment, &verdict).await;
    let lasted = match assignment.begun.as_ref().and_then(Begun::started_at) {
        Some(started) => (shared.clock.now() - started).to_std().unwrap_or_default(),
        None => begun.elapsed(),
    };
    let finished = EventKind::AttemptFinished {
        stage: shared.plan.stages[assignment.index].name.clone(),
        attempt: assignment.attempt,
        result: verdict.result,
        exit: verdict.exit,
        reason: verdict.reason.map(|reason| shared.masker.text(&reason)),
        code: verdict.code,
        outputs: verdict.outputs,
        peak: peak.get().copied().unwrap_or_default(),
        repeat,
        reused: verdict.reused,
        duration_ms: u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
    };
    shared.report(finished).await;
}

/// Lets a person look at a stage whose commands failed, and returns whether they want it
/// repeated.
async fn looked_at(shared: &Shared, assignment: &Assignment, verdict: &Verdict) -> bool {
    let stage = &shared.plan.stages[assignment.index];
    let failed = matches!(
        verdict.result,
        StageResult::Failed | StageResult::TimedOut | StageResult::ResourceLimit
    );
    let allowed = is_allowed(stage.allow_failure.as_ref(), verdict.result, verdict.exit);
    let looks = failed && !allowed && matches!(stage.work, Work::Run(_));
    let Some(breakpoint) = shared.breakpoint.as_ref().filter(|_| looks) else { return false };
    let reason = shared.masker.text(verdict.reason.as_deref().unwrap_or_default());
    let looked = tokio::select! {
        biased;
        looked = breakpoint.failed(&stage.name, assignment.attempt, &reason) => looked,
        () = shared.halt.cancelled() => AfterBreak::Continue,
    };
    looked == AfterBreak::Retry
}

async fn attempt(shared: &Shared, assignment: &Assignment, peak: &OnceLock<Peak>) -> Verdict {
    let planned = &shared.plan.stages[assignment.index];
    let limit = Limit {
        deadline: Instant::now() + planned.timeout.std(),
        pause: Pause::default(),
        stop: assignment.stop.clone(),
        halt: shared.halt.clone(),
    };
    if let Some(not_before) = assignment.not_before {
        let pause = (not_before - shared.clock.now()).to_std().unwrap_or_default();
        tokio::select! {
            biased;
            cause = limit.cancelled() => return Verdict::cut(ended(cause)),
            () = sleep(pause).instrument(debug_span!("pause")) => {}
        }
    }
    let limit = Limit { deadline: Instant::now() + planned.timeout.std(), ..limit };
    let hashed;
    let stage = match &assignment.resolved {
        Resolved::Plain => planned,
        Resolved::Done(stage) => stage,
        Resolved::Failed(unresolved) => return Verdict::unresolved(unresolved),
        Resolved::Hashed(pending) => {
            let resolved = async {
                shared.prepare(planned, &limit).await?;
                pending.resolve(shared, assignment, &limit).await
            };
            match resolved.await {
                Ok(stage) => hashed = stage,
                Err(verdict) => return verdict,
            }
            &hashed
        }
    };
    let (output, masker) = (&shared.output, &shared.masker);
    let (observer, halt) = (shared.observer.clone(), shared.halt.clone());
    let (name, number) = (&stage.name, assignment.attempt);
    let log = async {
        if assignment.begun.is_some() {
            AttemptLog::resume(output, name, number, masker, observer, halt).await
        } else {
            AttemptLog::create(output, name, number, masker, observer, halt).await
        }
    };
    let log = match log.instrument(debug_span!("open output")).await {
        Ok(log) => log,
        Err(error) => {
            let reason = format!("the output file cannot be written: {error}");
            return Verdict::infrastructure(reason + &way_out(shared, error.kind()));
        }
    };
    let limit = Limit { deadline: Instant::now() + stage.timeout.std(), ..limit };
    let mut attempt = Attempt { shared, assignment, stage, limit, log, peak };
    let verdict = groups::within(&mut attempt).await;
    let verdict = match verdict.result {
        StageResult::Cancelled if verdict.reason.is_none() => {
            Verdict { reason: assignment.stop.because(), ..verdict }
        }
        _ => verdict,
    };
    match attempt.log.finish().instrument(debug_span!("close output")).await {
        Ok(()) => verdict,
        Err(_) if verdict.result != StageResult::Passed => verdict,
        Err(reason) => {
            let way_out = if attempt.log.is_out_of_space() {
                way_out(shared, io::ErrorKind::StorageFull)
            } else {
                String::new()
            };
            let reason = format!("the output could not be kept: {reason}{way_out}");
            Verdict { exit: verdict.exit, ..Verdict::infrastructure(reason) }
        }
    }
}

/// What helps against an output that cannot be written.
fn way_out(shared: &Shared, kind: io::ErrorKind) -> String {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("\n  make room on the disk of {}", shared.output.display())
        }
        _ => String::new(),
    }
}

impl Shared {
    /// Reports to the dispatcher, which listens until every executor has ended,
    /// unless its journal broke; then nobody needs to know.
    pub(crate) async fn report(&self, fact: EventKind) {
        let _ = self.reports.send(fact).await;
    }

    /// Makes the backend ready, unless somebody else has or is at it.
    pub(crate) async fn prepare(&self, stage: &PlannedStage, limit: &Limit) -> Result<(), Verdict> {
        self.touched.store(true, Ordering::Relaxed);
        let prepared = limit.on(GRACE, |_| {
            // What failed is tried again by whoever needs it next.
            self.prepared.get_or_try_init(|| async {
                let prepared = self.backend.prepare(&self.context).await;
                prepared.map_err(|error| Verdict::of_error(&error))?;
                for (stage, layer, lower) in self.placed.get().into_iter().flatten() {
                    self.backend.place(&self.context, stage, *layer, lower).await;
                }
                Ok(())
            })
        });
        match prepared.instrument(debug_span!("prepare")).await {
            Ended::Done(result) | Ended::Late(result, _) => result.copied(),
            Ended::GivenUp(cause) => {
                Err(late("the engine was not ready", stage.timeout.std(), cause))
            }
        }
    }
}

impl Attempt<'_> {
    /// The work of the stage, to its verdict.
    pub(crate) async fn whole_work(&mut self) -> Verdict {
        match self.work().await {
            Ok(verdict) | Err(verdict) => verdict,
        }
    }

    /// The work of the stage; an `Err` is a verdict that came early.
    async fn work(&mut self) -> Result<Verdict, Verdict> {
        if let Some(begun) = &self.assignment.begun {
            begun.may_go_on(&self.stage.work)?;
        }
        if !matches!(self.stage.work, Work::Deploy(_) | Work::Approve(_)) {
            self.shared.prepare(self.stage, &self.limit).await?;
        }
        let before = match self.assignment.begun {
            // What it began with cannot be looked at any more.
            Some(_) => Before::Nothing,
            None => unchanged::before(self).instrument(debug_span!("inputs")).await?,
        };
        if let Before::Unchanged(verdict) = before {
            return Ok(verdict);
        }
        let verdict = self.action().await?;
        if let Before::Unknown(keys) = &before {
            unchanged::after(self, keys, &verdict).await;
        }
        Ok(verdict)
    }

    async fn action(&mut self) -> Result<Verdict, Verdict> {
        match &self.stage.work {
            Work::Checkout { depth, .. } => Box::pin(container_stage::checkout(self, *depth)).await,
            Work::Run(work) => Box::pin(container_stage::run(self, work)).await,
            Work::Build(work) => Box::pin(image_stage::build(self, work)).await,
            Work::Push(work) => Box::pin(image_stage::push(self, work)).await,
            Work::Deploy(work) => Box::pin(deploy_stage::deploy(self, work)).await,
            Work::Approve(work) => Box::pin(approval::approve(self, work)).await,
            Work::Trigger(_) => {
                Err(Verdict::failed(Some("E018"), "this version cannot run this action yet"))
            }
        }
    }

    /// Says that the attempt has begun, and until when it may last.
    pub(crate) async fn report_started(&self, image_digest: Option<String>) {
        let deadline = self.shared.clock.at(self.limit.deadline);
        self.report_started_until(image_digest, deadline).await;
    }

    pub(crate) async fn report_started_until(
        &self,
        image_digest: Option<String>,
        deadline: DateTime<Utc>,
    ) {
        let started = EventKind::AttemptStarted {
            stage: self.stage.name.clone(),
            attempt: self.assignment.attempt,
            image_digest,
            deadline,
        };
        self.shared.report(started).await;
    }

    /// Awaits a call of the backend that tells what it does, and writes that down beside it.
    pub(crate) async fn supervise<T, F>(
        &mut self,
        work: impl FnOnce(mpsc::Sender<Chunk>, CancellationToken) -> F,
    ) -> Result<T, Verdict>
    where
        F: Future<Output = Result<T, BackendError>>,
    {
        let (output, mut chunks) = mpsc::channel(CHUNKS);
        let limit = self.limit.clone();
        let ended = beside(
            &limit,
            limit.on(self.stage.cancel_grace.std(), |token| work(output, token)),
            self.log.pump(&mut chunks),
            |ended| !matches!(ended, Ended::Done(_)),
        );
        match ended.await {
            Ended::Done(Ok(value)) | Ended::Late(Ok(value), _) => Ok(value),
            Ended::Done(Err(error)) => Err(Verdict::of_error(&error)),
            // Whatever a call that was told to stop returns is fallout.
            Ended::Late(Err(_), cause) | Ended::GivenUp(cause) => {
                Err(Verdict::cut(self.cut(cause)))
            }
        }
    }

    /// Adds what is wrong with something a stage left. It fails a stage that passed, and
    /// is told of one that failed.
    pub(crate) async fn with_wrong(&mut self, verdict: Verdict, wrong: Verdict) -> Verdict {
        if verdict.result == StageResult::Passed {
            return Verdict { exit: verdict.exit, outputs: verdict.outputs, ..wrong };
        }
        self.log.say(wrong.reason.unwrap_or_default()).await;
        verdict
    }

    pub(crate) async fn seal(&self) -> Result<(), Verdict> {
        let seal = self.shared.backend.seal(&self.shared.context, self.assignment.layer());
        match timeout(SEALING, seal).instrument(debug_span!("seal")).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                Err(Verdict::infrastructure(format!("the layer could not be kept: {error}")))
            }
            Err(_) => Err(Verdict::infrastructure("the layer could not be sealed in time")),
        }
    }

    pub(crate) fn cut(&self, cause: Cause) -> Cut {
        match cause {
            Cause::Deadline => {
                Cut::Deadline(timed_out(self.stage, self.log.last_line().as_deref()))
            }
            cause => ended(cause),
        }
    }
}

/// What comes of an attempt that others than its own deadline ended.
pub(crate) fn ended(cause: Cause) -> Cut {
    match cause {
        Cause::Overdue(reason) => Cut::Deadline(reason.to_string()),
        Cause::Cancelled | Cause::Deadline => Cut::Cancelled,
    }
}

/// The verdict when the stage could not even begin before its deadline: never the
/// fault of a command that did not run.
pub(crate) fn late(what: &str, within: Duration, cause: Cause) -> Verdict {
    match cause {
        Cause::Cancelled | Cause::Overdue(_) => Verdict::cut(ended(cause)),
        Cause::Deadline => Verdict::infrastructure(format!("{what} within {}s", within.as_secs())),
    }
}

/// Awaits `work` while `pump` writes down what it says. The rest is written
/// afterwards, however slow who watches may be; once the run is to end, or the
/// work was cut, not longer than the grace.
pub(crate) async fn beside<T>(
    limit: &Limit,
    work: impl Future<Output = T>,
    pump: impl Future<Output = ()>,
    was_cut: impl FnOnce(&T) -> bool,
) -> T {
    let (mut work, mut pump) = (pin!(work), pin!(pump));
    let mut pumped = false;
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut work => break ended,
            () = &mut pump, if !pumped => pumped = true,
        }
    };
    if !pumped {
        let cut = was_cut(&ended);
        let enough = async {
            if !cut {
                limit.cancelled().await;
            }
            sleep(GRACE).await;
        };
        tokio::select! {
            biased;
            () = pump => {}
            // What is not told by then stands in the file.
            () = enough => {}
        }
    }
    ended
}

/// What E093 says: the limit, where it came from, the last line of output.
fn timed_out(stage: &PlannedStage, last_line: Option<&str>) -> String {
    let mut text = format!("timed out after {}", stage.timeout);
    match stage.origins.get("timeout") {
        Some(origin) if origin.by != OriginKind::Builtin => {
            text.push_str(&format!(
                " (`timeout` at {}:{}:{})",
                origin.file, origin.line, origin.column
            ));
        }
        Some(_) => text.push_str(" (the default)"),
        None => {}
    }
    match last_line {
        Some(line) => text.push_str(&format!(", last line: `{line}`")),
        None => text.push_str(", without output"),
    }
    text
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
