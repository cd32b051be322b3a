//! Words of a deployment's life.

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeploymentKind {
    Deploy,
    Rollback,
}

impl DeploymentKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
        }
    }
}

/// The states of a deployment that end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeploymentState {
    /// The wanted state was observed on all units.
    Succeeded,
    /// Ended before any batch began; nothing was switched.
    Failed,
    /// A batch had begun; the observed state equals the one before.
    RolledBack,
    /// The rollback failed; the reason says what is where.
    Stuck,
    Cancelled,
    /// Another deployment holds the environment.
    Refused,
}

impl DeploymentState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::RolledBack => "rolled-back",
            Self::Stuck => "stuck",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
        }
    }

    /// The word the `state` output of a deploy stage uses.
    pub const fn output(self) -> &'static str {
        match self {
            Self::Succeeded => "deployed",
            Self::RolledBack => "rolled-back",
            Self::Stuck => "stuck",
            Self::Cancelled => "cancelled",
            Self::Failed | Self::Refused => "failed",
        }
    }
}

impl fmt::Display for DeploymentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What became of one op.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpState {
    Done,
    /// The op did what it should and found the unit unhealthy.
    Unhealthy,
    Failed,
    Undone,
    UndoFailed,
}
