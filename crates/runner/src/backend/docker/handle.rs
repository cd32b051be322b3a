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
use shipline_init::frame;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tracing::debug_span;

use super::engine::{Engine, fault, is_missing, status, text};
use super::helper::exit_code;
use super::output::{Attached, Ending, chunks};
use super::slot::Lease;
use crate::backend::{BackendError, Chunk, Exit, Handle, Restored, Usage, Use};

const REMOVED: &str = "the container was removed from outside";
const UNWATCHED: &str = "the container was killed while shipline was away";
/// How long a killed container may take to be gone.
const DEATH: Duration = Duration::from_secs(10);
/// How long the daemon may be away before its containers are given up.
const RETURN: Duration = Duration::from_secs(30);

/// A container that was started.
pub(super) struct Container {
    engine: Engine,
    id: String,
    image_digest: String,
    /// Why a shell that cannot be executed is the fault of the image.
    foreign: Option<String>,
    limits: Limits,
    restored: Vec<Option<Restored>>,
    attached: Mutex<Option<(Attached, BytesMut)>>,
    commands: Vec<String>,
    ending: Arc<Ending>,
    /// We sent the signal that cannot be refused.
    killed: AtomicBool,
    /// The network it is on, if that goes to another stage afterwards.
    lease: Mutex<Option<Lease>>,
    /// Held, since closing it closes the stdin of the container; in a lock only
    /// because a writer cannot be shared.
    input: tokio::sync::Mutex<Pin<Box<dyn AsyncWrite + Send>>>,
    /// Another process began it: its records come out of a file.
    adopted: Option<Adopted>,
}

/// How a container was found that another process began.
#[derive(Clone, Copy)]
struct Adopted {
    /// It had ended by then.
    had_ended: bool,
}

/// What the container may use.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) memory: u64,
    pub(super) pids: u32,
}

impl Limits {
    fn usage(self, used: frame::Usage) -> Usage {
        let frame::Usage { memory_peak, pids_peak, pids_refused, full, .. } = used;
        Usage {
            memory: Use { peak: memory_peak, limit: Some(self.memory) },
            pids: Use { peak: pids_peak, limit: Some(u64::from(self.pids)) },
            pids_refused,
            full: full.into_iter().map(|full| (full.place, full.size)).collect(),
        }
    }
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
        // PID 1 knows that nothing is left some time before the engine says so. What it wrote
        // into a file may be of the stage itself.
        let heard = !self.engine.podman && self.adopted.is_none();
        let (lost, told) = tokio::select! {
            biased;
            () = self.ending.told(), if heard => (None, true),
            lost = self.stopped() => (lost?, false),
        };
        if lost.is_none() {
            self.leave_network();
        }
        self.tell_over().await;
        let _told = debug_span!("how it ended");
        // Nobody asked for the output; the last records are needed all the same.
        let mut rest = self.output();
        while rest.next().await.is_some() {}
        self.ending.over().await;
        let said = self.ending.said();
        let out_of_memory = said.usage.as_ref().and_then(|usage| usage.out_of_memory);
        let out_of_memory = out_of_memory.unwrap_or(false);
        let mut exit = Exit {
            code: said.ended.map_or(137, |ended| i64::from(ended.code)),
            oom_killed: out_of_memory,
            lost,
            outputs: said.outputs,
            refused: said.refused,
            usage: self.limits.usage(said.usage.unwrap_or_default()),
        };
        if exit.lost.is_some() {
            return Ok(Exit { oom_killed: false, ..exit });
        }
        if !told {
            self.look(&mut exit).await?;
        }
        let unwatched = self.adopted.is_some_and(|adopted| adopted.had_ended);
        if unwatched && exit.lost.is_none() && said.ended.is_none() && !exit.oom_killed {
            exit.lost = Some(UNWATCHED.to_owned());
        }
        // PID 1 always says how the stage ended, unless it was killed itself.
        if exit.lost.is_none() && exit.code == 0 && said.ended.is_none() {
            let why = said.broken.unwrap_or_else(|| "the last record is missing".to_owned());
            exit.lost = Some(format!("the output of the container broke off: {why}"));
        }
        if exit.lost.is_none() && self.ended_with_the_engine(&exit).await {
            exit.lost = Some("the docker daemon was stopped".to_owned());
        }
        if let Some(foreign) = &self.foreign
            && exit.code == 126
            && !said.began
        {
            let message = foreign.clone();
            return Err(BackendError::User { code: Some("E090"), message });
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
        (image_digest, foreign): (String, Option<String>),
        limits: Limits,
        restored: Vec<Option<Restored>>,
        commands: Vec<String>,
        attached: AttachContainerResults,
        begun: BytesMut,
    ) -> Self {
        Self {
            engine: engine.clone(),
            id,
            image_digest,
            foreign,
            limits,
            restored,
            attached: Mutex::new(Some((attached.output, begun))),
            commands,
            ending: Ending::new(),
            killed: AtomicBool::new(false),
            lease: Mutex::default(),
            input: tokio::sync::Mutex::new(attached.input),
            adopted: None,
        }
    }

    /// `attached` is a helper that follows its records.
    pub(super) fn adopted(self, had_ended: bool) -> Self {
        Self { adopted: Some(Adopted { had_ended }), ..self }
    }

    /// Tells whoever follows the records that there will be no more.
    async fn tell_over(&self) {
        if self.adopted.is_some() {
            let mut input = self.input.lock().await;
            // Who is gone has told all it ever will.
            drop(input.write_all(b"\n").await);
            drop(input.flush().await);
        }
    }

    /// It runs on a network that was made ahead.
    pub(super) fn on(self, lease: Option<Lease>) -> Self {
        Self { lease: Mutex::new(lease), ..self }
    }

    /// Gives its network back: nothing of it runs any more.
    fn leave_network(&self) {
        if let Some(lease) = self.lease.lock().expect("nobody panics with this lock").take() {
            lease.give_back();
        }
    }

    /// Asks the engine how it ended.
    async fn look(&self, exit: &mut Exit) -> Result<(), BackendError> {
        match self.engine.docker.inspect_container(&self.id, None::<InspectContainerOptions>).await
        {
            Ok(found) => {
                let state = found.state.unwrap_or_default();
                if state.dead == Some(true) || state.status == Some(Status::REMOVING) {
                    exit.lost = Some(REMOVED.to_owned());
                }
                exit.code = state.exit_code.unwrap_or(exit.code);
                // The engine may tell it late, and Podman not at all.
                exit.oom_killed |= state.oom_killed.unwrap_or(false);
            }
            Err(error) if is_missing(&error) => {
                exit.lost = Some(REMOVED.to_owned());
            }
            Err(error) => return Err(fault("the exit of a container cannot be read", &error)),
        }
        Ok(())
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

    /// An engine that is stopped listens no more, and then stops its containers: that is no
    /// end of the stage's own.
    async fn ended_with_the_engine(&self, exit: &Exit) -> bool {
        let signalled = matches!(exit.code, 137 | 143) && !exit.oom_killed;
        signalled && self.engine.dial().await.is_err()
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
