//! What the tests of a `when` find, in words.

use super::Facts;
use crate::TriggerEvent;
use crate::model::Globs;
use crate::pattern::{Matching, Pattern};
use crate::suggest::{listed, quoted};

/// What a test found.
pub(super) struct Said {
    pub(super) holds: bool,
    pub(super) saw: String,
    pub(super) reason: String,
}

fn said(holds: bool, saw: impl Into<String>, reason: String) -> Said {
    Said { holds, saw: saw.into(), reason }
}

pub(super) fn wanted(globs: &Globs) -> String {
    listed(globs.patterns.iter().map(|pattern| pattern.text.clone()))
}

fn written(patterns: &[Pattern]) -> String {
    quoted(patterns.iter().map(|pattern| pattern.text.as_str()))
}

/// `branch` or `tag`.
pub(super) fn glob(words: &str, patterns: &[Pattern], name: Option<&mut Matching<'_>>) -> Said {
    let written = written(patterns);
    let Some(name) = name else {
        return said(false, "none", format!("there is no {words} that could match {written}"));
    };
    let text = name.text();
    if name.any(patterns) {
        said(true, text, format!("{words} `{text}` matches {written}"))
    } else {
        said(false, text, format!("{words} `{text}` matches no pattern of {written}"))
    }
}

pub(super) fn event(events: &[TriggerEvent], event: TriggerEvent) -> Said {
    let name = event.name();
    if events.contains(&event) {
        return said(true, name, format!("the event is `{name}`"));
    }
    let wanted: Vec<String> = events.iter().map(|event| format!("`{}`", event.name())).collect();
    said(false, name, format!("the event is `{name}`, not {}", wanted.join(" or ")))
}

pub(super) fn changed(patterns: &[Pattern], facts: &mut Facts<'_>) -> Said {
    let written = written(patterns);
    let Some(paths) = &facts.context.changed else {
        let reason = format!("which files changed is not known, so {written} counts as changed");
        return said(true, "not known", reason);
    };
    match facts.changed(patterns, paths) {
        Some(path) => said(true, path, format!("`{path}` changed, which matches {written}")),
        None => {
            let saw = match paths.len() {
                0 => "no changed file".to_owned(),
                1 => "1 changed file".to_owned(),
                count => format!("{count} changed files"),
            };
            let reason = match paths.len() {
                0 => "no file changed".to_owned(),
                1 => format!("the one changed file matches no pattern of {written}"),
                count => format!("none of {count} changed files matches {written}"),
            };
            said(false, saw, reason)
        }
    }
}

pub(super) fn parameter(name: &str, wanted: &[String], values: &[String]) -> Said {
    let saw = if values.is_empty() { "no value".to_owned() } else { listed(values.to_vec()) };
    if let Some(value) = values.iter().find(|value| wanted.contains(value)) {
        return said(true, saw, format!("parameter `{name}` is `{value}`"));
    }
    let wanted: Vec<String> = wanted.iter().map(|value| format!("`{value}`")).collect();
    let wanted = wanted.join(" or ");
    let reason = if values.is_empty() {
        format!("parameter `{name}` has no value, and must be {wanted}")
    } else {
        let values = quoted(values.iter().map(String::as_str));
        format!("parameter `{name}` is {values}, not {wanted}")
    };
    said(false, saw, reason)
}

/// A deploy stage asks for its own environment, others for those of the run.
pub(super) fn environment(patterns: &[Pattern], own: Option<&str>, all: &[String]) -> Said {
    let written = written(patterns);
    let names: Vec<&str> = match own {
        Some(own) => vec![own],
        None => all.iter().map(String::as_str).collect(),
    };
    let who = if own.is_some() { "the stage" } else { "the run" };
    if names.is_empty() {
        let reason = format!("the run deploys nowhere, and so not to {written}");
        return said(false, "none", reason);
    }
    let saw = listed(names.iter().map(|name| (*name).to_owned()));
    let matching = names.iter().find(|name| Matching::new(name).any(patterns));
    match matching {
        Some(name) => said(true, saw, format!("{who} deploys to `{name}`")),
        None => {
            let names = quoted(names.iter().copied());
            let reason = format!("{who} deploys to {names}, which matches no pattern of {written}");
            said(false, saw, reason)
        }
    }
}
