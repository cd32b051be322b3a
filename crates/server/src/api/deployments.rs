//! Deployments that people ask for, and releases to deploy or to go back to.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use deploy::{
    Artifact, ChangeError, DeployError, Deployment, DeploymentRecord, EnvironmentKey, Ledger as _,
    LedgerError, Limits, ListedRelease, Order, OrderError, PreviewError, Release, Request,
    RollbackError, Target, Trace,
};
use event::{Decision, DeploymentId, DeploymentState, ReleaseId, Verdict};
use notify::Notice;
use pipeline::Tier;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::environments::{DeploymentView, deployment_view, key, with_incidents};
use super::locks::OWNER;
use super::previews::{listed_releases, preview_view};
use super::{Asked, LARGEST_PAGE, Named, page, project};
use crate::app::App;
use crate::body::JsonBody;
use crate::deployments::{Ended, Lost};
use crate::notices::{self, Told};
use crate::problem::Problem;

/// For the lock of an environment, whatever somebody asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 60);
/// Until a deployment is written down.
const WRITTEN: Duration = Duration::from_secs(10);
/// How often it is looked for whether a deployment is written down.
const LOOK: Duration = Duration::from_millis(10);

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
#[serde(rename_all = "kebab-case")]
pub(crate) struct How {
    /// Whether the answer is the outcome, and not that it was begun.
    #[serde(default)]
    wait: bool,
    /// Whether only to say what would be done.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
pub(crate) struct Shown {
    limit: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mark {
    verdict: Verdict,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Decided {
    decision: Decision,
    #[serde(default)]
    reason: Option<String>,
}

/// How a deployment ended, or that it was begun.
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
    /// Of a failure: whether it was found before anything new got traffic.
    caught_before_admit: Option<bool>,
    /// Requests that did not end within `drain`.
    cut: Option<u64>,
    duration_ms: Option<u64>,
    /// Of an emergency: who gets a mail.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    told: Option<Told>,
}

pub(crate) async fn releases(
    State(app): State<Arc<App>>,
    Named(name): Named<String>,
) -> Result<Json<Vec<ReleaseView>>, Problem> {
    let project = project(&app, &name).await?;
    let releases = app.store.releases(&project.name).await?;
    Ok(Json(releases.into_iter().map(view).collect()))
}

/// Releases of the project, as an environment sees them.
pub(crate) async fn of_environment(
    State(app): State<Arc<App>>,
    Named((name, environment)): Named<(String, String)>,
) -> Result<Json<Vec<ListedRelease>>, Problem> {
    let key = key(&app, &name, &environment).await?;
    let listed = listed_releases(&app.store, &key, target(&app, &key)?.as_ref()).await?;
    Ok(Json(listed))
}

/// Deployments of an environment, newest first.
pub(crate) async fn history(
    State(app): State<Arc<App>>,
    Named((name, environment)): Named<(String, String)>,
    Asked(Shown { limit }): Asked<Shown>,
) -> Result<Json<Vec<DeploymentView>>, Problem> {
    let key = key(&app, &name, &environment).await?;
    let history = app.store.history(&key, page(limit)).await?;
    let releases = app.store.releases(&key.project).await?;
    let views = history.iter().map(|record| deployment_view(record, &releases)).collect();
    let incidents = app.store.incidents(&key, LARGEST_PAGE).await?;
    Ok(Json(with_incidents(views, &incidents)))
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Named(id): Named<String>,
) -> Result<Json<DeploymentView>, Problem> {
    let record = found(&app, &id).await?;
    let releases = app.store.releases(&record.deployment.spec.project).await?;
    Ok(Json(deployment_view(&record, &releases)))
}

/// Asks a deployment to end: before traffic was switched it is undone, later rolled back.
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    Named(id): Named<String>,
) -> Result<StatusCode, Problem> {
    let record = found(&app, &id).await?;
    let id = record.deployment.id;
    if record.state.is_some() {
        return Err(Problem::conflict(format!("deployment {} has ended", id.short())));
    }
    if app.desk.cancel(id) {
        return Ok(StatusCode::ACCEPTED);
    }
    Err(Problem::conflict(match record.deployment.run {
        Some(run) => format!("deployment {} belongs to run {}", id.short(), run.short()),
        None => format!("deployment {} is not carried out by this server", id.short()),
    }))
}

/// Decides about a deployment that is held: what failed is given up and the rest goes on,
/// or all goes back.
pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    Named(id): Named<String>,
    JsonBody(Decided { decision, reason }): JsonBody<Decided>,
) -> Result<Json<DeploymentView>, Problem> {
    let id = found(&app, &id).await?.deployment.id;
    app.ledger().decide(id, decision, OWNER, reason).await?;
    show(State(app), Named(id.to_string())).await
}

/// Says what a deployment was worth, once it has ended.
pub(crate) async fn mark(
    State(app): State<Arc<App>>,
    Named(id): Named<String>,
    JsonBody(Mark { verdict, reason }): JsonBody<Mark>,
) -> Result<Json<DeploymentView>, Problem> {
    let record = found(&app, &id).await?;
    if record.state.is_none() {
        let id = record.deployment.id.short();
        return Err(Problem::conflict(format!("deployment {id} has not ended yet")));
    }
    app.ledger().mark(record.deployment.id, verdict, OWNER, reason).await?;
    show(State(app), Named(record.deployment.id.to_string())).await
}

