//! The lease of an environment: waited for, renewed, and never outlived.

use std::sync::Arc;
use std::time::Duration;

use event::DeploymentId;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::op::Reporter;
use crate::{EnvironmentKey, Lease, Ledger, LedgerError};

/// How long a lease lives without renewal.
pub(crate) const TTL: Duration = Duration::from_secs(30);
const BEAT: Duration = Duration::from_secs(5);
/// An engine that was not renewed for this long starts nothing: what it would
/// start could still act when the lease is somebody else's.
const TRUSTED: Duration = Duration::from_secs(20);
/// How often a lock that another holds is tried.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) enum AcquireError {
    /// Still held by another after all the waiting; the sentence says by whom.
    Held(String),
    Cancelled,
    Ledger(LedgerError),
}

/// Takes the lease, waiting at most `wait` while another holds it, and tells once
/// per holder why it takes so long. Returns it with the moment it counts from.
pub(crate) async fn acquire(
    ledger: &dyn Ledger,
    key: &EnvironmentKey,
    deployment: DeploymentId,
    holder: &str,
    wait: Duration,
    reporter: &Reporter,
    cancel: &CancellationToken,
) -> Result<(Lease, Instant), AcquireError> {
    let deadline = Instant::now() + wait;
    let mut told = String::new();
    loop {
        if cancel.is_cancelled() {
            return Err(AcquireError::Cancelled);
        }
        let asked = Instant::now();
        let held = match ledger.acquire(key, deployment, holder, TTL).await {
            Ok(lease) => return Ok((lease, asked)),
            Err(LedgerError::Locked { environment, holder, .. }) => {
                format!("environment `{environment}` is held by {holder}")
            }
            Err(error) => return Err(AcquireError::Ledger(error)),
        };
        if Instant::now() >= deadline {
            return Err(AcquireError::Held(held));
        }
        if told != held {
            reporter.line(format!("waiting: {held}")).await;
            told = held;
        }
        tokio::select! {
            () = tokio::time::sleep_until((Instant::now() + RETRY).min(deadline)) => {}
            () = cancel.cancelled() => return Err(AcquireError::Cancelled),
        }
    }
}

/// A lease that is being kept.
pub(crate) struct Hold {
    lease: Lease,
    ledger: Arc<dyn Ledger>,
    renewed: watch::Sender<Instant>,
}

impl Hold {
    /// `since` is a moment before the lease was asked for.
    pub(crate) fn new(lease: Lease, ledger: Arc<dyn Ledger>, since: Instant) -> Self {
        Self { lease, ledger, renewed: watch::Sender::new(since) }
    }

    pub(crate) const fn fence(&self) -> u64 {
        self.lease.fence
    }

    /// Renews the lease for as long as it is polled; returns when it is lost.
    pub(crate) async fn keep(&self) -> String {
        loop {
            tokio::time::sleep(BEAT).await;
            let asked = Instant::now();
            match tokio::time::timeout(BEAT, self.ledger.renew(&self.lease, TTL)).await {
                Ok(Ok(())) => {
                    // The lease counts from when it was asked for, not from the answer.
                    self.renewed.send_replace(asked);
                }
                Ok(Err(error @ LedgerError::Fenced(_))) => return error.to_string(),
                Ok(Err(error)) => tracing::warn!(%error, "the lease could not be renewed"),
                Err(_) => tracing::warn!("the lease was not renewed in time"),
            }
            if self.renewed.borrow().elapsed() >= TTL {
                return format!("the lock could not be renewed for {} s", TTL.as_secs());
            }
        }
    }

    /// Returns when something may be started under the lease. It does not return
    /// while the lease is in doubt; [`Hold::keep`] ends that.
    pub(crate) async fn permit(&self) {
        let mut renewed = self.renewed.subscribe();
        while renewed.borrow_and_update().elapsed() >= TRUSTED {
            // The sender lives as long as `self`.
            let _ = renewed.changed().await;
        }
    }

    pub(crate) async fn release(&self) {
        let unlock = tokio::time::timeout(BEAT, self.ledger.unlock(&self.lease));
        if !matches!(unlock.await, Ok(Ok(()))) {
            tracing::warn!("the lock was not released; it ends by itself in {} s", TTL.as_secs());
        }
    }
}
