//! After a start: what a former process left gets an end before anything begins.
//!
//! Nobody else uses the data directory, so whatever is unfinished is ours and
//! nobody works on it. Waiting runs keep their place; begun ones end with a
//! stated verdict; deployments are completed or taken back.

use std::sync::Arc;

use deploy::{DeploymentRecord, Ledger as _};
use event::DeploymentKind;
use store::{RunRow, RunStatus};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::execute::execute;
use crate::app::App;
use crate::serve::LoopError;

pub(super) async fn recover(app: &Arc<App>, drain: &CancellationToken) -> Result<(), LoopError> {
    tokio::select! {
        recovered = end_all(app) => recovered,
        // Dropped half-way it is like another crash: the next start goes on.
        () = drain.cancelled() => Ok(()),
    }
}

async fn end_all(app: &Arc<App>) -> Result<(), LoopError> {
    // Nothing of this instance runs yet, so nothing on the engine is alive.
    match app.backend.sweep(app.store.instance(), &[]).await {
        Ok(0) => {}
        Ok(count) => {
            tracing::info!("removed {count} objects that a former process left on the engine");
        }
        // The runs themselves will say it if the engine stays away.
        Err(error) => tracing::warn!("cannot clean up the engine: {}", runner::causes(&error)),
    }
    let unfinished = app.store.unfinished_runs().await?;
    let deployments = app.store.unfinished().await?;
    let (ended, ()) = tokio::join!(runs(app, unfinished), take_up(app, deployments));
    ended
}

async fn runs(app: &Arc<App>, unfinished: Vec<RunRow>) -> Result<(), LoopError> {
    for row in unfinished {
        match row.status {
            RunStatus::Queued | RunStatus::Finished => {}
            RunStatus::Leased => {
                app.store.requeue(row.id).await?;
            }
            RunStatus::Running => {
                tracing::info!(run.id = %row.id, "run {} was interrupted; it is ended", row.id);
                execute(Arc::clone(app), row).await?;
            }
        }
    }
    Ok(())
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
    match deploy::recover(record, target, app.ledger(), holder).await {
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
