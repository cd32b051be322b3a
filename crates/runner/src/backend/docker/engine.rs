//! The connection to a Docker engine.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, ContainerCreateResponse, NetworkCreateRequest, SystemInfo, SystemVersion,
    Volume, VolumeCreateRequest,
};
use bollard::query_parameters::CreateContainerOptions;
use bollard::{API_DEFAULT_VERSION, Docker};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{RwLock, oneshot};
use tokio::task::JoinSet;

use super::copied::Layering;
use super::network::Subnet;
use crate::backend::BackendError;

/// Where engines listen when nobody says: Docker of root, then what users and Podman have.
const OF_ROOT: &str = "/var/run/docker.sock";
const OF_USER: [&str; 2] = ["docker.sock", "podman/podman.sock"];
const PODMAN_OF_ROOT: &str = "/run/podman/podman.sock";
/// For the first answers: a daemon that hangs is none.
const GREETING: Duration = Duration::from_secs(30);
/// For one answer of the engine; starting a container on a busy machine is the slowest.
const ANSWER: Duration = Duration::from_secs(60);
/// For one about volumes: the engine keeps all of them to itself while it deletes the files of
/// one, which takes minutes for a hundred thousand of them on a slow disk.
const VOLUMES: Duration = Duration::from_secs(600);
/// Where an answer comes only after all of an archive has gone in.
const UPLOAD: Duration = Duration::from_secs(3600);

