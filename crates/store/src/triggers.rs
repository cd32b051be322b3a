//! Everything that asked for a run, and what came of it.
//!
//! A delivery is recorded before it is answered and decided afterwards: by
//! [`Store::queue_run`], or with a reason for people. What is pending after a
//! crash is decided then. Deliveries that nobody could verify do not belong
//! here: a forged one would take the id of the real one.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use event::RunId;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _, SqliteConnection};
use uuid::Uuid;

use crate::columns::{
    integer, micros, read_count, read_optional_parsed, read_optional_time, read_parsed, read_time,
    read_word, word,
};
use crate::runs::after_every_id;
use crate::{Store, StoreError, heads};

/// What is kept of a body.
const BODY_LIMIT: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TriggerId(Uuid);

impl fmt::Display for TriggerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for TriggerId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTrigger {
    pub project: String,
    /// Who brought it: `poll`, `manual`, `generic` or the name of a forge.
    pub source: String,
    /// The sender's id, by which a repeated delivery is known.
    pub delivery: Option<String>,
    pub received_at: DateTime<Utc>,
    pub reference: Option<String>,
    pub sha: Option<String>,
    pub by: Option<String>,
    /// As it came; the first 64 KiB are kept.
    pub body: Vec<u8>,
    /// It says that `reference` is now at `sha`. The head moves with the record,
    /// so that the next poll does not report the same push again; where a poll
    /// reported it first, the record is ignored.
    pub moves_head: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    pub id: TriggerId,
    pub project: String,
    pub source: String,
    pub delivery: Option<String>,
    pub received_at: DateTime<Utc>,
    pub reference: Option<String>,
    pub sha: Option<String>,
    pub by: Option<String>,
    pub verdict: Verdict,
    /// Why there is no run, in words that stand alone.
    pub reason: Option<String>,
    pub run: Option<RunId>,
    pub decided_at: Option<DateTime<Utc>>,
    pub body: Vec<u8>,
    /// Of the body as it came.
    pub body_size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Pending,
    Started,
    /// Nothing is to be done for it.
    Ignored,
    /// A run was due and could not be made: a broken file, a commit that is gone.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    New(Trigger),
    /// The delivery was here before, and this is what came of it.
    Duplicate(Trigger),
}

impl Store {
    pub async fn record_trigger(&self, new: NewTrigger) -> Result<Recorded, StoreError> {
        let mut transaction = self.write().await?;
        if let Some(delivery) = &new.delivery {
            let known = sqlx::query_as(
                "select triggers.*, runs.id as run from triggers
                 left join runs on runs.trigger_id = triggers.id
                 where triggers.project = $1 and triggers.delivery = $2",
            )
            .bind(&new.project)
            .bind(delivery)
            .fetch_optional(&mut *transaction)
            .await?;
            if let Some(known) = known {
                return Ok(Recorded::Duplicate(known));
            }
        }
        let trigger = insert(&mut transaction, new).await?;
        transaction.commit().await?;
        Ok(Recorded::New(trigger))
    }

    /// Says that a pending trigger starts nothing, and why. Returns whether it
    /// was pending.
    pub async fn decide_trigger(
        &self,
        trigger: TriggerId,
        verdict: Verdict,
        reason: &str,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.write().await?;
        let decided = sqlx::query(
            "update triggers set verdict = $1, reason = $2, decided_at = $3
             where id = $4 and verdict = 'pending'",
        )
        .bind(word(verdict))
        .bind(reason)
        .bind(micros(at))
        .bind(trigger.to_string())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(decided.rows_affected() == 1)
    }

    /// Triggers nobody decided yet, in the order they came.
    pub async fn pending_triggers(&self) -> Result<Vec<Trigger>, StoreError> {
        let query = sqlx::query_as(
            "select triggers.*, null as run from triggers where verdict = 'pending' order by id",
        );
        Ok(query.fetch_all(self.reader()).await?)
    }

    pub async fn trigger(&self, trigger: TriggerId) -> Result<Option<Trigger>, StoreError> {
        let query = sqlx::query_as(
            "select triggers.*, runs.id as run from triggers
             left join runs on runs.trigger_id = triggers.id where triggers.id = $1",
        )
        .bind(trigger.to_string());
        Ok(query.fetch_optional(self.reader()).await?)
    }

