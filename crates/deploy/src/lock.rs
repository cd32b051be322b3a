//! The lease of an environment: waited for, renewed, and never outlived.
//!
//! It is taken twice: in the ledger, which keeps apart all engines that share it, and
//! then at the target, where those meet that do not. The fence is that of the target,
//! which is the larger one, and the ledger remembers it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use event::DeploymentId;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::op::Reporter;
use crate::{
    EnvironmentKey, Lease, LeaseAnswer, LeaseAsk, Ledger, LedgerError, Target, TargetError,
};

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
    /// Locked by hand for longer than there is to wait; the sentence says by whom and why.
    Closed(String),
    Cancelled,
    Ledger(LedgerError),
    /// The target cannot be asked.
    Target(TargetError),
}

impl From<LedgerError> for AcquireError {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

/// Who wants the lease of which environment, and where it is kept.
#[derive(Clone)]
pub(crate) struct Claim {
    pub(crate) key: EnvironmentKey,
    pub(crate) deployment: DeploymentId,
    /// The fence the deployment had in a former life; 0 in its first.
    pub(crate) former_fence: u64,
    /// For those who wait at the ledger.
    pub(crate) holder: String,
    /// For those who wait at the target: whoever asked for the deployment.
    pub(crate) person: String,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) target: Arc<dyn Target>,
}

/// What one try comes to.
enum Tried {
    Taken(Hold),
    /// The sentence says why not yet.
    Held(String),
}

