//! What an attempt used, and what it may: for people, and for what it ran out of.

/// A limit, and how near the attempt came to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// `None` where nobody could tell.
    pub peak: Option<u64>,
    pub limit: Option<u64>,
}

/// What an attempt used at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes, with what the kernel keeps of files.
    pub memory: Use,
    /// Processes and threads.
    pub pids: Use,
    /// There were to be more of them than the limit allows.
    pub pids_refused: bool,
    /// Places without room when it ended, and what they hold in bytes.
    pub full: Vec<(String, u64)>,
}
