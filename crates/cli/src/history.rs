//! What local runs left in the store, in the shape the server's API has.

use std::path::PathBuf;

use event::{Frame, RunId};
use runner::output::{log_path, read_frames};
use serde::Serialize;
use serde_json::Value;
use server::{RunDetail, RunView, stage_views};
use store::{RunRow, Store};

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
    value(RunDetail { run: row.into(), stages: stage_views(&state) })
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

/// The file of the last attempt of a stage, which need not exist yet.
pub(crate) fn log(home: &Home, run: &Value, stage: &str) -> Option<PathBuf> {
    let folder = home.find(id(run)?)?;
    let attempts = run["stages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|value| value["name"] == stage)
        .and_then(|value| value["attempts"].as_u64())
        .unwrap_or(1);
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
