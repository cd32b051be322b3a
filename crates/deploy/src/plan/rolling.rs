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

/// Returns what interrupted deployments left: units that are not stopped though
/// nothing is routed to them. Stopped ones may be somebody's warm unit.
pub(super) fn leftovers(
    seen: &Observed,
    deployment: DeploymentId,
) -> impl Iterator<Item = &ObservedUnit> {
    seen.units.iter().filter(move |unit| {
        !unit.admitted && unit.state != UnitState::Exited && unit.deployment != deployment
    })
}

/// Returns the units to remove once the wanted state was observed. One unit per
/// slot is kept warm: the one this deployment replaces, else the latest.
pub(super) fn outdated<'a>(
    spec: &Spec,
    seen: &'a Observed,
    changes: &Changes<'a>,
    deployment: DeploymentId,
) -> impl Iterator<Item = &'a ObservedUnit> {
    let warm: Vec<_> = (0..spec.replicas)
        .filter_map(|slot| {
            let replaced = changes.replace.iter().find(|(changed, _)| *changed == slot);
            match replaced {
                Some((_, Some(old))) => Some(&old.unit),
                _ => latest_stopped(seen, slot).map(|unit| &unit.unit),
            }
        })
        .collect();
    let retired: Vec<_> = changes.retire.iter().map(|unit| &unit.unit).collect();
    seen.units.iter().filter(move |unit| {
        let stopped = !unit.admitted && unit.state == UnitState::Exited;
        (stopped || retired.contains(&&unit.unit))
            && unit.deployment != deployment
            && !warm.contains(&&unit.unit)
    })
}

fn latest_stopped(seen: &Observed, slot: u32) -> Option<&ObservedUnit> {
    seen.units
        .iter()
        .filter(|unit| unit.slot == slot && !unit.admitted && unit.state == UnitState::Exited)
        .max_by_key(|unit| unit.age())
}
