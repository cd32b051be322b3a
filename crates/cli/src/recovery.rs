//! What a former process of this home left unfinished is ended before a new run.

use std::sync::Arc;

use deploy::Ledger as _;
use event::RunId;
use pipeline::Plan;
use runner::backend::Backend as _;
use runner::backend::docker::DockerBackend;
use runner::{CancelNote, Registries, RunConfig, SideEffects, Workspace};
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::error::{CommandError, Context as _};
use crate::home::Home;
use crate::local_environment;

/// Ends runs whose process is gone, with a stated verdict, and removes what they
/// left on the engine. Runs of other processes that live are not touched.
pub(crate) async fn recover(
    home: &Home,
    store: &Store,
    backend: &Arc<DockerBackend>,
) -> Result<(), CommandError> {
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
    Ok(())
}

async fn end(
    home: &Home,
    store: &Store,
    backend: &Arc<DockerBackend>,
    run: RunId,
) -> Result<(), CommandError> {
    let state = store.run_state(run).await.environment("cannot read a former run")?;
    let Some(plan) = state.plan.clone() else { return Ok(()) };
    let had_not_begun = state.stages.values().all(|stage| stage.attempts.is_empty());
    deployments(store, run, &plan).await?;
    let row = store.run(run).await.environment("cannot read a former run")?;
    let Some(row) = row else { return Ok(()) };
    let config = RunConfig {
        run,
        state,
        instance: store.instance().to_owned(),
        project: row.project,
        run_url: String::new(),
        workspace: Workspace::Tree(std::path::PathBuf::from("/nonexistent")),
        git: pipeline::Git::default(),
        output: home.find(run).unwrap_or_else(std::env::temp_dir).join("output"),
        registries: Registries::default(),
        targets: Default::default(),
        ledger: Arc::new(store.clone()),
        concurrency: 1,
        side_effects: SideEffects::Withheld,
        keep_layers: false,
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

/// Completes or takes back the deployments of a dead run.
async fn deployments(store: &Store, run: RunId, plan: &Plan) -> Result<(), CommandError> {
    let unfinished = store.unfinished().await.environment("cannot read the deployments")?;
    for record in unfinished.into_iter().filter(|record| record.deployment.run == Some(run)) {
        let target = local_environment::target_of(&record, &plan.environments, store).await?;
        let Some(target) = target else { continue };
        let holder = format!("local:{}", std::process::id());
        deploy::recover(record, target, Arc::new(store.clone()), holder)
            .await
            .environment("cannot end a former deployment")?;
    }
    Ok(())
}
