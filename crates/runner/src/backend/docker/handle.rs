//! A started container: what it says, how it ends, how it is stopped.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bollard::container::AttachContainerResults;
use bollard::models::ContainerStateStatusEnum as Status;
use bollard::query_parameters::{InspectContainerOptions, KillContainerOptionsBuilder};
use bytes::BytesMut;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::io::AsyncWrite;

use super::engine::{Engine, fault, is_missing, status, text};
use super::helper::exit_code;
use super::output::{Attached, Ending, chunks};
use crate::backend::{BackendError, Chunk, Exit, Handle, Restored};

const REMOVED: &str = "the container was removed from outside";
/// How long a killed container may take to be gone.
const DEATH: Duration = Duration::from_secs(10);
/// How long the daemon may be away before its containers are given up.
const RETURN: Duration = Duration::from_secs(30);

/// A container that was started.
pub(super) struct Container {
    engine: Engine,
    id: String,
    image_digest: String,
    restored: Vec<Option<Restored>>,
    attached: Mutex<Option<(Attached, BytesMut)>>,
    commands: Vec<String>,
    ending: Arc<Ending>,
    /// We sent the signal that cannot be refused.
    killed: AtomicBool,
    /// Held, since closing it closes the stdin of the container; in a lock only
    /// because a writer cannot be shared.
    _input: Mutex<Pin<Box<dyn AsyncWrite + Send>>>,
}

#[async_trait]
impl Handle for Container {
    fn image_digest(&self) -> Option<String> {
        Some(self.image_digest.clone())
    }

    fn restored(&self) -> &[Option<Restored>] {
        &self.restored
    }

    fn output(&self) -> BoxStream<'static, Result<Chunk, BackendError>> {
        let attached = self.attached.lock().expect("nobody panics with this lock").take();
        match attached {
            Some((attached, begun)) => {
                chunks(attached, begun, self.commands.clone(), Arc::clone(&self.ending))
            }
            None => stream::empty().boxed(),
        }
    }

    async fn wait(&self) -> Result<Exit, BackendError> {
        let lost = self.stopped().await?;
        // Nobody asked for the output; the last records are needed all the same.
        let mut rest = self.output();
        while rest.next().await.is_some() {}
        self.ending.over().await;
        let said = self.ending.said();
        let mut exit = Exit {
            code: said.ended.map_or(137, |ended| i64::from(ended.code)),
            oom_killed: false,
            lost,
            outputs: said.outputs,
        };
        if exit.lost.is_some() {
            return Ok(exit);
        }
        match self.engine.docker.inspect_container(&self.id, None::<InspectContainerOptions>).await
        {
            Ok(found) => {
                let state = found.state.unwrap_or_default();
                if state.dead == Some(true) || state.status == Some(Status::REMOVING) {
                    exit.lost = Some(REMOVED.to_owned());
                }
                exit.code = state.exit_code.unwrap_or(exit.code);
                exit.oom_killed = state.oom_killed.unwrap_or(false);
            }
            Err(error) if is_missing(&error) => {
                exit.lost = Some(REMOVED.to_owned());
            }
            Err(error) => return Err(fault("the exit of a container cannot be read", &error)),
        }
        // PID 1 always says how the stage ended, unless it was killed itself.
        if exit.lost.is_none() && exit.code == 0 && said.ended.is_none() {
            let why = said.broken.unwrap_or_else(|| "the last record is missing".to_owned());
            exit.lost = Some(format!("the output of the container broke off: {why}"));
        }
        Ok(exit)
    }

    async fn stop(&self, grace: Duration) -> Result<(), BackendError> {
        self.signal("SIGTERM").await?;
        if self.stops_within(grace).await {
            return Ok(());
        }
        self.killed.store(true, Ordering::Release);
        self.signal("SIGKILL").await?;
        if self.stops_within(DEATH).await {
            return Ok(());
        }
        let message = format!("container {} does not die", self.id);
        Err(BackendError::Infrastructure { part: "docker", message })
    }
}

impl Container {
    /// `begun` is what of the output was read already.
    pub(super) fn new(
        engine: &Engine,
        id: String,
        image_digest: String,
        restored: Vec<Option<Restored>>,
        commands: Vec<String>,
        attached: AttachContainerResults,
        begun: BytesMut,
    ) -> Self {
        Self {
            engine: engine.clone(),
            id,
            image_digest,
            restored,
            attached: Mutex::new(Some((attached.output, begun))),
            commands,
            ending: Ending::new(),
            killed: AtomicBool::new(false),
            _input: Mutex::new(attached.input),
        }
    }

    /// Returns when it does not run; with the reason when it was lost to us.
    async fn stopped(&self) -> Result<Option<String>, BackendError> {
        match exit_code(&self.engine, &self.id).await {
            Ok(_) => return Ok(None),
            Err(error) if is_missing(&error) => {
                return Ok(Some(REMOVED.to_owned()));
            }
            Err(_) => {}
        }
        // The daemon went away. What is left of the container when it is back?
        let deadline = tokio::time::Instant::now() + RETURN;
        loop {
            let found = self
                .engine
                .docker
                .inspect_container(&self.id, None::<InspectContainerOptions>)
                .await;
            match found {
                Ok(found) => {
                    let state = found.state.unwrap_or_default();
                    if state.running == Some(true) {
                        // Its output since then is gone; a stage half heard has not passed.
                        self.kill_for_good().await;
                        return Ok(Some("the connection to the docker daemon broke".to_owned()));
                    }
                    let heard = self.ending.said().ended.is_some();
                    let own = self.killed.load(Ordering::Acquire) || state.oom_killed == Some(true);
                    let lost = !heard && !own;
                    return Ok(lost.then(|| "the docker daemon was restarted".to_owned()));
                }
                Err(error) if is_missing(&error) => {
                    return Ok(Some("the container vanished with the docker daemon".to_owned()));
                }
                Err(error) if tokio::time::Instant::now() >= deadline => {
                    return Err(fault("the docker daemon does not come back", &error));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
            }
        }
    }

    async fn kill_for_good(&self) {
        if self.signal("SIGKILL").await.is_ok() {
            self.stops_within(DEATH).await;
        }
    }

    async fn stops_within(&self, time: Duration) -> bool {
        // An error of waiting is no news of its death.
        let stopped = async {
            while let Err(error) = exit_code(&self.engine, &self.id).await {
                if is_missing(&error) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        };
        tokio::time::timeout(time, stopped).await.is_ok()
    }

    /// A container that does not run, or is gone, needs no signal.
    async fn signal(&self, signal: &str) -> Result<(), BackendError> {
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        match self.engine.docker.kill_container(&self.id, Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) if matches!(status(&error), Some(404 | 409)) => Ok(()),
            Err(error) if text(&error).contains("is not running") => Ok(()),
            Err(error) => Err(fault(format!("container {} cannot be signalled", self.id), &error)),
        }
    }
}
