//! The floor: what the engine itself needs, by its API and by its command.

use std::io;
use std::process::Stdio;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, StartContainerOptions, WaitContainerOptionsBuilder,
};
use futures_util::StreamExt as _;

use crate::lab::IMAGE;

/// A connection to the engine.
#[derive(Clone)]
pub struct Engine(Docker);

impl Engine {
    pub async fn connect() -> io::Result<Self> {
        let docker = Docker::connect_with_defaults().map_err(io::Error::other)?;
        // The engine may be older than what is spoken by default.
        let docker = docker.negotiate_version().await.map_err(io::Error::other)?;
        Ok(Self(docker))
    }

    /// Creates, starts, waits for and removes one container, and nothing else.
    pub async fn container(&self, command: &[&str]) -> io::Result<()> {
        let id = self.create(command).await?;
        let docker = &self.0;
        let started = docker.start_container(&id, None::<StartContainerOptions>).await;
        started.map_err(io::Error::other)?;
        self.end(&id).await
    }

    /// As [`Engine::container`], and reads what it prints; returns how many bytes.
    pub async fn attached(&self, command: &[&str]) -> io::Result<u64> {
        let id = self.create(command).await?;
        let options = AttachContainerOptionsBuilder::default().stream(true).stdout(true).build();
        let attached = self.0.attach_container(&id, Some(options)).await;
        let mut output = attached.map_err(io::Error::other)?.output;
        let started = self.0.start_container(&id, None::<StartContainerOptions>).await;
        started.map_err(io::Error::other)?;
        let mut bytes = 0;
        while let Some(piece) = output.next().await {
            bytes += piece.map_err(io::Error::other)?.into_bytes().len() as u64;
        }
        self.end(&id).await?;
        Ok(bytes)
    }

    async fn create(&self, command: &[&str]) -> io::Result<String> {
        let body = ContainerCreateBody {
            image: Some(IMAGE.to_owned()),
            cmd: Some(command.iter().map(|word| (*word).to_owned()).collect()),
            host_config: Some(HostConfig {
                log_config: Some(HostConfigLogConfig {
                    typ: Some("none".to_owned()),
                    config: None,
                }),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::default().build();
        let created = self.0.create_container(Some(options), body).await;
        Ok(created.map_err(io::Error::other)?.id)
    }

    /// Waits until it has ended, and removes it.
    async fn end(&self, id: &str) -> io::Result<()> {
        let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
        let ended = self.0.wait_container(id, Some(options)).next().await;
        ended.transpose().map_err(io::Error::other)?;
        let options = RemoveContainerOptionsBuilder::default().force(true).build();
        self.0.remove_container(id, Some(options)).await.map_err(io::Error::other)
    }

    /// How many containers have a name that begins so.
    pub async fn count(&self, prefix: &str) -> io::Result<usize> {
        let name = format!("^/{prefix}");
        let filters = std::collections::HashMap::from([("name", vec![name.as_str()])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let found = self.0.list_containers(Some(options)).await;
        Ok(found.map_err(io::Error::other)?.len())
    }
}

/// `docker run --rm`
pub async fn docker_run(arguments: &[&str], command: &[&str]) -> io::Result<()> {
    let mut docker = tokio::process::Command::new("docker");
    docker.args(["run", "--rm"]).args(arguments).args(command);
    docker.stdin(Stdio::null()).stdout(Stdio::null());
    let status = docker.status().await?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("docker run: {status}"))) }
}
