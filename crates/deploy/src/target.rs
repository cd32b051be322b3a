//! The place units run: observed, and changed op by op.

#[cfg(test)]
mod contract;
pub mod docker;
mod driving;
pub mod hosts;
pub mod process;
mod stream;
pub mod swarm;
mod traffic;
mod waiting;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use async_trait::async_trait;
use event::{DeploymentId, ReleaseId};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use self::stream::{
    ExecEnd, ExecInput, ExecOptions, LogChunk, LogOptions, LogSource, LogStream, Terminal,
};
pub use self::traffic::remove_route;
use crate::{
    Artifact, EnvironmentKey, Finding, HostPlace, Inspected, KeepSet, LeaseAnswer, LeaseAsk,
    Pruned, Spec, SwitchCaps,
};

/// Changes what runs somewhere.
///
/// Contract:
/// - `observe` has no side effect and is safe at any time, also beside a
///   foreign deployment.
/// - `apply` called twice equals `apply` called once: names come from project,
///   environment, release, slot and deployment, so a repeat finds its own work.
/// - `undo` works after any outcome of `apply`, also after a crash inside it,
///   and twice equals once.
/// - `Err` means that the engine or the infrastructure broke. An unhealthy unit
///   is data: [`OpOutcome::Unhealthy`].
/// - Ops of one batch may run at once on different units, never on one unit.
/// - `Drain` takes the unit out of traffic first where it is still in it, so
///   that a slot can be given up without another unit taking over.
/// - `Stop` and `Remove` refuse a unit that traffic is still routed to; `Remove`,
///   and the undo of `Create`, wait for requests that one still has in flight.
/// - Cancellation ends waiting; it leaves the unit as `undo` expects it.
/// - Whatever is not of the environment is left alone.
/// - Where `lease` is kept, it is had by one deployment at a time and ends by itself; each
///   taking has a fence larger than all the target has seen of the environment, and from
///   then on a smaller one changes nothing. `renew` refuses with [`TargetError::Fenced`]
///   once somebody else took it; who renews late has it still if nobody did.
#[async_trait]
pub trait Target: Send + Sync {
    fn caps(&self) -> Caps;

    /// What the switch in front of the units can promise; `None` without one.
    fn switch(&self) -> Option<SwitchCaps> {
        None
    }

    /// The hosts behind the slots, in their order; empty where slots are no hosts.
    fn hosts(&self) -> Vec<HostPlace> {
        Vec::new()
    }

    async fn observe(&self, key: &EnvironmentKey) -> Result<Observed, TargetError>;

    /// As `observe` for the environment of `spec`, for who watches: asks units in traffic
    /// for their health once, and the proxy what it does. A target that can say no more
    /// than what it observes says that.
    async fn inspect(&self, spec: &Spec) -> Result<Inspected, TargetError> {
        let observed = self.observe(&spec.key()).await?;
        Ok(Inspected { observed, ..Inspected::default() })
    }

    /// Checks everything that can be checked before any change: reachable, image
    /// there or pullable, proxy answering. Returns all findings at once; each is of a
    /// [`Check`](crate::Check).
    async fn preflight(&self, spec: &Spec, seen: &Observed) -> Result<Vec<Finding>, TargetError>;

    /// Whether the artifact of `spec` is here or can be fetched: `None` if so, else why
    /// not. Changes nothing.
    async fn fetchable(&self, spec: &Spec) -> Result<Option<String>, TargetError>;

    /// Takes the lease of an environment, which keeps engines apart whose ledgers differ.
    async fn lease(
        &self,
        _key: &EnvironmentKey,
        _ask: &LeaseAsk,
    ) -> Result<LeaseAnswer, TargetError> {
        Ok(LeaseAnswer::Unkept)
    }

    /// Extends a lease that was taken with `fence`, by `ask.ttl` from now.
    async fn renew(
        &self,
        _key: &EnvironmentKey,
        _fence: u64,
        _ask: &LeaseAsk,
    ) -> Result<(), TargetError> {
        Ok(())
    }

    /// Gives a lease back; one that is no longer had is no error.
    async fn release(
        &self,
        _key: &EnvironmentKey,
        _fence: u64,
        _ask: &LeaseAsk,
    ) -> Result<(), TargetError> {
        Ok(())
    }

