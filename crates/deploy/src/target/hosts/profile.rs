//! Profiles: how the service of a host takes over another release, as commands that run
//! in the folder of that release, with the variables of the unit.

use serde::{Deserialize, Serialize};

use super::quoted;
use crate::Spec;

/// How the service of a host takes over a release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Nothing is to be told, or `command` tells it: the service reads what `current`
    /// leads to.
    #[default]
    None,
    Systemd,
    PhpFpm,
    Tomcat,
    Node,
}

/// What of a release is of hosts only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct HostSettings {
    pub reload: Profile,
    /// The service of the host's own manager; without it, the one that the profile is
    /// known by, or that of the project's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// What is run to bring a release up and down. Empty is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Hooks {
    pub(super) start: String,
    pub(super) stop: String,
    /// The unit of the journal that has what the service writes.
    pub(super) journal: String,
}

/// A reload replaces all workers, and with them OPcache, which knows files by the path
/// they had. The master keeps its sockets meanwhile.
const PHP_FPM: &str = "if [ -d /run/systemd/system ]; then systemctl reload -- SERVICE; \
                       else kill -USR2 \"$(cat /run/php/php*-fpm.pid /run/php-fpm/*.pid \
                       2>/dev/null | head -n 1)\"; fi";
/// What was compiled from the former release must not serve the next.
const TOMCAT: &str = "base=${CATALINA_BASE:-/var/lib/SERVICE}; \
                      for folder in \"$base/work\" \"$base/temp\"; do [ ! -d \"$folder\" ] || \
                      find \"$folder/\" -mindepth 1 -delete; done; systemctl start -- SERVICE";

impl Hooks {
    pub(super) fn of(spec: &Spec) -> Self {
        let HostSettings { reload, service } = spec.unit.hosts.clone().unwrap_or_default();
        let known_by = match reload {
            Profile::PhpFpm => "php-fpm",
            Profile::Tomcat => "tomcat",
            Profile::None | Profile::Systemd | Profile::Node => &spec.project,
        };
        let service = quoted(service.as_deref().unwrap_or(known_by));
        let of = |text: &str| text.replace("SERVICE", &service);
        let own: Vec<_> = spec.unit.command.iter().map(|word| quoted(word)).collect();
        let own = own.join(" ");
        let (start, stop, journal) = match reload {
            Profile::None => (own, String::new(), ""),
            Profile::Systemd | Profile::Node => {
                (of("systemctl restart -- SERVICE"), of("systemctl stop -- SERVICE"), "SERVICE")
            }
            // Stopped, it would end the sites of others.
            Profile::PhpFpm => (of(PHP_FPM), String::new(), "SERVICE"),
            Profile::Tomcat => (of(TOMCAT), of("systemctl stop -- SERVICE"), "SERVICE"),
        };
        let journal = if journal.is_empty() { String::new() } else { service };
        Self { start, stop, journal }
    }
}
