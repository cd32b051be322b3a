//! The ops of a deployment as rows: what was intended, and what came of it.

use chrono::{DateTime, Utc};
use event::{DeploymentId, OpState};
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _};

use crate::columns::{read_count, read_optional_time, read_time, word};
use crate::{Store, StoreError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpRow {
    /// Of the event that says what is intended.
    pub seq: u64,
    pub op: u32,
    pub action: String,
    pub unit: String,
    pub batch: Option<u32>,
    pub undo: bool,
    /// `None` while nobody knows: it is under way, or its engine died.
    pub state: Option<OpState>,
    pub detail: Option<String>,
    pub intended_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    pub duration_ms: Option<u64>,
}

impl Store {
    /// The units of a deployment of which an op on the way forward failed.
    pub(crate) async fn failed_units_of(
        &self,
        deployment: DeploymentId,
    ) -> Result<Vec<String>, StoreError> {
        let query = sqlx::query_scalar(
            "select distinct unit from ops
             where deployment = $1 and not undo and state in ('unhealthy', 'failed') order by unit",
        )
        .bind(deployment.to_string());
        Ok(query.fetch_all(self.reader()).await?)
    }

    /// The ops of a deployment in the order they were intended.
    pub async fn ops(&self, deployment: DeploymentId) -> Result<Vec<OpRow>, StoreError> {
        let query = sqlx::query_as("select * from ops where deployment = $1 order by seq")
            .bind(deployment.to_string());
        Ok(query.fetch_all(self.reader()).await?)
    }
}

impl FromRow<'_, SqliteRow> for OpRow {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let state: String = row.try_get("state")?;
        let duration: Option<i64> = row.try_get("duration_ms")?;
        Ok(Self {
            seq: read_count(row, "seq")?,
            op: row.try_get("op")?,
            action: row.try_get("action")?,
            unit: row.try_get("unit")?,
            batch: row.try_get("batch")?,
            undo: row.try_get("undo")?,
            state: known(&state),
            detail: row.try_get("detail")?,
            intended_at: read_time(row, "intended_at")?,
            finished_at: read_optional_time(row, "finished_at")?,
            duration_ms: duration.map(i64::unsigned_abs),
        })
    }
}

fn known(state: &str) -> Option<OpState> {
    use OpState::{Cancelled, Done, Failed, UndoFailed, Undone, Unhealthy};
    [Done, Unhealthy, Failed, Cancelled, Undone, UndoFailed]
        .into_iter()
        .find(|known| word(known) == state)
}
