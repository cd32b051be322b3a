//! After a crash: each deployment that did not end is finished or reverted.
//!
//! Nothing is read from the journal. The lock comes with a larger fence, so the
//! former engine, should it still live, can change nothing more; what is to be
//! seen then decides.

use std::sync::Arc;

use event::DeploymentState;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::engine::carry_out;
use crate::lock::Hold;
use crate::op::{Direction, Fault, Place, Reporter, Work};
use crate::plan::{Before, DeployPlan};
use crate::rollback::back;
use crate::session::{End, Session};
use crate::{
    DeployError, Deployed, DeploymentRecord, Ledger, Limits, Observed, Op, OpAction, Target, plan,
};

/// Op numbers of a former life are not known; each lock begins its own hundred
/// thousand, and that many locks later they may repeat.
const LIVES: u64 = 40_000;

/// Ends a deployment that a crash left without an end.
///
/// It waits for the lock, at most [`Limits::lock_wait`], then completes the
/// deployment if every wanted slot is served by a healthy unit of it, and goes
/// back otherwise. Dropping the future is like another crash.
pub async fn recover(
    record: DeploymentRecord,
    target: Arc<dyn Target>,
    ledger: Arc<dyn Ledger>,
    holder: String,
) -> Result<Deployed, DeployError> {
    let (progress, _) = mpsc::channel(1);
    recover_within(record, Limits::default(), target, ledger, holder, progress).await
}

pub async fn recover_within(
    record: DeploymentRecord,
    limits: Limits,
    target: Arc<dyn Target>,
    ledger: Arc<dyn Ledger>,
    holder: String,
    progress: mpsc::Sender<crate::Progress>,
) -> Result<Deployed, DeployError> {
    let reporter = Reporter(progress);
    let begun = Instant::now();
    take_up(Session { record, holder, limits, target, ledger, reporter, begun }).await
}

/// Takes up a deployment under a new lease.
pub(crate) async fn take_up(session: Session) -> Result<Deployed, DeployError> {
    // A recovery is not cancelled: what it does is what a cancel would ask for.
    let hold = match session.lock(&CancellationToken::new()).await? {
        Ok(hold) => hold,
        Err(end) => {
            return Err(DeployError::Interrupted {
                environment: session.deployment().spec.environment.clone(),
                reason: end.reason.unwrap_or_default(),
            });
        }
    };
    let end = tokio::select! {
        biased;
        lost = hold.keep() => Err(Fault::Fenced(lost)),
        end = finish_or_revert(&session, &hold) => end,
    };
    session.close(&hold, end).await
}

async fn finish_or_revert(session: &Session, hold: &Hold) -> Result<End, Fault> {
    let deployment = session.deployment();
    let spec = &deployment.spec;
    session.reporter.line(format!("recovering deployment {}", deployment.id.short())).await;
    let history = session.history().await?;
    // Where that is not possible it stays without an end, and the next start tries again.
    let seen = session.observe().await?;
    let before = Before::inferred(spec, &seen, deployment.id);
    let work = session.work(hold, hold.fence() % LIVES + 1);
    if seen.units.iter().any(|unit| unit.deployment == deployment.id) {
        work.marks.begin_batch();
    } else if session.record.fence == 0 {
        let reason = "interrupted before it held the lock";
        return Ok(End::without_change(DeploymentState::Failed, reason));
    }
    let plan = plan(spec, &seen, deployment.id);
    let fault = if plan.is_clean_up() {
        match complete(session, &work, &seen, &plan).await {
            Ok(units) => return Ok(End::succeeded(&work, before.release(), units)),
            Err(fault) if fault.is_interruption() => return Err(fault),
            Err(fault) => fault,
        }
    } else {
        Fault::Interrupted
    };
    let end = back(session, &work, &before, &history, fault).await?;
    let admitted = |unit: &crate::ObservedUnit| unit.admitted && unit.deployment == deployment.id;
    let caught_before_admit = Some(!seen.units.iter().any(admitted));
    Ok(End { caught_before_admit, ..end })
}

/// Everything wanted is there: looks once more whether it is healthy, and
/// clears away what it replaced.
async fn complete(
    session: &Session,
    work: &Work<'_>,
    seen: &Observed,
    plan: &DeployPlan,
) -> Result<Vec<crate::ObservedUnit>, Fault> {
    let deployment = session.deployment();
    let cancel = CancellationToken::new();
    let place = Place { batch: None, back: false };
    let ours = seen.units.iter().filter(|unit| unit.deployment == deployment.id && unit.admitted);
    for unit in ours {
        let op = Op {
            action: OpAction::Gate,
            unit: unit.unit.clone(),
            slot: unit.slot,
            replaces: None,
            deployment: deployment.id,
        };
        let intent = work.intend([&op], place).await?[0];
        work.perform(intent, &op, Direction::Apply, &deployment.spec, place, &cancel).await?;
    }
    carry_out(work, plan, session, &cancel).await
}
