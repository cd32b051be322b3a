//! After a crash: each deployment that did not end is finished or reverted.
//!
//! The lock comes with a larger fence, so the former engine, should it still live, can
//! change nothing more. What is to be seen then decides, beside what was seen before the
//! deployment began; of the journal counts only which units had failed. Where something
//! new serves and is healthy the rest is planned again and done; else all goes back. What
//! waited for somebody's decision goes on to wait.

use std::collections::BTreeSet;
use std::sync::Arc;

use event::{Decision, DeploymentId, DeploymentKind, DeploymentState};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::apply::Rollout;
use crate::fault::Fault;
use crate::lock::Hold;
use crate::op::{Direction, Place, Reporter};
use crate::plan::{Before, Budget, FailedUnit};
use crate::rollback::back;
use crate::session::{End, Session};
use crate::suite::{Checks, VerifyStep};
use crate::undo::Specs;
use crate::{
    CheckRunner, DeployError, Deployed, DeploymentRecord, Holding, Ledger, Limits, ObservedUnit,
    Op, OpAction, Policy, Target, UnitId, course, plan_for, unit_name,
};

/// Op numbers of a former life are not known; each lock begins its own hundred
/// thousand, and that many locks later they may repeat.
const LIVES: u64 = 40_000;

/// Ends a deployment that a crash left without an end.
///
/// It waits for the lock, at most [`Limits::lock_wait`], then carries the deployment on
/// where units of it serve and are healthy, and goes back otherwise: also where one had
/// failed, where it was on its way back already, and where it stood still for longer
/// than [`Limits::resume_max`]. One that was held waits on until its time is up; what was
/// decided meanwhile holds. What serves is checked again, for nobody knows whether it was;
/// without a `runner` a check that needs a container cannot be made, so that goes back, too.
/// Dropping the future is like another crash.
pub async fn recover(
    record: DeploymentRecord,
    target: Arc<dyn Target>,
    ledger: Arc<dyn Ledger>,
    holder: String,
    runner: Option<Arc<dyn CheckRunner>>,
) -> Result<Deployed, DeployError> {
    let (progress, _) = mpsc::channel(1);
    recover_within(record, Limits::default(), target, ledger, holder, runner, progress).await
}

pub async fn recover_within(
    record: DeploymentRecord,
    limits: Limits,
    target: Arc<dyn Target>,
    ledger: Arc<dyn Ledger>,
    holder: String,
    runner: Option<Arc<dyn CheckRunner>>,
    progress: mpsc::Sender<crate::Progress>,
) -> Result<Deployed, DeployError> {
    #[cfg(feature = "crash-points")]
    let target = crate::crash_points::around(target);
    let reporter = Reporter(progress);
    let begun = Instant::now();
    // What was asked was asked when it was requested.
    let policy = Policy::default();
    if let Some(runner) = &runner
        && let Err(error) = runner.clear().await
    {
        tracing::warn!("what checks of a dead engine left is not removed: {error}");
    }
    let checks = Checks::new(runner);
    take_up(Session { record, holder, policy, checks, limits, target, ledger, reporter, begun })
        .await
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
    session.reporter.line(format!("recovering deployment {}", deployment.id.short())).await;
    let history = session.history().await?;
    let Some(before) = session.record.before.clone() else {
        let reason = match session.record.fence {
            0 => "interrupted before it held the lock",
            _ => "interrupted before it had a plan",
        };
        return Ok(End::without_change(DeploymentState::Failed, reason));
    };
    // Where that is not possible it stays without an end, and the next start tries again.
    let seen = session.observe().await?;
    let overtaken = overtaken(&history, deployment.id, &before);
    // What serves after somebody else's deployment is theirs, and stays.
    let before = match overtaken {
        Some(_) => Before::of(&seen, hold.fence()),
        None => before,
    };
    let work = session.work(hold, hold.fence() % LIVES + 1);
    let new = |unit: &&ObservedUnit| unit.admitted && before.is_new(unit);
    let admitted = seen.units.iter().any(|unit| new(&unit));
    let begun = !before.differences(&seen, deployment.id).is_empty();
    work.marks.take_up(begun, admitted);
    let mut budget = budget(session, &before).await?;
    // As it is now: a life that lost its lock knows what it was when it began.
    let own = history.iter().find(|record| record.deployment.id == deployment.id);
    let waits = own.is_some_and(|record| record.held_until.is_some());
    let rolling_back = own.is_some_and(|record| record.rolling_back);
    let holding = holding(session, waits, &mut budget).await?;
    let plan = plan_for(deployment, &seen);
    let acting = session.acting();
    let specs = Specs::new(&acting, &history);
    let cancel = CancellationToken::new();
    let rollout = Rollout { session, work: &work, before: &before, specs: &specs, cancel: &cancel };

    let fault = if let Some(newer) = overtaken {
        Some(Fault::Overtaken(newer.deployment.id.short()))
    } else if rolling_back {
        Some(Fault::Interrupted)
    } else {
        let is_dead = !waits && (budget.is_exceeded() || session.is_late());
        let carries_on = plan.is_clean_up() || admitted || holding.is_some();
        match carries_on && !is_dead {
            true => {
                let failed: BTreeSet<_> = budget.units().collect();
                let serving = seen.units.iter().filter(new);
                let serving = serving.filter(|unit| !failed.contains(&unit.unit));
                let serving: Vec<_> = serving.collect();
                match healthy(&rollout, &serving).await {
                    // What was found when it was held is what is to be decided about.
                    Ok(()) if holding.is_some() => None,
                    Ok(()) => verified(&rollout, &serving).await.err(),
                    Err(fault) => Some(fault),
                }
            }
            false => Some(Fault::Interrupted),
        }
    };
    match fault {
        None => match holding {
            Some(holding) => course::resume(&rollout, budget, &holding).await,
            None => course::run(&rollout, plan, budget).await,
        },
        Some(fault) if fault.is_interruption() => Err(fault),
        Some(fault) => back(&rollout, &budget, fault).await,
    }
}

