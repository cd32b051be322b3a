//! One look at a repository: what moved is recorded, what is recorded is decided.

use chrono::Utc;
use runner::git::{self, Credential, GitError, NameError, RefKind, Sha};
use runner::template::TemplateError;
use store::{Heads, Project, QueueError, StoreError, Trigger, Verdict};

use super::decide;
use crate::app::App;
use crate::reference;

#[derive(Debug, thiserror::Error)]
pub(crate) enum VisitError {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("the database failed")]
    Store(#[from] StoreError),
    #[error("a run could not be queued")]
    Queue(#[source] QueueError),
}

/// Looks at a repository, and decides everything of its project that is pending.
pub(crate) async fn visit(app: &App, project: &Project) -> Result<(), VisitError> {
    let before = app.store.heads(&project.name).await?.unwrap_or_default();
    let asked_at = Utc::now();
    let heads = look(project).await?;
    let moved = record(app, project, &heads, asked_at).await?;
    let mut pending = app.store.pending_triggers().await?;
    pending.retain(|trigger| trigger.project == project.name);
    if pending.is_empty() {
        return Ok(());
    }
    fetch(app, project).await?;
    for trigger in pending {
        let is_new = moved.iter().any(|moved| moved.id == trigger.id);
        if is_new && is_reported(app, project, &before, &trigger).await? {
            let reference = trigger.reference.as_deref().unwrap_or_default();
            let sha = trigger.sha.as_deref().unwrap_or_default();
            let reason = format!("ignored: `{reference}` was already reported at {sha}");
            app.store.decide_trigger(trigger.id, Verdict::Ignored, &reason, Utc::now()).await?;
        } else {
            decide::decide(app, project, &trigger, &before).await?;
        }
    }
    Ok(())
}

/// Asks the remote where its branches and tags are.
pub(crate) async fn look(project: &Project) -> Result<Heads, VisitError> {
    let url = reference::repository(&project.git_url)?;
    let remote = git::ls_remote(&url, credential(project).as_ref()).await?;
    let full = |kind, name: &str| match kind {
        RefKind::Branch => format!("refs/heads/{name}"),
        RefKind::Tag => format!("refs/tags/{name}"),
    };
    Ok(remote
        .refs
        .iter()
        .map(|reference| (full(reference.kind, &reference.name), reference.sha.to_string()))
        .collect())
}

/// Records where the refs are, and a trigger for each that moved.
pub(crate) async fn record(
    app: &App,
    project: &Project,
    heads: &Heads,
    asked_at: chrono::DateTime<Utc>,
) -> Result<Vec<Trigger>, StoreError> {
    let moved = app.store.record_heads(&project.name, heads, asked_at).await?;
    for trigger in &moved {
        let reference = trigger.reference.as_deref().unwrap_or_default();
        let sha = trigger.sha.as_deref().unwrap_or_default();
        tracing::info!(
            project = project.name,
            "project {}: {reference} is now at {sha}",
            project.name
        );
    }
    Ok(moved)
}

/// Brings the mirror of a project up to date.
pub(crate) async fn fetch(app: &App, project: &Project) -> Result<(), VisitError> {
    let url = reference::repository(&project.git_url)?;
    let mirror = app.data.mirror(&project.name);
    if let Some(folder) = mirror.parent() {
        std::fs::create_dir_all(folder).map_err(GitError::Start)?;
    }
    let _right = app.repositories.mirror(&project.name).await;
    git::fetch_mirror(&url, credential(project).as_ref(), &mirror).await?;
    Ok(())
}

/// Whether a look reports what another trigger reported before: a webhook that
/// came late had set the head back to an older commit of the same history.
async fn is_reported(
    app: &App,
    project: &Project,
    before: &Heads,
    trigger: &Trigger,
) -> Result<bool, VisitError> {
    let (Some(reference), Some(sha)) = (&trigger.reference, &trigger.sha) else { return Ok(false) };
    let Some(from) = before.get(reference) else { return Ok(false) };
    let (Ok(from), Ok(to)) = (Sha::parse(from), Sha::parse(sha)) else { return Ok(false) };
    let earlier = app.store.triggers(&project.name, 200, Some(trigger.id)).await?;
    let known = earlier.iter().any(|earlier| {
        earlier.reference.as_ref() == Some(reference)
            && earlier.sha.as_ref() == Some(sha)
            && matches!(earlier.verdict, Verdict::Started | Verdict::Failed)
    });
    // A branch that was set back by force and forward again is a new push.
    Ok(known && git::is_ancestor(&app.data.mirror(&project.name), &from, &to).await?)
}

pub(super) fn credential(project: &Project) -> Option<Credential> {
    project.git_key.clone().map(|file| Credential::Key { file })
}

impl From<QueueError> for VisitError {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Store(error) => Self::Store(error),
            error => Self::Queue(error),
        }
    }
}
