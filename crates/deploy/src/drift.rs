//! What differs between what should run and what does: a pure comparison, for `status`
//! and for whoever watches.

use serde::{Deserialize, Serialize};

use crate::standing::{resting, standing};
use crate::{DeploymentRecord, Observed, ObservedUnit, Spec, Standing, UnitId, UnitState};

/// One difference, at one slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    pub slot: u32,
    /// The unit that is not as it should be; `None` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitId>,
    pub kind: DriftKind,
    /// For people.
    pub cause: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriftKind {
    /// No unit serves the slot.
    Missing,
    /// The unit that serves it does not run.
    Dead,
    Unhealthy,
    /// It runs another artifact than the one that was deployed.
    Release,
    /// It was made from another configuration.
    Configuration,
    /// It gets traffic and nobody asked for it.
    Surplus,
    /// It runs though the environment was stopped on purpose.
    Awake,
    /// It runs as it should, and the proxy sends it nothing.
    Route,
}

impl DriftKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Dead => "dead",
            Self::Unhealthy => "unhealthy",
            Self::Release => "release",
            Self::Configuration => "configuration",
            Self::Surplus => "surplus",
            Self::Awake => "awake",
            Self::Route => "route",
        }
    }
}

/// Compares what stands with what was seen, slot by slot. Without anything that stands,
/// whatever gets traffic is too much; after a stop, whatever runs is.
pub fn drift(standing: Option<Standing<'_>>, seen: &Observed) -> Vec<Drift> {
    let Some(standing) = standing else { return surplus(seen, 0) };
    if standing.is_stopped() {
        return awake(seen);
    }
    let spec = standing.spec();
    let mut found: Vec<Drift> =
        (0..spec.replicas).filter_map(|slot| of_slot(slot, spec, seen)).collect();
    found.extend(surplus(seen, spec.replicas));
    found
}

/// As [`drift`], of what `history`, newest first, says: a slot that was stopped on purpose
/// is no difference.
pub fn drift_of(history: &[DeploymentRecord], seen: &Observed) -> Vec<Drift> {
    let resting = resting(history);
    let mut found = drift(standing(history), seen);
    found.retain(|drift| drift.kind != DriftKind::Missing || !resting.contains(&drift.slot));
    found
}

fn of_slot(slot: u32, spec: &Spec, seen: &Observed) -> Option<Drift> {
    let Some(unit) = seen.current(slot) else {
        let waits = |unit: &&ObservedUnit| {
            unit.slot == slot && unit.state == UnitState::Running && unit.spec == spec.unit_hash()
        };
        if let Some(unit) = seen.units.iter().filter(waits).max_by_key(|unit| unit.age()) {
            return Some(of_unit(unit, DriftKind::Route, "it runs, and gets no requests"));
        }
        let cause = match seen.away.contains(&slot) {
            true => "its host cannot be reached".to_owned(),
            false => "no unit serves it".to_owned(),
        };
        return Some(Drift { slot, unit: None, kind: DriftKind::Missing, cause });
    };
    let (kind, cause) = match unit.state {
        UnitState::Unhealthy => (DriftKind::Unhealthy, "it fails its health check".to_owned()),
        UnitState::Created | UnitState::Exited => (DriftKind::Dead, "it does not run".to_owned()),
        UnitState::Running if unit.release != spec.release => {
            let (runs, wanted) = (unit.release.short(), spec.release.short());
            (DriftKind::Release, format!("it runs release {runs} in place of {wanted}"))
        }
        UnitState::Running if unit.spec != spec.unit_hash() => {
            (DriftKind::Configuration, "it was made from another configuration".to_owned())
        }
        UnitState::Running => return None,
    };
    Some(Drift { slot, unit: Some(unit.unit.clone()), kind, cause })
}

fn surplus(seen: &Observed, replicas: u32) -> Vec<Drift> {
    let second = |unit: &ObservedUnit| {
        seen.current(unit.slot).is_some_and(|current| current.unit != unit.unit)
    };
    let too_many = |unit: &&ObservedUnit| unit.admitted && (unit.slot >= replicas || second(unit));
    let units = seen.units.iter().filter(too_many);
    units.map(|unit| of_unit(unit, DriftKind::Surplus, "it gets traffic and should not")).collect()
}

fn awake(seen: &Observed) -> Vec<Drift> {
    let runs = |unit: &&ObservedUnit| {
        unit.admitted || matches!(unit.state, UnitState::Running | UnitState::Unhealthy)
    };
    let units = seen.units.iter().filter(runs);
    units
        .map(|unit| of_unit(unit, DriftKind::Awake, "it runs, and was stopped on purpose"))
        .collect()
}

