//! The history of every stream, and the only way to add to it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use event::{Event, EventKind, RunId, RunState, Stream};
use serde::Deserialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::columns::{integer, micros, read_count};
use crate::{QueuedMail, Store, StoreError, outbox, projection};

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// `seq` is the first one offered, `next` what the stream expects.
    #[error("event {seq} was already written by somebody else; the next is {next}")]
    Conflict { seq: u64, next: u64 },
    #[error("{0} has ended")]
    Ended(String),
    /// A run comes to be by `queue_run`, a deployment by its request.
    #[error("nothing is known of {0}")]
    Unknown(String),
    #[error("event {found} follows event {last} in one append")]
    Gap { last: u64, found: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for AppendError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    /// Appends to the streams of `events`, with what their rows show and the
    /// mails they cause, all or nothing. Returns when that is durable.
    pub async fn append(&self, events: &[Event], mails: &[QueuedMail]) -> Result<(), AppendError> {
        if events.is_empty() && mails.is_empty() {
            return Ok(());
        }
        let mut transaction = self.write().await?;
        append(&mut transaction, events).await?;
        for mail in mails {
            outbox::queue(&mut transaction, mail).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Events of a stream after `after`, oldest first.
    pub async fn events(
        &self,
        stream: Stream,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        let rows = sqlx::query(
            "select seq, payload from events where stream = $1 and seq > $2 order by seq limit $3",
        )
        .bind(key(stream))
        .bind(integer(after))
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(|row| decode(stream, row)).collect()
    }

    /// Returns the state of a run told from its events; without any, that of a
    /// run nobody queued.
    pub async fn run_state(&self, run: RunId) -> Result<RunState, StoreError> {
        const PAGE: u32 = 1_000;
        let mut state = RunState::default();
        loop {
            let events = self.events(Stream::Run(run), state.seq, PAGE).await?;
            for event in &events {
                state.apply(event).map_err(|source| StoreError::IllegalHistory { run, source })?;
            }
            if events.len() < PAGE as usize {
                return Ok(state);
            }
        }
    }
}

/// Writes events and their projections inside the caller's transaction.
pub(crate) async fn append(
    connection: &mut SqliteConnection,
    events: &[Event],
) -> Result<(), AppendError> {
    for (stream, events) in by_stream(events) {
        let head = head(connection, stream).await?;
        check_sequence(stream, &events, &head)?;
        for event in &events {
            insert(connection, event).await?;
        }
        projection::apply(connection, stream, &events).await?;
    }
    Ok(())
}

/// Appends to one stream whatever its `seq` is: for those who hold the right to
/// write it by other means, as the holder of an environment's lock does.
pub(crate) async fn append_next(
    connection: &mut SqliteConnection,
    stream: Stream,
    kinds: Vec<EventKind>,
    at: DateTime<Utc>,
) -> Result<(), AppendError> {
    let Head { next, .. } = head(connection, stream).await?;
    let events: Vec<Event> = (next..)
        .zip(kinds)
        .map(|(seq, kind)| Event { format: event::FORMAT, seq, at, stream, kind })
        .collect();
    append(connection, &events).await
}

fn by_stream(events: &[Event]) -> BTreeMap<Stream, Vec<&Event>> {
    let mut streams: BTreeMap<Stream, Vec<&Event>> = BTreeMap::new();
    for event in events {
        streams.entry(event.stream).or_default().push(event);
    }
    streams
}

/// Where a stream stands.
struct Head {
    next: u64,
    ended: bool,
}

async fn head(connection: &mut SqliteConnection, stream: Stream) -> Result<Head, StoreError> {
    let last = sqlx::query(
        "select seq,
                kind in ('run.finished', 'deployment.finished', 'deployment.marked')
                or kind like 'incident.%' as ended
         from events where stream = $1 order by seq desc limit 1",
    )
    .bind(key(stream))
    .fetch_optional(connection)
    .await?;
    Ok(match last {
        None => Head { next: 1, ended: false },
        Some(last) => Head { next: read_count(&last, "seq")? + 1, ended: last.try_get("ended")? },
    })
}

fn check_sequence(stream: Stream, events: &[&Event], head: &Head) -> Result<(), AppendError> {
    let mut last: Option<&Event> = None;
    for event in events {
        match last {
            None if event.seq != head.next => {
                return Err(AppendError::Conflict { seq: event.seq, next: head.next });
            }
            Some(last) if event.seq != last.seq + 1 => {
                return Err(AppendError::Gap { last: last.seq, found: event.seq });
            }
            // What became of what a deployment has left is known only after its end.
            _ if event.kind.is_afterwards() => last = Some(event),
            None if head.ended => return Err(AppendError::Ended(name(stream))),
            Some(last) if last.kind.is_terminal() => {
                return Err(AppendError::Ended(name(stream)));
            }
            None | Some(_) => last = Some(event),
        }
    }
    Ok(())
}

async fn insert(connection: &mut SqliteConnection, event: &Event) -> Result<(), StoreError> {
    let payload = serde_json::to_value(event).expect("an event has string keys and serialises");
    sqlx::query(
        "insert into events (stream, seq, kind, at, actor, payload) values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(key(event.stream))
    .bind(integer(event.seq))
    .bind(payload["kind"].as_str())
    .bind(micros(event.at))
    .bind(actor(&event.kind))
    .bind(payload.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) fn key(stream: Stream) -> String {
    match stream {
        Stream::Run(run) => run.to_string(),
        Stream::Deployment(deployment) => deployment.to_string(),
    }
}

pub(crate) fn name(stream: Stream) -> String {
    match stream {
        Stream::Run(run) => format!("run {run}"),
        Stream::Deployment(deployment) => format!("deployment {deployment}"),
    }
}

/// Who did it, where the event says so.
fn actor(kind: &EventKind) -> Option<&str> {
    match kind {
        EventKind::RunQueued { by, .. }
        | EventKind::RunStarted { by }
        | EventKind::CancelRequested { by, .. }
        | EventKind::DeploymentRequested { by, .. }
        | EventKind::DeploymentMarked { by, .. } => Some(by),
        EventKind::IncidentOpened { .. }
        | EventKind::IncidentChanged { .. }
        | EventKind::IncidentGivenUp { .. }
        | EventKind::IncidentResolved { .. } => Some(deploy::WATCHER),
        _ => None,
    }
}

fn decode(stream: Stream, row: &SqliteRow) -> Result<Event, StoreError> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let seq = read_count(row, "seq")?;
    let payload: &str = row.try_get("payload")?;
    let broken = |source| StoreError::BrokenEvent { stream: name(stream), seq, source };
    // First the format: a newer event may also read well and mean something else.
    let Format { format } = serde_json::from_str(payload).map_err(broken)?;
    if format > event::FORMAT {
        let known = event::FORMAT;
        return Err(StoreError::NewerEvent { stream: name(stream), seq, found: format, known });
    }
    serde_json::from_str(payload).map_err(broken)
}

#[cfg(test)]
mod tests;
