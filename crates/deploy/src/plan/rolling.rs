//! What is to be done about each slot.

use event::{DeploymentId, DeploymentKind};

use super::unit_name;
use crate::{Observed, ObservedUnit, Spec, UnitId, UnitState};

/// A slot that needs another unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    pub(super) slot: u32,
    /// The unit that serves it now.
    pub(super) old: Option<&'a ObservedUnit>,
    /// A unit that waits, made from the wanted specification.
    pub(super) warm: Option<&'a ObservedUnit>,
}

impl Change<'_> {
    /// The unit that shall serve the slot.
    pub(super) fn unit(&self, spec: &Spec, deployment: DeploymentId) -> UnitId {
        match self.warm {
            Some(warm) => warm.unit.clone(),
            None => unit_name(spec, self.slot, deployment),
        }
    }
}

/// The slots that differ from what is wanted.
#[derive(Debug)]
pub(super) struct Changes<'a> {
    pub(super) replace: Vec<Change<'a>>,
    /// Units that serve and shall not: those of slots beyond the wanted number,
    /// highest first, and second ones of a slot.
    pub(super) retire: Vec<&'a ObservedUnit>,
}

pub(super) fn changes<'a>(
    kind: DeploymentKind,
    spec: &Spec,
    seen: &'a Observed,
    deployment: DeploymentId,
) -> Changes<'a> {
    if kind == DeploymentKind::Stop {
        let runs =
            |unit: &ObservedUnit| matches!(unit.state, UnitState::Running | UnitState::Unhealthy);
        let retire = seen.units.iter().filter(|unit| unit.admitted || runs(unit)).collect();
        return Changes { replace: Vec::new(), retire };
    }
    let wanted = spec.unit_hash();
    let is_wanted = |unit: &ObservedUnit| {
        let anew = kind == DeploymentKind::Restart;
        unit.spec == wanted
            && unit.state == UnitState::Running
            && (!anew || unit.deployment == deployment)
    };
    let takes_up = |state| match kind {
        DeploymentKind::Rollback | DeploymentKind::Start => {
            matches!(state, UnitState::Exited | UnitState::Running)
        }
        // One that has died may do so again.
        DeploymentKind::Repair => state == UnitState::Running,
        _ => false,
    };
    let warm_of = |slot| {
        let waits = |unit: &&ObservedUnit| {
            unit.slot == slot && !unit.admitted && unit.spec == wanted && takes_up(unit.state)
        };
        seen.units.iter().filter(waits).max_by_key(|unit| unit.age())
    };
    let replace = (0..spec.replicas)
        .map(|slot| Change { slot, old: seen.current(slot), warm: None })
        .filter(|change| !change.old.is_some_and(is_wanted))
        .map(|change| Change { warm: warm_of(change.slot), ..change })
        .collect();
    let mut retire: Vec<_> = seen
        .units
        .iter()
        .filter(|unit| unit.admitted)
        .filter(|unit| {
            let current = seen.current(unit.slot).is_some_and(|current| current.unit == unit.unit);
            unit.slot >= spec.replicas || !current
        })
        .collect();
    retire.sort_by_key(|unit| std::cmp::Reverse(unit.slot));
    Changes { replace, retire }
}

/// What interrupted deployments left: units that are not stopped though nothing
/// is routed to them. Stopped ones may be somebody's warm unit.
#[derive(Debug)]
pub(super) struct Leftovers<'a> {
    /// Units that served until the current one took over, and that nobody drained
    /// and stopped any more. They become the warm units they were to become.
    pub(super) stop: Vec<&'a ObservedUnit>,
    pub(super) remove: Vec<&'a ObservedUnit>,
}

pub(super) fn leftovers<'a>(
    seen: &'a Observed,
    changes: &Changes<'a>,
    deployment: DeploymentId,
) -> Leftovers<'a> {
    let is_used = |unit: &ObservedUnit| {
        let warm = changes.replace.iter().filter_map(|change| change.warm);
        warm.chain(changes.retire.iter().copied()).any(|used| used.unit == unit.unit)
    };
    let is_leftover = |unit: &&ObservedUnit| {
        !unit.admitted
            && unit.state != UnitState::Exited
            && unit.deployment != deployment
            && !is_used(unit)
    };
    let served = |unit: &&ObservedUnit| {
        let replaced = changes.replace.iter().any(|change| change.slot == unit.slot);
        let older = seen.current(unit.slot).is_some_and(|current| unit.age() < current.age());
        unit.state == UnitState::Running && older && !replaced
    };
    let (stop, remove) = seen.units.iter().filter(is_leftover).partition(served);
    Leftovers { stop, remove }
}

/// Returns the units to remove once the wanted state was observed. One unit per
/// slot is kept warm: the one this deployment replaces, else the latest.
pub(super) fn outdated<'a>(
    spec: &Spec,
    seen: &'a Observed,
    changes: &Changes<'a>,
    leftovers: &Leftovers<'a>,
    deployment: DeploymentId,
) -> impl Iterator<Item = &'a ObservedUnit> {
    let is_in = |units: &[&ObservedUnit], unit: &ObservedUnit| {
        units.iter().any(|other| other.unit == unit.unit)
    };
    let used: Vec<_> = changes.replace.iter().filter_map(|change| change.warm).collect();
    // Whatever is stopped when the batches are done.
    let stopped: Vec<_> = seen
        .units
        .iter()
        .filter(|unit| unit.deployment != deployment && !is_in(&used, unit))
        .filter(|unit| {
            let stopped = !unit.admitted && unit.state == UnitState::Exited;
            stopped || is_in(&changes.retire, unit) || is_in(&leftovers.stop, unit)
        })
        .collect();
    let warm: Vec<_> = (0..spec.replicas)
        .filter_map(|slot| {
            let replaced = changes.replace.iter().find(|change| change.slot == slot);
            let latest = || {
                let of_slot = stopped.iter().filter(|unit| unit.slot == slot && !unit.admitted);
                of_slot.max_by_key(|unit| unit.age()).copied()
            };
            replaced.and_then(|change| change.old).or_else(latest)
        })
        .collect();
    stopped.into_iter().filter(move |unit| !is_in(&warm, unit))
}
