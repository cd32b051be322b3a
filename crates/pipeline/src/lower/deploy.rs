//! `deploy`: what is wanted, and how it is rolled.

use super::Lowering;
use crate::Duration;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::name;
use crate::plan::{DeployWork, Expose, Health, Probe, Strategy};
use crate::scalar::{Count, Host, Port, Scalar, UrlPath};
use crate::yaml::{Entry, Map, Node, Value};

const HEALTH_EXAMPLE: &str = "for example `health: { http: /health, port: 8080 }`";

impl Lowering<'_> {
    pub(super) fn deploy(
        &mut self,
        name: &str,
        action: &Entry,
        stage: &Map,
        what: &str,
    ) -> Option<DeployWork> {
        let map = self.fields(&action.value, &keys::DEPLOY, what)?;
        for (key, example) in [("environment", "demo"), ("image", "NAME_OF_A_STAGE")] {
            if map.get(key).is_none() {
                let error =
                    self.error(Code::E014, format!("{what} has no `{key}`"), action.key.span);
                self.report(error.label(format!("add `{key}: {example}`")));
            }
        }
        let environment = map.get("environment").map(|node| self.environment_name(node));
        let image = map.get("image").map(|node| self.image_source("deploy.image", node));
        // 0: what the environment says, else 1.
        let replicas: Option<Count> = self.optional(map, "deploy.replicas", Site::Value);
        let expose = map.get("expose").and_then(|node| self.expose(name, node));
        let health = map.get("health").and_then(|node| self.health(name, node, expose.as_ref()));
        let strategy = map.get("strategy").map(|node| {
            self.strategy(&format!("`strategy` of stage `{name}`"), "deploy.strategy", node)
        });
        let env = map.get("env").map(|node| self.texts("deploy.env", node, Site::Value));
        let own = stage.get("env").map(|node| self.texts("env", node, Site::Value));
        Some(DeployWork {
            environment: environment?,
            image: Some(image?),
            replicas: replicas.map_or(0, |count| count.0),
            expose,
            health,
            strategy: strategy.unwrap_or_default(),
            env: env.unwrap_or_default(),
            verify_env: own.unwrap_or_default(),
            ..DeployWork::default()
        })
    }

    fn environment_name(&mut self, node: &Node) -> String {
        let text: String = self.value("deploy.environment", node, Site::Environment);
        let written = matches!(node.value, Value::Text(_));
        if (written || !self.is_check()) && !name::is_label(&text) && !self.is_skipped() {
            let message = format!("an environment cannot be named `{text}`");
            let error = self.error_at(Code::E016, message, node);
            self.report(error.note(name::LABEL_RULE));
        }
        text
    }

    fn expose(&mut self, name: &str, node: &Node) -> Option<Expose> {
        let what = format!("`expose` of stage `{name}`");
        let map = self.fields(node, &keys::EXPOSE, &what)?;
        let host = self.or_builtin(map, "deploy.expose.host", Site::Value, Host("*".to_owned()));
        let path = self.or_builtin(map, "deploy.expose.path", Site::Value, UrlPath("/".to_owned()));
        let Some(port) = map.get("port") else {
            let error = self.error_at(Code::E014, format!("{what} has no `port`"), node);
            self.report(
                error.label("add the port the service listens at, for example `port: 8080`"),
            );
            return None;
        };
        let port: Port = self.value("deploy.expose.port", port, Site::Value);
        Some(Expose { port: port.0, host: host.0, path: path.0 })
    }

    fn health(&mut self, name: &str, node: &Node, expose: Option<&Expose>) -> Option<Health> {
        let what = format!("`health` of stage `{name}`");
        let map = self.fields(node, &keys::HEALTH, &what)?;
        let probe = self.probe(&what, node, map, expose)?;
        let mut duration = |key: &str, seconds| {
            let path = format!("deploy.health.{key}");
            self.or_builtin(map, &path, Site::Value, Duration::from_secs(seconds))
        };
        let (interval, timeout) = (duration("interval", 1), duration("timeout", 2));
        let (start_period, deadline) = (duration("start-period", 5), duration("deadline", 60));
        let successes = self.or_builtin(map, "deploy.health.successes", Site::Value, Count(3));
        let failures = self.or_builtin(map, "deploy.health.failures", Site::Value, Count(3));
        Some(Health {
            probe,
            interval,
            timeout,
            successes: successes.0,
            failures: failures.0,
            start_period,
            deadline,
        })
    }

    fn probe(
        &mut self,
        what: &str,
        node: &Node,
        map: &Map,
        expose: Option<&Expose>,
    ) -> Option<Probe> {
        let (http, tcp) = (map.entry("http"), map.entry("tcp"));
        if let (Some(http), Some(tcp)) = (http, tcp) {
            let error =
                self.error(Code::E013, format!("{what} has `http` and `tcp`"), tcp.key.span);
            let place = self.sources.place(http.key.span);
            self.report(error.label("keep one").related("also here", place));
            return None;
        }
        if let Some(tcp) = tcp {
            if let Some(port) = map.entry("port") {
                let error = self.error(
                    Code::E013,
                    format!("{what} has `tcp`, which is a port, and `port`"),
                    port.key.span,
                );
                self.report(error.label("remove it"));
            }
            let port: Port = self.value("deploy.health.tcp", &tcp.value, Site::Value);
            return Some(Probe::Tcp(port.0));
        }
        let Some(http) = http else {
            if map.get("cmd").is_none() {
                let error =
                    self.error_at(Code::E014, format!("{what} does not say what to ask"), node);
                self.report(error.label("add `http` or `tcp`").note(HEALTH_EXAMPLE));
            }
            return None;
        };
        let path: UrlPath = self.value("deploy.health.http", &http.value, Site::Value);
        let port = match (map.get("port"), expose) {
            (Some(node), _) => self.value::<Port>("deploy.health.port", node, Site::Value).0,
            (None, Some(expose)) => {
                self.same_origin("deploy.expose.port", "deploy.health.port");
                expose.port
            }
            (None, None) => {
                let error = self.error_at(Code::E014, format!("{what} has no `port`"), &http.value);
                self.report(error.label("add it here, or `expose.port`").note(HEALTH_EXAMPLE));
                0
            }
        };
        Some(Probe::Http { path: path.0, port })
    }

    /// `strategy` of a stage or of an environment.
    pub(super) fn strategy(&mut self, what: &str, path: &str, node: &Node) -> Strategy {
        let builtin = Strategy::default();
        if let Ok(kind) = String::read(node) {
            self.strategy_kind(&kind, node);
            return builtin;
        }
        let Some(map) = self.fields(node, &keys::STRATEGY, what) else { return builtin };
        if let Some(kind) = map.get("kind") {
            let text: String = self.plain("kind", kind);
            if !text.is_empty() {
                self.strategy_kind(&text, kind);
            }
        }
        let at = |key: &str| format!("{path}.{key}");
        Strategy {
            batch: self.or_builtin(map, &at("batch"), Site::Value, Count(builtin.batch)).0,
            bake: self.or_builtin(map, &at("bake"), Site::Value, builtin.bake),
            drain: self.or_builtin(map, &at("drain"), Site::Value, builtin.drain),
            ..builtin
        }
    }

    fn strategy_kind(&mut self, kind: &str, node: &Node) {
        let error = match kind {
            "rolling" => return,
            "recreate" => self.error_at(
                Code::E018,
                "the strategy `recreate` is part of the language, but this version cannot run it yet",
                node,
            ),
            _ => self
                .error_at(Code::E015, format!("there is no strategy `{kind}`"), node)
                .label("strategies are `rolling` and `recreate`"),
        };
        self.report(error);
    }
}
