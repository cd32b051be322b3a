//! After a start: what a former process left is taken up before anything begins.
//!
//! Nobody else uses the data directory, so whatever is unfinished is ours and
//! nobody works on it. Waiting runs keep their place; begun ones go on where they
//! are, whatever ran meanwhile; deployments are completed or taken back.

use std::sync::Arc;

use deploy::{DeploymentRecord, Ledger as _};
use event::{DeploymentKind, RunId};
use store::{RunRow, RunStatus};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::serve::LoopError;

/// Returns the runs that go on, once nothing of others is left on the engine.
pub(super) async fn begin(app: &Arc<App>) -> Result<Vec<RunRow>, LoopError> {
    let unfinished = app.store.unfinished_runs().await?;
    let is_running = |row: &&RunRow| row.status == RunStatus::Running;
    let alive: Vec<RunId> = unfinished.iter().filter(is_running).map(|row| row.id).collect();
    match app.backend.sweep(app.store.instance(), &alive).await {
        Ok(0) => {}
        Ok(count) => {
            tracing::info!("removed {count} objects that a former process left on the engine");
        }
        // The runs themselves will say it if the engine stays away.
        Err(error) => tracing::warn!("cannot clean up the engine: {}", runner::causes(&error)),
    }
    let mut running = Vec::new();
    for row in unfinished {
        match row.status {
            RunStatus::Queued | RunStatus::Finished => {}
            RunStatus::Leased => {
                app.store.requeue(row.id).await?;
            }
            RunStatus::Running => {
                tracing::info!(run.id = %row.id, "run {} was interrupted; it goes on", row.id);
                running.push(row);
            }
        }
    }
    Ok(running)
}

/// Ends the deployments that a former process left. Those that wait for somebody's
/// decision go on to wait, beside what else the server does: as long as the set lives.
pub(super) async fn end_deployments(
    app: &Arc<App>,
    drain: &CancellationToken,
) -> Result<JoinSet<()>, LoopError> {
    let unfinished = app.store.unfinished().await?;
    let (held, others): (Vec<_>, Vec<_>) =
        unfinished.into_iter().partition(|record| record.held_until.is_some());
    let mut waiting = JoinSet::new();
    for record in held {
        let app = Arc::clone(app);
        waiting.spawn(async move { deployment(&app, record).await });
    }
    tokio::select! {
        () = take_up(app, others) => {}
        // Dropped half-way it is like another crash: the next start goes on.
        () = drain.cancelled() => {}
    }
    Ok(waiting)
}

/// Environments do not wait for each other.
async fn take_up(app: &Arc<App>, unfinished: Vec<DeploymentRecord>) {
    let mut environments: std::collections::BTreeMap<_, Vec<DeploymentRecord>> = Default::default();
    for record in unfinished {
        environments.entry(record.deployment.key()).or_default().push(record);
    }
    let mut tasks = JoinSet::new();
    for records in environments.into_values() {
        let app = Arc::clone(app);
        tasks.spawn(async move {
            for record in records {
                deployment(&app, record).await;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a deployment could not be taken up");
        }
    }
}

/// What cannot be ended stays unfinished and visible; it holds nobody up.
async fn deployment(app: &Arc<App>, record: DeploymentRecord) {
    let id = record.deployment.id;
    let key = record.deployment.key();
    let target = match app.target(&key.project, &key.environment) {
        Ok(target) => target,
        Err(reason) => {
            tracing::error!("deployment {id} was interrupted and cannot be ended: {reason}");
            return;
        }
    };
    tracing::info!("deployment {id} to {} was interrupted; it is ended", key.environment);
    let holder = former_holder(app, &record);
    match deploy::recover(record, target, app.ledger(), holder, app.checks()).await {
        Ok(deployed) => tracing::info!("deployment {id} ended: {}", deployed.state),
        Err(error) => {
            tracing::error!("deployment {id} could not be ended: {}", runner::causes(&error));
        }
    }
}

/// Who held the lock: our former process. By its name the lock need not run out
/// first. Should the name be another one, it does, which takes half a minute.
fn former_holder(app: &App, record: &DeploymentRecord) -> String {
    match (record.deployment.kind, record.deployment.run) {
        (DeploymentKind::Deploy, Some(run)) => {
            format!("run {} of {}", run.short(), record.deployment.by)
        }
        _ => app.holder(),
    }
}
