//! Which node stands below which, and which of them joins the branches again.

use std::collections::BTreeSet;

use crate::drawing::chart::Chart;

/// The node that everything a node waits for comes through, and its children.
pub(super) struct Tree {
    pub(super) parent: Vec<Option<usize>>,
    pub(super) children: Vec<Vec<usize>>,
    pub(super) roots: Vec<usize>,
}

impl Tree {
    pub(super) fn new(chart: &Chart<'_>) -> Self {
        let size = chart.nodes.len();
        let mut tree =
            Self { parent: vec![None; size], children: vec![Vec::new(); size], roots: Vec::new() };
        let mut depth = vec![0_usize; size];
        for (index, links) in chart.least().iter().enumerate() {
            // Nodes come after what they wait for, so their parents are known.
            let mut links = links.iter().map(|link| link.from);
            let mut common = links.next();
            for other in links {
                common = tree.meeting(common, Some(other), &depth);
            }
            tree.parent[index] = common;
            match common {
                Some(parent) => {
                    depth[index] = depth[parent] + 1;
                    tree.children[parent].push(index);
                }
                None => tree.roots.push(index),
            }
        }
        tree
    }

    /// The nearest node above both.
    fn meeting(
        &self,
        mut one: Option<usize>,
        mut other: Option<usize>,
        depth: &[usize],
    ) -> Option<usize> {
        while one != other {
            let (Some(left), Some(right)) = (one, other) else { return None };
            if depth[left] >= depth[right] {
                one = self.parent[left];
            }
            if depth[right] >= depth[left] {
                other = self.parent[right];
            }
        }
        one
    }
}

/// Whether a node waits, at last, for each of the other branches.
pub(super) fn joins(chart: &Chart<'_>, tree: &Tree, node: usize, others: &[usize]) -> bool {
    let top = tree.parent[node];
    let mut met: BTreeSet<usize> = BTreeSet::new();
    let mut open = vec![node];
    while let Some(at) = open.pop() {
        for link in &chart.nodes[at].links {
            // Up from what it waits for to the branch it belongs to.
            let mut branch = link.from;
            if Some(branch) == top {
                continue;
            }
            while tree.parent[branch] != top {
                let Some(parent) = tree.parent[branch] else { break };
                branch = parent;
            }
            if met.insert(branch) {
                open.push(branch);
            }
        }
    }
    others.iter().all(|other| met.contains(other))
}
