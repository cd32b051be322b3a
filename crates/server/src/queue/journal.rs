//! The runner's journal on the store: events, and with them the mails they cause.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::Utc;
use event::group::{GroupEntry, Queue};
use event::{Event, EventKind, RunId, RunState, Stream, TestCase};
use runner::{Journal, JournalError};
use store::{AppendError, QueuedMail, RunRow, Store, StoreError};
use tokio::sync::Mutex;
use tokio::time::{Duration, Instant};

use crate::app::App;
use crate::mails;

/// How long a busy store is waited for: nothing is decided meanwhile, and
/// nothing is lost.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

/// Writes what the runner decided. Followers are told once it is durable.
pub struct StoreJournal {
    store: Store,
    /// How long a full disk is waited for.
    room: Duration,
    /// On a laptop: whether the process of a run is still there.
    alive: Option<Alive>,
    /// On a server: who is told, and who gets mails.
    told: Option<Told>,
}

type Alive = Box<dyn Fn(RunId) -> bool + Send + Sync>;

struct Told {
    app: Arc<App>,
    row: RunRow,
    /// The fold of what was appended.
    state: Mutex<RunState>,
}

impl StoreJournal {
    /// Returns a journal for runs that nobody follows and that send no mail.
    pub fn new(store: Store) -> Self {
        Self { store, room: PATIENCE, alive: None, told: None }
    }

    /// Waits no longer than `room` for a disk without any.
    #[must_use]
    pub fn waiting_for(self, room: Duration) -> Self {
        Self { room, ..self }
    }

    /// Lets runs whose processes died be in nobody's way; those of a server are ended when
    /// it starts.
    #[must_use]
    pub fn beside(self, alive: impl Fn(RunId) -> bool + Send + Sync + 'static) -> Self {
        Self { alive: Some(Box::new(alive)), ..self }
    }

    /// Takes runs whose processes died out of their groups.
    async fn forget_dead(&self, own: RunId) -> Result<(), StoreError> {
        let Some(alive) = &self.alive else { return Ok(()) };
        for run in self.store.runs_in_groups().await? {
            if run != own && !alive(run) {
                self.store.leave_groups(run).await?;
            }
        }
        Ok(())
    }

    /// Returns the journal of a run of the server, whose events up to now fold
    /// to `state`.
    pub(crate) fn of(app: &Arc<App>, row: &RunRow, state: RunState) -> Self {
        let told = Told { app: Arc::clone(app), row: row.clone(), state: Mutex::new(state) };
        Self { store: app.store.clone(), room: PATIENCE, alive: None, told: Some(told) }
    }

    async fn write(&self, events: &[Event], mails: &[QueuedMail]) -> Result<(), JournalError> {
        let patience = Patience::begin(self.room);
        loop {
            match self.store.append(events, mails).await {
                Ok(()) => return Ok(()),
                Err(error) => patience.after(error).await?,
            }
        }
    }
}

/// Until when a busy store is waited for.
struct Patience {
    busy: Instant,
    full: Instant,
}

impl Patience {
    fn begin(room: Duration) -> Self {
        let now = Instant::now();
        Self { busy: now + PATIENCE, full: now + room }
    }

    fn until(&self, error: &StoreError) -> Instant {
        if store::is_full(error) { self.full } else { self.busy }
    }

    /// Returns after a pause when it is worth trying again.
    async fn after(&self, error: AppendError) -> Result<(), JournalError> {
        match error {
            AppendError::Store(error)
                if error.is_temporary() && Instant::now() < self.until(&error) =>
            {
                tracing::warn!("the store is busy; a run waits for it: {}", runner::causes(&error));
                tokio::time::sleep(PAUSE).await;
                Ok(())
            }
            AppendError::Conflict { seq, .. } => Err(JournalError::Conflict { seq }),
            error => Err(JournalError::Store(error.into())),
        }
    }
}

#[async_trait]
impl Journal for StoreJournal {
    async fn enter_group(&self, entry: &GroupEntry) -> Result<Option<Queue>, JournalError> {
        let patience = Patience::begin(self.room);
        loop {
            let entered = async {
                self.forget_dead(entry.run).await?;
                self.store.enter_group(entry, Utc::now()).await
            };
            match entered.await {
                Ok(queue) => return Ok(queue),
                Err(error) => patience.after(error.into()).await?,
            }
        }
    }

    async fn leave_group(&self, entry: &GroupEntry) -> Result<(), JournalError> {
        let patience = Patience::begin(self.room);
        loop {
            match self.store.leave_group(entry).await {
                Ok(()) => return Ok(()),
                Err(error) => patience.after(error.into()).await?,
            }
        }
    }

    async fn superseded(&self, entry: &GroupEntry) -> Result<Option<RunId>, JournalError> {
        self.store.superseded(entry).await.map_err(|error| JournalError::Store(error.into()))
    }

    async fn keep_tests(
        &self,
        run: RunId,
        stage: &str,
        attempt: u32,
        cases: &[TestCase],
    ) -> Result<(), JournalError> {
        let patience = Patience::begin(self.room);
        loop {
            match self.store.keep_tests(run, stage, attempt, cases).await {
                Ok(()) => return Ok(()),
                Err(error) => patience.after(error.into()).await?,
            }
        }
    }

    async fn append(&self, events: &[Event]) -> Result<(), JournalError> {
        let Some(told) = &self.told else { return self.write(events, &[]).await };
        let mut state = told.state.lock().await;
        let mut next = state.clone();
        let mut mails = Vec::new();
        for event in events {
            next.apply(event).map_err(|error| JournalError::Store(error.into()))?;
            if matches!(event.kind, EventKind::RunFinished { .. }) {
                mails = mails::of(&told.app, &told.row, &next, event).await;
            }
        }
        self.write(events, &mails).await?;
        *state = next;
        for event in events {
            if let Stream::Run(run) = event.stream {
                told.app.hints.wake_followers(run);
            }
        }
        if !mails.is_empty() {
            told.app.hints.outbox.notify_one();
        }
        Ok(())
    }
}
