/// What of a run is likely to be started yet: for thinking ahead, and a promise of nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coming {
    /// Stages that are one container each, without services.
    pub stages: usize,
    /// Those of them that cannot turn out to be unchanged.
    pub sure: usize,
    /// How many of them may run beside each other.
    pub at_once: usize,
}
