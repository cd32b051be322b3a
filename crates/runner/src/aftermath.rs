//! The time after a cancellation, or after `run-timeout`: what `run-on: always` stages have for cleaning up.
//!
//! It begins when the last of the cancelled stages has ended, for a deployment may
//! need longer for its way back than the cleaning up may take.

use chrono::{DateTime, TimeDelta, Utc};
use event::{Phase, RunState};
use pipeline::RunOn;

use crate::schedule::Schedule;

/// For all of them together.
pub(crate) const AFTERMATH: TimeDelta = TimeDelta::minutes(2);

/// Whether stages may still begin to clean up.
pub(crate) fn is_open(schedule: &Schedule, state: &RunState, now: DateTime<Utc>) -> bool {
    !state.killed && has_begun(state) && !is_over(schedule, state, now)
}

/// Whether the time is up.
pub(crate) fn is_over(schedule: &Schedule, state: &RunState, now: DateTime<Utc>) -> bool {
    end(schedule, state).is_some_and(|end| now >= end)
}

/// Returns when a cancelled run has cleaned up long enough; `None` as long as
/// something that was cancelled has not ended.
pub(crate) fn end(schedule: &Schedule, state: &RunState) -> Option<DateTime<Utc>> {
    let mut begin = state.cut_at()?;
    for stage in &schedule.plan().stages {
        if stage.run_on == RunOn::Always {
            continue;
        }
        let stage = state.stage(&stage.name)?;
        let Phase::Done(_) = stage.phase else { return None };
        begin = begin.max(stage.finished_at?);
    }
    begin.checked_add_signed(AFTERMATH)
}

/// Without an attempt there is nothing to clean up after.
pub(crate) fn has_begun(state: &RunState) -> bool {
    state.stages.values().any(|stage| !stage.attempts.is_empty())
}
