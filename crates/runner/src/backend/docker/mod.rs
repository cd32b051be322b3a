//! The [`Backend`] on a Docker engine, reached by its API, and what lies on this
//! machine anyway without it.
//!
//! | file | about |
//! | --- | --- |
//! | `engine` | the connection and what its errors mean |
//! | `labels` | names and labels of all we make |
//! | `init` | `shipline-init` delivered to an engine |
//! | `layer`, `lineage`, `join` | workspaces: overlays, what lies above what, what cannot be joined |
//! | `copied` | workspaces on engines without overlays |
//! | `checkout`, `tree`, `direct` | the base they begin with; where it needs no container |
//! | `container`, `handle`, `output` | a stage's container: made and started; watched and stopped; its records |
//! | `slot` | networks made ahead, for stages that follow others |
//! | `adopt` | a stage that another process began: its records, joined where they are |
//! | `network`, `service`, `probe` | what runs beside a stage: where, what, and whether it is ready |
//! | `helper` | our own containers |
//! | `check`, `door` | commands that test what is deployed; all that they reach |
//! | `files` | what is in a workspace |
//! | `cache` | what outlives runs, and what stages work on in its place |
//! | `image`, `reference` | images of stages, there or pulled |
//! | `registry`, `registry_client`, `answer`, `retry` | what registries say, whose fault it is, trying again |
//! | `build`, `context`, `dockerignore`, `session` | an image from a workspace; what its steps may ask for |
//! | `push`, `refusal`, `harbor` | an image to a registry; why it is not taken; what its scanner says |
//! | `changes`, `shell` | looking at workspaces: what differs between two, a container on one |
//! | `clean`, `kept` | removing all of it; what outlives its run |
//! | `archive` | tar streams between threads and the API |

mod adopt;
mod answer;
mod archive;
mod build;
mod build_progress;
mod cache;
mod changes;
mod check;
mod checkout;
mod clean;
mod container;
mod context;
mod copied;
mod direct;
mod dockerignore;
mod door;
mod engine;
mod files;
mod handle;
mod harbor;
mod helper;
mod image;
mod init;
mod join;
mod kept;
mod labels;
mod layer;
mod lineage;
mod network;
mod output;
mod probe;
mod push;
mod reference;
mod refusal;
mod registry;
mod registry_client;
mod retry;
mod service;
mod session;
mod shell;
mod slot;
#[cfg(test)]
mod tests;
mod tree;

use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use event::RunId;
use futures_util::future::{join_all, try_join_all};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug_span};

pub use changes::{Change, FileChange, FileKind};
pub use copied::{LayerMode, NoLayerMode};
pub use engine::ConnectError;
pub use kept::Kept;
pub use network::{NoSubnet, Subnet};
pub use shell::{OpenShell, ShellStreams};

use clean::{remove_container, remove_volume};
use container::StartError;
use engine::Engine;
use image::Pulls;
use init::Delivery;
use labels::{Part, volume};
use layer::{Attempt, Layers};
use slot::Slots;

use super::{
    Adopted, AttemptSpec, Backend, BackendError, BuildSpec, Built, CheckSpec, Choose, Chunk, Exit,
    Handle, Kept as KeptCache, LayerId, Left, Piece, PushSpec, Pushed, Released, Restored,
    RunContext, Services, View,
};
use crate::{Registry, Workspace};

/// Runs stages on a Docker engine.
pub struct DockerBackend {
    engine: Engine,
    delivery: Delivery,
    layers: Layers,
    pulls: Pulls,
    caches: cache::Making,
    slots: Slots,
    /// Removals behind the run, of what nobody waits for.
    behind: Arc<Mutex<JoinSet<()>>>,
}

impl DockerBackend {
    /// Connects to the engine at `address`, as `DOCKER_HOST` has it; `None` is the
    /// socket of this machine.
    pub async fn connect(address: Option<&str>) -> Result<Self, ConnectError> {
        Self::connect_as(address, None).await
    }

    /// Looks for a socket also in `runtime`, the directory of a user's session.
    pub async fn connect_as(
        address: Option<&str>,
        runtime: Option<&Path>,
    ) -> Result<Self, ConnectError> {
        Ok(Self {
            engine: Engine::connect(address, runtime).await?,
            delivery: Delivery::default(),
            layers: Layers::default(),
            pulls: Pulls::default(),
            caches: cache::Making::default(),
            slots: Slots::default(),
            behind: Arc::default(),
        })
    }

    /// Takes the networks of stages from `subnets`.
    #[must_use]
    pub fn with_subnets(mut self, subnets: Subnet) -> Self {
        self.engine.subnets = subnets;
        self
    }

