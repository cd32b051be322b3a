//! The mails of a run's end, with what they tell besides its state.
//!
//! What cannot be looked up is left out: a mail that says less is better than
//! none, and no mail keeps a run from ending.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use deploy::{DeploymentRecord, EnvironmentKey, Ledger as _, Observed};
use event::{Event, EventKind, FrameBody, Phase, ReleaseId, RunState, Stream};
use notify::{Commit, Deployment, MailContext, Message, Unit};
use pipeline::{MailRule, TriggerEvent};
use runner::git::{self, Sha};
use runner::{log_path, read_frames};
use store::{QueuedMail, RunRow};

use crate::app::App;

/// Lines of a failed stage's output.
const LINES: usize = 30;
/// Commits since the last success.
const COMMITS: usize = 20;
/// How many runs back the last success is looked for.
const RUNS: u32 = 200;
/// What a target may take to say what runs.
const OBSERVE: Duration = Duration::from_secs(10);

/// Returns the mails that the end of a run causes; `state` is the run's after it.
pub(crate) async fn of(
    app: &App,
    row: &RunRow,
    state: &RunState,
    event: &Event,
) -> Vec<QueuedMail> {
    let asked_for = state.plan.as_ref().is_some_and(|plan| !plan.notify.is_empty());
    if !asked_for {
        return Vec::new();
    }
    let context = context(app, row, state).await;
    notify::messages(state, event, &context).into_iter().filter_map(queued).collect()
}

/// The rules of the pipeline whose run has deployed to an environment last.
pub(crate) async fn rules_of(app: &App, history: &[DeploymentRecord]) -> Vec<MailRule> {
    let Some(run) = history.iter().find_map(|record| record.deployment.run) else {
        return Vec::new();
    };
    match app.store.events(Stream::Run(run), 0, 1).await.as_deref() {
        Ok([Event { kind: EventKind::RunQueued { plan, .. }, .. }]) => plan.notify.clone(),
        Ok(_) => Vec::new(),
        Err(error) => {
            tracing::warn!("the rules of run {run} cannot be read: {}", runner::causes(error));
            Vec::new()
        }
    }
}

/// A mail as the outbox keeps it.
pub(crate) fn queued(message: Message) -> Option<QueuedMail> {
    let payload = match serde_json::to_value(&message) {
        Ok(payload) => payload,
        Err(error) => {
            tracing::error!(%error, "mail {} cannot be kept", message.message_id);
            return None;
        }
    };
    let Message { dedupe_key, at, .. } = message;
    Some(QueuedMail { kind: "mail".to_owned(), dedupe_key, payload, at })
}

async fn context(app: &App, row: &RunRow, state: &RunState) -> MailContext {
    let run_url = Some(app.run_url(row.id)).filter(|url| !url.is_empty());
    let previous = app.store.previous_result(row).await.unwrap_or_else(|error| {
        tracing::warn!(
            "a mail of run {} does not know the result before: {}",
            row.id,
            runner::causes(&error)
        );
        None
    });
    MailContext {
        project: row.project.clone(),
        instance: app.store.instance().to_owned(),
        run_url,
        previous,
        // Nobody but a forge can say who pushed; a commit's author is what its author wrote.
        committer: None,
        commits: commits(app, row).await,
        logs: logs(&app.data.output(row.id), state),
        deployments: deployments(app, row).await,
    }
}

async fn commits(app: &App, row: &RunRow) -> Vec<Commit> {
    let Ok(to) = Sha::parse(&row.sha) else { return Vec::new() };
    let earlier = app.store.runs(Some(&row.project), RUNS, Some(row.id)).await.unwrap_or_default();
    let since = earlier
        .iter()
        .filter(|earlier| earlier.pipeline == row.pipeline && earlier.branch == row.branch)
        .find(|earlier| earlier.result.is_some_and(event::RunResult::is_good))
        .and_then(|earlier| Sha::parse(&earlier.sha).ok());
    // Without a success to count from, the one commit that was run.
    let limit = if since.is_some() && row.event != TriggerEvent::Tag { COMMITS } else { 1 };
    match git::commits(&app.data.mirror(&row.project), since.as_ref(), &to, limit).await {
        Ok(commits) => commits
            .into_iter()
            .map(|commit| Commit {
                sha: commit.sha.to_string(),
                author: commit.author_name,
                subject: commit.message,
            })
            .collect(),
        Err(error) => {
            tracing::warn!(
                "a mail of run {} does not list its commits: {}",
                row.id,
                runner::causes(&error)
            );
            Vec::new()
        }
    }
}

/// The last lines of every stage that did not end well.
fn logs(output: &Path, state: &RunState) -> BTreeMap<String, Vec<String>> {
    let failed = state.stages.iter().filter_map(|(name, stage)| match stage.phase {
        Phase::Done(result) if result.is_failure() => Some((name, stage.attempts.last()?.number)),
        _ => None,
    });
    failed
        .filter_map(|(name, attempt)| {
            let lines = last_lines(&log_path(output, name, attempt))?;
            Some((name.clone(), lines))
        })
        .collect()
}

/// `None` when there is nothing to read. Output was masked when it was written.
fn last_lines(path: &Path) -> Option<Vec<String>> {
    let mut lines = std::collections::VecDeque::new();
    for frame in read_frames(path).ok()? {
        let FrameBody::Text(text) = frame.ok()?.body else { continue };
        for line in text.lines() {
            if lines.len() == LINES {
                lines.pop_front();
            }
            lines.push_back(line.to_owned());
        }
    }
    Some(lines.into())
}

async fn deployments(app: &App, row: &RunRow) -> Vec<Deployment> {
    let records = app.store.deployments_of_run(row.id).await.unwrap_or_default();
    if records.is_empty() {
        return Vec::new();
    }
    let releases = app.store.releases(&row.project).await.unwrap_or_default();
    let version = |id: ReleaseId| {
        let known = releases.iter().find(|release| release.id == id);
        known.map_or_else(|| id.short(), |release| release.version.clone())
    };
    let mut deployments = Vec::new();
    for record in records {
        let Some(state) = record.state else { continue };
        let seen = observe(app, &record.deployment.key()).await;
        let units = seen.units.iter().map(|unit| Unit {
            name: unit.unit.to_string(),
            version: version(unit.release),
            state: word(&unit.state),
        });
        deployments.push(Deployment {
            stage: record.deployment.stage.clone().unwrap_or_default(),
            environment: record.deployment.spec.environment.clone(),
            version: version(record.deployment.spec.release),
            state,
            reason: record.outcome.clone(),
            units: units.collect(),
        });
    }
    deployments
}

/// What runs, without the units that no longer do.
async fn observe(app: &App, key: &EnvironmentKey) -> Observed {
    let Ok(target) = app.target(&key.project, &key.environment) else { return Observed::default() };
    match tokio::time::timeout(OBSERVE, target.observe(key)).await {
        Ok(Ok(mut seen)) => {
            seen.units.retain(|unit| unit.admitted || unit.state == deploy::UnitState::Running);
            seen
        }
        Ok(Err(error)) => {
            tracing::warn!("a mail does not say what runs in {}: {error}", key.environment);
            Observed::default()
        }
        Err(_) => Observed::default(),
    }
}

/// The word of a state as the API has it.
pub(crate) fn word(state: &deploy::UnitState) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
