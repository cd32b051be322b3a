//! The cells: the product of the axes, minus `exclude`, plus `include`.

use std::collections::{BTreeMap, HashMap};

use super::super::{Lowering, STAGE_LIMIT};
use super::axis::{Axis, AxisValue};
use super::entry::Partial;
use crate::codes::Code;
use crate::model::Cell;
use crate::plan::value_text;
use crate::source::Span;

impl Lowering<'_> {
    pub(super) fn cells(
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
