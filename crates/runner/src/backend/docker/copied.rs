//! Workspaces and caches by copying, on engines that cannot mount overlays.
//!
//! A view is a plain volume that `shipline-init layer unpack` fills from the layers below;
//! beside it, in place of the overlay's work directory, lies the manifest of what it began
//! as. When the attempt has ended, `layer delta` writes what was changed into the layer, in
//! the form that an overlay would have given it: who reads layers sees no difference.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bollard::models::SystemInfo;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::clean::remove_volume;
use super::container::mount;
use super::engine::Engine;
use super::handle::Container;
use super::helper::{self, Helper};
use super::labels::{Kind, Labels, Part, volume};
use super::layer::{Attempt, Layers, all_there, create_volume, remember};
use crate::backend::{BackendError, Chunk, Exit, Handle, LayerId, Restored, RunContext};

/// Layers that are unpacked by one helper: each is a mount of its own.
const AT_ONCE: usize = 64;
/// What is said to the person, once a run.
pub(super) const NOTE: &str =
    "this engine mounts no overlays: workspaces are copied, which takes longer";
/// What copying files of any owner, mode and attribute needs.
const CAPABILITIES: [&str; 8] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "MKNOD",
    "SETFCAP",
    // The attributes of an overlay are for the administrator only.
    "SYS_ADMIN",
];

/// How views of workspaces are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerMode {
    /// Overlays, unless the engine refuses them or runs without root.
    #[default]
    Auto,
    Overlay,
    Copy,
}

/// The word is none of `auto`, `overlay` and `copy`.
#[derive(Debug, thiserror::Error)]
#[error("`auto`, `overlay` or `copy` is expected")]
pub struct NoLayerMode;

impl std::str::FromStr for LayerMode {
    type Err = NoLayerMode;

    fn from_str(text: &str) -> Result<Self, NoLayerMode> {
        match text {
            "auto" => Ok(Self::Auto),
            "overlay" => Ok(Self::Overlay),
            "copy" => Ok(Self::Copy),
            _ => Err(NoLayerMode),
        }
    }
}

/// The mode of an engine, and what was found out about it.
#[derive(Clone, Debug, Default)]
pub(super) struct Layering {
    mode: LayerMode,
    refuses: Arc<AtomicBool>,
}

impl Layering {
    pub(super) fn of(info: &SystemInfo) -> Self {
        // In a user namespace the kernel refuses the options that views need.
        let rootless = info.security_options.iter().flatten().any(|name| name.contains("rootless"));
        Self { mode: LayerMode::Auto, refuses: Arc::new(AtomicBool::new(rootless)) }
    }

    pub(super) fn set(&mut self, mode: LayerMode) {
        self.mode = mode;
    }

    pub(super) fn copies(&self) -> bool {
        match self.mode {
            LayerMode::Copy => true,
            LayerMode::Overlay => false,
            LayerMode::Auto => self.refuses.load(Ordering::Acquire),
        }
    }

    /// Notes that an overlay was refused, and returns whether copying is the way now.
    pub(super) fn refused(&self) -> bool {
        self.refuses.store(true, Ordering::Release);
        self.copies()
    }
}

/// Makes the volumes of an attempt and fills its view; returns the view's name.
pub(super) async fn view(
    engine: &Engine,
    layers: &Layers,
    run: &RunContext,
    attempt: &Attempt<'_>,
) -> Result<String, BackendError> {
    let [upper, work, merged] =
        [Part::Upper, Part::Work, Part::Merged].map(|part| volume(attempt.layer, part));
    // The engine makes an empty volume of one that is gone; nobody may take that for a layer.
    all_there(engine, attempt).await?;
    let heads = remember(layers, run, attempt);
    let labels = || attempt.labels(engine, run, Kind::Layer);
    // What a former try left half done must not be mistaken for the whole.
    tokio::try_join!(remove_volume(engine, &merged), remove_volume(engine, &work))?;
    tokio::try_join!(
        create_volume(engine, upper, attempt.layer_labels(engine, run, &heads), None),
        create_volume(engine, work.clone(), labels(), None),
        create_volume(engine, merged.clone(), labels(), None),
    )?;
    let below: Vec<(String, &str)> =
        attempt.lower.iter().rev().map(|layer| (volume(*layer, Part::Upper), "")).collect();
    let plan = Copy {
        name: helper_name(run, attempt.layer, "unpack"),
        labels: attempt.labels(engine, run, Kind::Helper),
        view: merged.clone(),
        work,
    };
    plan.unpack(engine, &below).await?;
    layers.with(run.run, |known| known.made.insert(attempt.layer));
    Ok(merged)
}

/// Takes what is in the layer of an attempt out of it: it is written once the attempt has ended.
pub(super) async fn empty_layer(
    engine: &Engine,
    layers: &Layers,
    run: &RunContext,
    attempt: &Attempt<'_>,
) -> Result<(), BackendError> {
    let upper = volume(attempt.layer, Part::Upper);
    remove_volume(engine, &upper).await?;
    let heads = remember(layers, run, attempt);
    create_volume(engine, upper, attempt.layer_labels(engine, run, &heads), None).await
}

