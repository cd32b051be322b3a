//! Edges between stages, and whether a stage runs.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    #[default]
    Run,
    Skip,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    pub stage: String,
    pub by: EdgeReason,
    /// `"run"` when a skipped need skips this stage too, written or implied.
    pub must: Option<String>,
}

impl Edge {
    pub fn must_run(&self) -> bool {
        self.must.as_deref() == Some("run")
    }
}

/// Why a stage waits for another. When several apply, the first in the order
/// `needs`, `before`, `output`, `order` is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EdgeReason {
    Order,
    Needs,
    Output,
    Before,
}
