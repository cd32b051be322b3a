//! The connection to a Docker engine.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, ContainerCreateResponse, Volume, VolumeCreateRequest};
use bollard::query_parameters::CreateContainerOptions;
use bollard::{API_DEFAULT_VERSION, Docker};
use tokio::sync::{RwLock, oneshot};
use tokio::task::JoinSet;

use crate::backend::BackendError;

const DEFAULT_ADDRESS: &str = "unix:///var/run/docker.sock";
/// For the first answers: a daemon that hangs is none.
const GREETING: Duration = Duration::from_secs(10);
/// For one answer of the engine; starting a container on a busy machine is the slowest.
const ANSWER: Duration = Duration::from_secs(60);
/// Where an answer comes only after all of an archive has gone in.
const UPLOAD: Duration = Duration::from_secs(3600);

/// Why no engine can be used, in one line with the way out.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(
        "no Docker engine answers at {address}: start it, or install it (Debian: apt-get install docker.io)"
    )]
    NoAnswer {
        address: String,
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    #[error(
        "this user may not use the Docker engine at {address}: run as root, or join its group (usermod -aG docker USER, then log in again)"
    )]
    Denied { address: String },
    #[error(
        "`{address}` is not the address of a Docker engine: unix://PATH or tcp://HOST:PORT is expected"
    )]
    Address { address: String },
}

/// An engine that has answered, and what we know of it.
#[derive(Clone)]
pub(super) struct Engine {
    pub(super) docker: Docker,
    /// Waits longer for answers.
    pub(super) patient: Docker,
    /// Where the engine keeps its volumes; on its own machine, which may not be ours.
    root: String,
    pub(super) cpus: i64,
    /// `PID:STARTTIME` of this process.
    pub(super) owner: String,
    making: Arc<Making>,
}

/// What is being made: the engine makes it also when nobody waits for the answer
/// any more, so whoever cleans up has to.
#[derive(Default)]
struct Making {
    tasks: Mutex<JoinSet<()>>,
    /// Shared by all that is being made.
    under_way: Arc<RwLock<()>>,
}

impl Engine {
    pub(super) async fn connect(address: Option<&str>) -> Result<Self, ConnectError> {
        let address = address.filter(|address| !address.is_empty()).unwrap_or(DEFAULT_ADDRESS);
        let seconds = ANSWER.as_secs();
        let no_answer = |source: Box<dyn std::error::Error + Send + Sync>| ConnectError::NoAnswer {
            address: address.to_owned(),
            source: Some(source),
        };
        let docker = match address.split_once("://") {
            Some(("unix", path)) => {
                // Bollard hides why a socket cannot be opened.
                match UnixStream::connect(path) {
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        return Err(ConnectError::Denied { address: address.to_owned() });
                    }
                    Err(error) => return Err(no_answer(error.into())),
                    Ok(_) => Docker::connect_with_unix(path, seconds, API_DEFAULT_VERSION),
                }
            }
            Some(("tcp" | "http", _)) => {
                Docker::connect_with_http(address, seconds, API_DEFAULT_VERSION)
            }
            _ => return Err(ConnectError::Address { address: address.to_owned() }),
        };
        let docker = docker.map_err(|error| no_answer(error.into()))?;
        // Always negotiated: what we ask for must not be newer than the engine.
        let greet = async {
            let docker = docker.negotiate_version().await?;
            let info = docker.info().await?;
            Ok::<_, Error>((docker, info))
        };
        let (docker, info) = match tokio::time::timeout(GREETING, greet).await {
            Ok(greeted) => greeted.map_err(|error| no_answer(error.into()))?,
            Err(silent) => return Err(no_answer(silent.into())),
        };
        Ok(Self {
            patient: docker.clone().with_timeout(UPLOAD),
            docker,
            root: info.docker_root_dir.unwrap_or_else(|| "/var/lib/docker".to_owned()),
            cpus: info.ncpu.unwrap_or(1).max(1),
            owner: owner(),
            making: Arc::default(),
        })
    }

    pub(super) async fn create_container(
        &self,
        options: Option<CreateContainerOptions>,
        body: ContainerCreateBody,
    ) -> Result<ContainerCreateResponse, Error> {
        let docker = self.docker.clone();
        self.make(async move { docker.create_container(options, body).await }).await
    }

    pub(super) async fn create_volume(
        &self,
        request: VolumeCreateRequest,
    ) -> Result<Volume, Error> {
        let docker = self.docker.clone();
        self.make(async move { docker.create_volume(request).await }).await
    }

    /// Goes on with `making` when the caller is dropped.
    async fn make<T: Send + 'static>(
        &self,
        making: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let under_way = Arc::clone(&self.making.under_way).read_owned().await;
        let (answer, answered) = oneshot::channel();
        {
            let mut tasks = self.making.tasks.lock().expect("nobody panics with this lock");
            while tasks.try_join_next().is_some() {}
            tasks.spawn(async move {
                // Whoever asked may have gone.
                drop(answer.send(making.await));
                drop(under_way);
            });
        }
        answered.await.unwrap_or_else(|_| {
            let err = io::Error::other("the request was broken off");
            Err(Error::IOError { err })
        })
    }

    /// Returns when the engine has answered to all that it was asked to make before.
    pub(super) async fn settled(&self) {
        drop(self.making.under_way.write().await);
    }

    /// Returns where the engine keeps a volume of its `local` driver.
    pub(super) fn volume_path(&self, name: &str) -> String {
        format!("{}/volumes/{name}/_data", self.root)
    }
}

