//! One deployment from request to its end.
//!
//! It is recorded, waits for the environment's lock, looks, checks, plans, and
//! does batch after batch. Whatever goes wrong after the first batch began is
//! undone, and what the end says is what was observed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use event::{DeploymentId, DeploymentKind, DeploymentState, ReleaseId};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::apply::Rollout;
use crate::fault::Fault;
use crate::lock::{Hold, TTL};
use crate::op::Reporter;
use crate::plan::{Before, Budget, DeployPlan};
use crate::preflight::Preflight;
use crate::session::{End, Session};
use crate::standing::{settle_for, standing};
use crate::suite::{CheckRunner, Checks};
use crate::undo::Specs;
use crate::{
    Deployment, DeploymentName, DeploymentRecord, Ledger, LedgerError, NewDeployment, ObservedUnit,
    OpAction, Target, TargetError, course, finding, plan_for, preflight, recover, verify,
};

/// Deployments whose names a new one must not have: more than fit into a minute.
const NAMES: u32 = 100;

#[derive(Clone)]
pub struct Request {
    pub deployment: Deployment,
    /// Who holds the lock, for those who wait for it.
    pub holder: String,
    pub policy: Policy,
    /// Runs checks of `verify` that need a container; without it they are a finding.
    pub runner: Option<Arc<dyn CheckRunner>>,
}

/// What the place of a deployment demands, and what whoever asks for it has granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Units without a health check are refused, not only warned of: in environments
    /// of tier `prod`, unless somebody grants it (`--no-health`).
    pub needs_health: bool,
    /// What others have changed since the last deployment is taken over (`--adopt`).
    pub adopt: bool,
    /// Units that run as root, without limits or on a port of root's are warned of: in
    /// environments of tier `prod`.
    pub hardened: bool,
}

/// How long a deployment may wait.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the lock of the environment.
    pub lock_wait: Duration,
    /// For an engine, after it was interrupted: what stood still for longer goes back.
    pub resume_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { lock_wait: Duration::from_secs(15 * 60), resume_max: Duration::from_secs(10 * 60) }
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
    /// That somebody is to decide, or no longer.
    pub waiting: Option<Waiting>,
}

