//! The hosts behind the slots of an environment, and the order their groups are rolled in.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::Spec;

/// The host behind a slot, as people call and choose it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HostPlace {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// `region=north`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Variables of this host alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

impl Spec {
    /// Returns the host behind a slot, on a target of hosts.
    pub fn host(&self, slot: u32) -> Option<&HostPlace> {
        self.hosts.get(usize::try_from(slot).ok()?)
    }

    /// Returns the variables that single hosts have, by their names.
    pub(crate) fn overlays(&self) -> BTreeMap<&str, &BTreeMap<String, String>> {
        let own = self.hosts.iter().filter(|host| !host.env.is_empty());
        own.map(|host| (host.name.as_str(), &host.env)).collect()
    }

    /// Returns what people call a slot: its host, where there is one.
    pub(crate) fn place_name(&self, slot: u32) -> String {
        self.host(slot).map_or_else(|| format!("slot {slot}"), |host| host.name.clone())
    }

    /// Returns the group of the host behind a slot.
    pub(crate) fn group(&self, slot: u32) -> Option<&str> {
        self.host(slot)?.group.as_deref()
    }

    /// Returns which group a slot is rolled with, counted from the first: those that the
    /// strategy names, then the others, in the order of the target.
    pub(crate) fn rank(&self, slot: u32) -> usize {
        if self.hosts.is_empty() {
            return 0;
        }
        let named = &self.strategy.groups;
        let group = self.group(slot);
        let is_named = |group: Option<&str>| {
            group.and_then(|group| named.iter().position(|known| known == group))
        };
        is_named(group).unwrap_or_else(|| {
            let mut others = Vec::new();
            for slot in 0..self.replicas {
                let other = self.group(slot);
                if is_named(other).is_none() && !others.contains(&other) {
                    others.push(other);
                }
            }
            let place = others.iter().position(|other| *other == group);
            named.len() + place.unwrap_or(others.len())
        })
    }

    /// Returns how many slots are rolled together with one.
    pub(crate) fn size_of_group(&self, slot: u32) -> u32 {
        if self.hosts.is_empty() {
            return self.replicas;
        }
        let group = self.group(slot);
        let same = (0..self.replicas).filter(|other| self.group(*other) == group);
        u32::try_from(same.count()).unwrap_or(u32::MAX)
    }

    /// Returns the slots whose host `key` selects by `value`; `None` for a key that
    /// selects no hosts.
    pub(crate) fn slots_of(&self, key: &str, value: &str) -> Option<BTreeSet<u32>> {
        let has = |host: &HostPlace| match key {
            "host" => Some(host.name == value),
            "group" => Some(host.group.as_deref() == Some(value)),
            "label" => Some(host.labels.iter().any(|label| label == value)),
            _ => None,
        };
        let slots = (0..).zip(&self.hosts).filter_map(|(slot, host)| Some((slot, has(host)?)));
        matches!(key, "host" | "group" | "label")
            .then(|| slots.filter(|(_, has)| *has).map(|(slot, _)| slot).collect())
    }

    /// Returns what hosts can be chosen by with `key`.
    pub(crate) fn choices(&self, key: &str) -> BTreeSet<&str> {
        let mut choices = BTreeSet::new();
        for HostPlace { name, group, labels, .. } in &self.hosts {
            match key {
                "host" => choices.extend([name.as_str()]),
                "group" => choices.extend(group.as_deref()),
                _ => choices.extend(labels.iter().map(String::as_str)),
            }
        }
        choices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(groups: &[&str]) -> Spec {
        let host = |(number, group): (usize, &str)| HostPlace {
            name: format!("web-{number}"),
            group: (!group.is_empty()).then(|| group.to_owned()),
            labels: vec![format!("rack={}", number % 2)],
            env: BTreeMap::new(),
        };
        let hosts: Vec<_> =
            ["north", "", "south", "preprod", "north"].into_iter().enumerate().map(host).collect();
        let mut spec = Spec { replicas: 5, hosts, ..crate::testing::spec("web", "prod") };
        spec.strategy.groups = groups.iter().map(|group| (*group).to_owned()).collect();
        spec
    }

    #[test]
    fn groups_come_as_they_are_named_and_then_as_the_target_has_them() {
        let ranks = |spec: &Spec| (0..5).map(|slot| spec.rank(slot)).collect::<Vec<_>>();
        assert_eq!(ranks(&spec(&[])), [0, 1, 2, 3, 0]);
        assert_eq!(ranks(&spec(&["preprod", "north"])), [1, 2, 3, 0, 1]);
        let none = Spec { hosts: Vec::new(), ..spec(&[]) };
        assert_eq!(ranks(&none), [0; 5]);
        assert_eq!((none.size_of_group(3), spec(&[]).size_of_group(4)), (5, 2));
        assert_eq!(
            (none.place_name(3), spec(&[]).place_name(3)),
            ("slot 3".into(), "web-3".into())
        );
    }

    #[test]
    fn a_variable_of_one_host_makes_another_configuration_and_its_label_does_not() {
        let plain = spec(&[]);
        let mut other = plain.clone();
        other.hosts[0].labels.clear();
        assert_eq!(other.unit_hash(), plain.unit_hash());
        other.hosts[0].env.insert("ROLE".to_owned(), "job".to_owned());
        assert_ne!(other.unit_hash(), plain.unit_hash());
    }

    #[test]
    fn hosts_are_chosen_by_name_group_and_label() {
        let spec = spec(&[]);
        let of = |key: &str, value: &str| {
            spec.slots_of(key, value).map(|slots| slots.into_iter().collect::<Vec<_>>())
        };
        assert_eq!(of("host", "web-2"), Some(vec![2]));
        assert_eq!(of("group", "north"), Some(vec![0, 4]));
        assert_eq!(of("label", "rack=1"), Some(vec![1, 3]));
        assert_eq!((of("host", "web-9"), of("colour", "red")), (Some(vec![]), None));
        assert_eq!(
            spec.choices("group").into_iter().collect::<Vec<_>>(),
            ["north", "preprod", "south"]
        );
    }
}
