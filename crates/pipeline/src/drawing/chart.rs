//! The stages of a plan and the lines between them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use crate::plan::{Decision, EdgeReason, Plan, PlannedStage};

/// Which cells of a matrix stand as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fold {
    /// Each cell stands alone.
    Never,
    /// Cells that are alike, or many.
    Alike,
    /// All cells of a stage.
    Always,
}

/// More cells than this stand as one, also when they are not alike.
const CELLS_APART: usize = 8;

/// A need on a stage with more cells than this is drawn as one.
const LINKED_CELLS: usize = 64;

pub(super) struct Chart<'a> {
    pub(super) plan: &'a Plan,
    /// Each after those it waits for.
    pub(super) nodes: Vec<Node<'a>>,
}

/// A stage, a cell, or all cells of a stage.
pub(super) struct Node<'a> {
    pub(super) name: &'a str,
    pub(super) cells: Vec<&'a PlannedStage>,
    pub(super) links: Vec<Link>,
}

/// What a node waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Index of the node that must finish.
    pub(super) from: usize,
    pub(super) by: EdgeReason,
    /// A skipped need skips this stage, too.
    pub(super) must: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Run,
    /// Decided when other stages have finished.
    Later,
    Skip,
    /// Cells of different states.
    Mixed,
}

impl State {
    pub(super) fn of(stage: &PlannedStage) -> Self {
        match stage.state {
            Decision::Skip => Self::Skip,
            Decision::Run if stage.deferred.is_empty() => Self::Run,
            Decision::Run => Self::Later,
        }
    }

    pub(super) const fn mark(self) -> char {
        match self {
            Self::Run => '●',
            Self::Later => '◌',
            Self::Skip => '○',
            Self::Mixed => '◐',
        }
    }

    /// The word of a class and of a legend.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Run => "runs",
            Self::Later => "decided later",
            Self::Skip => "skipped",
            Self::Mixed => "cells differ",
        }
    }
}

impl<'a> Node<'a> {
    pub(super) fn state(&self) -> State {
        let mut states = self.cells.iter().map(|cell| State::of(cell));
        let first = states.next().unwrap_or(State::Run);
        if states.all(|state| state == first) { first } else { State::Mixed }
    }

    pub(super) fn is_folded(&self) -> bool {
        self.cells.len() > 1
    }

    /// `unit-test`, and `unit-test ×4` for four cells.
    pub(super) fn title(&self) -> String {
        match self.cells.len() {
            1 => self.name.to_owned(),
            cells => format!("{} ×{cells}", self.name),
        }
    }

    /// The stage, or the first of its cells.
    pub(super) fn first(&self) -> Option<&'a PlannedStage> {
        self.cells.first().copied()
    }
}

impl<'a> Chart<'a> {
    pub(super) fn new(plan: &'a Plan, fold: Fold) -> Self {
        let groups = grouped(plan, fold);
        // An edge names a cell, or a stage for all its cells.
        let mut groups_of: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, group) in groups.iter().enumerate() {
            for name in group.iter().flat_map(|cell| [&cell.name, &cell.stage]) {
                let known = groups_of.entry(name).or_default();
                if known.last() != Some(&index) {
                    known.push(index);
                }
            }
        }
        let mut links: Vec<Vec<Link>> = Vec::with_capacity(groups.len());
        for (index, group) in groups.iter().enumerate() {
            let mut own: BTreeMap<usize, Link> = BTreeMap::new();
            for edge in group.iter().flat_map(|cell| &cell.needs) {
                // A plan of another version may name what it does not hold.
                let Some(from) = groups_of.get(edge.stage.as_str()) else { continue };
                // The last of very many cells stands for all: each of ten thousand
                // after each of ten thousand are more lines than can be drawn.
                let first = if from.len() > LINKED_CELLS { from.len() - 1 } else { 0 };
                for from in from[first..].iter().copied().filter(|from| *from != index) {
                    let link = Link { from, by: edge.by, must: edge.must_run() };
                    own.entry(from).or_insert(link).must |= link.must;
                }
            }
            links.push(own.into_values().collect());
        }
        let order = order(&links);
        let mut place = vec![0; groups.len()];
        for (new, old) in order.iter().enumerate() {
            place[*old] = new;
        }
        let mut groups: Vec<_> = groups.into_iter().map(Some).collect();
        let nodes = order.iter().map(|old| {
            let cells = groups[*old].take().unwrap_or_default();
            let mut links = std::mem::take(&mut links[*old]);
            for link in &mut links {
                link.from = place[link.from];
            }
            links.sort_by_key(|link| link.from);
            let name = match cells.as_slice() {
                [only] => only.name.as_str(),
                [first, ..] => first.stage.as_str(),
                [] => "",
            };
            Node { name, cells, links }
        });
        Self { plan, nodes: nodes.collect() }
    }

    /// The links of each node that no chain of other links says already, and those
    /// that skip it.
    pub(super) fn told(&self) -> Vec<Vec<Link>> {
        self.reduced(|link| link.must)
    }

    /// The links without which the order would be another.
    pub(super) fn least(&self) -> Vec<Vec<Link>> {
        self.reduced(|_| false)
    }

    fn reduced(&self, keep: impl Fn(&Link) -> bool) -> Vec<Vec<Link>> {
        let mut above: Vec<Set> = Vec::with_capacity(self.nodes.len());
        let mut reduced = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let mut reached = Set::new(self.nodes.len());
            let mut kept = Vec::new();
            // The nearest first: whatever it waits for need not be said again.
            for link in node.links.iter().rev() {
                if !reached.has(link.from) || keep(link) {
                    kept.push(*link);
                }
                reached.join(&above[link.from]);
                reached.add(link.from);
            }
            kept.reverse();
            reduced.push(kept);
            above.push(reached);
        }
        reduced
    }

    /// How many stages and cells there are in each state.
    pub(super) fn count(stages: impl IntoIterator<Item = &'a PlannedStage>) -> [usize; 3] {
        let mut count = [0; 3];
        for stage in stages {
            count[match State::of(stage) {
                State::Run | State::Mixed => 0,
                State::Later => 1,
                State::Skip => 2,
            }] += 1;
        }
        count
    }
}

