//! The services of a stage: containers on a network of its own, asked until they are ready.
//!
//! They are asked from inside, by `shipline-init` in the role `probe`: nothing of the image is
//! needed for it, and it works as well on an engine of another machine.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::ContainerStateStatusEnum as Status;
use bollard::models::{
    ContainerCreateBody, ContainerState, EndpointSettings, HostConfig, HostConfigLogConfig,
    NetworkingConfig,
};
use bollard::query_parameters::{
    InspectContainerOptions, LogsOptionsBuilder, StartContainerOptions,
};
use event::OutputStream;
use futures_util::future::try_join_all;
use futures_util::stream::{self, BoxStream, FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::clean::remove_container;
use super::container::{MEMORY, confined, mount, try_create};
use super::engine::{Engine, fault, is_missing, status, text};
use super::helper::exit_code;
use super::image::Image;
use super::init;
use super::labels::Kind;
use super::layer::Attempt;
use super::network;
use super::probe::{Asked, Question};
use crate::backend::{
    AttemptSpec, BackendError, Chunk, LAST_LINES, RunContext, ServiceEnd, ServiceError,
    ServiceFailure, ServiceReady, ServiceSpec, Services,
};

/// How the engine keeps what a service writes: the last 8 to 16 MiB.
const LOG: [(&str, &str); 3] = [("max-size", "8m"), ("max-file", "2"), ("compress", "false")];
/// How long the daemon may be away before its containers are given up.
const RETURN: Duration = Duration::from_secs(30);
/// Between two looks at a daemon that is away.
const LOOK: Duration = Duration::from_millis(250);
/// For an end that has happened to become known.
const ENDING: Duration = Duration::from_secs(10);
/// What the engine says begins so where no better words were found for it.
const OF_RUNTIME: &str = "OCI runtime";

/// The services of an attempt, and where they are.
pub(super) struct Served {
    engine: Engine,
    network: String,
    services: Vec<Service>,
    /// Removals behind the run.
    behind: Arc<Mutex<JoinSet<()>>>,
}

/// One of them, started.
struct Service {
    spec: ServiceSpec,
    image: Image,
    /// Of its container.
    name: String,
    started: Instant,
}

/// Starts the services of an attempt on a network of their own.
pub(super) async fn start(
    engine: &Engine,
    run: &RunContext,
    attempt: &AttemptSpec,
    images: Vec<Image>,
    behind: Arc<Mutex<JoinSet<()>>>,
) -> Result<Served, BackendError> {
    network::create(engine, run, attempt).await?;
    let services = attempt.services.iter().zip(images);
    let services = try_join_all(
        services.map(|(spec, image)| start_one(engine, run, attempt, spec.clone(), image)),
    );
    let services = services.await?;
    Ok(Served { engine: engine.clone(), network: attempt.name.clone(), services, behind })
}

/// The services of an attempt that another process started; whether they are still there is
/// seen by whoever looks.
pub(super) async fn rejoin(
    engine: &Engine,
    attempt: &AttemptSpec,
    behind: &Arc<Mutex<JoinSet<()>>>,
) -> Result<Served, BackendError> {
    let mut services = Vec::new();
    for spec in &attempt.services {
        let image = super::image::find(engine, &spec.image).await?.unwrap_or_default();
        let name = container(attempt, &spec.name);
        services.push(Service { spec: spec.clone(), image, name, started: Instant::now() });
    }
    let (engine, network) = (engine.clone(), attempt.name.clone());
    Ok(Served { engine, network, services, behind: Arc::clone(behind) })
}

/// The container of a service. Slugs have no dots, so no stage is named like it.
pub(super) fn container(attempt: &AttemptSpec, service: &str) -> String {
    format!("{}.{service}", attempt.name)
}

async fn start_one(
    engine: &Engine,
    run: &RunContext,
    attempt: &AttemptSpec,
    spec: ServiceSpec,
    image: Image,
) -> Result<Service, BackendError> {
    let name = container(attempt, &spec.name);
    let created = try_create(engine, run, &name, body(engine, run, attempt, &spec, &image)).await?;
    created.map_err(|error| create_error(&spec, &name, &error))?;
    let started = engine.docker.start_container(&name, None::<StartContainerOptions>).await;
    started.map_err(|error| start_error(engine, &spec, &image, &error))?;
    Ok(Service { spec, image, name, started: Instant::now() })
}

/// An image that says nothing of what to run is the user's.
fn create_error(spec: &ServiceSpec, container: &str, error: &Error) -> BackendError {
    let said = text(error).to_ascii_lowercase();
    if ["no command specified", "no command or entrypoint"].iter().any(|words| said.contains(words))
    {
        let message = format!(
            "service `{}` has nothing to run: image `{}` has no command, so write one as `command`",
            spec.name, spec.image
        );
        return BackendError::User { code: Some("E094"), message };
    }
    fault(format!("`{container}` cannot be made"), error)
}

/// A command that the image does not have is the user's.
fn start_error(engine: &Engine, spec: &ServiceSpec, image: &Image, error: &Error) -> BackendError {
    let (said, name) = (text(error), &spec.name);
    if let Some(foreign) = foreign(engine, spec, image)
        && said.contains("exec format error")
    {
        return foreign;
    }
    // `exec: "NAME": executable file not found in $PATH`, and its like.
    if said.contains("exec: \"") {
        let why = match not_there(&said) {
            Some(command) => format!("`{command}` is not in the image"),
            None => said,
        };
        let message =
            format!("service `{name}` of image `{}` cannot be started: {why}", spec.image);
        return BackendError::User { code: Some("E094"), message };
    }
    fault(format!("service `{name}` cannot be started"), error)
}

/// The command that is not there, by the words of who starts it.
fn not_there(said: &str) -> Option<&str> {
    let (command, why) = said.split_once("exec: \"")?.1.split_once("\": ")?;
    let missing = ["executable file not found", "no such file or directory"];
    missing.iter().any(|words| why.contains(words)).then_some(command)
}

/// E090, where the image is for another machine than the engine's.
fn foreign(engine: &Engine, spec: &ServiceSpec, image: &Image) -> Option<BackendError> {
    super::image::foreign(engine, &spec.image, image)
}

fn body(
    engine: &Engine,
    run: &RunContext,
    attempt: &AttemptSpec,
    spec: &ServiceSpec,
    image: &Image,
) -> ContainerCreateBody {
    let endpoint =
        EndpointSettings { aliases: Some(vec![spec.name.clone()]), ..Default::default() };
    let labels = Attempt::of(attempt).labels(engine, run, Kind::Service);
    ContainerCreateBody {
        image: Some(image.id.clone()),
        hostname: Some(spec.name.clone()),
        cmd: Some(spec.command.clone()).filter(|command| !command.is_empty()),
        env: Some(spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        labels: Some(labels.map()),
        host_config: Some(HostConfig {
            mounts: Some(vec![mount(init::volume(), init::DIRECTORY, true)]),
            network_mode: Some(attempt.name.clone()),
            log_config: Some(log(engine.podman)),
            ..confined(engine, &spec.resources)
        }),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some([(attempt.name.clone(), endpoint)].into()),
        }),
        ..Default::default()
    }
}

