//! A plan becomes events, on a backend.
//!
//! [`run`] is one dispatcher, a loop around the pure [`decide`], and one executor
//! task per attempt. The dispatcher is the only writer of a run's events; an
//! effect leaves only after its event is durable. A failing stage is data; an
//! `Err` means that the engine or Docker broke, and says which.

pub mod backend;
mod config;
mod journal;
mod registry;

pub use config::{Observation, RunConfig, SideEffects, Workspace};
pub use journal::{Journal, JournalError};
pub use registry::{Registries, Registry};
