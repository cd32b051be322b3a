//! `environments`: places to deploy to that the file itself defines.

use std::collections::BTreeMap;

use super::Lowering;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::model::FileEnvironment;
use crate::name;
use crate::scalar::Count;
use crate::yaml::{Entry, Map, Node, Value};
use crate::{Environment, InlineTarget, TargetSpec, Tier};

const TARGET_EXAMPLE: &str =
    "for example `target: { docker: { host: \"unix:///var/run/docker.sock\" } }`";

impl Lowering<'_> {
    pub(super) fn environments(&mut self, node: &Node) -> BTreeMap<String, FileEnvironment> {
        let Some(map) = node.as_map() else {
            let message = format!("`environments` takes a map, not {}", node.value.kind());
            let error = self.error_at(Code::E012, message, node);
            self.report(error.label("a map from names to environments"));
            return BTreeMap::new();
        };
        map.0.iter().map(|entry| (entry.key.name.clone(), self.file_environment(entry))).collect()
    }

    fn file_environment(&mut self, entry: &Entry) -> FileEnvironment {
        let name = &entry.key.name;
        let what = format!("environment `{name}`");
        if !name::is_label(name) {
            let message = format!("an environment cannot be named `{name}`");
            let error = self.error(Code::E016, message, entry.key.span);
            self.report(error.note(name::LABEL_RULE));
        }
        if let Some(map) = self.fields(&entry.value, &keys::ENVIRONMENT, &what)
            && map.get("target").is_none()
        {
            let error = self.error(Code::E014, format!("{what} has no `target`"), entry.key.span);
            self.report(error.label("where does it run?").note(TARGET_EXAMPLE));
        }
        FileEnvironment {
            span: entry.key.span,
            node: entry.value.clone(),
            known: self.environment(&what, &entry.value),
        }
    }

    /// The values of an environment; whether its keys are allowed has been checked.
    pub(crate) fn environment(&mut self, what: &str, node: &Node) -> Environment {
        let empty = Map::default();
        let map = node.as_map().unwrap_or(&empty);
        let target = map.get("target").and_then(|node| self.target(what, node));
        let replicas: Option<Count> = self.optional(map, "replicas", Site::Pipeline);
        Environment {
            target: target.unwrap_or_else(|| TargetSpec::Named(String::new())),
            tier: map.get("tier").map_or(Tier::Dev, |node| self.plain("tier", node)),
            replicas: replicas.map(|count| count.0),
            url: self.optional(map, "url", Site::Pipeline),
            env: map
                .get("env")
                .map(|node| self.texts("env", node, Site::Pipeline))
                .unwrap_or_default(),
            ..Environment::default()
        }
    }

    fn target(&mut self, what: &str, node: &Node) -> Option<TargetSpec> {
        if !matches!(node.value, Value::Map(_)) {
            return Some(TargetSpec::Named(self.plain("target", node)));
        }
        let target = format!("`target` of {what}");
        let map = self.fields(node, &keys::TARGET, &target)?;
        let Some(docker) = map.get("docker") else {
            if map.0.is_empty() {
                let error = self.error_at(Code::E014, format!("{target} is empty"), node);
                self.report(error.note(TARGET_EXAMPLE));
            }
            return None;
        };
        let what = format!("`docker` of {target}");
        let map = self.fields(docker, &keys::TARGET_DOCKER, &what)?;
        let proxy = map.get("proxy").map(|node| self.plain("proxy", node));
        let Some(host) = map.get("host") else {
            let error = self.error_at(Code::E014, format!("{what} has no `host`"), docker);
            self.report(error.label("the address of the engine").note(TARGET_EXAMPLE));
            return None;
        };
        let host = self.plain("host", host);
        Some(TargetSpec::Inline(InlineTarget::Docker { host, proxy }))
    }
}