/// Returns how the deployment is held, or was and is decided about. What somebody chose to
/// go on without is tolerated.
async fn holding(
    session: &Session,
    waits: bool,
    budget: &mut Budget,
) -> Result<Option<Holding>, Fault> {
    let (ledger, id) = (&session.ledger, session.deployment().id);
    let Some(holding) = ledger.holding(id).await.map_err(Fault::Ledger)? else { return Ok(None) };
    let decision = ledger.decision(id).await.map_err(Fault::Ledger)?;
    if decision == Some(Decision::Continue) {
        budget.grant_up_to(holding.units.len());
    }
    Ok(Some(holding).filter(|_| waits || decision.is_some()))
}

/// Returns the deployment that has changed the environment since `before` was seen.
fn overtaken<'h>(
    history: &'h [DeploymentRecord],
    deployment: DeploymentId,
    before: &Before,
) -> Option<&'h DeploymentRecord> {
    let left_its_mark = |record: &&DeploymentRecord| {
        let later = record.before.as_ref().is_some_and(|theirs| theirs.fence > before.fence);
        let stays = record.mixed
            || matches!(record.state, Some(DeploymentState::Succeeded | DeploymentState::Stuck));
        record.deployment.id != deployment && later && stays
    };
    history.iter().find(left_its_mark)
}

/// What has failed in former lives counts.
async fn budget(session: &Session, before: &Before) -> Result<Budget, Fault> {
    let deployment = session.deployment();
    let spec = &deployment.spec;
    let mut budget = Budget::new(spec.strategy.tolerate);
    let failed = session.ledger.failed_units(deployment.id).await.map_err(Fault::Ledger)?;
    for unit in failed {
        let known = before.serving.iter().chain(&before.others);
        let mut known = known.filter(|known| known.unit == unit).map(|known| known.slot);
        let made = || (0..spec.replicas).find(|slot| unit_name(spec, *slot, deployment.id) == unit);
        if let Some(slot) = known.next().or_else(made) {
            let reason = format!("{unit} failed before the engine was interrupted");
            budget.fail(unit, FailedUnit { slot, reason });
        }
    }
    Ok(budget)
}

/// Looks once more whether what was brought into traffic is healthy.
async fn healthy(rollout: &Rollout<'_>, new: &[&ObservedUnit]) -> Result<(), Fault> {
    for unit in new {
        look(rollout, OpAction::Gate, unit.unit.clone(), unit.slot).await?;
    }
    Ok(())
}

/// Checks once more what was brought into traffic: whether the former life came to it,
/// nothing but its journal could tell.
async fn verified(rollout: &Rollout<'_>, new: &[&ObservedUnit]) -> Result<(), Fault> {
    let brings_up = rollout.session.deployment().kind != DeploymentKind::Stop;
    if new.is_empty() || !brings_up {
        return Ok(());
    }
    // In haste nothing is checked.
    let spec = rollout.session.acting();
    if spec.verify.iter().any(VerifyStep::is_of_unit) {
        for unit in new {
            look(rollout, OpAction::VerifyUnit, unit.unit.clone(), unit.slot).await?;
        }
    }
    if spec.verify.iter().any(|step| !step.is_of_unit()) {
        look(rollout, OpAction::Verify, UnitId(spec.route()), 0).await?;
    }
    Ok(())
}

async fn look(
    rollout: &Rollout<'_>,
    action: OpAction,
    unit: UnitId,
    slot: u32,
) -> Result<(), Fault> {
    let Rollout { session, work, cancel, .. } = rollout;
    let deployment = session.deployment();
    let place = Place { batch: None, back: false };
    let op = Op { action, unit, slot, replaces: None, deployment: deployment.id };
    let intent = work.intend([&op], place).await?[0];
    work.perform(intent, &op, Direction::Apply, &deployment.spec, place, cancel).await
}
