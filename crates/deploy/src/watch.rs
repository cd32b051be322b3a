//! From looks at an environment to what is wrong with it: its beginning, its changes, its end.
//!
//! Pure: what was seen, what is known already and what is remembered of former looks go
//! in, events come out. Nobody is told of what one look alone has seen: a thing must be
//! there, or gone, for some looks in a row. A look that a deployment is in the way of counts
//! for nothing, and one that saw nothing leaves all as it is.

mod condition;
mod repairs;
mod restarts;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use event::{DeploymentId, DeploymentKind, EventKind, Incident, IncidentKind, Resolution};

use self::condition::{TARGET, conditions, unreachable};
pub use self::repairs::{Repair, RepairPace, repair};
use self::restarts::Restarts;
use crate::{DeploymentRecord, Observed, Standing, UnitId};

/// By whom things are done that nobody asked for.
pub const WATCHER: &str = "watcher";

/// An observation, with what only somebody who watches asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspected {
    pub observed: Observed,
    /// Of units in traffic, as far as the target can tell.
    pub lives: BTreeMap<UnitId, Life>,
    /// What the proxy does; `None` where there is none, or nobody can say.
    pub route: Option<RouteSeen>,
}

/// How a unit has fared since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// Another word whenever the unit has begun again.
    pub beginning: String,
    /// How often whoever supervises it has started it again.
    pub restarts: u64,
    /// What its health check has against it now, or how it ended.
    pub complaint: Option<String>,
}

/// The route of an environment, as the proxy has it; without any target and match where
/// there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteSeen {
    /// Host and path.
    pub matches: Vec<(String, String)>,
    /// Unit and address.
    pub targets: Vec<(String, String)>,
}

/// What became of looking at an environment.
#[derive(Clone, Debug)]
pub enum Look<'a> {
    /// Somebody changes the environment: what is seen says nothing.
    Paused,
    /// The target could not be asked; why.
    Blind(String),
    Seen(&'a Inspected),
}

/// An incident that is not over, as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The deployment that stood when it began.
    pub deployment: DeploymentId,
    pub incident: Incident,
    pub since: DateTime<Utc>,
    pub given_up: bool,
}

/// How many looks in a row it takes to believe something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// That something is wrong, or wrong in another way.
    pub confirm: u32,
    /// That it is well again.
    pub calm: u32,
    /// That the target is away.
    pub blind: u32,
    /// So many restarts of a unit, or turns of its health …
    pub restarts: u32,
    /// … within this time are a loop.
    pub window: TimeDelta,
}

impl Default for Patience {
    fn default() -> Self {
        Self { confirm: 2, calm: 2, blind: 3, restarts: 3, window: TimeDelta::minutes(10) }
    }
}

/// What is remembered from one look to the next. Losing it costs some looks and no truth.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// By place: what is seen there and not recorded yet.
    suspects: BTreeMap<String, Suspect>,
    /// By place: looks in a row that saw nothing of what is recorded.
    calm: BTreeMap<String, u32>,
    blind: u32,
    restarts: Restarts,
}

#[derive(Clone, Copy, Debug)]
struct Suspect {
    kind: IncidentKind,
    /// Looks in a row that saw anything here, and this kind.
    looks: u32,
    same: u32,
}

/// Ends what was recorded under deployments that stand no more.
pub fn outdated(
    standing: Standing<'_>,
    known: &[Known],
    at: DateTime<Utc>,
) -> Vec<(DeploymentId, EventKind)> {
    let stands = &standing.record.deployment;
    let because = match stands.kind {
        DeploymentKind::Repair => Resolution::Repaired,
        DeploymentKind::Stop => Resolution::Stopped,
        _ => Resolution::Replaced,
    };
    let old = known.iter().filter(|known| known.deployment != stands.id);
    old.map(|known| (known.deployment, resolved(known, because, at))).collect()
}

