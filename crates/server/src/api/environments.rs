//! Environments: what should run in them, and what does.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use deploy::{
    Deployment, DeploymentRecord, EnvironmentKey, Ledger as _, Observed, ObservedUnit, Release,
};
use event::{DeploymentId, DeploymentKind, DeploymentState, ReleaseId, RunId};
use pipeline::{TargetSpec, Tier};
use serde::Serialize;

use super::{Named, project};
use crate::app::App;
use crate::problem::Problem;

/// Deployments looked through for the one that stands.
const HISTORY: u32 = 200;
/// Deployments shown.
const SHOWN: usize = 5;
/// What a target may take to say what runs.
const OBSERVE: Duration = Duration::from_secs(10);

/// An environment as lists show it.
#[derive(Serialize)]
pub(crate) struct EnvironmentView {
    environment: String,
    target: String,
    tier: Tier,
    url: Option<String>,
}

/// What should run in an environment, what does, and how it came to be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EnvironmentStatus {
    pub project: String,
    pub environment: String,
    /// Of the deployment that stands; `None` before the first.
    pub release: Option<ReleaseId>,
    pub version: Option<String>,
    /// Units that should run.
    pub wanted: Option<u32>,
    pub units: Vec<UnitView>,
    /// The last ones, newest first.
    pub deployments: Vec<DeploymentView>,
    /// Who changes it now.
    pub locked_by: Option<String>,
    /// Why nobody knows what runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UnitView {
    #[serde(flatten)]
    pub unit: ObservedUnit,
    pub version: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeploymentView {
    pub deployment: DeploymentId,
    pub short: String,
    pub kind: DeploymentKind,
    /// `None` while it goes on.
    pub state: Option<DeploymentState>,
    pub release: ReleaseId,
    pub version: Option<String>,
    pub by: String,
    pub reason: Option<String>,
    /// What became of it, in words.
    pub outcome: Option<String>,
    pub run: Option<RunId>,
    pub requested_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// Puts together what is recorded of an environment, newest deployment first,
/// and what was observed.
pub fn environment_status(
    key: &EnvironmentKey,
    observed: &Observed,
    history: &[DeploymentRecord],
    releases: &[Release],
) -> EnvironmentStatus {
    let version = |id: ReleaseId| {
        releases.iter().find(|release| release.id == id).map(|release| release.version.clone())
    };
    let stands = history.iter().find(|record| record.state == Some(DeploymentState::Succeeded));
    let open = history.iter().find(|record| record.state.is_none() && record.fence > 0);
    let spec = stands.map(|record| &record.deployment.spec);
    EnvironmentStatus {
        project: key.project.clone(),
        environment: key.environment.clone(),
        release: spec.map(|spec| spec.release),
        version: spec.and_then(|spec| version(spec.release)),
        wanted: spec.map(|spec| spec.replicas),
        units: observed
            .units
            .iter()
            .map(|unit| UnitView { unit: unit.clone(), version: version(unit.release) })
            .collect(),
        deployments: history
            .iter()
            .take(SHOWN)
            .map(|record| deployment(record, version(record.deployment.spec.release)))
            .collect(),
        locked_by: open.map(|record| {
            let Deployment { id, kind, by, .. } = &record.deployment;
            format!("{} {} by {by}", kind.name(), id.short())
        }),
        error: None,
    }
}

fn deployment(record: &DeploymentRecord, version: Option<String>) -> DeploymentView {
    let Deployment { id, kind, spec, by, reason, run, .. } = &record.deployment;
    DeploymentView {
        deployment: *id,
        short: id.short(),
        kind: *kind,
        state: record.state,
        release: spec.release,
        version,
        by: by.clone(),
        reason: reason.clone(),
        outcome: record.outcome.clone(),
        run: *run,
        requested_at: record.requested_at,
        finished_at: record.finished_at,
    }
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Named(name): Named<String>,
) -> Result<Json<Vec<EnvironmentView>>, Problem> {
    let project = project(&app, &name).await?;
    let environments = app.config.environments(&project.name);
    let views = environments.into_iter().map(|(name, environment)| EnvironmentView {
        environment: name,
        target: match environment.target {
            TargetSpec::Named(target) => target,
            TargetSpec::Inline(_) => String::new(),
        },
        tier: environment.tier,
        url: environment.url,
    });
    Ok(Json(views.collect()))
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Named((name, environment)): Named<(String, String)>,
) -> Result<Json<EnvironmentStatus>, Problem> {
    let key = key(&app, &name, &environment).await?;
    let target = app.target(&key.project, &key.environment);
    let target = target.map_err(|reason| Problem::unprocessable("E062", reason))?;
    let history = app.store.history(&key, HISTORY).await?;
    let releases = app.store.releases(&key.project).await?;
    let seen = match tokio::time::timeout(OBSERVE, target.observe(&key)).await {
        Ok(seen) => seen.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the target did not answer within {} s", OBSERVE.as_secs())),
    };
    let (observed, error) = match seen {
        Ok(observed) => (observed, None),
        // What is wanted is known also when nobody can say what runs.
        Err(error) => (Observed::default(), Some(error)),
    };
    let mut status = environment_status(&key, &observed, &history, &releases);
    status.error = error;
    Ok(Json(status))
}

/// An environment of the configuration, or 404.
pub(super) async fn key(
    app: &App,
    name: &str,
    environment: &str,
) -> Result<EnvironmentKey, Problem> {
    let project = project(app, name).await?;
    if !app.config.environments(&project.name).contains_key(environment) {
        let detail = format!("project `{name}` has no environment `{environment}` on this server");
        return Err(Problem::not_found(detail));
    }
    Ok(EnvironmentKey { project: project.name, environment: environment.to_owned() })
}