/// Changes an environment. With `?wait=true` the answer is the outcome, without, that
/// the deployment was begun; with `?dry-run=true` it is what would be done.
pub(crate) async fn order(
    State(app): State<Arc<App>>,
    Named((name, environment)): Named<(String, String)>,
    Asked(how): Asked<How>,
    JsonBody(order): JsonBody<Order>,
) -> Result<Response, Problem> {
    let key = key(&app, &name, &environment).await?;
    let target = target(&app, &key)?;
    let ledger = app.ledger();
    let trace = if how.dry_run { Trace::None } else { Trace::Recorded };
    // There is no pipeline file here: what stands says how things are configured.
    let deployment = order.deployment(&ledger, &key, OWNER, Utc::now(), trace, |_| None).await?;
    let production = app.config.environments(&key.project).get(&environment).map(|it| it.tier);
    let policy = order.policy(production == Some(Tier::Prod));
    if how.dry_run {
        let preview = deploy::preview(&deployment, policy, target.as_ref(), ledger.as_ref()).await;
        let releases = app.store.releases(&key.project).await?;
        let view = preview_view(&deployment, preview.map_err(unplanned)?, &releases);
        return Ok(Json(view).into_response());
    }
    let (id, kind, release) = (deployment.id, deployment.kind, deployment.spec.release);
    tracing::info!("{}/{}: {} {}", key.project, key.environment, kind.name(), id.short());
    let releases = app.store.releases(&key.project).await?;
    let version =
        releases.iter().find(|known| known.id == release).map(|known| known.version.clone());
    // Before anything is done, so that a crash hides nothing.
    let told = match deployment.scope.emergency {
        true => Some(tell_of_emergency(&app, &key, &deployment, version.as_deref()).await),
        false => None,
    };
    let runner = app.checks();
    let request = Request { deployment, holder: app.holder(), policy, runner };
    let limits = limits(order.lock_wait_ms);
    let ordered = app.desk.order(&app.abort, request, limits, target).await;
    let ended = ordered.map_err(|Lost| Problem::shutting_down())?;
    let begun = Outcome {
        deployment: id,
        state: None,
        release,
        version,
        previous: None,
        reason: None,
        caught_before_admit: None,
        cut: None,
        duration_ms: None,
        told,
    };
    if !how.wait && !early(&app, id, &ended).await? {
        return Ok((StatusCode::ACCEPTED, Json(begun)).into_response());
    }
    let Ended { outcome, duration } = ended.await.map_err(|_| Problem::shutting_down())?;
    let deployed = outcome.map_err(|error| failed(&error))?;
    let outcome = Outcome {
        state: Some(deployed.state),
        previous: deployed.previous,
        reason: deployed.reason,
        caught_before_admit: deployed.caught_before_admit,
        cut: Some(deployed.cut),
        duration_ms: Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        ..begun
    };
    Ok(Json(outcome).into_response())
}

async fn tell_of_emergency(
    app: &App,
    key: &EnvironmentKey,
    deployment: &Deployment,
    version: Option<&str>,
) -> Told {
    let release = deployment.spec.release.short();
    let emergency = Notice::Emergency {
        deployment: deployment.id,
        by: deployment.by.clone(),
        version: version.unwrap_or(&release).to_owned(),
        reason: deployment.reason.clone().unwrap_or_default(),
    };
    notices::tell(app, key, &emergency).await
}

/// Waits until a deployment is written down, so that whoever is told of it finds it.
/// Returns whether it ended before that.
async fn early(
    app: &App,
    id: DeploymentId,
    ended: &oneshot::Receiver<Ended>,
) -> Result<bool, Problem> {
    let looked = tokio::time::Instant::now();
    while app.store.deployment(id).await?.is_none() && looked.elapsed() < WRITTEN {
        if !ended.is_empty() {
            return Ok(true);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(false)
}

/// What the engine waits for, with what was asked of it.
fn limits(lock_wait_ms: Option<u64>) -> Limits {
    let limits = Limits::default();
    match lock_wait_ms {
        Some(wait) => Limits { lock_wait: Duration::from_millis(wait).min(LONGEST_WAIT), ..limits },
        None => limits,
    }
}

pub(super) fn target(app: &App, key: &EnvironmentKey) -> Result<Arc<dyn Target>, Problem> {
    let target = app.target(&key.project, &key.environment);
    target.map_err(|reason| Problem::unprocessable("E062", reason))
}

/// A deployment by its id or the last eight digits of it, or 404.
pub(super) async fn found(app: &App, text: &str) -> Result<DeploymentRecord, Problem> {
    let record = match text.parse::<DeploymentId>() {
        Ok(id) => app.store.deployment(id).await?,
        Err(_) => app.store.deployment_by_short(text).await?,
    };
    record.ok_or_else(|| Problem::not_found(format!("there is no deployment `{text}`")))
}

/// A deployment that has no honest end, or met a target that is away.
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

fn unplanned(error: PreviewError) -> Problem {
    match error {
        PreviewError::Ledger(error) => error.into(),
        PreviewError::Target(_) => Problem::upstream(runner::causes(&error)),
        PreviewError::Nothing { .. } => Problem::unprocessable("no-release", error.to_string()),
    }
}

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Ledger(error)
            | OrderError::Rollback(RollbackError::Ledger(error))
            | OrderError::Change(ChangeError::Ledger(error)) => error.into(),
            OrderError::Suite(_) => Self::unprocessable("E067", error.to_string()),
            OrderError::Contradiction(_) | OrderError::Scope(_) => {
                Self::bad_request(error.to_string())
            }
            error => Self::unprocessable("no-release", error.to_string()),
        }
    }
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
            error @ (LedgerError::Locked { .. }
            | LedgerError::Closed { .. }
            | LedgerError::NotHeld(_)) => Self::conflict(error.to_string()),
            error => Self::internal(&error),
        }
    }
}
