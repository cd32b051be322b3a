//! What somebody who watches found wrong, as a table of the events about it.

use chrono::{DateTime, Utc};
use deploy::EnvironmentKey;
use event::{DeploymentId, Event, EventKind, Incident, Resolution, Stream};
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, SqliteConnection};

use crate::columns::{
    integer, json, micros, read_count, read_json, read_optional_time, read_optional_word,
    read_parsed, read_time, word,
};
use crate::{Store, StoreError, events};

/// An incident of an environment, open or over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IncidentRow {
    /// The deployment that stood when it began.
    pub deployment: DeploymentId,
    #[serde(flatten)]
    pub incident: Incident,
    pub since: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<Resolution>,
    /// Since when nobody repairs it any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_up_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Incidents of an environment, the newest first.
    pub async fn incidents(
        &self,
        key: &EnvironmentKey,
        limit: u32,
    ) -> Result<Vec<IncidentRow>, StoreError> {
        let rows = sqlx::query_as(
            "select incidents.* from incidents join deployments on deployments.id = deployment
             where project = $1 and environment = $2
             order by since desc, deployment desc, incidents.seq desc limit $3",
        )
        .bind(&key.project)
        .bind(&key.environment)
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await?;
        Ok(rows)
    }

    /// Incidents of an environment that are not over, by place.
    pub async fn open_incidents(
        &self,
        key: &EnvironmentKey,
    ) -> Result<Vec<IncidentRow>, StoreError> {
        let rows = sqlx::query_as(
            "select incidents.* from incidents join deployments on deployments.id = deployment
             where project = $1 and environment = $2 and resolved_at is null
             order by place, deployment",
        )
        .bind(&key.project)
        .bind(&key.environment)
        .fetch_all(self.reader())
        .await?;
        Ok(rows)
    }

    /// Returns the number that the next event of a stream has.
    pub async fn next_seq(&self, stream: Stream) -> Result<u64, StoreError> {
        let row = sqlx::query("select coalesce(max(seq), 0) as last from events where stream = $1")
            .bind(events::key(stream))
            .fetch_one(self.reader())
            .await?;
        Ok(read_count(&row, "last")? + 1)
    }
}

/// Shows what an event says of an incident; others change nothing.
pub(crate) async fn apply(
    connection: &mut SqliteConnection,
    deployment: &str,
    event: &Event,
) -> Result<(), StoreError> {
    let at = micros(event.at);
    let query = match &event.kind {
        EventKind::IncidentOpened { incident } => sqlx::query(
            "insert into incidents (deployment, seq, place, incident, since)
             values ($1, $2, $3, $4, $5)",
        )
        .bind(deployment)
        .bind(integer(event.seq))
        .bind(&incident.place)
        .bind(json(incident))
        .bind(at),
        EventKind::IncidentChanged { incident } => sqlx::query(
            "update incidents set incident = $1
             where deployment = $2 and place = $3 and resolved_at is null",
        )
        .bind(json(incident))
        .bind(deployment)
        .bind(&incident.place),
        EventKind::IncidentGivenUp { place, .. } => sqlx::query(
            "update incidents set given_up_at = $1
             where deployment = $2 and place = $3 and resolved_at is null",
        )
        .bind(at)
        .bind(deployment)
        .bind(place),
        EventKind::IncidentResolved { place, because, .. } => sqlx::query(
            "update incidents set resolved_at = $1, because = $2
             where deployment = $3 and place = $4 and resolved_at is null",
        )
        .bind(at)
        .bind(word(because))
        .bind(deployment)
        .bind(place),
        _ => return Ok(()),
    };
    query.execute(connection).await?;
    Ok(())
}

impl FromRow<'_, SqliteRow> for IncidentRow {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            deployment: read_parsed(row, "deployment")?,
            incident: read_json(row, "incident")?,
            since: read_time(row, "since")?,
            resolved_at: read_optional_time(row, "resolved_at")?,
            because: read_optional_word(row, "because")?,
            given_up_at: read_optional_time(row, "given_up_at")?,
        })
    }
}
