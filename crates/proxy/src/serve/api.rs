//! The control socket's side of [`crate::control`]: who may change what, and in which order.
//!
//! Changes are made one at a time: checked, made durable, put in force, answered.
//! They run to their end even when the one who asked is gone, so that file and
//! table never differ.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post, put};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::check::{CheckError, check_name, check_page, check_route, check_taken};
use super::state::{Saved, SavedFence, SavedRoute, StateError, StateFile};
use super::table::{DrainError, Table};
use crate::control::{DrainRequest, Drained, Page, Refusal, RouteSpec, RouteStatus, Routes};

const BODY_LIMIT_BYTES: usize = 4 << 20;

/// The table and what of it is durable.
#[derive(Debug)]
pub struct Control {
    table: Arc<Table>,
    /// None when the proxy is stopping: somebody else may have the file by now.
    state: Mutex<Option<StateFile>>,
}

#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error("fence {fence} is lower than {in_force}, which is in force for route `{route}`")]
    Fenced { route: String, fence: u64, in_force: u64 },
    #[error("there is no route `{route}`")]
    NoRoute { route: String },
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error(transparent)]
    Drain(#[from] DrainError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("the proxy is stopping")]
    Stopping,
}

impl Control {
    /// Puts in force what the file says.
    pub fn new(file: StateFile) -> Control {
        let table = Table::default();
        for (name, route) in &file.saved().routes {
            table.set(name, route.clone());
        }
        Control { table: Arc::new(table), state: Mutex::new(Some(file)) }
    }

    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    pub fn put(&self, name: &str, spec: RouteSpec) -> Result<RouteStatus, ChangeError> {
        check_name(name)?;
        check_route(&spec.matches, &spec.targets)?;
        self.change(name, spec.fence, |saved| {
            check_taken(name, &spec.matches, saved)?;
            let before = saved.routes.get(name);
            let same = before.is_some_and(|before| {
                before.matches == spec.matches && before.targets == spec.targets
            });
            let generation = before
                .map(|before| before.generation)
                .or_else(|| saved.deleted.get(name).map(|deleted| deleted.generation))
                .unwrap_or(0);
            let route = SavedRoute {
                fence: spec.fence,
                generation: if same { generation } else { generation + 1 },
                matches: spec.matches,
                targets: spec.targets,
                page: before.and_then(|before| before.page.clone()),
            };
            saved.deleted.remove(name);
            saved.routes.insert(name.to_owned(), route);
            Ok(())
        })?;
        self.table.status_of(name).ok_or_else(|| ChangeError::NoRoute { route: name.to_owned() })
    }

    pub fn put_page(&self, name: &str, page: Page) -> Result<(), ChangeError> {
        check_name(name)?;
        check_page(&page)?;
        self.change(name, page.fence, |saved| {
            let Some(route) = saved.routes.get_mut(name) else {
                let route = name.to_owned();
                return Err(ChangeError::NoRoute { route });
            };
            route.fence = page.fence;
            route.page = Some(page);
            Ok(())
        })
    }

    pub fn delete(&self, name: &str, fence: u64) -> Result<(), ChangeError> {
        check_name(name)?;
        self.change(name, fence, |saved| {
            let generation = match saved.routes.remove(name) {
                Some(route) => route.generation,
                None => saved.deleted.get(name).map_or(0, |deleted| deleted.generation),
            };
            let deleted = SavedFence { fence, generation };
            saved.deleted.insert(name.to_owned(), deleted);
            Ok(())
        })
    }

    pub async fn drain(&self, name: &str, request: &DrainRequest) -> Result<Drained, ChangeError> {
        let timeout = Duration::from_millis(request.timeout_ms);
        Ok(self.table.drain(name, &request.unit, timeout).await?)
    }

    /// Gives the state file back; nothing can be changed from here on.
    pub fn stop(&self) {
        self.lock().take();
    }

    /// Fence, then the change, then the file, then the table; all or nothing.
    fn change(
        &self,
        name: &str,
        fence: u64,
        change: impl FnOnce(&mut Saved) -> Result<(), ChangeError>,
    ) -> Result<(), ChangeError> {
        let mut state = self.lock();
        let file = state.as_mut().ok_or(ChangeError::Stopping)?;
        let saved = file.saved();
        let in_force = saved
            .routes
            .get(name)
            .map(|route| route.fence)
            .or_else(|| saved.deleted.get(name).map(|deleted| deleted.fence));
        if let Some(in_force) = in_force.filter(|in_force| fence < *in_force) {
            return Err(ChangeError::Fenced { route: name.to_owned(), fence, in_force });
        }
        let mut next = saved.clone();
        change(&mut next)?;
        if next == *saved {
            return Ok(());
        }
        let route = next.routes.get(name).cloned();
        file.save(next)?;
        match route {
            Some(route) => self.table.set(name, route),
            None => self.table.remove(name),
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<StateFile>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub fn router(control: Arc<Control>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/v1/routes", get(list))
        .route("/v1/routes/{name}", put(put_route).delete(delete_route))
        .route("/v1/routes/{name}/drain", post(drain))
        .route("/v1/routes/{name}/page", put(put_page))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path knows other methods")
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .with_state(control)
}

async fn list(State(control): State<Arc<Control>>) -> Json<Routes> {
    Json(control.table.status())
}

async fn put_route(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<RouteStatus>, Problem> {
    let spec: RouteSpec = read(body)?;
    in_full(move || control.put(&name, spec)).await.map(Json)
}

async fn put_page(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Problem> {
    let page: Page = read(body)?;
    in_full(move || control.put_page(&name, page)).await?;
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
    let Query(DeleteQuery { fence }) =
        query.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    in_full(move || control.delete(&name, fence)).await?;
    Ok(StatusCode::NO_CONTENT)
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
    change: impl FnOnce() -> Result<T, ChangeError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(change).await {
        Ok(changed) => Ok(changed?),
        Err(error) => {
            tracing::error!("a change of the routes broke: {error}");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Err(Problem::new(status, "the change broke inside the proxy"))
        }
    }
}

fn read<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Problem> {
    let body = body.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    serde_json::from_slice(&body)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("body: {error}")))
}

/// An answer that is not 2xx.
struct Problem(StatusCode, Refusal);

impl Problem {
    fn new(status: StatusCode, error: impl Into<String>) -> Problem {
        let error = error.into();
        Problem(status, Refusal { error, fence: None })
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Problem {
        let (status, fence) = match &error {
            ChangeError::Fenced { in_force, .. } => (StatusCode::CONFLICT, Some(*in_force)),
            ChangeError::Drain(DrainError::InSet { .. })
            | ChangeError::Check(CheckError::Taken { .. }) => (StatusCode::CONFLICT, None),
            ChangeError::NoRoute { .. } => (StatusCode::NOT_FOUND, None),
            ChangeError::Check(_) => (StatusCode::BAD_REQUEST, None),
            ChangeError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, None),
            ChangeError::State(_) => (StatusCode::INTERNAL_SERVER_ERROR, None),
        };
        let mut text = error.to_string();
        if status.is_server_error() {
            let mut cause = std::error::Error::source(&error);
            while let Some(source) = cause {
                text = format!("{text}: {source}");
                cause = source.source();
            }
            tracing::error!("{text}");
        }
        Problem(status, Refusal { error: text, fence })
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
