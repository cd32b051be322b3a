//! What the deploy engine remembers, kept here.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use deploy::{
    DeploymentRecord, EnvironmentKey, Finish, Holding, Lease, Ledger, LedgerError, NewDeployment,
    Planned, Release, UnitId,
};
use event::{Decision, DeploymentId, EventKind, Stream, Verdict};

use crate::{AppendError, Store, StoreError, events};

#[async_trait]
impl Ledger for Store {
    async fn release(&self, release: Release) -> Result<Release, LedgerError> {
        self.record_release(&release).await.map_err(store_failed)
    }

    async fn releases(&self, project: &str) -> Result<Vec<Release>, LedgerError> {
        self.releases_of(project).await.map_err(store_failed)
    }

    async fn request(&self, deployment: NewDeployment) -> Result<(), LedgerError> {
        let id = deployment.deployment.id;
        self.request_deployment(&deployment).await.map_err(|error| append_failed(id, error))
    }

    async fn acquire(
        &self,
        key: &EnvironmentKey,
        deployment: DeploymentId,
        holder: &str,
        ttl: Duration,
    ) -> Result<Lease, LedgerError> {
        self.acquire_at(key, deployment, holder, ttl, now()).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), LedgerError> {
        self.renew_at(lease, ttl, now()).await
    }

    async fn raise(&self, lease: &Lease, fence: u64) -> Result<Lease, LedgerError> {
        self.raise_fence(lease, fence).await
    }

    async fn unlock(&self, lease: &Lease) -> Result<(), LedgerError> {
        self.unlock_lease(lease).await
    }

    async fn forgo(&self, lease: &Lease, former: u64) -> Result<(), LedgerError> {
        self.forgo_lease(lease, former).await
    }

    async fn append(
        &self,
        deployment: DeploymentId,
        events: Vec<EventKind>,
    ) -> Result<(), LedgerError> {
        let failed = |error| append_failed(deployment, error);
        let mut transaction = self.write().await.map_err(store_failed)?;
        events::append_next(&mut transaction, Stream::Deployment(deployment), events, now())
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(|error| failed(error.into()))
    }

    async fn planned(&self, deployment: DeploymentId, planned: Planned) -> Result<(), LedgerError> {
        let failed = |error| append_failed(deployment, error);
        self.plan_deployment(deployment, &planned, now()).await.map_err(failed)
    }

    async fn finish(&self, deployment: DeploymentId, finish: Finish) -> Result<(), LedgerError> {
        Ledger::append(self, deployment, vec![finish.event()]).await
    }

    async fn decide(
        &self,
        deployment: DeploymentId,
        decision: Decision,
        by: &str,
        reason: Option<String>,
    ) -> Result<(), LedgerError> {
        let decided = EventKind::DeploymentDecided { decision, by: by.to_owned(), reason };
        let failed = |error| append_failed(deployment, error);
        match self.decide_deployment(deployment, decided, now()).await.map_err(failed)? {
            true => Ok(()),
            false => Err(LedgerError::NotHeld(deployment)),
        }
    }

    async fn holding(&self, deployment: DeploymentId) -> Result<Option<Holding>, LedgerError> {
        self.holding_of(deployment).await.map_err(store_failed)
    }

    async fn decision(&self, deployment: DeploymentId) -> Result<Option<Decision>, LedgerError> {
        self.decision_of(deployment).await.map_err(store_failed)
    }

    async fn failed_units(&self, deployment: DeploymentId) -> Result<Vec<UnitId>, LedgerError> {
        let units = self.failed_units_of(deployment).await.map_err(store_failed)?;
        Ok(units.into_iter().map(UnitId).collect())
    }

    async fn mark(
        &self,
        deployment: DeploymentId,
        verdict: Verdict,
        by: &str,
        reason: Option<String>,
    ) -> Result<(), LedgerError> {
        let mark = EventKind::DeploymentMarked { verdict, by: by.to_owned(), reason };
        let failed = |error| append_failed(deployment, error);
        self.mark_deployment(deployment, mark, now()).await.map_err(failed)
    }

    async fn history(
        &self,
        key: &EnvironmentKey,
        limit: u32,
    ) -> Result<Vec<DeploymentRecord>, LedgerError> {
        self.deployments_of(key, limit).await.map_err(store_failed)
    }

    async fn environments(&self, project: &str) -> Result<Vec<EnvironmentKey>, LedgerError> {
        self.environments_of(project).await.map_err(store_failed)
    }

    async fn unfinished(&self) -> Result<Vec<DeploymentRecord>, LedgerError> {
        self.unfinished_deployments().await.map_err(store_failed)
    }
}

/// The one clock of this crate: leases are counted "from now".
fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

pub(crate) fn append_failed(deployment: DeploymentId, error: AppendError) -> LedgerError {
    match error {
        AppendError::Unknown(_) => LedgerError::Unknown(deployment),
        error => LedgerError::Store(Box::new(error)),
    }
}

pub(crate) fn store_failed(error: StoreError) -> LedgerError {
    LedgerError::Store(Box::new(error))
}

#[cfg(test)]
mod tests;
