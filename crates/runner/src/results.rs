//! What stages with `inputs` came to before: the result cache.

use std::path::PathBuf;

use async_trait::async_trait;
use event::{Artifact, Outputs, Reused, TestTotals};

use crate::JournalError;

/// What a result is known by. Runs of one trust level never see those of the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultKey {
    pub project: String,
    pub trusted: bool,
    /// With the cell.
    pub stage: String,
    /// Over everything that the result depends on.
    pub digest: String,
}

/// A pass that can stand for another one.
#[derive(Clone, Debug, PartialEq)]
pub struct FormerPass {
    pub reused: Reused,
    pub outputs: Outputs,
    pub artifacts: Vec<Artifact>,
    /// Where the archives of its artifacts lie.
    pub archives: PathBuf,
    pub tests: Option<TestTotals>,
}

/// Remembers passes. A result that is forgotten or cannot be read costs time, nothing else.
#[async_trait]
pub trait Results: Send + Sync {
    /// Returns the last pass of that key.
    async fn find(&self, key: &ResultKey) -> Result<Option<FormerPass>, JournalError>;

    /// Notes that a stage passed, which its run is about to say.
    async fn remember(&self, key: &ResultKey, pass: Reused) -> Result<(), JournalError>;

    /// Forgets a pass whose files are gone.
    async fn forget(&self, key: &ResultKey) -> Result<(), JournalError>;
}
