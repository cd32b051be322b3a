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
mod course;
#[cfg(feature = "crash-points")]
mod crash_points;
mod drift;
mod engine;
mod fault;
pub mod finding;
mod health;
mod hold;
mod hosts;
mod journal;
mod keep;
mod last_good;
mod lease;
mod ledger;
mod lock;
mod marks;
mod name;
mod op;
mod order;
pub mod plan;
mod preflight;
mod preview;
mod prune;
mod recover;
mod rollback;
mod scope;
mod session;
mod spec;
mod standing;
mod suite;
mod switch;
mod target;
#[doc(hidden)]
pub mod testing;
mod undo;
mod verify;
mod warm;
mod watch;

#[cfg(test)]
mod tests;

pub use drift::{Drift, DriftKind, drift, drift_of};
pub use engine::{
    DeployError, Deployed, Limits, Policy, Progress, Request, Waiting, deploy, deploy_within,
};
pub use event::{Decision, Finding, Severity};
pub use finding::Check;
pub use hosts::HostPlace;
pub use keep::{KeepPolicy, KeepSet, Kept, Place, Pruned, keep_set};
pub use last_good::{
    ListedRelease, RollbackError, last_good, releases, rollback_image, rollback_spec,
};
pub use lease::{LeaseAnswer, LeaseAsk, LeaseHolder};
pub use ledger::{
    Deployment, DeploymentRecord, EnvironmentKey, Finish, Holding, Lease, Ledger, LedgerError,
    NewDeployment, Planned, Release,
};
pub use name::{DeploymentName, NameError};
pub use order::{Order, OrderError, Trace};
pub use plan::{Batch, Before, DeployPlan, plan, plan_for, unit_name};
pub use preview::{Preview, PreviewError, preview};
pub use recover::{recover, recover_within};
pub use scope::{Scope, ScopeError};
pub use spec::{Artifact, Spec, UnitSettings};
pub use standing::{
    Change, ChangeError, Settled, Standing, change_spec, resting, settle, standing,
};
pub use suite::{
    CheckLine, CheckRunner, CheckSettings, Commands, HttpStep, Ran, Reach, RunStep, Suites,
    UnknownSuite, VerifyStep, suites, verify_steps,
};
pub use switch::{SwitchAccess, SwitchCaps, forget as forget_switch};
pub use target::docker::{DockerTarget, EngineAccess, RegistryLogin};
pub use target::hosts::{
    Acceptance, Bootstrapped, HostAccess, HostKey, HostSettings, HostsAccess, HostsTarget,
    KeyState, Profile,
};
pub use target::process::{Machine, ProcessTarget};
pub use target::swarm::SwarmTarget;
pub use target::{
    Caps, ExecEnd, ExecInput, ExecOptions, LogChunk, LogOptions, LogSource, LogStream, Observed,
    ObservedUnit, Op, OpAction, OpOutcome, Target, TargetError, Terminal, UnitId, UnitState,
    remove_route,
};
pub use warm::sweep;
pub use watch::{
    Inspected, Known, Life, Look, Memory, Patience, Repair, RepairPace, RouteSeen, WATCHER,
    outdated, repair,
};
