//! What a former process of this home left unfinished is ended before a new run.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::Utc;
use deploy::{DeploymentRecord, Ledger as _};
use event::RunId;
use pipeline::Environment;
use runner::backend::Backend as _;
use runner::backend::docker::DockerBackend;
use runner::{CancelNote, Registries, RunConfig, SideEffects, Workspace};
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::error::{CommandError, Context as _};
use crate::home::Home;
use crate::local_environment;
use crate::published;

/// How far back the run that named an environment's target is looked for.
const HISTORY: u32 = 200;

/// Ends runs whose process is gone, with a stated verdict, and removes what they
/// left on the engine. Runs of other processes that live are not touched.
pub(crate) async fn recover(
    home: &Home,
    store: &Store,
    backend: &Arc<DockerBackend>,
) -> Result<(), CommandError> {
    let _alone = home.alone().await?;
    deployments(home, store).await?;
    let unfinished = store.unfinished_runs().await.environment("cannot read the runs")?;
    let (alive, dead): (Vec<_>, Vec<_>) =
        unfinished.into_iter().partition(|row| home.is_alive(row.id));
    for row in &dead {
        end(home, store, backend, row.id).await?;
    }
    let alive: Vec<RunId> = alive.iter().map(|row| row.id).collect();
    backend
        .sweep(store.instance(), &alive)
        .await
        .environment("cannot clean up after former runs")?;
    published::expire(home, store).await
}

async fn end(
    home: &Home,
    store: &Store,
    backend: &Arc<DockerBackend>,
    run: RunId,
) -> Result<(), CommandError> {
    let state = store.run_state(run).await.environment("cannot read a former run")?;
    if state.plan.is_none() {
        return Ok(());
    }
    let had_not_begun = state.stages.values().all(|stage| stage.attempts.is_empty());
    let row = store.run(run).await.environment("cannot read a former run")?;
    let Some(row) = row else { return Ok(()) };
    let folder = home.find(run).unwrap_or_else(std::env::temp_dir);
    let config = RunConfig {
        run,
        state,
        instance: store.instance().to_owned(),
        project: row.project,
        run_url: String::new(),
        workspace: Workspace::Tree(std::path::PathBuf::from("/nonexistent")),
        git: pipeline::Git::default(),
        output: folder.join("output"),
        artifacts: folder.join("artifacts"),
        registries: Registries::default(),
        secrets: runner::Secrets::default(),
        targets: Default::default(),
        ledger: Arc::new(store.clone()),
        concurrency: 1,
        side_effects: SideEffects::Withheld,
        keep_layers: false,
        cache_limit: runner::CACHE_LIMIT,
        observer: None,
        kill: CancellationToken::new(),
        cancel_note: CancelNote::default(),
    };
    // A run that had begun ends by itself. One that had not would begin now, from
    // files that may be others by now: it is cancelled.
    let cancel = CancellationToken::new();
    if had_not_begun {
        cancel.cancel();
    }
    let journal = Arc::new(server::StoreJournal::new(store.clone()));
    runner::run(config, Arc::clone(backend) as _, journal, cancel)
        .await
        .environment("cannot end a former run")?;
    Ok(())
}

/// Completes or takes back what nobody works on any more, also of runs that have
/// ended. What cannot be ended stays unfinished, and holds no new run up.
async fn deployments(home: &Home, store: &Store) -> Result<(), CommandError> {
    let unfinished = store.unfinished().await.environment("cannot read the deployments")?;
    for record in unfinished {
        if is_abandoned(home, store, &record).await?
            && let Err(error) = deployment(store, record).await
        {
            error.warn();
        }
    }
    Ok(())
}

async fn is_abandoned(
    home: &Home,
    store: &Store,
    record: &DeploymentRecord,
) -> Result<bool, CommandError> {
    let deployment = &record.deployment;
    if let Some(run) = deployment.run {
        return Ok(!home.is_alive(run));
    }
    // A rollback has no lock but that of its environment, which it keeps while it
    // lives; before it has it, it may be waiting for it.
    let now = Utc::now();
    if record.fence == 0 {
        let waited = (now - record.requested_at).to_std().unwrap_or_default();
        return Ok(waited > 2 * deploy::Limits::default().lock_wait);
    }
    let held = store.held(&deployment.key(), now).await.environment("cannot read the locks")?;
    Ok(held.is_none_or(|held| held.deployment != deployment.id))
}

async fn deployment(store: &Store, record: DeploymentRecord) -> Result<(), CommandError> {
    let environment = record.deployment.spec.environment.clone();
    let what = format!("a former deployment to `{environment}` has no end yet");
    let environments = environments(store, &record).await?;
    let target = local_environment::target_of(&record, &environments, store)
        .await
        .map_err(|error| error.within(&what))?
        .ok_or_else(|| {
            CommandError::environment(format_args!("{what}: nothing tells what its target was"))
        })?;
    // Its process is dead: nobody has to wait until its lease runs out.
    store.forfeit_lock(record.deployment.id).await.environment(&what)?;
    let holder = format!("local:{}", std::process::id());
    deploy::recover(record, target, Arc::new(store.clone()), holder).await.environment(&what)?;
    Ok(())
}

/// The environments as they were when this one was deployed to last: the pipeline
/// file of today may know others.
async fn environments(
    store: &Store,
    record: &DeploymentRecord,
) -> Result<BTreeMap<String, Environment>, CommandError> {
    const WHAT: &str = "cannot read what was deployed";
    let mut run = record.deployment.run;
    if run.is_none() {
        let history = store.history(&record.deployment.key(), HISTORY).await.environment(WHAT)?;
        run = history.iter().find_map(|record| record.deployment.run);
    }
    let Some(run) = run else { return Ok(BTreeMap::new()) };
    let state = store.run_state(run).await.environment(WHAT)?;
    Ok(state.plan.map(|plan| plan.environments.clone()).unwrap_or_default())
}

#[cfg(test)]
mod tests;