fn of_unit(unit: &ObservedUnit, kind: DriftKind, cause: &str) -> Drift {
    Drift { slot: unit.slot, unit: Some(unit.unit.clone()), kind, cause: cause.to_owned() }
}

#[cfg(test)]
mod tests {
    use event::{DeploymentId, DeploymentKind, DeploymentState, ReleaseId};
    use uuid::Uuid;

    use super::*;
    use crate::{Artifact, Deployment};

    fn spec() -> Spec {
        Spec {
            release: ReleaseId::new(Uuid::from_u128(1)),
            artifact: Artifact::ImageId("sha256:1".to_owned()),
            replicas: 2,
            ..crate::testing::spec("web", "prod")
        }
    }

    fn record(kind: DeploymentKind) -> DeploymentRecord {
        let deployment = Deployment {
            id: DeploymentId::new(Uuid::from_u128(7)),
            kind,
            spec: spec(),
            by: "ann".to_owned(),
            reason: None,
            name: String::new(),
            run: None,
            stage: None,
            scope: crate::Scope::default(),
        };
        DeploymentRecord {
            state: Some(DeploymentState::Succeeded),
            ..DeploymentRecord::new(deployment, chrono::DateTime::UNIX_EPOCH)
        }
    }

    fn unit(slot: u32) -> ObservedUnit {
        ObservedUnit {
            unit: UnitId(format!("web-prod-{slot}")),
            slot,
            release: spec().release,
            deployment: DeploymentId::new(Uuid::from_u128(7)),
            spec: spec().unit_hash(),
            state: UnitState::Running,
            admitted: true,
            address: None,
            image: "sha256:1".to_owned(),
            fence: 1,
        }
    }

    fn found(kind: DeploymentKind, units: Vec<ObservedUnit>) -> Vec<(u32, DriftKind)> {
        let history = [record(kind)];
        let found = drift(standing(&history), &Observed { units, ..Observed::default() });
        found.into_iter().map(|drift| (drift.slot, drift.kind)).collect()
    }

    #[test]
    fn what_runs_as_it_should_is_no_drift() {
        let stopped = ObservedUnit { state: UnitState::Exited, admitted: false, ..unit(0) };
        let warm = ObservedUnit { unit: UnitId("old".to_owned()), ..stopped };
        assert_eq!(found(DeploymentKind::Deploy, vec![unit(0), unit(1), warm.clone()]), []);
        assert_eq!(found(DeploymentKind::Stop, vec![warm]), []);
    }

    #[test]
    fn every_way_to_differ_has_a_name_and_a_place() {
        let deploy = |units| found(DeploymentKind::Deploy, units);
        assert_eq!(deploy(vec![unit(1)]), [(0, DriftKind::Missing)]);
        let dead = ObservedUnit { state: UnitState::Exited, ..unit(0) };
        assert_eq!(deploy(vec![dead, unit(1)]), [(0, DriftKind::Dead)]);
        let sick = ObservedUnit { state: UnitState::Unhealthy, ..unit(1) };
        assert_eq!(deploy(vec![unit(0), sick]), [(1, DriftKind::Unhealthy)]);
        let other = ObservedUnit { release: ReleaseId::new(Uuid::from_u128(9)), ..unit(0) };
        assert_eq!(deploy(vec![other, unit(1)]), [(0, DriftKind::Release)]);
        let configured = ObservedUnit { spec: "another".to_owned(), ..unit(1) };
        assert_eq!(deploy(vec![unit(0), configured]), [(1, DriftKind::Configuration)]);
        assert_eq!(deploy(vec![unit(0), unit(1), unit(2)]), [(2, DriftKind::Surplus)]);
        let unrouted = ObservedUnit { admitted: false, ..unit(1) };
        assert_eq!(deploy(vec![unit(0), unrouted]), [(1, DriftKind::Route)]);
        let second = ObservedUnit { unit: UnitId("second".to_owned()), fence: 0, ..unit(0) };
        assert_eq!(deploy(vec![second, unit(0), unit(1)]), [(0, DriftKind::Surplus)]);
        assert_eq!(found(DeploymentKind::Stop, vec![unit(0)]), [(0, DriftKind::Awake)]);
    }

    #[test]
    fn where_nothing_stands_whatever_gets_traffic_is_too_much() {
        let found = drift(None, &Observed { units: vec![unit(0)], ..Observed::default() });
        assert_eq!(found.iter().map(|drift| drift.kind).collect::<Vec<_>>(), [DriftKind::Surplus]);
    }
}
