//! What makes one plan another: told before somebody moves to it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value as Json;

use super::{Plan, PlannedStage};

/// One thing that differs between two plans.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanChange {
    /// `None` is the whole run.
    pub stage: Option<String>,
    #[serde(flatten)]
    pub what: Change,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    StageAdded,
    StageRemoved,
    /// A value by its dotted path; `null` where there is none.
    Value {
        key: String,
        before: Json,
        after: Json,
    },
}

/// Keys that say where a value is from, or name the plan itself.
const NOT_COMPARED: [&str; 9] =
    ["origins", "diagnostics", "stages", "templates", "scopes", "name", "stage", "sha", "file"];
/// A value longer than this is shown cut.
const SHOWN: usize = 72;

/// Returns what is different in `after`: of the whole run first, then by stage in the
/// order of the plans.
pub fn plan_changes(before: &Plan, after: &Plan) -> Vec<PlanChange> {
    let mut changes = values(None, before, after);
    for old in &before.stages {
        match after.stage(&old.name) {
            Some(new) => changes.extend(values(Some(&old.name), old, new)),
            None => changes.push(of_stage(old, Change::StageRemoved)),
        }
    }
    let new = after.stages.iter().filter(|new| before.stage(&new.name).is_none());
    changes.extend(new.map(|new| of_stage(new, Change::StageAdded)));
    changes
}

fn of_stage(stage: &PlannedStage, what: Change) -> PlanChange {
    PlanChange { stage: Some(stage.name.clone()), what }
}

fn values<T: Serialize>(stage: Option<&str>, before: &T, after: &T) -> Vec<PlanChange> {
    let (before, after) = (flat(before), flat(after));
    let keys: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let value =
        |of: &BTreeMap<String, Json>, key: &String| of.get(key).cloned().unwrap_or_default();
    let change = |key: &&String| {
        let (before, after) = (value(&before, key), value(&after, key));
        (before != after).then(|| PlanChange {
            stage: stage.map(str::to_owned),
            what: Change::Value { key: (*key).clone(), before, after },
        })
    };
    keys.iter().filter_map(change).collect()
}

/// Every value by its dotted path; a list is one value.
fn flat<T: Serialize>(value: &T) -> BTreeMap<String, Json> {
    fn walk(path: &str, value: Json, into: &mut BTreeMap<String, Json>) {
        match value {
            Json::Object(map) => {
                for (key, value) in map {
                    let inside = if path.is_empty() { key } else { format!("{path}.{key}") };
                    walk(&inside, value, into);
                }
            }
            // What is not written and what is empty mean the same.
            Json::Null => {}
            Json::Array(list) if list.is_empty() => {}
            other => {
                into.insert(path.to_owned(), other);
            }
        }
    }
    let mut all = BTreeMap::new();
    if let Ok(Json::Object(map)) = serde_json::to_value(value) {
        for (key, value) in map {
            if !NOT_COMPARED.contains(&key.as_str()) {
                walk(&key, value, &mut all);
            }
        }
    }
    all
}

/// `stage compile: image debian:11 → debian:12`.
impl fmt::Display for PlanChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stage {
            Some(stage) => write!(f, "stage {stage}: ")?,
            None => f.write_str("run: ")?,
        }
        match &self.what {
            Change::StageAdded => f.write_str("new"),
            Change::StageRemoved => f.write_str("removed"),
            Change::Value { key, before, after } => {
                write!(f, "{key} {} → {}", shown(before), shown(after))
            }
        }
    }
}

fn shown(value: &Json) -> String {
    let text = match value {
        Json::Null => return "(none)".to_owned(),
        Json::String(text) => text.clone(),
        Json::Array(list) if list.iter().all(|item| item.get("stage").is_some()) => {
            let needs = list.iter().filter_map(|need| need["stage"].as_str());
            format!("[{}]", needs.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    };
    let text = crate::name::visible(&text.replace('\n', "⏎"));
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}
