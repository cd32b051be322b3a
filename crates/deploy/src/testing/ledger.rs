//! A [`Ledger`] in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use event::{Decision, DeploymentId, EventKind, OpState, Verdict};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::{
    DeploymentRecord, EnvironmentKey, Finish, Holding, Lease, Ledger, LedgerError, NewDeployment,
    Planned, Release, UnitId,
};

/// Remembers until it is dropped. Leases end by tokio's clock, so that tests can
/// pause it.
#[derive(Default)]
pub struct MemoryLedger {
    state: Mutex<State>,
    hanging: Notify,
}

/// When a write never returns; its caller is as good as dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hang {
    /// Nothing was written.
    Before,
    After,
}

#[derive(Default)]
struct State {
    releases: Vec<Release>,
    /// In the order of their requests.
    records: Vec<DeploymentRecord>,
    events: BTreeMap<DeploymentId, Vec<EventKind>>,
    locks: BTreeMap<EnvironmentKey, Lock>,
    refuse_renewal: bool,
    writes: usize,
    hang: Option<(usize, Hang)>,
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

    /// Returns all streams, one after the other.
    pub fn all_events(&self) -> Vec<EventKind> {
        self.state().events.values().flatten().cloned().collect()
    }

    /// Records a release, also one whose artifact another has.
    pub fn know(&self, release: Release) {
        self.state().releases.push(release);
    }

    /// From now on no lease is renewed, as if the store could not be reached.
    pub fn refuse_renewal(&self, refuse: bool) {
        self.state().refuse_renewal = refuse;
    }

    /// The write counted from now never returns.
    pub fn hang_in(&self, writes: usize, hang: Hang) {
        let mut state = self.state();
        state.hang = Some((state.writes + writes, hang));
    }

    /// Returns when a write hangs.
    pub async fn hanging(&self) {
        self.hanging.notified().await;
    }

    /// Returns how many events were written one by one or at once: intents, results
    /// and whatever else a deployment says on its way.
    pub fn writes(&self) -> usize {
        self.state().writes
    }

    /// Hangs where a test wants this write to.
    async fn maybe_hang(&self, write: usize, now: Hang) {
        if self.state().hang == Some((write, now)) {
            self.hanging.notify_one();
            std::future::pending::<()>().await;
        }
    }

    fn add(&self, deployment: DeploymentId, events: Vec<EventKind>) -> Result<(), LedgerError> {
        let mut state = self.state();
        for event in &events {
            let record = state.record(deployment)?;
            record.moved_at = Some(SystemTime::now().into());
            match event {
                EventKind::DeploymentHeld { until, .. } => record.held_until = Some(*until),
                EventKind::DeploymentRollingBack { .. } => {
                    record.rolling_back = true;
                    record.held_until = None;
                }
                _ => {}
            }
        }
        let stream = state.events.get_mut(&deployment).ok_or(LedgerError::Unknown(deployment))?;
        stream.extend(events);
        Ok(())
    }