#[async_trait]
impl Services for Served {
    async fn ready(&self, told: &mpsc::Sender<ServiceReady>) -> Result<(), ServiceError> {
        let waiting: FuturesUnordered<_> =
            self.services.iter().map(|service| self.ready_one(service, told)).collect();
        let mut waiting = std::pin::pin!(waiting);
        while let Some(ready) = waiting.next().await {
            ready?;
        }
        Ok(())
    }

    async fn ended(&self) -> ServiceError {
        let ends: FuturesUnordered<_> =
            self.services.iter().map(|service| self.end_of(service, None)).collect();
        let mut ends = std::pin::pin!(ends);
        match ends.next().await {
            Some(end) => end,
            // Without services none ends.
            None => std::future::pending().await,
        }
    }

    async fn gone(&self) -> Option<ServiceError> {
        for service in &self.services {
            match self.state(service).await {
                Ok(Some(state)) if state.running == Some(true) => {}
                Ok(state) => return Some(self.judge(service, state, None).await),
                Err(error) => return Some(fault(self.unreadable(service), &error).into()),
            }
        }
        None
    }

    fn output(&self, service: &str) -> BoxStream<'static, Result<Chunk, BackendError>> {
        let Some(service) = self.services.iter().find(|found| found.spec.name == service) else {
            return stream::empty().boxed();
        };
        let what = format!("the output of service `{}` cannot be read", service.spec.name);
        let chunks = logs(&self.engine, &service.name, "all");
        chunks.map(move |chunk| chunk.map_err(|error| fault(&what, &error))).boxed()
    }

    fn stop(&self) {
        let (engine, network) = (self.engine.clone(), self.network.clone());
        let containers: Vec<String> =
            self.services.iter().map(|service| service.name.clone()).collect();
        let mut behind = self.behind.lock().expect("nobody panics with this lock");
        while behind.try_join_next().is_some() {}
        behind.spawn(async move {
            for container in containers {
                if let Err(error) = remove_container(&engine, &container).await {
                    tracing::debug!("left to the clean-up: {error}");
                }
            }
            network::remove(&engine, &network).await;
        });
    }
}

