//! A backend that does nothing and remembers nothing, so that what a run costs is the runner's.

use std::time::Duration;

use async_trait::async_trait;
use event::RunId;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::backend::{
    Adopted, AttemptSpec, Backend, BackendError, BuildSpec, Built, CheckSpec, Choose, Chunk, Exit,
    Handle, Kept, LayerId, Left, Piece, PushSpec, Pushed, Released, Restored, RunContext, Services,
    View,
};
use crate::{Registry, Workspace};

/// Every attempt ends with 0 as soon as it is started; there are no services, images or caches.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdleBackend;

struct Ended;

#[async_trait]
impl Handle for Ended {
    fn image_digest(&self) -> Option<String> {
        None
    }

    fn restored(&self) -> &[Option<Restored>] {
        &[]
    }

    fn output(&self) -> BoxStream<'static, Result<Chunk, BackendError>> {
        stream::empty().boxed()
    }

    async fn wait(&self) -> Result<Exit, BackendError> {
        Ok(Exit::default())
    }

    async fn stop(&self, _: Duration) -> Result<(), BackendError> {
        Ok(())
    }
}

fn missing(what: &str) -> BackendError {
    BackendError::Infrastructure { part: "backend", message: format!("it has no {what}") }
}

#[async_trait]
impl Backend for IdleBackend {
    async fn prepare(&self, _: &RunContext) -> Result<(), BackendError> {
        Ok(())
    }

    async fn base(&self, _: &Workspace) -> Result<Option<String>, BackendError> {
        Ok(None)
    }

    async fn checkout(
        &self,
        _: &RunContext,
        _: LayerId,
        _: &Workspace,
        _: Option<u32>,
        _: &mpsc::Sender<Chunk>,
        _: &CancellationToken,
    ) -> Result<(), BackendError> {
        Ok(())
    }

    async fn serve(
        &self,
        _: &RunContext,
        _: &AttemptSpec,
        _: &CancellationToken,
    ) -> Result<Box<dyn Services>, BackendError> {
        Err(missing("services"))
    }

    async fn start(
        &self,
        _: &RunContext,
        _: &AttemptSpec,
        _: &CancellationToken,
    ) -> Result<Box<dyn Handle>, BackendError> {
        Ok(Box::new(Ended))
    }

    async fn adopt(&self, _: &RunContext, _: &AttemptSpec) -> Result<Adopted, BackendError> {
        Ok(Adopted::Absent)
    }

    async fn release(&self, _: &RunContext, _: &Released) {}

    async fn read(
        &self,
        _: &RunContext,
        _: &View,
        _: Choose,
        _: mpsc::Sender<Piece>,
    ) -> Result<(), BackendError> {
        Err(missing("files"))
    }

    async fn keep(
        &self,
        _: &RunContext,
        _: &AttemptSpec,
        _: usize,
        _: Option<&Restored>,
    ) -> Result<Kept, BackendError> {
        Err(missing("caches"))
    }

    async fn check(
        &self,
        _: &CheckSpec,
        _: &mpsc::Sender<Chunk>,
        _: &CancellationToken,
    ) -> Result<Exit, BackendError> {
        Err(missing("checks"))
    }

    async fn sweep_checks(&self, _: &str) -> Result<usize, BackendError> {
        Ok(0)
    }

    async fn seal(&self, _: &RunContext, _: LayerId) -> Result<(), BackendError> {
        Ok(())
    }

    async fn build(
        &self,
        _: &RunContext,
        _: &BuildSpec,
        _: &mpsc::Sender<Chunk>,
        _: &CancellationToken,
    ) -> Result<Built, BackendError> {
        Err(missing("images"))
    }

    async fn push(
        &self,
        _: &RunContext,
        _: &PushSpec,
        _: &mpsc::Sender<Chunk>,
        _: &CancellationToken,
    ) -> Result<Pushed, BackendError> {
        Err(missing("images"))
    }

    async fn image(
        &self,
        _: &str,
        _: Option<&Registry>,
        _: bool,
        _: &CancellationToken,
    ) -> Result<String, BackendError> {
        Err(missing("images"))
    }

    async fn place(&self, _: &RunContext, _: &str, _: LayerId, _: &[LayerId]) {}

    async fn still_has(&self, _: &Left) -> Result<bool, BackendError> {
        Ok(false)
    }

    async fn remove_layers(
        &self,
        _: &str,
        _: &(dyn Fn(RunId) -> bool + Sync),
        _: &[LayerId],
    ) -> Result<usize, BackendError> {
        Ok(0)
    }

    async fn clean(&self, _: &RunContext) -> Result<(), BackendError> {
        Ok(())
    }

    async fn sweep(&self, _: &str, _: &[RunId]) -> Result<usize, BackendError> {
        Ok(0)
    }
}
