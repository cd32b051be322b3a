//! The plan of a deployment: batches of ops, from what is wanted and what was seen.
//!
//! Planning is pure: it reads no clock, no network and no file, and the same
//! input gives the same plan. Hence a dry run, property tests without
//! infrastructure, and recovery by planning again from a new observation.

mod batch;
mod rollback;
mod rolling;

#[cfg(test)]
mod tests;

use event::DeploymentId;
use serde::{Deserialize, Serialize};

pub use batch::Batch;
pub use rollback::{Before, Restore, Step, restore};

use crate::{Observed, ObservedUnit, Op, OpAction, Spec, UnitId};

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

/// Plans the deployment `deployment` of `spec`.
pub fn plan(spec: &Spec, seen: &Observed, deployment: DeploymentId) -> DeployPlan {
    let changes = rolling::changes(spec, seen);
    let batches = batch::batches(spec, &changes, deployment);
    let mut prepare = Vec::new();
    if !changes.replace.is_empty() {
        // One image serves all units, so this op is about the environment.
        prepare.push(Op {
            action: OpAction::Fetch,
            unit: UnitId(spec.route()),
            slot: 0,
            replaces: None,
            deployment,
        });
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
    let finalise = rolling::outdated(spec, seen, &changes, &leftovers, deployment)
        .map(|unit| op(OpAction::Remove, unit))
        .collect();
    DeployPlan { prepare, batches, finalise }
}

/// Returns the name of the unit that `deployment` makes for `slot`:
/// `<project>-<env>-<slot>-<release8>-<deploy8>`.
pub fn unit_name(spec: &Spec, slot: u32, deployment: DeploymentId) -> UnitId {
    UnitId(format!("{}-{slot}-{}-{}", spec.route(), spec.release.short(), deployment.short()))
}
