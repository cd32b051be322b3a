//! The mails of incidents, with what they tell beside them.
//!
//! The rules are those of the pipeline whose run has deployed to the environment last.
//! What cannot be looked up is left out, as in the mails of runs.

use std::collections::HashMap;
use std::sync::Arc;

use deploy::{DeploymentRecord, EnvironmentKey, Inspected, Ledger as _};
use event::{Event, ReleaseId, Stream};
use notify::{Unit, WatchContext, watch_messages};
use pipeline::MailRule;
use store::{IncidentRow, QueuedMail};

use crate::app::App;
use crate::mails::{queued, rules_of, word};

/// Who tells people, and wakes the loop that sends.
pub(crate) struct Mails {
    app: Arc<App>,
}

impl Mails {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    pub(super) fn wake(&self) {
        self.app.hints.outbox.notify_one();
    }

    /// The mails that `events` cause; of each deployment's stream on its own.
    pub(super) async fn of(
        &self,
        key: &EnvironmentKey,
        events: &[Event],
        open: &[IncidentRow],
        history: &[DeploymentRecord],
        seen: Option<&Inspected>,
    ) -> Vec<QueuedMail> {
        let rules = rules_of(&self.app, history).await;
        if rules.is_empty() {
            return Vec::new();
        }
        let context = self.context(key, rules, open, history, seen).await;
        let mut streams: Vec<Stream> = events.iter().map(|event| event.stream).collect();
        streams.dedup();
        let mut mails = Vec::new();
        for stream in streams {
            let events: Vec<Event> =
                events.iter().filter(|event| event.stream == stream).cloned().collect();
            mails.extend(watch_messages(&events, &context).into_iter().filter_map(queued));
        }
        mails
    }

    async fn context(
        &self,
        key: &EnvironmentKey,
        rules: Vec<MailRule>,
        open: &[IncidentRow],
        history: &[DeploymentRecord],
        seen: Option<&Inspected>,
    ) -> WatchContext {
        let releases = self.app.store.releases(&key.project).await.unwrap_or_default();
        let names: HashMap<ReleaseId, String> =
            releases.into_iter().map(|release| (release.id, release.version)).collect();
        let version = |id: ReleaseId| names.get(&id).cloned().unwrap_or_else(|| id.short());
        let stands = deploy::standing(history);
        let units = seen.into_iter().flat_map(|seen| &seen.observed.units);
        let units = units.filter(|unit| unit.admitted || unit.state == deploy::UnitState::Running);
        WatchContext {
            project: key.project.clone(),
            environment: key.environment.clone(),
            instance: self.app.store.instance().to_owned(),
            rules,
            version: stands.map(|it| version(it.spec().release)).unwrap_or_default(),
            open: open
                .iter()
                .map(|row| (row.incident.place.clone(), row.incident.clone()))
                .collect(),
            units: units
                .map(|unit| Unit {
                    name: unit.unit.to_string(),
                    version: version(unit.release),
                    state: word(&unit.state),
                })
                .collect(),
        }
    }
}