impl Served {
    async fn ready_one(
        &self,
        service: &Service,
        told: &mpsc::Sender<ServiceReady>,
    ) -> Result<(), ServiceError> {
        let question = Question::of(&service.spec, &service.image);
        let probe = question.to_string();
        let asked = Asked::default();
        let timeout = service.spec.ready.timeout.std();
        let answered = async {
            match question {
                // It is known to run, until its end is.
                Question::Nothing => Ok(()),
                Question::Unaskable { why } => Err(why),
                Question::Asks(ask) => asked.until_ready(&self.engine, &service.name, &ask).await,
            }
        };
        let end = tokio::select! {
            biased;
            end = self.end_of(service, Some(probe.clone())) => return Err(end),
            answered = answered => match answered {
                Ok(()) => None,
                // Taken away since it was delivered, as `docker volume prune` does.
                Err(said) if said.contains(init::IN_STAGE) => {
                    let message = format!("shipline-init is not in the container: {said}");
                    let part = "docker";
                    return Err(BackendError::Infrastructure { part, message }.into());
                }
                // Nobody can be asked who has ended, and the engine has many words for it.
                Err(said) if self.ends_soon(service, &said).await => {
                    return Err(self.end_of(service, Some(probe)).await);
                }
                Err(said) => Some(ServiceEnd::Unaskable { probe, said }),
            },
            () = tokio::time::sleep_until(service.started + timeout) => {
                Some(ServiceEnd::NotReady { within: timeout, probe, said: asked.said() })
            }
        };
        match end {
            Some(end) => Err(self.failure(service, end).await),
            None => {
                let ready = ServiceReady {
                    name: service.spec.name.clone(),
                    image_digest: service.image.digest.clone(),
                    after: service.started.elapsed(),
                };
                // Nobody who wants to know is no fault of the service.
                let _ = told.send(ready).await;
                Ok(())
            }
        }
    }

    /// Whether it does not run any more; its end may be known a moment later. What the runtime
    /// says when it finds nobody to ask is mostly such an end, which a busy engine tells late.
    async fn ends_soon(&self, service: &Service, said: &str) -> bool {
        let patience = if said.contains(OF_RUNTIME) { ENDING } else { LOOK };
        let ended = exit_code(&self.engine, &service.name);
        tokio::time::timeout(patience, ended).await.is_ok()
    }

