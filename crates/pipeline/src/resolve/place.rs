//! Where a value stands in a planned stage.
//!
//! The path is that of the key in the file, as `origins` has it. The stage holds
//! most values at the same path; here are those that it holds elsewhere, because
//! keys that exclude each other became one.

use serde_json::Value;

use crate::plan::{PlannedStage, Work};

/// Puts a value in place, or says what stands in its way.
pub(super) fn put(
    stage: &mut Value,
    planned: &PlannedStage,
    path: &str,
    value: Value,
) -> Result<(), String> {
    // The port of the route is the port that is asked, when none is named.
    if path == "deploy.expose.port" && follows(planned, path, "deploy.health.port") {
        set(stage, &["health", "http", "port"], value.clone())?;
    }
    let path: Vec<&str> = path.split('.').collect();
    match path.as_slice() {
        ["push" | "deploy", "image"] => {
            set(stage, &["image"], serde_json::json!({ "reference": value }))
        }
        // All down, then all up, is the most thorough way to stop first.
        ["deploy", "strategy", "kind"] => {
            if value == "recreate" {
                set(stage, &["strategy", "order"], "stop-first".into())?;
            }
            set(stage, &["strategy", "kind"], value)
        }
        // A check that is a name alone is a suite.
        ["deploy", rest @ .., "verify", at] => {
            set(stage, &with(rest, &["verify", at, "suite"]), value)
        }
        ["deploy", "resources", rest @ ..] => {
            set(stage, &with(&["service-resources"], rest), value)
        }
        ["deploy", "health", "http"] => set(stage, &["health", "http", "path"], value),
        ["deploy", "health", "port"] => set(stage, &["health", "http", "port"], value),
        ["build" | "push" | "deploy" | "approve" | "trigger", rest @ ..] => set(stage, rest, value),
        ["env", rest @ ..] if matches!(planned.work, Work::Deploy(_)) => {
            set(stage, &with(&["verify-env"], rest), value)
        }
        ["services", name, "ready", "http"] => {
            set(stage, &["services", name, "ready", "probe", "http", "path"], value)
        }
        ["services", name, "ready", "port"] => {
            set(stage, &["services", name, "ready", "probe", "http", "port"], value)
        }
        ["services", name, "ready", "tcp"] => {
            set(stage, &["services", name, "ready", "probe", "tcp"], value)
        }
        ["services", name, "ready", "cmd", rest @ ..] => {
            set(stage, &with(&["services", name, "ready", "probe", "command"], rest), value)
        }
        ["shell", rest @ ..] if !rest.is_empty() => {
            set(stage, &with(&["shell", "command"], rest), value)
        }
        ["merge", rest @ ..] if !rest.is_empty() => {
            set(stage, &with(&["merge", "paths"], rest), value)
        }
        rest => set(stage, rest, value),
    }
}

/// Whether a value is there because another is.
fn follows(planned: &PlannedStage, of: &str, path: &str) -> bool {
    let origins = &planned.origins;
    origins.get(path).is_some() && origins.get(path) == origins.get(of)
}

fn with<'a>(front: &[&'a str], rest: &[&'a str]) -> Vec<&'a str> {
    front.iter().chain(rest).copied().collect()
}

fn set(stage: &mut Value, path: &[&str], value: Value) -> Result<(), String> {
    let Some((last, before)) = path.split_last() else { return Err("an empty path".to_owned()) };
    let mut at = stage;
    for part in before {
        at = match at {
            Value::Array(items) => part.parse::<usize>().ok().and_then(|at| items.get_mut(at)),
            Value::Object(map) => {
                let key = key(map, part);
                map.get_mut(&key)
            }
            _ => None,
        }
        .ok_or_else(|| format!("there is no `{part}`"))?;
    }
    match at {
        Value::Array(items) => {
            let item = last.parse::<usize>().ok().and_then(|at| items.get_mut(at));
            *item.ok_or_else(|| format!("there is no item {last}"))? = value;
        }
        Value::Object(map) => {
            let key = key(map, last);
            map.insert(key, value);
        }
        _ => return Err(format!("there is no map that could hold `{last}`")),
    }
    Ok(())
}

/// The name of a field in the plan, of which some have dashes and some have not.
fn key(map: &serde_json::Map<String, Value>, part: &str) -> String {
    let underscored = part.replace('-', "_");
    if !map.contains_key(part) && map.contains_key(&underscored) {
        underscored
    } else {
        part.to_owned()
    }
}
