//! One deployment from request to its end.
//!
//! It is recorded, waits for the environment's lock, looks, checks, plans, and
//! does batch after batch. Whatever goes wrong after the first batch began is
//! undone, and what the end says is what was observed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use event::{DeploymentId, DeploymentState, ReleaseId};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::lock::{Hold, TTL};
use crate::op::{Fault, Reporter, Work};
use crate::plan::{Before, DeployPlan};
use crate::rollback::back;
use crate::session::{End, Session};
use crate::{
    Deployment, DeploymentRecord, Ledger, LedgerError, NewDeployment, ObservedUnit, OpAction,
    Target, TargetError, apply, plan, recover, verify,
};

const PREFLIGHT: Duration = Duration::from_secs(120);

#[derive(Clone, Debug)]
pub struct Request {
    pub deployment: Deployment,
    /// Who holds the lock, for those who wait for it.
    pub holder: String,
}

/// How long a deployment may wait.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the lock of the environment.
    pub lock_wait: Duration,
    /// For the way back.
    pub rollback: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { lock_wait: Duration::from_secs(15 * 60), rollback: Duration::from_secs(5 * 60) }
    }
}

/// Something to tell people, and events, while a deployment goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub line: String,
    /// An op that was done: action and unit.
    pub applied: Option<(String, String)>,
    /// An op whose effect was taken back.
    pub undone: Option<(String, String)>,
}

/// How a deployment ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployed {
    pub deployment: DeploymentId,
    pub release: ReleaseId,
    /// What ran before.
    pub previous: Option<ReleaseId>,
    pub state: DeploymentState,
    pub reason: Option<String>,
    /// Of a failure: whether it was found before anything new got traffic.
    pub caught_before_admit: Option<bool>,
    /// Requests that did not end within `drain`.
    pub cut: u64,
    /// What was observed at the end.
    pub units: Vec<ObservedUnit>,
}

/// Why a deployment has no honest end, or failed by no fault of its own.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// Recorded as failed; nothing was changed.
    #[error("{part}: {message}")]
    Infrastructure { part: String, message: String },
    /// Not recorded as ended: [`recover()`](crate::recover()) ends it.
    #[error("the deployment to `{environment}` was interrupted: {reason}")]
    Interrupted { environment: String, reason: String },
    /// Not recorded as ended, if it had begun: [`recover()`](crate::recover()) ends it.
    #[error("the deployment could not be written down")]
    Ledger(#[from] LedgerError),
}

/// Deploys with the default [`Limits`].
///
/// Dropping the future is like a crash: the lock ends by itself, and
/// [`recover()`](crate::recover()) ends the deployment.
pub async fn deploy(
    request: Request,
    target: Arc<dyn Target>,
    ledger: Arc<dyn Ledger>,
    progress: mpsc::Sender<Progress>,
    cancel: &CancellationToken,
) -> Result<Deployed, DeployError> {
    deploy_within(request, Limits::default(), target, ledger, progress, cancel).await
}

pub async fn deploy_within(
    request: Request,
    limits: Limits,
    target: Arc<dyn Target>,
    ledger: Arc<dyn Ledger>,
    progress: mpsc::Sender<Progress>,
    cancel: &CancellationToken,
) -> Result<Deployed, DeployError> {
    let Request { deployment, holder } = request;
    let record = DeploymentRecord {
        requested_at: SystemTime::now().into(),
        finished_at: None,
        state: None,
        outcome: None,
        fence: 0,
        deployment,
    };
    let at = record.requested_at;
    ledger.request(NewDeployment { deployment: record.deployment.clone(), at }).await?;
    let mut session = Session {
        record,
        holder,
        limits,
        target,
        ledger,
        reporter: Reporter(progress),
        begun: Instant::now(),
    };
    let hold = match session.lock(cancel).await? {
        Ok(hold) => hold,
        Err(end) => return session.end(end).await,
    };
    let end = tokio::select! {
        biased;
        lost = hold.keep() => Err(Fault::Fenced(lost)),
        end = forward(&session, &hold, cancel) => end,
    };
    match end {
        Err(Fault::Fenced(lost)) => {
            // Somebody may have begun something here. What is ours is put right
            // under a new lease, from what is to be seen then.
            session.reporter.line(format!("the lock was lost: {lost}")).await;
            session.record.fence = hold.fence();
            // Whoever took the lock for long also clears away what we leave.
            session.limits.lock_wait = session.limits.lock_wait.min(2 * TTL);
            recover::take_up(session).await
        }
        end => session.close(&hold, end).await,
    }
}

