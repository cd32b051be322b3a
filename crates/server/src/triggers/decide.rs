//! What becomes of a trigger: a run, or a sentence that says why there is none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::Utc;
use event::RunId;
use pipeline::{Context, Git, Offers, Place, Plan, TriggerEvent};
use runner::SideEffects;
use runner::git::{self, Credential, GitError, Sha};
use runner::template::{TemplateError, TemplateSources, Tree};
use serde_json::Value;
use store::{
    Heads, NewRun, NewTrigger, Project, QueueError, Recorded, RunRow, Trigger, TriggerId, Verdict,
};
use uuid::Uuid;

use super::VisitError;
use super::file::{self, Answer, Layout};
use super::template::Hosts;
use super::visit;
use crate::app::App;
use crate::reference::Reference;

/// How far back the last push to a branch is looked for.
const HISTORY: u32 = 200;

/// What was decided. Every trigger behind it has its verdict in the store.
#[derive(Clone, Debug)]
pub(crate) enum Decided {
    Started(Box<RunRow>),
    /// Nothing is to be done.
    Ignored(String),
    /// A run was due and could not be made.
    Failed(String),
    /// The commit has several pipelines: one answer each, by file.
    Several(Vec<(String, Decided)>),
}

/// Decides a pending trigger. The mirror of its project is up to date, and `before`
/// is where its references stood when they were asked for last.
///
/// A repository that cannot be read although it was fetched cannot be read
/// tomorrow either: that is a decision, and keeps no other trigger waiting.
pub(crate) async fn decide(
    app: &App,
    project: &Project,
    trigger: &Trigger,
    before: &Heads,
) -> Result<Decided, VisitError> {
    match read(app, project, trigger, before).await {
        Err(VisitError::Git(error) | VisitError::Template(TemplateError::Git(error)))
            if is_lasting(&error) =>
        {
            settle(app, trigger, Decided::Failed(runner::causes(&error))).await
        }
        decided => decided,
    }
}

fn is_lasting(error: &GitError) -> bool {
    match error {
        GitError::TooLong { .. }
        | GitError::Failed { .. }
        | GitError::Unexpected { .. }
        | GitError::Gone { .. }
        | GitError::Name(_) => true,
        GitError::NotInstalled | GitError::Start(_) | GitError::TimedOut { .. } => false,
    }
}

async fn read(
    app: &App,
    project: &Project,
    trigger: &Trigger,
    before: &Heads,
) -> Result<Decided, VisitError> {
    let subject = match subject(app, project, trigger, before).await? {
        Ok(subject) => subject,
        Err(decided) => return settle(app, trigger, decided).await,
    };
    if let Some(path) = own_file(trigger) {
        return one(app, trigger, &subject, path).await;
    }
    match file::layout(&subject.mirror, &subject.sha).await? {
        Layout::None => {
            let reason = format!(
                "ignored: commit {} has neither `.shipline.yml` nor `.shipline/*.yml`",
                subject.context.git.sha_short()
            );
            settle(app, trigger, Decided::Ignored(reason)).await
        }
        Layout::Both(text) => settle(app, trigger, Decided::Failed(text)).await,
        Layout::Files(files) => match files.as_slice() {
            [path] => one(app, trigger, &subject, path).await,
            files => split(app, trigger, &subject, files).await,
        },
    }
}

/// The commit a trigger is about.
struct Subject {
    mirror: PathBuf,
    sha: Sha,
    context: Context,
    credential: Option<Credential>,
}

/// Finds the commit of a trigger and checks that it is where the trigger says.
/// The inner error is a decision already.
async fn subject(
    app: &App,
    project: &Project,
    trigger: &Trigger,
    before: &Heads,
) -> Result<Result<Subject, Decided>, VisitError> {
    let failed = |reason: String| Ok(Err(Decided::Failed(reason)));
    let reference = match Reference::parse(trigger.reference.as_deref().unwrap_or_default()) {
        Ok(reference) => reference,
        Err(error) => return failed(error.to_string()),
    };
    let sha = match Sha::parse(trigger.sha.as_deref().unwrap_or_default()) {
        Ok(sha) => sha,
        Err(error) => return failed(error.to_string()),
    };
    let mirror = app.data.mirror(&project.name);
    let Some(tip) = git::resolve(&mirror, reference.name()).await? else {
        return Ok(Err(Decided::Ignored(format!("ignored: `{reference}` was deleted"))));
    };
    let commit = match git::commit(&mirror, &sha).await {
        Ok(commit) => commit,
        Err(GitError::Gone { .. }) => return failed(format!("commit {sha} is gone")),
        Err(error) => return Err(error.into()),
    };
    if !git::is_ancestor(&mirror, &sha, &tip).await? {
        return failed(format!("commit {sha} is not on `{reference}`"));
    }
    let event = match trigger.source.as_str() {
        "manual" => TriggerEvent::Manual,
        _ if reference.tag().is_some() => TriggerEvent::Tag,
        _ => TriggerEvent::Push,
    };
    let branch = match reference.branch() {
        Some(branch) => Some(branch.to_owned()),
        None => branch_of_tag(&mirror, &sha, project).await?,
    };
    let context = Context {
        event,
        git: Git {
            sha: sha.to_string(),
            branch,
            tag: reference.tag().map(str::to_owned),
            message: commit.message,
            author: format!("{} <{}>", commit.author_name, commit.author_email),
            default_branch: project.default_branch.clone(),
            url: project.git_url.clone(),
        },
        pull_request: None,
        params: params(app, trigger).await?,
        changed: match event {
            TriggerEvent::Push => changed(app, trigger, &mirror, &sha, before).await?,
            // It brings no change of its own.
            _ => None,
        },
        offers: Offers {
            registries: Some(app.registries.named.keys().cloned().collect()),
            runners: Some(vec![app.config.runner.labels.clone()]),
            policy: app.config.policy(&project.name),
            // A server has none yet, and says so (E050) before anything starts.
            secrets: Some(BTreeMap::new()),
        },
        forced: std::collections::BTreeSet::new(),
        project: project.name.clone(),
        // A push needs write access, and a manual run the token.
        trusted: true,
        place: Place::Server { environments: app.config.environments(&project.name) },
    };
    Ok(Ok(Subject { mirror, sha, context, credential: visit::credential(project) }))
}

