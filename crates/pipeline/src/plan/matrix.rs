//! The matrix of a plan: which cells a stage has for this event, and which of them
//! an edge goes to.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::make::Planner;
use super::{Decision, Edge, EdgeReason, value_text};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::graph::{Cells, EDGE_LIMIT};
use crate::lower::too_many_stages;
use crate::model::{Cell, Stage};
use crate::name::CHECKOUT;

/// A stage of the plan, as those that need it see it.
#[derive(Debug, Default)]
pub(super) struct Expanded {
    /// `None`: it has no matrix, or is skipped before its axes have values.
    pub(super) cells: Option<Arc<[Cell]>>,
    /// Names of the cells.
    names: HashSet<String>,
    /// Cells that are skipped, by their name without the stage.
    skipped: HashSet<String>,
    /// The planned name of the first that is skipped.
    first_skipped: Option<String>,
}

impl Expanded {
    /// Remembers what was decided of a cell, or of the stage when it has none.
    pub(super) fn decided(&mut self, stage: &Stage, cell: Option<&Cell>, state: Decision) {
        if state == Decision::Run {
            return;
        }
        if let Some(cell) = cell {
            self.skipped.insert(cell.name.clone());
        }
        self.first_skipped.get_or_insert_with(|| planned_name(stage, cell));
    }
}

/// The name of a stage in the plan.
pub(super) fn planned_name(stage: &Stage, cell: Option<&Cell>) -> String {
    match cell {
        Some(cell) => format!("{}[{}]", stage.name, cell.name),
        None => stage.name.clone(),
    }
}

