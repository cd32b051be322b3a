//! What rows show of a stream, as a function of its events.
//!
//! Runs in the transaction that writes the events. Nothing else writes these
//! columns, except that a lease says who is about to start a queued run.

use event::{Event, EventKind, OpState, Stream};
use sqlx::SqliteConnection;

use crate::columns::{integer, micros, word};
use crate::events::{key, name};
use crate::{AppendError, StoreError, groups, incidents};

pub(crate) async fn apply(
    connection: &mut SqliteConnection,
    stream: Stream,
    events: &[&Event],
) -> Result<(), AppendError> {
    let Some(last) = events.last() else { return Ok(()) };
    let stream_key = key(stream);
    let known = match stream {
        Stream::Run(_) => {
            let moved = sqlx::query("update runs set seq = $1 where id = $2")
                .bind(integer(last.seq))
                .bind(&stream_key)
                .execute(&mut *connection)
                .await?;
            moved.rows_affected() == 1
        }
        Stream::Deployment(_) => {
            let moved = sqlx::query("update deployments set moved_at = $1 where id = $2")
                .bind(micros(last.at))
                .bind(&stream_key)
                .execute(&mut *connection)
                .await?;
            moved.rows_affected() == 1
        }
    };
    if !known {
        return Err(AppendError::Unknown(name(stream)));
    }
    for event in events {
        apply_one(connection, &stream_key, event).await?;
    }
    Ok(())
}

async fn apply_one(
    connection: &mut SqliteConnection,
    stream: &str,
    event: &Event,
) -> Result<(), StoreError> {
    let at = micros(event.at);
    match &event.kind {
        EventKind::RunStarted { .. } => {
            sqlx::query(
                "update runs set status = 'running', started_at = coalesce(started_at, $1)
                 where id = $2",
            )
            .bind(at)
            .bind(stream)
            .execute(connection)
            .await?;
        }
        EventKind::RunFinished { result, .. } => {
            sqlx::query(
                "update runs set status = 'finished', result = $1, finished_at = $2 where id = $3",
            )
            .bind(result.name())
            .bind(at)
            .bind(stream)
            .execute(&mut *connection)
            .await?;
            groups::forget(connection, stream).await?;
        }
        EventKind::ArtifactStored { stage, attempt, name, size, sha256, files, expires_at } => {
            sqlx::query(
                "insert into artifacts
                   (run, seq, stage, attempt, name, size, sha256, files, stored_at, expires_at)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            )
            .bind(stream)
            .bind(integer(event.seq))
            .bind(stage)
            .bind(i64::from(*attempt))
            .bind(name)
            .bind(integer(*size))
            .bind(sha256)
            .bind(integer(*files))
            .bind(at)
            .bind(micros(*expires_at))
            .execute(connection)
            .await?;
        }
        EventKind::DeploymentLocked { fence } => {
            sqlx::query("update deployments set fence = $1 where id = $2")
                .bind(integer(*fence))
                .bind(stream)
                .execute(connection)
                .await?;
        }
        EventKind::OpIntended { op, action, unit, batch, undo } => {
            sqlx::query(
                "insert into ops (deployment, seq, op, action, unit, batch, undo, state, intended_at)
                 values ($1, $2, $3, $4, $5, $6, $7, 'intended', $8)",
            )
            .bind(stream)
            .bind(integer(event.seq))
            .bind(i64::from(*op))
            .bind(action)
            .bind(unit)
            .bind(batch.map(i64::from))
            .bind(undo)
            .bind(at)
            .execute(connection)
            .await?;
        }
        EventKind::OpFinished { op, state, detail, duration_ms, .. } => {
            finish_op(connection, stream, *op, *state, detail.as_deref(), *duration_ms, at).await?;
        }
        EventKind::DeploymentHeld { until, .. } => {
            sqlx::query("update deployments set held_until = $1, decision = null where id = $2")
                .bind(micros(*until))
                .bind(stream)
                .execute(connection)
                .await?;
        }
        EventKind::DeploymentDecided { decision, .. } => {
            sqlx::query("update deployments set held_until = null, decision = $1 where id = $2")
                .bind(decision.name())
                .bind(stream)
                .execute(connection)
                .await?;
        }
        EventKind::DeploymentRollingBack { .. } => {
            sqlx::query(
                "update deployments set rolling_back = true, held_until = null where id = $1",
            )
            .bind(stream)
            .execute(connection)
            .await?;
        }
        EventKind::DeploymentFinished {
            state, reason, caught, mixed, infrastructure, cut, ..
        } => {
            sqlx::query(
                "update deployments set state = $1, outcome = $2, caught = $3, mixed = $4,
                        infrastructure = $5, cut = $6, held_until = null, finished_at = $7
                 where id = $8",
            )
            .bind(state.name())
            .bind(reason)
            .bind(caught.map(word))
            .bind(mixed)
            .bind(infrastructure)
            .bind(integer(*cut))
            .bind(at)
            .bind(stream)
            .execute(connection)
            .await?;
        }
        EventKind::DeploymentMarked { verdict, .. } => {
            sqlx::query("update deployments set verdict = $1 where id = $2")
                .bind(verdict.name())
                .bind(stream)
                .execute(connection)
                .await?;
        }
        EventKind::IncidentOpened { .. }
        | EventKind::IncidentChanged { .. }
        | EventKind::IncidentGivenUp { .. }
        | EventKind::IncidentResolved { .. } => incidents::apply(connection, stream, event).await?,
        // What a run or a deployment was asked to be is in its row from the
        // start; of stages and attempts there are no rows.
        EventKind::RunQueued { .. }
        | EventKind::DeploymentRequested { .. }
        | EventKind::DeploymentChecked { .. }
        | EventKind::DeploymentTested { .. }
        | EventKind::DeploymentPlanned { .. }
        | EventKind::DeploymentPruned { .. }
        | EventKind::StageSkipped { .. }
        | EventKind::StageBlocked { .. }
        | EventKind::AttemptStarting { .. }
        | EventKind::AttemptStarted { .. }
        | EventKind::ServiceReady { .. }
        | EventKind::CacheRestored { .. }
        | EventKind::ApprovalRequested { .. }
        | EventKind::ApprovalGiven { .. }
        | EventKind::ApprovalRefused { .. }
        | EventKind::CacheSaved { .. }
        | EventKind::ReportRead { .. }
        | EventKind::AttemptFinished { .. }
        | EventKind::StageFinished { .. }
        | EventKind::DeployApplied { .. }
        | EventKind::DeployUndone { .. }
        | EventKind::DeployStuck { .. }
        | EventKind::CancelRequested { .. }
        | EventKind::RunTimedOut { .. } => {}
    }
    Ok(())
}

/// The result belongs to the last intent with that number.
async fn finish_op(
    connection: &mut SqliteConnection,
    deployment: &str,
    op: u32,
    state: OpState,
    detail: Option<&str>,
    duration_ms: u64,
    at: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "update ops set state = $1, detail = $2, duration_ms = $3, finished_at = $4
         where deployment = $5
           and seq = (select max(seq) from ops where deployment = $5 and op = $6)",
    )
    .bind(word(state))
    .bind(detail)
    .bind(integer(duration_ms))
    .bind(at)
    .bind(deployment)
    .bind(i64::from(op))
    .execute(connection)
    .await?;
    Ok(())
}
