//! Artifacts as rows: what a run published, and until when.

use chrono::{DateTime, Utc};
use event::RunId;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _};

use crate::columns::{micros, read_count, read_parsed, read_time};
use crate::{Store, StoreError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactRow {
    pub run: RunId,
    pub stage: String,
    pub attempt: u32,
    pub name: String,
    /// Bytes of the archive.
    pub size: u64,
    pub sha256: String,
    pub files: u64,
    pub stored_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

impl Store {
    /// What a run published and nobody has removed yet, in the order it was stored.
    pub async fn artifacts(&self, run: RunId) -> Result<Vec<ArtifactRow>, StoreError> {
        let query = sqlx::query_as(
            "select * from artifacts where run = $1 and removed_at is null order by seq",
        );
        Ok(query.bind(run.to_string()).fetch_all(self.reader()).await?)
    }

    /// Archives that only expired artifacts refer to, as run and hash, until
    /// [`Store::forget_archive`] says that they are gone.
    pub async fn expired_archives(
        &self,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<(RunId, String)>, StoreError> {
        // Two artifacts of a run may be one archive.
        let rows = sqlx::query(
            "select run, sha256 from artifacts where removed_at is null
             group by run, sha256 having max(expires_at) <= $1 order by run limit $2",
        )
        .bind(micros(now))
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await?;
        let archive = |row: &SqliteRow| Ok((read_parsed(row, "run")?, row.try_get("sha256")?));
        rows.iter().map(archive).collect()
    }

    /// Notes that an archive is gone.
    pub async fn forget_archive(
        &self,
        run: RunId,
        sha256: &str,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        sqlx::query(
            "update artifacts set removed_at = $1
             where run = $2 and sha256 = $3 and removed_at is null",
        )
        .bind(micros(now))
        .bind(run.to_string())
        .bind(sha256)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }
}

impl FromRow<'_, SqliteRow> for ArtifactRow {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            run: read_parsed(row, "run")?,
            stage: row.try_get("stage")?,
            attempt: u32::try_from(read_count(row, "attempt")?).unwrap_or(u32::MAX),
            name: row.try_get("name")?,
            size: read_count(row, "size")?,
            sha256: row.try_get("sha256")?,
            files: read_count(row, "files")?,
            stored_at: read_time(row, "stored_at")?,
            expires_at: read_time(row, "expires_at")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use event::EventKind;

    use super::*;
    use crate::samples::{Sample, at, event};

    fn stored(name: &str, sha256: &str, expires_at: DateTime<Utc>) -> EventKind {
        EventKind::ArtifactStored {
            stage: "build".into(),
            attempt: 1,
            name: name.into(),
            size: 10,
            sha256: sha256.into(),
            files: 2,
            expires_at,
        }
    }

    #[tokio::test]
    async fn an_archive_goes_when_the_last_that_refers_to_it_has_expired() {
        let sample = Sample::new().await;
        let run = sample.run("orders", "main", at(0)).await;
        let events = [
            event(run.id, 2, stored("a", "1", at(5))),
            event(run.id, 3, stored("b", "1", at(9))),
            event(run.id, 4, stored("c", "2", at(7))),
        ];
        sample.store.append(&events, &[]).await.expect("appended");
        let rows = sample.store.artifacts(run.id).await.expect("rows");
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!((names, rows[0].files, rows[0].expires_at), (vec!["a", "b", "c"], 2, at(5)));

        let expired = async |minute| {
            let found = sample.store.expired_archives(at(minute), 10).await.expect("rows");
            found.into_iter().map(|(_, sha256)| sha256).collect::<Vec<_>>()
        };
        assert_eq!(expired(6).await, [""; 0]);
        assert_eq!(expired(7).await, ["2"]);
        sample.store.forget_archive(run.id, "2", at(7)).await.expect("noted");
        assert_eq!(expired(9).await, ["1"]);
        assert_eq!(sample.store.artifacts(run.id).await.expect("rows").len(), 2);
    }
}
