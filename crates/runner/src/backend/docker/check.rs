//! Commands that test what is deployed: a container like a stage's, without a workspace,
//! on a sealed network with a door to each address that is tested.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use deploy::Reach;
use futures_util::StreamExt;
use pipeline::{Resources, Shell};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::clean::{remove_all, remove_container};
use super::container::{self, StartError};
use super::door::Door;
use super::engine::{Engine, Owner, status, text};
use super::handle::Container;
use super::labels::{self, Kind, Labels};
use super::network::{self, Wanted};
use super::{DockerBackend, image};
use crate::backend::{
    AttemptSpec, BackendError, CheckSpec, Chunk, Exit, Handle, LayerId, RunContext,
};

/// From TERM to KILL, where the check is cancelled.
const GRACE: Duration = Duration::from_secs(5);
/// How long what was stopped may take to be gone; then it is removed as it is.
const PATIENCE: Duration = Duration::from_secs(15);
/// A network may be busy for a moment after its container is gone.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn check(
    backend: &DockerBackend,
    check: &CheckSpec,
    output: &mpsc::Sender<Chunk>,
    cancel: &CancellationToken,
) -> Result<Exit, BackendError> {
    // Only to fetch the image takes long, and that ends with the token: what is being made
    // when it is cancelled could not be found by its name yet.
    let ended = match Box::pin(made(backend, check, cancel)).await {
        Ok((container, doors)) => {
            let exit = to_its_end(&container, output, cancel).await;
            drop(doors);
            exit
        }
        Err(error) => Err(error),
    };
    // Not under the token: it may be cancelled.
    let removed = remove(&backend.engine, &check.name).await;
    let exit = ended?;
    removed?;
    if cancel.is_cancelled() {
        return Err(BackendError::Cancelled);
    }
    match exit.lost {
        Some(lost) => Err(BackendError::Infrastructure { part: "docker", message: lost }),
        None => Ok(exit),
    }
}

/// Removes what checks of processes left that are dead.
pub(super) async fn sweep(engine: &Engine, instance: &str) -> Result<usize, BackendError> {
    let of = [(labels::INSTANCE, instance), (labels::KIND, Kind::Check.text())];
    let is_dead = |object: &super::clean::Object| {
        let owner = object.labels.get(labels::OWNER).map(|owner| Owner::parse(owner));
        owner == Some(Owner::Dead)
    };
    remove_all(engine, &of, is_dead).await
}

/// Makes and starts everything of a check. What there is of it by an error has its name.
async fn made(
    backend: &DockerBackend,
    check: &CheckSpec,
    cancel: &CancellationToken,
) -> Result<(Container, Vec<Door>), BackendError> {
    let engine = &backend.engine;
    let run = RunContext::aside(&check.instance);
    let registry = check.registry.as_ref();
    let image = image::ensure(engine, &backend.pulls, &check.image, registry, false, cancel);
    let delivered = backend.delivery.ensure(engine, &check.instance);
    let (image, ()) = tokio::try_join!(Box::pin(image), delivered)?;
    let wanted = Wanted {
        name: &check.name,
        of: &check.name,
        containers: 1,
        labels: labels(engine, check),
        sealed: true,
    };
    let gateway = network::make(engine, &wanted, || remove(engine, &check.name)).await?;
    let (doors, env) = open(check, gateway.into()).await?;
    let spec = attempt(&run, check, env);
    for again in [false, true] {
        let labels = labels(engine, check);
        let network = check.name.clone();
        let started = container::start_apart(engine, &run, &spec, image.clone(), labels, network);
        match Box::pin(started).await {
            Ok(container) => return Ok((container, doors)),
            // Taken away since it was delivered, as `docker volume prune` does.
            Err(StartError::Undelivered) if !again => {
                backend.delivery.forget().await;
                remove_container(engine, &check.name).await?;
                backend.delivery.ensure(engine, &check.instance).await?;
            }
            Err(StartError::Backend(error)) => return Err(error),
            Err(StartError::Undelivered) => break,
            Err(StartError::Unmounted(message) | StartError::Network(message)) => {
                return Err(BackendError::Infrastructure { part: "docker", message });
            }
        }
    }
    let message = "shipline-init cannot be brought into containers".to_owned();
    Err(BackendError::Infrastructure { part: "docker", message })
}

