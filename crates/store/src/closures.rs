//! Locks that people set by hand: owner, reason, end.

use chrono::{DateTime, Utc};
use deploy::{EnvironmentKey, LedgerError};
use event::DeploymentKind;
use serde::Serialize;
use sqlx::{Row as _, SqliteConnection};

use crate::columns::{micros, read_time};
use crate::{Store, StoreError};

/// An environment that its owner keeps others from changing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Closure {
    pub owner: String,
    pub reason: String,
    pub since: DateTime<Utc>,
    pub until: DateTime<Utc>,
    /// Whether it is a reservation: the owner's own deployments go on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reserved: bool,
}

/// What became of a wish to close or to open an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closing {
    Done,
    /// Somebody else keeps it closed.
    Others(Closure),
    /// There was nothing to open.
    Nothing,
}

impl Closure {
    /// Whether a deployment of this kind, asked for by `by`, is let through: the way back
    /// is never barred, and a reservation is for its owner.
    pub(crate) fn admits(&self, kind: DeploymentKind, by: &str) -> bool {
        kind == DeploymentKind::Rollback || self.reserved && self.owner == by
    }

    pub(crate) fn refusal(self, key: &EnvironmentKey) -> LedgerError {
        let Self { owner, reason, until, .. } = self;
        LedgerError::Closed { environment: key.environment.clone(), owner, reason, until }
    }
}

impl Store {
    /// Who keeps an environment closed at the time `at`.
    pub async fn closure(
        &self,
        key: &EnvironmentKey,
        at: DateTime<Utc>,
    ) -> Result<Option<Closure>, StoreError> {
        let mut connection = self.reader().acquire().await?;
        Ok(active(&mut connection, key, at).await?)
    }

    /// Closes an environment from `closure.since` on, or changes reason and end of what
    /// its owner has closed already.
    pub async fn close_environment(
        &self,
        key: &EnvironmentKey,
        closure: &Closure,
    ) -> Result<Closing, StoreError> {
        let mut transaction = self.write().await?;
        if let Some(other) = active(&mut transaction, key, closure.since).await?
            && other.owner != closure.owner
        {
            return Ok(Closing::Others(other));
        }
        sqlx::query(
            "insert into closures
                 (project, environment, owner, reason, closed_at, expires_at, reserved)
             values ($1, $2, $3, $4, $5, $6, $7)
             on conflict (project, environment) do update
             set owner = excluded.owner, reason = excluded.reason,
                 closed_at = excluded.closed_at, expires_at = excluded.expires_at,
                 reserved = excluded.reserved",
        )
        .bind(&key.project)
        .bind(&key.environment)
        .bind(&closure.owner)
        .bind(&closure.reason)
        .bind(micros(closure.since))
        .bind(micros(closure.until))
        .bind(closure.reserved)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Closing::Done)
    }

    /// Opens an environment again: what others have closed only by `force`.
    pub async fn open_environment(
        &self,
        key: &EnvironmentKey,
        owner: &str,
        force: bool,
        at: DateTime<Utc>,
    ) -> Result<Closing, StoreError> {
        let mut transaction = self.write().await?;
        let Some(closure) = active(&mut transaction, key, at).await? else {
            return Ok(Closing::Nothing);
        };
        if closure.owner != owner && !force {
            return Ok(Closing::Others(closure));
        }
        sqlx::query("delete from closures where project = $1 and environment = $2")
            .bind(&key.project)
            .bind(&key.environment)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Closing::Done)
    }
}

pub(crate) async fn active(
    connection: &mut SqliteConnection,
    key: &EnvironmentKey,
    at: DateTime<Utc>,
) -> Result<Option<Closure>, sqlx::Error> {
    let row = sqlx::query(
        "select owner, reason, closed_at, expires_at, reserved from closures
         where project = $1 and environment = $2 and expires_at > $3",
    )
    .bind(&key.project)
    .bind(&key.environment)
    .bind(micros(at))
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Closure {
        owner: row.try_get("owner")?,
        reason: row.try_get("reason")?,
        since: read_time(&row, "closed_at")?,
        until: read_time(&row, "expires_at")?,
        reserved: row.try_get("reserved")?,
    }))
}
