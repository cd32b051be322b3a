//! Where an explicit rollback goes: the last good deployment, or a given release;
//! and which releases it can go to at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use event::{DeploymentId, DeploymentKind, DeploymentState, ReleaseId, Verdict};
use serde::{Deserialize, Serialize};

use crate::standing::standing;
use crate::{DeploymentRecord, EnvironmentKey, Ledger, LedgerError, Release, Spec};

/// How far back a release is looked for.
const HISTORY: u32 = 1_000;

#[derive(Debug, thiserror::Error)]
pub enum RollbackError {
    /// `available` are releases that can be given instead, newest first.
    #[error("environment `{environment}` has nothing to go back to")]
    Nothing { environment: String },
    #[error(
        "release {release} never ran in environment `{environment}`; there are: {}",
        list(available)
    )]
    NotFound { environment: String, release: ReleaseId, available: Vec<ReleaseId> },
    #[error("the history of the environment cannot be read")]
    Ledger(#[from] LedgerError),
}

fn list(releases: &[ReleaseId]) -> String {
    if releases.is_empty() {
        return "none".to_owned();
    }
    releases.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Returns the specification to roll back to: that of the last good deployment,
/// or the newest good one that ran `to`. Its number of units is the one its
/// pipeline file asked for.
pub async fn rollback_spec(
    ledger: &Arc<dyn Ledger>,
    key: &EnvironmentKey,
    to: Option<ReleaseId>,
) -> Result<Spec, RollbackError> {
    let history = ledger.history(key, HISTORY).await?;
    let environment = key.environment.clone();
    let Some(release) = to else {
        return last_good(&history).map(spec).ok_or(RollbackError::Nothing { environment });
    };
    let found = good(&history).find(|record| record.deployment.spec.release == release);
    found.map(spec).ok_or_else(|| {
        let available = available(&history);
        RollbackError::NotFound { environment, release, available }
    })
}

/// As [`rollback_spec`], of what the units run alone: the configuration that stands
/// stays. Without `to` it is the newest good one that ran another artifact.
pub async fn rollback_image(
    ledger: &Arc<dyn Ledger>,
    key: &EnvironmentKey,
    to: Option<ReleaseId>,
) -> Result<Spec, RollbackError> {
    let nothing = || RollbackError::Nothing { environment: key.environment.clone() };
    let history = ledger.history(key, HISTORY).await?;
    let now = standing(&history).ok_or_else(nothing)?;
    let image = match to {
        Some(_) => rollback_spec(ledger, key, to).await?,
        None => {
            let other =
                |record: &&DeploymentRecord| record.deployment.spec.artifact != now.spec().artifact;
            good(&history).find(other).map(spec).ok_or_else(nothing)?
        }
    };
    Ok(Spec {
        release: image.release,
        artifact: image.artifact,
        replicas: now.declared(),
        ..now.spec().clone()
    })
}

fn spec(record: &DeploymentRecord) -> Spec {
    let spec = record.deployment.spec.clone().lasting();
    Spec { replicas: record.declared.unwrap_or(spec.replicas), ..spec }
}

/// Returns the newest deployment of a history, itself newest first, that brought a
/// release, succeeded, is not marked bad, and whose units are others than those
/// that run now.
pub fn last_good(history: &[DeploymentRecord]) -> Option<&DeploymentRecord> {
    let now = standing(history)?.spec().unit_hash();
    good(history).find(|record| record.deployment.spec.unit_hash() != now)
}

/// Returns the releases that can be gone back to, newest first, each once.
fn available(history: &[DeploymentRecord]) -> Vec<ReleaseId> {
    let mut releases = Vec::new();
    for record in good(history) {
        let release = record.deployment.spec.release;
        if !releases.contains(&release) {
            releases.push(release);
        }
    }
    releases
}

pub(crate) fn good(history: &[DeploymentRecord]) -> impl Iterator<Item = &DeploymentRecord> {
    history.iter().filter(|record| {
        brings_a_release(record)
            && record.state == Some(DeploymentState::Succeeded)
            && record.verdict != Verdict::Bad
            && !record.deployment.scope.is_partial()
    })
}

const fn brings_a_release(record: &DeploymentRecord) -> bool {
    matches!(record.deployment.kind, DeploymentKind::Deploy | DeploymentKind::Rollback)
}

/// A release as an environment sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListedRelease {
    #[serde(flatten)]
    pub release: Release,
    /// Its newest deployment here.
    #[serde(default)]
    pub deployment: Option<DeploymentId>,
    /// Of that one; `None` while it goes on, or if there is none.
    #[serde(default)]
    pub state: Option<DeploymentState>,
    #[serde(default)]
    pub deployed_at: Option<DateTime<Utc>>,
    /// The commit that stood here before it came, or stands where it never did: from
    /// there to its own is what it brings.
    #[serde(default)]
    pub since: Option<String>,
    /// Of its newest deployment here: see [`Spec::configuration`].
    #[serde(default)]
    pub configuration: Option<String>,
    /// Whether the environment stands on it.
    pub stands: bool,
    pub can_roll_back: bool,
    /// Why not, for people: `its deployment ended rolled-back`.
    #[serde(default)]
    pub because: Option<String>,
}