/// Opens a door to each address, and returns the variables that say where.
async fn open(
    check: &CheckSpec,
    at: IpAddr,
) -> Result<(Vec<Door>, BTreeMap<String, String>), BackendError> {
    let mut doors: BTreeMap<SocketAddr, Door> = BTreeMap::new();
    for address in check.reaches.iter().flat_map(|reach| &reach.addresses) {
        if !doors.contains_key(address) {
            let door = Door::open(at, *address).await.map_err(|error| shut(at, &error))?;
            doors.insert(*address, door);
        }
    }
    let reached = |address| doors.get(&address).map_or(address, |door| door.address);
    let told = |reach: &Reach| (reach.variable.to_owned(), reach.value(reached));
    let env = check.env.clone().into_iter().chain(check.reaches.iter().map(told)).collect();
    Ok((doors.into_values().collect(), env))
}

fn shut(at: IpAddr, error: &std::io::Error) -> BackendError {
    let message = format!(
        "a check reaches units through {at}, the address of its network on the engine's machine, \
         and this process cannot listen there: {error}\n  \
         checks that run commands need an engine on the machine that deploys"
    );
    BackendError::Infrastructure { part: "verify", message }
}

fn labels(engine: &Engine, check: &CheckSpec) -> Labels {
    Labels::new(&check.instance, Kind::Check).with(labels::OWNER, &engine.owner)
}

fn attempt(run: &RunContext, check: &CheckSpec, env: BTreeMap<String, String>) -> AttemptSpec {
    AttemptSpec {
        stage: check.name.clone(),
        attempt: 1,
        name: check.name.clone(),
        image: check.image.clone(),
        registry: check.registry.clone(),
        pull: false,
        commands: check.commands.clone(),
        shell: Shell::Sh,
        user: None,
        workdir: crate::WORKSPACE.to_owned(),
        resources: Resources::default(),
        env,
        layer: LayerId { run: run.run, index: 0, attempt: 1 },
        lower: Vec::new(),
        merge: None,
        caches: Vec::new(),
        secrets: Vec::new(),
        services: Vec::new(),
    }
}

/// Passes on what it says until it has ended; a cancel makes it end.
async fn to_its_end(
    container: &Container,
    output: &mpsc::Sender<Chunk>,
    cancel: &CancellationToken,
) -> Result<Exit, BackendError> {
    let saying = async {
        let mut said = container.output();
        while let Some(chunk) = said.next().await {
            // Nobody listening any more is not the check's problem.
            let _ = output.send(chunk?).await;
        }
        Ok(())
    };
    let stopping = async {
        cancel.cancelled().await;
        if let Err(error) = container.stop(GRACE).await {
            tracing::warn!("a check could not be told to stop: {error}");
        }
        sleep(PATIENCE).await;
    };
    let ending = async {
        let (exit, said): (_, Result<(), BackendError>) = tokio::join!(container.wait(), saying);
        let exit = exit?;
        said.map(|()| exit)
    };
    tokio::select! {
        exit = ending => exit,
        () = stopping => Err(BackendError::Cancelled),
    }
}

/// Removes container and network of a check, whatever there is of them.
async fn remove(engine: &Engine, name: &str) -> Result<(), BackendError> {
    remove_container(engine, name).await?;
    for _ in 0..TRIES {
        match engine.docker.remove_network(name).await {
            Err(error) if status(&error) != Some(404) => {
                tracing::debug!("network `{name}` is not gone yet: {}", text(&error));
                sleep(PAUSE).await;
            }
            _ => return Ok(()),
        }
    }
    let message = format!("network `{name}` cannot be removed");
    Err(BackendError::Infrastructure { part: "docker", message })
}