/// The default branch, when the tagged commit is on it: a tag alone says nothing of
/// where its commit lies.
async fn branch_of_tag(
    mirror: &Path,
    sha: &Sha,
    project: &Project,
) -> Result<Option<String>, VisitError> {
    let branch = &project.default_branch;
    let Ok(reference) = Reference::parse(branch) else { return Ok(None) };
    let on_it = match git::resolve(mirror, reference.name()).await? {
        Some(tip) => git::is_ancestor(mirror, sha, &tip).await?,
        None => false,
    };
    Ok(on_it.then(|| branch.clone()))
}

/// The paths that a push changed; `None` when that is not known: a new branch, one
/// that was set back, or a commit that is gone.
async fn changed(
    app: &App,
    trigger: &Trigger,
    mirror: &Path,
    sha: &Sha,
    before: &Heads,
) -> Result<Option<Vec<String>>, VisitError> {
    let Some(reference) = &trigger.reference else { return Ok(None) };
    // Of several pipelines each has a record of the same push.
    let since = trigger.delivery.as_deref().and_then(parent).unwrap_or(trigger.id);
    let earlier = app.store.triggers(&trigger.project, HISTORY, Some(since)).await?;
    let reported = earlier.iter().find(|earlier| {
        earlier.reference.as_ref() == Some(reference)
            && earlier.source != "manual"
            && earlier.sha.as_deref() != Some(sha.as_str())
    });
    let from = reported
        .and_then(|earlier| earlier.sha.as_deref())
        .or_else(|| before.get(reference).map(String::as_str))
        .filter(|from| *from != sha.as_str());
    let Some(Ok(from)) = from.map(Sha::parse) else { return Ok(None) };
    if !git::is_ancestor(mirror, &from, sha).await? {
        return Ok(None);
    }
    Ok(Some(git::changed_paths(mirror, &from, sha).await?))
}

/// What somebody gave a run that they started by hand.
async fn params(app: &App, trigger: &Trigger) -> Result<BTreeMap<String, Value>, VisitError> {
    if trigger.source != "manual" {
        return Ok(BTreeMap::new());
    }
    let body = match trigger.delivery.as_deref().and_then(parent) {
        Some(parent) => app.store.trigger(parent).await?.map(|parent| parent.body),
        None => Some(trigger.body.clone()),
    };
    // Without parameters there is no body.
    Ok(body.and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default())
}

/// Asks one file.
async fn one(
    app: &App,
    trigger: &Trigger,
    subject: &Subject,
    path: &str,
) -> Result<Decided, VisitError> {
    let hosts = Hosts {
        allowed: &app.config.templates.hosts,
        repository: &subject.context.git.url,
        credential: subject.credential.clone(),
    };
    let remote = |address: &str| hosts.remote(address);
    let sources = TemplateSources {
        tree: Tree::Commit { mirror: &subject.mirror, sha: &subject.sha },
        store: &app.data.templates(&trigger.project),
        offline: false,
        remote: &remote,
    };
    let answer =
        file::answer(&subject.mirror, &subject.sha, path, &subject.context, &sources).await?;
    let (plan, reason) = match answer {
        Answer::Plan { plan, reason } => (*plan, reason),
        Answer::NotForIt(reason) => {
            return settle(app, trigger, Decided::Ignored(format!("ignored: {reason}"))).await;
        }
        Answer::Invalid(text) => return settle(app, trigger, Decided::Failed(text)).await,
    };
    if let Some(text) = refusal(&plan) {
        return settle(app, trigger, Decided::Failed(text)).await;
    }
    let new = NewRun {
        run: RunId::new(Uuid::now_v7()),
        project: trigger.project.clone(),
        plan,
        by: trigger.by.clone().unwrap_or_else(|| by(&trigger.source)),
        trigger: Some(trigger.id),
        reason: Some(reason),
        at: Utc::now(),
    };
    let row = match app.store.queue_run(new).await {
        Ok(row) => row,
        // Somebody else was faster; what they decided stands in the store.
        Err(QueueError::Decided(id)) => return decided_already(app, id).await,
        Err(error) => return Err(error.into()),
    };
    tracing::info!(
        run.id = %row.id,
        project = row.project,
        "run {} of {} is queued: {} #{}", row.id, row.project, row.pipeline, row.number
    );
    app.hints.queue.notify_one();
    Ok(Decided::Started(Box::new(row)))
}

