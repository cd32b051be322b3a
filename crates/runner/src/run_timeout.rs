//! `run-timeout`: the point in time at which a whole run has to end.
//!
//! It is computed from the events alone, so that whoever goes on with a run comes to the
//! same point. Time in which people are asked for an approval is theirs.

use chrono::{DateTime, TimeDelta, Utc};
use event::{Phase, RunState};
use pipeline::{Origin, OriginKind, Plan};

use crate::schedule::Schedule;

/// Returns the deadline of a run that began; `None` while somebody is asked.
pub(crate) fn deadline(schedule: &Schedule, state: &RunState) -> Option<DateTime<Utc>> {
    let timeout = TimeDelta::from_std(schedule.plan().run_timeout.std()).unwrap_or(TimeDelta::MAX);
    let end = state.started_at?.checked_add_signed(timeout)?;
    end.checked_add_signed(asked(schedule, state)?)
}

/// How long people were asked, alone or at the same time; `None` while somebody is.
fn asked(schedule: &Schedule, state: &RunState) -> Option<TimeDelta> {
    let mut times: Vec<(DateTime<Utc>, DateTime<Utc>)> = Vec::new();
    for stage in schedule.approvals().filter_map(|stage| state.stage(&stage.name)) {
        let Some(begin) = stage.attempts.first().and_then(|attempt| attempt.started_at) else {
            continue;
        };
        match stage.phase {
            Phase::Running => return None,
            Phase::Waiting => {}
            Phase::Done(_) => times.extend(stage.finished_at.map(|end| (begin, end))),
        }
    }
    times.sort_unstable();
    let mut sum = TimeDelta::zero();
    let mut until = DateTime::<Utc>::MIN_UTC;
    for (begin, end) in times {
        sum += (end - begin.max(until).min(end)).max(TimeDelta::zero());
        until = until.max(end);
    }
    Some(sum)
}

/// `the run took longer than 5m (`run-timeout` at .shipline.yml:3:14)`
pub(crate) fn reason(plan: &Plan) -> String {
    let mut text = format!("the run took longer than {}", plan.run_timeout);
    match plan.origins.get("run-timeout") {
        Some(Origin { file, line, column, by }) if *by != OriginKind::Builtin => {
            text.push_str(&format!(" (`run-timeout` at {file}:{line}:{column})"));
        }
        _ => text.push_str(" (the default of `run-timeout`)"),
    }
    text
}

#[cfg(test)]
mod tests {
    use event::{Attempt, Peak, Stage, StageResult};

    use super::*;
    use crate::testing::{plan, run_id, stage_of};
    use crate::{Intake, SideEffects};

    fn schedule(plan: Plan) -> Schedule {
        let (effects, intake) = (SideEffects::Allowed, Intake::Open);
        Schedule::new(plan.into(), run_id(), 4, effects, intake).unwrap()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    /// A stage that asked from one second to another; `None`: it still does.
    fn asking(begin: i64, end: Option<i64>) -> Stage {
        let attempt = Attempt {
            number: 1,
            name: String::new(),
            not_before: None,
            started_at: Some(at(begin)),
            deadline: None,
            image_digest: None,
            result: None,
            exit: None,
            code: None,
            reason: None,
            peak: Peak::default(),
            repeat: false,
        };
        Stage {
            phase: end.map_or(Phase::Running, |_| Phase::Done(StageResult::Passed)),
            attempts: vec![attempt],
            finished_at: end.map(at),
            ..Stage::default()
        }
    }

    fn ends(approvals: &[(i64, Option<i64>)]) -> Option<i64> {
        let work = serde_json::json!({"action": "approve", "by": ["jo"], "count": 1});
        let names: Vec<String> = (0..approvals.len()).map(|index| format!("a{index}")).collect();
        let stages = names.iter().map(|name| stage_of(name, &[], work.clone())).collect();
        let mut plan = plan(stages);
        plan.run_timeout = pipeline::Duration::from_secs(100);
        let mut state = RunState { started_at: Some(at(0)), ..RunState::default() };
        for (name, (begin, end)) in names.iter().zip(approvals) {
            state.stages.insert(name.clone(), asking(*begin, *end));
        }
        deadline(&schedule(plan), &state).map(|end| end.timestamp())
    }

    #[test]
    fn the_time_in_which_people_are_asked_is_not_counted() {
        assert_eq!(ends(&[]), Some(100));
        assert_eq!(ends(&[(10, Some(30))]), Some(120));
        assert_eq!(ends(&[(10, Some(30)), (20, Some(50)), (60, Some(61))]), Some(141));
        assert_eq!(ends(&[(10, Some(90)), (20, Some(50))]), Some(180));
        assert_eq!(ends(&[(10, Some(30)), (20, None)]), None, "it stands still meanwhile");
    }

    #[test]
    fn a_run_that_has_not_begun_has_no_deadline() {
        assert_eq!(deadline(&schedule(plan(Vec::new())), &RunState::default()), None);
        assert_eq!(
            reason(&plan(Vec::new())),
            "the run took longer than 6h (the default of `run-timeout`)"
        );
    }
}
