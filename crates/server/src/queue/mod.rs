//! What runs: one loop leases queued runs in order and brings each to its end.
//!
//! At the start it first takes up what a former process left: runs go on, deployments
//! get a stated end, and nothing else stays on the engine ([`recovery`]).

mod execute;
mod journal;
mod recovery;
mod refuse;
mod results;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use store::{RunRow, StoreError};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::app::App;
use crate::serve::LoopError;

pub use journal::StoreJournal;
pub use results::StoreResults;

/// After a fault that may pass.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs what is queued until `drain`, then waits for what runs; [`App::abort`]
/// cancels it.
pub(crate) async fn run(app: Arc<App>, drain: CancellationToken) -> Result<(), LoopError> {
    let mut running = Running::default();
    for row in recovery::begin(&app).await? {
        running.start(&app, row, Duration::ZERO);
    }
    // Those wait for people, and nothing waits for them.
    let _held = recovery::end_deployments(&app, &drain).await?;
    while !drain.is_cancelled() {
        let mut busy = false;
        while running.tasks.len() < app.config.runner.concurrency {
            match app.store.lease_next(&app.holder(), chrono::Utc::now()).await {
                Ok(Some(row)) => running.start(&app, row, Duration::ZERO),
                Ok(None) => break,
                Err(error) if error.is_temporary() => {
                    tracing::warn!(%error, "the queue cannot be read now");
                    busy = true;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        tokio::select! {
            () = drain.cancelled() => {}
            () = app.hints.queue.notified(), if running.tasks.len() < app.config.runner.concurrency => {}
            Some(ended) = running.tasks.join_next_with_id(), if !running.tasks.is_empty() => {
                running.ended(&app, ended)?;
            }
            () = tokio::time::sleep(PAUSE), if busy => {}
        }
    }
    running.drain(&app).await
}

/// Runs under way.
#[derive(Default)]
struct Running {
    tasks: JoinSet<Result<(), StoreError>>,
    rows: HashMap<Id, RunRow>,
}

impl Running {
    fn start(&mut self, app: &Arc<App>, row: RunRow, pause: Duration) {
        let span = tracing::info_span!("run", run.id = %row.id, project = row.project);
        let execute = execute::execute(Arc::clone(app), row.clone());
        let task = async move {
            tokio::time::sleep(pause).await;
            execute.await
        };
        let id = self.tasks.spawn(task.instrument(span)).id();
        self.rows.insert(id, row);
    }

    /// A run whose task broke is taken up again, where it is.
    fn ended(
        &mut self,
        app: &Arc<App>,
        ended: Result<(Id, Result<(), StoreError>), JoinError>,
    ) -> Result<(), LoopError> {
        match ended {
            Ok((id, ended)) => {
                self.rows.remove(&id);
                ended.map_err(Into::into)
            }
            Err(error) => {
                let row = self.rows.remove(&error.id()).ok_or("an unknown run broke")?;
                tracing::error!(run.id = %row.id, %error, "run {} broke", row.id);
                self.start(app, row, PAUSE);
                Ok(())
            }
        }
    }

    async fn drain(&mut self, app: &Arc<App>) -> Result<(), LoopError> {
        if !self.tasks.is_empty() {
            let runs: Vec<String> = self.rows.values().map(|row| row.id.short()).collect();
            tracing::info!("stopping: waiting for the runs {}", runs.join(", "));
        }
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.ended(app, ended)?;
        }
        Ok(())
    }
}
