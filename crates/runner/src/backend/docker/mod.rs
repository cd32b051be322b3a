//! The [`Backend`] on a Docker engine, reached by nothing but its API.
//!
//! | file | about |
//! | --- | --- |
//! | `engine` | the connection and what its errors mean |
//! | `labels` | names and labels of all we make |
//! | `init` | `shipline-init` delivered to an engine |
//! | `layer`, `lineage`, `join` | workspaces: overlays, what lies above what, what cannot be joined |
//! | `checkout`, `tree` | the base they begin with |
//! | `container`, `handle`, `output` | a stage's container: made and started; watched and stopped; its records |
//! | `helper` | our own containers |
//! | `files` | what is in a workspace |
//! | `cache` | what outlives runs, and what stages work on in its place |
//! | `image`, `reference` | images of stages, there or pulled |
//! | `registry`, `answer`, `retry` | what registries say, whose fault it is, trying again |
//! | `build`, `context`, `dockerignore`, `push` | an image from a workspace, an image to a registry |
//! | `clean` | removing all of it |
//! | `archive` | tar streams between threads and the API |

mod answer;
mod archive;
mod build;
mod build_progress;
mod cache;
mod checkout;
mod clean;
mod container;
mod context;
mod dockerignore;
mod engine;
mod files;
mod handle;
mod helper;
mod image;
mod init;
mod join;
mod labels;
mod layer;
mod lineage;
mod output;
mod push;
mod reference;
mod registry;
mod retry;
#[cfg(test)]
mod tests;
mod tree;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use event::RunId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use clean::Kept;
pub use engine::ConnectError;

use clean::{remove_container, remove_volume};
use container::StartError;
use engine::Engine;
use image::Pulls;
use init::Delivery;
use labels::{Part, volume};
use layer::{Attempt, Layers};

use super::{
    AttemptSpec, Backend, BackendError, BuildSpec, Built, Choose, Chunk, Handle, Kept as KeptCache,
    LayerId, Piece, PushSpec, Pushed, Restored, RunContext, View,
};
use crate::Workspace;

/// Runs stages on a Docker engine.
pub struct DockerBackend {
    engine: Engine,
    delivery: Delivery,
    layers: Layers,
    pulls: Pulls,
    caches: cache::Making,
    /// Removals behind the run, of what nobody waits for.
    behind: Arc<Mutex<JoinSet<()>>>,
}

impl DockerBackend {
    /// Connects to the engine at `address`, as `DOCKER_HOST` has it; `None` is the
    /// socket of this machine.
    pub async fn connect(address: Option<&str>) -> Result<Self, ConnectError> {
        Ok(Self {
            engine: Engine::connect(address).await?,
            delivery: Delivery::default(),
            layers: Layers::default(),
            pulls: Pulls::default(),
            caches: cache::Making::default(),
            behind: Arc::default(),
        })
    }

    /// Lists the volumes of an instance that outlive their runs.
    pub async fn kept(&self, instance: &str) -> Result<Vec<Kept>, BackendError> {
        clean::kept(&self.engine, instance).await
    }

    /// Removes the images that runs of an instance built and nobody has named, and
    /// returns how many. A run under way may still need one of them: none should be.
    pub async fn remove_images(&self, instance: &str) -> Result<usize, BackendError> {
        clean::remove_images(&self.engine, instance).await
    }

    /// Removes the volumes that an instance keeps, but those of the runs `except`, and
    /// returns how many, caches only if `caches` says so; also what it delivered to the engine, if nobody uses it.
    pub async fn remove_kept(
        &self,
        instance: &str,
        except: &[RunId],
        caches: bool,
    ) -> Result<usize, BackendError> {
        let removed = clean::remove_kept(&self.engine, instance, except, caches).await;
        self.delivery.forget().await;
        removed
    }

    async fn start_attempt(
        &self,
        run: &RunContext,
        spec: &AttemptSpec,
        cancel: &CancellationToken,
    ) -> Result<handle::Container, BackendError> {
        let attempt = Attempt::of(spec);
        let registry = spec.registry.as_ref();
        let (image, view, ()) = tokio::try_join!(
            image::ensure(&self.engine, &self.pulls, &spec.image, registry, spec.pull, cancel),
            layer::view(&self.engine, &self.layers, run, &attempt),
            self.delivery.ensure(&self.engine, &run.instance),
        )?;
        let caches = cache::prepare(&self.engine, run, spec, &image).await?;
        let start =
            |image, view, caches| container::start(&self.engine, run, spec, image, view, caches);
        match start(image.clone(), view.clone(), caches.clone()).await {
            // Taken away since it was delivered, as `docker volume prune` does.
            Err(StartError::Undelivered) => {
                self.delivery.forget().await;
                remove_container(&self.engine, &spec.name).await?;
                self.delivery.ensure(&self.engine, &run.instance).await?;
            }
            started => return self.started(run, &attempt, started).await,
        }
        let started = start(image, view, caches).await;
        self.started(run, &attempt, started).await
    }