/// Returns `PID:STARTTIME` of this process; a pid alone comes again.
fn owner() -> String {
    let pid = std::process::id();
    format!("{pid}:{}", start_time(pid).unwrap_or_default())
}

fn start_time(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in brackets that may hold anything.
    let fields = stat.rsplit_once(") ")?.1;
    fields.split(' ').nth(19).map(str::to_owned)
}

/// Who made an object of this machine's engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Own,
    /// Another process that lives.
    Living,
    Dead,
}

impl Owner {
    pub(super) fn parse(text: &str) -> Self {
        let Some((pid, time)) = text.split_once(':') else { return Self::Dead };
        let Ok(pid) = pid.parse::<u32>() else { return Self::Dead };
        match start_time(pid) {
            Some(found) if found == time && pid == std::process::id() => Self::Own,
            Some(found) if found == time => Self::Living,
            _ => Self::Dead,
        }
    }
}

/// The engine did not do `what`.
pub(super) fn fault(what: impl std::fmt::Display, error: &Error) -> BackendError {
    BackendError::Infrastructure { part: "docker", message: format!("{what}: {}", text(error)) }
}

/// What the engine said, without the words of the library.
pub(super) fn text(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::DockerStreamError { error } => error.clone(),
        error => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(error);
            while let Some(error) = cause {
                let next = error.to_string();
                if !text.contains(&next) {
                    text = format!("{text}: {next}");
                }
                cause = error.source();
            }
            text
        }
    }
}

pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

pub(super) fn is_missing(error: &Error) -> bool {
    status(error) == Some(404)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_said_in_one_line() {
        let error = Engine::connect(Some("unix:///nowhere/docker.sock")).await.err().unwrap();
        assert_eq!(
            error.to_string(),
            "no Docker engine answers at unix:///nowhere/docker.sock: start it, or install it (Debian: apt-get install docker.io)"
        );
        let error = Engine::connect(Some("tcp://127.0.0.1:1")).await.err().unwrap();
        assert!(error.to_string().starts_with("no Docker engine answers at tcp://127.0.0.1:1: "));
    }

    #[tokio::test]
    async fn an_address_we_cannot_speak_to_is_named() {
        let error = Engine::connect(Some("ssh://host")).await.err().unwrap();
        assert!(matches!(error, ConnectError::Address { .. }));
    }

    #[test]
    fn an_owner_is_known_by_its_pid_and_start() {
        assert_eq!(Owner::parse(&owner()), Owner::Own);
        assert_eq!(Owner::parse(&format!("1:{}", start_time(1).unwrap())), Owner::Living);
        assert_eq!(Owner::parse("1:0"), Owner::Dead);
        assert_eq!(Owner::parse("nonsense"), Owner::Dead);
    }
}
