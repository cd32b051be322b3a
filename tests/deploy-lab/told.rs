//! What the store tells of deployments: when they did what, and how they ended.

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use deploy::{DeploymentRecord, EnvironmentKey, Ledger as _};
use event::{DeploymentState, Event, EventKind, OpState, Stream};
use store::Store;

/// A deployment with all its events.
pub struct Told {
    pub record: DeploymentRecord,
    pub events: Vec<Event>,
}

impl Told {
    pub fn state(&self) -> Option<DeploymentState> {
        self.record.state
    }

    /// From request to end.
    pub fn took(&self) -> Duration {
        let end = self.record.finished_at.unwrap_or(self.record.requested_at);
        (end - self.record.requested_at).to_std().unwrap_or_default()
    }

    /// When the first unit was found to be bad.
    pub fn verdict(&self) -> Option<DateTime<Utc>> {
        let bad = |event: &&Event| {
            matches!(
                &event.kind,
                EventKind::OpFinished { state: OpState::Unhealthy | OpState::Failed, .. }
            )
        };
        self.events.iter().find(bad).map(|event| event.at)
    }

    /// From that until everything was as before.
    pub fn restored_after(&self) -> Option<Duration> {
        (self.record.finished_at? - self.verdict()?).to_std().ok()
    }

    /// Ops that began forward.
    pub fn ops(&self) -> usize {
        let op = |event: &&Event| matches!(event.kind, EventKind::OpIntended { undo: false, .. });
        self.events.iter().filter(op).count()
    }
}

/// Reads the deployments of an environment, newest first.
pub fn deployments(database: &Path, project: &str, environment: &str) -> Vec<Told> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(async {
        let store = Store::open(database).await.expect("the store is whole");
        let key =
            EnvironmentKey { project: project.to_owned(), environment: environment.to_owned() };
        let history = store.history(&key, 10_000).await.expect("the history can be read");
        let mut all = Vec::new();
        for record in history {
            let stream = Stream::Deployment(record.deployment.id);
            let events = store.events(stream, 0, 10_000).await.expect("events can be read");
            all.push(Told { record, events });
        }
        store.close().await;
        all
    })
}
