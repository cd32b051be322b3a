//! What the deploy engine remembers, kept here.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use deploy::{
    DeploymentRecord, EnvironmentKey, Lease, Ledger, LedgerError, NewDeployment, Release,
};
use event::{DeploymentId, DeploymentState, EventKind, Stream};

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

    async fn unlock(&self, lease: &Lease) -> Result<(), LedgerError> {
        self.unlock_lease(lease).await
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

    async fn finish(
        &self,
        deployment: DeploymentId,
        state: DeploymentState,
        reason: Option<String>,
        duration_ms: u64,
    ) -> Result<(), LedgerError> {
        let finished = EventKind::DeploymentFinished { state, reason, duration_ms };
        Ledger::append(self, deployment, vec![finished]).await
    }

    async fn history(
        &self,
        key: &EnvironmentKey,
        limit: u32,
    ) -> Result<Vec<DeploymentRecord>, LedgerError> {
        self.deployments_of(key, limit).await.map_err(store_failed)
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
