//! Keys of a stage, and what `defaults` give it: values of the plan, and what is
//! said of a wrong one.

mod command;
mod defaults;
mod files;
mod foreign;
mod service;
mod settings;
mod variable;

use super::*;

/// Checks the whole of what is said about a file, on a push to `main`.
#[track_caller]
fn says(text: &str, expected: &str) {
    let found = lines(&found_in(&flush(text), &Bundled, &on_main()));
    assert_eq!(found, flush(expected).trim_end(), "\n{found}\n");
}

/// `key: value` of a planned stage in a line each; a key that is not there is at
/// its default.
#[track_caller]
fn gives(text: &str, stage: &str, keys: &[&str], expected: &str) {
    let text = flush(text);
    assert_eq!(schema::refused(&text), None, "the schema accepts what can be planned");
    let plan = planned(&text, &on_main());
    let planned = serde_json::to_value(plan.stage(stage).unwrap()).unwrap();
    let line = |key: &&str| planned.get(key).map(|value| format!("{key}: {value}"));
    let lines: Vec<_> = keys.iter().filter_map(line).collect();
    assert_eq!(lines.join("\n"), flush(expected).trim_end(), "\n{}\n", lines.join("\n"));
}
