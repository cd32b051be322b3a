//! What local runs left in the store, in the shape the server's API has.

use std::path::PathBuf;

use event::{Frame, RunId};
use runner::output::{log_path, read_frames};
use serde::Serialize;
use serde_json::Value;
use server::{PastTestView, RunDetail, RunView, TestView, stage_views};
use store::{RunRow, Store, TestFilter};

use crate::error::{CommandError, Context as _};
use crate::home::Home;

pub(crate) async fn runs(
    store: &Store,
    project: Option<&str>,
    limit: u32,
) -> Result<Value, CommandError> {
    let rows = store.runs(project, limit, None).await.environment("cannot read the runs")?;
    value(rows.into_iter().map(RunView::from).collect::<Vec<_>>())
}

/// One run with its stages, by its id or the last eight digits of it.
pub(crate) async fn run(store: &Store, id: &str) -> Result<Value, CommandError> {
    let row = find(store, id).await?;
    let state = store.run_state(row.id).await.environment("cannot read the run")?;
    let waits = server::wait_views(store, row.id).await.environment("cannot read the groups")?;
    value(RunDetail { run: row.into(), stages: stage_views(&state), waits })
}

/// The tests of a run, by stage, attempt, and the order of their reports.
pub(crate) async fn tests_of_run(store: &Store, id: &str) -> Result<Value, CommandError> {
    let row = find(store, id).await?;
    let rows = store.tests(row.id).await.environment("cannot read the tests")?;
    value(rows.into_iter().map(TestView::from).collect::<Vec<_>>())
}

/// What one test came to in the last runs.
pub(crate) async fn test_outcomes(
    store: &Store,
    filter: TestFilter<'_>,
    class: &str,
    name: &str,
) -> Result<Value, CommandError> {
    let rows = store.test_history(filter, class, name).await;
    let rows = rows.environment("cannot read the tests")?.into_iter();
    value(rows.map(PastTestView::from).collect::<Vec<_>>())
}

/// Finds a run by its id or the last eight digits of it.
pub(crate) async fn find(store: &Store, id: &str) -> Result<RunRow, CommandError> {
    let found = match id.parse::<RunId>() {
        Ok(run) => store.run(run).await,
        Err(_) => store.run_by_short(id).await,
    };
    found.environment("cannot read the runs")?.ok_or_else(|| {
        CommandError::usage(format_args!("no run `{id}` is known"))
            .hint("`shipline runs` lists them")
    })
}

/// The output of the last attempt of a stage.
pub(crate) fn frames(home: &Home, run: &Value, stage: &str) -> Result<Vec<Frame>, CommandError> {
    let Some(path) = log(home, run, stage).filter(|path| path.exists()) else {
        return Ok(Vec::new());
    };
    let what = format!("cannot read {}", path.display());
    let frames = read_frames(&path).environment(&what)?;
    frames.collect::<Result<Vec<Frame>, _>>().environment(&what)
}

/// The stage of a run whose output, or that of one of its services, has this name.
pub(crate) fn writer<'a>(run: &'a Value, name: &str) -> Option<&'a Value> {
    let stages = || run["stages"].as_array().into_iter().flatten();
    let writer = runner::stage_of_log(name, |name| stages().any(|stage| stage["name"] == name))?;
    stages().find(|stage| stage["name"] == writer)
}

/// The file of the last attempt of a stage, which need not exist yet.
pub(crate) fn log(home: &Home, run: &Value, stage: &str) -> Option<PathBuf> {
    let folder = home.find(id(run)?)?;
    let attempts = writer(run, stage).and_then(|value| value["attempts"].as_u64()).unwrap_or(1);
    let attempt = u32::try_from(attempts.max(1)).unwrap_or(1);
    Some(log_path(&folder.join("output"), stage, attempt))
}

/// Whether a stage will say no more: it or its run is over, or their process is gone.
pub(crate) async fn has_ended(
    home: &Home,
    store: &Store,
    run: &Value,
    stage: &str,
) -> Result<bool, CommandError> {
    let stage = writer(run, stage).and_then(|stage| stage["name"].as_str()).unwrap_or(stage);
    let Some(run) = id(run) else { return Ok(true) };
    let state = store.run_state(run).await.environment("cannot read the run")?;
    Ok(state.result.is_some() || state.result_of(stage).is_some() || !home.is_alive(run))
}

fn id(run: &Value) -> Option<RunId> {
    run["run"].as_str()?.parse().ok()
}

fn value(view: impl Serialize) -> Result<Value, CommandError> {
    serde_json::to_value(view).environment("a run is no JSON")
}