/// Lists the releases of a project, in the order of `known`, with whether this
/// environment can go back to each, and if not, why.
///
/// `unfetchable` are those whose artifact somebody looked for and did not find,
/// each with the reason.
pub fn releases(
    history: &[DeploymentRecord],
    known: &[Release],
    unfetchable: &BTreeMap<ReleaseId, String>,
) -> Vec<ListedRelease> {
    let now = standing(history);
    known
        .iter()
        .map(|release| {
            let of = |record: &&DeploymentRecord| record.deployment.spec.release == release.id;
            let newest = history.iter().filter(|record| brings_a_release(record)).find(of);
            let because = why_not(release.id, history, unfetchable);
            ListedRelease {
                release: release.clone(),
                deployment: newest.map(|record| record.deployment.id),
                state: newest.and_then(|record| record.state),
                deployed_at: newest.map(|record| record.requested_at),
                since: since(release, history, known),
                configuration: newest.map(|record| record.deployment.spec.configuration()),
                stands: now.is_some_and(|now| now.spec().release == release.id),
                can_roll_back: because.is_none(),
                because,
            }
        })
        .collect()
}

fn since(release: &Release, history: &[DeploymentRecord], known: &[Release]) -> Option<String> {
    let came = |record: &DeploymentRecord| {
        brings_a_release(record)
            && record.state == Some(DeploymentState::Succeeded)
            && !record.deployment.scope.is_partial()
    };
    let of = |record: &DeploymentRecord| record.deployment.spec.release == release.id;
    let first = history.iter().rposition(|record| came(record) && of(record));
    let before = &history[first.map_or(0, |first| first + 1)..];
    let commit = |record: &DeploymentRecord| {
        let of_record = known.iter().find(|known| known.id == record.deployment.spec.release);
        of_record.map(|known| known.sha.clone())
    };
    let commits = before.iter().filter(|record| came(record)).filter_map(commit);
    commits.into_iter().find(|sha| !sha.is_empty() && *sha != release.sha)
}

/// Says why a rollback to `release` is not possible; `None` if it is.
fn why_not(
    release: ReleaseId,
    history: &[DeploymentRecord],
    unfetchable: &BTreeMap<ReleaseId, String>,
) -> Option<String> {
    let of = |record: &&DeploymentRecord| record.deployment.spec.release == release;
    if let Some(record) = good(history).find(of) {
        let now = standing(history).map(|now| now.spec().unit_hash());
        if now.is_some_and(|now| now == record.deployment.spec.unit_hash()) {
            return Some("it runs now".to_owned());
        }
        return unfetchable.get(&release).cloned();
    }
    let Some(newest) = history.iter().filter(|record| brings_a_release(record)).find(of) else {
        return Some("it never ran here".to_owned());
    };
    let short = newest.deployment.id.short();
    Some(match (newest.state, newest.verdict) {
        (None, _) => format!("its deployment {short} goes on"),
        (Some(_), Verdict::Bad) => format!("its deployment {short} was marked bad"),
        (Some(state), _) => format!("its deployment {short} ended {state}"),
    })
}
