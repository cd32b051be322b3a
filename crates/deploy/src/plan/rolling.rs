//! What is to be done about each slot, start-first.

use event::DeploymentId;

use crate::{Observed, ObservedUnit, Spec, UnitState};

/// The slots that differ from what is wanted.
#[derive(Debug)]
pub(super) struct Changes<'a> {
    /// Slots that need a new unit, each with the unit that serves it now.
    pub(super) replace: Vec<(u32, Option<&'a ObservedUnit>)>,
    /// Units that serve and shall not: those of slots beyond the wanted number,
    /// highest first, and second ones of a slot.
    pub(super) retire: Vec<&'a ObservedUnit>,
}

pub(super) fn changes<'a>(spec: &Spec, seen: &'a Observed) -> Changes<'a> {
    let wanted = spec.unit_hash();
    let replace = (0..spec.replicas)
        .map(|slot| (slot, seen.current(slot)))
        .filter(|(_, current)| {
            !current.is_some_and(|unit| unit.spec == wanted && unit.state == UnitState::Running)
        })
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
    let is_leftover = |unit: &&ObservedUnit| {
        !unit.admitted && unit.state != UnitState::Exited && unit.deployment != deployment
    };
    let served = |unit: &&ObservedUnit| {
        let replaced = changes.replace.iter().any(|(slot, _)| *slot == unit.slot);
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
    // Whatever is stopped when the batches are done.
    let stopped: Vec<_> = seen
        .units
        .iter()
        .filter(|unit| unit.deployment != deployment)
        .filter(|unit| {
            let stopped = !unit.admitted && unit.state == UnitState::Exited;
            stopped || is_in(&changes.retire, unit) || is_in(&leftovers.stop, unit)
        })
        .collect();
    let warm: Vec<_> = (0..spec.replicas)
        .filter_map(|slot| {
            let replaced = changes.replace.iter().find(|(changed, _)| *changed == slot);
            let latest = || {
                let of_slot = stopped.iter().filter(|unit| unit.slot == slot && !unit.admitted);
                of_slot.max_by_key(|unit| unit.age()).copied()
            };
            replaced.and_then(|(_, old)| *old).or_else(latest)
        })
        .collect();
    stopped.into_iter().filter(move |unit| !is_in(&warm, unit))
}
