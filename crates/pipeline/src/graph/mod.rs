//! The graph of a pipeline: who waits for whom, and why.
//!
//! Its nodes are the stages of the file; cells of a matrix share those of their
//! stage. `checkout` is no node, what waits for it says so on the side.

mod above;
mod cycle;
mod edges;
mod read;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

pub(crate) use above::Above;
pub(crate) use edges::EDGE_LIMIT;

use crate::EdgeReason;
use crate::diagnostic::Diagnostic;
use crate::lower::{Draft, Names};
use crate::source::{Sources, Span};

/// Edges of every stage, and an order in which all needs come first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    /// For each stage, what it waits for.
    pub(crate) needs: Vec<Vec<Edge>>,
    /// For each stage, whether it waits for `checkout` itself, and why.
    pub(crate) checkout: Vec<Option<EdgeReason>>,
    /// Topological, then by file.
    pub(crate) order: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) stage: usize,
    /// Which cells of that stage, when it has a matrix.
    pub(crate) cells: Cells,
    pub(crate) by: EdgeReason,
    pub(crate) must: bool,
    /// Where the edge is written.
    pub(crate) span: Span,
}

/// The cells of a stage with a matrix that an edge goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cells {
    All,
    /// The one with the same values as the cell that needs it.
    Same,
    /// The one of this name, `db=mysql:8`.
    One(String),
}

/// Builds the graph; cycles are errors, and what is read without being needed.
pub(crate) fn graph(
    stages: &[Draft],
    names: &Names,
    sources: &Sources,
    found: &mut Vec<Diagnostic>,
) -> Option<Graph> {
    let edges::Edges { mut needs, checkout } = edges::edges(stages, sources, found)?;
    let cycles = cycle::cycles(&needs);
    if !cycles.is_empty() {
        found.extend(cycles.iter().map(|cycle| cycle::tell(cycle, stages, &needs, sources)));
        return None;
    }
    let order = order(&needs);
    read::images(stages, sources, found);
    // What is read is among the needs already, so the order stays.
    read::add(stages, &mut needs, &order, names, sources, found);
    Some(Graph { needs, checkout, order })
}

/// Kahn's algorithm; of those that may come next, the first in the file does.
fn order(needs: &[Vec<Edge>]) -> Vec<usize> {
    let mut open: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); needs.len()];
    for (user, edges) in needs.iter().enumerate() {
        edges.iter().for_each(|edge| users[edge.stage].push(user));
    }
    let ready = open.iter().enumerate().filter(|(_, open)| **open == 0);
    let mut ready: BinaryHeap<Reverse<usize>> = ready.map(|(at, _)| Reverse(at)).collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(Reverse(at)) = ready.pop() {
        order.push(at);
        for user in &users[at] {
            open[*user] -= 1;
            if open[*user] == 0 {
                ready.push(Reverse(*user));
            }
        }
    }
    order
}
