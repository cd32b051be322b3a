//! What a run takes from a former one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use event::{Phase, RunState, StageResult};
use pipeline::{RunOn, Work};

use crate::backend::LayerId;
use crate::schedule::number;
use crate::standing::Standing;
use crate::{Carried, Intake, Schedule, ScheduleError, SideEffects};

/// Returns what the stages `names` left in a former run, or the first that left nothing.
pub fn carry<'a>(
    former: &RunState,
    names: &'a [String],
) -> Result<BTreeMap<String, Carried>, &'a str> {
    let all = names.iter().map(|name| {
        let carried = carried(former, name).ok_or(name.as_str())?;
        Ok((name.clone(), carried))
    });
    all.collect()
}

/// Returns what a rerun of `former` need not run again: it ended well, and so did all that
/// it stands on, or was skipped. What cleans up or reacts to a failure runs again, as does
/// what is `gone`.
pub fn resume(
    former: &RunState,
    gone: &BTreeSet<String>,
) -> Result<BTreeMap<String, Carried>, ScheduleError> {
    let (Some(plan), Some(run)) = (&former.plan, former.run) else { return Ok(BTreeMap::new()) };
    let schedule = Schedule::new(Arc::clone(plan), run, 1, SideEffects::Allowed, Intake::Open)?;
    let mut kept: Vec<bool> = Vec::with_capacity(plan.stages.len());
    let mut all = BTreeMap::new();
    for (index, stage) in plan.stages.iter().enumerate() {
        let name = &stage.name;
        let skipped = former.result_of(name) == Some(StageResult::Skipped);
        let found = carried(former, name)
            .filter(|_| stage.run_on == RunOn::Success && !gone.contains(name))
            .filter(|_| schedule.above(index).all(|above| kept[above]));
        kept.push(found.is_some() || skipped);
        all.extend(found.map(|found| (name.clone(), found)));
    }
    Ok(all)
}

/// Returns the layers that `carried` stages of a plan stand for.
pub fn layers<'a>(
    plan: &'a pipeline::Plan,
    carried: &'a BTreeMap<String, Carried>,
) -> impl Iterator<Item = (&'a str, LayerId)> {
    let layered = |work: &Work| matches!(work, Work::Checkout { .. } | Work::Run(_));
    let stages = plan.stages.iter().filter(move |stage| layered(&stage.work));
    stages.filter_map(|stage| {
        Some((stage.name.as_str(), LayerId::from(carried.get(&stage.name)?.reused)))
    })
}

/// Returns the layers below a stage of a run, newest first, as far as they came to be.
pub fn layers_below(state: &RunState, name: &str) -> Option<Vec<LayerId>> {
    let (plan, run) = (state.plan.as_ref()?, state.run?);
    let schedule = Schedule::new(Arc::clone(plan), run, 1, SideEffects::Allowed, Intake::Open);
    let schedule = schedule.ok()?;
    Some(schedule.lower(schedule.index_of(name)?, &Standing::of(&schedule, state)))
}

/// Returns the layer of an attempt of a stage; without one, of the last, or that of
/// another run which the stage stands for.
pub fn layer_of(state: &RunState, name: &str, attempt: Option<u32>) -> Option<LayerId> {
    let stage = state.stage(name)?;
    if let Some(reused) = stage.reused {
        return attempt.is_none().then(|| reused.into());
    }
    let index = state.plan.as_ref()?.stages.iter().position(|stage| stage.name == name)?;
    let last = stage.attempts.last()?.number;
    let attempt = attempt.unwrap_or(last);
    let run = state.run?;
    (1..=last).contains(&attempt).then_some(LayerId { run, index: number(index), attempt })
}

fn carried(former: &RunState, name: &str) -> Option<Carried> {
    let plan = former.plan.as_ref()?;
    let index = plan.stages.iter().position(|stage| stage.name == name)?;
    let stage = former.stage(name)?;
    let Phase::Done(result) = stage.phase else { return None };
    let reused = former.left_by(number(index), name)?;
    Some(Carried { result, reused, outputs: stage.outputs.clone() })
}
