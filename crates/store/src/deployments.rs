//! Recorded changes of environments, and what became of them.

use chrono::{DateTime, Utc};
use deploy::{
    Deployment, DeploymentRecord, EnvironmentKey, Holding, NewDeployment, Planned, UnitId,
};
use event::{Decision, DeploymentId, Event, EventKind, RunId, Stream};
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _};

use crate::columns::{
    json, micros, read_count, read_json, read_optional_json, read_optional_time, read_optional_u32,
    read_optional_word, read_time, read_word,
};
use crate::{AppendError, Store, StoreError, events};

impl Store {
    pub async fn deployment(
        &self,
        deployment: DeploymentId,
    ) -> Result<Option<DeploymentRecord>, StoreError> {
        let row: Option<Row> = sqlx::query_as("select * from deployments where id = $1")
            .bind(deployment.to_string())
            .fetch_optional(self.reader())
            .await?;
        Ok(row.map(|Row(record)| record))
    }

    /// The deployment whose id ends in these eight digits; of several the newest.
    pub async fn deployment_by_short(
        &self,
        short: &str,
    ) -> Result<Option<DeploymentRecord>, StoreError> {
        let row: Option<Row> = sqlx::query_as(
            "select * from deployments where substr(id, -8) = $1 order by requested_at desc, id desc
             limit 1",
        )
        .bind(short.to_ascii_lowercase())
        .fetch_optional(self.reader())
        .await?;
        Ok(row.map(|Row(record)| record))
    }

    /// Deployments that stages of a run asked for, oldest first.
    pub async fn deployments_of_run(
        &self,
        run: RunId,
    ) -> Result<Vec<DeploymentRecord>, StoreError> {
        let rows =
            sqlx::query_as("select * from deployments where run = $1 order by requested_at, id")
                .bind(run.to_string())
                .fetch_all(self.reader())
                .await?;
        Ok(records(rows))
    }

