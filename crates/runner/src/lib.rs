//! A plan becomes events, on a backend.
//!
//! [`run`] is one dispatcher, a loop around the pure [`decide()`], and one executor
//! task per attempt. The dispatcher is the only writer of a run's events; an
//! effect leaves only after its event is durable. A failing stage is data; an
//! `Err` means that the journal or the plan broke, and says which.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod adopt;
mod aftermath;
mod approval;
mod archive;
mod artifacts;
pub mod backend;
mod breakpoint;
mod caches;
mod causes;
mod clock;
mod codes;
mod coming;
mod config;
mod container_checks;
mod container_stage;
#[cfg(feature = "crash-points")]
mod crash_points;
mod decide;
mod deploy_stage;
mod dispatcher;
mod environment;
mod executor;
mod exhausted;
mod files;
pub mod git;
mod groups;
mod image_stage;
mod journal;
mod junit;
mod limit;
mod masker;
pub mod output;
mod outputs;
mod registry;
mod release_files;
mod reports;
mod rerun;
mod resolved;
mod results;
mod retry;
mod run;
mod run_timeout;
mod scene;
mod schedule;
mod secrets;
mod services;
mod signal;
mod size;
mod standing;
mod support;
pub mod template;
#[doc(hidden)]
pub mod testing;
mod unchanged;
mod verdict;
mod when;

pub use approval::{Answer, Approver, Question};
pub use archive::{ExtractError, extract};
pub use artifacts::artifact_path;
pub use breakpoint::{AfterBreak, Breakpoint};
pub use causes::causes;
pub use codes::{CATALOGUE, explain};
pub use config::{
    CACHE_LIMIT, CancelNote, Carried, Observation, RunConfig, Secrets, SideEffects, Workspace,
};
pub use container_checks::ContainerChecks;
pub use decide::{Effect, WITHHELD, decide};
pub use deploy_stage::{Verification, specification, verification};
pub use environment::WORKSPACE;
pub use journal::{Journal, JournalError};
pub use masker::{Masked, MaskedStream, Masker};
pub use output::{Frames, OUTPUT_LIMIT, follow, log_path, read_frames};
pub use registry::{Registries, Registry};
pub use rerun::{carry, layer_of, layers as carried_layers, layers_below, resume};
pub use results::{FormerPass, ResultKey, Results};
pub use run::{Outcome, RunError, run};
pub use scene::{Scene, scene};
pub use schedule::{Intake, Schedule, ScheduleError};
pub use services::stage_of_log;
pub use size::text as size_text;
pub use support::{Unsupported, unsupported};

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