async fn forward(session: &Session, hold: &Hold, cancel: &CancellationToken) -> Result<End, Fault> {
    let deployment = session.deployment();
    let (key, spec, target) = (deployment.key(), &deployment.spec, &*session.target);
    session.reporter.line(format!("locked   {}/{}", key.project, key.environment)).await;
    let history = session.history().await?;
    if let Some(newer) = session.overtaken_by(&history) {
        let reason = format!(
            "deployment {} was requested later and is already there",
            newer.deployment.id.short()
        );
        return Ok(End::without_change(DeploymentState::Refused, reason));
    }

    let seen = match verify::observe(target, &key).await {
        Ok(seen) => seen,
        Err(TargetError::Fenced(by)) => return Err(Fault::Fenced(by)),
        Err(error) => return Ok(End::unreachable(&error)),
    };
    let before = Before::of(&seen);
    let previous = before.release();
    let checked = tokio::select! {
        checked = tokio::time::timeout(PREFLIGHT, target.preflight(spec, &seen)) => checked,
        () = cancel.cancelled() => {
            return Ok(End::without_change(DeploymentState::Cancelled, "cancelled before any change"));
        }
    };
    let refused = match checked {
        Ok(Ok(findings)) if findings.is_empty() => None,
        Ok(Ok(findings)) => Some(End::without_change(DeploymentState::Failed, findings.join("; "))),
        Ok(Err(TargetError::Fenced(by))) => return Err(Fault::Fenced(by)),
        Ok(Err(error)) => Some(End::unreachable(&error)),
        Err(_) => Some(End::unreachable(&TargetError::Infrastructure {
            part: "target".to_owned(),
            message: format!("preflight was not done within {} s", PREFLIGHT.as_secs()),
        })),
    };
    if let Some(end) = refused {
        return Ok(End { previous, units: seen.units, ..end });
    }
    session.reporter.line("preflight ok").await;

    let plan = plan(spec, &seen, deployment.id);
    session.reporter.line(summary(&plan, spec.replicas)).await;
    let work = session.work(hold, 0);
    let fault = match carry_out(&work, &plan, session, cancel).await {
        Ok(units) => return Ok(End::succeeded(&work, previous, units)),
        Err(fault) => fault,
    };
    if fault.is_interruption() {
        return Err(fault);
    }
    back(session, &work, &before, &history, fault).await
}

/// Does the plan and returns what was then observed to run.
pub(crate) async fn carry_out(
    work: &Work<'_>,
    plan: &DeployPlan,
    session: &Session,
    cancel: &CancellationToken,
) -> Result<Vec<ObservedUnit>, Fault> {
    let spec = &session.deployment().spec;
    apply::prepare(work, plan, spec, cancel).await?;
    apply::batches(work, plan, spec, cancel).await?;
    let seen = session.observe().await?;
    let missing = verify::missing(spec, &seen);
    if !missing.is_empty() {
        return Err(Fault::Unverified(missing.join("; ")));
    }
    if plan.finalise.is_empty() {
        return Ok(seen.units);
    }
    apply::finalise(work, plan, spec).await?;
    Ok(session.observe().await.map_or(seen.units, |seen| seen.units))
}

fn summary(plan: &DeployPlan, replicas: u32) -> String {
    let made = plan.ops().filter(|op| op.action == OpAction::Create).count();
    let batches = plan.batches.len();
    let s = |count: usize| if count == 1 { "" } else { "s" };
    if plan.is_empty() {
        return format!("nothing to do: {replicas} unit{} run it already", s(replicas as usize));
    }
    let es = if batches == 1 { "" } else { "es" };
    format!("plan     {made} new unit{} in {batches} batch{es}", s(made))
}
