//! The JSON API under `/api/v1`: one file per noun, each with its types.

pub(crate) mod artifacts;
pub(crate) mod deployment_events;
pub(crate) mod deployments;
pub(crate) mod environments;
pub(crate) mod follow;
pub(crate) mod health;
pub(crate) mod incidents;
pub(crate) mod locks;
pub(crate) mod outbox;
pub(crate) mod previews;
pub(crate) mod projects;
pub(crate) mod runs;
mod stream;
pub(crate) mod test_cases;
pub(crate) mod triggers;
pub(crate) mod units;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use store::{Project, StoreError};

use crate::app::App;
use crate::problem::Problem;

/// Rows of a list, unless asked otherwise.
const PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 1_000;

fn page(limit: Option<u32>) -> u32 {
    limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE)
}

/// The query of a request; what cannot be read is a problem document.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::from_request_parts(parts, state).await;
        let Query(query) =
            query.map_err(|error: QueryRejection| Problem::bad_request(error.body_text()))?;
        Ok(Self(query))
    }
}

/// The variable parts of a path.
pub(crate) struct Named<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::from_request_parts(parts, state).await;
        let Path(path) =
            path.map_err(|error: PathRejection| Problem::bad_request(error.body_text()))?;
        Ok(Self(path))
    }
}

/// A project by its name, or 404.
async fn project(app: &App, name: &str) -> Result<Project, Problem> {
    let project = app.store.project(name).await?;
    project.ok_or_else(|| Problem::not_found(format!("there is no project `{name}`")))
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_temporary() {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return Self::new(status, "busy", "the database is busy; try again");
        }
        Self::internal(&error)
    }
}
