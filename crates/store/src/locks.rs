//! Who may change an environment, until when, under which fence.

use std::time::Duration;

use chrono::{DateTime, Utc};
use deploy::{Deployment, EnvironmentKey, Lease, LedgerError};
use event::{DeploymentId, DeploymentKind};
use sqlx::{Row as _, SqliteConnection};

use crate::columns::{
    integer, micros, read_count, read_json, read_optional_parsed, read_optional_time, read_parsed,
    read_time,
};
use crate::ledger::store_failed;
use crate::{Store, StoreError, closures};

/// An environment's lock, for those who look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub holder: String,
    pub deployment: DeploymentId,
    pub until: DateTime<Utc>,
}

impl Store {
    /// Returns who holds an environment at the time `at`.
    pub async fn held(
        &self,
        key: &EnvironmentKey,
        at: DateTime<Utc>,
    ) -> Result<Option<Held>, StoreError> {
        let row = sqlx::query(
            "select holder, deployment, expires_at from locks
             where project = $1 and environment = $2 and holder is not null and expires_at > $3",
        )
        .bind(&key.project)
        .bind(&key.environment)
        .bind(micros(at))
        .fetch_optional(self.reader())
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Held {
            holder: row.try_get("holder")?,
            deployment: read_parsed(&row, "deployment")?,
            until: read_time(&row, "expires_at")?,
        }))
    }

    /// Ends the lease of a deployment whose engine is known to be dead, so that
    /// its recovery need not wait for its time. Returns whether it held one.
    pub async fn forfeit_lock(&self, deployment: DeploymentId) -> Result<bool, StoreError> {
        let mut transaction = self.write().await?;
        let held = sqlx::query(
            "update locks set holder = null, deployment = null, expires_at = null
             where deployment = $1",
        )
        .bind(deployment.to_string())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(held.rows_affected() > 0)
    }

    /// Takes the lock at the time `at`, with a fence above every earlier one.
    /// Whoever holds it keeps it until the lease expires, but for the same
    /// holder coming back for the same deployment.
    pub(crate) async fn acquire_at(
        &self,
        key: &EnvironmentKey,
        deployment: DeploymentId,
        holder: &str,
        ttl: Duration,
        at: DateTime<Utc>,
    ) -> Result<Lease, LedgerError> {
        let mut transaction = self.write().await.map_err(store_failed)?;
        let row = sqlx::query(
            "select fence, holder, deployment, expires_at from locks
             where project = $1 and environment = $2",
        )
        .bind(&key.project)
        .bind(&key.environment)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(database)?;

        if let Some(closure) =
            closures::active(&mut transaction, key, at).await.map_err(database)?
        {
            let asked = asked(&mut transaction, deployment).await.map_err(database)?;
            if !asked.is_some_and(|(kind, by)| closure.admits(kind, &by)) {
                return Err(closure.refusal(key));
            }
        }
        let mut fence = 1;
        if let Some(row) = row {
            fence = read_count(&row, "fence").map_err(database)? + 1;
            let other: Option<String> = row.try_get("holder").map_err(database)?;
            let theirs: Option<DeploymentId> =
                read_optional_parsed(&row, "deployment").map_err(database)?;
            let until = read_optional_time(&row, "expires_at").map_err(database)?;
            if let (Some(other), Some(until)) = (other, until) {
                let comes_back = other == holder && theirs == Some(deployment);
                if until > at && !comes_back {
                    let environment = key.environment.clone();
                    return Err(LedgerError::Locked { environment, holder: other, until });
                }
            }
        }

        let expires_at = at + ttl;
        sqlx::query(
            "insert into locks (project, environment, fence, holder, deployment, expires_at)
             values ($1, $2, $3, $4, $5, $6)
             on conflict (project, environment) do update
             set fence = excluded.fence, holder = excluded.holder,
                 deployment = excluded.deployment, expires_at = excluded.expires_at",
        )
        .bind(&key.project)
        .bind(&key.environment)
        .bind(integer(fence))
        .bind(holder)
        .bind(deployment.to_string())
        .bind(micros(expires_at))
        .execute(&mut *transaction)
        .await
        .map_err(database)?;
        let known = sqlx::query("update deployments set fence = $1 where id = $2")
            .bind(integer(fence))
            .bind(deployment.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(database)?;
        if known.rows_affected() == 0 {
            return Err(LedgerError::Unknown(deployment));
        }
        transaction.commit().await.map_err(database)?;
        Ok(Lease { key: key.clone(), deployment, fence, expires_at })
    }

    /// Extends a lease that nobody took meanwhile, also after it expired.
    pub(crate) async fn renew_at(
        &self,
        lease: &Lease,
        ttl: Duration,
        at: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        let mut transaction = self.write().await.map_err(store_failed)?;
        let renewed = sqlx::query(
            "update locks set expires_at = $1
             where project = $2 and environment = $3 and fence = $4 and holder is not null",
        )
        .bind(micros(at + ttl))
        .bind(&lease.key.project)
        .bind(&lease.key.environment)
        .bind(integer(lease.fence))
        .execute(&mut *transaction)
        .await
        .map_err(database)?;
        transaction.commit().await.map_err(database)?;
        match renewed.rows_affected() {
            0 => Err(LedgerError::Fenced(lease.key.environment.clone())),
            _ => Ok(()),
        }
    }

    /// Puts a lease that nobody took meanwhile under a larger fence.
    pub(crate) async fn raise_fence(
        &self,
        lease: &Lease,
        fence: u64,
    ) -> Result<Lease, LedgerError> {
        let mut transaction = self.write().await.map_err(store_failed)?;
        let raised = sqlx::query(
            "update locks set fence = $1
             where project = $2 and environment = $3 and fence = $4 and holder is not null",
        )
        .bind(integer(fence))
        .bind(&lease.key.project)
        .bind(&lease.key.environment)
        .bind(integer(lease.fence))
        .execute(&mut *transaction)
        .await
        .map_err(database)?;
        if raised.rows_affected() == 0 {
            return Err(LedgerError::Fenced(lease.key.environment.clone()));
        }
        set_fence(&mut transaction, lease, fence).await.map_err(database)?;
        transaction.commit().await.map_err(database)?;
        Ok(Lease { fence, ..lease.clone() })
    }

    /// Gives the lock back; again changes nothing.
    pub(crate) async fn unlock_lease(&self, lease: &Lease) -> Result<(), LedgerError> {
        let mut transaction = self.write().await.map_err(store_failed)?;
        let ours = unlock(&mut transaction, lease).await.map_err(database)?;
        transaction.commit().await.map_err(database)?;
        match ours {
            false => Err(LedgerError::Fenced(lease.key.environment.clone())),
            true => Ok(()),
        }
    }

    /// Gives back a lock that nothing was done under; the deployment has its former
    /// fence again.
    pub(crate) async fn forgo_lease(&self, lease: &Lease, former: u64) -> Result<(), LedgerError> {
        let mut transaction = self.write().await.map_err(store_failed)?;
        // Where somebody has taken it since, there is nothing to give back.
        if unlock(&mut transaction, lease).await.map_err(database)? {
            set_fence(&mut transaction, lease, former).await.map_err(database)?;
        }
        transaction.commit().await.map_err(database)
    }
}