fn helper_name(run: &RunContext, layer: LayerId, does: &str) -> String {
    format!("shipline-{}-{does}-{}-{}", run.run.short(), layer.index, layer.attempt)
}

/// A view that is filled or packed.
pub(super) struct Copy {
    /// Of the helper.
    pub(super) name: String,
    pub(super) labels: Labels,
    pub(super) view: String,
    /// Where its manifest lies.
    pub(super) work: String,
}

impl Copy {
    /// Fills the view from directories of volumes, oldest first.
    pub(super) async fn unpack(
        &self,
        engine: &Engine,
        below: &[(String, &str)],
    ) -> Result<(), BackendError> {
        let mut groups: Vec<&[(String, &str)]> = below.chunks(AT_ONCE).collect();
        if groups.is_empty() {
            groups.push(&[]);
        }
        for group in groups {
            let mut mounts = self.mounts();
            let mut command =
                ["layer", "unpack", "/view", "/work/manifest"].map(str::to_owned).to_vec();
            for (index, (volume, directory)) in group.iter().enumerate() {
                let place = format!("/layers/{index}");
                mounts.push(mount(volume.clone(), &place, true));
                command.push(format!("{place}{directory}"));
            }
            self.run(engine, mounts, command).await?;
        }
        Ok(())
    }

    /// Writes what was changed in the view into the empty volume `upper`.
    pub(super) async fn delta(&self, engine: &Engine, upper: String) -> Result<(), BackendError> {
        let mut mounts = self.mounts();
        mounts.push(mount(upper, "/layer", false));
        let command = ["layer", "delta", "/view", "/work/manifest", "/layer"];
        self.run(engine, mounts, command.map(str::to_owned).into()).await
    }

    fn mounts(&self) -> Vec<bollard::models::Mount> {
        vec![mount(self.view.clone(), "/view", false), mount(self.work.clone(), "/work", false)]
    }

    async fn run(
        &self,
        engine: &Engine,
        mounts: Vec<bollard::models::Mount>,
        command: Vec<String>,
    ) -> Result<(), BackendError> {
        let helper = Helper {
            name: self.name.clone(),
            labels: self.labels.clone(),
            mounts,
            command,
            capabilities: CAPABILITIES.into(),
            stdin: false,
        };
        helper::run(engine, helper).await.map(drop)
    }
}

/// A container on a copied view: when it has ended, its layer is made.
pub(super) struct OnCopy {
    container: Container,
    engine: Engine,
    copy: Copy,
    upper: String,
    /// Whether it is the first to be told that workspaces are copied.
    tells: bool,
}

impl OnCopy {
    pub(super) fn new(
        engine: &Engine,
        run: &RunContext,
        attempt: &Attempt<'_>,
        container: Container,
        tells: bool,
    ) -> Self {
        let copy = Copy {
            name: helper_name(run, attempt.layer, "delta"),
            labels: attempt.labels(engine, run, Kind::Helper),
            view: volume(attempt.layer, Part::Merged),
            work: volume(attempt.layer, Part::Work),
        };
        let upper = volume(attempt.layer, Part::Upper);
        Self { container, engine: engine.clone(), copy, upper, tells }
    }
}

#[async_trait]
impl Handle for OnCopy {
    fn image_digest(&self) -> Option<String> {
        self.container.image_digest()
    }

    fn restored(&self) -> &[Option<Restored>] {
        self.container.restored()
    }

    fn output(&self) -> BoxStream<'static, Result<Chunk, BackendError>> {
        let note = self.tells.then(|| Ok(Chunk::engine(NOTE)));
        stream::iter(note).chain(self.container.output()).boxed()
    }

    async fn wait(&self) -> Result<Exit, BackendError> {
        let exit = self.container.wait().await?;
        match self.copy.delta(&self.engine, self.upper.clone()).await {
            Err(error) if exit.code == 0 && exit.lost.is_none() => Err(error),
            Err(error) => {
                // What it left cannot be looked at; how it ended is known all the same.
                tracing::warn!("what `{}` changed could not be kept: {error}", self.copy.view);
                Ok(exit)
            }
            Ok(()) => Ok(exit),
        }
    }

    async fn stop(&self, grace: Duration) -> Result<(), BackendError> {
        self.container.stop(grace).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_refuses_overlays_is_given_copies_unless_overlays_are_demanded() {
        let mut layering = Layering::default();
        assert!(!layering.copies());
        assert!(layering.refused());
        assert!(layering.copies());
        layering.set(LayerMode::Overlay);
        assert!(!layering.refused());
        layering.set("copy".parse().unwrap());
        assert!(layering.copies());
        assert!("overlays".parse::<LayerMode>().is_err());
    }

    #[test]
    fn an_engine_without_root_copies() {
        let info = |option: &str| SystemInfo {
            security_options: Some(vec![
                "name=seccomp,profile=default".to_owned(),
                option.to_owned(),
            ]),
            ..Default::default()
        };
        assert!(Layering::of(&info("name=rootless")).copies());
        assert!(!Layering::of(&info("name=apparmor")).copies());
    }
}