    pub(crate) async fn request_deployment(&self, new: &NewDeployment) -> Result<(), AppendError> {
        let deployment = &new.deployment;
        let key = deployment.key();
        let mut transaction = self.write().await?;
        sqlx::query(
            "insert into deployments (id, project, environment, kind, release_id, run, request,
                                      requested_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(deployment.id.to_string())
        .bind(&key.project)
        .bind(&key.environment)
        .bind(deployment.kind.name())
        .bind(deployment.spec.release.to_string())
        .bind(deployment.run.map(|run| run.to_string()))
        .bind(json(deployment))
        .bind(micros(new.at))
        .execute(&mut *transaction)
        .await?;
        let requested = EventKind::DeploymentRequested {
            project: key.project,
            environment: key.environment,
            change: deployment.kind,
            release: deployment.spec.release,
            by: deployment.by.clone(),
            reason: deployment.reason.clone(),
        };
        let stream = Stream::Deployment(deployment.id);
        events::append_next(&mut transaction, stream, vec![requested], new.at).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Replaces what was asked for by what was settled under the lock, and says so.
    pub(crate) async fn plan_deployment(
        &self,
        id: DeploymentId,
        planned: &Planned,
        at: DateTime<Utc>,
    ) -> Result<(), AppendError> {
        let stream = Stream::Deployment(id);
        let mut transaction = self.write().await?;
        let row = sqlx::query("select request from deployments where id = $1")
            .bind(id.to_string())
            .fetch_optional(&mut *transaction)
            .await?;
        let row = row.ok_or_else(|| AppendError::Unknown(events::name(stream)))?;
        let asked: Deployment = read_json(&row, "request")?;
        let settled = Deployment { spec: planned.spec.clone(), ..asked };
        sqlx::query(
            "update deployments set request = $1, release_id = $2, declared = $3, before = $4
             where id = $5",
        )
        .bind(json(&settled))
        .bind(planned.spec.release.to_string())
        .bind(i64::from(planned.declared))
        .bind(json(&planned.before))
        .bind(id.to_string())
        .execute(&mut *transaction)
        .await?;
        events::append_next(&mut transaction, stream, vec![planned.event()], at).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Decides about a deployment that is held; returns whether it was.
    pub(crate) async fn decide_deployment(
        &self,
        id: DeploymentId,
        decided: EventKind,
        at: DateTime<Utc>,
    ) -> Result<bool, AppendError> {
        let mut transaction = self.write().await?;
        let held: Option<i64> = sqlx::query_scalar(
            "select 1 from deployments where id = $1 and held_until is not null",
        )
        .bind(id.to_string())
        .fetch_optional(&mut *transaction)
        .await?;
        if held.is_none() {
            return Ok(false);
        }
        let stream = Stream::Deployment(id);
        events::append_next(&mut transaction, stream, vec![decided], at).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// How a deployment was last held.
    pub(crate) async fn holding_of(&self, id: DeploymentId) -> Result<Option<Holding>, StoreError> {
        let row = sqlx::query(
            "select payload from events where stream = $1 and kind = 'deployment.held'
             order by seq desc limit 1",
        )
        .bind(id.to_string())
        .fetch_optional(self.reader())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let event: Event = read_json(&row, "payload")?;
        Ok(match event.kind {
            EventKind::DeploymentHeld { reason, units, until } => {
                Some(Holding { reason, units: units.into_iter().map(UnitId).collect(), until })
            }
            _ => None,
        })
    }

    /// What was decided about a deployment since it was last held.
    pub(crate) async fn decision_of(
        &self,
        id: DeploymentId,
    ) -> Result<Option<Decision>, StoreError> {
        let row = sqlx::query("select decision from deployments where id = $1")
            .bind(id.to_string())
            .fetch_optional(self.reader())
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(read_optional_word(&row, "decision")?)
    }

    /// Says what a deployment that has ended was worth.
    pub(crate) async fn mark_deployment(
        &self,
        id: DeploymentId,
        mark: EventKind,
        at: DateTime<Utc>,
    ) -> Result<(), AppendError> {
        let stream = Stream::Deployment(id);
        let mut transaction = self.write().await?;
        let ended: Option<i64> =
            sqlx::query_scalar("select 1 from deployments where id = $1 and state is not null")
                .bind(id.to_string())
                .fetch_optional(&mut *transaction)
                .await?;
        if ended.is_none() {
            return Err(AppendError::Unknown(events::name(stream)));
        }
        events::append_next(&mut transaction, stream, vec![mark], at).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Deployments of an environment, newest first.
    pub(crate) async fn deployments_of(
        &self,
        key: &EnvironmentKey,
        limit: u32,
    ) -> Result<Vec<DeploymentRecord>, StoreError> {
        let rows = sqlx::query_as(
            "select * from deployments where project = $1 and environment = $2
             order by requested_at desc, id desc limit $3",
        )
        .bind(&key.project)
        .bind(&key.environment)
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await?;
        Ok(records(rows))
    }

    /// The environments of all projects that have a history.
    pub async fn deployed_environments(&self) -> Result<Vec<EnvironmentKey>, StoreError> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "select distinct project, environment from deployments order by project, environment",
        )
        .fetch_all(self.reader())
        .await?;
        let key = |(project, environment)| EnvironmentKey { project, environment };
        Ok(rows.into_iter().map(key).collect())
    }

    /// The environments of a project that have a history.
    pub(crate) async fn environments_of(
        &self,
        project: &str,
    ) -> Result<Vec<EnvironmentKey>, StoreError> {
        let names: Vec<String> = sqlx::query_scalar(
            "select distinct environment from deployments where project = $1 order by environment",
        )
        .bind(project)
        .fetch_all(self.reader())
        .await?;
        let key = |environment| EnvironmentKey { project: project.to_owned(), environment };
        Ok(names.into_iter().map(key).collect())
    }

    /// Deployments of all environments that have not ended, oldest first.
    pub(crate) async fn unfinished_deployments(&self) -> Result<Vec<DeploymentRecord>, StoreError> {
        let rows = sqlx::query_as(
            "select * from deployments where state is null order by requested_at, id",
        )
        .fetch_all(self.reader())
        .await?;
        Ok(records(rows))
    }
}

fn records(rows: Vec<Row>) -> Vec<DeploymentRecord> {
    rows.into_iter().map(|Row(record)| record).collect()
}

struct Row(DeploymentRecord);

impl FromRow<'_, SqliteRow> for Row {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self(DeploymentRecord {
            deployment: read_json(row, "request")?,
            requested_at: read_time(row, "requested_at")?,
            finished_at: read_optional_time(row, "finished_at")?,
            state: read_optional_word(row, "state")?,
            outcome: row.try_get("outcome")?,
            fence: read_count(row, "fence")?,
            declared: read_optional_u32(row, "declared")?,
            before: read_optional_json(row, "before")?,
            caught: read_optional_word(row, "caught")?,
            mixed: row.try_get("mixed")?,
            infrastructure: row.try_get("infrastructure")?,
            cut: read_count(row, "cut")?,
            held_until: read_optional_time(row, "held_until")?,
            rolling_back: row.try_get("rolling_back")?,
            moved_at: read_optional_time(row, "moved_at")?,
            verdict: read_word(row, "verdict")?,
        }))
    }
}
