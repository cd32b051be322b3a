//! A file over a template, key by key (language.md §5.3).

use std::collections::{BTreeMap, HashMap, HashSet};

use super::policy::Policy;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::keys::ACTIONS;
use crate::source::{FileId, Sources, Span};
use crate::suggest::{closest, quoted};
use crate::yaml::{Entry, Key, Map, Node, Value};

pub(super) struct Merge<'a> {
    pub(super) sources: &'a Sources,
    pub(super) found: &'a mut Vec<Diagnostic>,
    pub(super) policies: &'a [Policy],
    /// The template, as it is named.
    pub(super) label: &'a str,
    pub(super) removed: &'a mut BTreeMap<String, Span>,
    pub(super) stages: &'a mut Vec<String>,
}

impl Merge<'_> {
    pub(super) fn pipeline(&mut self, mut lower: Map, upper: Map) -> Map {
        for entry in upper.0 {
            let Some(below) = lower.entry_mut(&entry.key.name) else {
                lower.0.push(entry);
                continue;
            };
            match (&mut below.value.value, entry) {
                (
                    Value::Map(below),
                    Entry { key, value: Node { value: Value::Map(above), .. } },
                ) if key.name == "stages" => {
                    *below = self.stages(std::mem::take(below), above);
                }
                (_, entry) => lay_over(&mut below.value, entry.value),
            }
        }
        // Stages that the file leaves alone are the template's, too.
        if let Some(Value::Map(stages)) = lower.get("stages").map(|node| &node.value) {
            let own = |span: Span| span.file != FileId::PIPELINE;
            let names = stages.0.iter().filter(|entry| own(entry.key.span));
            let names: Vec<_> = names.map(|entry| entry.key.name.clone()).collect();
            for name in names {
                if !self.stages.contains(&name) {
                    self.stages.push(name);
                }
            }
        }
        lower
    }

    fn stages(&mut self, lower: Map, upper: Map) -> Map {
        let index: HashMap<String, usize> =
            lower.0.iter().enumerate().map(|(at, entry)| (entry.key.name.clone(), at)).collect();
        self.stages.extend(lower.0.iter().map(|entry| entry.key.name.clone()));
        let mut stages: Vec<Option<Entry>> = lower.0.into_iter().map(Some).collect();
        let mut off = Vec::new();
        let mut new = Vec::new();
        for entry in upper.0 {
            match index.get(&entry.key.name) {
                Some(at) if entry.value.is_text("off") => {
                    if self.allowed(&entry.key, "off", entry.key.span) {
                        self.removed.insert(entry.key.name.clone(), entry.key.span);
                        off.push(*at);
                    }
                }
                Some(at) => {
                    if let Some(below) = stages[*at].as_mut() {
                        self.stage(below, entry);
                    }
                }
                None if entry.value.is_text("off") => self.nothing_to_remove(&entry, index.keys()),
                None => new.push(entry),
            }
        }
        rewire(&mut stages, &off);
        for at in off {
            stages[at] = None;
        }
        let mut stages: Vec<Entry> = stages.into_iter().flatten().collect();
        for entry in new {
            let at = position(&stages, &entry);
            stages.insert(at, entry);
        }
        Map(stages)
    }

    /// Changes one stage of the template.
    fn stage(&mut self, below: &mut Entry, above: Entry) {
        let key = above.key;
        let changes = match in_full(above.value) {
            Node { value: Value::Map(map), .. } => map,
            other => {
                // Lowering says what is wrong with a stage that is no map.
                below.value = other;
                return;
            }
        };
        let stage = std::mem::replace(&mut below.value, Node::new(Value::Null, below.key.span));
        let mut stage = in_full(stage);
        let Value::Map(map) = &mut stage.value else {
            below.value = stage;
            return;
        };
        let action = |map: &Map| {
            map.0
                .iter()
                .map(|entry| entry.key.name.clone())
                .find(|name| ACTIONS.contains(&name.as_str()))
        };
        if let (Some(new), Some(old)) = (action(&changes), action(map))
            && new != old
            && self.allowed(&key, &new, key.span)
        {
            map.remove(&old);
        }
        for change in changes.0 {
            let name = change.key.name.as_str();
            if matches!(name, "after" | "before") {
                let message = format!(
                    "`{name}` places a new stage, and `{}` is one of the template",
                    key.name
                );
                let place = self.sources.place(change.key.span);
                self.found.push(Diagnostic::error(Code::E011, message).at(place));
            } else if !self.allowed(&key, name, change.key.span) {
            } else if matches!(name, "run-before" | "run-after") {
                self.extend_run(map, &key, change);
            } else {
                match map.entry_mut(name) {
                    Some(below) => {
                        lay_over(&mut below.value, change.value);
                        // Errors of the whole value stand where it was last written.
                        below.key.span = change.key.span;
                    }
                    None => map.0.push(change),
                }
            }
        }
        below.value = stage;
    }

    fn extend_run(&mut self, map: &mut Map, stage: &Key, change: Entry) {
        let Some(run) = map.entry_mut("run") else {
            let message = format!(
                "`{}` extends the `run` of a template, and `{}` has none",
                change.key.name, stage.name
            );
            let place = self.sources.place(change.key.span);
            self.found.push(Diagnostic::error(Code::E011, message).at(place));
            return;
        };
        let span = run.value.span;
        let via = run.value.via;
        let own = std::mem::replace(&mut run.value, Node::new(Value::Null, span));
        let (mut first, second) = if change.key.name == "run-before" {
            (commands(change.value), commands(own))
        } else {
            (commands(own), commands(change.value))
        };
        first.extend(second);
        run.value = Node { value: Value::List(first), span, via };
    }

    /// Whether every policy lets the file change `key`; says so if not.
    fn allowed(&mut self, stage: &Key, key: &str, at: Span) -> bool {
        let refusal = self.policies.iter().find_map(|policy| policy.refusal(&stage.name, key));
        let Some(refusal) = refusal else { return true };
        let message = match key {
            "off" => format!(
                "template `{}` does not let stage `{}` be removed",
                refusal.label, stage.name
            ),
            _ => format!(
                "template `{}` does not let `{key}` of stage `{}` be changed",
                refusal.label, stage.name
            ),
        };
        self.found.push(
            Diagnostic::error(Code::E035, message)
                .at(self.sources.place(at))
                .label(format!("may be changed: {}", refusal.allowed))
                .related("the policy", self.sources.place(refusal.line)),
        );
        false
    }

    fn nothing_to_remove<'n>(&mut self, entry: &Entry, known: impl Iterator<Item = &'n String>) {
        let name = &entry.key.name;
        let mut known: Vec<_> = known.map(String::as_str).collect();
        known.sort_unstable();
        let message =
            format!("template `{}` has no stage `{name}` that could be removed", self.label);
        let diagnostic = Diagnostic::error(Code::E036, message)
            .at(self.sources.place(entry.key.span))
            .note(format!("stages of the template: {}", quoted(known.iter().copied())));
        self.found.push(diagnostic.did_you_mean(closest(name, known)));
    }
}

