//! The critical path: the chain of stages that decided how long a run took.

use event::{RunState, Stage};

/// Returns the stages that waited for each other up to the end of the run, each with its
/// milliseconds. What took no time of its own is left out.
pub(super) fn critical_path(state: &RunState) -> Vec<(&str, u64)> {
    let Some(plan) = &state.plan else { return Vec::new() };
    let ran = |name: &str| {
        let (name, stage) = state.stages.get_key_value(name)?;
        let began = !stage.attempts.is_empty() && stage.finished_at.is_some();
        began.then_some((name.as_str(), stage))
    };
    let all = plan.stages.iter().filter_map(|planned| ran(&planned.name));
    let mut at = last(all);
    let mut chain = Vec::new();
    while let Some((name, stage)) = at {
        chain.push((name, stage.duration_ms));
        let planned = plan.stage(name);
        let edges = || planned.into_iter().flat_map(|planned| &planned.needs);
        let needs = plan.stages.iter().filter(|other| {
            other.name != name && edges().any(|edge| edge.is_to(&other.name, &other.stage))
        });
        // A circle is no plan; a file that says otherwise ends here.
        let needs = needs.filter(|need| chain.iter().all(|(seen, _)| *seen != need.name));
        at = last(needs.filter_map(|need| ran(&need.name)));
    }
    chain.reverse();
    chain
}

fn last<'a>(stages: impl Iterator<Item = (&'a str, &'a Stage)>) -> Option<(&'a str, &'a Stage)> {
    stages.max_by_key(|(_, stage)| stage.finished_at)
}