    fn begin_write(&self) -> usize {
        let mut state = self.state();
        state.writes += 1;
        state.writes - 1
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

impl State {
    fn record(&mut self, deployment: DeploymentId) -> Result<&mut DeploymentRecord, LedgerError> {
        let mut records = self.records.iter_mut();
        records
            .find(|record| record.deployment.id == deployment)
            .ok_or(LedgerError::Unknown(deployment))
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
        state.records.push(DeploymentRecord::new(deployment, new.at));
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

    async fn raise(&self, lease: &Lease, fence: u64) -> Result<Lease, LedgerError> {
        let mut state = self.state();
        let lock = state.locks.entry(lease.key.clone()).or_default();
        if lock.fence != lease.fence || lock.holder.is_none() {
            return Err(LedgerError::Fenced(lease.key.environment.clone()));
        }
        lock.fence = fence;
        if let Ok(record) = state.record(lease.deployment) {
            record.fence = fence;
        }
        Ok(Lease { fence, ..lease.clone() })
    }

    async fn forgo(&self, lease: &Lease, former: u64) -> Result<(), LedgerError> {
        self.unlock(lease).await?;
        let mut state = self.state();
        if let Ok(record) = state.record(lease.deployment)
            && record.fence == lease.fence
        {
            record.fence = former;
        }
        Ok(())
    }

    async fn append(
        &self,
        deployment: DeploymentId,
        events: Vec<EventKind>,
    ) -> Result<(), LedgerError> {
        let write = self.begin_write();
        self.maybe_hang(write, Hang::Before).await;
        self.add(deployment, events)?;
        self.maybe_hang(write, Hang::After).await;
        Ok(())
    }

    async fn planned(&self, deployment: DeploymentId, planned: Planned) -> Result<(), LedgerError> {
        let write = self.begin_write();
        self.maybe_hang(write, Hang::Before).await;
        self.add(deployment, vec![planned.event()])?;
        {
            let mut state = self.state();
            let record = state.record(deployment)?;
            record.deployment.spec = planned.spec;
            record.declared = Some(planned.declared);
            record.before = Some(planned.before);
        }
        self.maybe_hang(write, Hang::After).await;
        Ok(())
    }

    async fn mark(
        &self,
        deployment: DeploymentId,
        verdict: Verdict,
        by: &str,
        reason: Option<String>,
    ) -> Result<(), LedgerError> {
        let mut state = self.state();
        let record = state.record(deployment)?;
        if record.state.is_none() {
            return Err(LedgerError::Unknown(deployment));
        }
        record.verdict = verdict;
        let mark = EventKind::DeploymentMarked { verdict, by: by.to_owned(), reason };
        state.events.entry(deployment).or_default().push(mark);
        Ok(())
    }

    async fn finish(&self, deployment: DeploymentId, finish: Finish) -> Result<(), LedgerError> {
        let mut state = self.state();
        let record = state.record(deployment)?;
        if record.state.is_some() {
            return Err(LedgerError::Unknown(deployment));
        }
        record.state = Some(finish.state);
        record.outcome.clone_from(&finish.reason);
        record.caught = finish.caught;
        record.mixed = finish.mixed;
        record.infrastructure = finish.infrastructure;
        record.cut = finish.cut;
        record.finished_at = Some(SystemTime::now().into());
        record.held_until = None;
        state.events.entry(deployment).or_default().push(finish.event());
        Ok(())
    }

    async fn decide(
        &self,
        deployment: DeploymentId,
        decision: Decision,
        by: &str,
        reason: Option<String>,
    ) -> Result<(), LedgerError> {
        let mut state = self.state();
        if state.record(deployment)?.held_until.take().is_none() {
            return Err(LedgerError::NotHeld(deployment));
        }
        let decided = EventKind::DeploymentDecided { decision, by: by.to_owned(), reason };
        state.events.entry(deployment).or_default().push(decided);
        Ok(())
    }

    async fn holding(&self, deployment: DeploymentId) -> Result<Option<Holding>, LedgerError> {
        let events = self.events(deployment);
        Ok(events.into_iter().rev().find_map(|event| match event {
            EventKind::DeploymentHeld { reason, units, until } => {
                Some(Holding { reason, units: units.into_iter().map(UnitId).collect(), until })
            }
            _ => None,
        }))
    }

    async fn decision(&self, deployment: DeploymentId) -> Result<Option<Decision>, LedgerError> {
        let events = self.events(deployment);
        let last = events.iter().rev().find_map(|event| match event {
            EventKind::DeploymentDecided { decision, .. } => Some(Some(*decision)),
            EventKind::DeploymentHeld { .. } => Some(None),
            _ => None,
        });
        Ok(last.flatten())
    }

    async fn failed_units(&self, deployment: DeploymentId) -> Result<Vec<UnitId>, LedgerError> {
        let events = self.events(deployment);
        let failed = |event: &EventKind| match event {
            EventKind::OpFinished { unit, state: OpState::Unhealthy | OpState::Failed, .. } => {
                Some(UnitId(unit.clone()))
            }
            _ => None,
        };
        let failed: BTreeSet<_> = events.iter().filter_map(failed).collect();
        Ok(failed.into_iter().collect())
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

    async fn environments(&self, project: &str) -> Result<Vec<EnvironmentKey>, LedgerError> {
        let state = self.state();
        let keys = state.records.iter().map(|record| record.deployment.key());
        let keys: BTreeSet<_> = keys.filter(|key| key.project == project).collect();
        Ok(keys.into_iter().collect())
    }

    async fn unfinished(&self) -> Result<Vec<DeploymentRecord>, LedgerError> {
        let state = self.state();
        Ok(state.records.iter().filter(|record| record.state.is_none()).cloned().collect())
    }
}
