//! A release onto a target, undoably.
//!
//! Planning is a pure function of what is wanted and what was observed; acting
//! is idempotent ops, each with an undo, each written down before it is done
//! ([`Ledger`]); the world is known only by observation ([`Target::observe`]).

mod ledger;
mod spec;
mod target;

pub use ledger::{
    Deployment, DeploymentRecord, EnvironmentKey, Lease, Ledger, LedgerError, NewDeployment,
    Release,
};
pub use spec::{Artifact, Spec};
pub use target::{
    Caps, Observed, ObservedUnit, Op, OpAction, OpOutcome, Target, TargetError, UnitId, UnitState,
};
