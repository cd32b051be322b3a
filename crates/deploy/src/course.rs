//! The course of a deployment from its plan to its end, whatever happens on the way:
//! the same for one that begins and for one that is taken up after a crash.

use std::collections::BTreeSet;

use event::DeploymentKind;
use pipeline::OnFailure;

use crate::apply::Rollout;
use crate::fault::Fault;
use crate::hold::{Decided, hold, hold_on};
use crate::plan::{Budget, proof};
use crate::rollback::{back, halt};
use crate::session::End;
use crate::{DeployPlan, Holding, ObservedUnit, OpAction, UnitId, plan_for};

/// What follows a wait for somebody's decision.
enum Next {
    /// The rest of the plan.
    On(DeployPlan),
    End(End),
}

/// Carries out a plan, and ends as its strategy says where that fails.
pub(crate) async fn run(
    rollout: &Rollout<'_>,
    mut plan: DeployPlan,
    mut budget: Budget,
) -> Result<End, Fault> {
    loop {
        let fault = match rollout.carry_out(&plan, &mut budget).await {
            Ok(units) => {
                let previous = rollout.before.release();
                let end = End::succeeded(rollout.work, previous, units);
                return Ok(End { reason: budget.report(), ..end });
            }
            Err(fault) if fault.is_interruption() => return Err(fault),
            Err(fault) => fault,
        };
        match on_failure(rollout, &fault) {
            OnFailure::Rollback => return back(rollout, &budget, fault).await,
            OnFailure::Stop => return halt(rollout, &budget, fault).await,
            OnFailure::Hold => {
                let decided = hold(rollout, &budget, &fault).await;
                match next(rollout, &mut budget, fault, decided).await? {
                    Next::On(rest) => plan = rest,
                    Next::End(end) => return Ok(end),
                }
            }
        }
    }
}

/// Carries on a deployment that was held when its engine died.
pub(crate) async fn resume(
    rollout: &Rollout<'_>,
    mut budget: Budget,
    holding: &Holding,
) -> Result<End, Fault> {
    rollout.work.marks.unproven(new_units(rollout).await?);
    let decided = hold_on(rollout, &budget, holding).await;
    let fault = Fault::Held(holding.reason.clone());
    match next(rollout, &mut budget, fault, decided).await? {
        Next::On(rest) => run(rollout, rest, budget).await,
        Next::End(end) => Ok(end),
    }
}

/// The units that serve and did not before.
async fn new_units(rollout: &Rollout<'_>) -> Result<BTreeSet<UnitId>, Fault> {
    let seen = rollout.session.observe().await?;
    let is_new = |unit: &&ObservedUnit| unit.admitted && rollout.before.is_new(unit);
    Ok(seen.units.iter().filter(is_new).map(|unit| unit.unit.clone()).collect())
}

async fn next(
    rollout: &Rollout<'_>,
    budget: &mut Budget,
    fault: Fault,
    decided: Result<Decided, Fault>,
) -> Result<Next, Fault> {
    let fault = match decided {
        Ok(Decided::Continue) => {
            budget.grant();
            let failed = fault.op().map(|op| op.action);
            match again(rollout, budget, failed).await {
                Ok(rest) => return Ok(Next::On(rest)),
                Err(fault) => fault,
            }
        }
        Ok(Decided::Rollback(why)) => Fault::Held(format!("{fault}; {why}")),
        Err(stop) if stop.is_interruption() => return Err(stop),
        // It could not even be held.
        Err(why) => Fault::Held(format!("{fault}; {why}")),
    };
    match fault {
        fault if fault.is_interruption() => Err(fault),
        fault => back(rollout, budget, fault).await.map(Next::End),
    }
}

/// Gives up what failed, and plans the rest from what is there now. What was brought up
/// beside it is still to be looked at.
async fn again(
    rollout: &Rollout<'_>,
    budget: &Budget,
    failed: Option<OpAction>,
) -> Result<DeployPlan, Fault> {
    rollout.give_up(&budget.slots()).await?;
    let deployment = rollout.session.deployment();
    let seen = rollout.session.observe().await?;
    let unproven = rollout.work.marks.take_unproven();
    let is_left = |unit: &&ObservedUnit| unit.admitted && unproven.contains(&unit.unit);
    let left: Vec<_> = seen.units.iter().filter(is_left).collect();
    let rest = plan_for(deployment, &seen);
    let proof = proof(&rollout.session.acting(), &left, failed, deployment.id);
    Ok(DeployPlan { batches: proof.into_iter().chain(rest.batches).collect(), ..rest })
}

/// What the strategy says about a fault. Only what brings up units can be left half
/// way, or be asked about; and only a failure is, not a cancel or a crash.
fn on_failure(rollout: &Rollout<'_>, fault: &Fault) -> OnFailure {
    let deployment = rollout.session.deployment();
    let can_stay = matches!(
        deployment.kind,
        DeploymentKind::Deploy | DeploymentKind::Restart | DeploymentKind::Scale
    );
    match fault.is_failure() && rollout.work.marks.batch_begun() && can_stay {
        true => deployment.spec.strategy.on_failure,
        false => OnFailure::Rollback,
    }
}
