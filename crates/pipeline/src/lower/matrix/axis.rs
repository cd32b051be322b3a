//! The axes of a matrix, and the values they have.

use std::collections::HashMap;

use super::super::{Lowering, Pass};
use crate::codes::Code;
use crate::expression::{Evaluated, Site};
use crate::name;
use crate::plan::{ValueKind, value_text};
use crate::scalar::{Misfit, Scalar};
use crate::source::Span;
use crate::yaml::{Map, Node, Value};

/// The value of an axis: a scalar, with its type.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AxisValue(pub(super) serde_json::Value);

impl Scalar for AxisValue {
    const KIND: ValueKind = ValueKind::Json;

    fn unknown(written: &str) -> Self {
        Self(written.into())
    }

    fn read(node: &Node) -> Result<Self, Misfit> {
        match &node.value {
            Value::Text(text) => Ok(Self(text.as_str().into())),
            Value::Bool(value) => Ok(Self((*value).into())),
            Value::Int(value, _) => Ok(Self((*value).into())),
            Value::Float(value, text) => match serde_json::Number::from_f64(*value) {
                Some(number) => Ok(Self(serde_json::Value::Number(number))),
                None => Ok(Self(text.as_str().into())),
            },
            Value::Null | Value::Mixed(_) | Value::List(_) | Value::Map(_) => {
                Err(Misfit::wrong_type("texts, numbers, true or false", node))
            }
        }
    }
}

pub(super) struct Axis<'n> {
    pub(super) name: &'n str,
    /// With the place of each; `None` when an expression gives them later.
    pub(super) values: Option<Vec<(AxisValue, Span)>>,
}

impl Lowering<'_> {
    pub(super) fn axes<'n>(&mut self, stage: &str, map: &'n Map) -> Vec<Axis<'n>> {
        let mut axes = Vec::new();
        for entry in &map.0 {
            let name = entry.key.name.as_str();
            if matches!(name, "include" | "exclude") {
                continue;
            }
            if !name::is_stage_name(name) {
                let message = format!("an axis of stage `{stage}` cannot be named `{name}`");
                let error = self.error(Code::E016, message, entry.key.span);
                let label = format!("write for example `{}`", name::corrected(name));
                let rule = name::STAGE_RULE.replace("a stage name", "the name of an axis");
                self.report(error.label(label).note(rule));
                continue;
            }
            let values = self.axis(stage, name, &entry.value);
            axes.push(Axis { name, values });
        }
        axes
    }

    fn axis(&mut self, stage: &str, name: &str, node: &Node) -> Option<Vec<(AxisValue, Span)>> {
        let list = match &node.value {
            value if value.is_reported() => return None,
            Value::List(items) => items.clone(),
            Value::Mixed(pieces) => match &mut self.pass {
                Pass::Check { checker, parameters } => {
                    let before = self.found.len();
                    checker.check(pieces, Site::Pipeline, parameters, self.sources, self.found);
                    self.tell_use(before, node);
                    return None;
                }
                Pass::Plan { scope, .. } => match scope.value(pieces, node.span) {
                    Ok(Evaluated::Known(Value::List(items))) => items,
                    Ok(Evaluated::Known(other)) => {
                        let message = format!(
                            "the axis `{name}` of stage `{stage}` takes a list, and its expression gives {}",
                            other.kind()
                        );
                        let error = self.error_at(Code::E042, message, node);
                        self.report(error.label(format!("this is {}", other.kind())));
                        return None;
                    }
                    // Nothing of a run is available in an axis, which has been checked.
                    Ok(Evaluated::Pending) => return None,
                    Err(error) => {
                        self.report(*error);
                        return None;
                    }
                },
            },
            other => {
                let message = format!(
                    "the axis `{name}` of stage `{stage}` takes a list of values, not {}",
                    other.kind()
                );
                let error = self.error_at(Code::E012, message, node);
                let error = match node.scalar_text() {
                    Some(_) => error.label(format!("write `[{}]`", self.sources.text(node.span))),
                    None => error.label("for example `[linux, windows]`"),
                };
                self.report(error);
                return None;
            }
        };
        if list.is_empty() {
            let message = format!("the axis `{name}` of stage `{stage}` has no values");
            let error = self.error_at(Code::E061, message, node);
            self.report(error.label("a stage with no cells would never run"));
            return None;
        }
        let before = self.found.len();
        let mut values: Vec<(AxisValue, Span)> = Vec::with_capacity(list.len());
        let mut places: HashMap<String, Span> = HashMap::with_capacity(list.len());
        let mut known = true;
        for item in &list {
            known &= self.is_known(item);
            let told = self.found.len();
            let value = self.axis_value(name, item);
            if self.found.len() > told {
                continue;
            }
            let told = places.insert(value_text(&value.0), item.span);
            if let (Some(first), true) = (told, known) {
                let text = value_text(&value.0);
                let message = format!("the axis `{name}` of stage `{stage}` has `{text}` twice");
                let error = self.error_at(Code::E002, message, item);
                let place = self.sources.place(first);
                self.report(error.label("remove one").related("first given here", place));
            }
            values.push((value, item.span));
        }
        (known && self.found.len() == before).then_some(values)
    }

    pub(super) fn axis_value(&mut self, axis: &str, node: &Node) -> AxisValue {
        let value: AxisValue = self.value(&format!("matrix.{axis}"), node, Site::Pipeline);
        if let Some(text) = value.0.as_str()
            && text.chars().any(name::is_hidden)
        {
            let shown = name::visible(&text.replace('\n', "\\n"));
            let message = format!("`{shown}` cannot be part of the name of a cell");
            let error = self.error_at(Code::E003, message, node);
            self.report(error.label("it has a character that cannot be seen"));
        }
        value
    }

    /// While a file is checked, expressions have no value yet.
    pub(super) fn is_known(&self, node: &Node) -> bool {
        !(self.is_check() && matches!(node.value, Value::Mixed(_)))
    }
}
