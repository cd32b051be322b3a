//! What a template lets its users change.

use std::collections::{BTreeMap, BTreeSet};

use super::explains;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::keys;
use crate::source::{Sources, Span};
use crate::suggest::{closest, quoted};
use crate::yaml::{Entry, Map, Node, Value};

/// The `policy` of one template; `any` where it says nothing.
#[derive(Debug)]
pub(crate) struct Policy {
    /// The template, as it is named.
    label: String,
    rules: BTreeMap<String, (Rule, Span)>,
}

#[derive(Clone, Debug)]
enum Rule {
    Any,
    Locked,
    /// Only these keys may change; `off` counts as a key.
    Keys(Vec<String>),
}

/// An override that a policy does not allow.
pub(super) struct Refusal<'p> {
    pub(super) label: &'p str,
    /// The line of the policy.
    pub(super) line: Span,
    /// What may be changed instead.
    pub(super) allowed: String,
}

impl Policy {
    pub(super) fn read(
        entry: &Entry,
        label: &str,
        sources: &Sources,
        found: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut rules = BTreeMap::new();
        let entries = entry.value.as_map().map(|map| map.0.as_slice());
        if entries.is_none() {
            let message = format!("`policy` takes a map, not {}", entry.value.value.kind());
            found.push(Diagnostic::error(Code::E012, message).at(sources.place(entry.value.span)));
        }
        for rule in entries.unwrap_or_default() {
            let read = match &rule.value.value {
                Value::Text(text) if text == "any" => Some(Rule::Any),
                Value::Text(text) if text == "locked" => Some(Rule::Locked),
                Value::List(list) => list
                    .iter()
                    .map(|item| item.scalar_text().map(std::borrow::Cow::into_owned))
                    .collect::<Option<Vec<_>>>()
                    .map(Rule::Keys),
                _ => None,
            };
            match read {
                Some(read) => {
                    rules.insert(rule.key.name.clone(), (read, rule.key.span));
                }
                None => found.push(
                    Diagnostic::error(Code::E012, "a policy is `any`, `locked` or a list of keys")
                        .at(sources.place(rule.value.span)),
                ),
            }
        }
        Self { label: label.to_owned(), rules }
    }

    /// Says which of its rules are about nothing: a slip would leave open what was to
    /// be closed.
    pub(super) fn check(&self, template: &Map, sources: &Sources, found: &mut Vec<Diagnostic>) {
        let stages = template.get("stages").and_then(Node::as_map);
        let stages: BTreeSet<&str> = stages
            .map(|stages| stages.0.iter().map(|entry| entry.key.name.as_str()).collect())
            .unwrap_or_default();
        let keys = || keys::STAGE.names().chain(["off"]);
        for (stage, (rule, span)) in &self.rules {
            if stage != "*" && !stages.contains(stage.as_str()) {
                let message = format!("`policy` is about stage `{stage}`, which is not a stage");
                let mut error = Diagnostic::error(Code::E020, message).at(sources.place(*span));
                if explains(found) {
                    let known = quoted(stages.iter().copied());
                    error = error
                        .did_you_mean(closest(stage, stages.iter().copied()))
                        .note(format!("stages of the template: {known}"));
                }
                found.push(error);
            }
            let Rule::Keys(listed) = rule else { continue };
            for key in listed.iter().filter(|key| !keys().any(|known| known == key.as_str())) {
                let message = format!("`policy` allows `{key}`, which is no key of a stage");
                let error = Diagnostic::error(Code::E010, message).at(sources.place(*span));
                found.push(error.did_you_mean(closest(key, keys())));
            }
        }
    }

    /// What may be changed of a stage, in words; `None` is everything.
    pub(super) fn allows(&self, stage: &str) -> Option<String> {
        let (rule, _) = self.rules.get(stage).or_else(|| self.rules.get("*"))?;
        match rule {
            Rule::Any => None,
            Rule::Locked => Some("nothing".to_owned()),
            Rule::Keys(keys) if keys.is_empty() => Some("nothing".to_owned()),
            Rule::Keys(keys) => Some(keys.join(", ")),
        }
    }

    /// Returns why `key` of `stage` may not be changed.
    pub(super) fn refusal(&self, stage: &str, key: &str) -> Option<Refusal<'_>> {
        let (rule, line) = self.rules.get(stage).or_else(|| self.rules.get("*"))?;
        let allowed = match rule {
            Rule::Any => return None,
            Rule::Locked => "nothing".to_owned(),
            Rule::Keys(keys) if keys.iter().any(|allowed| allowed == key) => return None,
            Rule::Keys(keys) if keys.is_empty() => "nothing".to_owned(),
            Rule::Keys(keys) => quoted(keys.iter().map(String::as_str)),
        };
        Some(Refusal { label: &self.label, line: *line, allowed })
    }
}
