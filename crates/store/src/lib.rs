//! Rows: what a server or a laptop remembers, in one SQLite file.
//!
//! [`Store`] is a cheap handle; a file per table adds its methods. Events are
//! the truth: an append writes them, the columns derived from them
//! ([`projection`]), and the mails they cause in one transaction, and returns
//! when that is durable. Output of stages is files and never comes here.
//!
//! Statements use `$1` placeholders and what SQLite and PostgreSQL share, so
//! that the second database needs its migrations and little else. Time arrives
//! as a value, except where [`deploy::Ledger`] says "from now".
//!
//! The file holds what projects were given, hook secrets among it, as it is:
//! nobody but its owner may read it, and it is created so.

mod artifacts;
mod closures;
mod columns;
mod deployments;
mod error;
mod events;
mod groups;
mod heads;
mod incidents;
mod ledger;
mod locks;
mod meta;
mod migrations;
mod open;
mod ops;
mod outbox;
mod projection;
mod projects;
mod queue;
mod releases;
mod results;
mod runs;
mod store;
mod test_cases;
mod triggers;

#[cfg(test)]
mod samples;

pub use artifacts::ArtifactRow;
pub use closures::{Closing, Closure};
pub use error::{StoreError, is_full};
pub use events::AppendError;
pub use heads::{Heads, Moved, moved};
pub use incidents::IncidentRow;
pub use locks::Held;
pub use open::OpenError;
pub use ops::OpRow;
pub use outbox::{OutboxRow, OutboxState, QueuedMail, Retry};
pub use projects::{CreateProjectError, NewProject, Project};
pub use queue::{NewRun, QueueError};
pub use results::PassKey;
pub use runs::{RunRow, RunStatus};
pub use store::Store;
pub use test_cases::{PastTest, TestFilter, TestRow};
pub use triggers::{NewTrigger, Recorded, Trigger, TriggerId, Verdict};
