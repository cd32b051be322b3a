//! `deploy`: what is wanted, and how it is rolled.

use super::Lowering;
use crate::Duration;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::model::{Deploy, Expose, Health, Probe, Setting, Strategy};
use crate::name;
use crate::scalar::{Count, Host, Port, Scalar, UrlPath};
use crate::yaml::{Entry, Map, Node};

const HEALTH_EXAMPLE: &str = "for example `health: { http: /health, port: 8080 }`";

impl Lowering<'_> {
    pub(super) fn deploy(&mut self, name: &str, action: &Entry, what: &str) -> Option<Deploy> {
        let map = self.fields(&action.value, &keys::DEPLOY, what)?;
        for (key, example) in [("environment", "demo"), ("image", "NAME_OF_A_STAGE")] {
            if map.get(key).is_none() {
                let error =
                    self.error(Code::E014, format!("{what} has no `{key}`"), action.key.span);
                self.report(error.label(format!("add `{key}: {example}`")));
            }
        }
        let environment = map.get("environment").and_then(|node| self.environment_name(node));
        let image = map.get("image").and_then(|node| self.image(name, node, &["build", "push"]));
        let replicas = self.optional::<Count>(map, "replicas", Site::Value);
        let expose = map.get("expose").and_then(|node| self.expose(name, node));
        let health = map.get("health").and_then(|node| self.health(name, node, expose.as_ref()));
        let strategy = map.get("strategy").map(|node| self.strategy(name, node));
        let env = map.get("env").map(|node| self.texts("env", node, Site::Value));
        Some(Deploy {
            environment: environment?,
            image: image?,
            replicas,
            expose,
            health,
            strategy: strategy.unwrap_or_else(builtin_strategy),
            env: env.unwrap_or_default(),
        })
    }

    fn environment_name(&mut self, node: &Node) -> Option<Setting<String>> {
        let setting: Setting<String> = self.setting("environment", node, Site::Plan)?;
        if let Some(text) = setting.known().filter(|text| !name::is_label(text)) {
            let message = format!("an environment cannot be named `{text}`");
            let error = self.error_at(Code::E016, message, node);
            self.report(error.note(name::LABEL_RULE));
            return None;
        }
        Some(setting)
    }

    fn expose(&mut self, name: &str, node: &Node) -> Option<Expose> {
        let what = format!("`expose` of stage `{name}`");
        let map = self.fields(node, &keys::EXPOSE, &what)?;
        let host = self.or_builtin(map, "host", Site::Value, Host("*".to_owned()));
        let path = self.or_builtin(map, "path", Site::Value, UrlPath("/".to_owned()));
        let Some(port) = map.get("port") else {
            let error = self.error_at(Code::E014, format!("{what} has no `port`"), node);
            self.report(
                error.label("add the port the service listens at, for example `port: 8080`"),
            );
            return None;
        };
        Some(Expose { port: self.setting("port", port, Site::Value)?, host, path })
    }

    fn health(&mut self, name: &str, node: &Node, expose: Option<&Expose>) -> Option<Health> {
        let what = format!("`health` of stage `{name}`");
        let map = self.fields(node, &keys::HEALTH, &what)?;
        let probe = self.probe(&what, node, map, expose);
        let seconds = Duration::from_secs;
        Some(Health {
            interval: self.or_builtin(map, "interval", Site::Value, seconds(1)),
            timeout: self.or_builtin(map, "timeout", Site::Value, seconds(2)),
            successes: self.or_builtin(map, "successes", Site::Value, Count(3)),
            failures: self.or_builtin(map, "failures", Site::Value, Count(3)),
            start_period: self.or_builtin(map, "start-period", Site::Value, seconds(5)),
            deadline: self.or_builtin(map, "deadline", Site::Value, seconds(60)),
            probe: probe?,
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
            return self.setting("tcp", &tcp.value, Site::Value).map(Probe::Tcp);
        }
        let Some(http) = http else {
            if map.get("cmd").is_none() {
                let error =
                    self.error_at(Code::E014, format!("{what} does not say what to ask"), node);
                self.report(error.label("add `http` or `tcp`").note(HEALTH_EXAMPLE));
            }
            return None;
        };
        let path = self.setting::<UrlPath>("http", &http.value, Site::Value);
        let port = match (map.get("port"), expose) {
            (Some(node), _) => self.setting::<Port>("port", node, Site::Value),
            (None, Some(expose)) => Some(expose.port.clone()),
            (None, None) => {
                let error = self.error_at(Code::E014, format!("{what} has no `port`"), &http.value);
                self.report(error.label("add it here, or `expose.port`").note(HEALTH_EXAMPLE));
                None
            }
        };
        Some(Probe::Http { path: path?, port: port? })
    }

    fn strategy(&mut self, name: &str, node: &Node) -> Strategy {
        if let Ok(kind) = String::read(node) {
            self.strategy_kind(&kind, node);
            return builtin_strategy();
        }
        let what = format!("`strategy` of stage `{name}`");
        let Some(map) = self.fields(node, &keys::STRATEGY, &what) else {
            return builtin_strategy();
        };
        if let Some(kind) = map.get("kind")
            && let Some(text) = self.plain::<String>("kind", kind)
        {
            self.strategy_kind(&text, kind);
        }
        let builtin = crate::Strategy::default();
        Strategy {
            batch: self.or_builtin(map, "batch", Site::Value, Count(builtin.batch)),
            bake: self.or_builtin(map, "bake", Site::Value, builtin.bake),
            drain: self.or_builtin(map, "drain", Site::Value, builtin.drain),
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

fn builtin_strategy() -> Strategy {
    let builtin = crate::Strategy::default();
    Strategy {
        batch: Setting::builtin(Count(builtin.batch)),
        bake: Setting::builtin(builtin.bake),
        drain: Setting::builtin(builtin.drain),
    }
}
