//! `matrix`: the cells of a stage.
//!
//! The product of the axes, minus `exclude`, plus `include`. Sizes are multiplied
//! before anything is made of them, so a thousand times a thousand costs nothing
//! but its error. An axis that is an expression is read when the plan is made.

mod axis;
mod entry;
mod product;

use super::draft::Draft;
use super::{Lowering, STAGE_LIMIT};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::model::Matrix;
use crate::source::Span;
use crate::suggest::listed;
use crate::yaml::{Entry, Map, Node};

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
