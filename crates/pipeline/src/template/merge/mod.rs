//! A file over a template, key by key (language.md §5.3).

mod removed;
mod stage;

use std::collections::{BTreeMap, HashMap, HashSet};

use super::explains;
use super::policy::Policy;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::source::{FileId, Sources, Span};
use crate::suggest::{closest, quoted};
use crate::yaml::{Entry, Key, Map, NODE_LIMIT, Node, Value};
pub(super) use stage::{action_of, in_full};

pub(super) struct Merge<'a> {
    pub(super) sources: &'a Sources,
    pub(super) found: &'a mut Vec<Diagnostic>,
    pub(super) policies: &'a [Policy],
    /// The template, as it is named.
    pub(super) label: &'a str,
    /// The file that is laid over it.
    pub(super) file: FileId,
    pub(super) removed: &'a mut BTreeMap<String, Span>,
    pub(super) stages: &'a mut Vec<String>,
}

/// Keys of `defaults` that may stand at the top level as well.
pub(super) const SHORT: [&str; 3] = ["image", "env", "timeout"];

impl Merge<'_> {
    pub(super) fn pipeline(&mut self, mut lower: Map, mut upper: Map) -> Map {
        for key in SHORT {
            one_form(&mut lower, &mut upper, key);
        }
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
                // Nothing but comments is left below it.
                (Value::Map(_), entry)
                    if entry.key.name == "stages" && matches!(entry.value.value, Value::Null) => {}
                (_, entry) => {
                    lay_over(&mut below.value, entry.value);
                    // Errors of the whole value stand where it was last written.
                    below.key.span = entry.key.span;
                }
            }
        }
        // Stages that the file leaves alone are the template's, too.
        if let Some(Value::Map(stages)) = lower.get("stages").map(|node| &node.value) {
            let own = |span: Span| span.file != FileId::PIPELINE;
            let names = stages.0.iter().filter(|entry| own(entry.key.span));
            let names: Vec<_> = names.map(|entry| entry.key.name.clone()).collect();
            let known: HashSet<String> = self.stages.iter().cloned().collect();
            self.stages.extend(names.into_iter().filter(|name| !known.contains(name)));
        }
        lower
    }

    fn stages(&mut self, lower: Map, upper: Map) -> Map {
        let index: HashMap<String, usize> =
            lower.0.iter().enumerate().map(|(at, entry)| (entry.key.name.clone(), at)).collect();
        self.stages.extend(lower.0.iter().map(|entry| entry.key.name.clone()));
        let mut stages = lower.0;
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
                Some(at) => self.stage(&mut stages[*at], entry),
                None if entry.value.is_text("off") => self.nothing_to_remove(&entry, index.keys()),
                None => new.push(entry),
            }
        }
        if removed::remove(&mut stages, &off, self.file).is_err() {
            let message = format!(
                "the needs that take the place of removed stages are more than {NODE_LIMIT}, which is the limit"
            );
            let first = off.first().and_then(|at| self.removed.get(&stages[*at].key.name));
            let place = first.map(|span| self.sources.place(*span));
            self.found.extend(place.map(|place| Diagnostic::error(Code::E003, message).at(place)));
        }
        for entry in new {
            let at = position(&stages, &entry);
            stages.insert(at, entry);
        }
        Map(stages)
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
        let message =
            format!("template `{}` has no stage `{name}` that could be removed", self.label);
        let mut error =
            Diagnostic::error(Code::E036, message).at(self.sources.place(entry.key.span));
        if explains(self.found) {
            let mut known: Vec<_> = known.map(String::as_str).collect();
            known.sort_unstable();
            error = error
                .note(format!("stages of the template: {}", quoted(known.iter().copied())))
                .did_you_mean(closest(name, known));
        }
        self.found.push(error);
    }
}

/// Scalars and lists replace; maps merge by key, recursively.
pub(super) fn lay_over(below: &mut Node, above: Node) {
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

/// `image: x` over `defaults: { image: y }` means one and the same key: where one of
/// both files uses the long form, both do. A file that has both forms itself has its
/// error told later.
fn one_form(lower: &mut Map, upper: &mut Map, key: &str) {
    let long = |map: &Map| map.get("defaults").and_then(Node::as_map)?.get(key).map(drop);
    let (long_below, long_above) = (long(lower).is_some(), long(upper).is_some());
    if long_below && !long_above {
        lengthen(upper, key);
    } else if long_above && !long_below {
        lengthen(lower, key);
    }
}

fn lengthen(map: &mut Map, key: &str) {
    let Some(entry) = map.remove(key) else { return };
    if let Some(Entry { value: Node { value: Value::Map(defaults), .. }, .. }) =
        map.entry_mut("defaults")
    {
        defaults.0.push(entry);
        return;
    }
    let span = entry.key.span;
    let defaults = Node::new(Value::Map(Map(vec![entry])), span);
    map.0.push(Entry { key: Key { name: "defaults".to_owned(), span }, value: defaults });
}

/// A new stage stands before the first stage it names in `before`, else below all.
fn position(stages: &[Entry], new: &Entry) -> usize {
    let before = new.value.as_map().and_then(|map| map.get("before"));
    let names: HashSet<&str> = before
        .map(|node| node.one_or_many().iter().filter_map(removed::need_name).collect())
        .unwrap_or_default();
    stages.iter().position(|entry| names.contains(entry.key.name.as_str())).unwrap_or(stages.len())
}
