//! `on`: what starts a run.

use std::collections::BTreeMap;

use super::Lowering;
use super::param::{self, Declared, Owner};
use crate::Duration;
use crate::codes::Code;
use crate::keys::{self, Keys};
use crate::model::{
    GerritEvent, GerritTrigger, ManualTrigger, PullRequestTrigger, PullRequestType, PushTrigger,
    Schedule, SvnTrigger, TagTrigger, Triggers,
};
use crate::pattern::Pattern;
use crate::scalar::{BranchName, CronLine, RegularExpression, TimeZone};
use crate::suggest::{closest, quoted};
use crate::yaml::{Entry, Key, Map, Node, Value};

/// How often a Subversion repository is asked.
const POLL: Duration = Duration::from_secs(60);
/// Anything shorter asks more often than people commit.
const SHORTEST_POLL: Duration = Duration::from_secs(10);

/// A trigger as it is written: its name and, in a map, what stands behind it.
struct Written<'n> {
    key: Key,
    /// `None` for a name alone.
    node: Option<&'n Node>,
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
                let names = node.as_list().unwrap_or(std::slice::from_ref(node));
                names.iter().filter_map(|name| self.named(name)).collect()
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

    fn auto(&mut self, map: Option<&Map>, otherwise: bool) -> bool {
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

    fn not_empty(&mut self, key: &str, node: &Node, example: &str) {
        if matches!(node.as_list(), Some([])) {
            let message = format!("`{key}` is an empty list, and nothing could ever match");
            let error = self.error_at(Code::E012, message, node);
            self.report(error.label(example));
        }
    }

    fn words_of<T: crate::scalar::Scalar>(&mut self, key: &'static str, node: &Node) -> Vec<T> {
        self.not_empty(key, node, "name at least one, or remove the key");
        self.list(key, node, crate::expression::Site::Never(key), true)
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

    fn schedules(&mut self, written: &Written<'_>, auto: bool, triggers: &mut Triggers) {
        const EXAMPLE: &str = "for example `{ cron: \"0 3 * * *\", timezone: Asia/Shanghai }`";
        let Some(node) = written.node else {
            let message = "`on.schedule` says no time";
            let error = self.error(Code::E014, message, written.key.span);
            self.report(error.label(EXAMPLE));
            return;
        };
        self.not_empty("schedule", node, EXAMPLE);
        for node in node.as_list().unwrap_or(std::slice::from_ref(node)) {
            if let Value::Text(text) = &node.value {
                let message = "`on.schedule` takes a map or a list of maps, not text";
                let error = self.error_at(Code::E012, message, node);
                self.report(error.label(format!("write `{{ cron: \"{text}\" }}`")));
                continue;
            }
            let Some(map) = self.fields(node, &keys::ON_SCHEDULE, "`on.schedule`") else {
                continue;
            };
            triggers.schedules.extend(self.schedule(node, map, auto, triggers));
        }
    }

    fn schedule(
        &mut self,
        node: &Node,
        map: &Map,
        auto: bool,
        triggers: &Triggers,
    ) -> Option<Schedule> {
        let auto = self.auto(Some(map), auto);
        let timezone = map.get("timezone").map(|node| self.plain::<TimeZone>("timezone", node));
        let branch = map.get("branch").map(|node| self.plain::<BranchName>("branch", node));
        let params = self.schedule_params(node, map.entry("params"), triggers);
        let Some(cron) = map.get("cron") else {
            let error = self.error_at(Code::E014, "`on.schedule` has no `cron`", node);
            self.report(error.label("add the time, for example `cron: \"0 3 * * 1-5\"`"));
            return None;
        };
        Some(Schedule {
            auto,
            cron: self.plain::<CronLine>("cron", cron).0,
            timezone: timezone.map_or_else(|| "UTC".to_owned(), |timezone| timezone.0),
            branch: branch.map(|branch| branch.0),
            params,
        })
    }

    /// What a schedule gives to the parameters of `on.manual` (E066).
    fn schedule_params(
        &mut self,
        schedule: &Node,
        entry: Option<&Entry>,
        triggers: &Triggers,
    ) -> BTreeMap<String, serde_json::Value> {
        let empty = Map::default();
        let map = match entry.map(|entry| &entry.value) {
            None => &empty,
            Some(node) => match node.as_map() {
                Some(map) => map,
                None => {
                    if !node.value.is_reported() {
                        let message = format!("`params` takes a map, not {}", node.value.kind());
                        let error = self.error_at(Code::E012, message, node);
                        self.report(error.label("for example `{ target: staging }`"));
                    }
                    return BTreeMap::new();
                }
            },
        };
        let mut values = BTreeMap::new();
        for entry in &map.0 {
            let name = &entry.key.name;
            let Some(declared) = triggers.declared.get(name).copied() else {
                self.undeclared(&entry.key, triggers);
                continue;
            };
            // One that was declared badly has been told.
            let Some(declaration) = triggers.params.get(name) else { continue };
            if let Value::Mixed(pieces) = &entry.value.value {
                if !pieces.is_empty() {
                    let message = "expressions are not available in `params` of a schedule";
                    let error = self.error_at(Code::E045, message, &entry.value);
                    self.report(error.label("write the value itself"));
                }
                continue;
            }
            match param::fit(declaration, &entry.value) {
                Ok(value) => {
                    values.insert(name.clone(), value);
                }
                Err(rule) => {
                    let shown = param::shown(&entry.value);
                    let message = format!("parameter `{name}` cannot be {shown}");
                    let error = self.error_at(Code::E066, message, &entry.value);
                    let place = self.sources.place(declared);
                    self.report(error.label(rule).related("declared here", place));
                }
            }
        }
        for (name, declaration) in triggers.params.iter().filter(|(_, param)| param.required) {
            if map.get(name).is_none() {
                let message = format!("this schedule gives no value to the parameter `{name}`");
                let at = entry.map_or(schedule.span, |entry| entry.key.span);
                let error = self.error(Code::E066, message, at);
                let place = triggers.declared.get(name).map(|span| self.sources.place(*span));
                let error =
                    error.label(format!("it is required: add {}", param::expected(declaration)));
                let error = match place {
                    Some(place) => error.related("declared here", place),
                    None => error,
                };
                self.report(error);
            }
        }
        values
    }

    fn undeclared(&mut self, key: &Key, triggers: &Triggers) {
        let names = || triggers.declared.keys().map(String::as_str);
        let message = format!("there is no parameter `{}`", key.name);
        let error = self.error(Code::E066, message, key.span);
        let error = match closest(&key.name, names()) {
            Some(close) => error.label(format!("did you mean `{close}`?")),
            None => error.label("parameters are declared by `on.manual.params`"),
        };
        let error = match names().next() {
            Some(_) => error.note(format!("parameters there are: {}", quoted(names()))),
            None => error,
        };
        self.report(error);
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
