//! What an environment should run, told from its history, and what a requested
//! change comes to in the light of that.
//!
//! The last deployment that succeeded says all of it: release and configuration,
//! how many units, and whether it was stopped on purpose. So what people did by
//! hand (`scale`, `stop`) survives the deployments that follow.

use std::collections::BTreeSet;
use std::sync::Arc;

use event::{DeploymentKind, DeploymentState};

use crate::{Deployment, DeploymentRecord, EnvironmentKey, Ledger, LedgerError, Spec};

/// Deployments looked through for the one that stands.
const HISTORY: u32 = 200;

/// The deployment an environment stands on: the newest that succeeded.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'h> {
    pub record: &'h DeploymentRecord,
}

impl<'h> Standing<'h> {
    /// Returns what should run, with the number of units as it should be.
    pub const fn spec(&self) -> &'h Spec {
        &self.record.deployment.spec
    }

    /// Returns how many units the pipeline file asks for.
    pub fn declared(&self) -> u32 {
        self.record.declared.unwrap_or(self.spec().replicas)
    }

    /// Whether somebody changed the number of units by hand, and it still holds.
    pub fn is_scaled(&self) -> bool {
        self.declared() != self.spec().replicas
    }

    /// Whether nothing should run, on purpose.
    pub fn is_stopped(&self) -> bool {
        self.record.deployment.kind == DeploymentKind::Stop
    }
}

/// Returns what an environment stands on; `history` is newest first. One that does
/// not succeed leaves everything as it was, so it does not count; nor does one that was
/// about some units only, which says nothing of the others.
pub fn standing(history: &[DeploymentRecord]) -> Option<Standing<'_>> {
    let succeeded = |record: &&DeploymentRecord| {
        let partial = record.deployment.scope.is_partial();
        record.state == Some(DeploymentState::Succeeded) && !partial
    };
    history.iter().find(succeeded).map(|record| Standing { record })
}

/// Returns the slots that somebody has stopped on purpose, one by one, since the deployment
/// an environment stands on, and that nothing has brought back; `history` is newest first.
pub fn resting(history: &[DeploymentRecord]) -> BTreeSet<u32> {
    let stands = standing(history).map(|standing| standing.record.deployment.id);
    let since = history.iter().take_while(|record| Some(record.deployment.id) != stands);
    let succeeded = |record: &&DeploymentRecord| record.state == Some(DeploymentState::Succeeded);
    let mut resting = BTreeSet::new();
    let since: Vec<_> = since.filter(succeeded).collect();
    for Deployment { kind, scope, .. } in since.iter().rev().map(|record| &record.deployment) {
        match kind {
            DeploymentKind::Stop => resting.extend(&scope.slots),
            _ => resting.retain(|slot| !scope.slots.contains(slot)),
        }
    }
    resting
}

/// A change of what runs that brings no release of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Restart,
    /// To this many units, at least one.
    Scale(u32),
    Stop,
    Start,
    /// Of slots whose unit is gone or dead.
    Repair,
}

impl Change {
    pub const fn kind(self) -> DeploymentKind {
        match self {
            Self::Restart => DeploymentKind::Restart,
            Self::Scale(_) => DeploymentKind::Scale,
            Self::Stop => DeploymentKind::Stop,
            Self::Start => DeploymentKind::Start,
            Self::Repair => DeploymentKind::Repair,
        }
    }
}

/// Why a change cannot even be asked for.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error("nothing was ever deployed to environment `{environment}`")]
    Nothing { environment: String },
    #[error("0 units of `{environment}` is what `shipline stop {environment}` brings about")]
    NoUnits { environment: String },
    #[error("the history of the environment cannot be read")]
    Ledger(#[from] LedgerError),
}

/// Returns the specification to request a change with. It is settled once more when
/// the lock is held, on whatever stands then.
pub async fn change_spec(
    ledger: &Arc<dyn Ledger>,
    key: &EnvironmentKey,
    change: Change,
) -> Result<Spec, ChangeError> {
    let environment = key.environment.clone();
    let history = ledger.history(key, HISTORY).await?;
    let Some(standing) = standing(&history) else {
        return Err(ChangeError::Nothing { environment });
    };
    let spec = standing.spec().clone().lasting();
    match change {
        Change::Scale(0) => Err(ChangeError::NoUnits { environment }),
        Change::Scale(replicas) => Ok(Spec { replicas, ..spec }),
        Change::Restart | Change::Stop | Change::Start | Change::Repair => Ok(spec),
    }
}

/// What a deployment brings about in the end.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    pub spec: Spec,
    /// As in [`Planned`](crate::Planned).
    pub declared: u32,
}

/// Settles a deployment on what stands, as [`settle`]; one that is about some units
/// changes no number of them.
pub(crate) fn settle_for(
    deployment: &Deployment,
    standing: Option<Standing<'_>>,
) -> Option<Settled> {
    let mut settled = settle(deployment.kind, &deployment.spec, standing)?;
    if let Some(standing) = standing.filter(|_| deployment.scope.is_partial()) {
        settled.spec.replicas = standing.spec().replicas;
        settled.declared = standing.declared();
    }
    Some(settled)
}

/// Settles a request on what stands; `None` where a change of what runs finds
/// nothing that ran.
///
/// The number of units is that of the request, unless somebody has scaled by hand
/// since the pipeline file last said another one: then it stays as it is.
pub fn settle(
    kind: DeploymentKind,
    asked: &Spec,
    standing: Option<Standing<'_>>,
) -> Option<Settled> {
    let Some(standing) = standing else {
        let brings_a_release = matches!(kind, DeploymentKind::Deploy | DeploymentKind::Rollback);
        return brings_a_release.then(|| Settled { spec: asked.clone(), declared: asked.replicas });
    };
    let (replicas, declared) = (standing.spec().replicas, standing.declared());
    let of_now = |replicas| Spec { replicas, ..standing.spec().clone().lasting() };
    Some(match kind {
        DeploymentKind::Deploy if asked.replicas == declared => {
            Settled { spec: Spec { replicas, ..asked.clone() }, declared }
        }
        DeploymentKind::Rollback if standing.is_scaled() => {
            Settled { spec: Spec { replicas, ..asked.clone() }, declared }
        }
        DeploymentKind::Deploy | DeploymentKind::Rollback => {
            Settled { spec: asked.clone(), declared: asked.replicas }
        }
        DeploymentKind::Scale => Settled { spec: of_now(asked.replicas), declared },
        DeploymentKind::Restart
        | DeploymentKind::Stop
        | DeploymentKind::Start
        | DeploymentKind::Repair => Settled { spec: of_now(replicas), declared },
    })
}
