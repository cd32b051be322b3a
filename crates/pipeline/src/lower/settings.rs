//! Keys that stages of several actions have: failure, retry, resources, runners.
//!
//! A default stands in for what the stage does not say: for `retry` and
//! `resources` key by key, for all others as a whole.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::Lowering;
use crate::Duration;
use crate::codes::Code;
use crate::expression::Site;
use crate::keys::{self, Keys};
use crate::plan::{AllowFailure, Concurrency, OnNew, Resources, Retry, RetryOn};
use crate::scalar::{
    Cores, Count, ExitCode, Line, Memory, Processes, Retries, RunnerLabel, one_of,
};
use crate::source::Span;
use crate::suggest::{closest, translated};
use crate::yaml::{Key, Map, Node, Value};

const RETRY_WORDS: &[&str] = &["infrastructure", "timeout", "resource-limit"];

/// `retry` as one place writes it.
#[derive(Default)]
struct WrittenRetry {
    max: Option<Retries>,
    on: Option<Vec<RetryOn>>,
    backoff: Option<Duration>,
}

impl<'a> Lowering<'a> {
    /// `allow-failure`: `true`, one exit code or a list of them.
    pub(super) fn allow_failure(&mut self, node: &Node) -> Option<AllowFailure> {
        match &node.value {
            // `false` takes back what a template allows.
            Value::Bool(any) => {
                self.record("allow-failure", node);
                any.then_some(AllowFailure::Any)
            }
            Value::Int(..) | Value::List(_) => {
                let codes = self.exit_codes("allow-failure", node);
                (!codes.is_empty()).then_some(AllowFailure::ExitCodes(codes))
            }
            Value::Mixed(_) => {
                let any: bool = self.plain("allow-failure", node);
                any.then_some(AllowFailure::Any)
            }
            other => {
                let message =
                    format!("`allow-failure` takes `true` or exit codes, not {}", other.kind());
                let error = self.error_at(Code::E012, message, node);
                self.report(error.label("write `true`, or for example `[1]`"));
                None
            }
        }
    }

    fn exit_codes(&mut self, path: &str, node: &Node) -> Vec<u8> {
        if matches!(node.as_list(), Some([])) {
            let error = self.error_at(
                Code::E012,
                format!("`{}` has no exit code", super::last(path)),
                node,
            );
            self.report(error.label("for example `[1]`"));
        }
        let key = if path == "allow-failure" { "allow-failure" } else { "retry" };
        let mut codes: Vec<u8> = self
            .list::<ExitCode>(path, node, Site::Never(key), true)
            .into_iter()
            .map(|code| code.0)
            .collect();
        codes.sort_unstable();
        codes.dedup();
        codes
    }

    pub(super) fn retry(&mut self, map: &Map, of: &str) -> Retry {
        let builtin = Retry::builtin();
        let own = map.get("retry").map(|node| self.written_retry(node, of)).unwrap_or_default();
        let default = self
            .default_beneath(map, "retry")
            .map(|node| self.of_defaults(|lowering| lowering.written_retry(&node, of)))
            .unwrap_or_default();
        Retry {
            max: own.max.or(default.max).map_or(builtin.max, |max| max.0),
            on: own.on.or(default.on).unwrap_or(builtin.on),
            backoff: own.backoff.or(default.backoff).unwrap_or(builtin.backoff),
        }
    }

    fn written_retry(&mut self, node: &Node, of: &str) -> WrittenRetry {
        let what = format!("`retry` of {of}");
        let Some(map) =
            self.settings(node, &keys::RETRY, &what, |text| format!("{{ max: {text} }}"))
        else {
            return WrittenRetry::default();
        };
        WrittenRetry {
            max: self.optional(map, "retry.max", Site::Plan),
            on: map.get("on").map(|node| self.retry_on(node, &what)),
            backoff: self.optional(map, "retry.backoff", Site::Plan),
        }
    }

    fn retry_on(&mut self, node: &Node, of: &str) -> Vec<RetryOn> {
        self.record("retry.on", node);
        if let Some(items) = node.as_list() {
            return items.iter().filter_map(|item| self.retry_cause(item, of)).collect();
        }
        self.retry_cause(node, of).into_iter().collect()
    }

    fn retry_cause(&mut self, node: &Node, of: &str) -> Option<RetryOn> {
        if let Some(map) = node.as_map() {
            self.fields(node, &keys::RETRY_ON, &format!("`on` of {of}"))?;
            if self.lacks(map, &keys::RETRY_ON, "exit") {
                let error = self.error_at(Code::E014, format!("`on` of {of} has no `exit`"), node);
                self.report(error.label("for example `{ exit: [75] }`"));
            }
            return Some(RetryOn::Exit(self.exit_codes("retry.on.exit", map.get("exit")?)));
        }
        let before = self.found.len();
        let text: String = self.value("retry.on", node, Site::Never("retry"));
        match text.as_str() {
            "infrastructure" => Some(RetryOn::Infrastructure),
            "timeout" => Some(RetryOn::Timeout),
            "resource-limit" => Some(RetryOn::ResourceLimit),
            _ if self.found.len() > before => None,
            _ => {
                let message = format!("`{text}` is nothing after which a stage is tried again");
                let error = self.error_at(Code::E015, message, node);
                let label = one_of("causes", &text, RETRY_WORDS);
                self.report(error.label(format!("{label}, and `{{ exit: [75] }}` for exit codes")));
                None
            }
        }
    }

