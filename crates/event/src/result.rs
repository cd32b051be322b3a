//! Results of stages and runs. Each word means the same in terminal, page, mail and API.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Small typed values of a stage, read by expressions and by `push` and `deploy`.
pub type Outputs = BTreeMap<String, serde_json::Value>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageResult {
    Passed,
    /// Reused from a former pass.
    Unchanged,
    /// A failure that `allow-failure` names.
    Warning,
    /// Its own condition, or a need it must have, did not hold.
    Skipped,
    /// A need failed.
    Blocked,
    /// The user's command, image or file said no.
    Failed,
    TimedOut,
    ResourceLimit,
    /// Docker, a registry, the network, the disk or Shipline; never the user's command.
    InfraError,
    Cancelled,
}

impl StageResult {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Unchanged => "unchanged",
            Self::Warning => "warning",
            Self::Skipped => "skipped",
            Self::Blocked => "blocked",
            Self::Failed => "failed",
            Self::TimedOut => "timed-out",
            Self::ResourceLimit => "resource-limit",
            Self::InfraError => "infra-error",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the stage ran to an end that those who need it can build on.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Passed | Self::Unchanged | Self::Warning)
    }

    /// Whether this is a first cause: something ran and did not end well.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::TimedOut | Self::ResourceLimit | Self::InfraError)
    }
}

impl fmt::Display for StageResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunResult {
    Passed,
    Skipped,
    Warning,
    InfraError,
    Failed,
    Cancelled,
}

impl RunResult {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::InfraError => "infra-error",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the people who pushed have nothing to do.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Passed | Self::Skipped | Self::Warning)
    }
}

impl fmt::Display for RunResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
