//! `deploy.health`: when a unit counts as healthy.

use super::Lowering;
use crate::Duration;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::plan::{Expose, Health, Probe};
use crate::scalar::{Count, Interval, Port, UrlPath};
use crate::suggest::quoted;
use crate::yaml::{Entry, Map, Node};

/// The ways to ask; there is exactly one of them.
const PROBES: [&str; 3] = ["http", "tcp", "cmd"];
const EXAMPLE: &str = "for example `health: { http: /health, port: 8080 }`";

impl Lowering<'_> {
    pub(super) fn health(
        &mut self,
        name: &str,
        node: &Node,
        expose: Option<&Expose>,
    ) -> Option<Health> {
        let before = self.found.len();
        let what = format!("`health` of stage `{name}`");
        let map = self.fields(node, &keys::HEALTH, &what)?;
        let probe = self.probe(&what, node, map, expose);
        let mut interval = |key: &str, seconds| {
            let path = format!("deploy.health.{key}");
            let builtin = Interval(Duration::from_secs(seconds));
            self.or_builtin(map, &path, Site::Value, builtin).0
        };
        let (every, timeout) = (interval("interval", 1), interval("timeout", 2));
        let deadline = interval("deadline", 60);
        let start_period =
            self.or_builtin(map, "deploy.health.start-period", Site::Value, Duration::from_secs(5));
        let successes = self.or_builtin(map, "deploy.health.successes", Site::Value, Count(3));
        let failures = self.or_builtin(map, "deploy.health.failures", Site::Value, Count(3));
        let health = Health {
            probe: probe?,
            interval: every,
            timeout,
            successes: successes.0,
            failures: failures.0,
            start_period,
            deadline,
        };
        if self.found.len() == before {
            self.reachable(&what, map, &health);
        }
        Some(health)
    }

    /// A deadline that ends before enough answers can have come fails every deploy.
    fn reachable(&mut self, what: &str, map: &Map, health: &Health) {
        let mut known = ["interval", "successes", "deadline"].into_iter().all(|key| {
            let path = format!("deploy.health.{key}");
            map.get(key).is_none_or(|node| self.is_settled(&path, node))
        });
        // The first answer needs no wait.
        let least = health.interval.std().saturating_mul(health.successes - 1);
        known &= least > health.deadline.std();
        let written = ["deadline", "successes", "interval"].into_iter();
        let Some(node) = written.filter_map(|key| map.get(key)).next().filter(|_| known) else {
            return;
        };
        let message = format!(
            "{what} can never be reached: {} answers in a row, one every {}, take longer than \
             the deadline of {}",
            health.successes, health.interval, health.deadline
        );
        let error = self.error_at(Code::E015, message, node);
        self.report(error.label("raise `deadline`, or lower `successes` or `interval`"));
    }

    fn probe(
        &mut self,
        what: &str,
        node: &Node,
        map: &Map,
        expose: Option<&Expose>,
    ) -> Option<Probe> {
        let probes: Vec<&Entry> =
            map.0.iter().filter(|entry| PROBES.contains(&entry.key.name.as_str())).collect();
        let probe = match probes.as_slice() {
            [] => {
                if PROBES.iter().all(|key| self.lacks(map, &keys::HEALTH, key)) {
                    let error =
                        self.error_at(Code::E014, format!("{what} does not say what to ask"), node);
                    self.report(error.label("add `http`, `tcp` or `cmd`").note(EXAMPLE));
                }
                return None;
            }
            [probe] => *probe,
            [first, second, ..] => {
                let names = quoted(probes.iter().map(|entry| entry.key.name.as_str()));
                let message = format!("{what} asks in {} ways: {names}", probes.len());
                let error = self.error(Code::E013, message, second.key.span);
                let place = self.sources.place(first.key.span);
                self.report(error.label("keep one").related("also here", place));
                return None;
            }
        };
        let key = probe.key.name.as_str();
        if let (Some(port), "tcp" | "cmd") = (map.entry("port"), key) {
            let message = match key {
                "tcp" => format!("{what} has `tcp`, which is a port, and `port`"),
                _ => format!("{what} has `cmd`, which needs no port, and `port`"),
            };
            let error = self.error(Code::E013, message, port.key.span);
            self.report(error.label("remove it"));
        }
        match key {
            "tcp" => {
                let port: Port = self.value("deploy.health.tcp", &probe.value, Site::Value);
                Some(Probe::Tcp(port.0))
            }
            "cmd" => Some(Probe::Cmd(self.command("deploy.health.cmd", &probe.value))),
            _ => {
                let path: UrlPath = self.value("deploy.health.http", &probe.value, Site::Value);
                let port = self.probed_port(what, &probe.value, map, expose);
                Some(Probe::Http { path: path.0, port })
            }
        }
    }

    fn probed_port(&mut self, what: &str, http: &Node, map: &Map, expose: Option<&Expose>) -> u16 {
        match (map.get("port"), expose) {
            (Some(node), _) => self.value::<Port>("deploy.health.port", node, Site::Value).0,
            (None, Some(expose)) => {
                self.same_origin("deploy.expose.port", "deploy.health.port");
                expose.port
            }
            (None, None) => {
                if self.lacks(map, &keys::HEALTH, "port") {
                    let error = self.error_at(Code::E014, format!("{what} has no `port`"), http);
                    self.report(error.label("add it here, or `expose.port`").note(EXAMPLE));
                }
                0
            }
        }
    }
}
