//! One op carried out: allowed by the lease, written down, bounded by its
//! deadline, told to whoever watches.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use event::OpState;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::journal::{Intent, Journal};
use crate::lock::Hold;
use crate::{LedgerError, Op, OpAction, OpOutcome, Progress, Spec, Target, TargetError};

/// How long a reader of progress may hold up a deployment.
const READER_PATIENCE: Duration = Duration::from_secs(1);

/// The time an op gets on top of what the specification grants it.
const MARGIN: Duration = Duration::from_secs(15);
/// The gate of a unit without a health check of its own.
const DEFAULT_GATE: Duration = Duration::from_secs(60);

/// Everything ops of one deployment share.
pub(crate) struct Work<'a> {
    pub(crate) target: &'a dyn Target,
    pub(crate) journal: Journal<'a>,
    pub(crate) hold: &'a Hold,
    pub(crate) progress: &'a Reporter,
    pub(crate) marks: Marks,
}

/// How far a deployment got; what it may call its end depends on it.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    batch_begun: AtomicBool,
    admit_begun: AtomicBool,
    cut: AtomicU64,
}

impl Marks {
    pub(crate) fn begin_batch(&self) {
        self.batch_begun.store(true, Ordering::Relaxed);
    }

    pub(crate) fn batch_begun(&self) -> bool {
        self.batch_begun.load(Ordering::Relaxed)
    }

    pub(crate) fn admit_begun(&self) -> bool {
        self.admit_begun.load(Ordering::Relaxed)
    }

    pub(crate) fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }
}

/// Why an op did not do what it should.
#[derive(Debug)]
pub(crate) enum Fault {
    Unhealthy {
        op: Op,
        reason: String,
        logs: Vec<String>,
    },
    Broken {
        op: Op,
        error: TargetError,
    },
    /// It did not end by its deadline.
    Late {
        op: Op,
        deadline: Duration,
    },
    /// Every op was done, and yet the wanted state was not observed.
    Unverified(String),
    Cancelled,
    /// A former engine died.
    Interrupted,
    /// Another engine changes the environment.
    Fenced(String),
    Ledger(LedgerError),
}

impl Fault {
    /// Whether to stop at once and leave the rest to whoever recovers: without
    /// the lock, or without a journal, nothing more may be done.
    pub(crate) const fn is_interruption(&self) -> bool {
        matches!(self, Self::Fenced(_) | Self::Ledger(_))
    }

    /// Whether the infrastructure failed and not what was deployed.
    pub(crate) const fn is_infrastructure(&self) -> bool {
        match self {
            Self::Broken { error, .. } => matches!(error, TargetError::Infrastructure { .. }),
            Self::Late { op, .. } => !matches!(op.action, OpAction::Gate | OpAction::Bake),
            _ => false,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unhealthy { op, reason, .. } => write!(f, "{} is unhealthy: {reason}", op.unit),
            Self::Broken { op, error } => write!(f, "{} {}: {error}", op.action.name(), op.unit),
            Self::Late { op, deadline } => {
                write!(
                    f,
                    "{} {}: not done after {} s",
                    op.action.name(),
                    op.unit,
                    deadline.as_secs()
                )
            }
            Self::Cancelled => f.write_str("cancelled"),
            Self::Interrupted => f.write_str("the engine was interrupted"),
            Self::Unverified(by) | Self::Fenced(by) => f.write_str(by),
            Self::Ledger(error) => error.fmt(f),
        }
    }
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
        if op.action == OpAction::Admit && direction == Direction::Apply && !place.back {
            self.marks.admit_begun.store(true, Ordering::Relaxed);
        }
        let begun = Instant::now();
        let deadline = deadline(op, spec);
        let fence = self.hold.fence();
        let acting = async {
            match direction {
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
                self.marks.cut.fetch_add(cut, Ordering::Relaxed);
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

/// Returns how long an op may take; every op has a deadline.
fn deadline(op: &Op, spec: &Spec) -> Duration {
    match op.action {
        OpAction::Fetch => Duration::from_secs(15 * 60),
        OpAction::Start | OpAction::Stop => Duration::from_secs(90),
        // To remove a unit that served, which also undoes its making, is to drain it first.
        OpAction::Create | OpAction::Remove => Duration::from_secs(90) + spec.strategy.drain.std(),
        OpAction::Gate => {
            let gate = spec
                .health
                .as_ref()
                .map_or(DEFAULT_GATE, |health| health.deadline.std() + health.start_period.std());
            gate + MARGIN
        }
        OpAction::Admit => Duration::from_secs(60),
        OpAction::Drain => spec.strategy.drain.std() + 2 * MARGIN,
        OpAction::Bake => spec.strategy.bake.std() + MARGIN,
    }
}

/// Tells whoever watches.
pub(crate) struct Reporter(pub(crate) mpsc::Sender<Progress>);

impl Reporter {
    pub(crate) async fn line(&self, line: impl Into<String>) {
        self.send(Progress { line: line.into(), applied: None, undone: None }).await;
    }

    async fn done(&self, op: &Op, place: Place, detail: &str) {
        let name = if place.back { back_name(op.action) } else { op.action.name() };
        let separator = if detail.is_empty() { "" } else { "  " };
        let line = format!("{name:<8}{}{separator}{detail}", op.unit);
        let step = Some((op.action.name().to_owned(), op.unit.0.clone()));
        let (applied, undone) = if place.back { (None, undone(op)) } else { (step, None) };
        self.send(Progress { line, applied, undone }).await;
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
