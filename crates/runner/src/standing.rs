//! How far the stages of a run are, in plan order.
//!
//! The state of a run knows its stages by name. What every fact makes [`decide`](crate::decide())
//! look at for every stage is kept here by its place in the plan, and brought up to date with
//! each event: a run of ten thousand stages then costs no walk through all of them by name for
//! every stage that ends. It is never more than what the state says.

use event::{EventKind, Phase, RunState, Stage};

use crate::backend::LayerId;
use crate::schedule::{Schedule, number};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) phases: Vec<Phase>,
    /// The layer of each stage that ended well and left one.
    pub(crate) layers: Vec<Option<LayerId>>,
}

impl Standing {
    /// What the state says of all stages.
    pub(crate) fn of(schedule: &Schedule, state: &RunState) -> Self {
        let count = schedule.len();
        let mut standing = Self { phases: vec![Phase::Waiting; count], layers: vec![None; count] };
        // Both are sorted by name, which saves a look-up per stage.
        for (index, stage) in schedule.by_name().zip(state.stages.values()) {
            standing.set(schedule, index, stage);
        }
        standing
    }

    /// Follows an event that `state` holds already.
    pub(crate) fn follow(&mut self, schedule: &Schedule, state: &RunState, event: &EventKind) {
        let (EventKind::AttemptStarting { stage, .. }
        | EventKind::StageFinished { stage, .. }
        | EventKind::StageSkipped { stage, .. }
        | EventKind::StageBlocked { stage, .. }) = event
        else {
            return;
        };
        if let (Some(index), Some(stage)) = (schedule.index_of(stage), state.stage(stage)) {
            self.set(schedule, index, stage);
        }
    }

    fn set(&mut self, schedule: &Schedule, index: usize, stage: &Stage) {
        self.phases[index] = stage.phase;
        self.layers[index] = layer(schedule, index, stage);
    }
}

/// The layer of a stage that ended well. An allowed failure that never began has none.
fn layer(schedule: &Schedule, index: usize, stage: &Stage) -> Option<LayerId> {
    let Phase::Done(result) = stage.phase else { return None };
    if !result.is_good() || !schedule.is_layered(index) {
        return None;
    }
    let made = stage.attempts.last().filter(|last| last.started_at.is_some());
    let own =
        made.map(|last| LayerId { run: schedule.run, index: number(index), attempt: last.number });
    stage.reused.map(LayerId::from).or(own)
}
