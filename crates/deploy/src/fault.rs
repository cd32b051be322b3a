//! Why an op did not do what it should, and what follows from it.

use std::time::Duration;

use crate::{LedgerError, Op, OpAction, TargetError};

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
    /// What failed was held, and is not carried on: why both.
    Held(String),
    /// A former engine died.
    Interrupted,
    /// A former engine died, and this deployment has changed the environment since.
    Overtaken(String),
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

    /// Returns the op that failed, if it was one.
    pub(crate) const fn op(&self) -> Option<&Op> {
        match self {
            Self::Unhealthy { op, .. } | Self::Broken { op, .. } | Self::Late { op, .. } => {
                Some(op)
            }
            _ => None,
        }
    }

    /// Whether somebody judged what was deployed, or failed to deploy it: not so when
    /// it was cancelled, or its engine died.
    pub(crate) const fn is_failure(&self) -> bool {
        !matches!(self, Self::Cancelled | Self::Interrupted | Self::Overtaken(_))
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
            Self::Overtaken(by) => {
                write!(f, "the engine was interrupted, and deployment {by} came after it")
            }
            Self::Unverified(by) | Self::Held(by) | Self::Fenced(by) => f.write_str(by),
            Self::Ledger(error) => error.fmt(f),
        }
    }
}
