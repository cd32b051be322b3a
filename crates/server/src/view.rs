//! Runs as people are shown them: by the API, and by commands without a server.

use chrono::{DateTime, Utc};
use event::{Phase, RunId, RunResult, RunState, StageResult};
use pipeline::{ActionKind, TriggerEvent};
use serde::Serialize;
use store::{RunRow, RunStatus, Store, StoreError};

/// A run as lists show it.
#[derive(Clone, Debug, Serialize)]
pub struct RunView {
    pub run: RunId,
    pub short: String,
    pub number: u64,
    pub project: String,
    pub pipeline: String,
    pub branch: Option<String>,
    pub tag: Option<String>,
    pub sha: String,
    pub event: TriggerEvent,
    pub by: String,
    pub state: RunStatus,
    pub result: Option<RunResult>,
    pub queued_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// A run with its stages, in the order of the plan.
#[derive(Clone, Debug, Serialize)]
pub struct RunDetail {
    #[serde(flatten)]
    pub run: RunView,
    pub stages: Vec<StageView>,
    /// What waits for a concurrency group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<WaitView>,
}

/// A run, or a stage of it, that waits for a concurrency group.
#[derive(Clone, Debug, Serialize)]
pub struct WaitView {
    /// `None` is the whole run.
    pub stage: Option<String>,
    pub group: String,
    /// In the queue, from 1.
    pub position: usize,
    /// One sentence: who holds it, and the position.
    pub reason: String,
}

/// What of a run waits for groups.
pub async fn wait_views(store: &Store, run: RunId) -> Result<Vec<WaitView>, StoreError> {
    let queues = store.queues_of(run).await?.into_iter();
    let views = queues.map(|(stage, queue)| WaitView {
        stage,
        reason: queue.to_string(),
        group: queue.group,
        position: queue.position,
    });
    Ok(views.collect())
}

#[derive(Clone, Debug, Serialize)]
pub struct StageView {
    pub name: String,
    pub action: ActionKind,
    /// `waiting`, `running` or `done`.
    pub state: &'static str,
    pub result: Option<StageResult>,
    pub reason: Option<String>,
    pub code: Option<String>,
    pub duration_ms: u64,
    pub attempts: usize,
}

impl From<RunRow> for RunView {
    fn from(row: RunRow) -> Self {
        Self {
            run: row.id,
            short: row.id.short(),
            number: row.number,
            project: row.project,
            pipeline: row.pipeline,
            branch: row.branch,
            tag: row.tag,
            sha: row.sha,
            event: row.event,
            by: row.by,
            state: row.status,
            result: row.result,
            queued_at: row.queued_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        }
    }
}

/// The stages of a run, in the order of its plan.
pub fn stage_views(state: &RunState) -> Vec<StageView> {
    let Some(plan) = &state.plan else { return Vec::new() };
    let views = plan.stages.iter().filter_map(|planned| {
        let stage = state.stage(&planned.name)?;
        let last = stage.attempts.last();
        let (phase, result) = match stage.phase {
            Phase::Waiting => ("waiting", None),
            Phase::Running => ("running", None),
            Phase::Done(result) => ("done", Some(result)),
        };
        Some(StageView {
            name: planned.name.clone(),
            action: planned.work.action(),
            state: phase,
            result,
            reason: stage.reason.clone(),
            code: last.and_then(|attempt| attempt.code.clone()),
            duration_ms: stage.duration_ms,
            attempts: stage.attempts.len(),
        })
    });
    views.collect()
}