impl Planner<'_> {
    /// The cells of every stage, by index. Too many are refused here.
    pub(super) fn expand(&mut self) -> Vec<Expanded> {
        let mut all = Vec::with_capacity(self.pipeline.stages.len());
        for stage in &self.pipeline.stages {
            let mut expanded = Expanded::default();
            if let Some(matrix) = &stage.matrix {
                expanded.cells = match &matrix.cells {
                    Some(cells) => Some(cells.clone()),
                    None => self.evaluated_cells(stage),
                };
            }
            expanded.names = expanded
                .cells
                .iter()
                .flat_map(|cells| cells.iter())
                .map(|cell| cell.name.clone())
                .collect();
            all.push(expanded);
        }
        let counts = self.pipeline.stages.iter().zip(&all).map(|(stage, expanded)| {
            (stage.name.as_str(), expanded.cells.as_ref().map_or(1, |cells| cells.len()))
        });
        if let Some(error) = too_many_stages(counts) {
            let largest =
                self.pipeline.stages.iter().zip(&all).max_by_key(|(_, expanded)| {
                    expanded.cells.as_ref().map_or(0, |cells| cells.len())
                });
            let matrix = largest.and_then(|(stage, _)| stage.matrix.as_ref());
            let place = matrix.map(|matrix| self.pipeline.sources.place(matrix.span));
            self.found.push(match place {
                Some(place) => error.at(place),
                None => error,
            });
        }
        self.edges_are_few(&all);
        all
    }

    /// Cells of axes that are expressions. Where the stage is skipped whatever its
    /// cell, their errors do not count: what they read may be of another event.
    fn evaluated_cells(&mut self, stage: &Stage) -> Option<Arc<[Cell]>> {
        let entry = stage.entry.value.as_map()?.entry("matrix")?;
        let before = self.found.len();
        let (matrix, _) = self.lowering(|lowering| lowering.matrix(&stage.name, entry));
        let cells = matrix.and_then(|matrix| matrix.cells);
        if cells.is_none() && self.is_skipped_anyway(stage) {
            self.found.truncate(before);
        }
        cells
    }

    /// Every edge is written once for each cell that has it.
    fn edges_are_few(&mut self, all: &[Expanded]) {
        let mut count = 0_usize;
        for ((stage, expanded), needs) in
            self.pipeline.stages.iter().zip(all).zip(&self.pipeline.graph.needs)
        {
            let cells = expanded.cells.as_ref().map_or(1, |cells| cells.len());
            count = count.saturating_add(cells.saturating_mul(needs.len()));
            if count > EDGE_LIMIT {
                let message = format!(
                    "with the {cells} cells of stage `{}` the pipeline has more than {EDGE_LIMIT} edges, which is the limit",
                    stage.name
                );
                let place = self.pipeline.sources.place(stage.span);
                let error = Diagnostic::error(Code::E061, message).at(place);
                let label = format!("each of them waits for {} stages", needs.len());
                self.found.push(error.label(label));
                return;
            }
        }
    }

    /// The edges of a stage or cell, with the names of the plan.
    pub(super) fn needs(&mut self, at: usize, cell: Option<&Cell>, all: &[Expanded]) -> Vec<Edge> {
        let pipeline = self.pipeline;
        let edges = &pipeline.graph.needs[at];
        let mut needs = Vec::with_capacity(edges.len() + 1);
        if let (Some(by), true) = (pipeline.graph.checkout[at], pipeline.checkout.is_some()) {
            needs.push(Edge { stage: CHECKOUT.to_owned(), by, must: None });
        }
        for edge in edges {
            let need = &pipeline.stages[edge.stage];
            let name = match self.one_cell(edge, cell, all) {
                None => need.name.clone(),
                Some(name) => {
                    if !all[edge.stage].names.contains(&name) {
                        self.no_cell(at, cell, edge, &name);
                    }
                    format!("{}[{name}]", need.name)
                }
            };
            let must = edge.must.then(|| "run".to_owned());
            needs.push(Edge { stage: name, by: edge.by, must });
        }
        needs
    }

    /// The name of the only cell that an edge goes to.
    fn one_cell(
        &self,
        edge: &crate::graph::Edge,
        cell: Option<&Cell>,
        all: &[Expanded],
    ) -> Option<String> {
        all[edge.stage].cells.as_ref()?;
        match &edge.cells {
            Cells::All => None,
            Cells::One(name) => Some(name.clone()),
            Cells::Same => {
                let axes = &self.pipeline.stages[edge.stage].matrix.as_ref()?.axes;
                Some(same_cell(axes, &cell?.values))
            }
        }
    }

    fn no_cell(&mut self, at: usize, cell: Option<&Cell>, edge: &crate::graph::Edge, name: &str) {
        let stage = &self.pipeline.stages[at];
        let user = planned_name(stage, cell);
        let need = &self.pipeline.stages[edge.stage].name;
        let verb = match edge.cells {
            Cells::Same => "uses the image of",
            Cells::All | Cells::One(_) => "reads",
        };
        let message = format!("`{user}` {verb} the cell `{name}` of `{need}`, which there is not");
        let place = self.pipeline.sources.place(edge.span);
        let error = Diagnostic::error(Code::E044, message).at(place);
        self.found.push(error.label(format!("`{need}` has no cell `{name}`")));
    }

    /// The first need that must run and is skipped before the run.
    pub(super) fn skipped_need(
        &self,
        at: usize,
        cell: Option<&Cell>,
        all: &[Expanded],
    ) -> Option<String> {
        let musts = self.pipeline.graph.needs[at].iter().filter(|edge| edge.must);
        musts.into_iter().find_map(|edge| {
            let need = &all[edge.stage];
            match self.one_cell(edge, cell, all) {
                None => need.first_skipped.clone(),
                Some(name) => need
                    .skipped
                    .contains(&name)
                    .then(|| format!("{}[{name}]", self.pipeline.stages[edge.stage].name)),
            }
        })
    }

    /// The cell whose image a cell pushes or deploys; `None` when it has no cells.
    pub(super) fn image_cell(
        &self,
        at: usize,
        cell: Option<&Cell>,
        all: &[Expanded],
    ) -> Option<String> {
        let edges = self.pipeline.graph.needs[at].iter();
        let edge = edges
            .into_iter()
            .find(|edge| edge.by == EdgeReason::Output && edge.cells == Cells::Same)?;
        let name = self.one_cell(edge, cell, all)?;
        Some(format!("{}[{name}]", self.pipeline.stages[edge.stage].name))
    }
}

/// The name of the cell of another stage that has these values of its axes.
pub(crate) fn same_cell(axes: &[String], values: &BTreeMap<String, serde_json::Value>) -> String {
    let mut name = String::new();
    for axis in axes {
        if !name.is_empty() {
            name.push(',');
        }
        name.push_str(axis);
        name.push('=');
        name.push_str(&values.get(axis).map(value_text).unwrap_or_default());
    }
    name
}
