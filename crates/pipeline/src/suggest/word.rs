//! Values that are words, as other systems have them, and what they are called here.

use super::fold;

/// Words that are values in other systems, folded, and the values here; the first
/// that a key takes counts.
const WORDS: &[(&str, &[&str])] = &[
    ("merge-request", &["pull-request"]),
    ("merge-request-event", &["pull-request"]),
    ("pull-request-target", &["pull-request"]),
    ("mr", &["pull-request"]),
    ("pr", &["pull-request"]),
    ("cron", &["schedule"]),
    ("timer", &["schedule"]),
    ("web", &["manual"]),
    ("workflow-dispatch", &["manual"]),
    ("promote", &["manual"]),
    ("release", &["tag"]),
    ("synchronize", &["updated"]),
    ("synchronized", &["updated"]),
    ("reopened", &["opened"]),
    ("merged", &["closed"]),
    ("on-success", &["success"]),
    ("passed", &["success"]),
    ("on-failure", &["failure", "failed"]),
    ("failed", &["failure"]),
    ("failing", &["failure", "failed"]),
    ("failure", &["failed"]),
    ("fail", &["failure", "failed"]),
    ("cleanup", &["always"]),
    ("all", &["always"]),
    ("change", &["broken"]),
    ("recovered", &["fixed"]),
    ("boolean", &["bool"]),
    ("boolean-param", &["bool"]),
    ("choice", &["enum"]),
    ("select", &["enum"]),
    ("str", &["string"]),
    ("text", &["string"]),
    ("number", &["int"]),
    ("integer", &["int"]),
    ("array", &["list"]),
    ("object", &["map", "json"]),
    ("dict", &["map"]),
    ("production", &["prod"]),
    ("staging", &["preprod"]),
    ("stage", &["preprod"]),
    ("development", &["dev"]),
    ("rollingupdate", &["rolling"]),
    ("rolling-update", &["rolling"]),
    ("ramped", &["rolling"]),
];

/// Returns the value that a word of another system is called here, if it is one of these.
pub(crate) fn word(wrong: &str, words: &[&'static str]) -> Option<&'static str> {
    let folded = fold(wrong);
    let (_, ours) = WORDS.iter().find(|(word, _)| *word == folded)?;
    words.iter().copied().find(|word| ours.contains(word))
}