    /// Triggers of a project, newest first; `before` is the last one of the page before.
    pub async fn triggers(
        &self,
        project: &str,
        limit: u32,
        before: Option<TriggerId>,
    ) -> Result<Vec<Trigger>, StoreError> {
        let query = sqlx::query_as(
            "select triggers.*, runs.id as run from triggers
             left join runs on runs.trigger_id = triggers.id
             where triggers.project = $1 and triggers.id < $2 order by triggers.id desc limit $3",
        )
        .bind(project)
        .bind(before.map_or_else(after_every_id, |trigger| trigger.to_string()))
        .bind(i64::from(limit));
        Ok(query.fetch_all(self.reader()).await?)
    }
}

/// Records a trigger whose delivery is not yet known.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    new: NewTrigger,
) -> Result<Trigger, StoreError> {
    let mut verdict = Verdict::Pending;
    let mut reason = None;
    if let (true, Some(reference), Some(sha)) = (new.moves_head, &new.reference, &new.sha) {
        let head = heads::head(connection, &new.project, reference).await?;
        if head.as_ref() == Some(sha)
            && is_recorded(connection, &new.project, reference, sha).await?
        {
            verdict = Verdict::Ignored;
            reason = Some(format!("ignored: `{reference}` was already reported at {sha}"));
        } else {
            heads::set_head(connection, &new.project, reference, sha, new.received_at).await?;
        }
    }
    let row = sqlx::query_as(
        "insert into triggers (id, project, source, delivery, received_at, reference, sha, actor,
                               verdict, reason, decided_at, body, body_size)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         returning *, null as run",
    )
    .bind(Uuid::now_v7().to_string())
    .bind(new.project)
    .bind(new.source)
    .bind(new.delivery)
    .bind(micros(new.received_at))
    .bind(new.reference)
    .bind(new.sha)
    .bind(new.by)
    .bind(word(verdict))
    .bind(&reason)
    .bind(reason.as_ref().map(|_| micros(new.received_at)))
    .bind(&new.body[..new.body.len().min(BODY_LIMIT)])
    .bind(integer(new.body.len() as u64))
    .fetch_one(connection)
    .await?;
    Ok(row)
}

/// Whether something asked for a run of this already. The first poll of a
/// project knows a head without asking.
async fn is_recorded(
    connection: &mut SqliteConnection,
    project: &str,
    reference: &str,
    sha: &str,
) -> Result<bool, StoreError> {
    let found: Option<i64> = sqlx::query_scalar(
        "select 1 from triggers where project = $1 and sha = $2 and reference = $3 limit 1",
    )
    .bind(project)
    .bind(sha)
    .bind(reference)
    .fetch_optional(connection)
    .await?;
    Ok(found.is_some())
}