/// Opens the lock of a lease; whether it was still the lease's.
async fn unlock(connection: &mut SqliteConnection, lease: &Lease) -> Result<bool, sqlx::Error> {
    let ours = sqlx::query(
        "update locks set holder = null, deployment = null, expires_at = null
         where project = $1 and environment = $2 and fence = $3",
    )
    .bind(&lease.key.project)
    .bind(&lease.key.environment)
    .bind(integer(lease.fence))
    .execute(connection)
    .await?;
    Ok(ours.rows_affected() > 0)
}

async fn set_fence(
    connection: &mut SqliteConnection,
    lease: &Lease,
    fence: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query("update deployments set fence = $1 where id = $2")
        .bind(integer(fence))
        .bind(lease.deployment.to_string())
        .execute(connection)
        .await
        .map(drop)
}

/// The kind of a deployment, and who asked for it.
async fn asked(
    connection: &mut SqliteConnection,
    deployment: DeploymentId,
) -> Result<Option<(DeploymentKind, String)>, sqlx::Error> {
    let row = sqlx::query("select request from deployments where id = $1")
        .bind(deployment.to_string())
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let asked: Deployment = read_json(&row, "request")?;
    Ok(Some((asked.kind, asked.by)))
}

fn database(error: sqlx::Error) -> LedgerError {
    store_failed(StoreError::Database(error))
}