/// A wait for somebody's decision ([`Ledger::decide`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    Begun { reason: String, until: DateTime<Utc> },
    Over,
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
    #[cfg(feature = "crash-points")]
    let target = crate::crash_points::around(target);
    let Request { deployment, holder, policy, runner } = request;
    let mut record = DeploymentRecord::new(deployment, SystemTime::now().into());
    if record.deployment.name.is_empty() {
        record.deployment.name = name(&record, &*ledger).await?;
    }
    let at = record.requested_at;
    ledger.request(NewDeployment { deployment: record.deployment.clone(), at }).await?;
    let mut session = Session {
        record,
        holder,
        policy,
        checks: Checks::new(runner),
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
        end = forward(&mut session, &hold, cancel) => end,
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

/// Names a deployment after its release, unlike those before it.
async fn name(record: &DeploymentRecord, ledger: &dyn Ledger) -> Result<String, LedgerError> {
    let deployment = &record.deployment;
    let key = deployment.key();
    let releases = ledger.releases(&key.project).await?;
    let release = releases.iter().find(|release| release.id == deployment.spec.release);
    let name = DeploymentName::new(
        &key.project,
        &key.environment,
        release.map_or("", |release| &release.version),
        release.and_then(|release| release.branch.as_deref()),
        record.requested_at.naive_utc(),
        release.map_or(&deployment.by, |release| &release.committer),
    );
    let before = ledger.history(&key, NAMES).await?;
    let is_taken = |name: &str| before.iter().any(|record| record.deployment.name == name);
    Ok(name.unlike(is_taken).to_string())
}

async fn forward(
    session: &mut Session,
    hold: &Hold,
    cancel: &CancellationToken,
) -> Result<End, Fault> {
    let kind = session.deployment().kind;
    let key = session.deployment().key();
    session.reporter.line(format!("locked   {}/{}", key.project, key.environment)).await;
    let history = session.history().await?;
    if let Some(newer) = session.overtaken_by(&history) {
        let reason = format!(
            "deployment {} was requested later and is already there",
            newer.deployment.id.short()
        );
        return Ok(End::without_change(DeploymentState::Refused, reason));
    }
    if let Some((held, until)) = session.held_by(&history) {
        let (id, environment) = (held.deployment.id.short(), &key.environment);
        let reason = format!(
            "deployment {id} waits for a decision until {}: `shipline decide {environment} \
             continue` or `shipline decide {environment} rollback`",
            until.format("%H:%M UTC")
        );
        return Ok(End::without_change(DeploymentState::Refused, reason));
    }
    let standing = standing(&history);
    let Some(mut settled) = settle_for(session.deployment(), standing) else {
        let reason = format!("nothing was ever deployed to environment `{}`", key.environment);
        return Ok(End::without_change(DeploymentState::Failed, reason));
    };
    settled.spec.hosts = session.target.hosts();

    let seen = match verify::observe(&*session.target, &key).await {
        Ok(seen) => seen,
        Err(TargetError::Fenced(by)) => return Err(Fault::Fenced(by)),
        Err(error) => return Ok(End::unreachable(&error)),
    };
    let before = Before::of(&seen, hold.fence());
    let previous = before.release();
    let preflight = Preflight {
        kind,
        spec: &settled.spec,
        seen: &seen,
        standing,
        history: &history,
        policy: session.policy,
        can_run: session.checks.runner.is_some(),
    };
    let checked = tokio::select! {
        checked = preflight::check(&*session.target, &preflight) => checked,
        () = cancel.cancelled() => {
            return Ok(End::without_change(DeploymentState::Cancelled, "cancelled before any change"));
        }
    };
    let refused = match checked {
        Ok(findings) => {
            session.tell_findings(&findings).await?;
            let errors = finding::errors(&findings);
            (!errors.is_empty())
                .then(|| End::without_change(DeploymentState::Failed, errors.join("; ")))
        }
        Err(TargetError::Fenced(by)) => return Err(Fault::Fenced(by)),
        Err(error) => Some(End::unreachable(&error)),
    };
    if let Some(end) = refused {
        return Ok(End { previous, units: seen.units, ..end });
    }

    if let Some(end) = session.ready_to_check(&settled.spec, cancel).await {
        return Ok(End { previous, units: seen.units, ..end });
    }

    let deployment = Deployment { spec: settled.spec.clone(), ..session.deployment().clone() };
    let plan = plan_for(&deployment, &seen);
    session.planned(settled, before.clone(), &plan).await?;
    session.reporter.line(summary(&plan, session.deployment())).await;
    let work = session.work(hold, 0);
    let acting = session.acting();
    let specs = Specs::new(&acting, &history);
    let rollout = Rollout { session, work: &work, before: &before, specs: &specs, cancel };
    let budget = Budget::new(session.deployment().spec.strategy.tolerate);
    course::run(&rollout, plan, budget).await
}

fn summary(plan: &DeployPlan, deployment: &Deployment) -> String {
    let count = |action| plan.ops().filter(|op| op.action == action).count();
    let batches = plan.batches.len();
    let s = |count: usize| if count == 1 { "" } else { "s" };
    let es = if batches == 1 { "" } else { "es" };
    let replicas = deployment.spec.replicas;
    match deployment.kind {
        DeploymentKind::Stop if plan.is_empty() => "nothing to do: it is stopped".to_owned(),
        DeploymentKind::Stop => {
            let stopped = count(OpAction::Stop);
            format!("plan     {stopped} unit{} to stop", s(stopped))
        }
        _ if plan.is_empty() => {
            format!("nothing to do: {replicas} unit{} run it already", s(replicas as usize))
        }
        _ => {
            let made = count(OpAction::Create);
            let woken = count(OpAction::Start) - made;
            let woken = match woken {
                0 => String::new(),
                woken => format!(" and {woken} that wait{}", if woken == 1 { "s" } else { "" }),
            };
            format!("plan     {made} new unit{}{woken} in {batches} batch{es}", s(made))
        }
    }
}
