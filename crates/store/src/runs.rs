//! Runs as rows: what lists show without reading events.

use chrono::{DateTime, Utc};
use event::{RunId, RunResult};
use pipeline::TriggerEvent;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _};

use crate::columns::{
    integer, read_count, read_optional_parsed, read_optional_time, read_optional_word, read_parsed,
    read_time, read_word,
};
use crate::{Store, StoreError, TriggerId};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    pub id: RunId,
    pub project: String,
    pub pipeline: String,
    /// Counts the runs of a pipeline of a project.
    pub number: u64,
    pub event: TriggerEvent,
    pub branch: Option<String>,
    pub tag: Option<String>,
    pub sha: String,
    pub by: String,
    pub trigger: Option<TriggerId>,
    pub status: RunStatus,
    /// Who leased it.
    pub holder: Option<String>,
    pub result: Option<RunResult>,
    pub queued_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    /// Of the last event.
    pub seq: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    Queued,
    /// Given to somebody who has not yet started it.
    Leased,
    Running,
    Finished,
}

impl RunStatus {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Leased => "leased",
            Self::Running => "running",
            Self::Finished => "finished",
        }
    }
}

impl Store {
    /// Runs of one project or of all, newest first; `before` is the last one of
    /// the page before.
    pub async fn runs(
        &self,
        project: Option<&str>,
        limit: u32,
        before: Option<RunId>,
    ) -> Result<Vec<RunRow>, StoreError> {
        let before = before.map_or_else(after_every_id, |run| run.to_string());
        let query = match project {
            Some(project) => sqlx::query_as(
                "select * from runs where project = $3 and id < $1 order by id desc limit $2",
            )
            .bind(before)
            .bind(i64::from(limit))
            .bind(project.to_owned()),
            None => sqlx::query_as("select * from runs where id < $1 order by id desc limit $2")
                .bind(before)
                .bind(i64::from(limit)),
        };
        Ok(query.fetch_all(self.reader()).await?)
    }

    pub async fn run(&self, run: RunId) -> Result<Option<RunRow>, StoreError> {
        let query = sqlx::query_as("select * from runs where id = $1").bind(run.to_string());
        Ok(query.fetch_optional(self.reader()).await?)
    }

    /// Finds a run by the last eight digits of its id; the newest, should two agree.
    pub async fn run_by_short(&self, short: &str) -> Result<Option<RunRow>, StoreError> {
        let query = sqlx::query_as("select * from runs where short = $1 order by id desc limit 1")
            .bind(short.to_ascii_lowercase());
        Ok(query.fetch_optional(self.reader()).await?)
    }

    /// Runs that have not ended, oldest first. After a start of the only server
    /// these are what a crash left, and what waits.
    pub async fn unfinished_runs(&self) -> Result<Vec<RunRow>, StoreError> {
        let query = sqlx::query_as("select * from runs where status <> 'finished' order by id");
        Ok(query.fetch_all(self.reader()).await?)
    }

    /// Returns how the branch stood before `run`: the result of the last run of
    /// its pipeline and branch that says something about the code. Cancelled
    /// and skipped ones do not.
    pub async fn previous_result(&self, run: &RunRow) -> Result<Option<RunResult>, StoreError> {
        let row = sqlx::query(
            "select result from runs
             where project = $1 and pipeline = $2 and branch = $3 and number < $4
               and result in ('passed', 'warning', 'failed', 'infra-error')
             order by number desc limit 1",
        )
        .bind(&run.project)
        .bind(&run.pipeline)
        .bind(&run.branch)
        .bind(integer(run.number))
        .fetch_optional(self.reader())
        .await?;
        Ok(row.map(|row| read_word(&row, "result")).transpose()?)
    }
}

/// Sorts after every UUID.
pub(crate) fn after_every_id() -> String {
    "~".to_owned()
}

impl FromRow<'_, SqliteRow> for RunRow {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: read_parsed(row, "id")?,
            project: row.try_get("project")?,
            pipeline: row.try_get("pipeline")?,
            number: read_count(row, "number")?,
            event: read_word(row, "event")?,
            branch: row.try_get("branch")?,
            tag: row.try_get("tag")?,
            sha: row.try_get("sha")?,
            by: row.try_get("actor")?,
            trigger: read_optional_parsed(row, "trigger_id")?,
            status: read_word(row, "status")?,
            holder: row.try_get("holder")?,
            result: read_optional_word(row, "result")?,
            queued_at: read_time(row, "queued_at")?,
            started_at: read_optional_time(row, "started_at")?,
            finished_at: read_optional_time(row, "finished_at")?,
            seq: read_count(row, "seq")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{Sample, at, queued};

    #[tokio::test]
    async fn pages_go_from_the_newest_to_the_oldest_and_miss_nothing() {
        let sample = Sample::new().await;
        for minute in 0..5 {
            sample.run("orders", "main", at(minute)).await;
        }
        sample.run("other", "main", at(9)).await;
        let numbers = |rows: &[RunRow]| rows.iter().map(|row| row.number).collect::<Vec<_>>();
        let first = sample.store.runs(Some("orders"), 2, None).await.expect("rows");
        assert_eq!(numbers(&first), [5, 4]);
        let second = sample.store.runs(Some("orders"), 2, Some(first[1].id)).await.expect("rows");
        assert_eq!(numbers(&second), [3, 2]);
        let third = sample.store.runs(Some("orders"), 2, Some(second[1].id)).await.expect("rows");
        assert_eq!(numbers(&third), [1]);
        assert_eq!(sample.store.runs(None, 10, None).await.expect("rows").len(), 6);
    }

    #[tokio::test]
    async fn a_run_is_found_by_its_id_and_by_the_end_of_it() {
        let sample = Sample::new().await;
        let row = sample.run("orders", "main", at(0)).await;
        let run = queued(&sample.store, row.id).await;
        assert_eq!(run, row);
        let short = row.id.short().to_uppercase();
        assert_eq!(sample.store.run_by_short(&short).await.expect("read"), Some(row));
        assert_eq!(sample.store.run_by_short("00000000").await.expect("read"), None);
    }

    #[tokio::test]
    async fn the_previous_result_is_of_the_same_branch_and_says_something_about_the_code() {
        let sample = Sample::new().await;
        let failed = sample.run("orders", "main", at(0)).await;
        sample.finish(&failed, RunResult::Failed).await;
        let foreign = sample.run("orders", "feature", at(1)).await;
        sample.finish(&foreign, RunResult::Passed).await;
        let cancelled = sample.run("orders", "main", at(2)).await;
        sample.finish(&cancelled, RunResult::Cancelled).await;
        let _waits = sample.run("orders", "main", at(3)).await;
        let run = sample.run("orders", "main", at(4)).await;

        let previous = |row: RunRow| {
            let store = sample.store.clone();
            async move { store.previous_result(&row).await.expect("read") }
        };
        assert_eq!(previous(run).await, Some(RunResult::Failed));
        assert_eq!(previous(failed).await, None);
        assert_eq!(previous(foreign).await, None);
    }
}
