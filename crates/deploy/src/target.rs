//! The place units run: observed, and changed op by op.

pub mod docker;

use std::net::SocketAddr;

use async_trait::async_trait;
use event::{DeploymentId, ReleaseId};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{EnvironmentKey, Spec};

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
#[async_trait]
pub trait Target: Send + Sync {
    fn caps(&self) -> Caps;

    async fn observe(&self, key: &EnvironmentKey) -> Result<Observed, TargetError>;

    /// Checks everything that can be checked before any change: reachable, image
    /// there or pullable, proxy answering. Returns findings; none means go.
    async fn preflight(&self, spec: &Spec, seen: &Observed) -> Result<Vec<String>, TargetError>;

    async fn apply(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError>;

    /// Compensates `op`; `spec` is the one `op` was applied with.
    async fn undo(&self, op: &Op, spec: &Spec, fence: u64) -> Result<OpOutcome, TargetError>;
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
    /// Waits until a unit out of traffic is idle.
    Drain,
    /// Stops a drained unit; it stays warm.
    Stop,
    /// Watches an admitted unit for the time of `bake`.
    Bake,
    Remove,
}

impl OpAction {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Create => "create",
            Self::Start => "start",
            Self::Gate => "gate",
            Self::Admit => "admit",
            Self::Drain => "drain",
            Self::Stop => "stop",
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
