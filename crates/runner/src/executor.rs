//! One attempt of one stage: carries out what the dispatcher decided, and
//! reports back as events.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use event::{EventKind, Outputs, StageResult};
use futures_util::FutureExt;
use pipeline::{OriginKind, Plan, PlannedStage, Work};
use tokio::sync::{OnceCell, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::backend::{Backend, BackendError, Chunk, LayerId, RunContext, View};
use crate::clock::Clock;
use crate::environment::Identity;
use crate::limit::{Cause, Ended, GRACE, Limit};
use crate::masker::Masker;
use crate::output::AttemptLog;
use crate::resolved::Resolved;
use crate::schedule::number;
use crate::verdict::{Cut, Verdict};
use crate::{
    Journal, Observation, Registries, Secrets, Workspace, container_stage, deploy_stage,
    image_stage,
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
    pub(crate) registries: Registries,
    pub(crate) secrets: Secrets,
    pub(crate) targets: BTreeMap<String, Arc<dyn deploy::Target>>,
    pub(crate) ledger: Arc<dyn deploy::Ledger>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) masker: Arc<Masker>,
    pub(crate) observer: Option<mpsc::Sender<Observation>>,
    pub(crate) clock: Clock,
    /// Ends everything at once.
    pub(crate) halt: CancellationToken,
    pub(crate) reports: mpsc::Sender<EventKind>,
    /// Whether the backend may have something of this run.
    pub(crate) touched: AtomicBool,
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
    pub(crate) stop: CancellationToken,
}

impl Assignment {
    pub(crate) fn layer(&self) -> LayerId {
        LayerId { index: number(self.index), attempt: self.attempt }
    }

    /// Its workspace.
    pub(crate) fn view(&self, stage: &PlannedStage) -> View {
        View {
            stage: stage.name.clone(),
            attempt: self.attempt,
            name: self.name.clone(),
            layer: self.layer(),
            lower: self.lower.clone(),
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
}

/// Runs an attempt to its end; reports `attempt.finished` whatever happens.
pub(crate) async fn execute(shared: Arc<Shared>, assignment: Assignment) {
    let begun = Instant::now();
    let verdict = AssertUnwindSafe(attempt(&shared, &assignment)).catch_unwind().await;
    let verdict = verdict.unwrap_or_else(|panic| {
        Verdict::infrastructure(format!("shipline panicked: {}", panic_message(panic.as_ref())))
    });
    let finished = EventKind::AttemptFinished {
        stage: shared.plan.stages[assignment.index].name.clone(),
        attempt: assignment.attempt,
        result: verdict.result,
        exit: verdict.exit,
        reason: verdict.reason.map(|reason| shared.masker.text(&reason)),
        code: verdict.code,
        outputs: verdict.outputs,
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    shared.report(finished).await;
}

async fn attempt(shared: &Shared, assignment: &Assignment) -> Verdict {
    let planned = &shared.plan.stages[assignment.index];
    let limit = Limit {
        deadline: Instant::now() + planned.timeout.std(),
        stop: assignment.stop.clone(),
        halt: shared.halt.clone(),
    };
    if let Some(not_before) = assignment.not_before {
        let pause = (not_before - shared.clock.now()).to_std().unwrap_or_default();
        tokio::select! {
            () = sleep(pause) => {}
            () = limit.cancelled() => return Verdict::cut(Cut::Cancelled),
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
    let log = AttemptLog::create(
        &shared.output,
        &stage.name,
        assignment.attempt,
        &shared.masker,
        shared.observer.clone(),
        shared.halt.clone(),
    );
    let log = match log.await {
        Ok(log) => log,
        Err(error) => {
            return Verdict::infrastructure(format!("the output file cannot be written: {error}"));
        }
    };
    let limit = Limit { deadline: Instant::now() + stage.timeout.std(), ..limit };
    let mut attempt = Attempt { shared, assignment, stage, limit, log };
    let verdict = match attempt.work().await {
        Ok(verdict) | Err(verdict) => verdict,
    };
    match attempt.log.finish().await {
        Ok(()) => verdict,
        Err(_) if verdict.result != StageResult::Passed => verdict,
        Err(reason) => {
            let lost = Verdict::infrastructure(format!("the output could not be kept: {reason}"));
            Verdict { exit: verdict.exit, ..lost }
        }
    }
}

impl Shared {
    /// Reports to the dispatcher, which listens until every executor has ended,
    /// unless its journal broke; then nobody needs to know.
    pub(crate) async fn report(&self, fact: EventKind) {
        let _ = self.reports.send(fact).await;
    }

    /// Makes the backend ready, unless somebody else has or is at it.
    async fn prepare(&self, stage: &PlannedStage, limit: &Limit) -> Result<(), Verdict> {
        self.touched.store(true, Ordering::Relaxed);
        let prepared = limit.on(GRACE, |_| {
            // What failed is tried again by whoever needs it next.
            self.prepared.get_or_try_init(|| async {
                let prepared = self.backend.prepare(&self.context).await;
                prepared.map_err(|error| Verdict::of_error(&error))
            })
        });
        match prepared.await {
            Ended::Done(result) | Ended::Late(result, _) => result.copied(),
            Ended::GivenUp(cause) => Err(late("the engine was not ready", stage, cause)),
        }
    }
}

impl Attempt<'_> {
    /// The work of the stage; an `Err` is a verdict that came early.
    async fn work(&mut self) -> Result<Verdict, Verdict> {
        if !matches!(self.stage.work, Work::Deploy(_)) {
            self.shared.prepare(self.stage, &self.limit).await?;
        }
        match &self.stage.work {
            Work::Checkout { depth, .. } => container_stage::checkout(self, *depth).await,
            Work::Run(work) => container_stage::run(self, work).await,
            Work::Build(work) => image_stage::build(self, work).await,
            Work::Push(work) => image_stage::push(self, work).await,
            Work::Deploy(work) => deploy_stage::deploy(self, work).await,
            Work::Approve(_) | Work::Trigger(_) => {
                Err(Verdict::failed(Some("E018"), "this version cannot run this action yet"))
            }
        }
    }

    /// Says that the attempt has begun, and until when it may last.
    pub(crate) async fn report_started(&self, image_digest: Option<String>) {
        let started = EventKind::AttemptStarted {
            stage: self.stage.name.clone(),
            attempt: self.assignment.attempt,
            image_digest,
            deadline: self.shared.clock.at(self.limit.deadline),
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
        match timeout(SEALING, seal).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                Err(Verdict::infrastructure(format!("the layer could not be kept: {error}")))
            }
            Err(_) => Err(Verdict::infrastructure("the layer could not be sealed in time")),
        }
    }

    pub(crate) fn cut(&self, cause: Cause) -> Cut {
        match cause {
            Cause::Cancelled => Cut::Cancelled,
            Cause::Deadline => Cut::Deadline(timed_out(self.stage, self.log.last_line())),
        }
    }
}

/// The verdict when the stage could not even begin before its deadline: never the
/// fault of a command that did not run.
pub(crate) fn late(what: &str, stage: &PlannedStage, cause: Cause) -> Verdict {
    match cause {
        Cause::Cancelled => Verdict::cut(Cut::Cancelled),
        Cause::Deadline => Verdict::infrastructure(format!("{what} within {}", stage.timeout)),
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
