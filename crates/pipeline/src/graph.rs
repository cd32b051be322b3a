//! The graph of a pipeline: who waits for whom, and why.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::EdgeReason;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::lower::{Draft, Need};
use crate::source::{Sources, Span};

/// Edges of every stage, and an order in which all needs come first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    /// For each stage, what it waits for.
    pub(crate) needs: Vec<Vec<Edge>>,
    /// Stages named in `needs: [checkout]`, or that wait for nothing else.
    pub(crate) after_checkout: Vec<bool>,
    /// Topological, then by file.
    pub(crate) order: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge {
    pub(crate) stage: usize,
    pub(crate) by: EdgeReason,
    pub(crate) must: bool,
    /// Where the edge is written.
    pub(crate) span: Span,
}

/// Builds the graph; cycles are errors.
pub(crate) fn graph(
    stages: &[Draft],
    sources: &Sources,
    found: &mut Vec<Diagnostic>,
) -> Option<Graph> {
    let needs = edges(stages);
    let cycles = cycles(&needs);
    if !cycles.is_empty() {
        found.extend(cycles.iter().map(|cycle| tell(cycle, stages, &needs, sources)));
        return None;
    }
    let after_checkout = stages
        .iter()
        .zip(&needs)
        .map(|(stage, needs)| {
            needs.is_empty() || stage.needs.iter().flatten().any(|need| need.stage.is_none())
        })
        .collect();
    let order = order(&needs);
    Some(Graph { needs, after_checkout, order })
}

fn edges(stages: &[Draft]) -> Vec<Vec<Edge>> {
    let image = |stage: &Draft| stage.image.and_then(|need| Some((need.stage?, need.span)));
    // Who is named by anybody need not be waited for again by those below.
    let mut named_from_above = vec![false; stages.len()];
    for (at, stage) in stages.iter().enumerate() {
        let named = stage.needs.iter().flatten().chain(&stage.before).filter_map(|need| need.stage);
        for need in named.chain(image(stage).map(|(maker, _)| maker)) {
            if need > at {
                named_from_above[need] = true;
            }
        }
    }
    // Stages above that no other stage above waits for. Waiting for these is
    // waiting for all, as long as a stage does not run after a failed need.
    let mut last: Vec<usize> = Vec::new();
    let mut waited_for = named_from_above;
    let mut all = Vec::with_capacity(stages.len());
    for (at, stage) in stages.iter().enumerate() {
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
        if stage.needs.is_none() {
            let before = edges.len();
            last.retain(|above| !waited_for[*above]);
            for above in last.drain(..) {
                if !edges[..before].iter().any(|edge| edge.stage == above) {
                    let need = Need { stage: Some(above), span: stage.span, must: false };
                    edges.extend(Edge::new(&need, EdgeReason::Order));
                }
            }
        }
        if let Some((maker, span)) = image(stage) {
            let need = Need { stage: Some(maker), span, must: true };
            add(&mut edges, Edge::new(&need, EdgeReason::Output));
        }
        edges.iter().for_each(|edge| waited_for[edge.stage] = true);
        last.push(at);
        all.push(edges);
    }
    all
}

impl Edge {
    /// `None` for a need on `checkout`, which is no node of the graph.
    fn new(need: &Need, by: EdgeReason) -> Option<Self> {
        Some(Self { stage: need.stage?, by, must: need.must, span: need.span })
    }
}

/// Adds an edge, or makes the one that is there stricter.
fn add(edges: &mut Vec<Edge>, new: Option<Edge>) {
    let Some(new) = new else { return };
    match edges.iter_mut().find(|edge| edge.stage == new.stage) {
        Some(edge) => edge.must |= new.must,
        None => edges.push(new),
    }
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

/// One shortest cycle of each knot, as stages of which each needs the next.
fn cycles(needs: &[Vec<Edge>]) -> Vec<Vec<usize>> {
    let edges = needs
        .iter()
        .enumerate()
        .flat_map(|(user, edges)| edges.iter().map(move |edge| (narrow(user), narrow(edge.stage))));
    let mut graph: DiGraph<(), ()> = DiGraph::from_edges(edges);
    while graph.node_count() < needs.len() {
        graph.add_node(());
    }
    let mut cycles: Vec<_> = tarjan_scc(&graph)
        .into_iter()
        .filter(|knot| knot.len() > 1)
        .map(|knot| shortest(needs, &knot))
        .collect();
    cycles.sort();
    cycles
}

fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn shortest(needs: &[Vec<Edge>], knot: &[NodeIndex]) -> Vec<usize> {
    let mut inside = vec![false; needs.len()];
    knot.iter().for_each(|node| inside[node.index()] = true);
    let first = knot.iter().map(|node| node.index()).min().unwrap_or(0);
    let mut came_from: HashMap<usize, usize> = HashMap::new();
    let mut waiting = VecDeque::from([first]);
    while let Some(at) = waiting.pop_front() {
        for edge in needs[at].iter().filter(|edge| inside[edge.stage]) {
            if edge.stage == first {
                let mut path = vec![at];
                while let Some(before) = path.last().and_then(|last| came_from.get(last)) {
                    path.push(*before);
                }
                path.reverse();
                return path;
            }
            if let Entry::Vacant(unseen) = came_from.entry(edge.stage) {
                unseen.insert(at);
                waiting.push_back(edge.stage);
            }
        }
    }
    vec![first]
}

fn tell(cycle: &[usize], stages: &[Draft], needs: &[Vec<Edge>], sources: &Sources) -> Diagnostic {
    let edge_of = |position: usize| {
        let next = cycle[(position + 1) % cycle.len()];
        needs[cycle[position]].iter().find(|edge| edge.stage == next)
    };
    // Printed in the order in which they would run: each waits for the one before.
    let mut path = Vec::new();
    for position in std::iter::once(0).chain((0..cycle.len()).rev()) {
        let name = &stages[cycle[position]].name;
        let place = edge_of(position).map_or_else(String::new, |edge| sources.short(edge.span));
        path.push(format!("{name} ({place})"));
    }
    let written = (0..cycle.len()).filter_map(|position| Some((position, edge_of(position)?)));
    let mut written = written.collect::<Vec<_>>();
    // An edge that somebody wrote is easier to remove than one of the file's order.
    written.sort_by_key(|(position, edge)| (edge.by == EdgeReason::Order, *position));
    let first = edge_of(0).map_or(stages[cycle[0]].span, |edge| edge.span);
    let mut diagnostic = Diagnostic::error(Code::E021, "stages wait for each other")
        .at(sources.place(first))
        .without_excerpt()
        .note(path.join(" -> "));
    if let Some((position, edge)) = written.first() {
        let user = &stages[cycle[*position]].name;
        let need = &stages[edge.stage].name;
        let place = sources.short(edge.span);
        diagnostic = diagnostic.help(match edge.by {
            EdgeReason::Needs => format!(
                "remove one edge, for example `{need}` from the needs of `{user}` at {place}"
            ),
            EdgeReason::Before => format!("remove one edge, for example the `before` at {place}"),
            EdgeReason::Output => {
                format!("move `{user}` below `{need}`, whose image it uses at {place}")
            }
            EdgeReason::Order => format!("give `{user}` at {place} its own `needs`"),
        });
    }
    diagnostic
}
