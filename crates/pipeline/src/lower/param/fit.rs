//! Whether a value is one of its parameter's type, and within its limits.

use regex::Regex;
use serde_json::Value as Json;

use super::words;
use crate::Duration;
use crate::plan::{Param, ParamType, value_text};
use crate::scalar::{Scalar, Size, json, node};
use crate::yaml::{Entry, Node, Value};

/// Returns the value as its type has it, or the rule it breaks: "it is at least 1".
///
/// What an expression yields is not known yet, and fits.
pub(crate) fn fit(param: &Param, node: &Node) -> Result<Json, String> {
    // Once for all items of a list. One that is none has been told where it is declared.
    let pattern = param.pattern.as_ref().and_then(|pattern| Regex::new(pattern).ok());
    let pattern = pattern.as_ref();
    match (param.kind, &node.value) {
        (_, Value::Mixed(_)) => Ok(Json::Null),
        (ParamType::List, Value::List(items)) => {
            let of = param.of.unwrap_or(ParamType::String);
            items.iter().map(|item| part(param, of, pattern, item)).collect()
        }
        (ParamType::Map, Value::Map(map)) => {
            let value = |entry: &Entry| match param.of {
                Some(of) => part(param, of, pattern, &entry.value),
                None => Ok(json(&entry.value)),
            };
            map.0.iter().map(|entry| Ok((entry.key.name.clone(), value(entry)?))).collect()
        }
        (kind, _) => single(param, kind, pattern, node).map_err(|broken| match broken {
            Broken::Type(rule) | Broken::Rule(rule) => format!("it {rule}"),
        }),
    }
}

/// Why a single value does not fit; both follow "it".
enum Broken {
    /// It is of another type.
    Type(String),
    Rule(String),
}

/// An item of a list, or a value of a map.
fn part(
    param: &Param,
    of: ParamType,
    pattern: Option<&Regex>,
    node: &Node,
) -> Result<Json, String> {
    single(param, of, pattern, node).map_err(|broken| match broken {
        Broken::Type(_) => format!("it is a {} of {}", param.kind.name(), of.name()),
        Broken::Rule(rule) => format!("each of its values {rule}"),
    })
}

fn single(
    param: &Param,
    kind: ParamType,
    pattern: Option<&Regex>,
    node: &Node,
) -> Result<Json, Broken> {
    let range = |value: i128| {
        let bound =
            |bound: &Option<Json>| bound.as_ref().map(|bound| (measure(bound), value_text(bound)));
        match (bound(&param.min), bound(&param.max)) {
            (Some((least, text)), _) if Some(value) < least => {
                Err(Broken::Rule(format!("is at least {text}")))
            }
            (_, Some((most, text))) if most.is_some_and(|most| value > most) => {
                Err(Broken::Rule(format!("is at most {text}")))
            }
            _ => Ok(json(node)),
        }
    };
    let measured = |example: &str| match measure(&json(node)) {
        Some(value) => range(value),
        None => Err(Broken::Rule(format!("is a {}, for example `{example}`", kind.name()))),
    };
    match (kind, &node.value) {
        (_, Value::Mixed(_)) => Ok(Json::Null),
        (ParamType::String, Value::Text(text)) => match pattern {
            Some(pattern) if !pattern.is_match(text) => {
                Err(Broken::Rule(format!("matches `{pattern}`")))
            }
            _ => Ok(json(node)),
        },
        (ParamType::String, Value::Int(..) | Value::Float(..) | Value::Bool(_)) => {
            let text = node.scalar_text().unwrap_or_default();
            Err(Broken::Type(format!("is a string: write \"{text}\"")))
        }
        (ParamType::Int, Value::Int(value, _)) => range(i128::from(*value)),
        (ParamType::Bool, Value::Bool(_)) => Ok(json(node)),
        (ParamType::Enum, _) => {
            let text = node.scalar_text();
            let known =
                param.values.iter().find(|value| text.as_deref() == Some(&*value_text(value)));
            known.cloned().ok_or_else(|| Broken::Rule(format!("is one of {}", words(param))))
        }
        (ParamType::Duration, Value::Text(text)) if text.parse::<Duration>().is_ok() => {
            measured("30s")
        }
        (ParamType::Size, Value::Text(_)) if Size::read(node).is_ok() => measured("512Mi"),
        (ParamType::Duration, Value::Text(_)) => {
            Err(Broken::Rule("is a duration, for example `30s`".to_owned()))
        }
        (ParamType::Size, Value::Text(_)) => {
            Err(Broken::Rule("is a size, for example `512Mi`".to_owned()))
        }
        (kind, value) => {
            let wanted = match kind {
                ParamType::Int => "a whole number".to_owned(),
                ParamType::Bool => "true or false".to_owned(),
                kind => format!("a {}", kind.name()),
            };
            Err(Broken::Type(format!("is {wanted}, not {}", value.kind())))
        }
    }
}

/// A number, a duration or a size, to be compared with its like.
pub(super) fn measure(value: &Json) -> Option<i128> {
    match value {
        Json::Number(number) => number.as_i64().map(i128::from),
        Json::String(text) => {
            let duration = text.parse::<Duration>().ok();
            duration
                .and_then(|duration| i128::try_from(duration.std().as_millis()).ok())
                .or_else(|| Size::read(&node(value)).ok().map(|size| i128::from(size.0)))
        }
        _ => None,
    }
}