impl Memory {
    /// Judges a look at what stands, in the light of what is `known` of it. The events
    /// belong to the deployment that stands.
    ///
    /// A look whose events could not be recorded may be judged again: the next one comes
    /// to the same.
    pub fn judge(
        &mut self,
        standing: Standing<'_>,
        history: &[DeploymentRecord],
        look: &Look<'_>,
        known: &[Known],
        patience: &Patience,
        at: DateTime<Utc>,
    ) -> Vec<EventKind> {
        let stands = standing.record.deployment.id;
        let known: BTreeMap<&str, &Known> = known
            .iter()
            .filter(|known| known.deployment == stands)
            .map(|known| (known.incident.place.as_str(), known))
            .collect();
        match look {
            Look::Paused => {
                self.suspects.clear();
                self.calm.clear();
                self.blind = 0;
                Vec::new()
            }
            Look::Blind(why) => {
                self.blind = self.blind.saturating_add(1);
                self.calm.remove(TARGET);
                let is_news = self.blind >= patience.blind && !known.contains_key(TARGET);
                let opened = || EventKind::IncidentOpened { incident: unreachable(why) };
                is_news.then(opened).into_iter().collect()
            }
            Look::Seen(seen) => {
                self.blind = 0;
                let loops = self.restarts.look(&seen.observed, &seen.lives, patience, at);
                let now = conditions(standing, history, seen, &loops);
                self.compare(&now, &known, patience, at)
            }
        }
    }

    fn compare(
        &mut self,
        now: &BTreeMap<String, Incident>,
        known: &BTreeMap<&str, &Known>,
        patience: &Patience,
        at: DateTime<Utc>,
    ) -> Vec<EventKind> {
        self.suspects.retain(|place, _| now.contains_key(place));
        self.calm.retain(|place, _| known.contains_key(place.as_str()) && !now.contains_key(place));
        let mut events = Vec::new();
        for (place, incident) in now {
            match known.get(place.as_str()) {
                None => {
                    if self.suspect(incident).looks >= patience.of(incident.kind) {
                        events.push(EventKind::IncidentOpened { incident: incident.clone() });
                    }
                }
                Some(known) if is_same(&known.incident, incident) => {
                    self.suspects.remove(place);
                }
                Some(_) => {
                    if self.suspect(incident).same >= patience.of(incident.kind) {
                        events.push(EventKind::IncidentChanged { incident: incident.clone() });
                    }
                }
            }
        }
        for (place, known) in known {
            if now.contains_key(*place) {
                continue;
            }
            let calm = self.calm.entry((*place).to_owned()).or_default();
            *calm = calm.saturating_add(1);
            if *calm >= patience.calm {
                events.push(resolved(known, Resolution::Recovered, at));
            }
        }
        events
    }

    fn suspect(&mut self, incident: &Incident) -> Suspect {
        let before = self.suspects.get(&incident.place);
        let looks = before.map_or(0, |suspect| suspect.looks);
        let same = before.filter(|it| it.kind == incident.kind).map_or(0, |it| it.same);
        let suspect = Suspect {
            kind: incident.kind,
            looks: looks.saturating_add(1),
            same: same.saturating_add(1),
        };
        self.suspects.insert(incident.place.clone(), suspect);
        suspect
    }
}

impl Patience {
    /// A loop was seen over many looks already.
    const fn of(&self, kind: IncidentKind) -> u32 {
        match kind {
            IncidentKind::RestartLoop => 1,
            _ => self.confirm,
        }
    }
}

/// Whether two are the same to whoever was told of one of them.
fn is_same(one: &Incident, other: &Incident) -> bool {
    one.kind == other.kind && one.unit == other.unit
}

fn resolved(known: &Known, because: Resolution, at: DateTime<Utc>) -> EventKind {
    let open = (at - known.since).num_milliseconds();
    EventKind::IncidentResolved {
        place: known.incident.place.clone(),
        kind: known.incident.kind,
        because,
        open_ms: u64::try_from(open).unwrap_or(0),
    }
}
