//! Where the boxes of a drawing stand: in layers, with few lines that cross.
//!
//! The layer of a node is the length of the longest way to it. A line over
//! several layers bends in each of them, and bends are ordered and placed as
//! nodes are, so that lines do not run through boxes. Only sums, products and
//! quotients are computed, in one order: the same chart gives the same numbers.

use super::chart::Link;

pub(super) struct Layout {
    /// Of each node.
    pub(super) places: Vec<Place>,
    pub(super) routes: Vec<Route>,
    pub(super) layers: usize,
    /// From the first to the last place across the layers.
    pub(super) span: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Place {
    pub(super) layer: usize,
    /// Across the layers; two boxes are at least 1 apart.
    pub(super) across: f64,
}

/// A line with its bends, from the first to the last.
pub(super) struct Route {
    pub(super) to: usize,
    pub(super) link: Link,
    pub(super) bends: Vec<Place>,
}

/// With more bends than this, long lines are drawn straight.
const BENDS: usize = 20_000;
/// Times the order is improved; more changes little.
const SWEEPS: usize = 12;
/// How far a bend keeps from its neighbours.
const BEND_APART: f64 = 0.35;

/// Places nodes of which each comes after those it is linked to.
pub(super) fn layout(links: &[Vec<Link>]) -> Layout {
    let mut grid = Grid::new(links);
    grid.order();
    grid.place();
    grid.finish(links.len())
}

/// Nodes and bends, each with a number; nodes have the first ones.
struct Grid {
    layer_of: Vec<usize>,
    /// Numbers by layer, in their order across it.
    layers: Vec<Vec<usize>>,
    /// Neighbours in the layer before and in the one after.
    before: Vec<Vec<usize>>,
    after: Vec<Vec<usize>>,
    across: Vec<f64>,
    nodes: usize,
    /// Target, link, and the numbers of the bends.
    routes: Vec<(usize, Link, Vec<usize>)>,
}

impl Grid {
    fn new(links: &[Vec<Link>]) -> Self {
        let nodes = links.len();
        let mut layer_of = vec![0; nodes];
        for (node, links) in links.iter().enumerate() {
            let far = links.iter().map(|link| layer_of[link.from] + 1).max();
            layer_of[node] = far.unwrap_or(0);
        }
        let depth = layer_of.iter().max().map_or(0, |last| last + 1);
        let mut grid = Self {
            layers: vec![Vec::new(); depth],
            before: vec![Vec::new(); nodes],
            after: vec![Vec::new(); nodes],
            across: Vec::new(),
            nodes,
            routes: Vec::new(),
            layer_of,
        };
        for node in 0..nodes {
            grid.layers[grid.layer_of[node]].push(node);
        }
        let between = |link: &Link, node: usize| grid.layer_of[node] - grid.layer_of[link.from] - 1;
        let all = links.iter().enumerate();
        let bends: usize =
            all.flat_map(|(node, links)| links.iter().map(move |link| between(link, node))).sum();
        for (node, links) in links.iter().enumerate() {
            for link in links {
                let bends = if bends <= BENDS { grid.bend(link, node) } else { Vec::new() };
                grid.routes.push((node, *link, bends));
            }
        }
        grid
    }

    /// Adds the bends of a line, and joins them and its ends.
    fn bend(&mut self, link: &Link, to: usize) -> Vec<usize> {
        let mut bends = Vec::new();
        let mut last = link.from;
        for layer in self.layer_of[link.from] + 1..self.layer_of[to] {
            let bend = self.layer_of.len();
            self.layer_of.push(layer);
            self.layers[layer].push(bend);
            self.before.push(vec![last]);
            self.after.push(Vec::new());
            self.after[last].push(bend);
            bends.push(bend);
            last = bend;
        }
        self.after[last].push(to);
        self.before[to].push(last);
        bends
    }

    /// Sorts each layer by the middle of its neighbours, forth and back, and keeps
    /// the order with the fewest crossings. Equals stay in the order of the file.
    fn order(&mut self) {
        let mut rank = vec![0.0; self.layer_of.len()];
        let number = |layers: &[Vec<usize>], rank: &mut Vec<f64>| {
            for layer in layers {
                for (index, item) in layer.iter().enumerate() {
                    rank[*item] = as_real(index);
                }
            }
        };
        number(&self.layers, &mut rank);
        let mut best = (self.crossings(), self.layers.clone());
        for sweep in 0..SWEEPS {
            if best.0 == 0 {
                break;
            }
            let forth = sweep % 2 == 0;
            for step in 1..self.layers.len() {
                let at = if forth { step } else { self.layers.len() - 1 - step };
                let neighbours = if forth { &self.before } else { &self.after };
                let middle = |item: &usize| match neighbours[*item].as_slice() {
                    [] => rank[*item],
                    some => {
                        some.iter().map(|other| rank[*other]).sum::<f64>() / as_real(some.len())
                    }
                };
                let mut layer: Vec<(f64, usize)> =
                    self.layers[at].iter().map(|item| (middle(item), *item)).collect();
                layer.sort_by(|a, b| a.0.total_cmp(&b.0));
                self.layers[at] = layer.into_iter().map(|(_, item)| item).collect();
                for (index, item) in self.layers[at].iter().enumerate() {
                    rank[*item] = as_real(index);
                }
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.layers.clone());
            }
        }
        self.layers = best.1;
    }

