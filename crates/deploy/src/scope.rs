//! Which units of an environment a deployment is about, and what it leaves out.

use std::borrow::Cow;
use std::collections::BTreeSet;

use pipeline::{BatchSize, Duration, RolloutOrder, Strategy};
use serde::{Deserialize, Serialize};

use crate::{HostPlace, Observed, Spec};

/// A deployment is about every unit, and leaves nothing out, unless somebody says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Scope {
    /// The slots it is about; empty is all of them. What an environment should run is
    /// not told by a deployment to some of its slots.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub slots: BTreeSet<u32>,
    /// A way back in haste: all units at once, without verifying and without waiting
    /// for requests in flight. Health is asked for all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub emergency: bool,
}

/// Why a word names no slot.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScopeError {
    #[error(
        "`{word}` selects by {what}, which units of environment `{environment}` do not have: name slots, such as `0`, or units as `shipline status {environment}` shows them"
    )]
    NoSuch { word: String, what: &'static str, environment: String },
    #[error("`{word}` selects no host of environment `{environment}`; there are: {}", known.join(", "))]
    NoHost { word: String, environment: String, known: Vec<String> },
    #[error("`{word}` is neither a slot nor a unit of environment `{environment}`")]
    Unknown { word: String, environment: String },
    #[error("slot {slot} is none of the {replicas} of environment `{environment}`")]
    Beyond { slot: u32, replicas: u32, environment: String },
}

impl Scope {
    /// Reads what `--only` names: slots (`2`, `slot=2`), units (their names, `unit=NAME`), or
    /// of hosts these (their names, `host=NAME`), their groups and their labels
    /// (`group=NAME`, `label=KEY=VALUE`). All slots there are is the same as none named.
    pub fn of(words: &[String], spec: &Spec, replicas: u32) -> Result<Self, ScopeError> {
        let mut slots = BTreeSet::new();
        for word in words {
            match hosts(word, spec)? {
                Some(chosen) => slots.extend(chosen.into_iter().filter(|slot| *slot < replicas)),
                None => drop(slots.insert(slot(word, spec)?)),
            }
        }
        let environment = || spec.environment.clone();
        if let Some(slot) = slots.iter().copied().find(|slot| *slot >= replicas) {
            return Err(ScopeError::Beyond { slot, replicas, environment: environment() });
        }
        let all = (0..replicas).all(|slot| slots.contains(&slot));
        Ok(Self { slots: if all { BTreeSet::new() } else { slots }, emergency: false })
    }

    pub fn is_partial(&self) -> bool {
        !self.slots.is_empty()
    }

    pub fn has(&self, slot: u32) -> bool {
        self.slots.is_empty() || self.slots.contains(&slot)
    }

    /// What of an observation the deployment is about.
    pub(crate) fn view<'s>(&self, seen: &'s Observed) -> Cow<'s, Observed> {
        if !self.is_partial() {
            return Cow::Borrowed(seen);
        }
        let units = seen.units.iter().filter(|unit| self.has(unit.slot)).cloned().collect();
        let away = seen.away.iter().copied().filter(|slot| self.has(*slot)).collect();
        Cow::Owned(Observed { units, away })
    }

    /// How `spec` is brought about. Units are made from the same either way.
    pub(crate) fn acting<'s>(&self, spec: &'s Spec) -> Cow<'s, Spec> {
        if !self.emergency {
            return Cow::Borrowed(spec);
        }
        let all = BatchSize::Percent(100);
        let none = Duration::from_secs(0);
        let former = &spec.strategy;
        // Where two units of a slot cannot run at once, the old ones go first, all of them.
        let max_unavailable = match former.order {
            RolloutOrder::StartFirst => former.max_unavailable,
            RolloutOrder::StopFirst => Some(all),
        };
        let strategy = Strategy {
            batch: all,
            batches: Vec::new(),
            parallel: None,
            max_surge: None,
            max_unavailable,
            groups: Vec::new(),
            bake: none,
            drain: none,
            drain_websockets: none,
            ..former.clone()
        };
        // No group waits for another.
        let hosts = spec.hosts.iter().map(|host| HostPlace { group: None, ..host.clone() });
        let hosts = hosts.collect();
        Cow::Owned(Spec { strategy, verify: Vec::new(), hosts, ..spec.clone() })
    }
}

/// The slots of the hosts that a word selects; `None` for one that selects otherwise.
fn hosts(word: &str, spec: &Spec) -> Result<Option<BTreeSet<u32>>, ScopeError> {
    if spec.hosts.is_empty() {
        return Ok(None);
    }
    let (key, value) = word.split_once('=').unwrap_or(("host", word));
    let Some(chosen) = spec.slots_of(key, value) else { return Ok(None) };
    if !chosen.is_empty() {
        return Ok(Some(chosen));
    }
    if !word.contains('=') {
        return Ok(None);
    }
    Err(ScopeError::NoHost {
        word: word.to_owned(),
        environment: spec.environment.clone(),
        known: spec.choices(key).into_iter().map(str::to_owned).collect(),
    })
}

