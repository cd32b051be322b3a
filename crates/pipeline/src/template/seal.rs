//! What a policy closes stays closed to `defaults` as well.
//!
//! A stage takes from `defaults` what it does not say itself. If a repository could
//! set them for a stage that is locked, it would change its image, its variables or
//! its shell without naming it. So the values that the template's own `defaults` have
//! are written into the stage, and those of the files above it do not reach it.

use std::collections::{BTreeMap, BTreeSet};

use super::merge::{action_of, in_full, lay_over};
use super::policy::Policy;
use crate::keys::{self, actions_of};
use crate::yaml::{Map, Node, Value};

/// By stage: the keys that no `defaults` of the file may give.
pub(crate) type Sealed = BTreeMap<String, BTreeSet<&'static str>>;

/// Closes what `policy` closes in a template before anything is laid over it.
pub(super) fn seal(template: &mut Map, policy: &Policy, sealed: &mut Sealed) {
    let defaults = own_defaults(template);
    let Some(Value::Map(stages)) = template.entry_mut("stages").map(|e| &mut e.value.value) else {
        return;
    };
    for stage in &mut stages.0 {
        let name = stage.key.name.clone();
        let closed: Vec<&'static str> =
            keys::DEFAULTS.names().filter(|key| policy.refusal(&name, key).is_some()).collect();
        if closed.is_empty() {
            continue;
        }
        let span = stage.value.span;
        stage.value = in_full(std::mem::replace(&mut stage.value, Node::new(Value::Null, span)));
        if let Value::Map(map) = &mut stage.value.value {
            for key in &closed {
                // What an earlier policy sealed has its value already, or none.
                if !sealed.get(&name).is_some_and(|sealed| sealed.contains(key)) {
                    write_down(map, key, &defaults);
                }
            }
        }
        sealed.entry(name).or_default().extend(closed);
    }
}

/// `defaults` with the short forms beside it.
fn own_defaults(template: &Map) -> Map {
    let mut defaults = template.get("defaults").and_then(Node::as_map).cloned().unwrap_or_default();
    for key in super::merge::SHORT {
        if let (Some(short), None) = (template.entry(key), defaults.get(key)) {
            defaults.0.push(short.clone());
        }
    }
    defaults
}

fn write_down(stage: &mut Map, key: &str, defaults: &Map) {
    let Some(default) = defaults.entry(key) else { return };
    let action = action_of(stage);
    let belongs = actions_of(key)
        .is_none_or(|of| action.as_deref().is_some_and(|action| of.contains(&action)));
    if !belongs {
        return;
    }
    match stage.entry_mut(key) {
        None => stage.0.push(default.clone()),
        // Of these the stage's own keys lie over the defaults, one by one.
        Some(own) if matches!(key, "env" | "retry" | "resources") => {
            let mut both = default.value.clone();
            lay_over(&mut both, own.value.clone());
            own.value = both;
        }
        Some(_) => {}
    }
}

/// `defaults` as each sealed stage sees them.
pub(crate) fn visible(defaults: &Map, sealed: &Sealed) -> BTreeMap<String, Map> {
    let without = |closed: &BTreeSet<&str>| {
        let open = defaults.0.iter().filter(|entry| !closed.contains(entry.key.name.as_str()));
        Map(open.cloned().collect())
    };
    sealed.iter().map(|(stage, closed)| (stage.clone(), without(closed))).collect()
}
