//! W072: a number or a word where text was probably meant: `3.10` is 3.1.

use super::Lint;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::yaml::{Map, Node, Value};

/// Values that keep their type: axes of a matrix, and parameters. Variables keep
/// the text they are written with, and need no warning.
pub(super) fn warnings(lint: &Lint<'_>, found: &mut Vec<Diagnostic>) {
    for stage in lint.stages {
        let Some(map) = stage.entry.value.as_map() else { continue };
        each(map.get("matrix"), lint, found);
        each(map.get("trigger").and_then(|node| node.as_map()?.get("params")), lint, found);
    }
    let params = ["on", "manual", "params"]
        .iter()
        .try_fold(lint.root, |node, key| node.as_map()?.get(key))
        .and_then(Node::as_map);
    for param in params.map(|map: &Map| map.0.as_slice()).unwrap_or_default() {
        // Where the type says number, the number is meant.
        let Some(map) = param.value.as_map() else { continue };
        if map.get("type").is_some_and(|node| node.is_text("enum") || node.is_text("list")) {
            each(map.get("values"), lint, found);
            each(map.get("default"), lint, found);
        }
    }
}

fn each(node: Option<&Node>, lint: &Lint<'_>, found: &mut Vec<Diagnostic>) {
    let Some(node) = node else { return };
    match &node.value {
        Value::List(list) => list.iter().for_each(|item| each(Some(item), lint, found)),
        Value::Map(map) => map.0.iter().for_each(|entry| each(Some(&entry.value), lint, found)),
        _ => found.extend(misread(node).map(|read| {
            let text = lint.sources.text(node.span).to_owned();
            Diagnostic::warning(Code::W072, format!("`{text}` is read as {read}"))
                .at(lint.sources.place(node.span))
                .label(format!("write \"{text}\" if the text is meant"))
        })),
    }
}

/// What a plain scalar is read as, when that shows otherwise than it is written.
fn misread(node: &Node) -> Option<String> {
    match &node.value {
        Value::Int(value, text) if value.to_string() != *text => {
            Some(format!("the number {value}"))
        }
        Value::Float(value, text) if value.to_string() != *text => {
            Some(format!("the number {value}"))
        }
        _ => None,
    }
}