impl FromRow<'_, SqliteRow> for Trigger {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: read_parsed(row, "id")?,
            project: row.try_get("project")?,
            source: row.try_get("source")?,
            delivery: row.try_get("delivery")?,
            received_at: read_time(row, "received_at")?,
            reference: row.try_get("reference")?,
            sha: row.try_get("sha")?,
            by: row.try_get("actor")?,
            verdict: read_word(row, "verdict")?,
            reason: row.try_get("reason")?,
            run: read_optional_parsed(row, "run")?,
            decided_at: read_optional_time(row, "decided_at")?,
            body: row.try_get("body")?,
            body_size: read_count(row, "body_size")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{Sample, at, new_run};
    use crate::{NewRun, QueueError};

    #[tokio::test]
    async fn a_delivery_is_recorded_once_however_often_it_comes() {
        let sample = Sample::new().await;
        sample.project("orders").await;
        sample.project("other").await;
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let store = sample.store.clone();
                let delivery = sample.delivery("orders", "42", "refs/heads/main", "a", at(0));
                tokio::spawn(async move { store.record_trigger(delivery).await })
            })
            .collect();
        let mut new = Vec::new();
        let mut duplicates = Vec::new();
        for task in tasks {
            match task.await.expect("no panic").expect("recorded") {
                Recorded::New(trigger) => new.push(trigger.id),
                Recorded::Duplicate(trigger) => duplicates.push(trigger.id),
            }
        }
        assert_eq!((new.len(), duplicates.len()), (1, 19));
        assert!(duplicates.iter().all(|id| *id == new[0]));
        assert_eq!(sample.store.triggers("orders", 100, None).await.expect("read").len(), 1);

        // Another project's sender may use the same id.
        let delivery = sample.delivery("other", "42", "refs/heads/main", "a", at(0));
        let other = sample.store.record_trigger(delivery).await.expect("recorded");
        assert!(matches!(other, Recorded::New(_)), "{other:?}");
    }

    #[tokio::test]
    async fn a_trigger_starts_one_run_and_shows_it() {
        let sample = Sample::new().await;
        sample.project("orders").await;
        let delivery = sample.delivery("orders", "1", "refs/heads/main", "a", at(0));
        let recorded = sample.store.record_trigger(delivery.clone()).await.expect("recorded");
        let Recorded::New(trigger) = recorded else { panic!("{recorded:?}") };
        let pending = sample.store.pending_triggers().await.expect("read");
        assert_eq!(pending, std::slice::from_ref(&trigger));

        let reason = Some("branch `main` matches `main`".to_owned());
        let new = NewRun {
            trigger: Some(trigger.id),
            reason: reason.clone(),
            ..new_run("orders", "main", at(1))
        };
        let run = sample.store.queue_run(new.clone()).await.expect("queued");
        assert_eq!(run.trigger, Some(trigger.id));
        let twice = NewRun { trigger: Some(trigger.id), ..new_run("orders", "main", at(2)) };
        let error = sample.store.queue_run(twice).await.expect_err("refused");
        assert!(matches!(error, QueueError::Decided(id) if id == trigger.id), "{error:?}");
        assert_eq!(sample.store.runs(None, 10, None).await.expect("read").len(), 1);

        let decided = sample.store.trigger(trigger.id).await.expect("read").expect("there");
        assert_eq!((decided.verdict, decided.run), (Verdict::Started, Some(run.id)));
        assert_eq!((decided.decided_at, &decided.reason), (Some(at(1)), &reason));
        assert_eq!(sample.store.pending_triggers().await.expect("read"), []);
        let recorded = sample.store.record_trigger(delivery).await.expect("recorded");
        assert_eq!(recorded, Recorded::Duplicate(decided));
    }

    #[tokio::test]
    async fn what_starts_nothing_says_why_and_stays_decided() {
        let sample = Sample::new().await;
        sample.project("orders").await;
        let delivery = sample.delivery("orders", "1", "refs/heads/wip", "a", at(0));
        let recorded = sample.store.record_trigger(delivery).await.expect("recorded");
        let Recorded::New(trigger) = recorded else { panic!("{recorded:?}") };
        let reason = "ignored: branch `wip` matches no push filter of pipeline `build`";
        let decide = |verdict, reason: &'static str| {
            let store = sample.store.clone();
            async move {
                store.decide_trigger(trigger.id, verdict, reason, at(1)).await.expect("written")
            }
        };
        assert!(decide(Verdict::Ignored, reason).await);
        assert!(!decide(Verdict::Failed, "something else").await);
        let rows = sample.store.triggers("orders", 10, None).await.expect("read");
        assert_eq!((rows[0].verdict, rows[0].reason.as_deref()), (Verdict::Ignored, Some(reason)));
    }

    #[tokio::test]
    async fn the_beginning_of_a_long_body_is_kept_with_its_size() {
        let sample = Sample::new().await;
        sample.project("orders").await;
        let mut delivery = sample.delivery("orders", "1", "refs/heads/main", "a", at(0));
        delivery.body = vec![0xff; 100_000];
        let recorded = sample.store.record_trigger(delivery).await.expect("recorded");
        let Recorded::New(trigger) = recorded else { panic!("{recorded:?}") };
        assert_eq!((trigger.body.len(), trigger.body_size), (65_536, 100_000));
    }

    #[tokio::test]
    async fn a_delivery_for_a_project_that_is_not_there_is_refused() {
        let sample = Sample::new().await;
        let delivery = sample.delivery("nobody", "1", "refs/heads/main", "a", at(0));
        sample.store.record_trigger(delivery).await.expect_err("refused");
    }
}
