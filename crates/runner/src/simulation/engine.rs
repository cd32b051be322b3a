//! The fake engine behind a connection that fails: calls are slow, or end in an error before
//! or after their effect, or are the last thing that a process does.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use event::RunId;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::mutation::Mutation;
use super::world::{Chaos, Fate, Life};
use crate::backend::fake::FakeBackend;
use crate::backend::{
    Adopted, AttemptSpec, Backend, BackendError, BuildSpec, Built, CheckSpec, Choose, Chunk, Exit,
    Handle, Joined, Kept, LayerId, Left, Piece, PushSpec, Pushed, Released, Restored, RunContext,
    Services, View,
};
use crate::{Registry, Workspace};

#[derive(Clone)]
pub(super) struct FaultyBackend {
    pub(super) inner: FakeBackend,
    pub(super) chaos: Chaos,
    pub(super) life: Arc<Life>,
    pub(super) mutation: Option<Mutation>,
    /// The process was started after another died.
    pub(super) again: bool,
}

fn fault(message: &str) -> BackendError {
    BackendError::Infrastructure { part: "simulation", message: message.to_owned() }
}

impl FaultyBackend {
    /// A call; `undo` is what an engine does with what it made, when it then fails.
    async fn call<T, F: Future<Output = ()>>(
        &self,
        what: &str,
        stage: &str,
        call: impl Future<Output = Result<T, BackendError>>,
        undo: impl FnOnce(T) -> F,
    ) -> Result<T, BackendError> {
        let (before, after) = self.life.next_call();
        self.life.dies(before).await;
        let fate = self.chaos.fate();
        if let Fate::Slow(time) = fate {
            sleep(time).await;
            self.life.dies(false).await;
        }
        if fate == Fate::Before {
            self.chaos.tell(format!("FAULT {what} {stage} is not done"));
            self.chaos.blame(stage);
            return Err(fault("connection refused"));
        }
        let answer = call.await;
        self.life.dies(after).await;
        match answer {
            Ok(value) if fate == Fate::After => {
                self.chaos.tell(format!("FAULT {what} {stage} is done, its answer is lost"));
                self.chaos.blame(stage);
                undo(value).await;
                Err(fault("connection reset"))
            }
            Err(error) => {
                self.chaos.blame(stage);
                Err(error)
            }
            answer => answer,
        }
    }

    fn leaves_all(&self) -> bool {
        match self.mutation {
            Some(Mutation::NoCleaning) => true,
            Some(Mutation::NoCleaningAfterRestart) => self.again,
            _ => false,
        }
    }
}

async fn leave<T>(_: T) {}

#[async_trait]
impl Backend for FaultyBackend {
    async fn prepare(&self, run: &RunContext) -> Result<(), BackendError> {
        self.call("prepare", "", self.inner.prepare(run), leave).await
    }

    async fn base(&self, workspace: &Workspace) -> Result<Option<String>, BackendError> {
        self.inner.base(workspace).await
    }

