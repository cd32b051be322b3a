//! What others are to be told: waiting, told, or given up, with the last error.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{OutboxRow, OutboxState};
use uuid::Uuid;

use super::{Asked, page};
use crate::app::App;
use crate::problem::Problem;

/// A row without its text: mails carry output, and are for their recipients.
#[derive(Serialize)]
pub(crate) struct OutboxView {
    id: Uuid,
    kind: String,
    state: OutboxState,
    to: Value,
    subject: Value,
    attempts: u32,
    last_error: Option<String>,
    created_at: DateTime<Utc>,
    /// Of the next try, while it waits.
    next_at: Option<DateTime<Utc>>,
    sent_at: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
pub(crate) struct ListOutbox {
    limit: Option<u32>,
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Asked(asked): Asked<ListOutbox>,
) -> Result<Json<Vec<OutboxView>>, Problem> {
    let rows = app.store.outbox(page(asked.limit)).await?;
    Ok(Json(rows.into_iter().map(view).collect()))
}

fn view(row: OutboxRow) -> OutboxView {
    OutboxView {
        id: row.id,
        to: row.payload["to"].clone(),
        subject: row.payload["subject"].clone(),
        kind: row.kind,
        state: row.state,
        attempts: row.attempts,
        last_error: row.last_error,
        created_at: row.created_at,
        next_at: Some(row.next_at).filter(|_| row.state == OutboxState::Pending),
        sent_at: row.sent_at,
    }
}
