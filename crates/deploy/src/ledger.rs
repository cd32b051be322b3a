//! What the deploy engine must remember: locks, releases, deployments, and the
//! journal of ops. The store implements it, tests fake it.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use event::{
    Caught, Decision, DeploymentId, DeploymentKind, DeploymentState, EventKind, ReleaseId, RunId,
    Verdict,
};
use serde::{Deserialize, Serialize};

use crate::plan::Before;
use crate::{Artifact, Scope, Spec, UnitId};

/// Remembers. Contract:
/// - Every method returns only when what it did is durable.
/// - `acquire` gives a fence larger than any before for the environment, and
///   refuses while another holder's lease has not expired; and, unless the deployment
///   is a rollback, while somebody keeps the environment locked by hand.
/// - `append`, `planned` and `finish` need the lease's deployment to exist; `finish`
///   ends it for good, and only `mark` may follow.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Returns the release with this artifact, recorded now if it is new.
    async fn release(&self, release: Release) -> Result<Release, LedgerError>;

    /// Releases of a project, newest first.
    async fn releases(&self, project: &str) -> Result<Vec<Release>, LedgerError>;

    /// Records a deployment and its first event.
    async fn request(&self, deployment: NewDeployment) -> Result<(), LedgerError>;

    /// Takes the environment's lock for `deployment`, for `ttl` from now.
    async fn acquire(
        &self,
        key: &EnvironmentKey,
        deployment: DeploymentId,
        holder: &str,
        ttl: std::time::Duration,
    ) -> Result<Lease, LedgerError>;

    /// Extends a lease; [`LedgerError::Fenced`] when somebody else has it.
    async fn renew(&self, lease: &Lease, ttl: std::time::Duration) -> Result<(), LedgerError>;

    /// Goes on with a lease under a larger fence, which the target asked for;
    /// [`LedgerError::Fenced`] when somebody else has it.
    async fn raise(&self, lease: &Lease, fence: u64) -> Result<Lease, LedgerError>;

    async fn unlock(&self, lease: &Lease) -> Result<(), LedgerError>;

    /// Gives back a lease under which nothing was done: its deployment has the fence
    /// `former` again, as if it had never held this one.
    async fn forgo(&self, lease: &Lease, former: u64) -> Result<(), LedgerError>;

    /// Appends to the deployment's stream: intents before acting, results after.
    async fn append(
        &self,
        deployment: DeploymentId,
        events: Vec<EventKind>,
    ) -> Result<(), LedgerError>;

    /// Writes down what the deployment will do, with its `deployment.planned` event.
    /// From then on its record has the settled specification.
    async fn planned(&self, deployment: DeploymentId, planned: Planned) -> Result<(), LedgerError>;

    /// Ends the deployment, with its `deployment.finished` event.
    async fn finish(&self, deployment: DeploymentId, finish: Finish) -> Result<(), LedgerError>;

    /// Decides about a deployment that is held, with its `deployment.decided` event; one
    /// that is not held, or decided about already, is [`LedgerError::NotHeld`].
    async fn decide(
        &self,
        deployment: DeploymentId,
        decision: Decision,
        by: &str,
        reason: Option<String>,
    ) -> Result<(), LedgerError>;

    /// Returns how a deployment was last held, whether or not that is over.
    async fn holding(&self, deployment: DeploymentId) -> Result<Option<Holding>, LedgerError>;

    /// Returns what was decided since the deployment was last held.
    async fn decision(&self, deployment: DeploymentId) -> Result<Option<Decision>, LedgerError>;

    /// Returns the units of a deployment of which an op on the way forward failed.
    async fn failed_units(&self, deployment: DeploymentId) -> Result<Vec<UnitId>, LedgerError>;

    /// Says what a deployment was worth, once it has ended; else it is
    /// [`LedgerError::Unknown`].
    async fn mark(
        &self,
        deployment: DeploymentId,
        verdict: Verdict,
        by: &str,
        reason: Option<String>,
    ) -> Result<(), LedgerError>;

    /// Deployments of an environment, newest first.
    async fn history(
        &self,
        key: &EnvironmentKey,
        limit: u32,
    ) -> Result<Vec<DeploymentRecord>, LedgerError>;

    /// The environments of a project that anything was ever deployed to.
    async fn environments(&self, project: &str) -> Result<Vec<EnvironmentKey>, LedgerError>;

    /// Deployments that have not ended, of all environments: left by a crash.
    async fn unfinished(&self) -> Result<Vec<DeploymentRecord>, LedgerError>;
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EnvironmentKey {
    pub project: String,
    pub environment: String,
}

/// The right to change an environment until `expires_at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub key: EnvironmentKey,
    pub deployment: DeploymentId,
    pub fence: u64,
    pub expires_at: DateTime<Utc>,
}

/// An immutable artifact; it knows no environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub id: ReleaseId,
    pub project: String,
    /// For people: a tag, or branch and short commit.
    pub version: String,
    pub branch: Option<String>,
    pub sha: String,
    pub committer: String,
    pub artifact: Artifact,
    pub built_at: DateTime<Utc>,
}

#[derive(Clone, Debug)]
pub struct NewDeployment {
    pub deployment: Deployment,
    pub at: DateTime<Utc>,
}

