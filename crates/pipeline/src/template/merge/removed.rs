//! What becomes of a stage's needs when a stage it names is removed.

use std::collections::{HashMap, HashSet};

use crate::source::FileId;
use crate::yaml::{Entry, Map, NODE_LIMIT, Node, Value};

/// The needs that would take the place of others are too many; the stages are as they were.
pub(super) struct TooMany;

/// The stages of a template, and which of them are removed.
struct Removal<'a> {
    stages: &'a [Entry],
    /// Of every stage that is removed, by its name.
    gone: HashMap<&'a str, usize>,
}

/// Removes the stages at `off`; those that need one need its needs instead.
///
/// What the file `by` itself wrote stays as it is: a need that it has just removed
/// is its mistake, and is told.
pub(super) fn remove(stages: &mut Vec<Entry>, off: &[usize], by: FileId) -> Result<(), TooMany> {
    if off.is_empty() {
        return Ok(());
    }
    let gone = off.iter().map(|at| (stages[*at].key.name.as_str(), *at)).collect();
    let removal = Removal { stages, gone };
    let mut changes = Vec::new();
    let mut count = 0;
    for (at, entry) in stages.iter().enumerate() {
        let Some(map) = entry.value.as_map().filter(|_| !removal.is_gone(&entry.key.name)) else {
            continue;
        };
        for key in ["needs", "after", "before"] {
            let Some(written) = map.entry(key).filter(|entry| entry.key.span.file != by) else {
                continue;
            };
            let Some(instead) = removal.instead(key, &written.value, &mut count) else { continue };
            if count > NODE_LIMIT {
                return Err(TooMany);
            }
            changes.push((at, key, instead));
        }
    }
    for (at, key, instead) in changes {
        if let Value::Map(map) = &mut stages[at].value.value {
            put(map, key, instead);
        }
    }
    let off: HashSet<usize> = off.iter().copied().collect();
    let mut at = 0;
    stages.retain(|_| {
        at += 1;
        !off.contains(&(at - 1))
    });
    Ok(())
}

fn put(map: &mut Map, key: &str, needs: Vec<Node>) {
    if needs.is_empty() && key == "before" {
        map.remove(key);
    } else if let Some(entry) = map.entry_mut(key) {
        entry.value.value = Value::List(needs);
    }
}

impl Removal<'_> {
    fn is_gone(&self, name: &str) -> bool {
        self.gone.contains_key(name)
    }

    /// What a stage needs in place of what it says; `None` when nothing of it is gone.
    /// Whoever stood before a removed stage stands before nothing in its place. `count`
    /// grows with every stage that was looked at.
    fn instead(&self, key: &str, written: &Node, count: &mut usize) -> Option<Vec<Node>> {
        let names = written.one_or_many();
        if !names.iter().any(|need| need_name(need).is_some_and(|name| self.is_gone(name))) {
            return None;
        }
        let mut seen = HashSet::new();
        let mut left = Vec::new();
        let mut waiting: Vec<Node> = names.iter().rev().cloned().collect();
        // Stages up to here are among them already, all together.
        let mut above = 0;
        while let Some(need) = waiting.pop() {
            let name = need_name(&need).unwrap_or_default();
            if !seen.insert(name.to_owned()) {
                continue;
            }
            match self.gone.get(name) {
                Some(_) if key == "before" => {}
                Some(at) => waiting.extend(self.needs_of(*at, &mut above).into_iter().rev()),
                None => left.push(need),
            }
        }
        *count += seen.len();
        Some(left)
    }

    /// The needs of a stage; without `needs` a stage waits for all above it, of which
    /// those below `above` are not told again.
    fn needs_of(&self, at: usize, above: &mut usize) -> Vec<Node> {
        let map = self.stages[at].value.as_map();
        let written = map.and_then(|map| map.get("needs").or_else(|| map.get("after")));
        if let Some(needs) = written {
            return needs.one_or_many().to_vec();
        }
        let from = std::mem::replace(above, at.max(*above));
        let span = self.stages[at].key.span;
        let told = self.stages.get(from..at).unwrap_or_default();
        told.iter().map(|entry| Node::new(Value::Text(entry.key.name.clone()), span)).collect()
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