    /// Returns when it does not run any more.
    async fn end_of(&self, service: &Service, probe: Option<String>) -> ServiceError {
        let mut away: Option<Instant> = None;
        loop {
            let waited = exit_code(&self.engine, &service.name).await;
            if let Err(error) = &waited
                && !is_missing(error)
            {
                // The daemon went away, or its answer got lost.
                let since = *away.get_or_insert_with(Instant::now);
                if since.elapsed() > RETURN {
                    return fault(self.unreadable(service), error).into();
                }
                tokio::time::sleep(LOOK).await;
                continue;
            }
            match self.state(service).await {
                Ok(Some(state)) if state.running == Some(true) => away = None,
                Ok(state) if away.is_some() && state.is_some() => {
                    let message = "the docker daemon was restarted".to_owned();
                    return BackendError::Infrastructure { part: "docker", message }.into();
                }
                Ok(state) => return self.judge(service, state, probe).await,
                Err(_) => drop(away.get_or_insert_with(Instant::now)),
            }
        }
    }

    /// What it means that a service does not run; `None` is that it is not there.
    async fn judge(
        &self,
        service: &Service,
        state: Option<ContainerState>,
        probe: Option<String>,
    ) -> ServiceError {
        let spec = &service.spec;
        let removed = |state: &ContainerState| {
            state.dead == Some(true) || state.status == Some(Status::REMOVING)
        };
        let Some(state) = state.filter(|state| !removed(state)) else {
            let message = format!("service `{}` was removed from outside", spec.name);
            return BackendError::Infrastructure { part: "docker", message }.into();
        };
        let memory = spec.resources.memory.unwrap_or(MEMORY);
        let end = ServiceEnd::Exited {
            code: state.exit_code.unwrap_or(137),
            out_of_memory: (state.oom_killed == Some(true)).then_some(memory),
            probe,
        };
        let failure = self.failure(service, end).await;
        match (&failure, foreign(&self.engine, spec, &service.image)) {
            (ServiceError::Failed(failed), Some(foreign))
                if failed.last_lines.iter().any(|line| line.contains("exec format error")) =>
            {
                foreign.into()
            }
            _ => failure,
        }
    }

    async fn failure(&self, service: &Service, end: ServiceEnd) -> ServiceError {
        let mut text = Vec::new();
        let mut chunks = logs(&self.engine, &service.name, &LAST_LINES.to_string());
        while let Some(Ok(chunk)) = chunks.next().await {
            text.extend_from_slice(&chunk.bytes);
        }
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        // The engine counts records, and long lines are several.
        let surplus = lines.len().saturating_sub(LAST_LINES);
        ServiceError::Failed(ServiceFailure {
            service: service.spec.name.clone(),
            image: service.spec.image.clone(),
            end,
            last_lines: lines[surplus..].to_vec(),
        })
    }

    /// `None`: it is not there.
    async fn state(&self, service: &Service) -> Result<Option<ContainerState>, Error> {
        let options = None::<InspectContainerOptions>;
        match self.engine.docker.inspect_container(&service.name, options).await {
            Ok(found) => Ok(Some(found.state.unwrap_or_default())),
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn unreadable(&self, service: &Service) -> String {
        format!("service `{}` cannot be looked at", service.spec.name)
    }
}

/// What it says is kept for those who ask later, and bounded.
fn log(podman: bool) -> HostConfigLogConfig {
    let options = LOG.map(|(name, value)| (name.to_owned(), value.to_owned()));
    // Podman has the same by another name, and does not know how to turn files over.
    let (driver, options) = if podman {
        ("k8s-file", options.into_iter().filter(|(name, _)| name == "max-size").collect())
    } else {
        ("local", options.into())
    };
    HostConfigLogConfig { typ: Some(driver.to_owned()), config: Some(options) }
}

/// What the engine has of the output of a container, from its `tail`th last line on.
fn logs(engine: &Engine, container: &str, tail: &str) -> BoxStream<'static, Result<Chunk, Error>> {
    let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail(tail).build();
    let logs = engine.docker.logs(container, Some(options));
    logs.map(|output| {
        output.map(|output| {
            let stream = match output {
                LogOutput::StdErr { .. } => OutputStream::Stderr,
                _ => OutputStream::Stdout,
            };
            Chunk { stream, bytes: output.into_bytes() }
        })
    })
    .boxed()
}
