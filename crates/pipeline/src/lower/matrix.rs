//! `matrix`: the cells of a stage.
//!
//! The product of the axes, minus `exclude`, plus `include`. Sizes are multiplied
//! before anything is made of them, so a thousand times a thousand costs nothing
//! but its error. An axis that is an expression is read when the plan is made.

use std::collections::{BTreeMap, HashMap};

use super::draft::Draft;
use super::{Lowering, Pass, STAGE_LIMIT};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::expression::{Evaluated, Site};
use crate::model::{Cell, Matrix};
use crate::name;
use crate::plan::{ValueKind, value_text};
use crate::scalar::{Misfit, Scalar};
use crate::source::Span;
use crate::suggest::{closest, listed, quoted};
use crate::yaml::{Entry, Map, Node, Value};

/// The value of an axis: a scalar, with its type.
#[derive(Clone, Debug, PartialEq)]
struct AxisValue(serde_json::Value);

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

struct Axis<'n> {
    name: &'n str,
    /// With the place of each; `None` when an expression gives them later.
    values: Option<Vec<(AxisValue, Span)>>,
}

/// An entry of `include` or `exclude`.
struct Partial {
    span: Span,
    values: BTreeMap<String, AxisValue>,
    /// None of the values is an expression without a value yet.
    known: bool,
}

