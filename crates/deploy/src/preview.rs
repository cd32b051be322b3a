//! What a deployment would do: its plan and what the checks find, without a lock,
//! and without a trace.

use event::Finding;

use crate::preflight::Preflight;
use crate::standing::{Settled, settle_for, standing};
use crate::{
    DeployPlan, Deployment, Ledger, LedgerError, Observed, Policy, Target, TargetError, plan_for,
    preflight, verify,
};

/// Deployments looked through for the one that stands.
const HISTORY: u32 = 200;

/// What a deployment would do if it were carried out now.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    pub settled: Settled,
    /// With an error among them it would end before any change.
    pub findings: Vec<Finding>,
    pub plan: DeployPlan,
    /// What the plan begins with.
    pub seen: Observed,
}

#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    #[error("nothing was ever deployed to environment `{environment}`")]
    Nothing { environment: String },
    #[error("the target cannot be observed")]
    Target(#[from] TargetError),
    #[error("the history of the environment cannot be read")]
    Ledger(#[from] LedgerError),
}

/// Plans a deployment that nobody requested, on what is there now.
pub async fn preview(
    deployment: &Deployment,
    policy: Policy,
    target: &dyn Target,
    ledger: &dyn Ledger,
) -> Result<Preview, PreviewError> {
    let key = deployment.key();
    let history = ledger.history(&key, HISTORY).await?;
    let standing = standing(&history);
    let settled = settle_for(deployment, standing)
        .ok_or(PreviewError::Nothing { environment: key.environment.clone() })?;
    let seen = verify::observe(target, &key).await?;
    let preflight = Preflight {
        kind: deployment.kind,
        spec: &settled.spec,
        seen: &seen,
        standing,
        history: &history,
        policy,
        // Nothing is run, and whoever deploys may be able to.
        can_run: true,
    };
    let findings = preflight::check(target, &preflight).await?;
    let planned = Deployment { spec: settled.spec.clone(), ..deployment.clone() };
    let plan = plan_for(&planned, &seen);
    Ok(Preview { settled, findings, plan, seen })
}
