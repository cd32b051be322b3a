//! Batches: the units that are changed together before the next look.

use event::DeploymentId;
use pipeline::{RolloutOrder, Strategy, StrategyKind};
use serde::{Deserialize, Serialize};

use super::of_environment;
use super::rolling::{Change, Changes};
use crate::suite::VerifyStep;
use crate::{ObservedUnit, Op, OpAction, Spec};

/// Ops in phases. Those of one phase run at once, each on its own unit; a phase
/// begins when all of the one before are done. So no unit of a step is
/// admitted before every unit of it has passed its gate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Of hosts: the group that all of its units are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    pub phases: Vec<Vec<Op>>,
}

impl Batch {
    const fn of(phases: Vec<Vec<Op>>) -> Self {
        Self { group: None, phases }
    }

    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        self.phases.iter().flatten()
    }
}

/// Returns the batches of a rollout: new units first, so that capacity only grows until
/// units are retired. Where everything goes down first, that is one batch. No batch has
/// units of two groups, but for units that wait.
pub(super) fn batches(spec: &Spec, changes: &Changes<'_>, deployment: DeploymentId) -> Vec<Batch> {
    if spec.strategy.kind == StrategyKind::Recreate && !changes.replace.is_empty() {
        return vec![recreate(spec, changes, deployment)];
    }
    // Units that wait were called good when they served: they come back at once, as one batch.
    let (warm, cold): (Vec<_>, Vec<_>) =
        changes.replace.iter().copied().partition(|change| change.warm.is_some());
    let (warm, cold) = (in_groups(spec, warm), in_groups(spec, cold));
    let ordered = [warm.as_slice(), cold.as_slice()].concat();
    // Where the first batch has room for all, nobody waits for them.
    let at_once = rolled_together(spec, &in_groups(spec, ordered.clone()))
        .next()
        .is_some_and(|first| first.len() == ordered.len());
    let (woken, rest) = match at_once || warm.is_empty() {
        true => (None, ordered.as_slice()),
        false => (Some(warm.as_slice()), cold.as_slice()),
    };
    let mut end = 0;
    let rolled = woken.into_iter().chain(rolled_together(spec, rest)).map(|slots| {
        end += slots.len();
        roll(spec, slots, &ordered[..end], deployment)
    });
    let retired = cut(spec, spec.replicas, &changes.retire).map(|units| retire(units, deployment));
    rolled.chain(retired).filter(|batch| !batch.phases.is_empty()).collect()
}

/// How many slots may be between two units at once: new units beside the old ones, or, where
/// old ones stop first, places that nobody serves.
fn step_size(spec: &Spec) -> u32 {
    let Strategy { order, parallel, max_surge, max_unavailable, .. } = &spec.strategy;
    let bound = match order {
        RolloutOrder::StartFirst => max_surge.map(|size| size.of(spec.replicas)),
        RolloutOrder::StopFirst => Some(max_unavailable.map_or(1, |size| size.of(spec.replicas))),
    };
    bound.unwrap_or(u32::MAX).min(parallel.unwrap_or(u32::MAX)).max(1)
}

/// How many slots go back at once in a rollout: as many as may be between two units. The
/// size of batches is no bound: it is there for what nobody has called good yet, and each
/// that goes back is one fewer of those.
pub fn back_size(spec: &Spec) -> u32 {
    step_size(spec)
}

/// Puts changes into the order of their groups.
fn in_groups<'a>(spec: &Spec, mut changes: Vec<Change<'a>>) -> Vec<Change<'a>> {
    changes.sort_by_key(|change| spec.rank(change.slot));
    changes
}

/// Cuts changes, which are in the order of their groups, into batches: each group anew.
fn rolled_together<'c, 'a>(
    spec: &'c Spec,
    changes: &'c [Change<'a>],
) -> impl Iterator<Item = &'c [Change<'a>]> {
    let same = |one: &Change<'_>, other: &Change<'_>| spec.rank(one.slot) == spec.rank(other.slot);
    changes.chunk_by(same).flat_map(|group| {
        let size = group.first().map_or(0, |change| spec.size_of_group(change.slot));
        cut(spec, size, group)
    })
}

/// Cuts a list into the batches of the strategy, in which shares are of `all`; the last
/// size holds for all that is left.
fn cut<'a, T>(spec: &'a Spec, all: u32, mut rest: &'a [T]) -> impl Iterator<Item = &'a [T]> {
    let Strategy { batch, batches, .. } = &spec.strategy;
    let last = *batches.last().unwrap_or(batch);
    let mut sizes = batches.iter().copied().chain(std::iter::repeat(last));
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let size = sizes.next()?.of(all).max(1) as usize;
        let (now, later) = rest.split_at(size.min(rest.len()));
        rest = later;
        Some(now)
    })
}