    /// Makes views of workspaces in another way than what suits the engine.
    #[must_use]
    pub fn with_layers(mut self, mode: LayerMode) -> Self {
        self.engine.layering.set(mode);
        self
    }

    /// Lists the volumes of an instance that outlive their runs.
    pub async fn kept(&self, instance: &str) -> Result<Vec<Kept>, BackendError> {
        kept::kept(&self.engine, instance).await
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
        let removed = kept::remove_kept(&self.engine, instance, except, caches).await;
        self.delivery.forget().await;
        removed
    }

    /// Returns those of `layers` that are not on the engine any more.
    pub async fn gone(
        &self,
        instance: &str,
        layers: &[LayerId],
    ) -> Result<Vec<LayerId>, BackendError> {
        kept::gone(&self.engine, instance, layers).await
    }

    async fn serve_attempt(
        &self,
        run: &RunContext,
        spec: &AttemptSpec,
        cancel: &CancellationToken,
    ) -> Result<service::Served, BackendError> {
        let images = try_join_all(spec.services.iter().map(|service| {
            let registry = service.registry.as_ref();
            image::ensure(&self.engine, &self.pulls, &service.image, registry, false, cancel)
        }));
        let delivered = self.delivery.ensure(&self.engine, &run.instance);
        let (images, ()) = tokio::try_join!(images, delivered)?;
        service::start(&self.engine, run, spec, images, Arc::clone(&self.behind)).await
    }

    async fn start_attempt(
        &self,
        run: &RunContext,
        spec: &AttemptSpec,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn Handle>, BackendError> {
        let attempt = Attempt::of(spec);
        let registry = spec.registry.as_ref();
        let (image, view, (), lease) = tokio::try_join!(
            Box::pin(image::ensure(
                &self.engine,
                &self.pulls,
                &spec.image,
                registry,
                spec.pull,
                cancel
            ))
            .instrument(debug_span!("image")),
            Box::pin(layer::view(&self.engine, &self.layers, run, &attempt))
                .instrument(debug_span!("layer")),
            self.delivery.ensure(&self.engine, &run.instance),
            async { Ok(self.slots.lease(run.run, spec).await) }.instrument(debug_span!("network")),
        )?;
        adopt::prepare(&self.engine, run, &attempt).await?;
        let caches = cache::prepare(&self.engine, run, spec, &image);
        let caches = caches.instrument(debug_span!("caches")).await?;
        let start = |image, view, caches, lease| {
            Box::pin(container::start(&self.engine, run, spec, image, view, caches, lease))
        };
        match start(image.clone(), view.clone(), caches.clone(), lease).await {
            // Told apart from a layer that is gone.
            Err(StartError::Unmounted(said)) => {
                layer::all_there(&self.engine, &attempt).await?;
                if !self.engine.layering.refused() {
                    return Err(layer::unmounted(&said));
                }
                remove_container(&self.engine, &spec.name).await?;
                let view = Box::pin(layer::view(&self.engine, &self.layers, run, &attempt)).await?;
                let caches = cache::prepare(&self.engine, run, spec, &image).await?;
                let started = start(image, view, caches, None).await;
                return self.started(run, &attempt, started, true).await;
            }
            // Taken away since it was delivered, as `docker volume prune` does.
            Err(StartError::Undelivered) => {
                self.delivery.forget().await;
                remove_container(&self.engine, &spec.name).await?;
                self.delivery.ensure(&self.engine, &run.instance).await?;
            }
            Err(StartError::Network(said)) => {
                tracing::info!("`{}` gets a network of its own: {said}", spec.stage);
                remove_container(&self.engine, &spec.name).await?;
            }
            started => return self.started(run, &attempt, started, false).await,
        }
        let started = start(image, view, caches, None).await;
        self.started(run, &attempt, started, false).await
    }

    async fn started(
        &self,
        run: &RunContext,
        attempt: &Attempt<'_>,
        started: Result<handle::Container, StartError>,
        tells: bool,
    ) -> Result<Box<dyn Handle>, BackendError> {
        match started {
            Ok(container) if self.engine.layering.copies() => {
                Ok(Box::new(copied::OnCopy::new(&self.engine, run, attempt, container, tells)))
            }
            Ok(container) => Ok(Box::new(container)),
            Err(StartError::Backend(error)) => Err(error),
            Err(StartError::Unmounted(said)) => {
                layer::all_there(&self.engine, attempt).await?;
                Err(layer::unmounted(&said))
            }
            Err(StartError::Undelivered) => {
                let message = "shipline-init cannot be brought into containers".to_owned();
                Err(BackendError::Infrastructure { part: "docker", message })
            }
            Err(StartError::Network(message)) => {
                Err(BackendError::Infrastructure { part: "docker", message })
            }
        }
    }

    /// Removes a container and volumes some time; `clean` is what makes sure.
    fn remove_behind(&self, container: Option<String>, volumes: Vec<String>) {
        let engine = self.engine.clone();
        let mut behind = self.behind.lock().expect("nobody panics with this lock");
        while behind.try_join_next().is_some() {}
        let removing = async move {
            if let Some(container) = container
                && let Err(error) = remove_container(&engine, &container).await
            {
                tracing::debug!("left to the clean-up: {error}");
            }
            let volumes = volumes.iter().map(|volume| remove_volume(&engine, volume));
            for error in join_all(volumes).await.into_iter().filter_map(Result::err) {
                tracing::debug!("left to the clean-up: {error}");
            }
        };
        // Nobody waits for it: it is no part of the attempt.
        behind.spawn(removing.instrument(debug_span!(parent: None, "remove behind")));
    }
}

#[async_trait]
impl Backend for DockerBackend {
    async fn prepare(&self, run: &RunContext) -> Result<(), BackendError> {
        tokio::try_join!(
            self.delivery.ensure(&self.engine, &run.instance).instrument(debug_span!("delivery")),
            layer::prepare(&self.engine, run),
        )?;
        self.slots.open(&self.engine, run);
        Ok(())
    }

