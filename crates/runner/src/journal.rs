//! Where the dispatcher writes what it decided.

use async_trait::async_trait;
use event::{Event, RunId, TestCase};

/// Remembers the events of runs. Contract:
/// - `append` returns only when all of `events` are durable, all or none.
/// - `events` carry consecutive `seq`; an append whose first `seq` is not the
///   next of its stream is refused with [`JournalError::Conflict`] and changes
///   nothing, so that two deciders cannot both win.
#[async_trait]
pub trait Journal: Send + Sync {
    async fn append(&self, events: &[Event]) -> Result<(), JournalError>;

    /// Keeps the tests of an attempt, in place of those kept of it before; durable
    /// like an append, before the event that sums them up.
    async fn keep_tests(
        &self,
        run: RunId,
        stage: &str,
        attempt: u32,
        cases: &[TestCase],
    ) -> Result<(), JournalError>;
}

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("event {seq} was already written by somebody else")]
    Conflict { seq: u64 },
    #[error("events could not be written")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}
