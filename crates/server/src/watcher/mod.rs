//! Watching what was deployed: one look after another, and what follows from each.
//!
//! [`Watcher`] looks at one environment and writes down what became known: events, the
//! rows that show them, and the mails they cause are one transaction. What is to be
//! repaired it hands back, so that a server and a laptop carry it out in their own way,
//! as a deployment like every other. [`run`] is the server's loop around it.

mod environments;
mod mails;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use deploy::{
    Deployment, DeploymentRecord, EnvironmentKey, Inspected, Known, Ledger as _, LedgerError, Look,
    Memory, Observed, Patience, Repair, RepairPace, Scope, Standing, Target, WATCHER, outdated,
    repair,
};
use event::{DeploymentId, DeploymentKind, Event, EventKind, Stream};
use store::{AppendError, IncidentRow, QueuedMail, Store, StoreError};
use uuid::Uuid;

pub(crate) use environments::run;
pub(crate) use mails::Mails;

/// Deployments looked through for the one that stands.
const HISTORY: u32 = 200;
/// What a target may take to say what runs.
const LOOK: Duration = Duration::from_secs(10);
/// Repairs, and the time in which there are not more of them.
const TRIES: u32 = 3;
const TRIES_WITHIN: TimeDelta = TimeDelta::hours(1);

/// Whoever watches one environment.
pub struct Watcher {
    store: Store,
    key: EnvironmentKey,
    target: Arc<dyn Target>,
    patience: Patience,
    pace: RepairPace,
    /// Whether units that died are brought back.
    ensure: bool,
    mails: Option<Mails>,
    memory: Memory,
}

/// What a look came to.
#[derive(Debug, Default)]
pub struct Watched {
    /// What became known, as it was recorded.
    pub events: Vec<Event>,
    /// What brings back what died, to be carried out now.
    pub repair: Option<Deployment>,
    /// A deployment was in the way.
    pub paused: bool,
    /// Why the target could not be asked.
    pub blind: Option<String>,
}

/// What keeps somebody from watching: the store, for a target that is away is data.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("the history of the environment cannot be read")]
    Ledger(#[from] LedgerError),
    #[error("what was found cannot be written down")]
    Append(#[source] AppendError),
}

impl WatchError {
    /// Whether the next look may do better.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Store(error) | Self::Append(AppendError::Store(error)) => error.is_temporary(),
            // Somebody else was quicker; what they wrote is read before the next look.
            Self::Append(_) => true,
            Self::Ledger(LedgerError::Store(error)) => {
                error.downcast_ref::<StoreError>().is_some_and(StoreError::is_temporary)
            }
            Self::Ledger(_) => false,
        }
    }
}

impl Watcher {
    /// Watches an environment at a pace of one look per `every`.
    pub fn new(
        store: Store,
        key: EnvironmentKey,
        target: Arc<dyn Target>,
        every: Duration,
        ensure: bool,
    ) -> Self {
        let every = TimeDelta::from_std(every).unwrap_or(TimeDelta::hours(1));
        let pace = RepairPace { tries: TRIES, window: TRIES_WITHIN, pause: every * 2 };
        let (patience, memory) = (Patience::default(), Memory::default());
        Self { store, key, target, patience, pace, ensure, mails: None, memory }
    }

    /// With mails to those whom the pipeline names.
    #[must_use]
    pub(crate) fn telling(self, mails: Mails) -> Self {
        Self { mails: Some(mails), ..self }
    }

    /// How many looks it takes until it is known how things are.
    pub const fn looks(&self) -> u32 {
        let Patience { confirm, calm, blind, .. } = self.patience;
        let most = if confirm > calm { confirm } else { calm };
        if most > blind { most } else { blind }
    }

