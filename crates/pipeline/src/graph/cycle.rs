//! Cycles: stages that wait for each other (E021).

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::Edge;
use crate::EdgeReason;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::lower::Draft;
use crate::source::Sources;

/// One shortest cycle of each knot, as stages of which each needs the next.
pub(super) fn cycles(needs: &[Vec<Edge>]) -> Vec<Vec<usize>> {
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

/// The error about one cycle, with every edge of it.
pub(super) fn tell(
    cycle: &[usize],
    stages: &[Draft],
    needs: &[Vec<Edge>],
    sources: &Sources,
) -> Diagnostic {
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
