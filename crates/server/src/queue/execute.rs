//! One run: what it needs is put together, and the runner brings it to its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use deploy::Target;
use event::RunState;
use pipeline::{Decision, Git, Plan, Work};
use runner::git::{self, Sha};
use runner::{CancelNote, RunConfig, RunError, SideEffects, Workspace};
use store::{RunRow, StoreError};
use tokio_util::sync::CancellationToken;

use super::StoreJournal;
use super::refuse::{Refusal, refuse};
use crate::app::App;

/// Between two tries to end a run whose journal could not be written.
const PAUSE: Duration = Duration::from_secs(5);

/// Brings a run to its end. A fault of the store that passes delays it; one
/// that does not is the caller's.
pub(super) async fn execute(app: Arc<App>, row: RunRow) -> Result<(), StoreError> {
    loop {
        match attempt(&app, &row).await {
            Ok(()) => return Ok(()),
            Err(Fault::Store(error)) if !error.is_temporary() => return Err(error),
            Err(error) => {
                tracing::error!(run.id = %row.id, "run {}: {}", row.id, runner::causes(&error));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            // It has no end yet, and gets one at the next start.
            () = app.abort.cancelled() => return Ok(()),
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the database failed")]
    Store(#[from] StoreError),
    #[error("the run could not be brought to its end")]
    Run(#[from] RunError),
    #[error("the refusal of the run could not be written")]
    Refuse(#[source] runner::JournalError),
}

async fn attempt(app: &Arc<App>, row: &RunRow) -> Result<(), Fault> {
    let state = app.store.run_state(row.id).await?;
    if state.result.is_some() {
        return Ok(());
    }
    let journal = Arc::new(StoreJournal::of(app, row, state.clone()));
    let targets = match state.plan.as_deref().map(|plan| targets(app, row, plan)) {
        Some(Ok(targets)) => targets,
        Some(Err(refusal)) if state.started_at.is_none() => {
            tracing::info!("run {} is refused: {}", row.id, refusal.reason);
            return refuse(&*journal, row.id, &state, &refusal).await.map_err(Fault::Refuse);
        }
        // A run that has begun says it where it would deploy.
        Some(Err(_)) | None => BTreeMap::new(),
    };
    let config = config(app, row, state, targets).await;
    let does = if config.state.started_at.is_some() { "goes on" } else { "starts" };
    tracing::info!("run {} {does}: {} #{} at {}", row.id, row.pipeline, row.number, row.sha);
    let cancel = app.abort.child_token();
    let kept = config.keep_layers;
    let ended = runner::run(config, Arc::clone(&app.backend), journal, cancel).await;
    if kept {
        super::results::trim(app).await;
    }
    match ended {
        Ok(outcome) => {
            tracing::info!("run {} ended: {}", row.id, outcome.result);
            Ok(())
        }
        // What is in the journal is the truth; the next try goes on from it.
        Err(error @ (RunError::Journal(_) | RunError::Illegal(_))) => Err(error.into()),
        // No try will ever succeed.
        Err(error @ (RunError::NoPlan | RunError::Plan(_) | RunError::Masker(_))) => {
            tracing::error!("run {} cannot be executed: {}", row.id, runner::causes(&error));
            let state = app.store.run_state(row.id).await?;
            let journal = StoreJournal::of(app, row, state.clone());
            let refusal = Refusal { stage: None, reason: runner::causes(&error) };
            refuse(&journal, row.id, &state, &refusal).await.map_err(Fault::Refuse)
        }
    }
}

async fn config(
    app: &App,
    row: &RunRow,
    state: RunState,
    targets: BTreeMap<String, Arc<dyn Target>>,
) -> RunConfig {
    let mirror = app.data.mirror(&row.project);
    let cancel_note = CancelNote::default();
    // The only token that cancels runs of a server is that of its stop.
    cancel_note.write("the server is stopping", "shipline");
    // What stages with `inputs` leave may stand for later ones.
    let keep_layers =
        state.plan.iter().any(|plan| plan.stages.iter().any(|stage| !stage.inputs.is_empty()));
    RunConfig {
        run: row.id,
        state,
        instance: app.store.instance().to_owned(),
        project: row.project.clone(),
        run_url: app.run_url(row.id),
        git: commit(app, row).await,
        workspace: Workspace::Commit { mirror, sha: row.sha.clone() },
        output: app.data.output(row.id),
        carried: BTreeMap::new(),
        artifacts: app.data.artifacts(row.id),
        releases: app.data.releases(),
        registries: app.registries.clone(),
        secrets: runner::Secrets::default(),
        targets,
        ledger: app.ledger(),
        // Approvals of a server are another way to ask.
        approver: None,
        breakpoint: None,
        results: Some(Arc::new(app.results())),
        reuse: true,
        concurrency: app.config.runner.stages,
        side_effects: SideEffects::Allowed,
        keep_layers,
        durable: true,
        cache_limit: app.config.runner.cache_limit,
        // Followers are told by the journal, and read output from its files.
        observer: None,
        kill: CancellationToken::new(),
        cancel_note,
    }
}

/// What stages are told of their commit.
async fn commit(app: &App, row: &RunRow) -> Git {
    let mut git = Git {
        sha: row.sha.clone(),
        branch: row.branch.clone(),
        tag: row.tag.clone(),
        ..Git::default()
    };
    if let Ok(Some(project)) = app.store.project(&row.project).await {
        git.default_branch = project.default_branch;
        git.url = project.git_url;
    }
    let Ok(sha) = Sha::parse(&row.sha) else { return git };
    // A commit that is gone by now is the checkout's to report.
    if let Ok(commit) = git::commit(&app.data.mirror(&row.project), &sha).await {
        git.message = commit.message;
        git.author = format!("{} <{}>", commit.author_name, commit.author_email);
    }
    git
}

/// The targets of the environments that the plan deploys to, if all of them are
/// granted to the project.
fn targets(
    app: &App,
    row: &RunRow,
    plan: &Plan,
) -> Result<BTreeMap<String, Arc<dyn Target>>, Refusal> {
    let mut targets = BTreeMap::new();
    for stage in &plan.stages {
        if let (Work::Deploy(work), Decision::Run) = (&stage.work, stage.state) {
            let target = app
                .target(&row.project, &work.environment)
                .map_err(|reason| Refusal { stage: Some(stage.name.clone()), reason })?;
            targets.insert(work.environment.clone(), target);
        }
    }
    Ok(targets)
}
