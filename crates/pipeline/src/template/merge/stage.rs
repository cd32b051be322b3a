//! One stage of a template, and what a file changes of it.

use super::{Merge, lay_over};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::keys::{ACTIONS, actions_of};
use crate::yaml::{Entry, Key, Map, Node, Value};

impl Merge<'_> {
    /// Changes one stage of the template.
    pub(super) fn stage(&mut self, below: &mut Entry, above: Entry) {
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
        self.action(map, &key, &changes);
        // Last, wherever they stand: they extend the `run` that comes out.
        let extends = |entry: &Entry| matches!(&*entry.key.name, "run-before" | "run-after");
        let (last, first): (Vec<Entry>, Vec<Entry>) = changes.0.into_iter().partition(extends);
        for change in first.into_iter().chain(last) {
            self.key(map, &key, change);
        }
        below.value = stage;
    }

    /// Another action replaces that of the template, and what only that one had.
    fn action(&mut self, map: &mut Map, stage: &Key, changes: &Map) {
        let (Some(new), Some(old)) = (action_of(changes), action_of(map)) else { return };
        if new == old || !self.allowed(stage, &new, stage.span) {
            return;
        }
        map.0.retain(|entry| {
            entry.key.name != old
                && actions_of(&entry.key.name).is_none_or(|of| of.contains(&new.as_str()))
        });
    }

    fn key(&mut self, map: &mut Map, stage: &Key, change: Entry) {
        let name = change.key.name.as_str();
        if matches!(name, "after" | "before") {
            let message =
                format!("`{name}` places a new stage, and `{}` is one of the template", stage.name);
            let place = self.sources.place(change.key.span);
            self.found.push(Diagnostic::error(Code::E011, message).at(place));
        } else if !self.allowed(stage, name, change.key.span) {
            // It has been told.
        } else if matches!(name, "run-before" | "run-after") {
            self.extend_run(map, stage, change);
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
        let (span, via) = (run.value.span, run.value.via);
        let own = std::mem::replace(&mut run.value, Node::new(Value::Null, span));
        let (mut first, second) = if change.key.name == "run-before" {
            (commands(change.value), commands(own))
        } else {
            (commands(own), commands(change.value))
        };
        first.extend(second);
        run.value = Node { value: Value::List(first), span, via };
    }
}

/// A stage in short form, written out: a string or a list is its `run`.
pub(in crate::template) fn in_full(node: Node) -> Node {
    match &node.value {
        Value::Text(_) | Value::Mixed(_) | Value::List(_) => {
            let span = node.span;
            let key = Key { name: "run".to_owned(), span };
            Node::new(Value::Map(Map(vec![Entry { key, value: node }])), span)
        }
        _ => node,
    }
}

/// The action that a stage names.
pub(in crate::template) fn action_of(map: &Map) -> Option<String> {
    let mut names = map.0.iter().map(|entry| &entry.key.name);
    names.find(|name| ACTIONS.contains(&name.as_str())).cloned()
}

fn commands(node: Node) -> Vec<Node> {
    match node.value {
        Value::List(list) => list,
        _ => vec![node],
    }
}
