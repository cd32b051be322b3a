//! Values that expressions work with.
//!
//! Cheap to clone: a cell of a matrix shares what it reads with all others.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::source::Span;
use crate::yaml::{Entry, Key, Map, Node, Value};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Datum {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Arc<str>),
    List(Arc<Vec<Self>>),
    Map(Arc<BTreeMap<Arc<str>, Self>>),
}

impl Datum {
    pub(crate) fn text(text: impl AsRef<str>) -> Self {
        Self::Text(Arc::from(text.as_ref()))
    }

    pub(crate) fn maybe(text: Option<&str>) -> Self {
        text.map_or(Self::Null, Self::text)
    }

    pub(crate) fn list(items: Vec<Self>) -> Self {
        Self::List(Arc::new(items))
    }

    pub(crate) fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        Self::Map(Arc::new(
            entries.into_iter().map(|(key, value)| (Arc::from(key), value)).collect(),
        ))
    }

    /// The value of a field of a map.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(map) => map.get(name),
            _ => None,
        }
    }

    /// What it is, in the words of an error: "a list".
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }

    /// The order of two numbers, two texts or two truths; `None` of anything else.
    pub(crate) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(one), Self::Int(other)) => Some(one.cmp(other)),
            (Self::Float(one), Self::Float(other)) => one.partial_cmp(other),
            #[expect(clippy::cast_precision_loss, reason = "what CEL does, too")]
            (Self::Int(one), Self::Float(other)) => (*one as f64).partial_cmp(other),
            #[expect(clippy::cast_precision_loss, reason = "what CEL does, too")]
            (Self::Float(one), Self::Int(other)) => one.partial_cmp(&(*other as f64)),
            (Self::Text(one), Self::Text(other)) => Some(one.cmp(other)),
            (Self::Bool(one), Self::Bool(other)) => Some(one.cmp(other)),
            _ => None,
        }
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::Float(value) => (*value).into(),
            Self::Text(text) => (&**text).into(),
            Self::List(list) => list.iter().map(Self::to_json).collect(),
            Self::Map(map) => serde_json::Value::Object(
                map.iter().map(|(key, value)| (key.to_string(), value.to_json())).collect(),
            ),
        }
    }

    /// The value as one of a file, at the place of its expression.
    pub(crate) fn into_value(self, span: Span) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::Int(value, value.to_string()),
            Self::Float(value) => Value::Float(value, value.to_string()),
            Self::Text(text) => Value::Text(text.to_string()),
            Self::List(list) => Value::List(
                list.iter().map(|item| Node::new(item.clone().into_value(span), span)).collect(),
            ),
            Self::Map(map) => Value::Map(Map(map
                .iter()
                .map(|(key, value)| Entry {
                    key: Key { name: key.to_string(), span },
                    value: Node::new(value.clone().into_value(span), span),
                })
                .collect())),
        }
    }
}

impl From<&serde_json::Value> for Datum {
    fn from(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => match number.as_i64() {
                Some(value) => Self::Int(value),
                None => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(text) => Self::text(text),
            serde_json::Value::Array(list) => Self::list(list.iter().map(Self::from).collect()),
            serde_json::Value::Object(map) => {
                Self::map(map.iter().map(|(key, value)| (key.as_str(), Self::from(value))))
            }
        }
    }
}
