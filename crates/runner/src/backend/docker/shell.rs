//! A container for a person, on the files a stage left: what is changed there is discarded.

use std::pin::Pin;

use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, HealthConfig, HostConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, ResizeContainerTTYOptionsBuilder, StartContainerOptions,
};
use bytes::Bytes;
use event::OutputStream;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::io::AsyncWrite;
use tokio_util::sync::CancellationToken;

use super::DockerBackend;
use super::container::{self, mount};
use super::engine::{fault, text};
use super::helper::exit_code;
use super::image;
use super::labels::Kind;
use super::layer::{self, Attempt};
use crate::backend::{Backend, BackendError, Chunk, LayerId, RunContext};
use crate::{Registry, Scene, WORKSPACE};

/// A started container that listens; [`OpenShell::close`] removes it.
pub struct OpenShell<'a> {
    backend: &'a DockerBackend,
    run: RunContext,
    id: String,
}

/// What goes in and comes out.
pub struct ShellStreams {
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
    /// With a terminal there is one stream only.
    pub output: BoxStream<'static, Result<Chunk, BackendError>>,
}

impl DockerBackend {
    /// Starts `command` where a stage was, on a terminal if `terminal` says so.
    pub async fn shell(
        &self,
        instance: &str,
        scene: &Scene,
        registry: Option<&Registry>,
        command: &[String],
        terminal: bool,
        cancel: &CancellationToken,
    ) -> Result<(OpenShell<'_>, ShellStreams), BackendError> {
        let run = RunContext::aside(instance);
        match self.open(&run, scene, registry, command, terminal, cancel).await {
            Ok((id, streams)) => Ok((OpenShell { backend: self, run, id }, streams)),
            Err(error) => {
                if let Err(left) = self.clean(&run).await {
                    tracing::warn!("what a shell began with could not be removed: {left}");
                }
                Err(error)
            }
        }
    }

    async fn open(
        &self,
        run: &RunContext,
        scene: &Scene,
        registry: Option<&Registry>,
        command: &[String],
        terminal: bool,
        cancel: &CancellationToken,
    ) -> Result<(String, ShellStreams), BackendError> {
        self.prepare(run).await?;
        let engine = &self.engine;
        let image =
            image::ensure(engine, &self.pulls, &scene.image, registry, false, cancel).await?;
        let name = format!("shipline-{}-shell", run.run.short());
        let attempt = Attempt {
            stage: &scene.stage,
            attempt: 1,
            container: &name,
            layer: LayerId { run: run.run, index: 0, attempt: 1 },
            lower: &scene.layers,
            merge: Some(&pipeline::Merge::Last),
        };
        let view = layer::view(engine, &self.layers, run, &attempt).await?;
        let body = ContainerCreateBody {
            image: Some(image.id),
            entrypoint: Some(command.to_vec()),
            cmd: Some(Vec::new()),
            user: Some(scene.user.clone().unwrap_or_else(|| "0:0".to_owned())),
            working_dir: Some(scene.workdir.clone()),
            env: Some(scene.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            labels: Some(attempt.labels(engine, run, Kind::Stage).map()),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            open_stdin: Some(true),
            stdin_once: Some(true),
            tty: Some(terminal),
            healthcheck: Some(HealthConfig {
                test: Some(vec!["NONE".to_owned()]),
                ..Default::default()
            }),
            host_config: Some(HostConfig {
                mounts: Some(vec![mount(view, WORKSPACE, false)]),
                tmpfs: Some(container::scratch()),
                log_config: Some(container::no_log()),
                ..container::confined(engine, &scene.resources)
            }),
            ..Default::default()
        };
        let id = container::create(engine, run, &name, body).await?;
        let options = AttachContainerOptionsBuilder::default()
            .stream(true)
            .stdin(true)
            .stdout(true)
            .stderr(true)
            .build();
        let attached = engine.docker.attach_container(&id, Some(options)).await;
        let attached = attached.map_err(|error| fault("the shell cannot be attached", &error))?;
        let started = engine.docker.start_container(&id, None::<StartContainerOptions>).await;
        started.map_err(|error| {
            let said = text(&error);
            let missing = ["executable file not found", "no such file or directory"];
            if missing.iter().any(|words| said.contains(words)) {
                let what = command.first().map_or("", String::as_str);
                let message = format!("`{what}` is not in image `{}`", scene.named);
                return BackendError::User { code: Some("E091"), message };
            }
            fault("the shell cannot be started", &error)
        })?;
        let output = attached.output.map(|piece| match piece {
            Ok(LogOutput::StdErr { message }) => Ok(chunk(OutputStream::Stderr, message)),
            Ok(other) => Ok(chunk(OutputStream::Stdout, other.into_bytes())),
            Err(error) => Err(fault("the shell is not heard any more", &error)),
        });
        Ok((id, ShellStreams { input: attached.input, output: output.boxed() }))
    }
}

fn chunk(stream: OutputStream, bytes: Bytes) -> Chunk {
    Chunk { stream, bytes }
}

impl OpenShell<'_> {
    /// Tells the container how large the terminal is, in characters.
    pub async fn resize(&self, width: u16, height: u16) -> Result<(), BackendError> {
        let options = ResizeContainerTTYOptionsBuilder::default()
            .w(i32::from(width))
            .h(i32::from(height))
            .build();
        let resized = self.backend.engine.docker.resize_container_tty(&self.id, options).await;
        resized.map_err(|error| fault("the terminal cannot be resized", &error))
    }

    /// Waits until the command has ended, and returns its exit code.
    pub async fn wait(&self) -> Result<i64, BackendError> {
        let code = exit_code(&self.backend.engine, &self.id).await;
        code.map_err(|error| fault("the end of the shell is not known", &error))
    }

    /// Removes the container, whatever still runs in it, and the files made there.
    pub async fn close(self) -> Result<(), BackendError> {
        let Self { backend, run, .. } = self;
        backend.clean(&run).await
    }
}
