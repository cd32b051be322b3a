//! What local runs left in the store, in the shape the server's API has.

use event::{Frame, Phase, RunId, RunState};
use runner::output::{log_path, read_frames};
use serde_json::{Value, json};
use store::{RunRow, Store};

use crate::error::{CommandError, Context as _};
use crate::home::Home;

pub(crate) async fn runs(
    store: &Store,
    project: Option<&str>,
    limit: u32,
) -> Result<Value, CommandError> {
    let rows = store.runs(project, limit, None).await.environment("cannot read the runs")?;
    Ok(rows.iter().map(row_value).collect())
}

/// One run with its stages, by its id or the last eight digits of it.
pub(crate) async fn run(store: &Store, id: &str) -> Result<Value, CommandError> {
    let found = match id.parse::<RunId>() {
        Ok(run) => store.run(run).await,
        Err(_) => store.run_by_short(id).await,
    };
    let row = found.environment("cannot read the runs")?.ok_or_else(|| {
        CommandError::usage(format_args!("no run `{id}` is known"))
            .hint("`shipline runs` lists them")
    })?;
    let state = store.run_state(row.id).await.environment("cannot read the run")?;
    let mut value = row_value(&row);
    value["stages"] = stages(&state);
    Ok(value)
}

/// The output of the last attempt of a stage.
pub(crate) fn frames(home: &Home, run: &Value, stage: &str) -> Result<Vec<Frame>, CommandError> {
    let Some(folder) = run["run"].as_str().and_then(|id| home.find(id.parse().ok()?)) else {
        return Ok(Vec::new());
    };
    let attempts = run["stages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|value| value["name"] == stage)
        .and_then(|value| value["attempts"].as_u64())
        .unwrap_or(1);
    let attempt = u32::try_from(attempts.max(1)).unwrap_or(1);
    let path = log_path(&folder.join("output"), stage, attempt);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let what = format!("cannot read {}", path.display());
    let frames = read_frames(&path).environment(&what)?;
    frames.collect::<Result<Vec<Frame>, _>>().environment(&what)
}

fn row_value(row: &RunRow) -> Value {
    json!({
        "run": row.id,
        "short": row.id.short(),
        "number": row.number,
        "project": row.project,
        "pipeline": row.pipeline,
        "branch": row.branch,
        "sha": row.sha,
        "event": row.event,
        "by": row.by,
        "state": row.status,
        "result": row.result,
        "queued_at": row.queued_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
    })
}

/// In the order of the plan.
fn stages(state: &RunState) -> Value {
    let Some(plan) = &state.plan else { return json!([]) };
    plan.stages
        .iter()
        .filter_map(|planned| {
            let stage = state.stage(&planned.name)?;
            let last = stage.attempts.last();
            let (phase, result) = match stage.phase {
                Phase::Waiting => ("waiting", None),
                Phase::Running => ("running", None),
                Phase::Done(result) => ("done", Some(result)),
            };
            Some(json!({
                "name": planned.name,
                "action": planned.work.action().name(),
                "state": phase,
                "result": result,
                "reason": stage.reason,
                "code": last.and_then(|attempt| attempt.code.clone()),
                "duration_ms": stage.duration_ms,
                "attempts": stage.attempts.len(),
            }))
        })
        .collect()
}