    /// Looks once, and records what became known. May be dropped at any time.
    pub async fn look(&mut self) -> Result<Watched, WatchError> {
        let history = self.store.history(&self.key, HISTORY).await?;
        let Some(standing) = deploy::standing(&history) else { return Ok(Watched::default()) };
        let seen = match self.is_busy(&history).await? {
            true => None,
            false => Some(self.inspect(standing).await),
        };
        let at = Utc::now();
        // What was seen beside a deployment that began meanwhile is nothing.
        let seen = match seen {
            Some(seen) if !self.has_moved(standing).await? => Some(seen),
            _ => None,
        };
        let rows = self.store.open_incidents(&self.key).await?;
        let known: Vec<Known> = rows.iter().map(known).collect();
        let look = match &seen {
            None => Look::Paused,
            Some(Err(why)) => Look::Blind(why.clone()),
            Some(Ok(seen)) => Look::Seen(seen),
        };
        let stands = standing.record.deployment.id;
        let mut found = outdated(standing, &known, at);
        let judged = self.memory.judge(standing, &history, &look, &known, &self.patience, at);
        found.extend(judged.into_iter().map(|kind| (stands, kind)));
        let repair = match &look {
            Look::Seen(seen) if self.ensure => {
                self.repair(standing, &history, &known, &seen.observed, at).await?
            }
            _ => Repair::Nothing,
        };
        let repair = match repair {
            Repair::Now { reason, .. } => Some(deployment(standing, reason)),
            Repair::GiveUp { places, tries } => {
                let given_up = |place| {
                    let reason = "repairs have not helped".to_owned();
                    (stands, EventKind::IncidentGivenUp { place, tries, reason })
                };
                found.extend(places.into_iter().map(given_up));
                None
            }
            Repair::Wait(_) | Repair::Nothing => None,
        };
        let inspected = seen.as_ref().and_then(|seen| seen.as_ref().ok());
        let events = self.record(found, &rows, &history, inspected, at).await?;
        let blind = seen.as_ref().and_then(|seen| seen.as_ref().err().cloned());
        Ok(Watched { events, repair, paused: seen.is_none(), blind })
    }

    /// Whether somebody changes the environment.
    async fn is_busy(&self, history: &[DeploymentRecord]) -> Result<bool, WatchError> {
        let goes_on = |record: &DeploymentRecord| record.state.is_none() && record.fence > 0;
        Ok(history.iter().any(goes_on) || self.store.held(&self.key, Utc::now()).await?.is_some())
    }

    /// Whether anything has been deployed, or is, since `standing` was read.
    async fn has_moved(&self, standing: Standing<'_>) -> Result<bool, WatchError> {
        let history = self.store.history(&self.key, HISTORY).await?;
        let now = deploy::standing(&history).map(|now| now.record.deployment.id);
        Ok(now != Some(standing.record.deployment.id) || self.is_busy(&history).await?)
    }

    async fn inspect(&self, standing: Standing<'_>) -> Result<Inspected, String> {
        match tokio::time::timeout(LOOK, self.target.inspect(standing.spec())).await {
            Ok(seen) => seen.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the target did not answer within {} s", LOOK.as_secs())),
        }
    }

    async fn repair(
        &self,
        standing: Standing<'_>,
        history: &[DeploymentRecord],
        known: &[Known],
        seen: &Observed,
        at: DateTime<Utc>,
    ) -> Result<Repair, WatchError> {
        let decided = repair(standing, history, known, seen, &self.pace, at);
        let waits = matches!(decided, Repair::Nothing | Repair::Wait(_));
        // Who keeps an environment locked wants it to stay as it is.
        if waits || self.store.closure(&self.key, at).await?.is_none() {
            return Ok(decided);
        }
        Ok(Repair::Nothing)
    }

    /// Writes down what was found, each in the stream of its deployment, with the mails.
    async fn record(
        &self,
        found: Vec<(DeploymentId, EventKind)>,
        open: &[IncidentRow],
        history: &[DeploymentRecord],
        seen: Option<&Inspected>,
        at: DateTime<Utc>,
    ) -> Result<Vec<Event>, WatchError> {
        let mut events: Vec<Event> = Vec::new();
        for (deployment, kind) in found {
            let stream = Stream::Deployment(deployment);
            let last = events.iter().rev().find(|event| event.stream == stream);
            let seq = match last {
                Some(last) => last.seq + 1,
                None => self.store.next_seq(stream).await?,
            };
            events.push(Event { format: event::FORMAT, seq, at, stream, kind });
        }
        if events.is_empty() {
            return Ok(events);
        }
        let mails: Vec<QueuedMail> = match &self.mails {
            Some(mails) => mails.of(&self.key, &events, open, history, seen).await,
            None => Vec::new(),
        };
        self.store.append(&events, &mails).await.map_err(WatchError::Append)?;
        if let Some(told) = self.mails.as_ref().filter(|_| !mails.is_empty()) {
            told.wake();
        }
        Ok(events)
    }
}

fn known(row: &IncidentRow) -> Known {
    Known {
        deployment: row.deployment,
        incident: row.incident.clone(),
        since: row.since,
        given_up: row.given_up_at.is_some(),
    }
}

/// What brings back what stands.
fn deployment(standing: Standing<'_>, reason: String) -> Deployment {
    Deployment {
        id: DeploymentId::new(Uuid::now_v7()),
        kind: DeploymentKind::Repair,
        spec: standing.spec().clone(),
        by: WATCHER.to_owned(),
        reason: Some(reason),
        name: String::new(),
        run: None,
        stage: None,
        scope: Scope::default(),
    }
}
