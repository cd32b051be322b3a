//! A proposal as the file that `shipline init` writes.

use serde_json::Value as Json;

use super::{Proposal, Setting};
use crate::yaml::{Value, core_scalar};

/// What the files do not tell, and somebody has to.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// `registry.example.net/team/orders`, with where it is from.
    pub image: (String, String),
    /// The name of the credential.
    pub registry: (String, String),
    pub environment: (String, String),
}

/// Width up to which comments stand in one column.
const COLUMN: usize = 44;

/// Returns the text of the pipeline file, with a comment behind each value that says
/// where it is from. `schema` is the path of the schema for editors, if there is one.
pub fn pipeline_text(proposal: &Proposal, answers: &Answers, schema: Option<&str>) -> String {
    let mut text = String::new();
    if let Some(schema) = schema {
        text.push_str(&format!("# yaml-language-server: $schema={schema}\n"));
    }
    let template = &proposal.template;
    text.push_str(&format!(
        "# Written by `shipline init`: {}.\n\
         # What it does and everything it can be told: shipline template show {template}\n\
         # What a run would do, and why:               shipline plan\n",
        proposal.why
    ));
    text.push_str(&format!("template: {template}\nwith:\n"));
    let given = [
        ("image", &answers.image),
        ("registry", &answers.registry),
        ("environment", &answers.environment),
    ];
    let given = given.map(|(name, (value, why))| Setting {
        name: name.to_owned(),
        value: Json::from(value.as_str()),
        why: why.clone(),
    });
    for setting in given.iter().chain(&proposal.with) {
        let line = format!("  {}: {}", setting.name, scalar(&setting.value));
        text.push_str(&format!("{line:COLUMN$} # {}\n", setting.why));
    }
    text.push_str(
        "\n# A stage of the template is changed by its name, a new one is placed among them:\n\
         # stages:\n\
         #   unit-test: { env: { TZ: UTC }, run-before: ./ci/prepare.sh }\n\
         #   lint: { after: compile, before: image, run: ./ci/lint.sh }\n",
    );
    text
}

/// A value on one line of YAML.
fn scalar(value: &Json) -> String {
    match value {
        Json::String(text) => string(text),
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(scalar).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Null => "~".to_owned(),
        other => other.to_string(),
    }
}

/// Without quotes where YAML reads it as the same text, also inside of `[ ]`.
fn string(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./@+=~".contains(c);
    let inner = |c: char| plain(c) || c == ' ' || c == ':';
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric() || "./_".contains(c));
    let plain = first
        && text.chars().all(inner)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && matches!(core_scalar(text), Value::Text(_));
    if plain { text.to_owned() } else { crate::suggest::quoted_text(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_quoted_only_where_it_must_be() {
        for text in ["maven:3-eclipse-temurin-21", "make test", "./gradlew --no-daemon test", "."] {
            assert_eq!(string(text), text);
        }
        for text in ["", "12", "true", "no: x", "a # b", "*", "'x'", "a, b", "-x", "null", "~"] {
            assert!(string(text).starts_with('\''), "{text}");
        }
        assert_eq!(string("echo 'x'"), "'echo ''x'''");
    }
}
