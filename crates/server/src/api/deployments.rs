//! Releases of a project, and the way back to one of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use deploy::{
    Artifact, DeployError, Deployment, Ledger as _, LedgerError, Release, Request, RollbackError,
};
use event::{DeploymentId, DeploymentKind, DeploymentState, ReleaseId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::environments::key;
use super::{Asked, Named, project};
use crate::app::App;
use crate::body::JsonBody;
use crate::deployments::{Ended, Lost};
use crate::problem::Problem;

#[derive(Serialize)]
pub(crate) struct ReleaseView {
    release: ReleaseId,
    short: String,
    version: String,
    branch: Option<String>,
    sha: String,
    committer: String,
    artifact: Artifact,
    built_at: DateTime<Utc>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollBack {
    /// An id, the last eight digits of one, or a version.
    #[serde(default)]
    release: Option<String>,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Wait {
    #[serde(default)]
    wait: bool,
}

/// How a rollback ended, or that it was begun.
#[derive(Serialize)]
pub(crate) struct Outcome {
    deployment: DeploymentId,
    /// `None` while it goes on.
    state: Option<DeploymentState>,
    release: ReleaseId,
    version: Option<String>,
    /// What ran before.
    previous: Option<ReleaseId>,
    reason: Option<String>,
    duration_ms: Option<u64>,
}

pub(crate) async fn releases(
    State(app): State<Arc<App>>,
    Named(name): Named<String>,
) -> Result<Json<Vec<ReleaseView>>, Problem> {
    let project = project(&app, &name).await?;
    let releases = app.store.releases(&project.name).await?;
    Ok(Json(releases.into_iter().map(view).collect()))
}

/// Goes back to the last good release, or to the one named. With `?wait=true`
/// the answer is the outcome; without, that it was begun.
pub(crate) async fn roll_back(
    State(app): State<Arc<App>>,
    Named((name, environment)): Named<(String, String)>,
    Asked(Wait { wait }): Asked<Wait>,
    JsonBody(asked): JsonBody<RollBack>,
) -> Result<Response, Problem> {
    let key = key(&app, &name, &environment).await?;
    let target = app.target(&key.project, &key.environment);
    let target = target.map_err(|reason| Problem::unprocessable("E062", reason))?;
    let releases = app.store.releases(&key.project).await?;
    let to = asked.release.as_deref().map(|text| find(&releases, text)).transpose()?;
    let ledger = app.ledger();
    let spec = deploy::rollback_spec(&ledger, &key, to).await.map_err(|error| match error {
        RollbackError::Ledger(error) => error.into(),
        error => Problem::unprocessable("no-release", error.to_string()),
    })?;
    let id = DeploymentId::new(Uuid::now_v7());
    let release = spec.release;
    let deployment = Deployment {
        id,
        kind: DeploymentKind::Rollback,
        spec,
        by: "admin".to_owned(),
        reason: asked.reason,
        run: None,
        stage: None,
    };
    tracing::info!("{}/{} is to go back to release {release}", key.project, key.environment);
    let request = Request { deployment, holder: app.holder() };
    let ended = app.desk.order(request, target).await.map_err(|Lost| Problem::shutting_down())?;
    let version =
        releases.iter().find(|known| known.id == release).map(|known| known.version.clone());
    let mut outcome = Outcome {
        deployment: id,
        state: None,
        release,
        version,
        previous: None,
        reason: None,
        duration_ms: None,
    };
    if !wait {
        return Ok((StatusCode::ACCEPTED, Json(outcome)).into_response());
    }
    let Ended { outcome: end, duration } = ended.await.map_err(|_| Problem::shutting_down())?;
    let deployed = end.map_err(|error| failed(&error))?;
    outcome.state = Some(deployed.state);
    outcome.previous = deployed.previous;
    outcome.reason = deployed.reason;
    outcome.duration_ms = Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    Ok(Json(outcome).into_response())
}

/// A rollback that has no honest end, or met a target that is away.
fn failed(error: &DeployError) -> Problem {
    match error {
        DeployError::Infrastructure { .. } => Problem::upstream(runner::causes(error)),
        DeployError::Interrupted { .. } => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "interrupted",
            format!("{error}; the next start of the server ends it"),
        ),
        DeployError::Ledger(_) => Problem::internal(error),
    }
}

fn find(releases: &[Release], text: &str) -> Result<ReleaseId, Problem> {
    let found = releases.iter().find(|release| {
        release.id.to_string() == text || release.id.short() == text || release.version == text
    });
    found.map(|release| release.id).ok_or_else(|| {
        let known: Vec<String> = releases
            .iter()
            .take(10)
            .map(|release| format!("{} ({})", release.id.short(), release.version))
            .collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Problem::unprocessable(
            "no-release",
            format!("there is no release `{text}`; there are: {known}"),
        )
    })
}

fn view(release: Release) -> ReleaseView {
    ReleaseView {
        short: release.id.short(),
        release: release.id,
        version: release.version,
        branch: release.branch,
        sha: release.sha,
        committer: release.committer,
        artifact: release.artifact,
        built_at: release.built_at,
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match error {
            error @ LedgerError::Locked { .. } => Self::conflict(error.to_string()),
            error => Self::internal(&error),
        }
    }
}