    /// `concurrency` of a stage, or of the run.
    pub(crate) fn concurrency(&mut self, node: &Node, site: Site) -> Option<Concurrency> {
        let what = "`concurrency`";
        let map =
            self.settings(node, &keys::CONCURRENCY, what, |text| format!("{{ group: {text} }}"))?;
        if self.lacks(map, &keys::CONCURRENCY, "group") {
            let error = self.error_at(Code::E014, "`concurrency` has no `group`", node);
            self.report(error.label("name what runs one at a time, for example `group: deploy`"));
        }
        let group: Option<Line> = self.optional(map, "concurrency.group", site);
        let limit = self.or_builtin(map, "concurrency.limit", site, Count(1));
        let on_new =
            self.or_builtin(map, "concurrency.on-new", Site::Never("on-new"), OnNew::Queue);
        Some(Concurrency { group: group?.0, limit: limit.0, on_new })
    }

    /// Labels of the runner that may take the stage.
    pub(super) fn runner(&mut self, map: &Map) -> Vec<String> {
        let labels = |lowering: &mut Self, node: &Node| {
            let labels: Vec<RunnerLabel> = lowering.list("runner", node, Site::Plan, false);
            labels.into_iter().map(|label| label.0).collect()
        };
        match self.own_or_default(map, "runner") {
            Some((node, false)) => labels(self, node),
            Some((node, true)) => self.of_defaults(|lowering| labels(lowering, node)),
            None => Vec::new(),
        }
    }

    /// `resources` of a stage that can use those of `defaults`.
    pub(super) fn stage_resources(&mut self, map: &Map) -> Resources {
        let own = self.resources(map, "resources", Site::Plan);
        let default = self.default_beneath(map, "resources").map(|node| {
            self.of_defaults(|lowering| lowering.limits(&node, "resources", Site::Plan))
        });
        let default = default.unwrap_or_default();
        Resources {
            cpu: own.cpu.or(default.cpu),
            memory: own.memory.or(default.memory),
            pids: own.pids.or(default.pids),
        }
    }

    /// `resources` of a stage, a service or a deployed service: the key at `path`.
    pub(super) fn resources(&mut self, map: &Map, path: &str, site: Site) -> Resources {
        let node = map.get(super::last(path));
        node.map(|node| self.limits(node, path, site)).unwrap_or_default()
    }

    fn limits(&mut self, node: &Node, path: &str, site: Site) -> Resources {
        let example = |_: &str| "{ cpu: 2, memory: 4Gi }".to_owned();
        let Some(map) = self.settings(node, &keys::RESOURCES, "`resources`", example) else {
            return Resources::default();
        };
        let at = |key: &str| format!("{path}.{key}");
        let cpu: Option<Cores> = self.optional(map, &at("cpu"), site);
        let memory: Option<Memory> = self.optional(map, &at("memory"), site);
        let pids: Option<Processes> = self.optional(map, &at("pids"), site);
        Resources {
            cpu: cpu.map(|cores| cores.0),
            memory: memory.map(|memory| memory.0),
            pids: pids.map(|pids| pids.0),
        }
    }

    /// The default of a key that is a map, without what the stage itself says: that
    /// is not read, so it can neither fail nor be pending.
    pub(super) fn default_beneath(&self, map: &Map, key: &str) -> Option<Cow<'a, Node>> {
        let node = self.defaults.get(key)?;
        let (Some(default), Some(own)) = (node.as_map(), map.get(key).and_then(Node::as_map))
        else {
            return Some(Cow::Borrowed(node));
        };
        let left = default.0.iter().filter(|entry| own.get(&entry.key.name).is_none());
        let value = Value::Map(Map(left.cloned().collect()));
        Some(Cow::Owned(Node { value, span: node.span, via: node.via }))
    }

    /// The map behind a key. For a scalar in its place, `example` gives the form
    /// that was probably meant.
    pub(super) fn settings<'n>(
        &mut self,
        node: &'n Node,
        keys: &Keys,
        what: &str,
        example: impl FnOnce(&str) -> String,
    ) -> Option<&'n Map> {
        let written = self.sources.text(node.span);
        if node.scalar_text().is_some() && !written.contains('\n') {
            let message = format!("{what} takes a map, not {}", node.value.kind());
            let label = format!("write `{}`", example(written));
            let error = self.error_at(Code::E012, message, node).label(label);
            self.report(error.note(super::key::allowed(keys)));
            return None;
        }
        self.fields(node, keys, what)
    }

    /// Whether a required key is not there, and no other key was meant to be it:
    /// then that one has been told.
    pub(super) fn lacks(&self, map: &Map, keys: &Keys, key: &str) -> bool {
        let meant = |wrong: &str| {
            translated(wrong, [key]).is_some() || closest(wrong, keys.names()) == Some(key)
        };
        let known = |name: &str| name == key || !keys.has(name) && meant(name);
        !map.0.iter().any(|entry| known(&entry.key.name))
    }

    /// Says that a name in a list or map was given before (E002).
    pub(super) fn given_before(
        &mut self,
        known: &mut BTreeMap<String, Span>,
        key: &Key,
        what: &str,
    ) -> bool {
        let Some(first) = known.insert(key.name.clone(), key.span) else { return false };
        let message = format!("{what} `{}` is given twice", key.name);
        let error = self.error(Code::E002, message, key.span);
        let place = self.sources.place(first);
        self.report(error.label("remove one of the two").related("the first", place));
        true
    }
}
