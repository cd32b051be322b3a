//! Units that were replaced and have waited for a way back as long as they were to.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::lock::{AcquireError, Claim, Hold};
use crate::op::Reporter;
use crate::{
    DeployError, DeploymentRecord, EnvironmentKey, Ledger, LedgerError, Observed, Op, OpAction,
    Target, TargetError, UnitId, UnitState,
};

/// Whether a unit may go: it waits, and another serves its slot. Of an environment
/// that was stopped on purpose all units wait, and none may.
pub(crate) fn may_go(seen: &Observed, unit: &UnitId) -> bool {
    let Some(unit) = seen.unit(unit) else { return false };
    let current = seen.current(unit.slot);
    !unit.admitted
        && unit.state == UnitState::Exited
        && current.is_some_and(|current| {
            current.state == UnitState::Running && current.age() > unit.age()
        })
}

/// Removes the units of an environment that have waited long enough, under its lock;
/// while a deployment holds that, nothing is done. Returns what was removed.
///
/// A deployment does the same at its end, so this is for the time between two.
pub async fn sweep(
    key: &EnvironmentKey,
    holder: &str,
    target: Arc<dyn Target>,
    ledger: Arc<dyn Ledger>,
) -> Result<Vec<UnitId>, DeployError> {
    // Looked at first: most times there is nothing, and no reason for a lock.
    if expired(key, &*target).await.map_err(broken)?.is_empty() {
        return Ok(Vec::new());
    }
    // In the name of the last one, whose former units these are.
    let Some(last) = ledger.history(key, 1).await?.into_iter().next() else {
        return Ok(Vec::new());
    };
    let claim = Claim {
        key: key.clone(),
        deployment: last.deployment.id,
        former_fence: last.fence,
        holder: holder.to_owned(),
        person: last.deployment.by.clone(),
        ledger,
        target: Arc::clone(&target),
    };
    let reporter = Reporter(mpsc::channel(1).0);
    let hold = match claim.acquire(Duration::ZERO, &reporter, &CancellationToken::new()).await {
        Ok(hold) => hold,
        Err(AcquireError::Held(_) | AcquireError::Closed(_) | AcquireError::Cancelled) => {
            return Ok(Vec::new());
        }
        Err(AcquireError::Ledger(error)) => return Err(error.into()),
        Err(AcquireError::Target(error)) => return Err(broken(error)),
    };
    let removed = tokio::select! {
        lost = hold.keep() => Err(DeployError::from(LedgerError::Fenced(lost))),
        removed = remove(key, &*target, &hold, &last) => removed,
    };
    hold.release().await;
    removed
}

/// The units that have waited long enough and may go.
pub(crate) async fn expired(
    key: &EnvironmentKey,
    target: &dyn Target,
) -> Result<Vec<(UnitId, u32)>, TargetError> {
    let over = target.expired(key).await?;
    if over.is_empty() {
        return Ok(Vec::new());
    }
    let seen = target.observe(key).await?;
    let slot = |unit: &UnitId| seen.unit(unit).map(|seen| seen.slot);
    let may_go = over.into_iter().filter(|unit| may_go(&seen, unit));
    Ok(may_go.filter_map(|unit| slot(&unit).map(|slot| (unit, slot))).collect())
}

async fn remove(
    key: &EnvironmentKey,
    target: &dyn Target,
    hold: &Hold,
    last: &DeploymentRecord,
) -> Result<Vec<UnitId>, DeployError> {
    let id = last.deployment.id;
    let mut removed = Vec::new();
    for (unit, slot) in expired(key, target).await.map_err(broken)? {
        hold.permit().await;
        let op = Op { action: OpAction::Remove, unit, slot, replaces: None, deployment: id };
        let cancel = CancellationToken::new();
        target.apply(&op, &last.deployment.spec, hold.fence(), &cancel).await.map_err(broken)?;
        removed.push(op.unit);
    }
    Ok(removed)
}

fn broken(error: TargetError) -> DeployError {
    let message = error.to_string();
    let part = match error {
        TargetError::Infrastructure { part, .. } => part,
        _ => "target".to_owned(),
    };
    DeployError::Infrastructure { part, message }
}
