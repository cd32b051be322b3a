//! The plan of a deployment: batches of ops, from what is wanted and what was seen.
//!
//! Planning is pure: it reads no clock, no network and no file, and the same
//! input gives the same plan. Hence a dry run, property tests without
//! infrastructure, and recovery by planning again from a new observation.

mod batch;
mod budget;
mod rollback;
mod rolling;

#[cfg(test)]
mod tests;

use event::{DeploymentId, DeploymentKind};
use serde::{Deserialize, Serialize};

pub use batch::{Batch, back_size, proof};
pub use budget::{Budget, FailedUnit};
pub use rollback::{Before, Restore, Step, restore};

use crate::{Deployment, Observed, ObservedUnit, Op, OpAction, Scope, Spec, UnitId};

/// What brings an environment from what was seen to what is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployPlan {
    /// Without effect on traffic: fetches the artifact, removes what interrupted
    /// deployments left behind.
    pub prepare: Vec<Op>,
    pub batches: Vec<Batch>,
    /// After the wanted state was observed: removes what is no longer kept warm.
    pub finalise: Vec<Op>,
}

impl DeployPlan {
    /// Whether everything runs already as it is wanted.
    pub fn is_empty(&self) -> bool {
        self.ops().next().is_none()
    }

    /// Returns all ops, in the order of their numbers in the journal.
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        let batches = self.batches.iter().flat_map(Batch::ops);
        self.prepare.iter().chain(batches).chain(&self.finalise)
    }

    /// Whether it only takes away: no unit has to be made any more.
    pub fn is_clean_up(&self) -> bool {
        self.ops().all(|op| op.action != OpAction::Create)
    }
}

/// Plans the deployment `deployment`, which brings an environment to `spec` in the
/// way of its `kind`:
///
/// - `deploy` and `scale` make units for the slots that lack one, and retire those
///   of slots beyond the wanted number;
/// - `rollback` and `start` do the same, and take up units again that wait, stopped,
///   and were made from the same specification;
/// - `restart` makes a unit of its own for every slot;
/// - `repair` does as `deploy`, and takes a unit that runs as it should into traffic again;
/// - `stop` takes all out of traffic and down, and keeps them.
pub fn plan(
    kind: DeploymentKind,
    spec: &Spec,
    seen: &Observed,
    deployment: DeploymentId,
) -> DeployPlan {
    within(&Scope::default(), kind, spec, seen, deployment)
}

/// Plans a deployment that is settled, of the units it is about; see [`plan`].
pub fn plan_for(deployment: &Deployment, seen: &Observed) -> DeployPlan {
    let Deployment { id, kind, spec, scope, .. } = deployment;
    within(scope, *kind, &scope.acting(spec), &scope.view(seen), *id)
}

fn within(
    scope: &Scope,
    kind: DeploymentKind,
    spec: &Spec,
    seen: &Observed,
    deployment: DeploymentId,
) -> DeployPlan {
    let mut changes = rolling::changes(kind, spec, seen, deployment);
    changes.replace.retain(|change| scope.has(change.slot));
    let batches = match kind {
        // The others go on, so there is no page in their place.
        DeploymentKind::Stop if scope.is_partial() => batch::batches(spec, &changes, deployment),
        DeploymentKind::Stop => batch::stop(spec, &changes, deployment),
        DeploymentKind::Start => batch::start(spec, &changes, deployment),
        _ => batch::batches(spec, &changes, deployment),
    };
    let mut prepare = Vec::new();
    if changes.replace.iter().any(|change| change.warm.is_none()) {
        // One image serves all units, so this op is about the environment.
        prepare.push(of_environment(OpAction::Fetch, spec, deployment));
    }
    let op = |action, unit: &ObservedUnit| Op {
        action,
        unit: unit.unit.clone(),
        slot: unit.slot,
        replaces: None,
        deployment,
    };
    let leftovers = rolling::leftovers(seen, &changes, deployment);
    for unit in &leftovers.stop {
        prepare.extend([op(OpAction::Drain, unit), op(OpAction::Stop, unit)]);
    }
    prepare.extend(leftovers.remove.iter().map(|unit| op(OpAction::Remove, unit)));
    let finalise = match kind {
        // All that is stopped now is what `start` finds.
        DeploymentKind::Stop => Vec::new(),
        _ => rolling::outdated(spec, seen, &changes, &leftovers, deployment)
            .map(|unit| op(OpAction::Remove, unit))
            .collect(),
    };
    DeployPlan { prepare, batches, finalise }
}

/// An op about all of an environment and no unit of it.
fn of_environment(action: OpAction, spec: &Spec, deployment: DeploymentId) -> Op {
    Op { action, unit: UnitId(spec.route()), slot: 0, replaces: None, deployment }
}

/// Returns the name of the unit that `deployment` makes for `slot`:
/// `<project>-<env>-<slot>-<release8>-<deploy8>`.
pub fn unit_name(spec: &Spec, slot: u32, deployment: DeploymentId) -> UnitId {
    UnitId(format!("{}-{slot}-{}-{}", spec.route(), spec.release.short(), deployment.short()))
}
