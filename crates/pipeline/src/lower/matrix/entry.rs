//! `include` and `exclude`: values of some axes, or of all.

use std::collections::BTreeMap;

use super::super::Lowering;
use super::axis::{Axis, AxisValue};
use crate::codes::Code;
use crate::plan::value_text;
use crate::source::Span;
use crate::suggest::{closest, listed, quoted};
use crate::yaml::Map;

/// An entry of `include` or `exclude`.
pub(super) struct Partial {
    pub(super) span: Span,
    pub(super) values: BTreeMap<String, AxisValue>,
    /// None of the values is an expression without a value yet.
    pub(super) known: bool,
}

impl Lowering<'_> {
    /// `include` and `exclude`: maps from axes to values.
    pub(super) fn entries(
        &mut self,
        stage: &str,
        map: &Map,
        key: &str,
        axes: &[&str],
    ) -> Vec<Partial> {
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
                    let error = error.did_you_mean(closest(axis, axes.iter().copied()));
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
    pub(super) fn excluded_exist(&mut self, axes: &[Axis<'_>], exclude: &[Partial]) {
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
    pub(super) fn included_are_whole(&mut self, axes: &[&str], include: &[Partial]) -> bool {
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
}
