//! The runner's result cache on the store: which run passed is a row, what it left stands in
//! its events.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::Utc;
use event::{Reused, RunId, RunState, StageResult};
use runner::backend::LayerId;
use runner::{FormerPass, JournalError, ResultKey, Results};
use store::{PassKey, Store, StoreError};

use crate::app::App;

/// Runs whose state is remembered: stages of one run often come from one other.
const STATES: usize = 4;

/// Where the archives of a run's artifacts lie.
type Archives = Box<dyn Fn(RunId) -> PathBuf + Send + Sync>;

pub struct StoreResults {
    store: Store,
    archives: Archives,
    states: Mutex<HashMap<RunId, Arc<RunState>>>,
}

impl StoreResults {
    pub fn new(store: Store, archives: impl Fn(RunId) -> PathBuf + Send + Sync + 'static) -> Self {
        Self { store, archives: Box::new(archives), states: Mutex::default() }
    }

    async fn state(&self, run: RunId) -> Result<Arc<RunState>, StoreError> {
        let known = self.states.lock().unwrap_or_else(PoisonError::into_inner).get(&run).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let state = Arc::new(self.store.run_state(run).await?);
        // One that goes on is another state later.
        if state.result.is_some() {
            let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
            if states.len() >= STATES {
                states.clear();
            }
            states.insert(run, Arc::clone(&state));
        }
        Ok(state)
    }

    async fn pass(&self, key: &ResultKey) -> Result<Option<FormerPass>, StoreError> {
        let Some(reused) = self.store.pass(key_of(key), Utc::now()).await? else {
            return Ok(None);
        };
        let state = self.state(reused.run).await?;
        let index = usize::try_from(reused.index).unwrap_or(usize::MAX);
        let planned = state.plan.as_ref().and_then(|plan| plan.stages.get(index));
        let Some(stage) = planned.and_then(|planned| state.stage(&planned.name)) else {
            return Ok(None);
        };
        // Noted a moment before it was said; the process may have died between.
        let attempt = stage.attempts.iter().find(|attempt| attempt.number == reused.attempt);
        if attempt.is_none_or(|attempt| attempt.result != Some(StageResult::Passed)) {
            return Ok(None);
        }
        let artifacts = stage.artifacts.iter().filter(|found| found.attempt == reused.attempt);
        Ok(Some(FormerPass {
            reused,
            outputs: stage.outputs.clone(),
            artifacts: artifacts.cloned().collect(),
            archives: (self.archives)(reused.run),
            tests: stage.tests.clone(),
        }))
    }
}

/// Results whose files a server keeps; what was used longest ago goes first.
const KEPT: u32 = 100;

/// Removes the layers that no result stands for and no run stands on.
pub(super) async fn trim(app: &App) {
    if let Err(error) = try_trim(app).await {
        tracing::warn!("files of former results could not be removed: {error}");
    }
}

async fn try_trim(app: &App) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut kept: Vec<LayerId> =
        app.store.passes_within(KEPT).await?.into_iter().map(LayerId::from).collect();
    let unfinished: Vec<RunId> =
        app.store.unfinished_runs().await?.iter().map(|row| row.id).collect();
    for run in &unfinished {
        let state = app.store.run_state(*run).await?;
        kept.extend(state.stages.values().filter_map(|stage| stage.reused).map(LayerId::from));
    }
    let of = |run| !unfinished.contains(&run);
    app.backend.remove_layers(app.store.instance(), &of, &kept).await?;
    Ok(())
}

fn key_of(key: &ResultKey) -> PassKey<'_> {
    let ResultKey { project, trusted, stage, digest } = key;
    PassKey { project, trusted: *trusted, stage, digest }
}

fn failed(error: StoreError) -> JournalError {
    JournalError::Store(error.into())
}

#[async_trait]
impl Results for StoreResults {
    async fn find(&self, key: &ResultKey) -> Result<Option<FormerPass>, JournalError> {
        self.pass(key).await.map_err(failed)
    }

    async fn remember(&self, key: &ResultKey, pass: Reused) -> Result<(), JournalError> {
        self.store.remember_pass(key_of(key), pass, Utc::now()).await.map_err(failed)
    }

    async fn forget(&self, key: &ResultKey) -> Result<(), JournalError> {
        self.store.forget_pass(key_of(key)).await.map_err(failed)
    }
}