fn slot(word: &str, spec: &Spec) -> Result<u32, ScopeError> {
    let environment = || spec.environment.clone();
    let unknown = || ScopeError::Unknown { word: word.to_owned(), environment: environment() };
    let name = match word.split_once('=') {
        None => word,
        Some(("slot", slot)) => return slot.parse().map_err(|_| unknown()),
        Some(("unit", name)) => name,
        Some((key, _)) => {
            let known = ["host", "group", "label"].into_iter().find(|known| *known == key);
            return Err(match known {
                Some(what) => {
                    ScopeError::NoSuch { word: word.to_owned(), what, environment: environment() }
                }
                None => unknown(),
            });
        }
    };
    // The slot stands in the name of a unit: see `unit_name`.
    let of_unit = || name.strip_prefix(&spec.route())?.strip_prefix('-')?.split('-').next();
    name.parse().ok().or_else(|| of_unit()?.parse().ok()).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use event::{DeploymentId, ReleaseId};
    use uuid::Uuid;

    use super::*;
    use crate::{Artifact, unit_name};

    fn spec() -> Spec {
        Spec {
            release: ReleaseId::new(Uuid::from_u128(1)),
            artifact: Artifact::Nothing,
            replicas: 3,
            ..crate::testing::spec("web", "prod")
        }
    }

    fn of(words: &[&str]) -> Result<Vec<u32>, String> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        let scope = Scope::of(&words, &spec(), 3).map_err(|error| error.to_string())?;
        Ok(scope.slots.into_iter().collect())
    }

    #[test]
    fn slots_and_units_are_named_and_everything_else_is_said_to_be_none() {
        let unit = unit_name(&spec(), 2, DeploymentId::new(Uuid::from_u128(7))).0;
        assert_eq!(of(&["1"]), Ok(vec![1]));
        assert_eq!(of(&["slot=1", &unit]), Ok(vec![1, 2]));
        assert_eq!(of(&[&format!("unit={unit}")]), Ok(vec![2]));
        assert_eq!(of(&["0", "1", "2"]), Ok(Vec::new()));
        let error = of(&["host=web-1"]).unwrap_err();
        assert!(
            error.starts_with(
                "`host=web-1` selects by host, which units of environment `prod` do not"
            )
        );
        assert_eq!(of(&["3"]).unwrap_err(), "slot 3 is none of the 3 of environment `prod`");
        for word in ["web-test-1-a-b", "unit=x", "slot=one", "colour=red", ""] {
            let error = of(&[word]).unwrap_err();
            assert!(error.contains("is neither a slot nor a unit"), "{word}: {error}");
        }
    }

    #[test]
    fn hosts_are_named_by_themselves_or_by_group_and_label() {
        let host = |name: &str, group: &str| crate::HostPlace {
            name: name.to_owned(),
            group: Some(group.to_owned()),
            labels: vec![format!("region={group}")],
            env: std::collections::BTreeMap::new(),
        };
        let hosts = vec![host("web-1", "north"), host("web-2", "south"), host("web-3", "south")];
        let spec = Spec { hosts, ..spec() };
        let of = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            let scope = Scope::of(&words, &spec, 3).map_err(|error| error.to_string())?;
            Ok::<_, String>(scope.slots.into_iter().collect::<Vec<_>>())
        };
        assert_eq!(of(&["web-2"]), Ok(vec![1]));
        assert_eq!(of(&["host=web-3", "0"]), Ok(vec![0, 2]));
        assert_eq!(of(&["group=south"]), Ok(vec![1, 2]));
        assert_eq!(of(&["label=region=north"]), Ok(vec![0]));
        assert_eq!(of(&["group=north", "group=south"]), Ok(Vec::new()));
        assert_eq!(
            of(&["group=east"]).unwrap_err(),
            "`group=east` selects no host of environment `prod`; there are: north, south"
        );
        assert!(of(&["web-9"]).unwrap_err().contains("is neither a slot nor a unit"));
    }

    #[test]
    fn haste_changes_how_units_are_changed_and_not_what_they_are() {
        let mut spec = spec();
        spec.strategy.drain = Duration::from_secs(30);
        spec.strategy.bake = Duration::from_secs(60);
        let haste = Scope { emergency: true, ..Scope::default() };
        let acting = haste.acting(&spec);
        assert_eq!(acting.unit_hash(), spec.unit_hash());
        assert_eq!(
            acting.strategy.drain.std() + acting.strategy.bake.std(),
            std::time::Duration::ZERO
        );
        assert_eq!(acting.strategy.batch.of(3), 3);
        assert_eq!(acting.health, spec.health);
    }
}
