//! What waits to run: queued with its number, leased in order.

use chrono::{DateTime, Utc};
use event::group::GroupEntry;
use event::{Event, EventKind, RunId, Stream};
use pipeline::Plan;
use sqlx::SqliteConnection;

use crate::columns::{integer, micros};
use crate::error::is_duplicate;
use crate::{AppendError, RunRow, Store, StoreError, TriggerId, events, groups};

/// A run to be queued: everything is in its plan but whose it is.
#[derive(Clone, Debug)]
pub struct NewRun {
    pub run: RunId,
    pub project: String,
    pub plan: Plan,
    pub by: String,
    /// The record that caused it, which gets this run as its verdict.
    pub trigger: Option<TriggerId>,
    /// Why that record started it.
    pub reason: Option<String>,
    pub at: DateTime<Utc>,
}

#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Somebody else started its run or ignored it.
    #[error("trigger {0} is already decided")]
    Decided(TriggerId),
    #[error("run {0} is already there")]
    Exists(RunId),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for QueueError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    /// Gives the run its number, appends `run.queued` and decides its trigger, at once.
    pub async fn queue_run(&self, new: NewRun) -> Result<RunRow, QueueError> {
        let mut transaction = self.write().await?;
        let last: Option<i64> =
            sqlx::query_scalar("select max(number) from runs where project = $1 and pipeline = $2")
                .bind(&new.project)
                .bind(&new.plan.pipeline)
                .fetch_one(&mut *transaction)
                .await?;
        let number = last.map_or(1, |last| last.unsigned_abs() + 1);

        if let Some(trigger) = new.trigger {
            let decided = sqlx::query(
                "update triggers set verdict = 'started', reason = $1, decided_at = $2
                 where id = $3 and verdict = 'pending'",
            )
            .bind(&new.reason)
            .bind(micros(new.at))
            .bind(trigger.to_string())
            .execute(&mut *transaction)
            .await?;
            if decided.rows_affected() == 0 {
                return Err(QueueError::Decided(trigger));
            }
        }
        sqlx::query(
            "insert into runs (id, short, project, pipeline, number, event, branch, tag, sha, actor,
                               trigger_id, status, queued_at, seq)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'queued', $12, 0)",
        )
        .bind(new.run.to_string())
        .bind(new.run.short())
        .bind(&new.project)
        .bind(&new.plan.pipeline)
        .bind(integer(number))
        .bind(new.plan.event.name())
        .bind(&new.plan.branch)
        .bind(&new.plan.tag)
        .bind(&new.plan.sha)
        .bind(&new.by)
        .bind(new.trigger.map(|trigger| trigger.to_string()))
        .bind(micros(new.at))
        .execute(&mut *transaction)
        .await
        .map_err(|error| match is_duplicate(&error) {
            true => QueueError::Exists(new.run),
            false => error.into(),
        })?;
        let entry = GroupEntry::of_run(new.run, &new.project, new.plan.concurrency.as_ref());
        if let Some(entry) = entry {
            groups::join(&mut transaction, &entry).await?;
        }
        let event = Event {
            format: event::FORMAT,
            seq: 1,
            at: new.at,
            stream: Stream::Run(new.run),
            kind: EventKind::RunQueued { number, by: new.by, plan: Box::new(new.plan) },
        };
        events::append(&mut transaction, &[event]).await?;
        let row = sqlx::query_as("select * from runs where id = $1")
            .bind(new.run.to_string())
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(row)
    }

    /// Leases the run that has waited longest to `holder`, who starts it; one whose group
    /// is held by others goes on waiting.
    pub async fn lease_next(
        &self,
        holder: &str,
        at: DateTime<Utc>,
    ) -> Result<Option<RunRow>, StoreError> {
        let mut transaction = self.write().await?;
        let Some(run) = next(&mut transaction, at).await? else { return Ok(None) };
        let row = sqlx::query_as(
            "update runs set status = 'leased', holder = $1 where id = $2 returning *",
        )
        .bind(holder)
        .bind(run)
        .fetch_optional(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(row)
    }

    /// Puts a leased run that was never started back to its place. Returns
    /// whether it was one.
    pub async fn requeue(&self, run: RunId) -> Result<bool, StoreError> {
        let mut transaction = self.write().await?;
        let back = sqlx::query(
            "update runs set status = 'queued', holder = null where id = $1 and status = 'leased'",
        )
        .bind(run.to_string())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(back.rows_affected() == 1)
    }
}

