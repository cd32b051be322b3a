//! All routes, on one screen.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, delete, get, post, put};
use axum::{Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::trace::{DefaultOnFailure, TraceLayer};

use crate::api::{
    artifacts, deployment_events, deployments, environments, follow, health, incidents, locks,
    outbox, projects, runs, test_cases, triggers, units,
};
use crate::app::App;
use crate::forge::generic;
use crate::problem::Problem;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody; what needs a proof checks it itself.
    Open,
    /// Whoever shows the admin token.
    Admin,
}

pub(crate) struct Route {
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests call every route by its method"))]
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    handler: MethodRouter<Arc<App>>,
}

/// What belongs to one environment.
macro_rules! environment {
    ($rest:literal) => {
        concat!("/api/v1/projects/{project}/environments/{environment}", $rest)
    };
}

pub(crate) fn routes() -> Vec<Route> {
    use Access::{Admin, Open};
    let route = |method, access, path, handler| Route { method, path, access, handler };
    vec![
        route("GET", Open, "/healthz", get(health::alive)),
        route("POST", Open, "/hooks/generic/{project}", post(generic::receive)),
        route("GET", Admin, "/api/v1/projects", get(projects::list)),
        route("POST", Admin, "/api/v1/projects", post(projects::create)),
        route("GET", Admin, "/api/v1/projects/{project}", get(projects::show)),
        route("POST", Admin, "/api/v1/projects/{project}/runs", post(runs::start)),
        route("GET", Admin, "/api/v1/projects/{project}/releases", get(deployments::releases)),
        route("GET", Admin, "/api/v1/projects/{project}/tests", get(test_cases::report)),
        route("GET", Admin, "/api/v1/projects/{project}/tests/outcomes", get(test_cases::outcomes)),
        route("GET", Admin, "/api/v1/projects/{project}/environments", get(environments::list)),
        route("GET", Admin, environment!(""), get(environments::show)),
        route("GET", Admin, environment!("/deployments"), get(deployments::history)),
        route("POST", Admin, environment!("/deployments"), post(deployments::order)),
        route("GET", Admin, environment!("/incidents"), get(incidents::list)),
        route("GET", Admin, environment!("/releases"), get(deployments::of_environment)),
        route("GET", Admin, environment!("/units/{unit}/log"), get(units::log)),
        route("PUT", Admin, environment!("/lock"), put(locks::lock)),
        route("DELETE", Admin, environment!("/lock"), delete(locks::unlock)),
        route("GET", Admin, "/api/v1/deployments/{deployment}", get(deployments::show)),
        route(
            "GET",
            Admin,
            "/api/v1/deployments/{deployment}/events",
            get(deployment_events::events),
        ),
        route("POST", Admin, "/api/v1/deployments/{deployment}/cancel", post(deployments::cancel)),
        route("POST", Admin, "/api/v1/deployments/{deployment}/verdict", post(deployments::mark)),
        route(
            "POST",
            Admin,
            "/api/v1/deployments/{deployment}/decision",
            post(deployments::decide),
        ),
        route("GET", Admin, "/api/v1/runs", get(runs::list)),
        route("GET", Admin, "/api/v1/runs/{run}", get(runs::show)),
        route("GET", Admin, "/api/v1/runs/{run}/events", get(follow::events)),
        route("GET", Admin, "/api/v1/runs/{run}/artifacts", get(artifacts::list)),
        route("GET", Admin, "/api/v1/runs/{run}/artifacts/{artifact}", get(artifacts::download)),
        route("GET", Admin, "/api/v1/runs/{run}/stages/{stage}/log", get(follow::log)),
        route("GET", Admin, "/api/v1/runs/{run}/tests", get(test_cases::of_run)),
        route("GET", Admin, "/api/v1/triggers", get(triggers::list)),
        route("GET", Admin, "/api/v1/outbox", get(outbox::list)),
    ]
}

pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for Route { path, access, handler, .. } in routes() {
        let handler = match access {
            Access::Open => handler,
            Access::Admin => {
                handler.route_layer(middleware::from_fn_with_state(Arc::clone(&app), only_admin))
            }
        };
        router = router.route(path, handler);
    }
    guarded(router).with_state(app)
}

/// What every request goes through, whatever it asks for.
pub(crate) fn guarded(router: Router<Arc<App>>) -> Router<Arc<App>> {
    router
        .fallback(|| async { Problem::not_found("there is nothing at this address") })
        .method_not_allowed_fallback(|| async {
            let status = axum::http::StatusCode::METHOD_NOT_ALLOWED;
            Problem::new(status, "method-not-allowed", "this address does not take this method")
        })
        .layer(CatchPanicLayer::custom(panicked))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(|request: &Request| {
                    // Without the query: it is not ours to log.
                    tracing::info_span!("request", http.method = %request.method(), http.path = request.uri().path())
                })
                .on_failure(DefaultOnFailure::new().level(tracing::Level::DEBUG)),
        )
}

/// A handler that breaks is an answer, and the process lives.
#[expect(clippy::needless_pass_by_value, reason = "the layer hands it over")]
fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    tracing::error!("a handler broke: {said}");
    Problem::broken().into_response()
}

async fn only_admin(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let presented = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    if !app.token.matches(presented) {
        return Err(Problem::unauthorized());
    }
    Ok(next.run(request).await)
}
