//! One life of a deployment: from taking the lock to writing down the end.

use std::sync::Arc;
use std::time::Duration;

use event::{DeploymentKind, DeploymentState, EventKind, ReleaseId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::journal::Journal;
use crate::lock::{AcquireError, Hold, acquire};
use crate::op::{Fault, Marks, Reporter, Work};
use crate::{
    DeployError, Deployed, Deployment, DeploymentRecord, Ledger, LedgerError, Limits, Observed,
    ObservedUnit, Target, TargetError, verify,
};

/// How far back specifications are looked for; units are younger than that.
const HISTORY: u32 = 200;
/// The end is written down more than once before it is given up.
const FINISH_TRIES: u32 = 5;

/// One life of a deployment: from the lock to the end.
pub(crate) struct Session {
    pub(crate) record: DeploymentRecord,
    pub(crate) holder: String,
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
    pub(crate) units: Vec<ObservedUnit>,
    /// The part and the message, where that is why nothing was done.
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

    /// Takes the lock; the inner error is an end without it.
    pub(crate) async fn lock(
        &self,
        cancel: &CancellationToken,
    ) -> Result<Result<Hold, End>, LedgerError> {
        let deployment = self.deployment();
        let key = deployment.key();
        let wait = self.limits.lock_wait;
        let acquired =
            acquire(&*self.ledger, &key, deployment.id, &self.holder, wait, &self.reporter, cancel);
        let (lease, since) = match acquired.await {
            Ok(acquired) => acquired,
            Err(AcquireError::Cancelled) => {
                let end =
                    End::without_change(DeploymentState::Cancelled, "cancelled while waiting");
                return Ok(Err(end));
            }
            Err(AcquireError::Held(by)) => {
                let reason = format!("{by}, and was for {} s", wait.as_secs());
                return Ok(Err(End::without_change(DeploymentState::Refused, reason)));
            }
            Err(AcquireError::Ledger(error)) => return Err(error),
        };
        let hold = Hold::new(lease, Arc::clone(&self.ledger), since);
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
        loop {
            tries += 1;
            let reason = end.reason.clone();
            match self.ledger.finish(deployment.id, end.state, reason, duration_ms).await {
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

    pub(crate) async fn history(&self) -> Result<Vec<DeploymentRecord>, Fault> {
        let history = self.ledger.history(&self.deployment().key(), HISTORY).await;
        history.map_err(Fault::Ledger)
    }

    /// Observes on behalf of the deployment; that this is not possible is a fault of it.
    pub(crate) async fn observe(&self) -> Result<Observed, Fault> {
        let seen = verify::observe(&*self.target, &self.deployment().key()).await;
        seen.map_err(|error| match error {
            TargetError::Fenced(by) => Fault::Fenced(by),
            error => Fault::Unverified(format!("cannot observe: {error}")),
        })
    }

    /// Returns the deployment that was requested later and is already there: an
    /// older request never replaces a newer one, unless to roll back.
    pub(crate) fn overtaken_by<'h>(
        &self,
        history: &'h [DeploymentRecord],
    ) -> Option<&'h DeploymentRecord> {
        if self.deployment().kind == DeploymentKind::Rollback {
            return None;
        }
        history.iter().find(|record| {
            record.state == Some(DeploymentState::Succeeded)
                && record.requested_at > self.record.requested_at
        })
    }
}