/// The first queued run that may begin; of a group, it takes the place it has there.
async fn next(
    connection: &mut SqliteConnection,
    at: DateTime<Utc>,
) -> Result<Option<String>, StoreError> {
    let queued: Vec<String> =
        sqlx::query_scalar("select id from runs where status = 'queued' order by id")
            .fetch_all(&mut *connection)
            .await?;
    for id in queued {
        let Ok(run) = id.parse::<RunId>() else { continue };
        match groups::waiting_run(connection, run).await? {
            Some(entry) if groups::take(connection, &entry, at).await?.is_some() => {}
            Some(_) | None => return Ok(Some(id)),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use event::RunResult;

    use super::*;
    use crate::RunStatus;
    use crate::samples::{Sample, at, new_run};

    #[tokio::test]
    async fn a_queued_run_has_its_number_its_row_and_its_event() {
        let sample = Sample::new().await;
        let new = new_run("orders", "main", at(0));
        let row = sample.store.queue_run(new.clone()).await.expect("queued");
        assert_eq!(
            row,
            RunRow {
                id: new.run,
                project: "orders".into(),
                pipeline: "build".into(),
                number: 1,
                event: pipeline::TriggerEvent::Push,
                branch: Some("main".into()),
                tag: None,
                sha: new.plan.sha.clone(),
                by: "poll".into(),
                trigger: None,
                status: RunStatus::Queued,
                holder: None,
                result: None,
                queued_at: at(0),
                started_at: None,
                finished_at: None,
                seq: 1,
            }
        );
        let events = sample.store.events(Stream::Run(new.run), 0, 10).await.expect("read");
        let kind = EventKind::RunQueued { number: 1, by: "poll".into(), plan: Box::new(new.plan) };
        let event =
            Event { format: event::FORMAT, seq: 1, at: at(0), stream: Stream::Run(new.run), kind };
        assert_eq!(events, [event]);
    }

    #[tokio::test]
    async fn numbers_count_the_runs_of_a_pipeline_without_gaps_whoever_queues() {
        let sample = Sample::new().await;
        let tasks: Vec<_> = (0..40)
            .map(|_| {
                let store = sample.store.clone();
                tokio::spawn(async move { store.queue_run(new_run("orders", "main", at(0))).await })
            })
            .collect();
        let mut numbers = Vec::new();
        for task in tasks {
            numbers.push(task.await.expect("no panic").expect("queued").number);
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
        let other = sample.store.queue_run(new_run("other", "main", at(0))).await.expect("queued");
        assert_eq!(other.number, 1);
    }

    #[tokio::test]
    async fn the_queue_is_first_in_first_out_and_each_run_is_leased_once() {
        let sample = Sample::new().await;
        let mut waiting = Vec::new();
        for _ in 0..6 {
            waiting.push(sample.run("orders", "main", at(0)).await.id);
        }
        let mut leased = Vec::new();
        while let Some(row) = sample.store.lease_next("here", at(0)).await.expect("leased") {
            assert_eq!((row.status, row.holder.as_deref()), (RunStatus::Leased, Some("here")));
            leased.push(row.id);
        }
        assert_eq!(leased, waiting);
    }

    #[tokio::test]
    async fn a_lease_that_came_to_nothing_goes_back_to_its_place_but_a_started_run_does_not() {
        let sample = Sample::new().await;
        let first = sample.run("orders", "main", at(0)).await;
        let _second = sample.run("orders", "main", at(1)).await;
        sample.store.lease_next("here", at(0)).await.expect("leased");
        assert!(sample.store.requeue(first.id).await.expect("written"));
        let again = sample.store.lease_next("there", at(0)).await.expect("leased").expect("one");
        assert_eq!((again.id, again.holder.as_deref()), (first.id, Some("there")));

        sample.start(&first).await;
        assert!(!sample.store.requeue(first.id).await.expect("written"));
        sample.end(&first, RunResult::Passed).await;
        assert!(!sample.store.requeue(first.id).await.expect("written"));
    }

    #[tokio::test]
    async fn a_run_is_queued_once() {
        let sample = Sample::new().await;
        let new = new_run("orders", "main", at(0));
        sample.store.queue_run(new.clone()).await.expect("queued");
        let error = sample.store.queue_run(new.clone()).await.expect_err("refused");
        assert!(matches!(error, QueueError::Exists(run) if run == new.run), "{error:?}");
    }
}
