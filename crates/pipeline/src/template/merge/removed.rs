//! What becomes of a stage's needs when a stage it names is removed.

use std::collections::{HashMap, HashSet};

use crate::source::FileId;
use crate::yaml::{Entry, Map, Node, Value};

/// Removes the stages at `off`; those that need one need its needs instead.
///
/// What the file `by` itself wrote stays as it is: a need that it has just removed
/// is its mistake, and is told.
pub(super) fn remove(stages: Vec<Entry>, off: &[usize], by: FileId) -> Vec<Entry> {
    if off.is_empty() {
        return stages;
    }
    let gone: HashMap<String, Vec<Node>> =
        off.iter().map(|at| (stages[*at].key.name.clone(), needs_of(&stages, *at))).collect();
    let left = stages.into_iter().enumerate().filter(|(at, _)| !off.contains(at));
    let mut left: Vec<Entry> = left.map(|(_, entry)| entry).collect();
    for entry in &mut left {
        let Value::Map(map) = &mut entry.value.value else { continue };
        for key in ["needs", "after"] {
            rewire(map, key, by, |name| gone.get(name).map(Vec::as_slice));
        }
        // Whoever stood before it stands before nothing in its place.
        rewire(map, "before", by, |name| gone.get(name).map(|_| [].as_slice()));
    }
    left
}

/// The needs of a stage; without `needs` a stage waits for all above it.
fn needs_of(stages: &[Entry], at: usize) -> Vec<Node> {
    let map = stages[at].value.as_map();
    let written = map.and_then(|map| map.get("needs").or_else(|| map.get("after")));
    match written {
        Some(needs) => needs.one_or_many().to_vec(),
        None => stages[..at]
            .iter()
            .map(|entry| Node::new(Value::Text(entry.key.name.clone()), stages[at].key.span))
            .collect(),
    }
}

fn rewire<'g>(map: &mut Map, key: &str, by: FileId, instead: impl Fn(&str) -> Option<&'g [Node]>) {
    let Some(entry) = map.entry_mut(key).filter(|entry| entry.key.span.file != by) else { return };
    let names = entry.value.one_or_many();
    if !names.iter().any(|need| need_name(need).is_some_and(|name| instead(name).is_some())) {
        return;
    }
    let mut seen = HashSet::new();
    let mut rewired = Vec::new();
    let mut waiting: Vec<Node> = names.iter().rev().cloned().collect();
    while let Some(need) = waiting.pop() {
        let name = need_name(&need).unwrap_or_default();
        if !seen.insert(name.to_owned()) {
            continue;
        }
        match instead(name) {
            Some(needs) => waiting.extend(needs.iter().rev().cloned()),
            None => rewired.push(need),
        }
    }
    if rewired.is_empty() && key == "before" {
        map.remove(key);
    } else {
        entry.value.value = Value::List(rewired);
    }
}

pub(super) fn need_name(need: &Node) -> Option<&str> {
    match &need.value {
        Value::Text(name) => Some(name),
        Value::Map(map) => match map.get("stage").map(|node| &node.value) {
            Some(Value::Text(name)) => Some(name),
            _ => None,
        },
        _ => None,
    }
}
