//! Containers of our own beside the stages: they hold volumes for the archive
//! API, or run a role of `shipline-init` on layers.

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, StartContainerOptions,
    WaitContainerOptionsBuilder,
};
use futures_util::StreamExt;

use super::clean::remove_container;
use super::engine::{Engine, fault, is_missing, status};
use super::init;
use super::labels::Labels;
use crate::backend::BackendError;

/// What a helper is made of.
pub(super) struct Helper {
    pub(super) name: String,
    pub(super) labels: Labels,
    pub(super) mounts: Vec<Mount>,
    pub(super) command: Vec<String>,
    pub(super) capabilities: Vec<&'static str>,
    /// Somebody will speak to it.
    pub(super) stdin: bool,
}

/// Creates it without starting it; one of that name is ours from a former life.
pub(super) async fn create(engine: &Engine, helper: Helper) -> Result<String, BackendError> {
    let (name, instance) = (helper.name, helper.labels.instance().to_owned());
    let command: Vec<String> =
        [init::IN_HELPER.to_owned()].into_iter().chain(helper.command).collect();
    let container = ContainerCreateBody {
        image: Some(init::image()),
        entrypoint: Some(command),
        labels: Some(helper.labels.map()),
        attach_stdin: Some(helper.stdin),
        open_stdin: Some(helper.stdin),
        stdin_once: Some(helper.stdin),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        host_config: Some(HostConfig {
            mounts: Some(helper.mounts),
            network_mode: Some("none".to_owned()),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(helper.capabilities.into_iter().map(str::to_owned).collect()),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            init: Some(false),
            ..Default::default()
        }),
        ..Default::default()
    };
    let options = || Some(CreateContainerOptionsBuilder::default().name(&name).build());
    let created = match engine.create_container(options(), container.clone()).await {
        Err(error) if status(&error) == Some(409) => {
            remove_container(engine, &name).await?;
            engine.create_container(options(), container).await
        }
        // The image was taken away since it was delivered.
        Err(error) if is_missing(&error) => {
            init::import(engine, &instance).await?;
            engine.create_container(options(), container).await
        }
        result => result,
    };
    created.map_err(|error| fault("a helper cannot be made", &error))?;
    Ok(name)
}

/// Runs it to its end, removes it, and returns what it printed.
pub(super) async fn run(engine: &Engine, helper: Helper) -> Result<Vec<u8>, BackendError> {
    let name = create(engine, helper).await?;
    let result = run_created(engine, &name).await;
    let removed = remove_container(engine, &name).await;
    let (code, stdout, stderr) = result.map_err(|error| fault("a helper cannot be run", &error))?;
    removed?;
    if code == 0 {
        return Ok(stdout);
    }
    let message = String::from_utf8_lossy(&stderr).trim().to_owned();
    Err(BackendError::Infrastructure { part: "workspace", message })
}

async fn run_created(engine: &Engine, name: &str) -> Result<(i64, Vec<u8>, Vec<u8>), Error> {
    let options =
        AttachContainerOptionsBuilder::default().stream(true).stdout(true).stderr(true).build();
    let mut attached = engine.docker.attach_container(name, Some(options)).await?;
    engine.docker.start_container(name, None::<StartContainerOptions>).await?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(output) = attached.output.next().await {
        match output? {
            LogOutput::StdErr { message } => stderr.extend(message),
            output => stdout.extend(output.into_bytes()),
        }
    }
    Ok((exit_code(engine, name).await?, stdout, stderr))
}

/// Waits until a started container has stopped. Bollard makes an error of every
/// code but 0.
pub(super) async fn exit_code(engine: &Engine, name: &str) -> Result<i64, Error> {
    let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
    let mut waiting = std::pin::pin!(engine.docker.wait_container(name, Some(options)));
    match waiting.next().await {
        Some(Ok(response)) => Ok(response.status_code),
        Some(Err(Error::DockerContainerWaitError { code, .. })) => Ok(code),
        Some(Err(error)) => Err(error),
        None => Err(Error::IOError { err: std::io::ErrorKind::UnexpectedEof.into() }),
    }
}
