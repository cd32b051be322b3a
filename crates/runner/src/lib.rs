//! A plan becomes events, on a backend.
//!
//! [`run`] is one dispatcher, a loop around the pure [`decide()`], and one executor
//! task per attempt. The dispatcher is the only writer of a run's events; an
//! effect leaves only after its event is durable. A failing stage is data; an
//! `Err` means that the journal or the plan broke, and says which.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod aftermath;
mod archive;
mod artifacts;
pub mod backend;
mod caches;
mod causes;
mod clock;
mod codes;
mod config;
mod container_stage;
mod decide;
mod deploy_stage;
mod dispatcher;
mod environment;
mod executor;
mod files;
pub mod git;
mod image_stage;
mod journal;
mod junit;
mod limit;
mod masker;
pub mod output;
mod outputs;
mod registry;
mod reports;
mod resolved;
mod retry;
mod run;
mod schedule;
mod secrets;
mod size;
mod support;
pub mod template;
#[doc(hidden)]
pub mod testing;
mod verdict;
mod when;

pub use archive::{ExtractError, extract};
pub use artifacts::artifact_path;
pub use causes::causes;
pub use codes::{CATALOGUE, explain};
pub use config::{
    CACHE_LIMIT, CancelNote, Observation, RunConfig, Secrets, SideEffects, Workspace,
};
pub use decide::{Effect, WITHHELD, decide};
pub use environment::WORKSPACE;
pub use journal::{Journal, JournalError};
pub use masker::{Masked, MaskedStream, Masker};
pub use output::{Frames, OUTPUT_LIMIT, follow, log_path, read_frames};
pub use registry::{Registries, Registry};
pub use run::{Outcome, RunError, run};
pub use schedule::{Intake, Schedule, ScheduleError};
pub use size::text as size_text;
pub use support::{Unsupported, unsupported};

#[cfg(test)]
mod tests;