/// Scalars and lists replace; maps merge by key, recursively.
fn lay_over(below: &mut Node, above: Node) {
    match (&mut below.value, above.value) {
        (Value::Map(below), Value::Map(above)) => {
            for entry in above.0 {
                match below.entry_mut(&entry.key.name) {
                    Some(same) => {
                        lay_over(&mut same.value, entry.value);
                        same.key.span = entry.key.span;
                    }
                    None => below.0.push(entry),
                }
            }
        }
        (_, value) => *below = Node { value, span: above.span, via: above.via },
    }
}

/// A stage in short form, written out: a string or a list is its `run`.
fn in_full(node: Node) -> Node {
    match &node.value {
        Value::Text(_) | Value::Mixed(_) | Value::List(_) => {
            let span = node.span;
            let key = Key { name: "run".to_owned(), span };
            Node::new(Value::Map(Map(vec![Entry { key, value: node }])), span)
        }
        _ => node,
    }
}

fn commands(node: Node) -> Vec<Node> {
    match node.value {
        Value::List(list) => list,
        _ => vec![node],
    }
}

/// Those that need a removed stage need its needs instead.
fn rewire(stages: &mut [Option<Entry>], off: &[usize]) {
    let name_of = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.key.name.clone());
    let gone: HashMap<String, Vec<Node>> = off
        .iter()
        .filter_map(|at| {
            let entry = stages[*at].as_ref()?;
            let written =
                entry.value.as_map().and_then(|map| map.get("needs")).and_then(Node::as_list);
            let needs = match written {
                Some(needs) => needs.to_vec(),
                // Without `needs` a stage waits for all above it.
                None => stages[..*at]
                    .iter()
                    .filter_map(name_of)
                    .map(|name| Node::new(Value::Text(name), entry.key.span))
                    .collect(),
            };
            Some((entry.key.name.clone(), needs))
        })
        .collect();
    if gone.is_empty() {
        return;
    }
    for entry in stages.iter_mut().flatten() {
        let Value::Map(map) = &mut entry.value.value else { continue };
        let Some(needs) = map.entry_mut("needs") else { continue };
        if needs.key.span.file == FileId::PIPELINE {
            continue;
        }
        let Value::List(list) = &mut needs.value.value else { continue };
        let mut seen = HashSet::new();
        let mut rewired = Vec::new();
        let mut waiting: Vec<Node> = std::mem::take(list).into_iter().rev().collect();
        while let Some(need) = waiting.pop() {
            let name = need_name(&need).unwrap_or_default().to_owned();
            if !seen.insert(name.clone()) {
                continue;
            }
            match gone.get(&name) {
                Some(instead) => waiting.extend(instead.iter().rev().cloned()),
                None => rewired.push(need),
            }
        }
        *list = rewired;
    }
}

fn need_name(need: &Node) -> Option<&str> {
    match &need.value {
        Value::Text(name) => Some(name),
        Value::Map(map) => match map.get("stage").map(|node| &node.value) {
            Some(Value::Text(name)) => Some(name),
            _ => None,
        },
        _ => None,
    }
}

/// A new stage stands before the first stage it names in `before`, else below all.
fn position(stages: &[Entry], new: &Entry) -> usize {
    let before = new.value.as_map().and_then(|map| map.get("before"));
    let names: Vec<&str> = match before.map(|node| &node.value) {
        Some(Value::Text(name)) => vec![name],
        Some(Value::List(list)) => list.iter().filter_map(need_name).collect(),
        _ => Vec::new(),
    };
    stages.iter().position(|entry| names.contains(&entry.key.name.as_str())).unwrap_or(stages.len())
}
