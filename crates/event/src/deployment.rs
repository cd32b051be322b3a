//! Words of a deployment's life.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a deployment is for. All kinds are plans of the same ops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeploymentKind {
    /// Brings the environment to a release and a configuration.
    Deploy,
    /// Brings it back to those of a deployment that succeeded.
    Rollback,
    /// Makes every unit anew, of what runs.
    Restart,
    /// Changes the number of units, and nothing else.
    Scale,
    /// Takes every unit out of traffic and down, on purpose.
    Stop,
    /// Brings back what was stopped.
    Start,
    /// Makes units for the slots whose unit is gone or dead, of what stands.
    Repair,
}

impl DeploymentKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::Restart => "restart",
            Self::Scale => "scale",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Repair => "repair",
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

/// When a failure was found: statistics and people care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Caught {
    /// Nothing new had got traffic.
    BeforeAdmit,
    AfterAdmit,
}

/// What somebody chose for a deployment that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// What failed is given up, and the rest goes on.
    Continue,
    Rollback,
}

impl Decision {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Rollback => "rollback",
        }
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
    /// It was ended before it had an outcome: by a cancel, or because a sibling failed.
    Cancelled,
    Undone,
    UndoFailed,
}

/// What became known of a deployment after it had succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nobody has said anything.
    #[default]
    Unknown,
    Good,
    /// It is no place to go back to.
    Bad,
}

impl Verdict {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Good => "good",
            Self::Bad => "bad",
        }
    }
}

/// Something a check found before anything was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Of the check: stable, and documented.
    pub id: String,
    pub severity: Severity,
    /// The unit it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    pub cause: String,
    /// What to do about it, as an imperative.
    pub fix: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Nothing is changed while it stands.
    Error,
    /// It is told, and the deployment goes on.
    Warning,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(unit) = &self.unit {
            write!(f, "{unit}: ")?;
        }
        write!(f, "{}: {} [{}]", self.cause, self.fix, self.id)
    }
}
