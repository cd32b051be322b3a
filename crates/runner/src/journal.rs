//! Where the dispatcher writes what it decided.

use async_trait::async_trait;
use event::group::{GroupEntry, Queue};
use event::{Event, RunId, TestCase};

/// Remembers the events of runs. Contract:
/// - `append` returns only when all of `events` are durable, all or none.
/// - `events` carry consecutive `seq`; an append whose first `seq` is not the
///   next of its stream is refused with [`JournalError::Conflict`] and changes
///   nothing, so that two deciders cannot both win.
#[async_trait]
pub trait Journal: Send + Sync {
    async fn append(&self, events: &[Event]) -> Result<(), JournalError>;

    /// Takes a place in a concurrency group, or in the queue before it; `None` is that the
    /// entry holds the group. Who waits asks again, and what a run has goes with its last
    /// event.
    async fn enter_group(&self, entry: &GroupEntry) -> Result<Option<Queue>, JournalError>;

    /// Gives a place up, held or waited for; again changes nothing.
    async fn leave_group(&self, entry: &GroupEntry) -> Result<(), JournalError>;

    /// The run that came with `on-new: cancel-running` while this entry held its group.
    async fn superseded(&self, entry: &GroupEntry) -> Result<Option<RunId>, JournalError>;

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
