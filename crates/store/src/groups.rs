//! Concurrency groups of a project: who holds them, who waits.
//!
//! Who may hold one is said by [`event::group`]; here it is remembered, and asked and
//! answered in one transaction, so that no two take the last place. What a run has goes
//! with its last event.

use chrono::{DateTime, Utc};
use event::RunId;
use event::group::{GroupEntry, Member, Queue, queue};
use pipeline::{Concurrency, OnNew};
use sqlx::{Row as _, SqliteConnection};

use crate::columns::{micros, read_count, read_optional_parsed, read_parsed};
use crate::{Store, StoreError};

fn stage(entry: &GroupEntry) -> &str {
    entry.stage.as_deref().unwrap_or_default()
}

impl Store {
    /// Takes a place in the group, or its place in the queue; `None` is that it holds the
    /// group. Asking again is how one waits.
    pub async fn enter_group(
        &self,
        entry: &GroupEntry,
        at: DateTime<Utc>,
    ) -> Result<Option<Queue>, StoreError> {
        let mut transaction = self.write().await?;
        join(&mut transaction, entry).await?;
        let waits = take(&mut transaction, entry, at).await?;
        transaction.commit().await?;
        Ok(waits)
    }

    /// Gives a place up, held or waited for; again changes nothing.
    pub async fn leave_group(&self, entry: &GroupEntry) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        sqlx::query(
            "delete from groups where project = $1 and name = $2 and run = $3 and stage = $4",
        )
        .bind(&entry.project)
        .bind(&entry.concurrency.group)
        .bind(entry.run.to_string())
        .bind(stage(entry))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The run that wants the place of this one, which holds it.
    pub async fn superseded(&self, entry: &GroupEntry) -> Result<Option<RunId>, StoreError> {
        let row = sqlx::query(
            "select superseded_by from groups
             where project = $1 and name = $2 and run = $3 and stage = $4",
        )
        .bind(&entry.project)
        .bind(&entry.concurrency.group)
        .bind(entry.run.to_string())
        .bind(stage(entry))
        .fetch_optional(self.reader())
        .await?;
        Ok(row.map(|row| read_optional_parsed(&row, "superseded_by")).transpose()?.flatten())
    }

    /// Why a run, or stages of it, wait: the stage, or `None` for the whole, and the queue.
    pub async fn queues_of(&self, run: RunId) -> Result<Vec<(Option<String>, Queue)>, StoreError> {
        let rows = sqlx::query(
            "select project, name, stage, places from groups
             where run = $1 and held_at is null order by position, stage",
        )
        .bind(run.to_string())
        .fetch_all(self.reader())
        .await?;
        let mut queues = Vec::new();
        for row in rows {
            let (project, name): (String, String) = (row.try_get("project")?, row.try_get("name")?);
            let stage: String = row.try_get("stage")?;
            let limit = u32::try_from(read_count(&row, "places")?).unwrap_or(u32::MAX);
            let mut connection = self.reader().acquire().await?;
            let members = members(&mut connection, &project, &name).await?;
            let me = members.iter().find(|member| {
                member.run == run && member.stage.as_deref().unwrap_or_default() == stage
            });
            if let Some(queue) = me.and_then(|me| queue(&name, &members, me, limit)) {
                queues.push((me.and_then(|me| me.stage.clone()), queue));
            }
        }
        Ok(queues)
    }

    /// The runs in groups of a project, so that somebody can look whether they are alive.
    pub async fn runs_in_groups(&self) -> Result<Vec<RunId>, StoreError> {
        let rows = sqlx::query("select distinct run from groups").fetch_all(self.reader()).await?;
        rows.iter().map(|row| Ok(read_parsed(row, "run")?)).collect()
    }

    /// Takes a run out of every group: its process is dead.
    pub async fn leave_groups(&self, run: RunId) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        forget(&mut transaction, &run.to_string()).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// Puts an entry into the queue of its group, once. Whoever holds the group then is told to
/// end, if the entry says so.
pub(crate) async fn join(
    connection: &mut SqliteConnection,
    entry: &GroupEntry,
) -> Result<(), StoreError> {
    let joined = sqlx::query(
        "insert into groups (project, name, run, stage, position, places)
         values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
    )
    .bind(&entry.project)
    .bind(&entry.concurrency.group)
    .bind(entry.run.to_string())
    .bind(stage(entry))
    .bind(i64::from(entry.position))
    .bind(i64::from(entry.concurrency.limit))
    .execute(&mut *connection)
    .await?;
    if joined.rows_affected() == 1 && entry.concurrency.on_new == OnNew::CancelRunning {
        sqlx::query(
            "update groups set superseded_by = $1
             where project = $2 and name = $3 and run < $1 and held_at is not null
               and superseded_by is null",
        )
        .bind(entry.run.to_string())
        .bind(&entry.project)
        .bind(&entry.concurrency.group)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Lets an entry of the group hold it, if it may.
pub(crate) async fn take(
    connection: &mut SqliteConnection,
    entry: &GroupEntry,
    at: DateTime<Utc>,
) -> Result<Option<Queue>, StoreError> {
    let Concurrency { group, limit, .. } = &entry.concurrency;
    let members = members(connection, &entry.project, group).await?;
    let waits = queue(group, &members, &entry.member(), *limit);
    if waits.is_none() {
        sqlx::query(
            "update groups set held_at = coalesce(held_at, $1)
             where project = $2 and name = $3 and run = $4 and stage = $5",
        )
        .bind(micros(at))
        .bind(&entry.project)
        .bind(group)
        .bind(entry.run.to_string())
        .bind(stage(entry))
        .execute(&mut *connection)
        .await?;
    }
    Ok(waits)
}

/// Removes what a run that has ended has in groups.
pub(crate) async fn forget(connection: &mut SqliteConnection, run: &str) -> Result<(), StoreError> {
    sqlx::query("delete from groups where run = $1").bind(run).execute(connection).await?;
    Ok(())
}

async fn members(
    connection: &mut SqliteConnection,
    project: &str,
    name: &str,
) -> Result<Vec<Member>, StoreError> {
    let rows = sqlx::query(
        "select run, stage, position, held_at is not null as holds from groups
         where project = $1 and name = $2 order by run, position, stage",
    )
    .bind(project)
    .bind(name)
    .fetch_all(connection)
    .await?;
    let member = |row: &sqlx::sqlite::SqliteRow| {
        let stage: String = row.try_get("stage")?;
        Ok(Member {
            run: read_parsed(row, "run")?,
            stage: Some(stage).filter(|stage| !stage.is_empty()),
            position: u32::try_from(read_count(row, "position")?).unwrap_or(u32::MAX),
            holds: row.try_get("holds")?,
        })
    };
    rows.iter().map(member).collect::<Result<_, sqlx::Error>>().map_err(Into::into)
}

/// The groups of queued runs, to see which of them may begin.
pub(crate) async fn waiting_run(
    connection: &mut SqliteConnection,
    run: RunId,
) -> Result<Option<GroupEntry>, StoreError> {
    let row = sqlx::query("select project, name, places from groups where run = $1 and stage = ''")
        .bind(run.to_string())
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let limit = u32::try_from(read_count(&row, "places")?).unwrap_or(u32::MAX);
    let concurrency = Concurrency { group: row.try_get("name")?, limit, on_new: OnNew::default() };
    let project: String = row.try_get("project")?;
    Ok(GroupEntry::of_run(run, &project, Some(&concurrency)))
}

#[cfg(test)]
#[path = "groups/tests.rs"]
mod tests;
