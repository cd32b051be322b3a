//! What is wrong, or was, with an environment.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use store::IncidentRow;

use super::environments::key;
use super::{Asked, Named, page};
use crate::app::App;
use crate::problem::Problem;

#[derive(Deserialize)]
pub(crate) struct Shown {
    limit: Option<u32>,
}

/// Incidents of an environment, the newest first.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Named((name, environment)): Named<(String, String)>,
    Asked(Shown { limit }): Asked<Shown>,
) -> Result<Json<Vec<IncidentRow>>, Problem> {
    let key = key(&app, &name, &environment).await?;
    Ok(Json(app.store.incidents(&key, page(limit)).await?))
}