/// One batch, in steps of as many slots as may change at once. What is watched at its
/// end is all that was `changed` so far: a unit may turn bad when its own batch is over.
fn roll(
    spec: &Spec,
    slots: &[Change<'_>],
    changed: &[Change<'_>],
    deployment: DeploymentId,
) -> Batch {
    let steps = slots.chunks(step_size(spec) as usize);
    let mut phases: Vec<_> = steps.flat_map(|slots| step(spec, slots, deployment)).collect();
    let units = ops_of_new(spec, slots, OpAction::VerifyUnit, deployment);
    phases.extend(verify(spec, units, deployment));
    phases.extend(bake(spec, changed, deployment));
    let mut groups = slots.iter().map(|change| spec.group(change.slot));
    let first = groups.next().flatten();
    let group = first.filter(|first| groups.all(|group| group == Some(first)));
    Batch { group: group.map(str::to_owned), phases }
}

fn step(spec: &Spec, slots: &[Change<'_>], deployment: DeploymentId) -> Vec<Vec<Op>> {
    let of_new = |action| ops_of_new(spec, slots, action, deployment);
    let old: Vec<_> = slots.iter().filter_map(|change| change.old).collect();
    let old = retire(&old, deployment).phases;
    let up = [of_new(OpAction::Start), of_new(OpAction::Gate), of_new(OpAction::Admit)];
    // What can fail without effect on traffic comes before what has one.
    let made = creations(spec, slots, deployment);
    match spec.strategy.order {
        RolloutOrder::StartFirst => made.into_iter().chain(up).chain(old).collect(),
        RolloutOrder::StopFirst => made.into_iter().chain(old).chain(up).collect(),
    }
}

/// Everything out of traffic at once, then down. There is nothing to look at between
/// batches, so it is one.
pub(super) fn stop(spec: &Spec, changes: &Changes<'_>, deployment: DeploymentId) -> Vec<Batch> {
    if changes.retire.is_empty() {
        return Vec::new();
    }
    let closed = spec.expose.is_some();
    let close = closed.then(|| vec![of_environment(OpAction::Close, spec, deployment)]);
    let down = retire(&changes.retire, deployment).phases;
    vec![Batch::of(close.into_iter().chain(down).collect())]
}

/// All up at once, where nothing serves that could be lost.
pub(super) fn start(spec: &Spec, changes: &Changes<'_>, deployment: DeploymentId) -> Vec<Batch> {
    let stopped = changes.replace.iter().all(|change| change.old.is_none());
    if stopped && !changes.replace.is_empty() {
        return vec![recreate(spec, changes, deployment)];
    }
    batches(spec, changes, deployment)
}

/// Makes the units that are not there yet.
fn creations(spec: &Spec, slots: &[Change<'_>], deployment: DeploymentId) -> Option<Vec<Op>> {
    let missing: Vec<_> = slots.iter().filter(|change| change.warm.is_none()).copied().collect();
    let made = ops_of_new(spec, &missing, OpAction::Create, deployment);
    (!made.is_empty()).then_some(made)
}

/// All down, then all up.
fn recreate(spec: &Spec, changes: &Changes<'_>, deployment: DeploymentId) -> Batch {
    let slots = &changes.replace;
    let of_new = |action| ops_of_new(spec, slots, action, deployment);
    let replaced = slots.iter().filter_map(|change| change.old);
    let old: Vec<_> = replaced.chain(changes.retire.iter().copied()).collect();
    let mut phases: Vec<_> = creations(spec, slots, deployment).into_iter().collect();
    phases.extend(retire(&old, deployment).phases);
    phases.extend([of_new(OpAction::Start), of_new(OpAction::Gate), of_new(OpAction::Admit)]);
    phases.extend(verify(spec, of_new(OpAction::VerifyUnit), deployment));
    phases.extend(bake(spec, slots, deployment));
    Batch::of(phases)
}

fn ops_of_new(
    spec: &Spec,
    slots: &[Change<'_>],
    action: OpAction,
    deployment: DeploymentId,
) -> Vec<Op> {
    let op = |change: &Change<'_>| Op {
        action,
        unit: change.unit(spec, deployment),
        slot: change.slot,
        replaces: change.old.map(|old| old.unit.clone()),
        deployment,
    };
    slots.iter().map(op).collect()
}

/// First each new unit by itself, then all of them through the switch.
fn verify(spec: &Spec, units: Vec<Op>, deployment: DeploymentId) -> Vec<Vec<Op>> {
    let of_units = spec.verify.iter().any(VerifyStep::is_of_unit);
    let of_all = spec.verify.iter().any(|step| !step.is_of_unit());
    let units = of_units.then_some(units);
    let all = of_all.then(|| vec![of_environment(OpAction::Verify, spec, deployment)]);
    units.into_iter().chain(all).collect()
}

fn bake(spec: &Spec, slots: &[Change<'_>], deployment: DeploymentId) -> Option<Vec<Op>> {
    let watched = !spec.strategy.bake.std().is_zero();
    watched.then(|| ops_of_new(spec, slots, OpAction::Bake, deployment))
}

/// What is left to be looked at of `units`, which serve, in a batch that ended early: with
/// an op of kind `failed`, or nobody knows where. Nothing that failed is asked again.
pub fn proof(
    spec: &Spec,
    units: &[&ObservedUnit],
    failed: Option<OpAction>,
    deployment: DeploymentId,
) -> Option<Batch> {
    if units.is_empty() {
        return None;
    }
    let verified = matches!(failed, None | Some(OpAction::Verify | OpAction::Bake));
    let mut phases = match verified {
        true => Vec::new(),
        false => verify(spec, ops_on(units, OpAction::VerifyUnit, deployment), deployment),
    };
    if !spec.strategy.bake.std().is_zero() {
        phases.push(ops_on(units, OpAction::Bake, deployment));
    }
    (!phases.is_empty()).then_some(Batch::of(phases))
}

fn retire(units: &[&ObservedUnit], deployment: DeploymentId) -> Batch {
    if units.is_empty() {
        return Batch::default();
    }
    let each = |action| ops_on(units, action, deployment);
    Batch::of(vec![each(OpAction::Drain), each(OpAction::Stop)])
}

fn ops_on(units: &[&ObservedUnit], action: OpAction, deployment: DeploymentId) -> Vec<Op> {
    let op = |unit: &&ObservedUnit| Op {
        action,
        unit: unit.unit.clone(),
        slot: unit.slot,
        replaces: None,
        deployment,
    };
    units.iter().map(op).collect()
}