impl Lowering<'_> {
    /// Reads a matrix, and makes its cells as soon as all its axes are known.
    pub(crate) fn matrix(&mut self, stage: &str, entry: &Entry) -> Option<Matrix> {
        let before = self.found.len();
        let span = entry.key.span;
        let Some(map) = entry.value.as_map() else {
            if !entry.value.value.is_reported() {
                let kind = entry.value.value.kind();
                let message = format!("the `matrix` of stage `{stage}` takes a map, not {kind}");
                let error = self.error_at(Code::E012, message, &entry.value);
                self.report(error.label("for example `{ os: [linux, windows] }`"));
            }
            return None;
        };
        let axes = self.axes(stage, map);
        let names: Vec<&str> = if axes.is_empty() {
            named_by_include(map)
        } else {
            axes.iter().map(|axis| axis.name).collect()
        };
        if names.is_empty() && self.found.len() == before {
            let message = format!("the matrix of stage `{stage}` has no axis");
            let error = self.error(Code::E014, message, span);
            self.report(error.label("for example `matrix: { os: [linux, windows] }`"));
        }
        let exclude = self.entries(stage, map, "exclude", &names);
        let include = self.entries(stage, map, "include", &names);
        let known = axes.iter().all(|axis| axis.values.is_some())
            && exclude.iter().all(|entry| entry.known);
        if self.found.len() > before {
            return None;
        }
        self.excluded_exist(&axes, &exclude);
        let complete = self.included_are_whole(&names, &include);
        let owned = names.iter().map(|name| (*name).to_owned()).collect();
        if !known || !complete || self.found.len() > before {
            return Some(Matrix { span, axes: owned, cells: None });
        }
        let cells = self.cells(stage, span, &axes, &names, &exclude, &include)?;
        Some(Matrix { span, axes: owned, cells: Some(cells.into()) })
    }

    fn axes<'n>(&mut self, stage: &str, map: &'n Map) -> Vec<Axis<'n>> {
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

    fn axis_value(&mut self, axis: &str, node: &Node) -> AxisValue {
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
    fn is_known(&self, node: &Node) -> bool {
        !(self.is_check() && matches!(node.value, Value::Mixed(_)))
    }

    /// `include` and `exclude`: maps from axes to values.
    fn entries(&mut self, stage: &str, map: &Map, key: &str, axes: &[&str]) -> Vec<Partial> {
        let Some(node) = map.get(key) else { return Vec::new() };
        let Some(items) = node.as_list() else {
            if !node.value.is_reported() {
                let message = format!("`{key}` takes a list of maps, not {}", node.value.kind());
                let error = self.error_at(Code::E012, message, node);
                let axis = axes.first().copied().unwrap_or("os");
                self.report(error.label(format!("for example `[{{ {axis}: VALUE }}]`")));
            }
            return Vec::new();
        };
        let mut entries = Vec::new();
        for item in items {
            let Some(map) = item.as_map() else {
                if !item.value.is_reported() {
                    let message =
                        format!("an entry of `{key}` is a map, not {}", item.value.kind());
                    let error = self.error_at(Code::E012, message, item);
                    let axis = axes.first().copied().unwrap_or("os");
                    self.report(error.label(format!("for example `{{ {axis}: VALUE }}`")));
                }
                continue;
            };
            if map.0.is_empty() {
                let message = format!("this entry of `{key}` names no axis");
                let error = self.error_at(Code::E014, message, item);
                self.report(error.label(format!("axes are: {}", axes.join(", "))));
            }
            let mut values = BTreeMap::new();
            let mut known = true;
            for entry in &map.0 {
                let axis = entry.key.name.as_str();
                if !axes.contains(&axis) {
                    let message =
                        format!("`{axis}` in `{key}` is no axis of the matrix of stage `{stage}`");
                    let error = self.error(Code::E010, message, entry.key.span);
                    let error = match closest(axis, axes.iter().copied()) {
                        Some(close) => error.label(format!("did you mean `{close}`?")),
                        None => error,
                    };
                    self.report(error.note(format!("axes are: {}", axes.join(", "))));
                    continue;
                }
                known &= self.is_known(&entry.value);
                let value = self.axis_value(axis, &entry.value);
                values.insert(axis.to_owned(), value);
            }
            entries.push(Partial { span: item.span, values, known });
        }
        entries
    }

    /// A value that no axis has removes nothing, and is a slip.
    fn excluded_exist(&mut self, axes: &[Axis<'_>], exclude: &[Partial]) {
        for Partial { span, values, known } in exclude {
            for (name, value) in values {
                let axis = axes.iter().find(|axis| axis.name == name);
                let Some(all) = axis.and_then(|axis| axis.values.as_ref()) else { continue };
                let text = value_text(&value.0);
                let texts: Vec<String> =
                    all.iter().map(|(value, _)| value_text(&value.0)).collect();
                if !known || texts.contains(&text) {
                    continue;
                }
                let message = format!("`exclude` names `{text}`, which the axis `{name}` has not");
                let error = self.error(Code::E015, message, *span);
                let error = match closest(&text, texts.iter().map(String::as_str)) {
                    Some(close) => error.label(format!("did you mean `{close}`?")),
                    None => error.label("removes nothing"),
                };
                let known = listed(texts.iter().take(20).cloned());
                self.report(error.note(format!("values of `{name}` are: {known}")));
            }
        }
    }

    /// A cell has a value of every axis. Returns whether all values are known.
    fn included_are_whole(&mut self, axes: &[&str], include: &[Partial]) -> bool {
        for Partial { span, values, .. } in include {
            let missing: Vec<&str> =
                axes.iter().copied().filter(|axis| !values.contains_key(*axis)).collect();
            if !missing.is_empty() {
                let missing = quoted(missing);
                let message = format!("this entry of `include` has no value for {missing}");
                let error = self.error(Code::E014, message, *span);
                self.report(error.label("an included cell has a value for every axis"));
            }
        }
        include.iter().all(|entry| entry.known)
    }

    fn cells(
        &mut self,
        stage: &str,
        span: Span,
        axes: &[Axis<'_>],
        names: &[&str],
        exclude: &[Partial],
        include: &[Partial],
    ) -> Option<Vec<Cell>> {
        let sizes: Vec<(&str, usize)> =
            axes.iter().map(|axis| (axis.name, axis.values.as_ref().map_or(0, Vec::len))).collect();
        let product = match axes {
            [] => 0,
            _ => sizes.iter().fold(1_u128, |all, (_, size)| all.saturating_mul(*size as u128)),
        };
        let count = product.saturating_add(include.len() as u128);
        if count > STAGE_LIMIT as u128 {
            self.too_many(stage, span, &sizes, count);
            return None;
        }
        let mut cells = Vec::new();
        let mut at = vec![0_usize; axes.len()];
        let mut left = product;
        while left > 0 {
            let values = axes
                .iter()
                .zip(&at)
                .filter_map(|(axis, at)| Some((axis.name, &axis.values.as_ref()?.get(*at)?.0)));
            let values: BTreeMap<&str, &AxisValue> = values.collect();
            let removed = exclude.iter().any(|entry| {
                !entry.values.is_empty()
                    && entry.values.iter().all(|(axis, value)| {
                        values
                            .get(axis.as_str())
                            .is_some_and(|own| value_text(&own.0) == value_text(&value.0))
                    })
            });
            if !removed {
                cells.push(cell(names, |axis| values.get(axis).map(|value| value.0.clone())));
            }
            // The last axis turns fastest.
            for (digit, (_, size)) in at.iter_mut().zip(&sizes).rev() {
                *digit += 1;
                if *digit < *size {
                    break;
                }
                *digit = 0;
            }
            left -= 1;
        }
        let mut known: HashMap<String, Option<Span>> =
            cells.iter().map(|cell| (cell.name.clone(), None)).collect();
        for Partial { span, values, .. } in include {
            let cell = cell(names, |axis| values.get(axis).map(|value| value.0.clone()));
            if let Some(first) = known.insert(cell.name.clone(), Some(*span)) {
                let message = format!("stage `{stage}` has the cell `{}` already", cell.name);
                let error = self.error(Code::E002, message, *span).label("remove this entry");
                let error = match first {
                    Some(first) => error.related("included here", self.sources.place(first)),
                    None => error.note("the axes give it"),
                };
                self.report(error);
                return None;
            }
            cells.push(cell);
        }
        if cells.is_empty() {
            let message = format!("the matrix of stage `{stage}` has no cell left");
            let error = self.error(Code::E061, message, span);
            let error = error.label("`exclude` removes every one").note(told(&sizes));
            self.report(error.help("remove an entry of `exclude`, or the stage"));
            return None;
        }
        // Values such as `a,b=c` can make one name of two cells.
        if known.len() < cells.len() {
            let message = format!("two cells of stage `{stage}` have the same name");
            let error = self.error(Code::E002, message, span);
            self.report(error.label("use values without `,` and `=`"));
            return None;
        }
        Some(cells)
    }

    fn too_many(&mut self, stage: &str, span: Span, sizes: &[(&str, usize)], count: u128) {
        let message = format!(
            "the matrix of stage `{stage}` has {count} cells, the limit is {STAGE_LIMIT} for all stages together"
        );
        let error = self.error(Code::E061, message, span).note(told(sizes));
        self.report(error.help("shorten an axis, or split the pipeline"));
    }

    /// All cells of all stages together (E061), as far as they are known.
    pub(super) fn cells_are_few(&mut self, stages: &[Draft], span: Span) {
        let counts = stages.iter().map(|stage| {
            let cells = stage.matrix.as_ref().and_then(|matrix| matrix.cells.as_ref());
            (stage.name.as_str(), cells.map_or(1, |cells| cells.len()))
        });
        if let Some(error) = too_many_stages(counts) {
            let place = self.sources.place(span);
            self.report(error.at(place));
        }
    }
}

/// The error when a pipeline has too many stages with the cells of its matrices.
pub(crate) fn too_many_stages<'a>(
    counts: impl Iterator<Item = (&'a str, usize)>,
) -> Option<Diagnostic> {
    let counts: Vec<(&str, usize)> = counts.collect();
    let all: usize = counts.iter().map(|(_, count)| count).sum();
    if all <= STAGE_LIMIT {
        return None;
    }
    let mut largest: Vec<_> = counts.iter().filter(|(_, count)| *count > 1).collect();
    largest.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let told = largest.iter().take(5).map(|(name, count)| format!("`{name}` has {count} cells"));
    let message =
        format!("with all cells the pipeline has {all} stages, the limit is {STAGE_LIMIT}");
    Some(
        Diagnostic::error(Code::E061, message)
            .note(listed(told))
            .help("shorten a matrix, or split the pipeline"),
    )
}

/// A matrix with nothing but `include` has the axes of its first entry.
fn named_by_include(map: &Map) -> Vec<&str> {
    let first = map.get("include").and_then(Node::as_list).and_then(<[Node]>::first);
    let first = first.and_then(Node::as_map);
    first.map(|map| map.0.iter().map(|entry| entry.key.name.as_str()).collect()).unwrap_or_default()
}

fn cell(names: &[&str], value: impl Fn(&str) -> Option<serde_json::Value>) -> Cell {
    let mut values = BTreeMap::new();
    let mut name = String::new();
    for axis in names {
        if let Some(value) = value(axis) {
            if !name.is_empty() {
                name.push(',');
            }
            name.push_str(axis);
            name.push('=');
            name.push_str(&value_text(&value));
            values.insert((*axis).to_owned(), value);
        }
    }
    Cell { name, values }
}

/// `1000 values of a × 1000 values of b`.
fn told(sizes: &[(&str, usize)]) -> String {
    let sizes: Vec<String> = sizes
        .iter()
        .map(|(axis, size)| match size {
            1 => format!("1 value of `{axis}`"),
            size => format!("{size} values of `{axis}`"),
        })
        .collect();
    sizes.join(" × ")
}
