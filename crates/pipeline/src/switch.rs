//! What leads requests to the units of a target, where that is not Shipline's own proxy.

use serde::{Deserialize, Serialize};

use crate::Duration;

/// A balancer that somebody else runs; it is told which units get requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SwitchSpec {
    Haproxy(HaproxySpec),
    Nginx(NginxSpec),
    Traefik(TraefikSpec),
    Hook(HookSpec),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HaproxySpec {
    /// Where its runtime API listens: a path, or `HOST:PORT`.
    pub socket: String,
    pub backend: String,
    /// Its configuration file, which tells whether a reload keeps drains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// The machine it runs on, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NginxSpec {
    /// The servers of an upstream, which its configuration includes.
    pub file: String,
    /// The command that says whether the configuration is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// The command that brings it into force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TraefikSpec {
    /// A file in the folder that its file provider watches.
    pub file: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<String>,
}

/// Exactly one of `command` and `url`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HookSpec {
    /// Called with what to do, the unit and its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Asked with a POST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How long one call may take.
    #[serde(default = "HookSpec::patience")]
    pub timeout: Duration,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<String>,
}

impl HookSpec {
    /// What a call may take where nobody says it.
    pub const fn patience() -> Duration {
        Duration::from_secs(60)
    }
}

impl SwitchSpec {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Haproxy(_) => "haproxy",
            Self::Nginx(_) => "nginx",
            Self::Traefik(_) => "traefik",
            Self::Hook(_) => "hook",
        }
    }

    /// Says why it cannot stand before a `kind` of target; `None` if it can.
    pub fn misfit(&self, kind: &str) -> Option<&'static str> {
        match (self, kind) {
            (Self::Haproxy(_), "docker" | "process") => Some(
                "its servers have the addresses that its configuration gives them, and a unit \
                 here has another one each time it is made",
            ),
            _ => None,
        }
    }

    /// Says what is wrong with a hook that is both, or none of both.
    pub fn unclear(&self) -> Option<&'static str> {
        match self {
            Self::Hook(HookSpec { command: Some(_), url: Some(_), .. }) => {
                Some("is a `command` and a `url`")
            }
            Self::Hook(HookSpec { command: None, url: None, .. }) => {
                Some("has neither `command` nor `url`")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_one_kind_with_the_keys_of_that_kind() {
        let haproxy = serde_json::json!({ "haproxy": { "socket": "/s", "backend": "web" } });
        let read: SwitchSpec = serde_json::from_value(haproxy.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), haproxy);
        assert_eq!(read.misfit("hosts"), None);
        assert!(read.misfit("docker").unwrap().contains("another one each time"));
        for wrong in [
            serde_json::json!({ "haproxy": { "socket": "/s" } }),
            serde_json::json!({ "nginx": { "file": "/f", "backend": "web" } }),
            serde_json::json!({ "nginx": { "file": "/f" }, "traefik": { "file": "/f" } }),
        ] {
            assert!(serde_json::from_value::<SwitchSpec>(wrong.clone()).is_err(), "{wrong}");
        }
        let hook: SwitchSpec = serde_json::from_value(serde_json::json!({ "hook": {} })).unwrap();
        assert!(hook.unclear().unwrap().contains("neither"));
    }
}
