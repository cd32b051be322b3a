//! One life of a deployment: from taking the lock to writing down the end.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use event::{Caught, DeploymentKind, DeploymentState, EventKind, Finding, ReleaseId, Severity};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::fault::Fault;
use crate::journal::Journal;
use crate::lock::{AcquireError, Claim, Hold};
use crate::marks::Marks;
use crate::op::{Reporter, Work};
use crate::plan::{Before, DeployPlan};
use crate::standing::Settled;
use crate::suite::{Checks, VerifyStep};
use crate::{
    DeployError, Deployed, Deployment, DeploymentRecord, Finish, Ledger, LedgerError, Limits,
    Observed, ObservedUnit, Planned, Policy, Spec, Target, TargetError, verify,
};

/// How far back specifications are looked for; units are younger than that.
const HISTORY: u32 = 200;
/// The end is written down more than once before it is given up.
const FINISH_TRIES: u32 = 5;

/// What the image of a check may take to be fetched.
const IMAGE: Duration = Duration::from_secs(10 * 60);

/// That an image is not there is told of the check that needs it.
fn without(image: &str, error: TargetError) -> TargetError {
    let what = format!("the image `{image}` of a check cannot be had");
    match error {
        TargetError::Refused { message } => {
            TargetError::Refused { message: format!("{what}: {message}") }
        }
        TargetError::Infrastructure { part, message } => {
            TargetError::Infrastructure { part, message: format!("{what}: {message}") }
        }
        TargetError::Fenced(by) => TargetError::Fenced(by),
    }
}

/// One life of a deployment: from the lock to the end.
pub(crate) struct Session {
    pub(crate) record: DeploymentRecord,
    pub(crate) holder: String,
    pub(crate) policy: Policy,
    pub(crate) checks: Checks,
    pub(crate) limits: Limits,
    pub(crate) target: Arc<dyn Target>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) reporter: Reporter,
    pub(crate) begun: Instant,
}

/// How a life ended, before it is written down.
pub(crate) struct End {
    pub(crate) state: DeploymentState,
    pub(crate) reason: Option<String>,
    pub(crate) previous: Option<ReleaseId>,
    pub(crate) caught_before_admit: Option<bool>,
    pub(crate) cut: u64,
    /// Whether a failure left units of two releases in traffic.
    pub(crate) mixed: bool,
    pub(crate) units: Vec<ObservedUnit>,
    /// The part and the message, where that is why nothing was switched.
    pub(crate) infrastructure: Option<(String, String)>,
}

impl End {
    pub(crate) fn succeeded(
        work: &Work<'_>,
        previous: Option<ReleaseId>,
        units: Vec<ObservedUnit>,
    ) -> Self {
        Self {
            state: DeploymentState::Succeeded,
            reason: None,
            previous,
            caught_before_admit: None,
            cut: work.marks.cut(),
            mixed: false,
            units,
            infrastructure: None,
        }
    }

    pub(crate) fn without_change(state: DeploymentState, reason: impl Into<String>) -> Self {
        Self {
            state,
            reason: Some(reason.into()),
            previous: None,
            caught_before_admit: (state == DeploymentState::Failed).then_some(true),
            cut: 0,
            mixed: false,
            units: Vec::new(),
            infrastructure: None,
        }
    }

    pub(crate) fn unreachable(error: &TargetError) -> Self {
        let mut end = Self::without_change(DeploymentState::Failed, error.to_string());
        if let TargetError::Infrastructure { part, message } = error {
            end.infrastructure = Some((part.clone(), message.clone()));
        }
        end
    }
}

impl Session {
    pub(crate) fn deployment(&self) -> &Deployment {
        &self.record.deployment
    }

