//! Where an explicit rollback goes: the last good deployment, or a given release.

use std::sync::Arc;

use event::{DeploymentState, ReleaseId};

use crate::{DeploymentRecord, EnvironmentKey, Ledger, LedgerError, Spec};

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
/// or the newest one that ran `to`.
pub async fn rollback_spec(
    ledger: &Arc<dyn Ledger>,
    key: &EnvironmentKey,
    to: Option<ReleaseId>,
) -> Result<Spec, RollbackError> {
    let history = ledger.history(key, HISTORY).await?;
    let environment = key.environment.clone();
    let Some(release) = to else {
        return last_good(&history)
            .map(|record| record.deployment.spec.clone())
            .ok_or(RollbackError::Nothing { environment });
    };
    let found = good(&history).find(|record| record.deployment.spec.release == release);
    match found {
        Some(record) => Ok(record.deployment.spec.clone()),
        None => {
            let available = releases(&history);
            Err(RollbackError::NotFound { environment, release, available })
        }
    }
}

/// Returns the newest deployment of a history, itself newest first, that
/// succeeded with units other than those that run now.
pub fn last_good(history: &[DeploymentRecord]) -> Option<&DeploymentRecord> {
    let now = good(history).next()?.deployment.spec.unit_hash();
    good(history).find(|record| record.deployment.spec.unit_hash() != now)
}

/// Returns the releases that can be gone back to, newest first, each once.
pub fn releases(history: &[DeploymentRecord]) -> Vec<ReleaseId> {
    let mut releases = Vec::new();
    for record in good(history) {
        let release = record.deployment.spec.release;
        if !releases.contains(&release) {
            releases.push(release);
        }
    }
    releases
}

fn good(history: &[DeploymentRecord]) -> impl Iterator<Item = &DeploymentRecord> {
    history.iter().filter(|record| record.state == Some(DeploymentState::Succeeded))
}
