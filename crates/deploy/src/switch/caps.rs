//! What a traffic switch can promise, in a table and in a sentence.

use pipeline::SwitchSpec;
use serde::Serialize;

/// What can be relied upon, and what cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SwitchCaps {
    pub name: &'static str,
    /// Requests in flight are counted: a drain ends when there are none, and what is cut
    /// is told. Without it a drain is a wait of fixed length.
    pub counts: bool,
    /// It says itself when a server is up.
    pub says_up: bool,
    /// Shares of traffic.
    pub weights: bool,
    /// It refuses by itself whoever has lost the lock.
    pub fenced: bool,
    /// A drain outlives its reload without anybody doing anything.
    pub keeps_drains: bool,
}

impl SwitchCaps {
    pub const PROXY: Self = Self {
        name: "proxy",
        counts: true,
        says_up: true,
        weights: true,
        fenced: true,
        keeps_drains: true,
    };
    pub const HAPROXY: Self = Self {
        name: "haproxy",
        counts: true,
        says_up: true,
        weights: true,
        fenced: false,
        keeps_drains: false,
    };
    pub const NGINX: Self = Self {
        name: "nginx",
        counts: false,
        says_up: false,
        weights: true,
        fenced: true,
        keeps_drains: true,
    };
    pub const TRAEFIK: Self = Self { name: "traefik", ..Self::NGINX };
    pub const HOOK: Self = Self {
        name: "hook",
        counts: false,
        says_up: true,
        weights: false,
        fenced: false,
        keeps_drains: false,
    };

    pub const fn of(spec: &SwitchSpec) -> Self {
        match spec {
            SwitchSpec::Haproxy(_) => Self::HAPROXY,
            SwitchSpec::Nginx(_) => Self::NGINX,
            SwitchSpec::Traefik(_) => Self::TRAEFIK,
            SwitchSpec::Hook(_) => Self::HOOK,
        }
    }

    /// The same for people.
    pub fn promises(&self) -> String {
        let drains = match (self.name, self.counts) {
            ("hook", _) => "a drain is what the hook makes of it",
            (_, true) => "waits for the last request and counts what it cuts",
            (_, false) => "waits as long as `drain` says, and nobody counts what is in flight",
        };
        let up = match self.says_up {
            true => "says when a unit is up",
            false => "does not say when a unit is up",
        };
        let reload = match self.keeps_drains {
            true => "",
            false => "; a reload may forget drains, which are made again within a second",
        };
        let reload = if self.name == "hook" { "" } else { reload };
        format!("{}: {drains}; {up}{reload}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of `docs/switches.md` and what is promised are one.
    #[test]
    fn the_documentation_promises_what_the_switches_do() {
        let text = include_str!("../../../../docs/switches.md");
        let rows: Vec<Vec<&str>> = text
            .lines()
            .filter(|line| line.starts_with("| **"))
            .map(|line| line.split('|').map(|cell| cell.trim().trim_matches('*')).collect())
            .collect();
        let all = [
            SwitchCaps::PROXY,
            SwitchCaps::HAPROXY,
            SwitchCaps::NGINX,
            SwitchCaps::TRAEFIK,
            SwitchCaps::HOOK,
        ];
        assert_eq!(rows.len(), all.len());
        for (row, caps) in rows.iter().zip(all) {
            let word = |yes: bool| if yes { "yes" } else { "no" };
            let wanted = [caps.counts, caps.says_up, caps.weights, caps.fenced, caps.keeps_drains];
            assert_eq!(row[1], caps.name);
            assert_eq!(row[2..7], wanted.map(word), "{}", caps.name);
        }
    }

    #[test]
    fn nobody_promises_to_count_who_only_waits() {
        assert!(SwitchCaps::NGINX.promises().contains("nobody counts"));
        assert!(SwitchCaps::HAPROXY.promises().contains("counts what it cuts"));
        assert!(SwitchCaps::HAPROXY.promises().contains("a reload may forget drains"));
        assert!(!SwitchCaps::PROXY.promises().contains("reload"));
    }
}
