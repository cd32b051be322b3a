//! Immutable artifacts of a project that can be deployed.

use deploy::Release;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _};

use crate::columns::{json, micros, read_json, read_parsed, read_time};
use crate::{Store, StoreError};

impl Store {
    /// Returns the project's release with this artifact: the one that was
    /// recorded first, which is `release` when there was none.
    pub(crate) async fn record_release(&self, release: &Release) -> Result<Release, StoreError> {
        let mut transaction = self.write().await?;
        sqlx::query(
            "insert into releases (id, project, version, branch, sha, committer, artifact,
                                   built_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8)
             on conflict (project, artifact) do nothing",
        )
        .bind(release.id.to_string())
        .bind(&release.project)
        .bind(&release.version)
        .bind(&release.branch)
        .bind(&release.sha)
        .bind(&release.committer)
        .bind(json(&release.artifact))
        .bind(micros(release.built_at))
        .execute(&mut *transaction)
        .await?;
        let Row(release) =
            sqlx::query_as("select * from releases where project = $1 and artifact = $2")
                .bind(&release.project)
                .bind(json(&release.artifact))
                .fetch_one(&mut *transaction)
                .await?;
        transaction.commit().await?;
        Ok(release)
    }

    /// Releases of a project, newest first.
    pub(crate) async fn releases_of(&self, project: &str) -> Result<Vec<Release>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "select * from releases where project = $1 order by built_at desc, id desc",
        )
        .bind(project)
        .fetch_all(self.reader())
        .await?;
        Ok(rows.into_iter().map(|Row(release)| release).collect())
    }
}

struct Row(Release);

impl FromRow<'_, SqliteRow> for Row {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self(Release {
            id: read_parsed(row, "id")?,
            project: row.try_get("project")?,
            version: row.try_get("version")?,
            branch: row.try_get("branch")?,
            sha: row.try_get("sha")?,
            committer: row.try_get("committer")?,
            artifact: read_json(row, "artifact")?,
            built_at: read_time(row, "built_at")?,
        }))
    }
}
