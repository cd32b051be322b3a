//! An attempt on the fake engine, as the runner holds it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::super::{BackendError, Chunk, Exit, Handle, Restored};
use super::infrastructure;
use super::script::Ended;
use super::surviving::Records;
use super::world::{World, lock, witness};

/// What an attempt says.
pub(super) enum Said {
    /// Whoever says it waits until it is heard.
    Live(mpsc::Receiver<Result<Chunk, BackendError>>),
    Recorded(Records),
}

pub(super) struct FakeHandle {
    pub(super) stage: String,
    pub(super) name: String,
    pub(super) world: Arc<Mutex<World>>,
    pub(super) output: Mutex<Option<Said>>,
    pub(super) exit: watch::Receiver<Option<Ended>>,
    pub(super) restored: Vec<Option<Restored>>,
    pub(super) term: CancellationToken,
    pub(super) kill: CancellationToken,
}

#[async_trait]
impl Handle for FakeHandle {
    fn image_digest(&self) -> Option<String> {
        Some(format!("id:sha256:{:0>64}", hex::encode(&self.stage)))
    }

    fn restored(&self) -> &[Option<Restored>] {
        &self.restored
    }

    fn output(&self) -> BoxStream<'static, Result<Chunk, BackendError>> {
        let chunks = self.output.lock().unwrap_or_else(PoisonError::into_inner).take();
        if chunks.is_none() {
            lock(&self.world)
                .violations
                .push(format!("the output of {} was asked for twice", self.stage));
        }
        match chunks {
            Some(Said::Live(chunks)) => stream::unfold(chunks, |mut chunks| async move {
                chunks.recv().await.map(|chunk| (chunk, chunks))
            })
            .boxed(),
            Some(Said::Recorded(records)) => records.stream(),
            None => stream::empty().boxed(),
        }
    }

    async fn wait(&self) -> Result<Exit, BackendError> {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await;
        match ended.ok().and_then(|ended| ended.clone()) {
            Some(Ended::Exit(exit)) => Ok(exit),
            Some(Ended::Broken(message)) => Err(infrastructure(&message)),
            None => Err(infrastructure("the fake stage vanished")),
        }
    }

    async fn stop(&self, grace: Duration) -> Result<(), BackendError> {
        lock(&self.world).calls.push(format!("stop {} {}s", self.stage, grace.as_secs()));
        witness(&self.world, &self.name, |seen| {
            seen.stopped.get_or_insert(Instant::now());
        });
        self.term.cancel();
        let mut exit = self.exit.clone();
        tokio::select! {
            biased;
            _ = exit.wait_for(Option::is_some) => {}
            () = sleep(grace) => self.kill.cancel(),
        }
        Ok(())
    }
}
