//! One op carried out: allowed by the lease, written down, bounded by its
//! deadline, told to whoever watches.

use std::time::Duration;

use event::OpState;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::engine::Waiting;
use crate::fault::Fault;
use crate::journal::{Intent, Journal};
use crate::lock::Hold;
use crate::marks::Marks;
use crate::suite::{CLEARING, Checked, Checks, Tested, VerifyStep};
use crate::{EnvironmentKey, Op, OpAction, OpOutcome, Progress, Spec, Target, TargetError, verify};

/// How long a reader of progress may hold up a deployment.
const READER_PATIENCE: Duration = Duration::from_secs(1);

/// The time an op gets on top of what the specification grants it.
const MARGIN: Duration = Duration::from_secs(15);
/// The gate of a unit without a health check of its own.
const DEFAULT_GATE: Duration = Duration::from_secs(60);

/// What looking for the units to test may take.
const OBSERVING: Duration = Duration::from_secs(100);

/// Everything ops of one deployment share.
pub(crate) struct Work<'a> {
    pub(crate) target: &'a dyn Target,
    pub(crate) journal: Journal<'a>,
    pub(crate) hold: &'a Hold,
    pub(crate) progress: &'a Reporter,
    pub(crate) checks: &'a Checks,
    pub(crate) marks: Marks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Apply,
    Undo,
}

/// Where an op stands.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Counted from 1; `None` outside batches.
    pub(crate) batch: Option<u32>,
    /// Whether the op is part of going back.
    pub(crate) back: bool,
}

impl Work<'_> {
    /// Writes down the intents of ops that are to be done at once.
    pub(crate) async fn intend<'o>(
        &self,
        ops: impl IntoIterator<Item = &'o Op>,
        place: Place,
    ) -> Result<Vec<Intent>, Fault> {
        self.journal.intend(ops, place.batch, place.back).await.map_err(Fault::Ledger)
    }

    /// Carries out an op whose intent is durable.
    pub(crate) async fn perform(
        &self,
        intent: Intent,
        op: &Op,
        direction: Direction,
        spec: &Spec,
        place: Place,
        cancel: &CancellationToken,
    ) -> Result<(), Fault> {
        self.hold.permit().await;
        if direction == Direction::Apply && !place.back && place.batch.is_some() {
            self.marks.begin(op.action);
        }
        let begun = Instant::now();
        let deadline = deadline(op, spec);
        let fence = self.hold.fence();
        let acting = async {
            match direction {
                Direction::Apply if op.action.is_check() => self.check(op, spec, cancel).await,
                Direction::Apply => self.target.apply(op, spec, fence, cancel).await,
                Direction::Undo => self.target.undo(op, spec, fence).await,
            }
        };
        let outcome = tokio::time::timeout(deadline, acting).await;
        let result = match outcome {
            // Whatever a cancelled op says, it may not have done its work.
            _ if cancel.is_cancelled() => Err(Fault::Cancelled),
            Ok(Ok(OpOutcome::Done { detail })) => Ok(detail),
            Ok(Ok(OpOutcome::Drained { cut, took_ms })) => {
                self.marks.count_cut(cut);
                Ok(format!("cut {cut} in {:.1} s", took_ms as f64 / 1000.0))
            }
            Ok(Ok(OpOutcome::Unhealthy { reason, logs })) => {
                Err(Fault::Unhealthy { op: op.clone(), reason, logs })
            }
            Ok(Err(TargetError::Fenced(by))) => Err(Fault::Fenced(by)),
            Ok(Err(error)) => Err(Fault::Broken { op: op.clone(), error }),
            Err(_) => Err(Fault::Late { op: op.clone(), deadline }),
        };
        let (state, detail) = match &result {
            Ok(detail) if place.back => (OpState::Undone, detail.clone()),
            Ok(detail) => (OpState::Done, detail.clone()),
            Err(fault) if place.back => (OpState::UndoFailed, fault.to_string()),
            Err(fault @ Fault::Unhealthy { .. }) => (OpState::Unhealthy, fault.to_string()),
            Err(fault @ Fault::Cancelled) => (OpState::Cancelled, fault.to_string()),
            Err(fault) => (OpState::Failed, fault.to_string()),
        };
        let took = begun.elapsed();
        self.journal.finished(intent, op, state, detail, took).await.map_err(Fault::Ledger)?;
        match result {
            Ok(detail) => {
                self.progress.done(op, place, &detail).await;
                Ok(())
            }
            Err(fault) => {
                self.progress.fault(op, &fault).await;
                Err(fault)
            }
        }
    }
}

