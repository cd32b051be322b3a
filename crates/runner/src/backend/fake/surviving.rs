//! Attempts of durable runs: they outlive whoever started them, with all they said.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use event::RunId;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::script::Ended;
use super::services::Playing;
use super::world::Owner;
use crate::backend::{BackendError, Chunk, Exit, Restored};

/// What is on the engine of durable runs.
#[derive(Debug, Default)]
pub(super) struct Survivors {
    pub(super) containers: BTreeMap<String, Survivor>,
    /// The services of attempts.
    pub(super) services: BTreeMap<String, (RunId, Vec<Playing>)>,
    /// The wall time of an instant.
    pub(super) clock: Option<(Instant, DateTime<Utc>)>,
}

impl Survivors {
    pub(super) fn wall(&self, instant: Instant) -> DateTime<Utc> {
        let (origin, wall) = self.clock.unwrap_or_else(|| (Instant::now(), Utc::now()));
        let after = instant.saturating_duration_since(origin);
        let before = origin.saturating_duration_since(instant);
        let span = |time| TimeDelta::from_std(time).unwrap_or_default();
        wall + span(after) - span(before)
    }

    /// What ran is gone with the engine, and it is known that it was not the end of it.
    pub(super) fn lose(&self) {
        for container in self.containers.values() {
            container.lost.store(true, Ordering::Release);
        }
    }

    pub(super) fn remove(&mut self, owner: impl Fn(&Owner) -> bool, run: impl Fn(RunId) -> bool) {
        self.containers.retain(|_, container| !owner(&container.owner));
        self.services.retain(|_, (of, _)| !run(*of));
    }
}

/// A container.
#[derive(Clone, Debug)]
pub(super) struct Survivor {
    pub(super) owner: Owner,
    pub(super) records: Records,
    pub(super) exit: watch::Receiver<Option<Ended>>,
    pub(super) restored: Vec<Option<Restored>>,
    pub(super) term: CancellationToken,
    pub(super) kill: CancellationToken,
    pub(super) started: Instant,
    pub(super) lost: Arc<AtomicBool>,
}

impl Survivor {
    /// What its end comes to.
    pub(super) fn end(&self, end: Ended) -> Ended {
        match end {
            Ended::Exit(exit) if self.lost.load(Ordering::Acquire) => {
                let lost = Some("the docker daemon was restarted".to_owned());
                Ended::Exit(Exit { lost, ..exit })
            }
            end => end,
        }
    }
}

/// All that an attempt said, from the first byte on.
#[derive(Clone, Debug)]
pub(super) struct Records {
    chunks: Arc<Mutex<Vec<Chunk>>>,
    /// How many there are, and whether there will be more.
    count: watch::Receiver<(usize, bool)>,
}

impl Records {
    /// Keeps what comes.
    pub(super) fn of(mut said: mpsc::Receiver<Result<Chunk, BackendError>>) -> Self {
        let chunks: Arc<Mutex<Vec<Chunk>>> = Arc::default();
        let (told, count) = watch::channel((0, false));
        let kept = Arc::clone(&chunks);
        tokio::spawn(async move {
            while let Some(chunk) = said.recv().await {
                let mut kept = lock(&kept);
                kept.extend(chunk.ok());
                told.send_replace((kept.len(), false));
            }
            told.send_modify(|(_, over)| *over = true);
        });
        Self { chunks, count }
    }

    pub(super) fn stream(&self) -> BoxStream<'static, Result<Chunk, BackendError>> {
        let at = (0, self.clone());
        stream::unfold(at, |(at, mut records)| async move {
            let told = records.count.wait_for(|(count, over)| *count > at || *over).await;
            let there = told.is_ok_and(|told| told.0 > at);
            let chunk = there.then(|| lock(&records.chunks)[at].clone())?;
            Some((Ok(chunk), (at + 1, records)))
        })
        .boxed()
    }
}

fn lock(chunks: &Mutex<Vec<Chunk>>) -> MutexGuard<'_, Vec<Chunk>> {
    chunks.lock().unwrap_or_else(PoisonError::into_inner)
}
