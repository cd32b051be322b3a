//! Runs: started by hand, listed, shown.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::Utc;
use event::RunId;
use runner::git::{self, Sha};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Heads, NewTrigger, Project, Recorded, RunRow, StoreError};

use super::{Asked, Named, page, project};
use crate::app::App;
use crate::body::JsonBody;
use crate::problem::Problem;
use crate::reference::Reference;
use crate::triggers::{self, Decided, VisitError};
use crate::view::{RunDetail, RunView, stage_views, wait_views};

/// Runs looked through at a time for a number.
const NUMBERS: u32 = 500;
/// As much as is kept of what asked for a run.
const PARAMS_LIMIT: usize = 64 << 10;

#[derive(Deserialize)]
pub(crate) struct ListRuns {
    project: Option<String>,
    limit: Option<u32>,
    /// The last run of the page before.
    before: Option<RunId>,
}

#[derive(Deserialize)]
pub(crate) struct WhichRun {
    /// Of a run that is named by its number.
    pub(super) project: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartRun {
    #[serde(default, rename = "ref")]
    reference: Option<String>,
    /// Of `on.manual.params`.
    #[serde(default)]
    params: BTreeMap<String, Value>,
}

/// What a request to start became.
#[derive(Serialize)]
pub(crate) struct Started {
    /// The first of `runs`.
    pub(crate) run: Option<RunId>,
    number: Option<u64>,
    runs: Vec<RunView>,
}

/// Starts the pipelines of a branch or tag.
pub(crate) async fn start(
    State(app): State<Arc<App>>,
    Named(name): Named<String>,
    JsonBody(asked): JsonBody<StartRun>,
) -> Result<(StatusCode, Json<Started>), Problem> {
    let project = project(&app, &name).await?;
    let started = start_branch(&app, &project, asked.reference.as_deref(), &asked.params).await?;
    Ok((StatusCode::ACCEPTED, Json(started)))
}

/// Resolves a ref to its commit, once, and decides on that commit.
pub(super) async fn start_branch(
    app: &App,
    project: &Project,
    asked: Option<&str>,
    params: &BTreeMap<String, Value>,
) -> Result<Started, Problem> {
    // A record keeps it whole, or not at all.
    let body = if params.is_empty() { Vec::new() } else { json!(params).to_string().into_bytes() };
    if body.len() > PARAMS_LIMIT {
        let detail = format!("the parameters are longer than {} KiB", PARAMS_LIMIT >> 10);
        return Err(Problem::unprocessable("params", detail));
    }
    let mut reference = Reference::parse(asked.unwrap_or(&project.default_branch))
        .map_err(|error| Problem::unprocessable("ref", error.to_string()))?;
    triggers::fetch(app, project).await.map_err(failed)?;
    let mirror = app.data.mirror(&project.name);
    let mut found = resolve(&mirror, &reference).await?;
    if found.is_none() && asked.is_some_and(|asked| !asked.starts_with("refs/")) {
        // A name alone may be that of a tag.
        let tag = Reference::parse(&format!("refs/tags/{reference}"));
        let tag = tag.map_err(|error| Problem::unprocessable("ref", error.to_string()))?;
        found = resolve(&mirror, &tag).await?;
        if found.is_some() {
            reference = tag;
        }
    }
    let sha = found.ok_or_else(|| {
        let detail = format!("project `{}` has no branch or tag `{reference}`", project.name);
        Problem::unprocessable("ref", detail)
    })?;
    let trigger = NewTrigger {
        project: project.name.clone(),
        source: "manual".to_owned(),
        delivery: None,
        received_at: Utc::now(),
        reference: Some(reference.as_str().to_owned()),
        sha: Some(sha.to_string()),
        by: Some("admin".to_owned()),
        body,
        moves_head: false,
    };
    let (Recorded::New(trigger) | Recorded::Duplicate(trigger)) =
        app.store.record_trigger(trigger).await?;
    let mut runs = Vec::new();
    let mut reasons = Vec::new();
    collect(
        triggers::decide(app, project, &trigger, &Heads::new()).await.map_err(failed)?,
        &mut runs,
        &mut reasons,
    );
    let Some(first) = runs.first() else {
        return Err(Problem::unprocessable("not-started", reasons.join("\n")));
    };
    Ok(Started {
        run: Some(first.id),
        number: Some(first.number),
        runs: runs.into_iter().map(RunView::from).collect(),
    })
}

async fn resolve(mirror: &Path, reference: &Reference) -> Result<Option<Sha>, Problem> {
    let resolved = git::resolve(mirror, reference.name()).await;
    resolved.map_err(|error| failed(error.into()))
}

fn collect(decided: Decided, runs: &mut Vec<RunRow>, reasons: &mut Vec<String>) {
    match decided {
        Decided::Started(row) => runs.push(*row),
        Decided::Ignored(reason) | Decided::Failed(reason) => reasons.push(reason),
        Decided::Several(answers) => {
            for (_, answer) in answers {
                collect(answer, runs, reasons);
            }
        }
    }
}

fn failed(error: VisitError) -> Problem {
    match error {
        VisitError::Store(error) => error.into(),
        VisitError::Queue(error) => Problem::internal(&error),
        error => {
            Problem::upstream(format!("cannot read the repository: {}", runner::causes(&error)))
        }
    }
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Asked(asked): Asked<ListRuns>,
) -> Result<Json<Vec<RunView>>, Problem> {
    let rows = app.store.runs(asked.project.as_deref(), page(asked.limit), asked.before).await?;
    Ok(Json(rows.into_iter().map(RunView::from).collect()))
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Named(id): Named<String>,
    Asked(asked): Asked<WhichRun>,
) -> Result<Json<RunDetail>, Problem> {
    let row = find(&app, &id, asked.project.as_deref()).await?;
    let state = app.store.run_state(row.id).await?;
    let waits = wait_views(&app.store, row.id).await?;
    Ok(Json(RunDetail { stages: stage_views(&state), run: RunView::from(row), waits }))
}

/// Finds a run by its id, the last eight digits of it, or, with its project, its
/// number.
pub(super) async fn find(app: &App, id: &str, project: Option<&str>) -> Result<RunRow, Problem> {
    let found = match (id.parse::<RunId>(), project, id.parse::<u64>()) {
        (Ok(run), _, _) => app.store.run(run).await?,
        (Err(_), Some(project), Ok(number)) => by_number(app, project, number).await?,
        _ => app.store.run_by_short(id).await?,
    };
    found
        .filter(|row| project.is_none_or(|project| project == row.project))
        .ok_or_else(|| Problem::not_found(format!("there is no run `{id}`")))
}

/// The newest run of that number: each pipeline of a project counts its own.
async fn by_number(app: &App, project: &str, number: u64) -> Result<Option<RunRow>, StoreError> {
    let mut before = None;
    loop {
        let rows = app.store.runs(Some(project), NUMBERS, before).await?;
        let Some(last) = rows.last().map(|row| row.id) else { return Ok(None) };
        before = Some(last);
        if let Some(row) = rows.into_iter().find(|row| row.number == number) {
            return Ok(Some(row));
        }
    }
}