    /// How many lines between neighbouring layers cross.
    fn crossings(&self) -> usize {
        let mut rank = vec![0; self.layer_of.len()];
        for layer in &self.layers {
            for (index, item) in layer.iter().enumerate() {
                rank[*item] = index;
            }
        }
        let mut crossings = 0;
        for pair in self.layers.windows(2) {
            let [from, to] = pair else { continue };
            // Counts, for each line, those before it that end further on.
            let mut ends = vec![0_usize; to.len() + 1];
            let mut seen = 0;
            for item in from {
                let mut own: Vec<usize> =
                    self.after[*item].iter().map(|other| rank[*other]).collect();
                own.sort_unstable();
                for end in &own {
                    let mut at = end + 1;
                    let mut up_to = 0;
                    while at > 0 {
                        up_to += ends[at];
                        at -= at & at.wrapping_neg();
                    }
                    crossings += seen - up_to;
                }
                for end in own {
                    seen += 1;
                    let mut at = end + 1;
                    while at < ends.len() {
                        ends[at] += 1;
                        at += at & at.wrapping_neg();
                    }
                }
            }
        }
        crossings
    }

    /// Moves everything towards the middle of its neighbours, as far as the order
    /// and the distances allow.
    fn place(&mut self) {
        self.across = vec![0.0; self.layer_of.len()];
        for at in 0..self.layers.len() {
            self.settle(at, |_, index| as_real(index));
        }
        for sweep in 0..SWEEPS {
            for step in 1..self.layers.len() {
                let forth = sweep % 2 == 0;
                let at = if forth { step } else { self.layers.len() - 1 - step };
                self.settle(at, |grid, item| {
                    let own = if forth { &grid.before } else { &grid.after };
                    grid.middle(item, own[item].iter().copied())
                });
            }
        }
        for at in 0..self.layers.len() {
            self.settle(at, |grid, item| {
                let both = grid.before[item].iter().chain(&grid.after[item]);
                grid.middle(item, both.copied())
            });
        }
        let least = self.across.iter().copied().fold(f64::INFINITY, f64::min);
        for across in &mut self.across {
            *across -= least;
        }
    }

    /// The middle of some neighbours; a line between bends is kept straight most of all.
    fn middle(&self, item: usize, neighbours: impl Iterator<Item = usize>) -> f64 {
        let (mut sum, mut weights) = (0.0, 0.0);
        for other in neighbours {
            let weight = match (item < self.nodes, other < self.nodes) {
                (true, true) => 1.0,
                (false, false) => 8.0,
                _ => 2.0,
            };
            sum += self.across[other] * weight;
            weights += weight;
        }
        if weights > 0.0 { sum / weights } else { self.across[item] }
    }

    /// Puts the items of a layer where they are wanted, or as near as their
    /// distances allow: items that would come too close move as one block.
    fn settle(&mut self, at: usize, wanted: impl Fn(&Self, usize) -> f64) {
        struct Block {
            sum: f64,
            items: usize,
        }
        let mut offsets = Vec::with_capacity(self.layers[at].len());
        let mut blocks: Vec<Block> = Vec::new();
        let mut offset = 0.0;
        for (index, item) in self.layers[at].iter().enumerate() {
            if index > 0 {
                offset += self.apart(self.layers[at][index - 1], *item);
            }
            offsets.push(offset);
            let mut block = Block { sum: wanted(self, *item) - offset, items: 1 };
            while let Some(last) = blocks.last() {
                if last.sum / as_real(last.items) <= block.sum / as_real(block.items) {
                    break;
                }
                block.sum += last.sum;
                block.items += last.items;
                blocks.pop();
            }
            blocks.push(block);
        }
        let mut index = 0;
        for block in blocks {
            let place = block.sum / as_real(block.items);
            for _ in 0..block.items {
                let item = self.layers[at][index];
                self.across[item] = place + offsets[index];
                index += 1;
            }
        }
    }

    fn apart(&self, one: usize, other: usize) -> f64 {
        match (one < self.nodes, other < self.nodes) {
            (true, true) => 1.0,
            (false, false) => BEND_APART,
            _ => 0.5 + BEND_APART / 2.0,
        }
    }

    fn finish(self, nodes: usize) -> Layout {
        let place = |item: usize| Place { layer: self.layer_of[item], across: self.across[item] };
        let places = (0..nodes).map(place).collect();
        let span = self.across.iter().copied().fold(0.0, f64::max);
        let routes = self.routes.iter().map(|(to, link, bends)| Route {
            to: *to,
            link: *link,
            bends: bends.iter().map(|bend| place(*bend)).collect(),
        });
        Layout { places, routes: routes.collect(), layers: self.layers.len(), span }
    }
}

fn as_real(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
