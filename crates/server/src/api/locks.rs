//! Environments locked by hand: who keeps others out, why, and until when.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use notify::Notice;
use serde::{Deserialize, Serialize};
use store::{Closing, Closure};

use super::environments::key;
use super::{Asked, Named};
use crate::app::App;
use crate::body::JsonBody;
use crate::notices::{self, Told};
use crate::problem::Problem;

/// Whoever shows the admin token is the one.
pub(super) const OWNER: &str = "admin";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lock {
    reason: String,
    until: DateTime<Utc>,
    /// Whether whoever locks may go on to deploy.
    #[serde(default)]
    mine: bool,
}

#[derive(Deserialize)]
pub(crate) struct Unlock {
    #[serde(default)]
    force: bool,
}

/// Whose lock was opened by force, and who is told.
#[derive(Serialize)]
struct Opened {
    owner: String,
    #[serde(flatten)]
    told: Told,
}

pub(crate) async fn lock(
    State(app): State<Arc<App>>,
    Named((name, environment)): Named<(String, String)>,
    JsonBody(Lock { reason, until, mine }): JsonBody<Lock>,
) -> Result<Json<Closure>, Problem> {
    let key = key(&app, &name, &environment).await?;
    let (owner, since) = (OWNER.to_owned(), Utc::now());
    let closure = Closure { owner, reason, since, until, reserved: mine };
    if closure.reason.trim().is_empty() || closure.until <= closure.since {
        return Err(Problem::bad_request("a lock has a reason, and ends later than now"));
    }
    match app.store.close_environment(&key, &closure).await? {
        Closing::Others(other) => Err(taken(&environment, &other)),
        Closing::Done | Closing::Nothing => Ok(Json(closure)),
    }
}

pub(crate) async fn unlock(
    State(app): State<Arc<App>>,
    Named((name, environment)): Named<(String, String)>,
    Asked(Unlock { force }): Asked<Unlock>,
) -> Result<Response, Problem> {
    let key = key(&app, &name, &environment).await?;
    let now = Utc::now();
    let was = app.store.closure(&key, now).await?;
    match app.store.open_environment(&key, OWNER, force, now).await? {
        Closing::Done => {}
        Closing::Others(other) => return Err(taken(&environment, &other)),
        Closing::Nothing => {
            return Err(Problem::not_found(format!("`{environment}` is not locked")));
        }
    }
    // One token is everybody's: who uses force means somebody else's lock.
    let Some(Closure { owner, reason, until, .. }) = was.filter(|_| force) else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let by = OWNER.to_owned();
    let opened = Notice::Opened { by, owner: owner.clone(), reason, until };
    let told = notices::tell(&app, &key, &opened).await;
    Ok(Json(Opened { owner, told }).into_response())
}

fn taken(environment: &str, other: &Closure) -> Problem {
    let Closure { owner, reason, .. } = other;
    Problem::conflict(format!("`{environment}` is locked by {owner}: {reason}"))
}
