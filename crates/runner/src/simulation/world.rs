//! The world around a process that may die at any point: what it calls goes through here.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use event::group::{GroupEntry, Queue};
use event::{Event, Outputs, RunId, TestCase};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::mutation::Mutation;
use super::random::Random;
use super::scenario::When;
use crate::testing::MemoryJournal;
use crate::{Answer, Approver, Journal, JournalError, Question};

/// What is drawn and written down of all lives of a run.
#[derive(Clone)]
pub(super) struct Chaos(Arc<Mutex<Book>>);

struct Book {
    random: Random,
    fault_percent: u64,
    begun: Instant,
    lines: Vec<String>,
    /// By stage, "" for what is nobody's: errors that the runner was given.
    blamed: BTreeMap<String, u32>,
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Calm,
    Slow(Duration),
    /// It fails, and nothing came of it.
    Before,
    /// It fails, though it was done.
    After,
}

impl Chaos {
    pub(super) fn new(random: Random, fault_percent: u64) -> Self {
        let (begun, lines, blamed) = (Instant::now(), Vec::new(), BTreeMap::new());
        Self(Arc::new(Mutex::new(Book { random, fault_percent, begun, lines, blamed })))
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fate(&self) -> Fate {
        let mut book = self.book();
        let percent = book.fault_percent;
        match book.random.within(0, 100) {
            0..15 => Fate::Slow(Duration::from_millis(book.random.within(0, 1500))),
            drawn if drawn < 15 + percent => *book.random.of(&[Fate::Before, Fate::After]),
            _ => Fate::Calm,
        }
    }

    /// Nothing goes wrong any more.
    pub(super) fn calm(&self) {
        self.book().fault_percent = 0;
    }

    pub(super) fn tell(&self, line: impl AsRef<str>) {
        let mut book = self.book();
        let line = format!("{:>9.3}s {}", book.begun.elapsed().as_secs_f64(), line.as_ref());
        book.lines.push(line);
    }

    pub(super) fn blame(&self, stage: &str) {
        *self.book().blamed.entry(stage.to_owned()).or_default() += 1;
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.book().lines.clone()
    }

    pub(super) fn blamed(&self) -> BTreeMap<String, u32> {
        self.book().blamed.clone()
    }
}

/// One process, from its start to its death.
pub(super) struct Life {
    when: Option<When>,
    dead: CancellationToken,
    appends: AtomicU64,
    calls: AtomicU64,
}

impl Life {
    pub(super) fn until(when: Option<When>) -> Arc<Self> {
        let dead = CancellationToken::new();
        Arc::new(Self { when, dead, appends: AtomicU64::new(0), calls: AtomicU64::new(0) })
    }

    pub(super) async fn died(&self) {
        self.dead.cancelled().await;
    }

    /// Whoever calls this does not go on.
    async fn die(&self) {
        self.dead.cancel();
        pending::<()>().await;
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.is_cancelled()
    }

    /// Returns whether it is to die before, or after, the next call of the backend.
    pub(super) fn next_call(&self) -> (bool, bool) {
        let now = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        (self.when == Some(When::Call(now, true)), self.when == Some(When::Call(now, false)))
    }

    fn next_append(&self) -> (bool, bool) {
        let now = self.appends.fetch_add(1, Ordering::Relaxed) + 1;
        (self.when == Some(When::Append(now, true)), self.when == Some(When::Append(now, false)))
    }

    /// Dies here if `now`, or if it is dead already: what a dead process began does not go on.
    pub(super) async fn dies(&self, now: bool) {
        if now || self.is_dead() {
            self.die().await;
        }
    }
}

/// A journal whose answers may be lost, as one process sees it.
pub(super) struct FaultyJournal {
    pub(super) inner: Arc<MemoryJournal>,
    pub(super) chaos: Chaos,
    pub(super) life: Arc<Life>,
    pub(super) mutation: Option<Mutation>,
}

impl FaultyJournal {
    fn store(why: &'static str) -> JournalError {
        JournalError::Store(why.into())
    }
}

#[async_trait]
impl Journal for FaultyJournal {
    async fn append(&self, events: &[Event]) -> Result<(), JournalError> {
        let (before, after) = self.life.next_append();
        self.life.dies(before).await;
        // The disk fails less often than an engine does.
        let fate = match self.chaos.fate() {
            fate @ (Fate::Before | Fate::After) if self.chaos.fate() != Fate::Calm => fate,
            Fate::Slow(time) => {
                sleep(time / 10).await;
                self.life.dies(false).await;
                Fate::Calm
            }
            _ => Fate::Calm,
        };
        if fate == Fate::Before {
            self.chaos.tell("FAULT the journal refuses an append");
            return Err(Self::store("the disk is full"));
        }
        if self.inner.events().last().is_some_and(|last| last.kind.is_terminal()) {
            return Err(Self::store("the run has ended"));
        }
        self.inner.append(events).await?;
        for event in events {
            let kind = serde_json::to_value(&event.kind).expect("an event is JSON");
            let word = |key: &str| kind[key].as_str().unwrap_or_default().to_owned();
            let mut line = format!("#{} {} {}", event.seq, word("kind"), word("stage"));
            for key in ["attempt", "result", "reason"].iter().filter(|key| !kind[**key].is_null()) {
                line.push_str(&format!(" {key}={}", kind[*key]));
            }
            self.chaos.tell(line);
        }
        self.life.dies(after).await;
        if fate == Fate::After {
            self.chaos.tell("FAULT the answer of an append is lost");
            return Err(Self::store("the connection was reset"));
        }
        Ok(())
    }

    async fn enter_group(&self, entry: &GroupEntry) -> Result<Option<Queue>, JournalError> {
        self.life.dies(false).await;
        if self.mutation == Some(Mutation::OpenGroups) {
            return Ok(None);
        }
        self.inner.enter_group(entry).await
    }

    async fn leave_group(&self, entry: &GroupEntry) -> Result<(), JournalError> {
        self.life.dies(false).await;
        self.inner.leave_group(entry).await
    }

    async fn superseded(&self, entry: &GroupEntry) -> Result<Option<RunId>, JournalError> {
        self.inner.superseded(entry).await
    }

    async fn keep_tests(
        &self,
        run: RunId,
        stage: &str,
        attempt: u32,
        cases: &[TestCase],
    ) -> Result<(), JournalError> {
        self.life.dies(false).await;
        self.inner.keep_tests(run, stage, attempt, cases).await
    }
}

/// Somebody who answers after a while, or never.
pub(super) struct Person {
    pub(super) answers: BTreeMap<String, (Duration, bool)>,
}

#[async_trait]
impl Approver for Person {
    async fn ask(&self, question: &Question) -> Answer {
        let Some((after, agrees)) = self.answers.get(&question.stage) else {
            return pending().await;
        };
        sleep(*after).await;
        let by = "jo".to_owned();
        if *agrees {
            Answer::Given { by, fields: Outputs::new() }
        } else {
            Answer::Refused { by, reason: None }
        }
    }
}
