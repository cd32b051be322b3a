//! `needs`, and `after` and `before` of stages spliced into a template.

use std::collections::HashSet;

use super::Lowering;
use super::draft::{Draft, Need};
use crate::codes::Code;
use crate::keys;
use crate::name::CHECKOUT;
use crate::suggest::{closest, explains};
use crate::yaml::{Entry, Map, Node, Value};

impl Lowering<'_> {
    pub(super) fn needs(&mut self, name: &str, map: &Map) -> Option<Vec<Need>> {
        let needs = map.entry("needs");
        let after = map.entry("after");
        if let (Some(needs), Some(after)) = (needs, after) {
            let error = self.error(
                Code::E013,
                format!("stage `{name}` has `after` and `needs`, which say the same"),
                after.key.span,
            );
            let place = self.sources.place(needs.key.span);
            self.report(error.label("keep one").related("also here", place));
        }
        let (entry, one) = match (needs, after) {
            (Some(entry), _) => (entry, false),
            (None, Some(entry)) => (entry, true),
            (None, None) => return None,
        };
        Some(self.need_list(name, entry, one))
    }

    fn need_list(&mut self, name: &str, entry: &Entry, one: bool) -> Vec<Need> {
        let key = entry.key.name.as_str();
        let items = match &entry.value.value {
            Value::List(items) => items.as_slice(),
            Value::Text(_) if one => std::slice::from_ref(&entry.value),
            other => {
                let message = format!("`{key}` takes a list of stages, not {}", other.kind());
                let mut error = self.error_at(Code::E012, message, &entry.value);
                let written = self.sources.text(entry.value.span);
                match other {
                    Value::Text(text) => error = error.label(format!("write `[{text}]`")),
                    Value::Map(_) if written.starts_with('{') && !written.contains('\n') => {
                        error = error.label(format!("write `[{written}]`"));
                    }
                    _ => error = error.label("for example `[build]`"),
                }
                self.report(error);
                return Vec::new();
            }
        };
        let mut seen = HashSet::new();
        let mut needs = Vec::new();
        for item in items {
            let Some(need) = self.need(name, key, item) else { continue };
            if seen.insert(need.stage) {
                needs.push(need);
            }
        }
        needs
    }

    fn need(&mut self, name: &str, key: &str, item: &Node) -> Option<Need> {
        let (node, must) = match &item.value {
            Value::Map(_) => {
                let map = self.fields(item, &keys::NEED, &format!("`{key}` of stage `{name}`"))?;
                let must = match map.get("must") {
                    None => false,
                    Some(node) if node.is_text("run") => true,
                    Some(node) => {
                        let error = self.error_at(Code::E012, "`must` takes the word `run`", node);
                        self.report(error.label("write `run`"));
                        false
                    }
                };
                let Some(stage) = map.get("stage") else {
                    if self.lacks(map, &keys::NEED, "stage") {
                        let error = self.error_at(Code::E014, "this need names no `stage`", item);
                        self.report(error.label("for example `{ stage: image, must: run }`"));
                    }
                    return None;
                };
                (stage, must)
            }
            _ => (item, false),
        };
        let before = self.found.len();
        let text: String = self.plain("needs", node);
        if self.found.len() > before {
            return None;
        }
        if text == name {
            let error = self.error_at(Code::E021, format!("stage `{name}` needs itself"), node);
            self.report(error.label("remove it"));
            return None;
        }
        if text == CHECKOUT && self.names.checkout_off.is_none() {
            return Some(Need { stage: None, span: node.span, must });
        }
        match self.names.stages.get(&text) {
            Some(stage) => Some(Need { stage: Some(*stage), span: node.span, must }),
            None => {
                let verb = match key {
                    "after" => "stands after",
                    "before" => "stands before",
                    _ => "needs",
                };
                let subject = format!("stage `{name}` {verb}");
                if !self.is_cell(&subject, &text, node) {
                    self.unknown_stage(&format!("{subject} `{text}`"), &text, node);
                }
                None
            }
        }
    }

    /// Whether a name is that of a cell, which cannot be needed; says so.
    fn is_cell(&mut self, subject: &str, wanted: &str, node: &Node) -> bool {
        let Some((stage, _)) = wanted.split_once('[') else { return false };
        if !wanted.ends_with(']') || !self.names.stages.contains_key(stage) {
            return false;
        }
        let message = format!("{subject} the cell `{wanted}`");
        let error = self.error_at(Code::E020, message, node);
        self.report(error.label(format!("write `{stage}`, which is every cell of it")));
        true
    }

    /// E020 with a suggestion, and with the line that removed the stage.
    pub(super) fn unknown_stage(&mut self, subject: &str, wanted: &str, node: &Node) {
        let removed = if wanted == CHECKOUT {
            self.names.checkout_off
        } else {
            self.names.removed.get(wanted).copied()
        };
        if let Some(off) = removed {
            let message = format!("{subject}, which is removed");
            let label = format!("`off` at {}", self.sources.short(off));
            let place = self.sources.place(off);
            let error = self.error_at(Code::E020, message, node);
            self.report(error.label(label).related("removed here", place));
            return;
        }
        let error = self.error_at(Code::E020, format!("{subject}, which is not a stage"), node);
        if !explains(self.found) {
            self.report(error);
            return;
        }
        let close = closest(wanted, self.names.in_order.iter().map(String::as_str));
        let error = error.did_you_mean(close);
        let all = self.names.in_order.join(", ");
        self.report(error.note(format!("stages are: {all}")));
    }

    /// `before: X` of a spliced-in stage is one more need of X.
    pub(super) fn place_before(&mut self, map: &Map, stages: &mut [Draft]) {
        for (at, entry) in map.0.iter().enumerate() {
            let Some(before) = entry.value.as_map().and_then(|map| map.entry("before")) else {
                continue;
            };
            for target in self.need_list(&entry.key.name, before, true) {
                if let Some(stage) = target.stage.and_then(|index| stages.get_mut(index)) {
                    stage.before.push(Need { stage: Some(at), span: target.span, must: false });
                }
            }
        }
    }
}
