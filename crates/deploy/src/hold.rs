//! A deployment whose batch failed waits for somebody to decide.
//!
//! What failed is out of traffic meanwhile, its former unit serves where that is possible,
//! and what was brought up before is still watched: waiting is no reason to overlook that
//! it gets worse. The wait is written down, so it goes on when the engine has died.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
use event::{Decision, EventKind};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::apply::Rollout;
use crate::engine::Waiting;
use crate::fault::Fault;
use crate::plan::Budget;
use crate::undo::{Extent, go_back};
use crate::{
    Holding, Observed, ObservedUnit, Op, OpAction, OpOutcome, Spec, TargetError, UnitState,
};

/// How long somebody has to decide; then it rolls back.
const HOLD: TimeDelta = TimeDelta::minutes(30);
/// How often the ledger is asked for a decision.
const POLL: Duration = Duration::from_secs(1);
/// How often the units are looked at, at least.
const LOOK: Duration = Duration::from_secs(5);
/// What a look may take on top of its time.
const MARGIN: Duration = Duration::from_secs(15);

/// What to do, and of going back why.
#[derive(Debug)]
pub(crate) enum Decided {
    Continue,
    Rollback(String),
}

/// Takes out of traffic what failed, writes down that somebody is to decide, and waits.
pub(crate) async fn hold(
    rollout: &Rollout<'_>,
    budget: &Budget,
    fault: &Fault,
) -> Result<Decided, Fault> {
    let seen = rollout.session.observe().await?;
    take_out(rollout, budget, &seen).await?;
    let until = DateTime::<Utc>::from(SystemTime::now()) + HOLD;
    let reason = fault.to_string();
    let units = budget.units().map(ToString::to_string).collect();
    let held = EventKind::DeploymentHeld { reason: reason.clone(), units, until };
    rollout.session.write(held).await?;
    wait(rollout, budget, &reason, until).await
}

/// Goes on with a wait that another engine began.
pub(crate) async fn hold_on(
    rollout: &Rollout<'_>,
    budget: &Budget,
    holding: &Holding,
) -> Result<Decided, Fault> {
    wait(rollout, budget, &holding.reason, holding.until).await
}

async fn wait(
    rollout: &Rollout<'_>,
    budget: &Budget,
    reason: &str,
    until: DateTime<Utc>,
) -> Result<Decided, Fault> {
    let reporter = &rollout.session.reporter;
    let environment = &rollout.session.deployment().spec.environment;
    let line = format!(
        "held: {reason}; it goes back at {} unless somebody decides: `shipline decide \
         {environment} continue` or `rollback`",
        until.format("%H:%M UTC")
    );
    reporter.waiting(line, Waiting::Begun { reason: reason.to_owned(), until }).await;
    let decided = tokio::select! {
        biased;
        decided = decision(rollout, until) => decided,
        worse = watch(rollout, budget) => worse.map(Decided::Rollback),
    }?;
    let line = match &decided {
        Decided::Continue => "decided: continue".to_owned(),
        Decided::Rollback(why) => format!("held no longer: {why}"),
    };
    reporter.waiting(line, Waiting::Over).await;
    Ok(decided)
}

/// Waits until somebody has decided, or nobody has in time; to cancel is to go back.
async fn decision(rollout: &Rollout<'_>, until: DateTime<Utc>) -> Result<Decided, Fault> {
    let session = rollout.session;
    let left = (until - DateTime::<Utc>::from(SystemTime::now())).to_std().unwrap_or_default();
    let deadline = Instant::now() + left;
    loop {
        let decided = session.ledger.decision(session.deployment().id).await;
        match decided.map_err(Fault::Ledger)? {
            Some(Decision::Continue) => return Ok(Decided::Continue),
            Some(Decision::Rollback) => {
                return Ok(Decided::Rollback("somebody chose to go back".to_owned()));
            }
            None if Instant::now() >= deadline => {
                let why = format!("nobody decided within {} min", HOLD.num_minutes());
                return Ok(Decided::Rollback(why));
            }
            None => {}
        }
        tokio::select! {
            () = tokio::time::sleep_until((Instant::now() + POLL).min(deadline)) => {}
            () = rollout.cancel.cancelled() => {
                return Ok(Decided::Rollback("cancelled while it was held".to_owned()));
            }
        }
    }
}

