//! The end of a deployment that failed: takes it back, looks, and says how that ended.

use event::{DeploymentKind, DeploymentState};

use crate::op::{Fault, Work};
use crate::plan::Before;
use crate::session::{End, Session};
use crate::undo::{Extent, Specs, go_back};
use crate::{DeploymentRecord, TargetError, verify};

/// Takes back what was done, and says how that ended.
pub(crate) async fn back(
    session: &Session,
    work: &Work<'_>,
    before: &Before,
    history: &[DeploymentRecord],
    fault: Fault,
) -> Result<End, Fault> {
    let deployment = session.deployment();
    let cancelled = matches!(fault, Fault::Cancelled);
    let reason = fault.to_string();
    let caught_before_admit = (!cancelled).then_some(!work.marks.admit_begun());
    let previous = before.release();
    if !work.marks.batch_begun() {
        let state = if cancelled { DeploymentState::Cancelled } else { DeploymentState::Failed };
        let mut end = End { previous, ..End::without_change(state, reason.clone()) };
        if fault.is_infrastructure() {
            end.infrastructure = Some(infrastructure(&fault));
        }
        return Ok(end);
    }

    let judged = !cancelled && !matches!(fault, Fault::Interrupted);
    let rollback_failed = deployment.kind == DeploymentKind::Rollback && judged;
    let extent = if rollback_failed {
        Extent::Unserving { unhealthy: unhealthy_unit(&fault) }
    } else {
        Extent::All
    };
    session.reporter.line(format!("rolling back: {reason}")).await;
    let specs = Specs::new(&deployment.spec, history);
    let returning = async {
        let seen = session.observe().await?;
        go_back(work, before, &seen, &specs, deployment.id, extent).await
    };
    let mut failures = match tokio::time::timeout(session.limits.rollback, returning).await {
        Ok(Ok(failures)) => failures,
        Ok(Err(Fault::Unverified(why))) => vec![why],
        Ok(Err(interruption)) => return Err(interruption),
        Err(_) => vec![format!("not done within {} s", session.limits.rollback.as_secs())],
    };
    let (units, report) = match session.observe().await {
        Ok(seen) => {
            failures.extend(before.differences(&seen, deployment.id));
            let report = verify::report(&seen);
            (seen.units, report)
        }
        Err(Fault::Unverified(why)) => {
            failures.push(why.clone());
            (Vec::new(), why)
        }
        Err(interruption) => return Err(interruption),
    };
    let admitted = work.marks.admit_begun();
    let (state, reason) = if rollback_failed {
        (DeploymentState::Stuck, format!("{reason}; the rollback failed; {report}"))
    } else if !failures.is_empty() {
        let why = failures.join("; ");
        (DeploymentState::Stuck, format!("{reason}; not rolled back: {why}; {report}"))
    } else if cancelled {
        let reason = if admitted { "cancelled; rolled back" } else { "cancelled" };
        (DeploymentState::Cancelled, reason.to_owned())
    } else {
        (DeploymentState::RolledBack, reason)
    };
    Ok(End {
        state,
        reason: Some(reason),
        previous,
        caught_before_admit,
        cut: work.marks.cut(),
        units,
        infrastructure: None,
    })
}

fn unhealthy_unit(fault: &Fault) -> Option<&crate::UnitId> {
    match fault {
        Fault::Unhealthy { op, .. } => Some(&op.unit),
        _ => None,
    }
}

fn infrastructure(fault: &Fault) -> (String, String) {
    match fault {
        Fault::Broken { error: TargetError::Infrastructure { part, message }, .. } => {
            (part.clone(), message.clone())
        }
        other => ("target".to_owned(), other.to_string()),
    }
}
