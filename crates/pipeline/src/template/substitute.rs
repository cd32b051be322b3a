//! Puts the values of parameters into the tree of a template.

use std::collections::BTreeMap;

use crate::expression::Piece;
use crate::keys::ACTIONS;
use crate::source::Span;
use crate::yaml::{Entry, Map, Node, Value, Via};

/// Puts parameters into every scalar of a template.
///
/// A scalar that is exactly one parameter becomes its value, with its type; a key
/// or item whose parameter has no value goes away, and so does a map or list in
/// which there was nothing else. Inside other text the value's text is inserted, and
/// never looked at again.
pub(super) fn substitute(node: &mut Node, values: &BTreeMap<String, Node>) {
    let mut emptied = false;
    match &mut node.value {
        Value::Mixed(pieces) => {
            let pieces = std::mem::take(pieces);
            *node = substituted(pieces, node, values);
        }
        Value::List(list) => {
            let before = list.len();
            list.iter_mut().for_each(|item| substitute(item, values));
            list.retain(|item| !is_absent(item));
            emptied = list.is_empty() && before > 0;
        }
        Value::Map(map) => {
            let before = map.0.len();
            for entry in &mut map.0 {
                // What a stage does stays what it does: `build: {}` is a build.
                let stays =
                    entry.value.as_map().is_some() && ACTIONS.contains(&entry.key.name.as_str());
                substitute(&mut entry.value, values);
                if stays && is_absent(&entry.value) {
                    entry.value = Node::new(Value::Map(Map::default()), entry.value.span);
                }
            }
            map.0.retain(|entry| !is_absent(&entry.value));
            emptied = map.0.is_empty() && before > 0;
        }
        _ => {}
    }
    if emptied {
        node.value = Value::Null;
        node.via = Some(Via::Parameter(node.span));
    }
}

fn is_absent(node: &Node) -> bool {
    matches!((&node.value, node.via), (Value::Null, Some(Via::Parameter(_))))
}

/// A value with its parts: each stands where the template reads the parameter, and
/// comes from where it was written.
fn placed(value: &Value, at: Span) -> Value {
    let part = |part: &Node| Node {
        value: placed(&part.value, at),
        span: at,
        via: Some(part.via.unwrap_or(Via::Parameter(part.span))),
    };
    match value {
        Value::List(list) => Value::List(list.iter().map(part).collect()),
        Value::Map(map) => Value::Map(Map(map
            .0
            .iter()
            .map(|entry| Entry { key: entry.key.clone(), value: part(&entry.value) })
            .collect())),
        other => other.clone(),
    }
}

/// The parameter whose value takes the place of a piece.
pub(super) fn parameter(piece: &Piece) -> Option<&str> {
    match piece {
        Piece::Expression(expression) => expression.parameter(),
        Piece::Text(_) => None,
    }
}

fn substituted(pieces: Vec<Piece>, node: &Node, values: &BTreeMap<String, Node>) -> Node {
    let value_of = |piece: &Piece| parameter(piece).and_then(|name| values.get(name));
    if let [piece] = pieces.as_slice()
        && let Some(value) = value_of(piece)
    {
        let via = value.via.unwrap_or(Via::Parameter(value.span));
        return Node { value: placed(&value.value, node.span), span: node.span, via: Some(via) };
    }
    let mut via = node.via;
    let mut result: Vec<Piece> = Vec::new();
    let mut push = |piece: Piece| match (result.last_mut(), piece) {
        (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
        (_, piece) => result.push(piece),
    };
    for piece in pieces {
        let Some(value) = value_of(&piece) else {
            push(piece);
            continue;
        };
        via = value.via.or(via);
        if value.value.is_reported() {
            return Node { value: Value::REPORTED, span: node.span, via };
        }
        match &value.value {
            Value::Mixed(inner) => inner.iter().cloned().for_each(&mut push),
            Value::Null => {}
            other => match Node::new(other.clone(), value.span).scalar_text() {
                Some(text) => push(Piece::Text(text.into_owned())),
                // A list inside a text: evaluating it is the error, with its place.
                None => push(piece),
            },
        }
    }
    let value = match result.as_mut_slice() {
        [] => Value::Text(String::new()),
        [Piece::Text(text)] => Value::Text(std::mem::take(text)),
        _ => Value::Mixed(result),
    };
    Node { value, span: node.span, via }
}
