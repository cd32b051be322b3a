//! What a run will likely start, told to a backend that thinks ahead.

use std::collections::{BTreeMap, HashMap};

use event::{Phase, RunState};
use pipeline::{Decision, PlannedStage, Work};

use crate::Carried;
use crate::backend::Coming;
use crate::schedule::Schedule;

/// Counts what may be started yet; with `reuse`, a stage with `inputs` may turn out to be
/// unchanged.
pub(crate) fn coming(
    schedule: &Schedule,
    state: &RunState,
    carried: &BTreeMap<String, Carried>,
    reuse: bool,
) -> Coming {
    let mut coming = Coming::default();
    let mut at_height: HashMap<u32, usize> = HashMap::new();
    for (index, stage) in schedule.plan().stages.iter().enumerate() {
        let done = state.stage(&stage.name).is_some_and(|found| found.phase != Phase::Waiting);
        if done || carried.contains_key(&stage.name) || !is_container(stage) {
            continue;
        }
        coming.stages += 1;
        if stage.inputs.is_empty() || !reuse {
            coming.sure += 1;
        }
        // Stages of one height need none of each other.
        *at_height.entry(schedule.node(index).height).or_default() += 1;
    }
    let widest = at_height.into_values().max().unwrap_or_default();
    coming.at_once = schedule.concurrency.min(widest);
    coming
}

/// Says whether the stage is a container on the network that all share.
fn is_container(stage: &PlannedStage) -> bool {
    let Work::Run(work) = &stage.work else { return false };
    stage.state != Decision::Skip && work.services.is_empty()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use event::RunState;

    use super::*;
    use crate::testing::{self, stage};
    use crate::{Intake, SideEffects};

    fn told(stages: Vec<PlannedStage>, concurrency: usize, reuse: bool) -> (usize, usize, usize) {
        let plan = Arc::new(testing::plan(stages));
        let run = testing::run_id();
        let schedule =
            Schedule::new(plan.clone(), run, concurrency, SideEffects::Allowed, Intake::Open)
                .unwrap();
        let state = RunState::fold(&[testing::queued(Arc::unwrap_or_clone(plan))]).unwrap();
        let Coming { stages, sure, at_once } = coming(&schedule, &state, &BTreeMap::new(), reuse);
        (stages, sure, at_once)
    }

    #[test]
    fn a_chain_is_one_at_a_time_and_a_fan_as_many_as_may_run() {
        let chain = || vec![stage("a", &[]), stage("b", &["a"]), stage("c", &["b"])];
        assert_eq!(told(chain(), 4, true), (3, 3, 1));
        let mut fan = vec![stage("a", &[])];
        fan.extend((0..9).map(|number| stage(&format!("f{number}"), &["a"])));
        let all: Vec<String> = (0..9).map(|number| format!("f{number}")).collect();
        fan.push(stage("z", &all.iter().map(String::as_str).collect::<Vec<_>>()));
        assert_eq!(told(fan.clone(), 4, true), (11, 11, 4));
        assert_eq!(told(fan, 20, true), (11, 11, 9));
    }

    #[test]
    fn what_may_be_unchanged_is_not_sure_and_what_is_skipped_does_not_come() {
        let with_inputs = PlannedStage { inputs: vec!["src/**".to_owned()], ..stage("a", &[]) };
        let skipped = PlannedStage { state: Decision::Skip, ..stage("b", &[]) };
        let stages = || vec![with_inputs.clone(), skipped.clone(), stage("c", &[])];
        assert_eq!(told(stages(), 4, true), (2, 1, 2));
        assert_eq!(told(stages(), 4, false), (2, 2, 2));
    }
}