impl Claim {
    /// Takes the lease, waiting at most `wait` while another holds it, and tells once
    /// per holder why it takes so long.
    pub(crate) async fn acquire(
        &self,
        wait: Duration,
        reporter: &Reporter,
        cancel: &CancellationToken,
    ) -> Result<Hold, AcquireError> {
        let deadline = Instant::now() + wait;
        let mut told = String::new();
        loop {
            if cancel.is_cancelled() {
                return Err(AcquireError::Cancelled);
            }
            let held = match self.attempt(deadline).await? {
                Tried::Taken(hold) => return Ok(hold),
                Tried::Held(held) => held,
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

    async fn attempt(&self, deadline: Instant) -> Result<Tried, AcquireError> {
        let environment = &self.key.environment;
        // The lease counts from before it was asked for.
        let since = Instant::now();
        let lease = match self.ledger.acquire(&self.key, self.deployment, &self.holder, TTL).await {
            Ok(lease) => lease,
            Err(LedgerError::Locked { holder, .. }) => {
                return Ok(Tried::Held(format!("environment `{environment}` is held by {holder}")));
            }
            Err(error @ LedgerError::Closed { until, .. }) => {
                let rest = (until - DateTime::<Utc>::from(SystemTime::now())).to_std();
                if rest.unwrap_or_default() > deadline.saturating_duration_since(Instant::now()) {
                    return Err(AcquireError::Closed(error.to_string()));
                }
                return Ok(Tried::Held(error.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        let ask = LeaseAsk {
            deployment: self.deployment,
            holder: format!("{} (deployment {})", at_host(&self.person), self.deployment.short()),
            ttl: TTL,
            above: lease.fence,
        };
        let why = match self.at_target(&ask).await {
            Ok(LeaseAnswer::Unkept) => return Ok(Tried::Taken(self.hold(lease, None, since))),
            Ok(LeaseAnswer::Taken { fence }) => {
                let lease = self.ledger.raise(&lease, fence).await?;
                return Ok(Tried::Taken(self.hold(lease, Some(ask), since)));
            }
            Ok(LeaseAnswer::Held(by)) => {
                Ok(format!("environment `{environment}` is held by {by}, at its target"))
            }
            // Somebody else was there in between.
            Err(TargetError::Fenced(by)) => Ok(by),
            Err(error) => Err(AcquireError::Target(error)),
        };
        // Whoever cannot act does not keep others of this ledger waiting, nor has ever
        // held anything.
        self.ledger.forgo(&lease, self.former_fence).await?;
        why.map(Tried::Held)
    }

    async fn at_target(&self, ask: &LeaseAsk) -> Result<LeaseAnswer, TargetError> {
        let asked = tokio::time::timeout(TRUSTED, self.target.lease(&self.key, ask));
        asked.await.unwrap_or_else(|_| {
            let message = format!("no answer within {} s about the lock", TRUSTED.as_secs());
            Err(TargetError::Infrastructure { part: "target".to_owned(), message })
        })
    }

    fn hold(&self, lease: Lease, at_target: Option<LeaseAsk>, since: Instant) -> Hold {
        Hold {
            lease,
            at_target,
            ledger: Arc::clone(&self.ledger),
            target: Arc::clone(&self.target),
            renewed: watch::Sender::new(since),
        }
    }
}

/// `ann@laptop`: two workstations may have users of one name.
fn at_host(person: &str) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match (host.trim(), person.contains('@')) {
        ("", _) => person.to_owned(),
        (host, false) => format!("{person}@{host}"),
        (host, true) => format!("{person} at {host}"),
    }
}

/// A lease that is being kept.
pub(crate) struct Hold {
    lease: Lease,
    /// How it was asked for at the target, where that keeps one.
    at_target: Option<LeaseAsk>,
    ledger: Arc<dyn Ledger>,
    target: Arc<dyn Target>,
    renewed: watch::Sender<Instant>,
}

/// Why a lease was not renewed.
enum Unrenewed {
    /// It is somebody else's.
    Lost(String),
    /// Nobody knows.
    Unanswered(String),
}

impl Hold {
    pub(crate) const fn fence(&self) -> u64 {
        self.lease.fence
    }

    /// Renews the lease for as long as it is polled; returns when it is lost.
    pub(crate) async fn keep(&self) -> String {
        loop {
            tokio::time::sleep(BEAT).await;
            let asked = Instant::now();
            let renewing = async { tokio::try_join!(self.renew(), self.renew_at_target()) };
            match tokio::time::timeout(BEAT, renewing).await {
                Ok(Ok(_)) => {
                    // The lease counts from when it was asked for, not from the answer.
                    self.renewed.send_replace(asked);
                }
                Ok(Err(Unrenewed::Lost(why))) => return why,
                Ok(Err(Unrenewed::Unanswered(why))) => {
                    tracing::warn!("the lease could not be renewed: {why}");
                }
                Err(_) => tracing::warn!("the lease was not renewed in time"),
            }
            if self.renewed.borrow().elapsed() >= TTL {
                return format!("the lock could not be renewed for {} s", TTL.as_secs());
            }
        }
    }

    async fn renew(&self) -> Result<(), Unrenewed> {
        self.ledger.renew(&self.lease, TTL).await.map_err(|error| match error {
            LedgerError::Fenced(_) => Unrenewed::Lost(error.to_string()),
            error => Unrenewed::Unanswered(error.to_string()),
        })
    }

    async fn renew_at_target(&self) -> Result<(), Unrenewed> {
        let Some(ask) = &self.at_target else { return Ok(()) };
        let renewed = self.target.renew(&self.lease.key, self.lease.fence, ask).await;
        renewed.map_err(|error| match error {
            TargetError::Fenced(by) => Unrenewed::Lost(by),
            error => Unrenewed::Unanswered(error.to_string()),
        })
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

    /// Gives it back: at the target first, or the next one of this ledger would find
    /// that held.
    pub(crate) async fn release(&self) {
        if let Some(ask) = &self.at_target {
            let releasing = self.target.release(&self.lease.key, self.lease.fence, ask);
            if !matches!(tokio::time::timeout(BEAT, releasing).await, Ok(Ok(()))) {
                self.not_released("at the target");
            }
        }
        let unlock = tokio::time::timeout(BEAT, self.ledger.unlock(&self.lease));
        if !matches!(unlock.await, Ok(Ok(()))) {
            self.not_released("in the ledger");
        }
    }

    fn not_released(&self, place: &str) {
        let environment = &self.lease.key.environment;
        let seconds = TTL.as_secs();
        tracing::warn!(
            "the lock of `{environment}` {place} was not released; it ends by itself in {seconds} s"
        );
    }
}
