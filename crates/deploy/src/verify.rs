//! Honesty: what is claimed at the end is what was observed.

use std::collections::BTreeSet;
use std::time::Duration;

use event::DeploymentKind;

use crate::{Deployment, EnvironmentKey, Observed, ObservedUnit, Target, TargetError, UnitState};

const OBSERVE: Duration = Duration::from_secs(30);
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Observes, bounded, and once more when the infrastructure falters.
pub(crate) async fn observe(
    target: &dyn Target,
    key: &EnvironmentKey,
) -> Result<Observed, TargetError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let seen = tokio::time::timeout(OBSERVE, target.observe(key)).await;
        match seen {
            Ok(Ok(seen)) => return Ok(seen),
            Ok(Err(TargetError::Infrastructure { .. })) if tries < TRIES => {}
            Ok(Err(error)) => return Err(error),
            Err(_) if tries < TRIES => {}
            Err(_) => {
                return Err(TargetError::Infrastructure {
                    part: "target".to_owned(),
                    message: format!("no observation within {} s", OBSERVE.as_secs()),
                });
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Says what is missing until the wanted state is the observed one: every slot is
/// served by a unit made from the specification, and by nothing else; after a stop
/// nothing runs. Slots that were given up may have what they had, or nothing. Empty when
/// nothing is missing.
pub(crate) fn missing(
    deployment: &Deployment,
    seen: &Observed,
    given_up: &BTreeSet<u32>,
) -> Vec<String> {
    let Deployment { id, kind, spec, scope, .. } = deployment;
    let view = scope.view(seen);
    let seen: &Observed = &view;
    if *kind == DeploymentKind::Stop {
        return awake(seen);
    }
    let anew = *kind == DeploymentKind::Restart;
    let wanted = spec.unit_hash();
    let mut missing = Vec::new();
    let is_wanted = |slot: &u32| scope.has(*slot) && !given_up.contains(slot);
    for slot in (0..spec.replicas).filter(is_wanted) {
        match seen.current(slot) {
            None => missing.push(format!("slot {slot}: no unit serves")),
            Some(unit) if unit.spec != wanted => {
                missing.push(format!(
                    "slot {slot}: {} is of another release or configuration",
                    unit.unit
                ));
            }
            Some(unit) if anew && unit.deployment != *id => {
                missing.push(format!("slot {slot}: {} was not restarted", unit.unit));
            }
            Some(unit) if unit.state != UnitState::Running => {
                missing.push(format!("slot {slot}: {} does not run", unit.unit));
            }
            Some(_) => {}
        }
    }
    let too_many = |unit: &&ObservedUnit| {
        unit.admitted && seen.current(unit.slot).is_some_and(|current| current.unit != unit.unit)
    };
    let beyond = |unit: &&ObservedUnit| unit.admitted && unit.slot >= spec.replicas;
    for unit in seen.units.iter().filter(|unit| too_many(unit) || beyond(unit)) {
        missing.push(format!("slot {}: {} still gets traffic", unit.slot, unit.unit));
    }
    missing
}

/// Says which units still run or get traffic.
fn awake(seen: &Observed) -> Vec<String> {
    let said = |unit: &ObservedUnit| match (unit.admitted, unit.state) {
        (true, _) => Some(format!("slot {}: {} still gets traffic", unit.slot, unit.unit)),
        (false, UnitState::Running | UnitState::Unhealthy) => {
            Some(format!("slot {}: {} still runs", unit.slot, unit.unit))
        }
        _ => None,
    };
    seen.units.iter().filter_map(said).collect()
}

/// What is where, for people who must put it right.
pub(crate) fn report(seen: &Observed) -> String {
    let unit = |unit: &ObservedUnit| {
        let state = match unit.state {
            UnitState::Created => "created",
            UnitState::Running => "running",
            UnitState::Unhealthy => "unhealthy",
            UnitState::Exited => "stopped",
        };
        let traffic = if unit.admitted { "in traffic" } else { "out of traffic" };
        format!(
            "slot {}: {} (release {}) {state}, {traffic}",
            unit.slot,
            unit.unit,
            unit.release.short()
        )
    };
    if seen.units.is_empty() {
        return "no units".to_owned();
    }
    seen.units.iter().map(unit).collect::<Vec<_>>().join("; ")
}
