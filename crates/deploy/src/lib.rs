//! A release onto a target, undoably.
//!
//! Planning is a pure function of what is wanted and what was observed; acting
//! is idempotent ops, each with an undo, each written down before it is done
//! ([`Ledger`]); the world is known only by observation ([`Target::observe`]).
//!
//! - [`deploy()`] brings an environment to a [`Spec`], or leaves it as it was;
//! - [`rollback_spec()`] says where an explicit rollback goes: the same `deploy`;
//! - [`recover()`] ends what a crash left without an end.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod apply;
mod engine;
mod health;
mod journal;
mod last_good;
mod ledger;
mod lock;
mod op;
pub mod plan;
mod recover;
mod rollback;
mod session;
mod spec;
mod switch;
mod target;
#[doc(hidden)]
pub mod testing;
mod undo;
mod verify;

#[cfg(test)]
mod tests;

pub use engine::{DeployError, Deployed, Limits, Progress, Request, deploy, deploy_within};
pub use last_good::{RollbackError, last_good, releases, rollback_spec};
pub use ledger::{
    Deployment, DeploymentRecord, EnvironmentKey, Lease, Ledger, LedgerError, NewDeployment,
    Release,
};
pub use plan::{DeployPlan, plan, unit_name};
pub use recover::{recover, recover_within};
pub use spec::{Artifact, Spec};
pub use target::docker::{DockerTarget, RegistryLogin};
pub use target::{
    Caps, Observed, ObservedUnit, Op, OpAction, OpOutcome, Target, TargetError, UnitId, UnitState,
};
