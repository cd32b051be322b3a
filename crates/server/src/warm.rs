//! Units that were replaced are removed when their `keep-warm` is over.

use std::sync::Arc;
use std::time::Duration;

use deploy::{EnvironmentKey, Ledger};

use crate::app::App;
use crate::serve::LoopError;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(60);

/// Removes until the server is closing. A target that is away is asked again.
pub(crate) async fn run(app: Arc<App>) -> Result<(), LoopError> {
    loop {
        for (project, entry) in &app.config.projects {
            for environment in entry.environments.keys() {
                let key =
                    EnvironmentKey { project: project.clone(), environment: environment.clone() };
                tokio::select! {
                    () = sweep(&app, &key) => {}
                    () = app.closing.cancelled() => return Ok(()),
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = app.closing.cancelled() => return Ok(()),
        }
    }
}

async fn sweep(app: &App, key: &EnvironmentKey) {
    // Said once at the start already.
    let Ok(target) = app.target(&key.project, &key.environment) else { return };
    let ledger: Arc<dyn Ledger> = Arc::new(app.store.clone());
    match deploy::sweep(key, &app.holder(), target, ledger).await {
        Ok(removed) => {
            for unit in removed {
                tracing::info!(%unit, "was kept warm long enough, and is removed");
            }
        }
        Err(error) => {
            let environment = &key.environment;
            tracing::debug!(%error, project = key.project, environment, "warm units stay longer");
        }
    }
}