    async fn base(&self, workspace: &Workspace) -> Result<Option<String>, BackendError> {
        checkout::digest(workspace).await
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

    async fn serve(
        &self,
        run: &RunContext,
        attempt: &AttemptSpec,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn Services>, BackendError> {
        // What was made of them by an error or a cancel is left to the clean-up.
        let served = tokio::select! {
            served = self.serve_attempt(run, attempt, cancel) => served,
            () = cancel.cancelled() => Err(BackendError::Cancelled),
        };
        served.map(|served| Box::new(served) as Box<dyn Services>)
    }

    async fn start(
        &self,
        run: &RunContext,
        attempt: &AttemptSpec,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn Handle>, BackendError> {
        let started = tokio::select! {
            // On the heap, as the parts of it: a debug build would fill the stack with them.
            started = Box::pin(self.start_attempt(run, attempt, cancel)) => started,
            () = cancel.cancelled() => Err(BackendError::Cancelled),
        };
        match started {
            Ok(handle) => Ok(handle),
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

    async fn adopt(
        &self,
        run: &RunContext,
        attempt: &AttemptSpec,
    ) -> Result<Adopted, BackendError> {
        self.adopt_attempt(run, attempt).await
    }

    async fn release(&self, _: &RunContext, attempt: &Released) {
        self.release_attempt(attempt);
    }

    async fn seal(&self, run: &RunContext, layer: LayerId) -> Result<(), BackendError> {
        if run.durable {
            // Until its end is written down, somebody may have to look at it again.
            return Ok(());
        }
        // Without view and work directory nothing can mount it for writing any more.
        let container = self.layers.container(run.run, layer);
        let volumes = [Part::Merged, Part::Work].map(|part| volume(layer, part)).into();
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

    async fn image(
        &self,
        reference: &str,
        registry: Option<&Registry>,
        pull: bool,
        cancel: &CancellationToken,
    ) -> Result<String, BackendError> {
        let image = image::ensure(&self.engine, &self.pulls, reference, registry, pull, cancel);
        Ok(image.await?.digest)
    }

    async fn place(&self, run: &RunContext, stage: &str, layer: LayerId, lower: &[LayerId]) {
        self.layers.with(run.run, |known| {
            let heads = known.lineage.heads(lower);
            let placed = lineage::Layer { stage: stage.to_owned(), container: None, heads };
            known.lineage.add(layer, placed);
        });
    }

    async fn still_has(&self, left: &Left) -> Result<bool, BackendError> {
        match left {
            Left::Layer(layer) => kept::has_layer(&self.engine, *layer).await,
            Left::Image(image) => kept::has_image(&self.engine, image).await,
        }
    }

    async fn remove_layers(
        &self,
        instance: &str,
        of: &(dyn Fn(RunId) -> bool + Sync),
        except: &[LayerId],
    ) -> Result<usize, BackendError> {
        kept::remove_layers(&self.engine, instance, of, except).await
    }

    async fn check(
        &self,
        check: &CheckSpec,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<Exit, BackendError> {
        // On the heap: a debug build would fill the stack with it.
        Box::pin(check::check(self, check, output, cancel)).await
    }

    async fn sweep_checks(&self, instance: &str) -> Result<usize, BackendError> {
        check::sweep(&self.engine, instance).await
    }

    async fn clean(&self, run: &RunContext) -> Result<(), BackendError> {
        self.layers.forget(run.run);
        self.slots.close(run.run);
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
