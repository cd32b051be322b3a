//! How the units of an environment are rolled, as the plan has it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Duration;

/// How the units of an environment are rolled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Strategy {
    #[serde(default, skip_serializing_if = "StrategyKind::is_rolling")]
    pub kind: StrategyKind,
    #[serde(default, skip_serializing_if = "RolloutOrder::is_start_first")]
    pub order: RolloutOrder,
    /// Units changed together before the next verification.
    pub batch: BatchSize,
    /// In place of equal batches: units beyond those already done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub batches: Vec<BatchSize>,
    /// Groups of hosts, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Units at once within a batch; `None` is the whole batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u32>,
    /// `None`: 0 for start-first, 1 for stop-first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<BatchSize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<BatchSize>,
    /// Distinct failed units over the whole deployment.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tolerate: u32,
    /// How long a batch is watched before it is called good.
    pub bake: Duration,
    /// How long requests in flight may take before they are cut.
    pub drain: Duration,
    #[serde(
        default = "default_drain_websockets",
        skip_serializing_if = "is_default_drain_websockets"
    )]
    pub drain_websockets: Duration,
    #[serde(default, skip_serializing_if = "OnFailure::is_rollback")]
    pub on_failure: OnFailure,
    #[serde(
        default = "default_rollback_deadline",
        skip_serializing_if = "is_default_rollback_deadline"
    )]
    pub rollback_deadline: Duration,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(value: &u32) -> bool {
    *value == 0
}

const fn default_drain_websockets() -> Duration {
    Duration::from_secs(300)
}

fn is_default_drain_websockets(value: &Duration) -> bool {
    *value == default_drain_websockets()
}

const fn default_rollback_deadline() -> Duration {
    Duration::from_secs(300)
}

fn is_default_rollback_deadline(value: &Duration) -> bool {
    *value == default_rollback_deadline()
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            kind: StrategyKind::Rolling,
            order: RolloutOrder::StartFirst,
            batch: BatchSize::Units(1),
            batches: Vec::new(),
            groups: Vec::new(),
            parallel: None,
            max_unavailable: None,
            max_surge: None,
            tolerate: 0,
            bake: Duration::from_secs(0),
            drain: Duration::from_secs(30),
            drain_websockets: default_drain_websockets(),
            on_failure: OnFailure::Rollback,
            rollback_deadline: default_rollback_deadline(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StrategyKind {
    #[default]
    Rolling,
    /// All down, then all up.
    Recreate,
}

impl StrategyKind {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    const fn is_rolling(&self) -> bool {
        matches!(self, Self::Rolling)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutOrder {
    #[default]
    StartFirst,
    StopFirst,
}

impl RolloutOrder {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    const fn is_start_first(&self) -> bool {
        matches!(self, Self::StartFirst)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    #[default]
    Rollback,
    Stop,
    Hold,
}

impl OnFailure {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    const fn is_rollback(&self) -> bool {
        matches!(self, Self::Rollback)
    }
}

/// A number of units, or a share of all of them: `2`, `25%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "WrittenSize", try_from = "WrittenSize")]
pub enum BatchSize {
    Units(u32),
    Percent(u32),
}

impl BatchSize {
    /// Returns how many of `all` units it is; a share is rounded up, so that a
    /// batch of some units is never one of none.
    pub const fn of(self, all: u32) -> u32 {
        match self {
            Self::Units(units) => units,
            Self::Percent(percent) => {
                // At most 10,000 units of at most 100 percent.
                (all as u64 * percent as u64).div_ceil(100) as u32
            }
        }
    }
}

impl fmt::Display for BatchSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Units(units) => write!(f, "{units}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// A size as it stands in a file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenSize {
    Units(u32),
    Share(String),
}

impl From<BatchSize> for WrittenSize {
    fn from(size: BatchSize) -> Self {
        match size {
            BatchSize::Units(units) => Self::Units(units),
            BatchSize::Percent(_) => Self::Share(size.to_string()),
        }
    }
}

impl TryFrom<WrittenSize> for BatchSize {
    type Error = String;

    fn try_from(written: WrittenSize) -> Result<Self, String> {
        match written {
            WrittenSize::Units(units) => Ok(Self::Units(units)),
            WrittenSize::Share(text) => text
                .strip_suffix('%')
                .and_then(|percent| percent.parse().ok())
                .filter(|percent| *percent <= 100)
                .map(Self::Percent)
                .ok_or_else(|| format!("`{text}` is no number of units and no share in percent")),
        }
    }
}