/// Everything that this version cannot run; then no run is queued.
fn refusal(plan: &Plan) -> Option<String> {
    let unsupported = runner::unsupported(plan, SideEffects::Allowed, false);
    let mut texts: Vec<String> = unsupported.iter().map(ToString::to_string).collect();
    if !plan.auto {
        let instead = match plan.event {
            TriggerEvent::Manual => "remove it from `on.manual`",
            _ => "start it by hand",
        };
        texts.push(format!(
            "error[E018]: `auto: false` holds the run until somebody starts it, which this version cannot do yet: {instead}\n  --> {}",
            plan.file
        ));
    }
    (!texts.is_empty()).then(|| texts.join("\n\n"))
}

/// Gives every pipeline of the commit a record of its own. The names of the
/// records tell them apart, so that a crash in between doubles nothing.
async fn split(
    app: &App,
    trigger: &Trigger,
    subject: &Subject,
    files: &[String],
) -> Result<Decided, VisitError> {
    let mut answers = Vec::new();
    for path in files {
        let own = NewTrigger {
            project: trigger.project.clone(),
            source: trigger.source.clone(),
            delivery: Some(format!("{}/{path}", trigger.id)),
            received_at: trigger.received_at,
            reference: trigger.reference.clone(),
            sha: trigger.sha.clone(),
            by: trigger.by.clone(),
            body: Vec::new(),
            moves_head: false,
        };
        let answer = match app.store.record_trigger(own).await? {
            Recorded::Duplicate(own) if own.verdict != Verdict::Pending => {
                decided_already(app, own.id).await?
            }
            Recorded::New(own) | Recorded::Duplicate(own) => one(app, &own, subject, path).await?,
        };
        answers.push((path.clone(), answer));
    }
    let reason = format!("there are {} pipelines, each with a record of its own", files.len());
    app.store.decide_trigger(trigger.id, Verdict::Ignored, &reason, Utc::now()).await?;
    Ok(Decided::Several(answers))
}

/// The file that a record made by [`split`] is about.
fn own_file(trigger: &Trigger) -> Option<&str> {
    let delivery = trigger.delivery.as_deref()?;
    parent(delivery)?;
    let (_, path) = delivery.split_once('/')?;
    (trigger.body_size == 0).then_some(path)
}

/// The record that one made by [`split`] belongs to.
fn parent(delivery: &str) -> Option<TriggerId> {
    delivery.split_once('/')?.0.parse().ok()
}

/// Writes down why there is no run.
async fn settle(app: &App, trigger: &Trigger, decided: Decided) -> Result<Decided, VisitError> {
    let (verdict, reason) = match &decided {
        Decided::Ignored(reason) => (Verdict::Ignored, reason),
        Decided::Failed(reason) => (Verdict::Failed, reason),
        Decided::Started(_) | Decided::Several(_) => return Ok(decided),
    };
    if !app.store.decide_trigger(trigger.id, verdict, reason, Utc::now()).await? {
        return decided_already(app, trigger.id).await;
    }
    tracing::info!(project = trigger.project, "trigger {} starts nothing: {reason}", trigger.id);
    Ok(decided)
}

async fn decided_already(app: &App, id: TriggerId) -> Result<Decided, VisitError> {
    let trigger = app.store.trigger(id).await?;
    let reason = trigger.as_ref().and_then(|trigger| trigger.reason.clone()).unwrap_or_default();
    if let Some(run) = trigger.as_ref().and_then(|trigger| trigger.run)
        && let Some(row) = app.store.run(run).await?
    {
        return Ok(Decided::Started(Box::new(row)));
    }
    Ok(match trigger.map(|trigger| trigger.verdict) {
        Some(Verdict::Failed) => Decided::Failed(reason),
        _ => Decided::Ignored(reason),
    })
}

/// Without an identity the way it came stands in for a person.
fn by(source: &str) -> String {
    match source {
        "poll" => "poll".to_owned(),
        "manual" => "admin".to_owned(),
        _ => format!("webhook {source}"),
    }
}
