//! The control socket's side of [`crate::control`].
//!
//! A change runs to its end even when the one who asked is gone, so that file,
//! table and predecessors never differ.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post, put};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::changes::{ChangeError, Control};
use super::check::{CheckError, check_name};
use super::leases::LeaseError;
use super::table::DrainError;
use super::{metrics, with_causes};
use crate::control::{
    DrainRequest, Drained, Lease, LeaseRequest, Leases, Page, Refusal, RouteSpec, RouteStatus,
    Routes,
};

const BODY_LIMIT_BYTES: usize = 4 << 20;

pub fn router(control: Arc<Control>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(metrics))
        .route("/v1/leases", get(list_leases))
        .route("/v1/leases/{project}/{environment}", put(take_lease).delete(release_lease))
        .route("/v1/routes", get(list))
        .route("/v1/routes/{name}", put(put_route).delete(delete_route))
        .route("/v1/routes/{name}/drain", post(drain))
        .route("/v1/routes/{name}/page", put(put_page))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path knows other methods")
        })
        .layer(body_limit())
        .with_state(control)
}

pub fn body_limit() -> DefaultBodyLimit {
    DefaultBodyLimit::max(BODY_LIMIT_BYTES)
}

async fn list(State(control): State<Arc<Control>>) -> Json<Routes> {
    Json(control.status().await)
}

async fn metrics(State(control): State<Arc<Control>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::text(&control.status().await))
}

async fn list_leases(State(control): State<Arc<Control>>) -> Result<Json<Leases>, Problem> {
    in_full(control, Control::leases).await.map(Json)
}

async fn take_lease(
    State(control): State<Arc<Control>>,
    Path((project, environment)): Path<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Lease>, Problem> {
    let request: LeaseRequest = read(body)?;
    let name = lease_name(&project, &environment)?;
    in_full(control, move |control| control.take_lease(&name, &request)).await.map(Json)
}

async fn release_lease(
    State(control): State<Arc<Control>>,
    Path((project, environment)): Path<(String, String)>,
    query: Result<Query<DeleteQuery>, QueryRejection>,
) -> Result<StatusCode, Problem> {
    let fence = fence(query)?;
    let name = lease_name(&project, &environment)?;
    in_full(control, move |control| control.release_lease(&name, fence)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn lease_name(project: &str, environment: &str) -> Result<String, ChangeError> {
    check_name(project)?;
    check_name(environment)?;
    Ok(format!("{project}/{environment}"))
}

async fn put_route(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<RouteStatus>, Problem> {
    let spec: RouteSpec = read(body)?;
    in_full(control, move |control| control.put(&name, spec)).await.map(Json)
}

async fn put_page(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Problem> {
    let page: Page = read(body)?;
    in_full(control, move |control| control.put_page(&name, page)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct DeleteQuery {
    fence: u64,
}

async fn delete_route(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    query: Result<Query<DeleteQuery>, QueryRejection>,
) -> Result<StatusCode, Problem> {
    let fence = fence(query)?;
    in_full(control, move |control| control.delete(&name, fence)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn fence(query: Result<Query<DeleteQuery>, QueryRejection>) -> Result<u64, Problem> {
    let query = query.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    Ok(query.0.fence)
}

/// Waits as long as the one who asked does: when they are gone nothing is cut.
async fn drain(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Drained>, Problem> {
    let request: DrainRequest = read(body)?;
    Ok(Json(control.drain(&name, &request).await?))
}

/// Runs a change where it may block, and to its end whatever becomes of the request.
async fn in_full<T: Send + 'static>(
    control: Arc<Control>,
    change: impl FnOnce(&Control) -> Result<T, ChangeError> + Send + 'static,
) -> Result<T, Problem> {
    let changed = tokio::spawn(async move {
        let changing = control.clone();
        let changed = tokio::task::spawn_blocking(move || change(&changing)).await;
        let changed =
            changed.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
        control.tell_predecessors().await?;
        Ok::<T, ChangeError>(changed)
    });
    match changed.await {
        Ok(changed) => Ok(changed?),
        Err(error) => {
            tracing::error!("a change of the routes broke: {error}");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Err(Problem::new(status, "the change broke inside the proxy"))
        }
    }
}

pub fn read<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Problem> {
    let body = body.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    serde_json::from_slice(&body)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("body: {error}")))
}

/// An answer that is not 2xx.
pub struct Problem(StatusCode, Box<Refusal>);

impl Problem {
    fn new(status: StatusCode, error: impl Into<String>) -> Problem {
        let error = error.into();
        Problem(status, Box::new(Refusal { error, ..Refusal::default() }))
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Problem {
        let mut refusal = Refusal::default();
        let status = match &error {
            ChangeError::Fenced { in_force, .. }
            | ChangeError::Lease(LeaseError::Lost { in_force, .. }) => {
                refusal.fence = Some(*in_force);
                StatusCode::CONFLICT
            }
            ChangeError::Lease(LeaseError::Held { lease, .. }) => {
                refusal.lease = Some(lease.clone());
                StatusCode::CONFLICT
            }
            ChangeError::Drain(DrainError::InSet { .. })
            | ChangeError::Check(CheckError::Taken { .. }) => StatusCode::CONFLICT,
            ChangeError::NoRoute { .. } | ChangeError::Lease(LeaseError::Unknown { .. }) => {
                StatusCode::NOT_FOUND
            }
            ChangeError::Check(_) => StatusCode::BAD_REQUEST,
            ChangeError::Stopping | ChangeError::Predecessor(_) => StatusCode::SERVICE_UNAVAILABLE,
            ChangeError::State(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut text = error.to_string();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            text = with_causes(&error);
            tracing::error!("{text}");
        }
        Problem(status, Box::new(Refusal { error: text, ..refusal }))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

#[cfg(test)]
#[path = "api_tests.rs"]
mod tests;