/// `5 run, 1 decided later, 2 skipped`; what there is none of is left out.
pub(super) fn counted([run, later, skip]: [usize; 3]) -> String {
    let words = [(run, "run"), (later, "decided later"), (skip, "skipped")];
    let parts = words.iter().filter(|(count, _)| *count > 0);
    parts.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

fn grouped(plan: &Plan, fold: Fold) -> Vec<Vec<&PlannedStage>> {
    let mut cells: BTreeMap<&str, Vec<&PlannedStage>> = BTreeMap::new();
    for stage in &plan.stages {
        cells.entry(&stage.stage).or_default().push(stage);
    }
    let together = |cells: &[&PlannedStage]| match fold {
        Fold::Never => false,
        Fold::Always => true,
        Fold::Alike => cells.len() > CELLS_APART || alike(cells),
    };
    let mut told: BTreeSet<&str> = BTreeSet::new();
    let mut groups = Vec::new();
    for stage in &plan.stages {
        let own = &cells[stage.stage.as_str()];
        if !together(own) {
            groups.push(vec![stage]);
        } else if told.insert(&stage.stage) {
            groups.push(own.clone());
        }
    }
    groups
}

/// Nothing is lost when these cells are told together.
fn alike(cells: &[&PlannedStage]) -> bool {
    cells.windows(2).all(|pair| {
        let [one, other] = pair else { return true };
        one.state == other.state
            && one.reason == other.reason
            && one.deferred == other.deferred
            && one.needs == other.needs
    })
}

/// Each node after those it waits for, otherwise as they came.
fn order(links: &[Vec<Link>]) -> Vec<usize> {
    let mut waiting: Vec<usize> = links.iter().map(Vec::len).collect();
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); links.len()];
    for (node, links) in links.iter().enumerate() {
        for link in links {
            after[link.from].push(node);
        }
    }
    let free = waiting.iter().enumerate().filter(|(_, count)| **count == 0);
    let mut ready: BinaryHeap<Reverse<usize>> = free.map(|(node, _)| Reverse(node)).collect();
    let mut order = Vec::with_capacity(links.len());
    while let Some(Reverse(node)) = ready.pop() {
        order.push(node);
        for next in &after[node] {
            waiting[*next] -= 1;
            if waiting[*next] == 0 {
                ready.push(Reverse(*next));
            }
        }
    }
    order
}

/// Indices of nodes, one bit each.
#[derive(Clone)]
struct Set(Vec<u64>);

impl Set {
    fn new(size: usize) -> Self {
        Self(vec![0; size.div_ceil(64)])
    }

    fn has(&self, index: usize) -> bool {
        self.0[index / 64] >> (index % 64) & 1 == 1
    }

    fn add(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    fn join(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(&other.0) {
            *own |= other;
        }
    }
}
