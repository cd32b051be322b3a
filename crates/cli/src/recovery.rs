//! What a former process of this home left unfinished is ended before a new run.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::Utc;
use deploy::{DeploymentRecord, Ledger as _, Limits, Progress};
use event::{DeploymentId, RunId, RunState, StageResult};
use pipeline::Environment;
use runner::backend::Backend as _;
use runner::backend::docker::DockerBackend;
use runner::{CancelNote, Outcome, Registries, RunConfig, SideEffects, Workspace};
use store::{RunRow, Store};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug_span};

use crate::error::{CommandError, Context as _};
use crate::home::Home;
use crate::local_checks;
use crate::local_environment;
use crate::local_run::ROOM;
use crate::published;
use crate::terminal::visible;

/// How far back the run that named an environment's target is looked for.
const HISTORY: u32 = 200;
/// Lines that may wait for a slow terminal.
const PROGRESS: usize = 64;

/// Ends runs whose process is gone, with a stated verdict, and removes what they
/// left on the engine. Runs of other processes that live are not touched. Says what it did.
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
        if let Some(outcome) = end(home, store, backend, row.id).await? {
            tell(row, &outcome);
        }
    }
    let alive: Vec<RunId> = alive.iter().map(|row| row.id).collect();
    backend
        .sweep(store.instance(), &alive)
        .instrument(debug_span!("sweep"))
        .await
        .environment("cannot clean up after former runs")?;
    published::expire(home, store).await
}

/// Ends deployments that nobody works on any more, before there is another one.
pub(crate) async fn recover_deployments(home: &Home, store: &Store) -> Result<(), CommandError> {
    let _alone = home.alone().await?;
    deployments(home, store).await
}

/// What became of a run that a dead process left, and what somebody can do now.
fn tell(row: &RunRow, outcome: &Outcome) {
    let (run, project, result) = (row.id.short(), &row.project, outcome.result);
    crate::commands::note(&format!("run {run} of `{project}` did not end: its process died"));
    match &outcome.left_behind {
        None => {
            crate::commands::note(&format!(
                "it is ended now, as {result}, and what it left on the engine is removed"
            ));
        }
        Some(left) => {
            crate::commands::note(&format!("it is ended now, as {result}"));
            left_behind(left);
        }
    }
    let passed: Vec<&str> = passed(&outcome.state).collect();
    if !passed.is_empty() {
        crate::commands::note(&format!(
            "what passed of it stays until another run of its directory has ended, and \
             `shipline rerun {run}` goes on from there: {}",
            passed.join(", ")
        ));
    }
}

fn passed(state: &RunState) -> impl Iterator<Item = &str> {
    let stages = state.plan.iter().flat_map(|plan| &plan.stages).map(|stage| stage.name.as_str());
    stages.filter(|name| {
        state.result_of(name).is_some_and(|result| {
            matches!(result, StageResult::Passed | StageResult::Warning | StageResult::Unchanged)
        })
    })
}

/// Not everything of a run could be removed; that changes no verdict.
pub(crate) fn left_behind(what: &str) {
    CommandError::environment(format_args!(
        "what the run left on the engine is still there: {what}"
    ))
    .hint("the next `shipline run` removes it, and `shipline clean` does")
    .warn();
}

/// Returns nothing where there was nothing to end.
async fn end(
    home: &Home,
    store: &Store,
    backend: &Arc<DockerBackend>,
    run: RunId,
) -> Result<Option<Outcome>, CommandError> {
    let state = store.run_state(run).await.environment("cannot read a former run")?;
    if state.plan.is_none() {
        return Ok(None);
    }
    let had_not_begun = state.stages.values().all(|stage| stage.attempts.is_empty());
    let row = store.run(run).await.environment("cannot read a former run")?;
    let Some(row) = row else { return Ok(None) };
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
        carried: BTreeMap::new(),
        artifacts: folder.join("artifacts"),
        releases: home.releases(),
        registries: Registries::default(),
        secrets: runner::Secrets::default(),
        targets: Default::default(),
        ledger: Arc::new(store.clone()),
        approver: None,
        breakpoint: None,
        results: None,
        reuse: false,
        concurrency: 1,
        side_effects: SideEffects::Withheld,
        // What passed stays for a `rerun`.
        keep_layers: true,
        durable: false,
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
    let journal = Arc::new(server::StoreJournal::new(store.clone()).waiting_for(ROOM));
    let ended = runner::run(config, Arc::clone(backend) as _, journal, cancel).await;
    ended.environment("cannot end a former run").map(Some)
}

/// Carries on a deployment that nobody works on any more; returns whether it was that.
pub(crate) async fn take_up(
    home: &Home,
    store: &Store,
    id: DeploymentId,
) -> Result<bool, CommandError> {
    let _alone = home.alone().await?;
    let record = store.deployment(id).await.environment("cannot read the deployment")?;
    let Some(record) = record.filter(|record| record.state.is_none()) else { return Ok(false) };
    if !is_abandoned(home, store, &record).await? {
        return Ok(false);
    }
    crate::commands::note("its process is dead: this one carries it on");
    let (told, mut lines) = mpsc::channel(PROGRESS);
    let tell = async {
        while let Some(Progress { line, .. }) = lines.recv().await {
            crate::commands::note(&visible(&line));
        }
    };
    let (carried_on, ()) = tokio::join!(deployment(store, record, told), tell);
    carried_on?;
    Ok(true)
}

/// Completes or takes back what nobody works on any more, also of runs that have
/// ended. What cannot be ended stays unfinished, and holds no new run up; nor does what
/// waits for somebody's decision, who then carries it on.
async fn deployments(home: &Home, store: &Store) -> Result<(), CommandError> {
    let unfinished = store.unfinished().await.environment("cannot read the deployments")?;
    for record in unfinished {
        if !is_abandoned(home, store, &record).await? {
            continue;
        }
        if let Some(until) = record.held_until.filter(|until| *until > Utc::now()) {
            let environment = &record.deployment.spec.environment;
            crate::commands::note(&format!(
                "deployment {} waits for a decision until {}: `shipline decide {environment} \
                 continue` or `shipline decide {environment} rollback`",
                record.deployment.id.short(),
                until.format("%H:%M UTC")
            ));
        } else if let Err(error) = deployment(store, record, mpsc::channel(1).0).await {
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
        return Ok(waited > 2 * Limits::default().lock_wait);
    }
    let held = store.held(&deployment.key(), now).await.environment("cannot read the locks")?;
    Ok(held.is_none_or(|held| held.deployment != deployment.id))
}

async fn deployment(
    store: &Store,
    record: DeploymentRecord,
    told: mpsc::Sender<Progress>,
) -> Result<(), CommandError> {
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
    let (limits, ledger) = (Limits::default(), Arc::new(store.clone()));
    let runner = local_checks::of_former(&record.deployment.spec, store).await;
    let ended = deploy::recover_within(record, limits, target, ledger, holder, runner, told).await;
    ended.environment(&what)?;
    Ok(())
}

/// The environments as they were when this one was deployed to last: the pipeline
/// file of today may know others.
pub(crate) async fn environments(
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
