//! What the deploy engine must remember: locks, releases, deployments, and the
//! journal of ops. The store implements it, tests fake it.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use event::{DeploymentId, DeploymentKind, DeploymentState, EventKind, ReleaseId, RunId};
use serde::{Deserialize, Serialize};

use crate::{Artifact, Spec};

/// Remembers. Contract:
/// - Every method returns only when what it did is durable.
/// - `acquire` gives a fence larger than any before for the environment, and
///   refuses while another holder's lease has not expired.
/// - `append` and `finish` need the lease's deployment to exist; `finish` ends it for good.
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

    async fn unlock(&self, lease: &Lease) -> Result<(), LedgerError>;

    /// Appends to the deployment's stream: intents before acting, results after.
    async fn append(
        &self,
        deployment: DeploymentId,
        events: Vec<EventKind>,
    ) -> Result<(), LedgerError>;

    /// Ends the deployment, with its `deployment.finished` event.
    async fn finish(
        &self,
        deployment: DeploymentId,
        state: DeploymentState,
        reason: Option<String>,
        duration_ms: u64,
    ) -> Result<(), LedgerError>;

    /// Deployments of an environment, newest first.
    async fn history(
        &self,
        key: &EnvironmentKey,
        limit: u32,
    ) -> Result<Vec<DeploymentRecord>, LedgerError>;

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

/// One recorded change that brings an environment to a release and a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    pub id: DeploymentId,
    pub kind: DeploymentKind,
    /// With project, environment, release and configuration.
    pub spec: Spec,
    pub by: String,
    #[serde(default)]
    pub reason: Option<String>,
    #[serde(default)]
    pub run: Option<RunId>,
    #[serde(default)]
    pub stage: Option<String>,
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
}

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("environment `{environment}` is held by {holder} until {until}")]
    Locked { environment: String, holder: String, until: DateTime<Utc> },
    #[error("the lock of environment `{0}` was lost to somebody else")]
    Fenced(String),
    #[error("deployment {0} is not known")]
    Unknown(DeploymentId),
    #[error("the store failed")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}