    async fn checkout(
        &self,
        run: &RunContext,
        layer: LayerId,
        workspace: &Workspace,
        depth: Option<u32>,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<(), BackendError> {
        let call = self.inner.checkout(run, layer, workspace, depth, output, cancel);
        self.call("checkout", "checkout", call, leave).await
    }

    async fn serve(
        &self,
        run: &RunContext,
        attempt: &AttemptSpec,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn Services>, BackendError> {
        let call = self.inner.serve(run, attempt, cancel);
        let stop = |services: Box<dyn Services>| async move { services.stop() };
        self.call("serve", &attempt.stage, call, stop).await
    }

    async fn start(
        &self,
        run: &RunContext,
        attempt: &AttemptSpec,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn Handle>, BackendError> {
        let call = self.inner.start(run, attempt, cancel);
        let kill = |handle: Box<dyn Handle>| async move {
            let _ = handle.stop(Duration::ZERO).await;
            let _ = handle.wait().await;
        };
        let inner = self.call("start", &attempt.stage, call, kill).await?;
        self.chaos.tell(format!("container {} runs", attempt.name));
        let (engine, stage) = (self.clone(), attempt.stage.clone());
        Ok(Box::new(FaultyHandle { inner, engine, stage }))
    }

    async fn adopt(
        &self,
        run: &RunContext,
        attempt: &AttemptSpec,
    ) -> Result<Adopted, BackendError> {
        if self.mutation == Some(Mutation::Amnesia) {
            return Ok(Adopted::Absent);
        }
        let adopted = self.inner.adopt(run, attempt);
        let adopted = self.call("adopt", &attempt.stage, adopted, leave).await?;
        Ok(match adopted {
            Adopted::Joined(Joined { handle: inner, services, started, ended }) => {
                self.chaos.tell(format!("container {} is joined", attempt.name));
                let (engine, stage) = (self.clone(), attempt.stage.clone());
                let handle = Box::new(FaultyHandle { inner, engine, stage });
                Adopted::Joined(Joined { handle, services, started, ended })
            }
            adopted => adopted,
        })
    }

    async fn release(&self, run: &RunContext, attempt: &Released) {
        if !self.leaves_all() {
            self.life.dies(false).await;
            self.inner.release(run, attempt).await;
        }
    }

    async fn read(
        &self,
        run: &RunContext,
        view: &View,
        choose: Choose,
        to: mpsc::Sender<Piece>,
    ) -> Result<(), BackendError> {
        self.inner.read(run, view, choose, to).await
    }

    async fn keep(
        &self,
        run: &RunContext,
        attempt: &AttemptSpec,
        cache: usize,
        restored: Option<&Restored>,
    ) -> Result<Kept, BackendError> {
        self.inner.keep(run, attempt, cache, restored).await
    }

    async fn seal(&self, run: &RunContext, layer: LayerId) -> Result<(), BackendError> {
        self.call("seal", "", self.inner.seal(run, layer), leave).await
    }

    async fn build(
        &self,
        run: &RunContext,
        attempt: &BuildSpec,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<Built, BackendError> {
        let call = self.inner.build(run, attempt, output, cancel);
        self.call("build", &attempt.stage, call, leave).await
    }

    async fn push(
        &self,
        run: &RunContext,
        attempt: &PushSpec,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<Pushed, BackendError> {
        let call = self.inner.push(run, attempt, output, cancel);
        self.call("push", &attempt.stage, call, leave).await
    }

    async fn check(
        &self,
        check: &CheckSpec,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<Exit, BackendError> {
        self.inner.check(check, output, cancel).await
    }

    async fn sweep_checks(&self, instance: &str) -> Result<usize, BackendError> {
        self.inner.sweep_checks(instance).await
    }

    async fn image(
        &self,
        reference: &str,
        registry: Option<&Registry>,
        pull: bool,
        cancel: &CancellationToken,
    ) -> Result<String, BackendError> {
        self.inner.image(reference, registry, pull, cancel).await
    }

    async fn place(&self, run: &RunContext, stage: &str, layer: LayerId, lower: &[LayerId]) {
        self.inner.place(run, stage, layer, lower).await;
    }

    async fn still_has(&self, left: &Left) -> Result<bool, BackendError> {
        self.inner.still_has(left).await
    }

    async fn remove_layers(
        &self,
        instance: &str,
        of: &(dyn Fn(RunId) -> bool + Sync),
        except: &[LayerId],
    ) -> Result<usize, BackendError> {
        self.inner.remove_layers(instance, of, except).await
    }

    async fn clean(&self, run: &RunContext) -> Result<(), BackendError> {
        if self.leaves_all() {
            return Ok(());
        }
        if self.mutation == Some(Mutation::Greedy) {
            let stranger = RunContext { instance: "stranger".to_owned(), ..run.clone() };
            self.inner.clean(&stranger).await?;
        }
        self.chaos.tell("clean");
        self.call("clean", "clean", self.inner.clean(run), leave).await
    }

    async fn sweep(&self, instance: &str, alive: &[RunId]) -> Result<usize, BackendError> {
        if self.leaves_all() {
            return Ok(0);
        }
        self.chaos.tell("sweep");
        self.call("sweep", "clean", self.inner.sweep(instance, alive), leave).await
    }
}

struct FaultyHandle {
    inner: Box<dyn Handle>,
    engine: FaultyBackend,
    stage: String,
}

#[async_trait]
impl Handle for FaultyHandle {
    fn image_digest(&self) -> Option<String> {
        self.inner.image_digest()
    }

    fn restored(&self) -> &[Option<Restored>] {
        self.inner.restored()
    }

    fn output(&self) -> BoxStream<'static, Result<Chunk, BackendError>> {
        self.inner.output()
    }

    /// The connection may break while the container runs on.
    async fn wait(&self) -> Result<Exit, BackendError> {
        if matches!(self.engine.chaos.fate(), Fate::Before | Fate::After) {
            sleep(Duration::from_secs(1)).await;
            self.engine.life.dies(false).await;
            self.engine.chaos.tell(format!("FAULT waiting for {} breaks off", self.stage));
            self.engine.chaos.blame(&self.stage);
            return Err(fault("connection reset"));
        }
        let exit = self.inner.wait().await;
        self.engine.life.dies(false).await;
        match exit {
            Ok(exit) if self.engine.mutation == Some(Mutation::Rosy) => {
                Ok(Exit { code: 0, ..exit })
            }
            Err(error) => {
                self.engine.chaos.blame(&self.stage);
                Err(error)
            }
            exit => exit,
        }
    }

    async fn stop(&self, grace: Duration) -> Result<(), BackendError> {
        self.engine.life.dies(false).await;
        if self.engine.mutation == Some(Mutation::DeafStop) {
            return Ok(());
        }
        if self.engine.chaos.fate() == Fate::Before {
            self.engine.chaos.tell(format!("FAULT {} is not told to stop", self.stage));
            return Err(fault("connection refused"));
        }
        self.engine.chaos.tell(format!("stop {} within {grace:?}", self.stage));
        self.inner.stop(grace).await
    }
}
