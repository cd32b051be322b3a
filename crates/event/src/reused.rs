//! What a run takes from another one instead of making it again.

use serde::{Deserialize, Serialize};

use crate::RunId;

/// Whose files a stage that did not run itself stands for: those that the `index`th stage
/// of the plan of `run` left in its `attempt`th attempt. Never again one that did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reused {
    pub run: RunId,
    pub index: u32,
    pub attempt: u32,
}
