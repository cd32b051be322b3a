//! Recorded changes of environments, and what became of them.

use deploy::{DeploymentRecord, EnvironmentKey, NewDeployment};
use event::{DeploymentId, EventKind, RunId, Stream};
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _};

use crate::columns::{
    json, micros, read_count, read_json, read_optional_time, read_optional_word, read_time,
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
        }))
    }
}