    async fn apply(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError>;

    /// Compensates `op`; `spec` is the one `op` was applied with.
    async fn undo(&self, op: &Op, spec: &Spec, fence: u64) -> Result<OpOutcome, TargetError>;

    /// The units that have waited, stopped, for as long as the unit that serves their
    /// slot says (`keep-warm`).
    async fn expired(&self, key: &EnvironmentKey) -> Result<Vec<UnitId>, TargetError>;

    /// Where the switch takes requests, as this process reaches it; `None` where there is
    /// no switch, or where it does not say.
    async fn entrance(&self) -> Result<Option<SocketAddr>, TargetError> {
        Ok(None)
    }

    /// Turns a reference that may mean something else tomorrow into what it means
    /// now, and for good.
    async fn resolve(&self, reference: &str) -> Result<Artifact, TargetError>;

    /// What a unit has written; to drop the stream is to stop listening.
    async fn logs(&self, unit: &UnitId, options: LogOptions) -> Result<LogStream, TargetError>;

    /// Runs a command beside a unit, with its environment and directory.
    async fn exec(&self, unit: &UnitId, options: ExecOptions) -> Result<Terminal, TargetError>;

    /// Removes the artifacts of a project's releases that `keep` does not have and no
    /// unit is made of, as far as they carry our labels.
    async fn prune(&self, project: &str, keep: &KeepSet) -> Result<Pruned, TargetError>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Old and new unit can run at once.
    pub start_first: bool,
}

/// Name of one unit: unique within the target, for good.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnitId(pub String);

impl std::fmt::Display for UnitId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// One idempotent step on one unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    pub action: OpAction,
    /// The unit it acts on.
    pub unit: UnitId,
    pub slot: u32,
    /// The unit that serves the slot until this deployment changes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<UnitId>,
    pub deployment: DeploymentId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpAction {
    /// Gets the artifact onto the target and keeps it from being pruned.
    Fetch,
    Create,
    Start,
    /// Waits for the health gate.
    Gate,
    /// Lets the switch route to the unit, and no longer to the one it replaces.
    Admit,
    /// Lets the switch answer with a page in place of all units of the environment, at
    /// once. The page lasts until a unit is admitted.
    Close,
    /// Waits until a unit out of traffic is idle.
    Drain,
    /// Stops a drained unit; it stays warm.
    Stop,
    /// Tests the behaviour of one admitted unit, at its own address. The engine does it.
    VerifyUnit,
    /// Tests behaviour through the switch, and in containers. The engine does it.
    Verify,
    /// Watches an admitted unit for the time of `bake`.
    Bake,
    Remove,
}

impl OpAction {
    /// Whether it is about the environment and no unit of it.
    pub const fn is_of_environment(self) -> bool {
        matches!(self, Self::Fetch | Self::Close | Self::Verify)
    }

    /// Whether the engine does it, and no target.
    pub(crate) const fn is_check(self) -> bool {
        matches!(self, Self::VerifyUnit | Self::Verify)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Create => "create",
            Self::Start => "start",
            Self::Gate => "gate",
            Self::Admit => "admit",
            Self::Close => "close",
            Self::Drain => "drain",
            Self::Stop => "stop",
            Self::VerifyUnit => "verify-unit",
            Self::Verify => "verify",
            Self::Bake => "bake",
            Self::Remove => "remove",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpOutcome {
    /// `detail` is for people: `gate 3/3`, `cut 0`.
    Done { detail: String },
    /// As `Done`, of a drain: `cut` requests did not end in time.
    Drained { cut: u64, took_ms: u64 },
    /// The unit is not healthy; `logs` are its last lines.
    Unhealthy { reason: String, logs: Vec<String> },
}

/// What runs where, as seen now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Ordered by slot, then name; retired and broken ones are here too.
    pub units: Vec<ObservedUnit>,
    /// The slots whose host could not be looked at.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub away: BTreeSet<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedUnit {
    pub unit: UnitId,
    pub slot: u32,
    pub release: ReleaseId,
    pub deployment: DeploymentId,
    /// As [`Spec::unit_hash`] when it was made.
    pub spec: String,
    pub state: UnitState,
    /// Whether the switch routes to it; without a route, whether it is the slot's current unit.
    pub admitted: bool,
    /// Where it answers, when it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    pub image: String,
    /// The fence it was made under. Of two units of a slot, the one with the
    /// larger fence came later; ids tell only who asked first.
    #[serde(default)]
    pub fence: u64,
}

impl ObservedUnit {
    /// Sorts the units of a slot by when they were made.
    pub(crate) fn age(&self) -> (u64, DeploymentId) {
        (self.fence, self.deployment)
    }
}

impl Observed {
    /// Returns the unit that serves `slot`. Where two are admitted, which only a
    /// crash leaves behind, it is one that runs before one that does not, and
    /// then the later one.
    pub fn current(&self, slot: u32) -> Option<&ObservedUnit> {
        self.units
            .iter()
            .filter(|unit| unit.slot == slot && unit.admitted)
            .max_by_key(|unit| (unit.state == UnitState::Running, unit.age()))
    }

    pub fn unit(&self, unit: &UnitId) -> Option<&ObservedUnit> {
        self.units.iter().find(|seen| seen.unit == *unit)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitState {
    Created,
    Running,
    /// Runs and fails its own health check.
    Unhealthy,
    Exited,
}

#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// A larger fence was seen: somebody else holds the environment now.
    #[error("fenced: {0}")]
    Fenced(String),
    /// The user can mend it: the image does not exist, the registry refuses the password.
    #[error("{message}")]
    Refused { message: String },
    #[error("{part}: {message}")]
    Infrastructure { part: String, message: String },
}
