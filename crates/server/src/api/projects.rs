//! Projects: repositories that the server watches.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use pipeline::Duration;
use serde::{Deserialize, Serialize};
use store::{CreateProjectError, NewProject, Project};

use super::runs::start_branch;
use super::{Named, project};
use crate::app::App;
use crate::body::JsonBody;
use crate::problem::Problem;
use crate::reference::{self, Reference};
use crate::triggers;

/// A project as the API shows it. A secret says only that it is there.
#[derive(Serialize)]
pub(crate) struct ProjectView {
    name: String,
    git: String,
    branch: String,
    /// Between two looks at the repository.
    poll: String,
    hook_secret: bool,
    git_key: Option<PathBuf>,
    created_at: DateTime<Utc>,
    looked_at: Option<DateTime<Utc>>,
    /// Why the last look failed.
    error: Option<String>,
    /// Of a new project with `run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateProject {
    name: String,
    git: String,
    #[serde(default)]
    branch: Option<String>,
    #[serde(default)]
    poll: Option<String>,
    #[serde(default)]
    hook_secret: Option<String>,
    #[serde(default)]
    git_key: Option<PathBuf>,
    /// Starts the default branch at once.
    #[serde(default)]
    run: bool,
}

pub(crate) async fn list(State(app): State<Arc<App>>) -> Result<Json<Vec<ProjectView>>, Problem> {
    let projects = app.store.projects().await?;
    Ok(Json(projects.into_iter().map(|project| view(&app, project)).collect()))
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Named(name): Named<String>,
) -> Result<Json<ProjectView>, Problem> {
    Ok(Json(view(&app, project(&app, &name).await?)))
}

/// Makes a project and records where its refs are, so that from the answer on
/// every push counts.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    JsonBody(asked): JsonBody<CreateProject>,
) -> Result<(StatusCode, Json<ProjectView>), Problem> {
    let run = asked.run;
    let new = checked(asked)?;
    let candidate = Project {
        name: new.name.clone(),
        git_url: new.git_url.clone(),
        default_branch: new.default_branch.clone(),
        poll: new.poll,
        hook_secret: new.hook_secret.clone(),
        git_key: new.git_key.clone(),
        created_at: new.at,
        polled_at: None,
    };
    // An address that cannot be reached makes no project.
    let heads = triggers::look(&candidate).await.map_err(|error| {
        let detail =
            format!("cannot list the repository `{}`: {}", new.git_url, runner::causes(&error));
        Problem::unprocessable("repository", detail)
    })?;
    let created = match app.store.create_project(&new).await {
        Ok(created) => created,
        Err(error @ CreateProjectError::Exists(_)) => {
            return Err(Problem::conflict(error.to_string()));
        }
        Err(error @ CreateProjectError::Name(_)) => {
            return Err(Problem::unprocessable("name", error.to_string()));
        }
        Err(CreateProjectError::Store(error)) => return Err(error.into()),
    };
    triggers::record(&app, &created, &heads, new.at).await?;
    tracing::info!("project {} watches {}", created.name, created.git_url);
    app.hints.wake_project(&created.name);
    let mut shown = view(&app, created.clone());
    if run {
        let started = start_branch(&app, &created, None, &BTreeMap::new()).await?;
        shown.run = started.run.map(|run| run.to_string());
    }
    Ok((StatusCode::CREATED, Json(shown)))
}

fn checked(asked: CreateProject) -> Result<NewProject, Problem> {
    reference::repository(&asked.git)
        .map_err(|error| Problem::unprocessable("git", error.to_string()))?;
    let branch = asked.branch.unwrap_or_else(|| "main".to_owned());
    let branch = Reference::parse(&branch)
        .map_err(|error| Problem::unprocessable("branch", error.to_string()))?;
    let Some(branch) = branch.branch() else {
        return Err(Problem::unprocessable("branch", "the default branch is a branch"));
    };
    let poll = asked.poll.map(|text| text.parse::<Duration>()).transpose();
    let poll = poll.map_err(|error| Problem::unprocessable("poll", error.to_string()))?;
    if poll.is_some_and(|poll| poll.std().is_zero()) {
        return Err(Problem::unprocessable("poll", "polling needs a pause"));
    }
    if asked.hook_secret.as_deref() == Some("") {
        let detail = "an empty secret would let everybody in; leave it out to refuse webhooks";
        return Err(Problem::unprocessable("hook_secret", detail));
    }
    if asked.git_key.as_ref().is_some_and(|key| !key.is_absolute()) {
        let detail = "the key is an absolute path on the server";
        return Err(Problem::unprocessable("git_key", detail));
    }
    Ok(NewProject {
        name: asked.name,
        git_url: asked.git,
        default_branch: branch.to_owned(),
        poll: poll.map(Duration::std),
        hook_secret: asked.hook_secret,
        git_key: asked.git_key,
        at: Utc::now(),
    })
}

fn view(app: &App, project: Project) -> ProjectView {
    let pace = triggers::pace(app, &project);
    let look = app.repositories.last_look(&project.name);
    ProjectView {
        poll: Duration::from_millis(u64::try_from(pace.as_millis()).unwrap_or(u64::MAX))
            .to_string(),
        hook_secret: project.hook_secret.is_some(),
        looked_at: look.as_ref().map(|look| look.at).or(project.polled_at),
        error: look.and_then(|look| look.error),
        name: project.name,
        git: project.git_url,
        branch: project.default_branch,
        git_key: project.git_key,
        created_at: project.created_at,
        run: None,
    }
}
