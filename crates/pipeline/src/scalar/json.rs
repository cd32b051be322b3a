//! Values of any type, as a plan holds them.

use serde_json::Value as Json;

use super::{Misfit, Scalar};
use crate::plan::ValueKind;
use crate::source::{FileId, Span};
use crate::yaml::{Entry, Key, Map, Node, Value};

/// Whatever an expression gives.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AnyValue(pub(crate) Json);

impl Scalar for AnyValue {
    const KIND: ValueKind = ValueKind::Json;

    fn unknown(written: &str) -> Self {
        Self(Json::from(written))
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        Ok(Self(json(node)))
    }
}

/// A value of the tree as a plan holds it; what an expression gives is `null`.
pub(crate) fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null | Value::Mixed(_) => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value, _) => Json::from(*value),
        Value::Float(value, _) => Json::from(*value),
        Value::Text(text) => Json::String(text.clone()),
        Value::List(list) => list.iter().map(json).collect(),
        Value::Map(map) => {
            map.0.iter().map(|entry| (entry.key.name.clone(), json(&entry.value))).collect()
        }
    }
}

/// A value from outside the file as the tree would hold it.
pub(crate) fn node(value: &Json) -> Node {
    const NOWHERE: Span = Span { file: FileId::PIPELINE, start: 0, end: 0 };
    let value = match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(value) => Value::Int(value, number.to_string()),
            None => Value::Float(number.as_f64().unwrap_or(f64::NAN), number.to_string()),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(list) => Value::List(list.iter().map(node).collect()),
        Json::Object(map) => Value::Map(Map(map
            .iter()
            .map(|(name, value)| Entry {
                key: Key { name: name.clone(), span: NOWHERE },
                value: node(value),
            })
            .collect())),
    };
    Node::new(value, NOWHERE)
}
