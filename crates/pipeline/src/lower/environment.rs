//! `environments`: places to deploy to that the file itself defines.

use std::collections::BTreeMap;

use super::Lowering;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys;
use crate::model::FileEnvironment;
use crate::name;
use crate::pattern::Pattern;
use crate::scalar::{Count, WebAddress};
use crate::yaml::{Entry, Map, Node, Value};
use crate::{Environment, TargetSpec, Tier};

impl Lowering<'_> {
    pub(super) fn environments(&mut self, node: &Node) -> BTreeMap<String, FileEnvironment> {
        if node.value.is_reported() {
            return BTreeMap::new();
        }
        let Some(map) = node.as_map() else {
            let message = format!("`environments` takes a map, not {}", node.value.kind());
            let error = self.error_at(Code::E012, message, node);
            self.report(error.label("a map from names to environments"));
            return BTreeMap::new();
        };
        let read = |entry: &Entry| (entry.key.name.clone(), self.file_environment(entry));
        let environments = map.0.iter().map(read).collect();
        self.promotions(map);
        environments
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
            && self.lacks(map, &keys::ENVIRONMENT, "target")
        {
            self.no_target(&what, entry);
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
        let url: Option<WebAddress> = self.optional(map, "url", Site::Pipeline);
        let allow: Vec<Pattern> = match map.get("allow") {
            Some(node) => {
                if matches!(node.as_list(), Some([])) {
                    let message = format!("`allow` of {what} allows no branch and no tag");
                    let error = self.error_at(Code::E012, message, node);
                    self.report(
                        error.label("for example `[main, \"v*\"]`; without `allow`, all may"),
                    );
                }
                self.list("allow", node, Site::Pipeline, true)
            }
            None => Vec::new(),
        };
        let (tier, protected) = self.protection(what, map);
        let ensure: Option<bool> = self.optional(map, "ensure", Site::Pipeline);
        Environment {
            target: target.unwrap_or_else(|| TargetSpec::Named(String::new())),
            tier,
            replicas: replicas.map(|count| count.0),
            url: url.map(|url| url.0),
            ensure: ensure.unwrap_or_default(),
            env: map
                .get("env")
                .map(|node| self.texts("env", node, Site::Pipeline))
                .unwrap_or_default(),
            strategy: map.get("strategy").map(|node| {
                let what = format!("`strategy` of {what}");
                self.strategy(&what, "strategy", node, Site::Pipeline)
            }),
            allow: allow.into_iter().map(|pattern| pattern.text).collect(),
            protected,
            only: map.get("only").and_then(|node| self.only(what, node)),
            gates: self.gates(what, map),
        }
    }

    /// Tier and protection; the tiers that people depend on cannot do without.
    fn protection(&mut self, what: &str, map: &Map) -> (Tier, bool) {
        let tier: Option<Tier> = self.optional(map, "tier", Site::Pipeline);
        let protected: Option<bool> = self.optional(map, "protected", Site::Pipeline);
        let tier = tier.unwrap_or_default();
        let settled = |key: &str| map.get(key).is_some_and(|node| self.is_settled(key, node));
        if let (Tier::Preprod | Tier::Prod, Some(false), Some(entry)) =
            (tier, protected, map.entry("protected"))
            // A value that was wrong reads as `false`, and has been reported.
            && (matches!(entry.value.value, Value::Bool(_)) || !self.is_check())
            && settled("tier")
            && settled("protected")
        {
            let message = format!(
                "{what} has the tier `{}`, which is always protected, and `protected: false`",
                tier.name()
            );
            let error = self.error(Code::E013, message, entry.key.span);
            let tier = map.get("tier").map_or(entry.key.span, |node| node.span);
            let place = self.sources.place(tier);
            self.report(
                error
                    .label("remove it: a file cannot unprotect an environment")
                    .related("the tier", place),
            );
        }
        (tier, protected.unwrap_or_default())
    }
}
