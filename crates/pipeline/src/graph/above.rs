//! All stages above a stage, however indirectly it needs them.

use super::Edge;

/// A bit for each pair of stages.
pub(crate) struct Above {
    words: usize,
    bits: Vec<u64>,
}

impl Above {
    /// `order` is topological; `follow` says which edges count.
    pub(crate) fn new(
        needs: &[Vec<Edge>],
        order: &[usize],
        follow: impl Fn(&Edge) -> bool,
    ) -> Self {
        let words = needs.len().div_ceil(64);
        let mut above = Self { words, bits: vec![0; words * needs.len()] };
        let mut row = vec![0; words];
        for stage in order {
            row.fill(0);
            for edge in needs[*stage].iter().filter(|edge| follow(edge)) {
                // An edge that another one implies adds nothing.
                if row[edge.stage / 64] & (1 << (edge.stage % 64)) == 0 {
                    let theirs = &above.bits[edge.stage * words..][..words];
                    row.iter_mut().zip(theirs).for_each(|(own, theirs)| *own |= theirs);
                    row[edge.stage / 64] |= 1 << (edge.stage % 64);
                }
            }
            above.bits[stage * words..][..words].copy_from_slice(&row);
        }
        above
    }

    /// Whether `stage` needs `need`, directly or not.
    pub(crate) fn has(&self, stage: usize, need: usize) -> bool {
        self.bits[stage * self.words + need / 64] & (1 << (need % 64)) != 0
    }

    /// Everything `stage` needs, in the order of the file.
    pub(crate) fn of(&self, stage: usize) -> impl Iterator<Item = usize> {
        (0..self.words * 64)
            .filter(move |need| self.bits[stage * self.words + need / 64] & (1 << (need % 64)) != 0)
    }
}
