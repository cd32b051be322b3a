//! What is not as it should be at one look, each thing at its place.

use std::collections::BTreeMap;

use event::{Incident, IncidentKind};

use super::{Inspected, RouteSeen};
use crate::{
    DeploymentRecord, Drift, DriftKind, ObservedUnit, Spec, Standing, UnitId, UnitState, drift_of,
};

/// The place of a target that is away.
pub(super) const TARGET: &str = "target";
/// The place of a route as a whole.
const ROUTE: &str = "route";

pub(super) fn unreachable(why: &str) -> Incident {
    Incident {
        place: TARGET.to_owned(),
        kind: IncidentKind::Unreachable,
        slot: None,
        unit: None,
        cause: format!("nobody can see what runs: {why}"),
    }
}

/// Everything that is wrong, by place. `loops` are the units that begin again and again.
pub(super) fn conditions(
    standing: Standing<'_>,
    history: &[DeploymentRecord],
    seen: &Inspected,
    loops: &BTreeMap<UnitId, String>,
) -> BTreeMap<String, Incident> {
    let drifts = drift_of(history, &seen.observed);
    let mut all: Vec<Incident> = drifts.iter().map(|drift| of_drift(drift, seen)).collect();
    if !standing.is_stopped() {
        all.extend(complaints(standing.spec(), seen, loops));
        let route = seen.route.iter();
        all.extend(route.flat_map(|route| routes(standing.spec(), route, seen)));
    }
    // Of two about one place the later one says more.
    let mut found: BTreeMap<String, Incident> =
        all.into_iter().map(|incident| (incident.place.clone(), incident)).collect();
    // Where the whole route is wrong, what follows of it for each unit is no news.
    if found.contains_key(ROUTE) {
        found.retain(|place, incident| place == ROUTE || incident.kind != IncidentKind::Route);
    }
    found
}

/// What units themselves have against themselves.
fn complaints(spec: &Spec, seen: &Inspected, loops: &BTreeMap<UnitId, String>) -> Vec<Incident> {
    let mut found = Vec::new();
    for unit in (0..spec.replicas).filter_map(|slot| seen.observed.current(slot)) {
        let life = seen.lives.get(&unit.unit);
        if let Some(cause) = loops.get(&unit.unit) {
            found.push(of_unit(unit, IncidentKind::RestartLoop, cause.clone()));
        } else if unit.state == UnitState::Running
            && let Some(complaint) = life.and_then(|life| life.complaint.clone())
        {
            found.push(of_unit(unit, IncidentKind::Unhealthy, complaint));
        }
    }
    found
}

fn of_drift(drift: &Drift, seen: &Inspected) -> Incident {
    let unit = drift.unit.as_ref();
    let name = || unit.map(|unit| unit.0.clone()).unwrap_or_default();
    let slot = drift.slot;
    let (place, kind) = match drift.kind {
        DriftKind::Missing => (format!("health/{slot}"), IncidentKind::Missing),
        DriftKind::Dead => (format!("health/{slot}"), IncidentKind::Dead),
        DriftKind::Unhealthy => (format!("health/{slot}"), IncidentKind::Unhealthy),
        DriftKind::Release => (format!("drift/{slot}"), IncidentKind::Release),
        DriftKind::Configuration => (format!("drift/{slot}"), IncidentKind::Configuration),
        DriftKind::Surplus => (format!("drift/{}", name()), IncidentKind::Surplus),
        DriftKind::Awake => (format!("drift/{}", name()), IncidentKind::Awake),
        DriftKind::Route => (format!("route/{}", name()), IncidentKind::Route),
    };
    let complaint = unit.and_then(|unit| seen.lives.get(unit)?.complaint.clone());
    let is_health = matches!(kind, IncidentKind::Dead | IncidentKind::Unhealthy);
    let cause = match complaint.filter(|_| is_health) {
        Some(complaint) => format!("{}: {complaint}", drift.cause),
        None => drift.cause.clone(),
    };
    Incident { place, kind, slot: Some(slot), unit: unit.map(|unit| unit.0.clone()), cause }
}

fn of_unit(unit: &ObservedUnit, kind: IncidentKind, cause: String) -> Incident {
    let place = format!("health/{}", unit.slot);
    Incident { place, kind, slot: Some(unit.slot), unit: Some(unit.unit.0.clone()), cause }
}

/// What the proxy does that no deployment has told it.
fn routes(spec: &Spec, route: &RouteSeen, seen: &Inspected) -> Vec<Incident> {
    let Some(expose) = &spec.expose else { return Vec::new() };
    let incident = |place: String, unit: Option<&str>, cause: String| Incident {
        place,
        kind: IncidentKind::Route,
        slot: None,
        unit: unit.map(str::to_owned),
        cause,
    };
    let wanted = (expose.host.clone(), expose.path.clone());
    if route.matches.is_empty() && route.targets.is_empty() {
        let cause = format!("the proxy has no route `{}`", spec.route());
        return vec![incident(ROUTE.to_owned(), None, cause)];
    }
    let mut found = Vec::new();
    if route.matches != [wanted] {
        let told: Vec<String> =
            route.matches.iter().map(|(host, path)| format!("`{host}` `{path}`")).collect();
        let cause = format!(
            "the proxy sends it requests for {}, and `{}` `{}` was deployed",
            told.join(", "),
            expose.host,
            expose.path
        );
        found.push(incident(ROUTE.to_owned(), None, cause));
    }
    for (name, address) in &route.targets {
        let place = format!("{ROUTE}/{name}");
        let Some(unit) = seen.observed.unit(&UnitId(name.clone())) else {
            let cause =
                format!("the proxy sends requests to {name} at {address}, which is no unit");
            found.push(incident(place, Some(name), cause));
            continue;
        };
        if let Some(own) = unit.address.filter(|own| own.to_string() != *address) {
            let cause = format!("the proxy sends its requests to {address}, and it is at {own}");
            found.push(Incident { slot: Some(unit.slot), ..incident(place, Some(name), cause) });
        }
    }
    found
}
