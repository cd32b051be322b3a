//! The dynamic configuration of Traefik: one service that shares requests among units.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::switch::file::Title;
use crate::switch::{FULL, Member};
use crate::{EnvironmentKey, UnitId};

/// The units in traffic, with where they answer and their weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Services {
    units: BTreeMap<UnitId, (SocketAddr, u32)>,
}

impl Services {
    /// Reads what [`Services::text`] has written, from the comments before the YAML.
    pub(super) fn read(text: &str) -> Self {
        let unit = |line: &str| {
            let mut words = line.strip_prefix("# unit ")?.split(' ');
            let (unit, address, weight) = (words.next()?, words.next()?, words.next()?);
            Some((UnitId(unit.to_owned()), (address.parse().ok()?, weight.parse().ok()?)))
        };
        Self { units: text.lines().filter_map(unit).collect() }
    }

    pub(super) fn text(&self, title: &Title, key: &EnvironmentKey) -> String {
        // In double quotes YAML reads what JSON does.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut text = title.line();
        text += "# Written by Shipline: a router sends requests here by the name of the first service.\n";
        for (unit, (address, weight)) in &self.units {
            text += &format!("# unit {unit} {address} {weight}\n");
        }
        let service = format!("{}-{}", key.project, key.environment);
        text += &format!("http:\n  services:\n    {}:\n", quoted(&service));
        if self.units.is_empty() {
            // Answered with 503, where one without services is an error.
            text += "      loadBalancer:\n        servers: []\n";
            return text;
        }
        text += "      weighted:\n        services:\n";
        for (unit, (_, weight)) in &self.units {
            text +=
                &format!("          - name: {}\n            weight: {weight}\n", quoted(&unit.0));
        }
        for (unit, (address, _)) in &self.units {
            let url = quoted(&format!("http://{address}"));
            text += &format!(
                "    {}:\n      loadBalancer:\n        servers:\n          - url: {url}\n",
                quoted(&unit.0)
            );
        }
        text
    }

    pub(super) fn serves(&self, member: &Member) -> bool {
        self.units.get(&member.unit).is_some_and(|(address, _)| *address == member.address)
    }

    pub(super) fn lead_to(&self, member: &Member) -> bool {
        self.units.values().any(|(address, _)| *address == member.address)
    }

    pub(super) fn take_out(&mut self, member: &Member) {
        self.units.retain(|unit, (address, _)| *unit != member.unit && *address != member.address);
    }

    pub(super) fn bring_in(&mut self, member: &Member, replaces: Option<&UnitId>) {
        let weight = self.units.get(&member.unit).map_or(FULL, |(_, weight)| *weight);
        self.units
            .retain(|unit, (address, _)| Some(unit) != replaces && *address != member.address);
        self.units.insert(member.unit.clone(), (member.address, weight));
    }

    pub(super) fn weigh(&mut self, member: &Member, percent: u32) {
        if let Some((_, weight)) = self.units.get_mut(&member.unit) {
            *weight = percent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(unit: &str, address: &str) -> Member {
        let address = address.parse().unwrap();
        Member { unit: UnitId(unit.to_owned()), address, name: unit.to_owned() }
    }

    fn key() -> EnvironmentKey {
        EnvironmentKey { project: "web".to_owned(), environment: "prod".to_owned() }
    }

    fn text(services: &Services) -> String {
        services.text(&Title::of(&key(), 7), &key())
    }

    #[test]
    fn what_was_written_is_read_again() {
        let mut services = Services::default();
        assert!(text(&services).ends_with("servers: []\n"));
        services.bring_in(&member("a", "10.0.0.1:80"), None);
        services.bring_in(&member("b", "10.0.0.2:80"), None);
        services.weigh(&member("b", "10.0.0.2:80"), 25);
        assert_eq!(Services::read(&text(&services)), services);
        let new = member("c", "10.0.0.1:80");
        services.bring_in(&new, Some(&UnitId("a".to_owned())));
        assert!(services.serves(&new) && !services.serves(&member("a", "10.0.0.1:80")));
        services.take_out(&new);
        assert_eq!(services.units.len(), 1);
    }

    #[test]
    fn a_file_is_yaml_with_one_weighted_service() {
        let mut services = Services::default();
        services.bring_in(&member("web-prod-0-a", "10.0.0.1:80"), None);
        assert_eq!(
            text(&services),
            "# shipline environment=web/prod fence=7\n\
             # Written by Shipline: a router sends requests here by the name of the first service.\n\
             # unit web-prod-0-a 10.0.0.1:80 100\n\
             http:\n  services:\n    \"web-prod\":\n      weighted:\n        services:\n          \
             - name: \"web-prod-0-a\"\n            weight: 100\n    \"web-prod-0-a\":\n      \
             loadBalancer:\n        servers:\n          - url: \"http://10.0.0.1:80\"\n"
        );
    }
}
