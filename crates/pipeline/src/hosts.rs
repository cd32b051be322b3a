//! The hosts of a target, and the part of them that an environment is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A host that releases are put onto, written as its address alone or with what else is
/// known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WrittenHost", into = "WrittenHost")]
pub struct TargetHost {
    /// `user@host:port`.
    pub host: String,
    pub group: Option<String>,
    /// `region=north`.
    pub labels: Vec<String>,
    /// Whether the switch may route requests to it.
    pub traffic: bool,
    /// Variables of this host alone, above all others.
    pub env: BTreeMap<String, String>,
}

impl TargetHost {
    /// A host of which nothing but its address is known.
    pub const fn at(host: String) -> Self {
        Self { host, group: None, labels: Vec::new(), traffic: true, env: BTreeMap::new() }
    }
}

/// The part of a target that an environment is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Only {
    Group(String),
    Label(String),
}

impl Only {
    pub fn has(&self, host: &TargetHost) -> bool {
        match self {
            Self::Group(group) => host.group.as_ref() == Some(group),
            Self::Label(label) => host.labels.contains(label),
        }
    }
}

impl std::fmt::Display for Only {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Group(group) => write!(f, "group={group}"),
            Self::Label(label) => write!(f, "label={label}"),
        }
    }
}

/// A host as it stands in a file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenHost {
    Address(String),
    Whole(WholeHost),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WholeHost {
    host: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<String>,
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    traffic: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<String, String>,
}

const fn yes() -> bool {
    true
}

impl From<WrittenHost> for TargetHost {
    fn from(written: WrittenHost) -> Self {
        match written {
            WrittenHost::Address(host) => Self::at(host),
            WrittenHost::Whole(WholeHost { host, group, labels, traffic, env }) => {
                Self { host, group, labels, traffic, env }
            }
        }
    }
}

impl From<TargetHost> for WrittenHost {
    fn from(it: TargetHost) -> Self {
        if it == TargetHost::at(it.host.clone()) {
            return Self::Address(it.host);
        }
        let TargetHost { host, group, labels, traffic, env } = it;
        Self::Whole(WholeHost { host, group, labels, traffic, env })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_written_as_short_as_it_can_be() {
        let whole = serde_json::json!({
            "host": "web-1", "group": "north", "labels": ["rack=b"], "traffic": false,
            "env": { "ROLE": "job" },
        });
        for written in [serde_json::json!("a@web-1:2222"), whole] {
            let host: TargetHost = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(serde_json::to_value(host).unwrap(), written);
        }
        let odd = serde_json::json!({ "host": "web-1", "colour": "red" });
        assert!(serde_json::from_value::<TargetHost>(odd).is_err());
    }

    #[test]
    fn a_group_or_a_label_is_a_part_of_a_target() {
        let host = TargetHost {
            group: Some("north".to_owned()),
            labels: vec!["region=north".to_owned()],
            ..TargetHost::at("web-1".to_owned())
        };
        assert!(Only::Group("north".to_owned()).has(&host));
        assert!(Only::Label("region=north".to_owned()).has(&host));
        assert!(!Only::Label("north".to_owned()).has(&host));
        assert!(!Only::Group("south".to_owned()).has(&TargetHost::at("web-2".to_owned())));
    }
}
