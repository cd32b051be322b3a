//! A [`Ledger`] in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use event::{DeploymentId, DeploymentState, EventKind};
use tokio::time::Instant;

use crate::{DeploymentRecord, EnvironmentKey, Lease, Ledger, LedgerError, NewDeployment, Release};

/// Remembers until it is dropped. Leases end by tokio's clock, so that tests can
/// pause it.
#[derive(Default)]
pub struct MemoryLedger {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    releases: Vec<Release>,
    /// In the order of their requests.
    records: Vec<DeploymentRecord>,
    events: BTreeMap<DeploymentId, Vec<EventKind>>,
    locks: BTreeMap<EnvironmentKey, Lock>,
    refuse_renewal: bool,
}

#[derive(Default)]
struct Lock {
    fence: u64,
    holder: Option<(String, DeploymentId, Instant)>,
}

impl MemoryLedger {
    /// Returns the stream of a deployment.
    pub fn events(&self, deployment: DeploymentId) -> Vec<EventKind> {
        self.state().events.get(&deployment).cloned().unwrap_or_default()
    }

    /// From now on no lease is renewed, as if the store could not be reached.
    pub fn refuse_renewal(&self, refuse: bool) {
        self.state().refuse_renewal = refuse;
    }

    /// Ends a lease at once, as if its time had passed.
    pub fn expire(&self, key: &EnvironmentKey) {
        if let Some(lock) = self.state().locks.get_mut(key) {
            lock.holder = None;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn release(&self, release: Release) -> Result<Release, LedgerError> {
        let mut state = self.state();
        let same = |known: &&Release| {
            known.project == release.project && known.artifact == release.artifact
        };
        if let Some(known) = state.releases.iter().find(same) {
            return Ok(known.clone());
        }
        state.releases.push(release.clone());
        Ok(release)
    }

    async fn releases(&self, project: &str) -> Result<Vec<Release>, LedgerError> {
        let state = self.state();
        let of_project = state.releases.iter().filter(|release| release.project == project);
        Ok(of_project.rev().cloned().collect())
    }

    async fn request(&self, new: NewDeployment) -> Result<(), LedgerError> {
        let mut state = self.state();
        let deployment = new.deployment;
        let first = EventKind::DeploymentRequested {
            project: deployment.spec.project.clone(),
            environment: deployment.spec.environment.clone(),
            change: deployment.kind,
            release: deployment.spec.release,
            by: deployment.by.clone(),
            reason: deployment.reason.clone(),
        };
        state.events.insert(deployment.id, vec![first]);
        state.records.push(DeploymentRecord {
            deployment,
            requested_at: new.at,
            finished_at: None,
            state: None,
            outcome: None,
            fence: 0,
        });
        Ok(())
    }

    async fn acquire(
        &self,
        key: &EnvironmentKey,
        deployment: DeploymentId,
        holder: &str,
        ttl: Duration,
    ) -> Result<Lease, LedgerError> {
        let mut state = self.state();
        let now = Instant::now();
        let lock = state.locks.entry(key.clone()).or_default();
        if let Some((holder, _, until)) = lock.holder.as_ref().filter(|(_, _, until)| *until > now)
        {
            return Err(LedgerError::Locked {
                environment: key.environment.clone(),
                holder: holder.clone(),
                until: (SystemTime::now() + until.duration_since(now)).into(),
            });
        }
        lock.fence += 1;
        lock.holder = Some((holder.to_owned(), deployment, now + ttl));
        let fence = lock.fence;
        if let Some(record) =
            state.records.iter_mut().find(|record| record.deployment.id == deployment)
        {
            record.fence = fence;
        }
        let expires_at = (SystemTime::now() + ttl).into();
        Ok(Lease { key: key.clone(), deployment, fence, expires_at })
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), LedgerError> {
        let mut state = self.state();
        if state.refuse_renewal {
            return Err(LedgerError::Store("not reachable".into()));
        }
        let lock = state.locks.entry(lease.key.clone()).or_default();
        match lock.holder.as_mut() {
            Some((_, _, until)) if lock.fence == lease.fence => {
                *until = Instant::now() + ttl;
                Ok(())
            }
            _ => Err(LedgerError::Fenced(lease.key.environment.clone())),
        }
    }

    async fn unlock(&self, lease: &Lease) -> Result<(), LedgerError> {
        let mut state = self.state();
        let lock = state.locks.entry(lease.key.clone()).or_default();
        if lock.fence == lease.fence {
            lock.holder = None;
        }
        Ok(())
    }

    async fn append(
        &self,
        deployment: DeploymentId,
        events: Vec<EventKind>,
    ) -> Result<(), LedgerError> {
        let mut state = self.state();
        let stream = state.events.get_mut(&deployment).ok_or(LedgerError::Unknown(deployment))?;
        stream.extend(events);
        Ok(())
    }

    async fn finish(
        &self,
        deployment: DeploymentId,
        end: DeploymentState,
        reason: Option<String>,
        duration_ms: u64,
    ) -> Result<(), LedgerError> {
        let mut state = self.state();
        let record = state
            .records
            .iter_mut()
            .find(|record| record.deployment.id == deployment && record.state.is_none())
            .ok_or(LedgerError::Unknown(deployment))?;
        record.state = Some(end);
        record.outcome.clone_from(&reason);
        record.finished_at = Some(SystemTime::now().into());
        let last = EventKind::DeploymentFinished { state: end, reason, duration_ms };
        state.events.entry(deployment).or_default().push(last);
        Ok(())
    }

    async fn history(
        &self,
        key: &EnvironmentKey,
        limit: u32,
    ) -> Result<Vec<DeploymentRecord>, LedgerError> {
        let state = self.state();
        let of_key = state.records.iter().rev().filter(|record| record.deployment.key() == *key);
        Ok(of_key.take(limit as usize).cloned().collect())
    }

    async fn unfinished(&self) -> Result<Vec<DeploymentRecord>, LedgerError> {
        let state = self.state();
        Ok(state.records.iter().filter(|record| record.state.is_none()).cloned().collect())
    }
}
