//! What a template lets its users change.

use std::collections::BTreeMap;

use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::source::{Sources, Span};
use crate::suggest::quoted;
use crate::yaml::{Entry, Value};

/// The `policy` of one template; `any` where it says nothing.
#[derive(Debug)]
pub(super) struct Policy {
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

    /// Returns why `key` of `stage` may not be changed.
    pub(super) fn refusal(&self, stage: &str, key: &str) -> Option<Refusal<'_>> {
        let (rule, line) = self.rules.get(stage).or_else(|| self.rules.get("*"))?;
        let allowed = match rule {
            Rule::Any => return None,
            Rule::Locked => "nothing".to_owned(),
            Rule::Keys(keys) if keys.iter().any(|allowed| allowed == key) => return None,
            Rule::Keys(keys) => quoted(keys.iter().map(String::as_str)),
        };
        Some(Refusal { label: &self.label, line: *line, allowed })
    }
}
