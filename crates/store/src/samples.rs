//! What the tests of this crate store.

use chrono::{DateTime, TimeDelta, Utc};
use event::{Event, EventKind, RunId, RunResult, Stream};
use pipeline::{Plan, TriggerEvent};
use tempfile::TempDir;
use uuid::Uuid;

use crate::{NewProject, NewRun, NewTrigger, QueuedMail, RunRow, Store};

/// A store in a directory of its own.
pub(crate) struct Sample {
    pub(crate) store: Store,
    pub(crate) directory: TempDir,
}

impl Sample {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::open(&directory.path().join("state.db")).await.expect("store");
        Self { store, directory }
    }

    /// Opens the file a second time, as another process would.
    pub(crate) async fn again(&self) -> Store {
        Store::open(&self.directory.path().join("state.db")).await.expect("store")
    }

    pub(crate) async fn project(&self, name: &str) {
        let new = NewProject {
            name: name.into(),
            git_url: format!("https://git.example.net/{name}.git"),
            default_branch: "main".into(),
            poll: None,
            hook_secret: None,
            git_key: None,
            at: at(0),
        };
        self.store.create_project(&new).await.expect("project");
    }

    pub(crate) async fn run(&self, project: &str, branch: &str, at: DateTime<Utc>) -> RunRow {
        self.store.queue_run(new_run(project, branch, at)).await.expect("queued")
    }

    pub(crate) async fn start(&self, run: &RunRow) {
        let started = event(run.id, 2, EventKind::RunStarted { by: "here".into() });
        self.store.append(&[started], &[]).await.expect("appended");
    }

    pub(crate) async fn end(&self, run: &RunRow, result: RunResult) {
        let finished = event(run.id, 3, EventKind::RunFinished { result, duration_ms: 1 });
        self.store.append(&[finished], &[]).await.expect("appended");
    }

    pub(crate) async fn finish(&self, run: &RunRow, result: RunResult) {
        self.start(run).await;
        self.end(run, result).await;
    }

    pub(crate) fn delivery(
        &self,
        project: &str,
        id: &str,
        reference: &str,
        sha: &str,
        at: DateTime<Utc>,
    ) -> NewTrigger {
        NewTrigger {
            project: project.into(),
            source: "generic".into(),
            delivery: Some(id.into()),
            received_at: at,
            reference: Some(reference.into()),
            sha: Some(sha.into()),
            by: None,
            body: b"{}".to_vec(),
            moves_head: true,
        }
    }
}

/// Minutes after a beginning.
pub(crate) fn at(minute: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::minutes(minute)
}

pub(crate) fn run_id() -> RunId {
    RunId::new(Uuid::now_v7())
}

pub(crate) fn event(run: RunId, seq: u64, kind: EventKind) -> Event {
    let at = at(i64::try_from(seq).expect("small"));
    Event { format: event::FORMAT, seq, at, stream: Stream::Run(run), kind }
}

pub(crate) fn new_run(project: &str, branch: &str, at: DateTime<Utc>) -> NewRun {
    NewRun {
        run: run_id(),
        project: project.into(),
        plan: plan(branch),
        by: "poll".into(),
        trigger: None,
        reason: None,
        at,
    }
}

pub(crate) async fn queued(store: &Store, run: RunId) -> RunRow {
    store.run(run).await.expect("read").expect("there")
}

pub(crate) fn mail(key: &str, at: DateTime<Utc>) -> QueuedMail {
    QueuedMail {
        kind: "mail".into(),
        dedupe_key: key.into(),
        payload: serde_json::json!({ "subject": key }),
        at,
    }
}

fn plan(branch: &str) -> Plan {
    Plan {
        pipeline: "build".into(),
        file: ".shipline.yml".into(),
        event: TriggerEvent::Push,
        sha: "0123456789abcdef0123456789abcdef01234567".into(),
        branch: Some(branch.into()),
        ..Plan::default()
    }
}