/// Returns why it got worse, when it does: a unit that was brought up and not found bad
/// before dies, leaves traffic, or fails its health check.
async fn watch(rollout: &Rollout<'_>, budget: &Budget) -> Result<String, Fault> {
    let Rollout { session, before, .. } = rollout;
    let failed: BTreeSet<_> = budget.units().collect();
    let is_watched =
        |unit: &&ObservedUnit| unit.admitted && before.is_new(unit) && !failed.contains(&unit.unit);
    let mut watched: Option<Vec<ObservedUnit>> = None;
    loop {
        let begun = Instant::now();
        let seen = match session.observe().await {
            Ok(seen) => seen,
            Err(fault) if fault.is_interruption() => return Err(fault),
            // Nobody knows, which is no verdict.
            Err(fault) => {
                tracing::warn!("what is held cannot be watched: {fault}");
                tokio::time::sleep(LOOK).await;
                continue;
            }
        };
        let watched =
            watched.get_or_insert_with(|| seen.units.iter().filter(is_watched).cloned().collect());
        for unit in &*watched {
            match seen.unit(&unit.unit) {
                None => return Ok(format!("{} is gone", unit.unit)),
                Some(now) if now.state != UnitState::Running => {
                    return Ok(format!("{} does not run any more", unit.unit));
                }
                Some(now) if !now.admitted => {
                    return Ok(format!("{} gets no traffic any more", unit.unit));
                }
                Some(_) => {}
            }
        }
        for worse in join_all(watched.iter().map(|unit| look(rollout, unit))).await {
            if let Some(why) = worse? {
                return Ok(why);
            }
        }
        tokio::time::sleep_until(begun + LOOK).await;
    }
}

/// Watches a unit as a bake does, for as long as it takes to find one that fails. It is
/// not written down: it changes nothing, and would be said again and again.
async fn look(rollout: &Rollout<'_>, unit: &ObservedUnit) -> Result<Option<String>, Fault> {
    let Rollout { session, work, cancel, .. } = rollout;
    let deployment = session.deployment();
    let op = Op {
        action: OpAction::Bake,
        unit: unit.unit.clone(),
        slot: unit.slot,
        replaces: None,
        deployment: deployment.id,
    };
    let mut spec: Spec = deployment.spec.clone();
    spec.strategy.bake = span(&spec);
    work.hold.permit().await;
    let looking = session.target.apply(&op, &spec, work.hold.fence(), cancel);
    match tokio::time::timeout(spec.strategy.bake.std() + MARGIN, looking).await {
        Ok(Ok(OpOutcome::Unhealthy { reason, .. })) => {
            return Ok(Some(format!("{} turned bad meanwhile: {reason}", unit.unit)));
        }
        Ok(Ok(_)) => {}
        Ok(Err(TargetError::Fenced(by))) => return Err(Fault::Fenced(by)),
        Ok(Err(error)) => tracing::warn!(unit = %unit.unit, "cannot be watched: {error}"),
        Err(_) => tracing::warn!(unit = %unit.unit, "cannot be watched: no answer in time"),
    }
    Ok(None)
}

/// Long enough to see as many failures in a row as it takes.
fn span(spec: &Spec) -> pipeline::Duration {
    let span = spec.health.as_ref().map_or(LOOK, |health| {
        let look = health.interval.std() + health.timeout.std();
        LOOK.max(look.saturating_mul(health.failures.saturating_add(1)))
    });
    pipeline::Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

/// Takes failed units out of traffic, as long as others serve.
async fn take_out(rollout: &Rollout<'_>, budget: &Budget, seen: &Observed) -> Result<(), Fault> {
    let Rollout { session, work, before, specs, .. } = rollout;
    let has_failed = |unit: &ObservedUnit| budget.units().any(|failed| *failed == unit.unit);
    let serves = |unit: &&ObservedUnit| unit.admitted && unit.state == UnitState::Running;
    let others = seen.units.iter().filter(serves).any(|unit| !has_failed(unit));
    let mut slots = budget.slots();
    if !others {
        let beside = !specs.failed.stops_first();
        slots.retain(|slot| beside && before.of_slot(*slot).is_some());
    }
    let id = session.deployment().id;
    let failures = go_back(work, before, seen, specs, id, Extent::Traffic(&slots)).await?;
    match failures.is_empty() {
        true => Ok(()),
        false => Err(Fault::Unverified(failures.join("; "))),
    }
}
