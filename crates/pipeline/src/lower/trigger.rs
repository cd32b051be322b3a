//! `on`: what starts a run.

use std::collections::BTreeMap;

use super::Lowering;
use super::param::{Declared, Owner};
use crate::Duration;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys::{self, Keys};
use crate::model::{
    GerritEvent, GerritTrigger, ManualTrigger, PullRequestTrigger, PullRequestType, PushTrigger,
    SvnTrigger, TagTrigger, Triggers,
};
use crate::pattern::Pattern;
use crate::scalar::{RegularExpression, Scalar};
use crate::yaml::{Key, Map, Node, Value};

/// How often a Subversion repository is asked.
const POLL: Duration = Duration::from_secs(60);
/// Anything shorter asks more often than people commit.
const SHORTEST_POLL: Duration = Duration::from_secs(10);

/// A trigger as it is written: its name and, in a map, what stands behind it.
pub(super) struct Written<'n> {
    pub(super) key: Key,
    /// `None` for a name alone.
    pub(super) node: Option<&'n Node>,
}

impl Lowering<'_> {
    /// `auto` is that of the file.
    pub(super) fn triggers(&mut self, node: &Node, auto: bool) -> Triggers {
        let written: Vec<Written<'_>> = match &node.value {
            value if value.is_reported() => Vec::new(),
            Value::Map(map) => map
                .0
                .iter()
                .map(|entry| Written {
                    key: entry.key.clone(),
                    node: Some(&entry.value).filter(|node| !matches!(node.value, Value::Null)),
                })
                .collect(),
            Value::List(_) | Value::Text(_) | Value::Mixed(_) => {
                node.one_or_many().iter().filter_map(|name| self.named(name)).collect()
            }
            other => {
                let message = format!("`on` takes a map or a list, not {}", other.kind());
                let error = self.error_at(Code::E012, message, node);
                self.report(error.label("for example `[push, manual]`"));
                Vec::new()
            }
        };
        let mut triggers = Triggers::default();
        // Schedules give values to the parameters, wherever these stand.
        let (manual, others): (Vec<_>, Vec<_>) =
            written.into_iter().partition(|written| written.key.name == "manual");
        let mut known = BTreeMap::new();
        for written in manual.into_iter().chain(others) {
            if self.key(&written.key, &keys::ON, "`on`")
                && !self.given_before(&mut known, &written.key, "trigger")
            {
                self.trigger(&written, auto, &mut triggers);
            }
        }
        triggers
    }

    /// One of `on: [push, tag]`.
    fn named<'n>(&mut self, node: &Node) -> Option<Written<'n>> {
        let before = self.found.len();
        let name = self.plain("on", node);
        let read = self.found.len() == before;
        read.then_some(Written { key: Key { name, span: node.span }, node: None })
    }

    fn trigger(&mut self, written: &Written<'_>, auto: bool, triggers: &mut Triggers) {
        match written.key.name.as_str() {
            "push" => {
                let map = self.filters(written, &keys::ON_PUSH, "branch: main");
                triggers.push = Some(PushTrigger {
                    auto: self.auto(map, auto),
                    branch: self.globs(map, "branch"),
                    changed: self.globs(map, "changed"),
                });
            }
            "tag" => triggers.tag = Some(self.tag(written, auto)),
            "pull-request" => {
                let map = self.filters(written, &keys::ON_PULL_REQUEST, "branch: main");
                let types = map.and_then(|map| map.get("types"));
                triggers.pull_request = Some(PullRequestTrigger {
                    auto: self.auto(map, auto),
                    branch: self.globs(map, "branch"),
                    changed: self.globs(map, "changed"),
                    types: types.map_or_else(
                        || PullRequestType::BUILTIN.to_vec(),
                        |node| self.words_of("types", node),
                    ),
                });
            }
            "schedule" => self.schedules(written, auto, triggers),
            "manual" => {
                let map = self.filters(written, &keys::ON_MANUAL, "params: { … }");
                let auto = self.auto(map, true);
                triggers.manual = Some(ManualTrigger { auto, span: Some(written.key.span) });
                if let Some(node) = map.and_then(|map| map.get("params")) {
                    for Declared { key, param, .. } in self.params(node, Owner::Manual) {
                        triggers.params.extend(param.map(|param| (key.name.clone(), param)));
                        triggers.declared.insert(key.name, key.span);
                    }
                }
            }
            "gerrit" => triggers.gerrit = Some(self.gerrit(written, auto)),
            "svn" => triggers.svn = Some(self.svn(written, auto)),
            // `key` has told of it.
            _ => {}
        }
    }

    /// The map behind the name of a trigger, if there is one.
    fn filters<'n>(
        &mut self,
        written: &Written<'n>,
        keys: &Keys,
        example: &str,
    ) -> Option<&'n Map> {
        let node = written.node?;
        let what = format!("`on.{}`", written.key.name);
        if node.value.is_reported() || node.as_map().is_some() {
            return self.fields(node, keys, &what);
        }
        let message = format!("{what} takes a map, not {}", node.value.kind());
        let name = &written.key.name;
        let label = match (&node.value, example.split_once(':')) {
            (Value::Text(text), Some((key @ "branch", _))) => {
                format!("write `{name}: {{ {key}: {} }}`", in_flow(text))
            }
            (Value::Bool(true), _) => {
                format!("write `{name}:` alone, or `{name}: {{ {example} }}`")
            }
            (Value::Bool(false), _) => {
                "remove the line: a trigger that is not there starts nothing".to_owned()
            }
            _ => format!("for example `{name}: {{ {example} }}`"),
        };
        let error = self.error_at(Code::E012, message, node);
        self.report(error.label(label));
        None
    }

    pub(super) fn auto(&mut self, map: Option<&Map>, otherwise: bool) -> bool {
        map.and_then(|map| map.get("auto")).map_or(otherwise, |node| self.plain("auto", node))
    }

    fn globs(&mut self, map: Option<&Map>, key: &'static str) -> Option<Vec<Pattern>> {
        let node = map?.get(key)?;
        Some(self.some_patterns(key, node))
    }

    /// Globs, of which an empty list would be a trigger that never starts.
    fn some_patterns(&mut self, key: &'static str, node: &Node) -> Vec<Pattern> {
        let example = match key {
            "branch" => "for example `[main, \"release/*\"]`",
            "tag" | "name" => "for example `[\"v*\"]`",
            _ => "for example `[\"src/**\"]`",
        };
        self.not_empty(key, node, example);
        self.patterns(key, node)
    }

    pub(super) fn not_empty(&mut self, key: &str, node: &Node, example: &str) {
        if matches!(node.as_list(), Some([])) {
            let message = format!("`{key}` is an empty list, and nothing could ever match");
            let error = self.error_at(Code::E012, message, node);
            self.report(error.label(example));
        }
    }

    fn words_of<T: Scalar>(&mut self, key: &'static str, node: &Node) -> Vec<T> {
        self.not_empty(key, node, "name at least one, or remove the key");
        self.list(key, node, Site::Never(key), true)
    }

    /// `tag: v*` is `tag: { name: v* }`.
    fn tag(&mut self, written: &Written<'_>, auto: bool) -> TagTrigger {
        if let Some(node) = written.node
            && matches!(node.value, Value::Text(_) | Value::Mixed(_) | Value::List(_))
        {
            return TagTrigger { auto, name: Some(self.some_patterns("tag", node)) };
        }
        let map = self.filters(written, &keys::ON_TAG, "name: \"v*\"");
        TagTrigger { auto: self.auto(map, auto), name: self.globs(map, "name") }
    }

    fn gerrit(&mut self, written: &Written<'_>, auto: bool) -> GerritTrigger {
        let map = self.filters(written, &keys::ON_GERRIT, "events: [patchset-created]");
        let node = |key: &str| map.and_then(|map| map.get(key));
        let comment =
            node("comment").map(|node| self.plain::<RegularExpression>("comment", node).0);
        let events: Vec<GerritEvent> = match node("events") {
            Some(node) => self.words_of("events", node),
            None if comment.is_some() => vec![GerritEvent::PatchsetCreated, GerritEvent::Comment],
            None => vec![GerritEvent::PatchsetCreated],
        };
        if let Some(entry) = map.and_then(|map| map.entry("comment"))
            && !events.contains(&GerritEvent::Comment)
        {
            let message = "`comment` tests comments, and `events` has no `comment`";
            let error = self.error(Code::E011, message, entry.key.span);
            self.report(error.label("add `comment` to `events`, or remove this"));
        }
        GerritTrigger {
            auto: self.auto(map, auto),
            events,
            branch: self.globs(map, "branch"),
            comment,
        }
    }

    fn svn(&mut self, written: &Written<'_>, auto: bool) -> SvnTrigger {
        let map = self.filters(written, &keys::ON_SVN, "paths: [\"trunk/**\"]");
        let poll = map.and_then(|map| map.get("poll"));
        SvnTrigger {
            auto: self.auto(map, auto),
            paths: self.globs(map, "paths"),
            poll: poll.map_or(POLL, |node| self.poll(node)),
        }
    }

    fn poll(&mut self, node: &Node) -> Duration {
        let before = self.found.len();
        let poll: Duration = self.plain("poll", node);
        if self.found.len() == before && poll < SHORTEST_POLL {
            let message = format!("`poll` is at least {SHORTEST_POLL}");
            let error = self.error_at(Code::E015, message, node);
            self.report(error.label("for example `60s`"));
        }
        poll
    }
}

/// A text that can stand between braces.
fn in_flow(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if text.chars().all(plain) { text.to_owned() } else { format!("\"{text}\"") }
}