    /// How what was settled is brought about.
    pub(crate) fn acting(&self) -> Cow<'_, Spec> {
        self.deployment().scope.acting(&self.deployment().spec)
    }

    /// Takes the lock; the inner error is an end without it.
    pub(crate) async fn lock(
        &self,
        cancel: &CancellationToken,
    ) -> Result<Result<Hold, End>, LedgerError> {
        let deployment = self.deployment();
        let claim = Claim {
            key: deployment.key(),
            deployment: deployment.id,
            former_fence: self.record.fence,
            holder: self.holder.clone(),
            person: deployment.by.clone(),
            ledger: Arc::clone(&self.ledger),
            target: Arc::clone(&self.target),
        };
        let wait = self.limits.lock_wait;
        let hold = match claim.acquire(wait, &self.reporter, cancel).await {
            Ok(hold) => hold,
            Err(AcquireError::Cancelled) => {
                let end =
                    End::without_change(DeploymentState::Cancelled, "cancelled while waiting");
                return Ok(Err(end));
            }
            Err(AcquireError::Held(by)) => {
                let reason = format!("{by}, and was for {} s", wait.as_secs());
                return Ok(Err(End::without_change(DeploymentState::Refused, reason)));
            }
            Err(AcquireError::Closed(by)) => {
                return Ok(Err(End::without_change(DeploymentState::Refused, by)));
            }
            Err(AcquireError::Target(error)) => return Ok(Err(End::unreachable(&error))),
            Err(AcquireError::Ledger(error)) => return Err(error),
        };
        let locked = EventKind::DeploymentLocked { fence: hold.fence() };
        if let Err(error) = self.ledger.append(deployment.id, vec![locked]).await {
            // Nobody else does before its time.
            hold.release().await;
            return Err(error);
        }
        Ok(Ok(hold))
    }

    pub(crate) fn work<'a>(&'a self, hold: &'a Hold, life: u64) -> Work<'a> {
        Work {
            target: &*self.target,
            journal: Journal::new(&*self.ledger, self.deployment().id, life),
            hold,
            progress: &self.reporter,
            checks: &self.checks,
            marks: Marks::default(),
        }
    }

    /// Writes down the end of a life under `hold` and gives the lock back.
    pub(crate) async fn close(
        self,
        hold: &Hold,
        end: Result<End, Fault>,
    ) -> Result<Deployed, DeployError> {
        let closed = match end {
            Ok(end) => self.end(end).await,
            Err(Fault::Ledger(error)) => Err(error.into()),
            Err(fault) => Err(DeployError::Interrupted {
                environment: self.deployment().spec.environment.clone(),
                reason: fault.to_string(),
            }),
        };
        hold.release().await;
        closed
    }

    pub(crate) async fn end(&self, end: End) -> Result<Deployed, DeployError> {
        let deployment = self.deployment();
        let duration_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut tries = 0;
        let finish = Finish {
            state: end.state,
            reason: end.reason.clone(),
            caught: end.caught_before_admit.map(|before| match before {
                true => Caught::BeforeAdmit,
                false => Caught::AfterAdmit,
            }),
            mixed: end.mixed,
            infrastructure: end.infrastructure.is_some(),
            cut: end.cut,
            duration_ms,
        };
        loop {
            tries += 1;
            match self.ledger.finish(deployment.id, finish.clone()).await {
                Ok(()) => break,
                Err(LedgerError::Store(error)) if tries < FINISH_TRIES => {
                    tracing::warn!(%error, "the end of deployment {} was not written", deployment.id);
                    tokio::time::sleep(Duration::from_millis(200) * tries).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let because = end.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        self.reporter.line(format!("{}{because}", end.state)).await;
        if let Some((part, message)) = end.infrastructure {
            return Err(DeployError::Infrastructure { part, message });
        }
        Ok(Deployed {
            deployment: deployment.id,
            release: deployment.spec.release,
            previous: end.previous,
            state: end.state,
            reason: end.reason,
            caught_before_admit: end.caught_before_admit,
            cut: end.cut,
            units: end.units,
        })
    }

    /// Whether the deployment stood still for so long that nobody expects it any more.
    pub(crate) fn is_late(&self) -> bool {
        let now: DateTime<Utc> = SystemTime::now().into();
        let stood = self.record.moved_at.map(|moved| (now - moved).to_std().unwrap_or_default());
        stood.is_some_and(|stood| stood > self.limits.resume_max)
    }

    pub(crate) async fn history(&self) -> Result<Vec<DeploymentRecord>, Fault> {
        let history = self.ledger.history(&self.deployment().key(), HISTORY).await;
        history.map_err(Fault::Ledger)
    }

    /// Writes down and tells what the checks found; that there was nothing is told too.
    pub(crate) async fn tell_findings(&self, findings: &[Finding]) -> Result<(), Fault> {
        if findings.is_empty() {
            self.reporter.line("preflight ok").await;
            return Ok(());
        }
        self.write(EventKind::DeploymentChecked { findings: findings.to_vec() }).await?;
        for finding in findings {
            let severity = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            self.reporter.line(format!("preflight {severity}: {finding}")).await;
        }
        Ok(())
    }

    /// Has the images of checks ready, where something will be checked; an end where that
    /// is not possible.
    pub(crate) async fn ready_to_check(
        &self,
        spec: &Spec,
        cancel: &CancellationToken,
    ) -> Option<End> {
        let brings_up = !matches!(self.deployment().kind, DeploymentKind::Stop);
        let runner = self.checks.runner.as_ref().filter(|_| brings_up)?;
        let images: BTreeSet<&str> = spec.verify.iter().filter_map(VerifyStep::image).collect();
        for image in images {
            let prepared = tokio::select! {
                prepared = runner.prepare(image, cancel) => prepared,
                () = cancel.cancelled() => {
                    let state = DeploymentState::Cancelled;
                    return Some(End::without_change(state, "cancelled before any change"));
                }
                () = tokio::time::sleep(IMAGE) => Err(TargetError::Infrastructure {
                    part: "registry".to_owned(),
                    message: format!("no image within {} s", IMAGE.as_secs()),
                }),
            };
            if let Err(error) = prepared {
                return Some(End::unreachable(&without(image, error)));
            }
        }
        None
    }

    pub(crate) async fn write(&self, event: EventKind) -> Result<(), Fault> {
        self.ledger.append(self.deployment().id, vec![event]).await.map_err(Fault::Ledger)
    }

    /// Writes the plan down, and what was there before it; from now on this is what the
    /// deployment is about.
    pub(crate) async fn planned(
        &mut self,
        settled: Settled,
        before: Before,
        plan: &DeployPlan,
    ) -> Result<(), Fault> {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let planned = Planned {
            spec: settled.spec,
            declared: settled.declared,
            before,
            batches: count(plan.batches.len()),
            ops: count(plan.ops().count()),
        };
        self.ledger.planned(self.deployment().id, planned.clone()).await.map_err(Fault::Ledger)?;
        self.record.deployment.spec = planned.spec;
        self.record.declared = Some(planned.declared);
        self.record.before = Some(planned.before);
        Ok(())
    }

    /// Observes on behalf of the deployment; that this is not possible is a fault of it.
    pub(crate) async fn observe(&self) -> Result<Observed, Fault> {
        let seen = verify::observe(&*self.target, &self.deployment().key()).await;
        seen.map_err(|error| match error {
            TargetError::Fenced(by) => Fault::Fenced(by),
            error => Fault::Unverified(format!("cannot observe: {error}")),
        })
    }

    /// Returns another deployment that is held, and until when. Its engine is dead, or it
    /// would have the lock; whoever decides carries it on.
    pub(crate) fn held_by<'h>(
        &self,
        history: &'h [DeploymentRecord],
    ) -> Option<(&'h DeploymentRecord, DateTime<Utc>)> {
        let now: DateTime<Utc> = SystemTime::now().into();
        history.iter().find_map(|record| {
            let until = record.held_until.filter(|until| *until > now)?;
            let another = record.deployment.id != self.deployment().id;
            (another && record.state.is_none()).then_some((record, until))
        })
    }

    /// Returns the deployment that was requested later and is already there: an
    /// older request never replaces a newer one, unless to roll back. Other kinds
    /// bring no release, and take the one that stands.
    pub(crate) fn overtaken_by<'h>(
        &self,
        history: &'h [DeploymentRecord],
    ) -> Option<&'h DeploymentRecord> {
        if self.deployment().kind != DeploymentKind::Deploy {
            return None;
        }
        history.iter().find(|record| {
            let kind = record.deployment.kind;
            matches!(kind, DeploymentKind::Deploy | DeploymentKind::Rollback)
                && record.state == Some(DeploymentState::Succeeded)
                && record.requested_at > self.record.requested_at
        })
    }
}
