//! Sets of stages: of ten thousand stages, each one's own.

/// A set of stages.
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn none(stages: usize) -> Self {
        Self(vec![0; stages.div_ceil(64)])
    }

    pub(super) fn has(&self, index: usize) -> bool {
        self.0[index / 64] & (1 << (index % 64)) != 0
    }

    pub(super) fn add(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        for (own, theirs) in self.0.iter_mut().zip(&other.0) {
            *own |= theirs;
        }
    }
}
