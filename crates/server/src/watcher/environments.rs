//! The server's watchers: one for each environment it deploys to, at its pace.

use std::sync::Arc;
use std::time::Duration;

use deploy::{EnvironmentKey, Limits, Policy, Request};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{Mails, WatchError, Watcher};
use crate::app::App;
use crate::serve::LoopError;

/// Environments looked at at once: each look is some questions to an engine.
const AT_ONCE: usize = 8;

/// Watches until `drain`. A repair that has begun is carried to its end by the loop of
/// deployments.
pub(crate) async fn run(app: Arc<App>, drain: CancellationToken) -> Result<(), LoopError> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for (project, entry) in &app.config.projects {
        for (environment, settings) in &entry.environments {
            let key = EnvironmentKey { project: project.clone(), environment: environment.clone() };
            // Said once at the start already.
            let Ok(target) = app.target(project, environment) else { continue };
            let (store, every) = (app.store.clone(), app.config.watch.every);
            let watcher = Watcher::new(store, key.clone(), target, every, settings.ensure)
                .telling(Mails::new(Arc::clone(&app)));
            let span = tracing::info_span!("watch", project, environment);
            let watching =
                watch(Arc::clone(&app), key, watcher, Arc::clone(&places), drain.clone());
            tasks.spawn(watching.instrument(span));
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    drain.cancelled().await;
    Ok(())
}

async fn watch(
    app: Arc<App>,
    key: EnvironmentKey,
    mut watcher: Watcher,
    places: Arc<Semaphore>,
    drain: CancellationToken,
) -> Result<(), LoopError> {
    let mut blind = false;
    loop {
        let pause = with_jitter(app.config.watch.every, rand::random());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = drain.cancelled() => return Ok(()),
        }
        let looking = async {
            // It is never closed.
            let _place = places.acquire().await;
            watcher.look().await
        };
        let watched = tokio::select! {
            watched = looking => watched,
            () = drain.cancelled() => return Ok(()),
        };
        let watched = match watched {
            Ok(watched) => watched,
            Err(error) if error.is_temporary() => {
                tracing::warn!("a look came to nothing: {}", runner::causes(&error));
                continue;
            }
            Err(error) => return Err(broken(error)),
        };
        if let Some(why) = watched.blind.as_ref().filter(|_| !blind) {
            tracing::warn!("{} cannot be seen: {why}", key.environment);
        }
        blind = watched.blind.is_some();
        for event in &watched.events {
            tracing::info!(kind = ?event.kind, "{}/{}", key.project, key.environment);
        }
        let Some(deployment) = watched.repair else { continue };
        let reason = deployment.reason.clone().unwrap_or_default();
        tracing::info!("{}/{}: repairing: {reason}", key.project, key.environment);
        let Ok(target) = app.target(&key.project, &key.environment) else { continue };
        let request =
            Request { deployment, holder: app.holder(), policy: Policy::default(), runner: None };
        // Whoever has the lock meanwhile changes what there is to repair.
        let limits = Limits { lock_wait: Duration::ZERO, ..Limits::default() };
        let ordered = app.desk.order(&app.abort, request, limits, target).await;
        let Ok(ended) = ordered else { return Ok(()) };
        tokio::select! {
            // How it ended is told by its events, and by the next look.
            _ = ended => {}
            () = drain.cancelled() => return Ok(()),
        }
    }
}

fn broken(error: WatchError) -> LoopError {
    error.into()
}

/// Up to a tenth more or less, so that environments do not march in step.
fn with_jitter(pause: Duration, random: u8) -> Duration {
    pause.mul_f64(0.9 + 0.2 * f64::from(random) / 255.0)
}
