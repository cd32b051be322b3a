//! Which layer of a run lies above which, and which pairs run in parallel.
//!
//! Only the heads below each layer are remembered: all further ones follow from
//! theirs, and chains are long.

use std::collections::{HashMap, HashSet};

use crate::backend::LayerId;

#[derive(Default)]
pub(super) struct Lineage {
    layers: HashMap<LayerId, Layer>,
    /// Pairs of parallel layers that were compared and agree.
    compared: HashSet<(LayerId, LayerId)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) stage: String,
    /// That held its view; what another process made has been removed with it.
    pub(super) container: Option<String>,
    /// The newest of those below: none of them lies below another.
    pub(super) heads: Vec<LayerId>,
}

impl Lineage {
    pub(super) fn add(&mut self, id: LayerId, layer: Layer) {
        self.layers.insert(id, layer);
    }

    pub(super) fn get(&self, id: LayerId) -> Option<&Layer> {
        self.layers.get(&id)
    }

    /// Returns the layers of `lower`, newest first, that lie below no other of it.
    pub(super) fn heads(&self, lower: &[LayerId]) -> Vec<LayerId> {
        let mut covered = HashSet::new();
        let mut heads = Vec::new();
        for &layer in lower {
            if !covered.contains(&layer) {
                heads.push(layer);
                self.cover(layer, &mut covered);
            }
        }
        heads
    }

    /// Returns the layer and all below it.
    pub(super) fn closure(&self, of: LayerId) -> HashSet<LayerId> {
        let mut covered = HashSet::new();
        self.cover(of, &mut covered);
        covered
    }

    fn cover(&self, from: LayerId, covered: &mut HashSet<LayerId>) {
        let mut pending = vec![from];
        while let Some(layer) = pending.pop() {
            if covered.insert(layer)
                && let Some(known) = self.layers.get(&layer)
            {
                pending.extend(&known.heads);
            }
        }
    }

    /// Returns the pairs that are joined by `lower` for the first time: what lies
    /// below one head was joined when that head began.
    pub(super) fn new_pairs(&self, lower: &[LayerId]) -> Vec<(LayerId, LayerId)> {
        let heads: Vec<HashSet<LayerId>> =
            self.heads(lower).into_iter().map(|head| self.closure(head)).collect();
        let mut pairs = HashSet::new();
        for (position, first) in heads.iter().enumerate() {
            for second in &heads[position + 1..] {
                for &a in first.difference(second) {
                    for &b in second.difference(first) {
                        pairs.insert((a.min(b), a.max(b)));
                    }
                }
            }
        }
        let mut pairs: Vec<_> = pairs.difference(&self.compared).copied().collect();
        pairs.sort_unstable();
        pairs
    }

    pub(super) fn agree(&mut self, pairs: Vec<(LayerId, LayerId)>) {
        self.compared.extend(pairs);
    }
}

#[cfg(test)]
mod tests {
    use event::RunId;

    use super::*;

    fn id(index: u32) -> LayerId {
        LayerId { run: RunId::new(uuid::Uuid::nil()), index, attempt: 1 }
    }

    /// Adds layers as stages begin: each with all below it, newest first.
    fn lineage(layers: &[(u32, &[u32])]) -> Lineage {
        let mut lineage = Lineage::default();
        for (index, lower) in layers {
            let lower: Vec<LayerId> = lower.iter().copied().map(id).collect();
            let heads = lineage.heads(&lower);
            lineage.add(id(*index), Layer { stage: index.to_string(), container: None, heads });
        }
        lineage
    }

    fn pairs(lineage: &Lineage, lower: &[u32]) -> Vec<(u32, u32)> {
        let lower: Vec<LayerId> = lower.iter().copied().map(id).collect();
        lineage.new_pairs(&lower).iter().map(|(a, b)| (a.index, b.index)).collect()
    }

    #[test]
    fn a_chain_has_one_head_and_nothing_to_compare() {
        let lineage = lineage(&[(0, &[]), (1, &[0]), (2, &[1, 0])]);
        assert_eq!(lineage.get(id(2)).unwrap().heads, [id(1)]);
        assert_eq!(pairs(&lineage, &[2, 1, 0]), []);
        assert_eq!(lineage.closure(id(2)).len(), 3);
    }

    #[test]
    fn branches_are_compared_in_all_their_layers() {
        // 1 and 2 need 0; 3 needs 1.
        let lineage = lineage(&[(0, &[]), (1, &[0]), (2, &[0]), (3, &[1, 0])]);
        assert_eq!(pairs(&lineage, &[3, 2, 1, 0]), [(1, 2), (2, 3)]);
    }

    #[test]
    fn what_was_joined_below_is_not_compared_again() {
        let mut lineage = lineage(&[(0, &[]), (1, &[0]), (2, &[0]), (3, &[2, 1, 0])]);
        assert_eq!(pairs(&lineage, &[3, 2, 1, 0]), []);
        assert_eq!(pairs(&lineage, &[2, 1, 0]), [(1, 2)]);
        lineage.agree(vec![(id(1), id(2))]);
        assert_eq!(pairs(&lineage, &[2, 1, 0]), []);
    }
}
