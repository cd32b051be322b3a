//! The end of a deployment that failed: takes it back, or halts it where it is; looks,
//! and says how that ended.

use std::collections::BTreeSet;

use event::{DeploymentKind, DeploymentState, EventKind};

use crate::apply::Rollout;
use crate::fault::Fault;
use crate::plan::Budget;
use crate::session::End;
use crate::undo::{Extent, go_back};
use crate::{ObservedUnit, TargetError, UnitId, verify};

/// What going back came to.
struct Return {
    /// Why some of it could not be taken back.
    failures: Vec<String>,
    units: Vec<ObservedUnit>,
    /// What is where, for people.
    report: String,
}

/// Takes back what was done, and says how that ended.
pub(crate) async fn back(
    rollout: &Rollout<'_>,
    budget: &Budget,
    fault: Fault,
) -> Result<End, Fault> {
    let Rollout { session, work, before, .. } = rollout;
    let cancelled = matches!(fault, Fault::Cancelled);
    let reason = fault.to_string();
    let mut end = End {
        previous: before.release(),
        caught_before_admit: (!cancelled).then_some(!work.marks.admit_begun()),
        cut: work.marks.cut(),
        ..End::without_change(DeploymentState::Failed, reason.clone())
    };
    if !work.marks.batch_begun() {
        if cancelled {
            end.state = DeploymentState::Cancelled;
        }
        end.infrastructure = fault.is_infrastructure().then(|| infrastructure(&fault));
        return Ok(end);
    }

    let kind = session.deployment().kind;
    let rollback_failed = kind == DeploymentKind::Rollback && fault.is_failure();
    let unhealthy = unhealthy(budget, &fault);
    let extent = match rollback_failed {
        true => Extent::Unserving { unhealthy: &unhealthy },
        false => Extent::All,
    };
    session.reporter.line(format!("rolling back: {reason}")).await;
    session.write(EventKind::DeploymentRollingBack { reason: reason.clone() }).await?;
    let Return { mut failures, units, report } = go(rollout, extent).await?;
    if !rollback_failed {
        failures.extend(before.differences_of(&units, session.deployment().id));
    }
    let (state, reason) = if rollback_failed {
        (DeploymentState::Stuck, format!("{reason}; the rollback failed; {report}"))
    } else if !failures.is_empty() {
        let why = failures.join("; ");
        (DeploymentState::Stuck, format!("{reason}; not rolled back: {why}; {report}"))
    } else if cancelled && !work.marks.traffic_begun() {
        (DeploymentState::Cancelled, reason)
    } else {
        (DeploymentState::RolledBack, reason)
    };
    Ok(End { state, reason: Some(reason), units, cut: work.marks.cut(), ..end })
}

/// Takes back what failed, and leaves what serves: the environment is then of two
/// releases, which the end says loudly.
pub(crate) async fn halt(
    rollout: &Rollout<'_>,
    budget: &Budget,
    fault: Fault,
) -> Result<End, Fault> {
    let Rollout { session, work, before, .. } = rollout;
    let reason = fault.to_string();
    session.reporter.line(format!("stopping here: {reason}")).await;
    let mut unhealthy = unhealthy(budget, &fault);
    // What was found by looking at all of a batch is said of all of it.
    if fault.op().is_none_or(|op| op.action.is_of_environment()) {
        unhealthy.extend(work.marks.take_unproven());
    }
    let extent = Extent::Unserving { unhealthy: &unhealthy };
    let Return { failures, units, report } = go(rollout, extent).await?;
    let mixed = units.iter().any(|unit| unit.admitted && before.is_new(unit));
    let (state, reason) = match failures.is_empty() {
        false => {
            let why = failures.join("; ");
            (DeploymentState::Stuck, format!("{reason}; not taken back: {why}; {report}"))
        }
        true if mixed => (DeploymentState::Failed, format!("{reason}; stopped half way: {report}")),
        true => (DeploymentState::Failed, reason),
    };
    Ok(End {
        previous: before.release(),
        caught_before_admit: Some(!work.marks.admit_begun()),
        cut: work.marks.cut(),
        mixed,
        units,
        ..End::without_change(state, reason)
    })
}

/// Goes back within the deadline, and looks.
async fn go(rollout: &Rollout<'_>, extent: Extent<'_>) -> Result<Return, Fault> {
    let Rollout { session, work, before, specs, .. } = rollout;
    let deployment = session.deployment();
    let returning = async {
        let seen = session.observe().await?;
        go_back(work, before, &seen, specs, deployment.id, extent).await
    };
    let deadline = deployment.spec.strategy.rollback_deadline.std();
    let mut failures = match tokio::time::timeout(deadline, returning).await {
        Ok(Ok(failures)) => failures,
        Ok(Err(Fault::Unverified(why))) => vec![why],
        Ok(Err(interruption)) => return Err(interruption),
        Err(_) => vec![format!("not done within {} s", deadline.as_secs())],
    };
    match session.observe().await {
        Ok(seen) => {
            let report = verify::report(&seen);
            Ok(Return { failures, units: seen.units, report })
        }
        Err(Fault::Unverified(why)) => {
            failures.push(why.clone());
            Ok(Return { failures, units: Vec::new(), report: why })
        }
        Err(interruption) => Err(interruption),
    }
}

/// The units that were found unhealthy, which do not count as serving.
fn unhealthy(budget: &Budget, fault: &Fault) -> BTreeSet<UnitId> {
    let of_fault = match fault {
        Fault::Unhealthy { op, .. } => Some(&op.unit),
        _ => None,
    };
    budget.units().chain(of_fault).cloned().collect()
}

fn infrastructure(fault: &Fault) -> (String, String) {
    match fault {
        Fault::Broken { error: TargetError::Infrastructure { part, message }, .. } => {
            (part.clone(), message.clone())
        }
        other => ("target".to_owned(), other.to_string()),
    }
}