/// Why no engine can be used, in one line with the way out.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(
        "no Docker engine answers at {address}: start it, or install it (Debian: apt-get install docker.io)"
    )]
    NoAnswer {
        /// All that were looked at.
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

/// Where an engine listens.
#[derive(Clone, Debug)]
enum Address {
    Unix(PathBuf),
    /// Host and port.
    Tcp(String),
}

/// As Go words it.
const NO_SPACE: &str = "no space left on device";

/// A connection to an engine, as it is.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// An engine that has answered, and what we know of it.
#[derive(Clone)]
pub(super) struct Engine {
    pub(super) docker: Docker,
    /// Waits longer for answers.
    pub(super) patient: Docker,
    /// Is asked about volumes; what is not removed in time is left to the clean-up.
    pub(super) volumes: Docker,
    address: Address,
    /// Where the engine keeps its volumes; on its own machine, which may not be ours.
    pub(super) root: String,
    pub(super) cpus: i64,
    /// It is Podman, which speaks the same API with a few differences.
    pub(super) podman: bool,
    /// Of its machine, as images have it: `amd64`.
    pub(super) architecture: String,
    /// Where networks of stages are taken from.
    pub(super) subnets: Subnet,
    /// How views of workspaces are made.
    pub(super) layering: Layering,
    /// Namespaces belong to the machine's root: it runs neither without root nor in another
    /// user namespace.
    pub(super) of_root: bool,
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
    pub(super) async fn connect(
        address: Option<&str>,
        runtime: Option<&Path>,
    ) -> Result<Self, ConnectError> {
        let address = match address.filter(|address| !address.is_empty()) {
            Some(address) => address.to_owned(),
            None => {
                let sockets = sockets(runtime);
                choose(&sockets, |socket| UnixStream::connect(socket).map(drop))?
            }
        };
        let address = address.as_str();
        let seconds = ANSWER.as_secs();
        let no_answer = |source: Box<dyn std::error::Error + Send + Sync>| ConnectError::NoAnswer {
            address: address.to_owned(),
            source: Some(source),
        };
        let (docker, own) = match address.split_once("://") {
            Some(("unix", path)) => {
                // Bollard hides why a socket cannot be opened.
                match UnixStream::connect(path) {
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        return Err(ConnectError::Denied { address: address.to_owned() });
                    }
                    Err(error) => return Err(no_answer(error.into())),
                    Ok(_) => {
                        let docker = Docker::connect_with_unix(path, seconds, API_DEFAULT_VERSION);
                        (docker, Address::Unix(path.into()))
                    }
                }
            }
            Some(("tcp" | "http", host)) => {
                let docker = Docker::connect_with_http(address, seconds, API_DEFAULT_VERSION);
                (docker, Address::Tcp(host.trim_end_matches('/').to_owned()))
            }
            _ => return Err(ConnectError::Address { address: address.to_owned() }),
        };
        let docker = docker.map_err(|error| no_answer(error.into()))?;
        // Always negotiated: what we ask for must not be newer than the engine.
        let greet = async {
            let docker = docker.negotiate_version().await?;
            let (info, version) = tokio::try_join!(docker.info(), docker.version())?;
            Ok::<_, Error>((docker, info, is_podman(&version)))
        };
        let (docker, info, podman) = match tokio::time::timeout(GREETING, greet).await {
            Ok(greeted) => greeted.map_err(|error| no_answer(error.into()))?,
            Err(silent) => return Err(no_answer(silent.into())),
        };
        Ok(Self {
            patient: docker.clone().with_timeout(UPLOAD),
            volumes: docker.clone().with_timeout(VOLUMES),
            docker,
            address: own,
            layering: Layering::of(&info),
            of_root: !podman && !has_user_namespace(&info),
            root: info.docker_root_dir.unwrap_or_else(|| "/var/lib/docker".to_owned()),
            architecture: architecture(info.architecture.as_deref().unwrap_or_default()),
            subnets: Subnet::default(),
            cpus: info.ncpu.unwrap_or(1).max(1),
            podman,
            owner: owner(),
            making: Arc::default(),
        })
    }

    /// Opens a connection of our own, for what the library does not do.
    pub(super) async fn dial(&self) -> io::Result<Box<dyn Connection>> {
        Ok(match &self.address {
            Address::Unix(path) => Box::new(tokio::net::UnixStream::connect(path).await?),
            Address::Tcp(host) => Box::new(tokio::net::TcpStream::connect(host).await?),
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
        let docker = self.volumes.clone();
        self.make(async move { docker.create_volume(request).await }).await
    }

    pub(super) async fn create_network(&self, request: NetworkCreateRequest) -> Result<(), Error> {
        let docker = self.docker.clone();
        self.make(async move { docker.create_network(request).await.map(drop) }).await
    }

    /// Goes on with `making` when the caller is dropped.
    async fn make<T: Send + 'static>(
        &self,
        making: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let making = Box::pin(making);
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

/// Where an engine may listen on this machine, in the order they are asked.
fn sockets(runtime: Option<&Path>) -> Vec<PathBuf> {
    // The specification of the variable has relative paths ignored.
    let runtime = runtime.filter(|runtime| runtime.is_absolute());
    let of_user = runtime.into_iter().flat_map(|runtime| OF_USER.map(|name| runtime.join(name)));
    [OF_ROOT.into()].into_iter().chain(of_user).chain([PODMAN_OF_ROOT.into()]).collect()
}

/// Returns the address of the first socket that `dial` opens. One that we may not use
/// is the answer only where no other opens: a user's own engine may be behind it.
fn choose(
    sockets: &[PathBuf],
    dial: impl Fn(&Path) -> io::Result<()>,
) -> Result<String, ConnectError> {
    let address = |socket: &Path| format!("unix://{}", socket.display());
    let mut denied = None;
    let mut failed = None;
    for socket in sockets {
        match dial(socket) {
            Ok(()) => return Ok(address(socket)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                denied = denied.or_else(|| Some(address(socket)));
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    if let Some(address) = denied {
        return Err(ConnectError::Denied { address });
    }
    let looked: Vec<String> = sockets.iter().map(|socket| address(socket)).collect();
    Err(ConnectError::NoAnswer { address: looked.join(", "), source: failed.map(Into::into) })
}

fn has_user_namespace(info: &SystemInfo) -> bool {
    let options = info.security_options.iter().flatten();
    options.into_iter().any(|name| ["name=rootless", "name=userns"].contains(&name.as_str()))
}

fn is_podman(version: &SystemVersion) -> bool {
    let mut components = version.components.iter().flatten();
    components.any(|component| component.name == "Podman Engine")
}

/// The name that images use for what the kernel calls `machine`.
fn architecture(machine: &str) -> String {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "i386" | "i686" => "386",
        "armv6l" | "armv7l" | "armv8l" => "arm",
        other => other,
    }
    .to_owned()
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

/// The engine did not do `what`: why, and below it what helps, where that is known.
pub(super) fn fault(what: impl std::fmt::Display, error: &Error) -> BackendError {
    let said = text(error);
    let way_out = match way_out(error, &said) {
        Some(way_out) => format!("\n  {way_out}"),
        None => String::new(),
    };
    BackendError::Infrastructure { part: "docker", message: format!("{what}: {said}{way_out}") }
}

fn way_out(error: &Error, said: &str) -> Option<&'static str> {
    if is_away(error) {
        return Some("start the engine again, as with `sudo systemctl start docker`");
    }
    said.contains(NO_SPACE).then_some(
        "the disk of the engine is full: `docker system df` tells what takes it, and \
         `docker system prune` or `shipline clean` makes room",
    )
}

/// Whether nobody listens where the engine did.
fn is_away(error: &Error) -> bool {
    matches!(error, Error::HyperLegacyError { err } if err.is_connect())
}

/// What the engine said, without the words of the library.
pub(super) fn text(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::DockerStreamError { error } => error.clone(),
        Error::HyperLegacyError { err } if err.is_connect() => {
            let mut cause: &dyn std::error::Error = err;
            while let Some(next) = cause.source() {
                cause = next;
            }
            format!("the engine does not answer ({cause})")
        }
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
        let error = Engine::connect(Some("unix:///nowhere/docker.sock"), None).await.err().unwrap();
        assert_eq!(
            error.to_string(),
            "no Docker engine answers at unix:///nowhere/docker.sock: start it, or install it (Debian: apt-get install docker.io)"
        );
        let error = Engine::connect(Some("tcp://127.0.0.1:1"), None).await.err().unwrap();
        assert!(error.to_string().starts_with("no Docker engine answers at tcp://127.0.0.1:1: "));
    }

    #[tokio::test]
    async fn an_engine_that_went_away_is_said_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let docker =
            Docker::connect_with_unix(socket.to_str().unwrap(), 5, API_DEFAULT_VERSION).unwrap();
        drop(listener);
        std::fs::remove_file(socket).unwrap();
        let error = docker.version().await.unwrap_err();
        assert_eq!(
            fault("the exit of a container cannot be read", &error).to_string(),
            "docker: the exit of a container cannot be read: the engine does not answer (No such \
             file or directory (os error 2))\n  start the engine again, as with `sudo systemctl \
             start docker`"
        );
    }

    #[test]
    fn a_full_disk_of_the_engine_is_said_with_the_way_out() {
        let message = "mkdir /var/lib/docker/volumes/v: no space left on device".to_owned();
        let error = Error::DockerResponseServerError { status_code: 500, message };
        let said = fault("a volume cannot be made", &error).to_string();
        assert!(
            said.contains("no space left on device\n  the disk of the engine is full: "),
            "{said}"
        );
    }

    #[test]
    fn sockets_are_those_of_root_and_of_the_user() {
        let of = |runtime: Option<&str>| sockets(runtime.map(Path::new));
        let root = ["/var/run/docker.sock", "/run/podman/podman.sock"].map(PathBuf::from);
        assert_eq!(of(None), root);
        assert_eq!(of(Some("")), root);
        assert_eq!(of(Some("run")), root);
        let user = [
            "/var/run/docker.sock",
            "/run/user/7/docker.sock",
            "/run/user/7/podman/podman.sock",
            "/run/podman/podman.sock",
        ];
        assert_eq!(of(Some("/run/user/7")), user.map(PathBuf::from));
    }

    #[test]
    fn the_first_socket_that_opens_is_taken() {
        let sockets = sockets(Some(Path::new("/run/user/7")));
        let with = |kinds: [Option<io::ErrorKind>; 4]| {
            choose(&sockets, |socket| {
                let place = sockets.iter().position(|known| known == socket).unwrap();
                kinds[place].map_or(Ok(()), |kind| Err(kind.into()))
            })
        };
        let (none, denied) = (Some(io::ErrorKind::NotFound), Some(io::ErrorKind::PermissionDenied));
        let refused = Some(io::ErrorKind::ConnectionRefused);
        assert_eq!(with([None, None, None, None]).unwrap(), "unix:///var/run/docker.sock");
        assert_eq!(with([refused, none, none, None]).unwrap(), "unix:///run/podman/podman.sock");
        // Of two engines a user has, the one that may be used.
        assert_eq!(
            with([denied, none, None, denied]).unwrap(),
            "unix:///run/user/7/podman/podman.sock"
        );
        let said = with([none, none, denied, denied]).unwrap_err().to_string();
        assert!(said.starts_with(
            "this user may not use the Docker engine at unix:///run/user/7/podman/podman.sock: "
        ));
        assert_eq!(
            with([none; 4]).unwrap_err().to_string(),
            "no Docker engine answers at unix:///var/run/docker.sock, unix:///run/user/7/docker.sock, \
             unix:///run/user/7/podman/podman.sock, unix:///run/podman/podman.sock: start it, or \
             install it (Debian: apt-get install docker.io)"
        );
    }

    #[tokio::test]
    async fn an_address_we_cannot_speak_to_is_named() {
        let error = Engine::connect(Some("ssh://host"), None).await.err().unwrap();
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
