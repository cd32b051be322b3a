//! What is to be told to others, until it is told.
//!
//! A row is written in the transaction of the event that causes it, once by its
//! key. It is delivered at least once: a delivery that was not marked as sent
//! is made again, with the same payload and hence the same ids.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _, SqliteConnection};
use uuid::Uuid;

use crate::columns::{micros, read_json, read_optional_time, read_time, read_word};
use crate::{Store, StoreError};

#[derive(Clone, Debug, PartialEq)]
pub struct QueuedMail {
    /// Which sender takes it: `mail`.
    pub kind: String,
    /// The same message has the same key; a second one with it is not queued.
    pub dedupe_key: String,
    pub payload: serde_json::Value,
    pub at: DateTime<Utc>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct OutboxRow {
    pub id: Uuid,
    pub kind: String,
    pub dedupe_key: String,
    pub payload: serde_json::Value,
    /// Failed ones and the one that succeeded.
    pub attempts: u32,
    pub next_at: DateTime<Utc>,
    pub state: OutboxState,
    pub last_error: Option<String>,
    pub created_at: DateTime<Utc>,
    pub sent_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutboxState {
    Pending,
    Sent,
    /// Given up, and kept to be seen.
    Dead,
}

/// What follows a failed delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    At(DateTime<Utc>),
    Never,
}

impl Store {
    /// Rows whose time has come, the longest due first.
    pub async fn due(&self, now: DateTime<Utc>, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        let query = sqlx::query_as(
            "select * from outbox where state = 'pending' and next_at <= $1
             order by next_at, id limit $2",
        )
        .bind(micros(now))
        .bind(i64::from(limit));
        Ok(query.fetch_all(self.reader()).await?)
    }

    /// Returns when the next row is due, which may be long ago.
    pub async fn next_due(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let row = sqlx::query("select min(next_at) as next_at from outbox where state = 'pending'")
            .fetch_one(self.reader())
            .await?;
        Ok(read_optional_time(&row, "next_at")?)
    }

    pub async fn sent(&self, id: Uuid, at: DateTime<Utc>) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        sqlx::query(
            "update outbox set state = 'sent', sent_at = $1, attempts = attempts + 1
             where id = $2 and state = 'pending'",
        )
        .bind(micros(at))
        .bind(id.to_string())
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }

    pub async fn failed(&self, id: Uuid, error: &str, retry: Retry) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        let query = match retry {
            Retry::At(at) => sqlx::query(
                "update outbox set next_at = $3, attempts = attempts + 1, last_error = $1
                 where id = $2 and state = 'pending'",
            )
            .bind(error)
            .bind(id.to_string())
            .bind(micros(at)),
            Retry::Never => sqlx::query(
                "update outbox set state = 'dead', attempts = attempts + 1, last_error = $1
                 where id = $2 and state = 'pending'",
            )
            .bind(error)
            .bind(id.to_string()),
        };
        query.execute(&mut *transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// All rows, newest first.
    pub async fn outbox(&self, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
        let query =
            sqlx::query_as("select * from outbox order by id desc limit $1").bind(i64::from(limit));
        Ok(query.fetch_all(self.reader()).await?)
    }
}

pub(crate) async fn queue(
    connection: &mut SqliteConnection,
    mail: &QueuedMail,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into outbox (id, kind, dedupe_key, payload, next_at, state, created_at)
         values ($1, $2, $3, $4, $5, 'pending', $5) on conflict (dedupe_key) do nothing",
    )
    .bind(Uuid::now_v7().to_string())
    .bind(&mail.kind)
    .bind(&mail.dedupe_key)
    .bind(mail.payload.to_string())
    .bind(micros(mail.at))
    .execute(connection)
    .await?;
    Ok(())
}

impl FromRow<'_, SqliteRow> for OutboxRow {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: crate::columns::read_parsed(row, "id")?,
            kind: row.try_get("kind")?,
            dedupe_key: row.try_get("dedupe_key")?,
            payload: read_json(row, "payload")?,
            attempts: row.try_get("attempts")?,
            next_at: read_time(row, "next_at")?,
            state: read_word(row, "state")?,
            last_error: row.try_get("last_error")?,
            created_at: read_time(row, "created_at")?,
            sent_at: read_optional_time(row, "sent_at")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use event::{EventKind, RunResult};

    use super::*;
    use crate::samples::{Sample, at, event, mail};

    #[tokio::test]
    async fn a_mail_is_queued_with_its_event_or_not_at_all() {
        let sample = Sample::new().await;
        let run = sample.run("orders", "main", at(0)).await;
        let finished = EventKind::RunFinished { result: RunResult::Passed, duration_ms: 1 };
        let conflict = event(run.id, 1, finished.clone());
        sample.store.append(&[conflict], &[mail("a", at(1))]).await.expect_err("refused");
        assert_eq!(sample.store.outbox(10).await.expect("read"), []);

        sample
            .store
            .append(&[event(run.id, 2, finished)], &[mail("a", at(1))])
            .await
            .expect("appended");
        let rows = sample.store.due(at(1), 10).await.expect("read");
        assert_eq!(
            rows,
            [OutboxRow {
                id: rows[0].id,
                kind: "mail".into(),
                dedupe_key: "a".into(),
                payload: serde_json::json!({ "subject": "a" }),
                attempts: 0,
                next_at: at(1),
                state: OutboxState::Pending,
                last_error: None,
                created_at: at(1),
                sent_at: None,
            }]
        );
    }

    #[tokio::test]
    async fn the_same_message_is_queued_once() {
        let sample = Sample::new().await;
        sample.store.append(&[], &[mail("a", at(0)), mail("a", at(0))]).await.expect("appended");
        sample.store.append(&[], &[mail("a", at(1)), mail("b", at(1))]).await.expect("appended");
        let keys: Vec<String> = sample
            .store
            .outbox(10)
            .await
            .expect("read")
            .into_iter()
            .map(|row| row.dedupe_key)
            .collect();
        assert_eq!(keys, ["b", "a"]);
    }

    #[tokio::test]
    async fn a_row_is_due_again_until_it_is_sent_or_given_up() {
        let sample = Sample::new().await;
        sample.store.append(&[], &[mail("a", at(0)), mail("b", at(0))]).await.expect("appended");
        let due = |minute| {
            let store = sample.store.clone();
            async move {
                let rows = store.due(at(minute), 10).await.expect("read");
                rows.into_iter().map(|row| row.dedupe_key).collect::<Vec<_>>()
            }
        };
        let rows = sample.store.due(at(0), 10).await.expect("read");
        let (a, b) = (rows[0].id, rows[1].id);

        sample.store.failed(a, "451 later", Retry::At(at(5))).await.expect("written");
        sample.store.failed(b, "550 no such user", Retry::Never).await.expect("written");
        assert_eq!(due(4).await, Vec::<String>::new());
        assert_eq!(sample.store.next_due().await.expect("read"), Some(at(5)));
        assert_eq!(due(5).await, ["a"]);
        sample.store.sent(a, at(5)).await.expect("written");
        assert_eq!(due(60).await, Vec::<String>::new());
        assert_eq!(sample.store.next_due().await.expect("read"), None);

        let rows = sample.store.outbox(10).await.expect("read");
        let told: Vec<_> = rows
            .iter()
            .map(|row| {
                (row.dedupe_key.as_str(), row.state, row.attempts, row.last_error.as_deref())
            })
            .collect();
        assert_eq!(
            told,
            [
                ("b", OutboxState::Dead, 1, Some("550 no such user")),
                ("a", OutboxState::Sent, 2, Some("451 later")),
            ]
        );
    }
}
