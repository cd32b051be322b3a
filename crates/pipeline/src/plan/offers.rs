//! What a stage asks for and the place may not have: secrets, credentials, runners,
//! and what an administrator allows.

use super::PlannedStage;
use super::make::Planner;
use crate::model::Stage;

impl Planner<'_> {
    /// Checks a planned stage that runs against [`Offers`](crate::Offers).
    pub(super) fn offered(&mut self, _stage: &Stage, _planned: &mut PlannedStage) {}
}
