//! What somebody who watches finds wrong with an environment, from its beginning to its end.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Event, EventKind};

/// One thing that is not as the deployment that stands has left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// What it is about, within its environment: at a place there is one at a time.
    pub place: String,
    pub kind: IncidentKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// For people.
    pub cause: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncidentKind {
    /// No unit serves the slot.
    Missing,
    /// The unit that serves it does not run.
    Dead,
    /// It runs and fails its health check.
    Unhealthy,
    /// It ends and is started again, time after time.
    RestartLoop,
    /// Nobody can see what runs.
    Unreachable,
    /// It runs another release than the one that was deployed.
    Release,
    /// It was made from another configuration.
    Configuration,
    /// It gets traffic and nobody asked for it.
    Surplus,
    /// It runs though the environment was stopped on purpose.
    Awake,
    /// The proxy does something else with requests than a deployment has told it.
    Route,
}

impl IncidentKind {
    pub const ALL: [Self; 10] = [
        Self::Missing,
        Self::Dead,
        Self::Unhealthy,
        Self::RestartLoop,
        Self::Unreachable,
        Self::Release,
        Self::Configuration,
        Self::Surplus,
        Self::Awake,
        Self::Route,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Dead => "dead",
            Self::Unhealthy => "unhealthy",
            Self::RestartLoop => "restart-loop",
            Self::Unreachable => "unreachable",
            Self::Release => "release",
            Self::Configuration => "configuration",
            Self::Surplus => "surplus",
            Self::Awake => "awake",
            Self::Route => "route",
        }
    }

    /// Whether somebody has changed what runs, in place of its having broken.
    pub const fn is_drift(self) -> bool {
        match self {
            Self::Missing
            | Self::Dead
            | Self::Unhealthy
            | Self::RestartLoop
            | Self::Unreachable => false,
            Self::Release | Self::Configuration | Self::Surplus | Self::Awake | Self::Route => true,
        }
    }
}

/// Why an incident is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resolution {
    /// It is well again, whoever did it.
    Recovered,
    /// A repair has succeeded.
    Repaired,
    /// Another deployment stands now.
    Replaced,
    /// The environment was stopped on purpose.
    Stopped,
}

impl Resolution {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Repaired => "repaired",
            Self::Replaced => "replaced",
            Self::Stopped => "stopped",
        }
    }
}

/// An incident that is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenIncident {
    pub incident: Incident,
    pub since: DateTime<Utc>,
    /// Nobody repairs it any more.
    pub given_up: bool,
}

/// What is open after a deployment's events: a fold, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenIncidents {
    pub by_place: BTreeMap<String, OpenIncident>,
}

/// An event about an incident that cannot follow what came before.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum IllegalIncident {
    #[error("event {seq}: an incident at `{place}` is open already")]
    OpenAlready { seq: u64, place: String },
    #[error("event {seq}: no incident at `{place}` is open")]
    NotOpen { seq: u64, place: String },
}

impl OpenIncidents {
    /// Returns what is open after all of `events`, of which others may be among them.
    pub fn fold<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<Self, IllegalIncident> {
        let mut open = Self::default();
        for event in events {
            open.apply(event)?;
        }
        Ok(open)
    }

    pub fn apply(&mut self, event: &Event) -> Result<(), IllegalIncident> {
        let seq = event.seq;
        match &event.kind {
            EventKind::IncidentOpened { incident } => {
                let place = incident.place.clone();
                if self.by_place.contains_key(&place) {
                    return Err(IllegalIncident::OpenAlready { seq, place });
                }
                let incident = incident.clone();
                let open = OpenIncident { incident, since: event.at, given_up: false };
                self.by_place.insert(place, open);
            }
            EventKind::IncidentChanged { incident } => {
                self.at(seq, &incident.place)?.incident = incident.clone();
            }
            EventKind::IncidentGivenUp { place, .. } => self.at(seq, place)?.given_up = true,
            EventKind::IncidentResolved { place, .. } => {
                self.at(seq, place)?;
                self.by_place.remove(place);
            }
            _ => {}
        }
        Ok(())
    }

    fn at(&mut self, seq: u64, place: &str) -> Result<&mut OpenIncident, IllegalIncident> {
        let open = self.by_place.get_mut(place);
        open.ok_or_else(|| IllegalIncident::NotOpen { seq, place: place.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{DeploymentId, Stream};

    fn event(seq: u64, kind: EventKind) -> Event {
        let stream = Stream::Deployment(DeploymentId::new(Uuid::from_u128(7)));
        let at = DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(i64::try_from(seq).unwrap_or(0));
        Event { format: crate::FORMAT, seq, at, stream, kind }
    }

    fn incident(kind: IncidentKind) -> Incident {
        let (place, cause) = ("health/1".to_owned(), "it does not run".to_owned());
        Incident { place, kind, slot: Some(1), unit: None, cause }
    }

    #[test]
    fn an_incident_is_opened_changed_given_up_and_resolved() {
        let opened =
            event(4, EventKind::IncidentOpened { incident: incident(IncidentKind::Missing) });
        let changed =
            event(5, EventKind::IncidentChanged { incident: incident(IncidentKind::Dead) });
        let given_up = event(
            6,
            EventKind::IncidentGivenUp {
                place: "health/1".to_owned(),
                tries: 3,
                reason: String::new(),
            },
        );
        let open = OpenIncidents::fold([&opened, &changed, &given_up]).expect("legal");
        let found = &open.by_place["health/1"];
        assert_eq!((found.incident.kind, found.given_up), (IncidentKind::Dead, true));
        assert_eq!(found.since, opened.at, "it is one and the same");

        let resolved = event(
            7,
            EventKind::IncidentResolved {
                place: "health/1".to_owned(),
                kind: IncidentKind::Dead,
                because: Resolution::Repaired,
                open_ms: 3_000,
            },
        );
        let all = [&opened, &changed, &given_up, &resolved];
        assert_eq!(OpenIncidents::fold(all), Ok(OpenIncidents::default()));
        let twice = OpenIncidents::fold([&opened, &opened]);
        assert!(matches!(twice, Err(IllegalIncident::OpenAlready { seq: 4, .. })), "{twice:?}");
        let never = OpenIncidents::fold([&resolved]);
        assert!(matches!(never, Err(IllegalIncident::NotOpen { seq: 7, .. })), "{never:?}");
    }

    #[test]
    fn names_are_the_words_of_the_events() {
        for kind in IncidentKind::ALL {
            assert_eq!(serde_json::json!(kind), kind.name());
        }
        for because in
            [Resolution::Recovered, Resolution::Repaired, Resolution::Replaced, Resolution::Stopped]
        {
            assert_eq!(serde_json::json!(because), because.name());
        }
    }
}
