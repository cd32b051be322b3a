//! A backend whose every call is a place where a test may let the process die.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use event::RunId;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::backend::{
    Adopted, AttemptSpec, Backend, BackendError, BuildSpec, Built, CheckSpec, Choose, Chunk, Exit,
    Handle, Joined, Kept, LayerId, Left, Piece, PushSpec, Pushed, Released, Restored, RunContext,
    Services, View,
};
use crate::{Registry, Workspace};

/// Puts the places around `backend`.
pub(crate) fn around(backend: Arc<dyn Backend>) -> Arc<dyn Backend> {
    Arc::new(Crashing(backend))
}

struct Crashing(Arc<dyn Backend>);

async fn call<T>(what: &str, call: impl Future<Output = T>) -> T {
    crash::before(|| what.to_owned());
    let answer = call.await;
    crash::after(|| what.to_owned());
    answer
}

#[async_trait]
impl Backend for Crashing {
    async fn prepare(&self, run: &RunContext) -> Result<(), BackendError> {
        call("prepare", self.0.prepare(run)).await
    }

    async fn base(&self, workspace: &Workspace) -> Result<Option<String>, BackendError> {
        call("base", self.0.base(workspace)).await
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
        call("checkout", self.0.checkout(run, layer, workspace, depth, output, cancel)).await
    }

    async fn serve(
        &self,
        run: &RunContext,
        attempt: &AttemptSpec,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn Services>, BackendError> {
        call("serve", self.0.serve(run, attempt, cancel)).await
    }

    async fn start(
        &self,
        run: &RunContext,
        attempt: &AttemptSpec,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn Handle>, BackendError> {
        let handle = call("start", self.0.start(run, attempt, cancel)).await?;
        Ok(Box::new(CrashingHandle(handle)))
    }

    async fn adopt(
        &self,
        run: &RunContext,
        attempt: &AttemptSpec,
    ) -> Result<Adopted, BackendError> {
        Ok(match call("adopt", self.0.adopt(run, attempt)).await? {
            Adopted::Joined(joined) => {
                let handle = Box::new(CrashingHandle(joined.handle));
                Adopted::Joined(Joined { handle, ..joined })
            }
            adopted => adopted,
        })
    }

    async fn release(&self, run: &RunContext, attempt: &Released) {
        call("release", self.0.release(run, attempt)).await;
    }

    async fn read(
        &self,
        run: &RunContext,
        view: &View,
        choose: Choose,
        to: mpsc::Sender<Piece>,
    ) -> Result<(), BackendError> {
        call("read", self.0.read(run, view, choose, to)).await
    }

    async fn keep(
        &self,
        run: &RunContext,
        attempt: &AttemptSpec,
        cache: usize,
        restored: Option<&Restored>,
    ) -> Result<Kept, BackendError> {
        call("keep", self.0.keep(run, attempt, cache, restored)).await
    }

    async fn seal(&self, run: &RunContext, layer: LayerId) -> Result<(), BackendError> {
        call("seal", self.0.seal(run, layer)).await
    }

    async fn build(
        &self,
        run: &RunContext,
        attempt: &BuildSpec,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<Built, BackendError> {
        call("build", self.0.build(run, attempt, output, cancel)).await
    }

    async fn push(
        &self,
        run: &RunContext,
        attempt: &PushSpec,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<Pushed, BackendError> {
        call("push", self.0.push(run, attempt, output, cancel)).await
    }

    async fn check(
        &self,
        check: &CheckSpec,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<Exit, BackendError> {
        call("check", self.0.check(check, output, cancel)).await
    }

    async fn sweep_checks(&self, instance: &str) -> Result<usize, BackendError> {
        call("sweep checks", self.0.sweep_checks(instance)).await
    }

    async fn image(
        &self,
        reference: &str,
        registry: Option<&Registry>,
        pull: bool,
        cancel: &CancellationToken,
    ) -> Result<String, BackendError> {
        call("image", self.0.image(reference, registry, pull, cancel)).await
    }

    async fn place(&self, run: &RunContext, stage: &str, layer: LayerId, lower: &[LayerId]) {
        call("place", self.0.place(run, stage, layer, lower)).await;
    }

    async fn still_has(&self, left: &Left) -> Result<bool, BackendError> {
        self.0.still_has(left).await
    }

    async fn remove_layers(
        &self,
        instance: &str,
        of: &(dyn Fn(RunId) -> bool + Sync),
        except: &[LayerId],
    ) -> Result<usize, BackendError> {
        call("remove layers", self.0.remove_layers(instance, of, except)).await
    }

    async fn clean(&self, run: &RunContext) -> Result<(), BackendError> {
        call("clean", self.0.clean(run)).await
    }

    async fn sweep(&self, instance: &str, alive: &[RunId]) -> Result<usize, BackendError> {
        call("sweep", self.0.sweep(instance, alive)).await
    }
}

struct CrashingHandle(Box<dyn Handle>);

#[async_trait]
impl Handle for CrashingHandle {
    fn image_digest(&self) -> Option<String> {
        self.0.image_digest()
    }

    fn restored(&self) -> &[Option<Restored>] {
        self.0.restored()
    }

    fn output(&self) -> BoxStream<'static, Result<Chunk, BackendError>> {
        self.0.output()
    }

    async fn wait(&self) -> Result<Exit, BackendError> {
        call("wait", self.0.wait()).await
    }

    async fn stop(&self, grace: Duration) -> Result<(), BackendError> {
        call("stop", self.0.stop(grace)).await
    }
}