    async fn started(
        &self,
        run: &RunContext,
        attempt: &Attempt<'_>,
        started: Result<handle::Container, StartError>,
    ) -> Result<handle::Container, BackendError> {
        match started {
            Ok(container) => Ok(container),
            Err(StartError::Backend(error)) => Err(error),
            Err(StartError::Unmounted(said)) => {
                Err(layer::diagnose(&self.engine, run, attempt, &said).await)
            }
            Err(StartError::Undelivered) => {
                let message = "shipline-init cannot be brought into containers".to_owned();
                Err(BackendError::Infrastructure { part: "docker", message })
            }
        }
    }

    /// Removes a container and volumes some time; `clean` is what makes sure.
    fn remove_behind(&self, container: Option<String>, volumes: Vec<String>) {
        let engine = self.engine.clone();
        let mut behind = self.behind.lock().expect("nobody panics with this lock");
        while behind.try_join_next().is_some() {}
        behind.spawn(async move {
            if let Some(container) = container
                && let Err(error) = remove_container(&engine, &container).await
            {
                tracing::debug!("left to the clean-up: {error}");
            }
            for volume in volumes {
                if let Err(error) = remove_volume(&engine, &volume).await {
                    tracing::debug!("left to the clean-up: {error}");
                }
            }
        });
    }
}

#[async_trait]
impl Backend for DockerBackend {
    async fn prepare(&self, run: &RunContext) -> Result<(), BackendError> {
        tokio::try_join!(
            self.delivery.ensure(&self.engine, &run.instance),
            layer::prepare(&self.engine, run),
        )
        .map(drop)
    }

    async fn checkout(
        &self,
        run: &RunContext,
        layer: LayerId,
        workspace: &Workspace,
        depth: Option<u32>,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<(), BackendError> {
        let (engine, layers) = (&self.engine, &self.layers);
        checkout::checkout(engine, layers, run, layer, workspace, depth, output, cancel).await
    }

    async fn start(
        &self,
        run: &RunContext,
        attempt: &AttemptSpec,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn Handle>, BackendError> {
        let started = tokio::select! {
            started = self.start_attempt(run, attempt, cancel) => started,
            () = cancel.cancelled() => Err(BackendError::Cancelled),
        };
        match started {
            Ok(container) => Ok(Box::new(container)),
            Err(error) => {
                // Whatever there is of it by now.
                self.remove_behind(Some(attempt.name.clone()), Vec::new());
                Err(error)
            }
        }
    }

    async fn read(
        &self,
        run: &RunContext,
        view: &View,
        choose: Choose,
        to: mpsc::Sender<Piece>,
    ) -> Result<(), BackendError> {
        files::read(&self.engine, &self.layers, run, view, choose, to).await
    }

    async fn keep(
        &self,
        run: &RunContext,
        attempt: &AttemptSpec,
        cache: usize,
        restored: Option<&Restored>,
    ) -> Result<KeptCache, BackendError> {
        cache::keep(&self.engine, &self.caches, run, attempt, cache, restored).await
    }

    async fn seal(&self, run: &RunContext, layer: LayerId) -> Result<(), BackendError> {
        // Without view and work directory nothing can mount it for writing any more.
        let container = self.layers.container(run.run, layer);
        let volumes = [Part::Merged, Part::Work].map(|part| volume(run.run, layer, part)).into();
        self.remove_behind(container, volumes);
        Ok(())
    }

    async fn build(
        &self,
        run: &RunContext,
        attempt: &BuildSpec,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<Built, BackendError> {
        self.delivery.ensure(&self.engine, &run.instance).await?;
        let built = tokio::select! {
            built = build::build(&self.engine, &self.layers, run, attempt, output, cancel) => built,
            () = cancel.cancelled() => Err(BackendError::Cancelled),
        };
        self.remove_behind(Some(attempt.name.clone()), Vec::new());
        built
    }

    async fn push(
        &self,
        _run: &RunContext,
        attempt: &PushSpec,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<Pushed, BackendError> {
        push::push(&self.engine, attempt, output, cancel).await
    }

    async fn clean(&self, run: &RunContext) -> Result<(), BackendError> {
        self.layers.forget(run.run);
        clean::clean(&self.engine, run).await?;
        if let Err(error) = cache::remove_abandoned(&self.engine, &self.caches, &run.instance).await
        {
            tracing::warn!("caches that were replaced could not be removed: {error}");
        }
        Ok(())
    }

    async fn sweep(&self, instance: &str, alive: &[RunId]) -> Result<usize, BackendError> {
        clean::sweep(&self.engine, instance, alive).await
    }
}
