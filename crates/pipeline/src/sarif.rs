//! Diagnostics as SARIF 2.1.0, for forges and editors: the code is the rule.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::codes::{Code, explain};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::source::Place;

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

impl Diagnostics {
    /// The log of `check --format sarif`, as said by this version of Shipline.
    pub fn to_sarif(&self) -> Value {
        let mut rules: BTreeMap<Code, Severity> = BTreeMap::new();
        for diagnostic in self {
            rules.entry(diagnostic.code).or_insert(diagnostic.severity);
        }
        let index: BTreeMap<Code, usize> =
            rules.keys().enumerate().map(|(index, code)| (*code, index)).collect();
        let rules: Vec<Value> =
            rules.iter().map(|(code, severity)| rule(*code, *severity)).collect();
        let results: Vec<Value> =
            self.iter().map(|diagnostic| result(diagnostic, index[&diagnostic.code])).collect();
        json!({
            "$schema": SCHEMA,
            "version": "2.1.0",
            "runs": [{
                "tool": { "driver": {
                    "name": "shipline",
                    "semanticVersion": env!("CARGO_PKG_VERSION"),
                    "rules": rules,
                }},
                "columnKind": "unicodeCodePoints",
                "results": results,
            }],
        })
    }
}

fn rule(code: Code, severity: Severity) -> Value {
    let mut rule = json!({
        "id": code.name(),
        "defaultConfiguration": { "level": severity },
    });
    if let Some(explanation) = explain(code.name()) {
        rule["shortDescription"] = text(explanation.title);
        rule["fullDescription"] = text(explanation.cause);
        let mut help = text(&format!(
            "{}\n\nExample:\n{}\n{}",
            explanation.cause, explanation.example, explanation.repair
        ));
        help["markdown"] = Value::from(format!(
            "{}\n\n```yaml\n{}\n```\n\n{}",
            explanation.cause,
            explanation.example.trim_end(),
            explanation.repair
        ));
        rule["help"] = help;
    }
    rule
}

fn result(diagnostic: &Diagnostic, rule: usize) -> Value {
    let mut message = diagnostic.message.clone();
    for advice in diagnostic.label.iter().chain(&diagnostic.notes).chain(&diagnostic.help) {
        message.push('\n');
        message.push_str(advice);
    }
    let mut result = json!({
        "ruleId": diagnostic.code.name(),
        "ruleIndex": rule,
        "level": diagnostic.severity,
        "message": text(&message),
    });
    if let Some(place) = &diagnostic.place {
        result["locations"] = json!([{ "physicalLocation": location(place) }]);
    }
    if !diagnostic.related.is_empty() {
        let related = diagnostic.related.iter().enumerate().map(|(id, related)| {
            json!({
                "id": id,
                "message": text(&related.message),
                "physicalLocation": location(&related.place),
            })
        });
        result["relatedLocations"] = related.collect();
    }
    result
}

fn location(place: &Place) -> Value {
    let (line, column) = place.start();
    let (end_line, end_column) = place.end();
    json!({
        "artifactLocation": { "uri": uri(place.file()) },
        "region": {
            "startLine": line, "startColumn": column,
            "endLine": end_line, "endColumn": end_column,
        },
    })
}

/// A message; what could be read as a link in it is none.
fn text(text: &str) -> Value {
    json!({ "text": text.replace("](", "\\](") })
}

/// A relative path as a relative reference: it holds bytes that have no meaning there.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b'@' => {
                uri.push(char::from(byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}