impl Work<'_> {
    /// Tests behaviour, of those units that are to be seen.
    async fn check(
        &self,
        op: &Op,
        spec: &Spec,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        let key =
            EnvironmentKey { project: spec.project.clone(), environment: spec.environment.clone() };
        let seen = verify::observe(self.target, &key).await?;
        let runs = spec.verify.iter().any(|step| matches!(step, VerifyStep::Run(_)));
        let tested = Tested {
            deployment: op.deployment,
            spec,
            seen: &seen,
            entrance: if runs { self.target.entrance().await? } else { None },
            unit: (op.action == OpAction::VerifyUnit).then_some(&op.unit),
        };
        let Checked { outcome, events } = self.checks.make(&tested, self.progress, cancel).await?;
        // What commands wrote is for people; the result of the op, which follows, is not.
        if let Err(error) = self.journal.write(events).await {
            tracing::warn!("what a check wrote could not be kept: {error}");
        }
        Ok(outcome)
    }
}

/// WebSockets may have longer than requests.
fn longest_drain(spec: &Spec) -> Duration {
    spec.strategy.drain.std().max(spec.strategy.drain_websockets.std())
}

/// Returns how long an op may take; every op has a deadline.
fn deadline(op: &Op, spec: &Spec) -> Duration {
    match op.action {
        OpAction::Fetch => Duration::from_secs(15 * 60),
        // A host that is in traffic before its first deployment is drained for it.
        OpAction::Start if spec.stops_first() => Duration::from_secs(90) + longest_drain(spec),
        OpAction::Start => Duration::from_secs(90),
        OpAction::Stop => Duration::from_secs(90) + spec.unit.stop_timeout.std(),
        // To remove a unit that served, which also undoes its making, is to drain it first.
        OpAction::Create | OpAction::Remove => Duration::from_secs(90) + longest_drain(spec),
        OpAction::Gate => {
            let gate = spec
                .health
                .as_ref()
                .map_or(DEFAULT_GATE, |health| health.deadline.std() + health.start_period.std());
            gate + MARGIN
        }
        OpAction::Admit | OpAction::Close => Duration::from_secs(60),
        OpAction::Drain => longest_drain(spec) + 2 * MARGIN,
        OpAction::VerifyUnit | OpAction::Verify => {
            let of_unit = op.action == OpAction::VerifyUnit;
            let steps = spec.verify.iter().filter(|step| step.is_of_unit() == of_unit);
            OBSERVING + steps.map(|step| longest(step) + MARGIN).sum::<Duration>()
        }
        OpAction::Bake => spec.strategy.bake.std() + MARGIN,
    }
}

/// Each check has a time-out of its own; to clear its container away takes some more.
fn longest(step: &VerifyStep) -> Duration {
    match step {
        VerifyStep::Http(step) => step.timeout.std(),
        VerifyStep::Run(step) => step.timeout.std() + CLEARING,
    }
}

/// Tells whoever watches.
pub(crate) struct Reporter(pub(crate) mpsc::Sender<Progress>);

impl Reporter {
    pub(crate) async fn line(&self, line: impl Into<String>) {
        let line = line.into();
        self.send(Progress { line, applied: None, undone: None, waiting: None }).await;
    }

    /// Says that somebody is to decide, or no longer.
    pub(crate) async fn waiting(&self, line: String, waiting: Waiting) {
        self.send(Progress { line, applied: None, undone: None, waiting: Some(waiting) }).await;
    }

    async fn done(&self, op: &Op, place: Place, detail: &str) {
        let name = if place.back { back_name(op.action) } else { op.action.name() };
        let separator = if detail.is_empty() { "" } else { "  " };
        let line = format!("{name:<8}{}{separator}{detail}", op.unit);
        let step = Some((op.action.name().to_owned(), op.unit.0.clone()));
        let (applied, undone) = if place.back { (None, undone(op)) } else { (step, None) };
        self.send(Progress { line, applied, undone, waiting: None }).await;
    }

    async fn fault(&self, op: &Op, fault: &Fault) {
        if matches!(fault, Fault::Cancelled) {
            return;
        }
        self.line(format!("{:<8}{}  {fault}", op.action.name(), op.unit)).await;
        if let Fault::Unhealthy { logs, .. } = fault {
            for line in logs {
                self.line(format!("  | {line}")).await;
            }
        }
    }

    /// A reader that is gone, or too slow for a long time, misses a line: a
    /// deployment must not hang half way because of a terminal.
    async fn send(&self, progress: Progress) {
        let _ = self.0.send_timeout(progress, READER_PATIENCE).await;
    }
}

/// What a step back is called: to compensate `Create` is to remove.
const fn back_name(action: OpAction) -> &'static str {
    match action {
        OpAction::Create => "remove",
        other => other.name(),
    }
}

/// Which op a step back has undone, if it ends the effect of one.
fn undone(op: &Op) -> Option<(String, String)> {
    let (action, unit) = match op.action {
        OpAction::Start => (OpAction::Stop, &op.unit),
        OpAction::Admit => (OpAction::Admit, op.replaces.as_ref().unwrap_or(&op.unit)),
        OpAction::Create => (OpAction::Create, &op.unit),
        _ => return None,
    };
    Some((action.name().to_owned(), unit.0.clone()))
}
