//! Edges between stages, and whether a stage runs.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    #[default]
    Run,
    Skip,
}

/// Something a stage waits for.
///
/// An edge to a stage with a matrix is one to each of its cells, and is written
/// once: `stage` is then the [`PlannedStage::stage`](super::PlannedStage::stage) of
/// many. Where one cell alone is needed, such as the cell whose image is pushed, it
/// is the name with the brackets. So an edge goes to every planned stage whose
/// `name` or `stage` it says. Two stages with ten thousand cells each have one edge
/// per cell, and whoever executes them keeps a count per stage, not per pair.
///
/// Edges of a reduced order lead to the same results as all of them: one is left out
/// only when another need hands on whatever goes wrong there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    pub stage: String,
    pub by: EdgeReason,
    /// `"run"` when a skipped need skips this stage too, written or implied.
    pub must: Option<String>,
}

impl Edge {
    /// Whether the edge goes to this planned stage.
    pub fn is_to(&self, name: &str, stage: &str) -> bool {
        self.stage == name || self.stage == stage
    }

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
