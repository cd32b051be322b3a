//! Batches: the units that are changed together before the next look.

use event::DeploymentId;
use serde::{Deserialize, Serialize};

use super::rolling::Changes;
use super::unit_name;
use crate::{ObservedUnit, Op, OpAction, Spec};

/// Ops in phases. Those of one phase run at once, each on its own unit; a phase
/// begins when all of the one before are done. So no unit of a batch is
/// admitted before every unit of it has passed its gate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    pub phases: Vec<Vec<Op>>,
}

impl Batch {
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        self.phases.iter().flatten()
    }
}

/// Returns batches of at most `strategy.batch` slots: new units first, so that
/// capacity only grows until units are retired.
pub(super) fn batches(spec: &Spec, changes: &Changes<'_>, deployment: DeploymentId) -> Vec<Batch> {
    let size = spec.strategy.batch.of(spec.replicas).max(1) as usize;
    let rolled = changes.replace.chunks(size).map(|slots| roll(spec, slots, deployment));
    let retired = changes.retire.chunks(size).map(|units| retire(units, deployment));
    rolled.chain(retired).collect()
}

fn roll(spec: &Spec, slots: &[(u32, Option<&ObservedUnit>)], deployment: DeploymentId) -> Batch {
    let of_new = |action| {
        let op = |(slot, old): &(u32, Option<&ObservedUnit>)| Op {
            action,
            unit: unit_name(spec, *slot, deployment),
            slot: *slot,
            replaces: old.map(|old| old.unit.clone()),
            deployment,
        };
        slots.iter().map(op).collect::<Vec<_>>()
    };
    let old: Vec<_> = slots.iter().filter_map(|(_, old)| *old).collect();
    let mut phases = vec![
        of_new(OpAction::Create),
        of_new(OpAction::Start),
        of_new(OpAction::Gate),
        of_new(OpAction::Admit),
    ];
    phases.extend(retire(&old, deployment).phases);
    if !spec.strategy.bake.std().is_zero() {
        phases.push(of_new(OpAction::Bake));
    }
    Batch { phases }
}

fn retire(units: &[&ObservedUnit], deployment: DeploymentId) -> Batch {
    let each = |action| {
        let op = |unit: &&ObservedUnit| Op {
            action,
            unit: unit.unit.clone(),
            slot: unit.slot,
            replaces: None,
            deployment,
        };
        units.iter().map(op).collect::<Vec<_>>()
    };
    if units.is_empty() {
        return Batch::default();
    }
    Batch { phases: vec![each(OpAction::Drain), each(OpAction::Stop)] }
}