/// What a deployment settled on under the lock, before its first op.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// What it brings the environment to, with the number of units there will be.
    pub spec: Spec,
    /// The number of units the pipeline file asks for, as last deployed.
    pub declared: u32,
    /// What was there when it was planned.
    pub before: Before,
    pub batches: u32,
    pub ops: u32,
}

impl Planned {
    /// Returns the event that says so.
    pub fn event(&self) -> EventKind {
        EventKind::DeploymentPlanned {
            release: self.spec.release,
            replicas: self.spec.replicas,
            batches: self.batches,
            ops: self.ops,
        }
    }
}

/// How a deployment ended, as its last event says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finish {
    pub state: DeploymentState,
    pub reason: Option<String>,
    /// Of a failure.
    pub caught: Option<Caught>,
    /// Whether a failure left units of two releases in traffic.
    pub mixed: bool,
    /// Whether it failed since the target or the registry did, and nothing was switched.
    pub infrastructure: bool,
    /// Requests that did not end within `drain`.
    pub cut: u64,
    pub duration_ms: u64,
}

impl Finish {
    /// Returns the event that says so.
    pub fn event(self) -> EventKind {
        let Self { state, reason, caught, mixed, infrastructure, cut, duration_ms } = self;
        EventKind::DeploymentFinished {
            state,
            reason,
            caught,
            mixed,
            infrastructure,
            cut,
            duration_ms,
        }
    }
}

/// A failed batch that waits, or waited, for somebody to decide, as its event says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    pub reason: String,
    /// All that had failed so far.
    pub units: Vec<UnitId>,
    pub until: DateTime<Utc>,
}

/// One recorded change that brings an environment to a release and a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    pub id: DeploymentId,
    pub kind: DeploymentKind,
    /// With project, environment, release and configuration. Until it is planned this
    /// is what was asked for: see [`settle`](crate::settle).
    pub spec: Spec,
    pub by: String,
    #[serde(default)]
    pub reason: Option<String>,
    /// For people, as [`DeploymentName`](crate::DeploymentName) makes it. The engine gives
    /// one, with its time in UTC, where there is none.
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub run: Option<RunId>,
    #[serde(default)]
    pub stage: Option<String>,
    #[serde(default)]
    pub scope: Scope,
}

impl Deployment {
    pub fn key(&self) -> EnvironmentKey {
        EnvironmentKey {
            project: self.spec.project.clone(),
            environment: self.spec.environment.clone(),
        }
    }
}

/// A deployment and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeploymentRecord {
    #[serde(flatten)]
    pub deployment: Deployment,
    pub requested_at: DateTime<Utc>,
    #[serde(default)]
    pub finished_at: Option<DateTime<Utc>>,
    /// `None` while it goes on.
    #[serde(default)]
    pub state: Option<DeploymentState>,
    #[serde(default)]
    pub outcome: Option<String>,
    pub fence: u64,
    /// As in [`Planned`]; `None` until it is planned.
    #[serde(default)]
    pub declared: Option<u32>,
    /// As in [`Planned`].
    #[serde(default)]
    pub before: Option<Before>,
    /// As in [`Finish`].
    #[serde(default)]
    pub caught: Option<Caught>,
    /// As in [`Finish`].
    #[serde(default)]
    pub mixed: bool,
    /// As in [`Finish`].
    #[serde(default)]
    pub infrastructure: bool,
    /// As in [`Finish`].
    #[serde(default)]
    pub cut: u64,
    /// While it is held: until when somebody may decide.
    #[serde(default)]
    pub held_until: Option<DateTime<Utc>>,
    /// Whether it has begun to go back, which it then does to the end.
    #[serde(default)]
    pub rolling_back: bool,
    /// When its last event was written.
    #[serde(default)]
    pub moved_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub verdict: Verdict,
}

impl DeploymentRecord {
    /// Returns the record of a deployment that was just requested.
    pub fn new(deployment: Deployment, requested_at: DateTime<Utc>) -> Self {
        Self {
            deployment,
            requested_at,
            finished_at: None,
            state: None,
            outcome: None,
            fence: 0,
            declared: None,
            before: None,
            caught: None,
            mixed: false,
            infrastructure: false,
            cut: 0,
            held_until: None,
            rolling_back: false,
            moved_at: None,
            verdict: Verdict::Unknown,
        }
    }
}

/// `2026-08-11 18:00 UTC`.
fn moment(at: &DateTime<Utc>) -> impl std::fmt::Display {
    at.format("%Y-%m-%d %H:%M UTC")
}

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("environment `{environment}` is held by {holder} until {until}")]
    Locked { environment: String, holder: String, until: DateTime<Utc> },
    /// By hand; it does not hold back a rollback.
    #[error("environment `{environment}` is locked by {owner} until {}: {reason}", moment(until))]
    Closed { environment: String, owner: String, reason: String, until: DateTime<Utc> },
    #[error("the lock of environment `{0}` was lost to somebody else")]
    Fenced(String),
    #[error("deployment {0} does not wait for a decision")]
    NotHeld(DeploymentId),
    #[error("deployment {0} is not known")]
    Unknown(DeploymentId),
    #[error("the store failed")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}
