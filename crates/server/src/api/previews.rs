//! What could be done: the plan of a deployment, and the releases to go back to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use deploy::{
    Artifact, Batch, Deployment, EnvironmentKey, Finding, Ledger as _, LedgerError, ListedRelease,
    Op, Preview, Release, Target, VerifyStep,
};
use event::{DeploymentKind, ReleaseId};
use serde::Serialize;
use store::Store;

/// Deployments looked through for whether a release can be gone back to.
const HISTORY: u32 = 1_000;

/// Releases whose artifact is looked for, the newest ones.
const LOOKED_FOR: usize = 10;
/// What a target may take to look for one.
const LOOK: Duration = Duration::from_secs(5);

/// What a deployment would do if it were carried out now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PreviewView {
    pub kind: DeploymentKind,
    /// The slots it would be about; none is all of them.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub slots: BTreeSet<u32>,
    pub environment: String,
    pub release: ReleaseId,
    pub version: Option<String>,
    pub artifact: Artifact,
    /// Units that there would be.
    pub replicas: u32,
    /// What would be checked after each batch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verify: Vec<VerifyStep>,
    /// With an error among them it would end before any change.
    pub findings: Vec<Finding>,
    /// Whether everything runs already as it is wanted.
    pub nothing_to_do: bool,
    pub prepare: Vec<Op>,
    pub batches: Vec<Batch>,
    pub finalise: Vec<Op>,
}

/// Puts a preview into words; `releases` are those of the project.
pub fn preview_view(
    deployment: &Deployment,
    preview: Preview,
    releases: &[Release],
) -> PreviewView {
    let Preview { settled, findings, plan, .. } = preview;
    let spec = settled.spec;
    let known = releases.iter().find(|known| known.id == spec.release);
    PreviewView {
        kind: deployment.kind,
        slots: deployment.scope.slots.clone(),
        environment: spec.environment,
        release: spec.release,
        version: known.map(|release| release.version.clone()),
        artifact: spec.artifact,
        replicas: spec.replicas,
        verify: spec.verify,
        findings,
        nothing_to_do: plan.is_empty(),
        prepare: plan.prepare,
        batches: plan.batches,
        finalise: plan.finalise,
    }
}

/// Lists the releases of a project, newest first, with whether an environment can go back
/// to each.
pub async fn listed_releases(
    store: &Store,
    key: &EnvironmentKey,
    target: &dyn Target,
) -> Result<Vec<ListedRelease>, LedgerError> {
    let history = store.history(key, HISTORY).await?;
    let known = store.releases(&key.project).await?;
    let listed = deploy::releases(&history, &known, &BTreeMap::new());
    let mut unfetchable = BTreeMap::new();
    for release in listed.iter().filter(|listed| listed.can_roll_back).take(LOOKED_FOR) {
        let id = release.release.id;
        let specs = history.iter().map(|record| &record.deployment.spec);
        let Some(spec) = specs.into_iter().find(|spec| spec.release == id) else { continue };
        let looking = tokio::time::timeout(LOOK, target.fetchable(spec)).await;
        // What cannot be looked for may be there all the same: preflight says so.
        if let Ok(Ok(Some(reason))) = looking {
            unfetchable.insert(id, reason);
        }
    }
    Ok(deploy::releases(&history, &known, &unfetchable))
}
