//! The runner's journal on the store: events, and with them the mails they cause.

use std::sync::Arc;

use async_trait::async_trait;
use event::{Event, EventKind, RunId, RunState, Stream, TestCase};
use runner::{Journal, JournalError};
use store::{AppendError, QueuedMail, RunRow, Store};
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
    /// On a server: who is told, and who gets mails.
    told: Option<Told>,
}

struct Told {
    app: Arc<App>,
    row: RunRow,
    /// The fold of what was appended.
    state: Mutex<RunState>,
}

impl StoreJournal {
    /// Returns a journal for runs that nobody follows and that send no mail.
    pub fn new(store: Store) -> Self {
        Self { store, told: None }
    }

    /// Returns the journal of a run of the server, whose events up to now fold
    /// to `state`.
    pub(crate) fn of(app: &Arc<App>, row: &RunRow, state: RunState) -> Self {
        let told = Told { app: Arc::clone(app), row: row.clone(), state: Mutex::new(state) };
        Self { store: app.store.clone(), told: Some(told) }
    }

    async fn write(&self, events: &[Event], mails: &[QueuedMail]) -> Result<(), JournalError> {
        let patience = Patience::begin();
        loop {
            match self.store.append(events, mails).await {
                Ok(()) => return Ok(()),
                Err(error) => patience.after(error).await?,
            }
        }
    }
}

/// Until when a busy store is waited for.
struct Patience(Instant);

impl Patience {
    fn begin() -> Self {
        Self(Instant::now() + PATIENCE)
    }

    /// Returns after a pause when it is worth trying again.
    async fn after(&self, error: AppendError) -> Result<(), JournalError> {
        match error {
            AppendError::Store(error) if error.is_temporary() && Instant::now() < self.0 => {
                tracing::warn!(%error, "the store is busy; a run waits for it");
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
    async fn keep_tests(
        &self,
        run: RunId,
        stage: &str,
        attempt: u32,
        cases: &[TestCase],
    ) -> Result<(), JournalError> {
        let patience = Patience::begin();
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
