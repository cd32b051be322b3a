//! The edges of a pipeline: those that are written, and those of the file's order.
//!
//! A stage without `needs` waits for all stages above it. An edge of that kind is
//! left out when a stage above hands on whatever goes wrong there: it needs the
//! other itself and has `run-on: success`, so it is blocked or cancelled when the
//! other fails or is cancelled, and not done before the other is. Stages with
//! another `run-on` pass although something above them failed, and hide nothing.

use super::{Cells, Edge};
use crate::EdgeReason;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::lower::{Draft, Need};
use crate::plan::RunOn;
use crate::source::Sources;

/// More would take more memory than a plan may. Only a file in which hundreds of
/// `run-on: always` stages stand below each other comes here.
pub(crate) const EDGE_LIMIT: usize = 1_000_000;

pub(super) struct Edges {
    pub(super) needs: Vec<Vec<Edge>>,
    pub(super) checkout: Vec<Option<EdgeReason>>,
}

/// Stages above that no other one above hands on. The last place is `checkout`'s.
struct Uncovered {
    above: Vec<usize>,
    covered: Vec<bool>,
}

impl Uncovered {
    fn take(&mut self) -> &[usize] {
        let covered = &self.covered;
        self.above.retain(|above| !covered[*above]);
        &self.above
    }
}

pub(super) fn edges(
    stages: &[Draft],
    sources: &Sources,
    found: &mut Vec<Diagnostic>,
) -> Option<Edges> {
    let checkout_at = stages.len();
    let mut uncovered = Uncovered { above: vec![checkout_at], covered: named_from_above(stages) };
    let mut needs = Vec::with_capacity(stages.len());
    let mut checkout = Vec::with_capacity(stages.len());
    let mut count = 0;
    for (at, stage) in stages.iter().enumerate() {
        let hands_on = stage.run_on == RunOn::Success;
        // A list of needs names nothing twice, so the longest lists are only copied.
        let mut edges: Vec<Edge> = stage
            .needs
            .iter()
            .flatten()
            .filter_map(|need| Edge::new(need, EdgeReason::Needs))
            .collect();
        for need in &stage.before {
            add(&mut edges, Edge::new(need, EdgeReason::Before));
        }
        let mut on_checkout = stage
            .needs
            .iter()
            .flatten()
            .any(|need| need.stage.is_none())
            .then_some(EdgeReason::Needs);
        if stage.needs.is_none() {
            let written = edges.len();
            for above in uncovered.take() {
                if *above == checkout_at {
                    on_checkout = Some(EdgeReason::Order);
                } else if !edges[..written].iter().any(|edge| edge.stage == *above) {
                    let need = Need { stage: Some(*above), span: stage.span, must: false };
                    edges.extend(Edge::new(&need, EdgeReason::Order));
                }
            }
        }
        if let Some(need) = stage.image.and_then(|need| Edge::new(&need, EdgeReason::Output)) {
            let matrix = stages[need.stage].matrix.is_some();
            let cells = if matrix { Cells::Same } else { Cells::All };
            add(&mut edges, Some(Edge { cells, ..need }));
        }
        if edges.is_empty() && on_checkout.is_none() {
            on_checkout = Some(EdgeReason::Order);
        }
        if hands_on {
            // A need on one cell says nothing of the others.
            let whole = edges.iter().filter(|edge| edge.cells == Cells::All);
            whole.for_each(|edge| uncovered.covered[edge.stage] = true);
            uncovered.covered[checkout_at] |= on_checkout.is_some();
        }
        uncovered.above.push(at);
        count += edges.len();
        if count > EDGE_LIMIT {
            found.push(too_many(&stage.name, sources.place(stage.span)));
            return None;
        }
        needs.push(edges);
        checkout.push(on_checkout);
    }
    Some(Edges { needs, checkout })
}

/// Whom a stage further up needs: those below it in the file wait for that one, and
/// so for these, too.
fn named_from_above(stages: &[Draft]) -> Vec<bool> {
    let mut named = vec![false; stages.len() + 1];
    for (at, stage) in stages.iter().enumerate() {
        let image = stage
            .image
            .iter()
            .filter(|need| need.stage.is_some_and(|stage| stages[stage].matrix.is_none()));
        let needs = stage.needs.iter().flatten().chain(&stage.before).chain(image);
        for need in needs.filter_map(|need| need.stage) {
            if need > at && stage.run_on == RunOn::Success {
                named[need] = true;
            }
        }
    }
    named
}

fn too_many(stage: &str, place: crate::source::Place) -> Diagnostic {
    Diagnostic::error(
        Code::E061,
        format!(
            "with stage `{stage}` the pipeline has more than {EDGE_LIMIT} edges, which is the limit"
        ),
    )
    .at(place)
    .label("it waits for every stage above it")
    .help("give stages with `run-on` their own `needs`, so that they do not wait for all above")
}

impl Edge {
    /// `None` for a need on `checkout`, which is no node of the graph.
    fn new(need: &Need, by: EdgeReason) -> Option<Self> {
        Some(Self { stage: need.stage?, cells: Cells::All, by, must: need.must, span: need.span })
    }
}

/// Adds an edge, or makes the one that is there stricter. What somebody wrote is
/// told before what the order of the file gives.
pub(super) fn add(edges: &mut Vec<Edge>, new: Option<Edge>) {
    let Some(new) = new else { return };
    match edges.iter_mut().find(|edge| edge.stage == new.stage && edge.cells == new.cells) {
        Some(edge) => {
            edge.must |= new.must;
            if edge.by == EdgeReason::Order {
                (edge.by, edge.span) = (new.by, new.span);
            }
        }
        None => edges.push(new),
    }
}
