//! Workspaces as layers: overlay volumes over what the needs wrote.
//!
//! Each attempt has three volumes: `u` is what it writes, `w` belongs to the
//! overlay, `m` is the view over both and everything below. The engine mounts `m`
//! itself, so nothing but its API is needed. A sealed layer has lost its `w` and
//! `m`: nothing can write to it any more.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::Mutex;

use bollard::models::VolumeCreateRequest;
use event::RunId;
use pipeline::Merge;

use super::clean::remove_volume;
use super::container::mount;
use super::copied;
use super::engine::{Engine, fault};
use super::helper::{self, Helper};
use super::join::{compare, read};
use super::labels::{self, Kind, Labels, Part, empty_volume, flat_volume, volume};
use super::lineage::{Layer, Lineage};
use crate::backend::{AttemptSpec, BackendError, BuildSpec, LayerId, RunContext, View};

/// A longer chain is flattened.
const CHAIN: usize = 32;
/// Layers flattened at a time; more might not fit the page either.
const GROUP: usize = 64;
/// Mount options must fit one page of 4,096 bytes with their end.
const PAGE: usize = 4095;

/// What this process knows of the layers of a run.
#[derive(Default)]
pub(super) struct Layers {
    runs: Mutex<HashMap<RunId, Known>>,
}

#[derive(Default)]
pub(super) struct Known {
    pub(super) lineage: Lineage,
    /// Oldest parts of chains that were flattened, and the volumes they became.
    flattened: Vec<(Vec<LayerId>, String)>,
    flats: usize,
    /// Views that are there whole: those that were filled by copying, and those of attempts
    /// that a former process began.
    pub(super) made: HashSet<LayerId>,
}

impl Layers {
    pub(super) fn with<T>(&self, run: RunId, work: impl FnOnce(&mut Known) -> T) -> T {
        let mut runs = self.runs.lock().expect("nobody panics with this lock");
        work(runs.entry(run).or_default())
    }

    pub(super) fn container(&self, run: RunId, layer: LayerId) -> Option<String> {
        self.with(run, |known| known.lineage.get(layer)?.container.clone())
    }

    pub(super) fn forget(&self, run: RunId) {
        self.runs.lock().expect("nobody panics with this lock").remove(&run);
    }
}

/// Whose layer it is.
pub(super) struct Attempt<'a> {
    pub(super) stage: &'a str,
    pub(super) attempt: u32,
    pub(super) container: &'a str,
    pub(super) layer: LayerId,
    pub(super) lower: &'a [LayerId],
    pub(super) merge: Option<&'a Merge>,
}

impl<'a> Attempt<'a> {
    pub(super) fn of(spec: &'a AttemptSpec) -> Self {
        Self {
            stage: &spec.stage,
            attempt: spec.attempt,
            container: &spec.name,
            layer: spec.layer,
            lower: &spec.lower,
            merge: spec.merge.as_ref(),
        }
    }

    pub(super) fn of_view(view: &'a View) -> Self {
        Self {
            stage: &view.stage,
            attempt: view.attempt,
            container: &view.name,
            layer: view.layer,
            lower: &view.lower,
            merge: view.merge.as_ref(),
        }
    }

    pub(super) fn of_build(spec: &'a BuildSpec) -> Self {
        Self {
            stage: &spec.stage,
            attempt: spec.attempt,
            container: &spec.name,
            layer: spec.layer,
            lower: &spec.lower,
            merge: spec.merge.as_ref(),
        }
    }
}

pub(super) fn run_labels(engine: &Engine, run: &RunContext, kind: Kind) -> Labels {
    Labels::new(&run.instance, kind).with(labels::RUN, run.run).with(labels::OWNER, &engine.owner)
}

impl Attempt<'_> {
    pub(super) fn labels(&self, engine: &Engine, run: &RunContext, kind: Kind) -> Labels {
        run_labels(engine, run, kind)
            .with(labels::STAGE, self.stage)
            .with(labels::ATTEMPT, self.attempt)
    }

    pub(super) fn layer_labels(
        &self,
        engine: &Engine,
        run: &RunContext,
        heads: &[LayerId],
    ) -> Labels {
        let labels = self
            .labels(engine, run, Kind::Layer)
            .with(labels::LOWER, labels::lower_text(run.run, heads));
        if run.keep_layers { labels.with(labels::KEEP, "layer") } else { labels }
    }
}

/// Makes the layer that lies below all others.
pub(super) async fn prepare(engine: &Engine, run: &RunContext) -> Result<(), BackendError> {
    let labels = run_labels(engine, run, Kind::Layer);
    create_volume(engine, empty_volume(run.run), labels, None).await
}

/// Makes the plain volume of a base layer and returns its name.
pub(super) async fn base(
    engine: &Engine,
    layers: &Layers,
    run: &RunContext,
    attempt: &Attempt<'_>,
) -> Result<String, BackendError> {
    let name = volume(attempt.layer, Part::Upper);
    let heads = remember(layers, run, attempt);
    create_volume(engine, name.clone(), attempt.layer_labels(engine, run, &heads), None).await?;
    Ok(name)
}

/// Makes the three volumes of an attempt, over what it needs; returns the view's name.
/// Parallel layers that disagree are refused (E095).
pub(super) async fn view(
    engine: &Engine,
    layers: &Layers,
    run: &RunContext,
    attempt: &Attempt<'_>,
) -> Result<String, BackendError> {
    if layers.with(run.run, |known| known.made.contains(&attempt.layer)) {
        return Ok(volume(attempt.layer, Part::Merged));
    }
    if engine.layering.copies() {
        Box::pin(compare(engine, layers, run, attempt)).await?;
        return Box::pin(copied::view(engine, layers, run, attempt)).await;
    }
    let names = [Part::Upper, Part::Work, Part::Merged];
    let [upper, work, merged] = names.map(|part| volume(attempt.layer, part));
    let (chain, ()) = tokio::try_join!(
        chain(engine, layers, run, attempt),
        compare(engine, layers, run, attempt),
    )?;
    let path = |name: &String| engine.volume_path(name);
    let options = format!(
        "lowerdir={},upperdir={},workdir={},redirect_dir=on,index=off,metacopy=off",
        chain.iter().map(path).collect::<Vec<_>>().join(":"),
        path(&upper),
        path(&work),
    );
    let heads = remember(layers, run, attempt);
    let labels = || attempt.labels(engine, run, Kind::Layer);
    tokio::try_join!(
        create_volume(engine, upper, attempt.layer_labels(engine, run, &heads), None),
        create_volume(engine, work, labels(), None),
        create_volume(engine, merged.clone(), labels(), Some(options)),
    )?;
    Ok(merged)
}

/// Notes the layer and returns the heads of those below it.
pub(super) fn remember(layers: &Layers, run: &RunContext, attempt: &Attempt<'_>) -> Vec<LayerId> {
    layers.with(run.run, |known| {
        let heads = known.lineage.heads(attempt.lower);
        let layer = Layer {
            stage: attempt.stage.to_owned(),
            container: Some(attempt.container.to_owned()),
            heads: heads.clone(),
        };
        known.lineage.add(attempt.layer, layer);
        heads
    })
}

/// Names a layer below that is gone: then no view of it can be mounted.
pub(super) async fn all_there(engine: &Engine, attempt: &Attempt<'_>) -> Result<(), BackendError> {
    for layer in attempt.lower {
        read(engine, *layer).await?;
    }
    Ok(())
}

/// The engine refused a view though all below it is there; `said` are its words.
pub(super) fn unmounted(said: &str) -> BackendError {
    BackendError::Infrastructure {
        part: "workspace",
        message: format!(
            "this engine cannot mount the workspace as an overlay (`[runner] layers = \"copy\"` does \
             without): {said}"
        ),
    }
}

pub(super) async fn create_volume(
    engine: &Engine,
    name: String,
    labels: Labels,
    overlay: Option<String>,
) -> Result<(), BackendError> {
    let driver_opts = overlay.map(|options| {
        let pairs =
            [("type", "overlay".to_owned()), ("device", "overlay".to_owned()), ("o", options)];
        pairs.map(|(name, value)| (name.to_owned(), value)).into()
    });
    let request = VolumeCreateRequest {
        name: Some(name),
        driver: Some("local".to_owned()),
        driver_opts,
        labels: Some(labels.map()),
        ..Default::default()
    };
    let created = engine.create_volume(request).await;
    created.map(drop).map_err(|error| fault("a volume of the workspace cannot be made", &error))
}

/// Returns the volumes below the attempt, newest first, few enough to be mounted.
async fn chain(
    engine: &Engine,
    layers: &Layers,
    run: &RunContext,
    attempt: &Attempt<'_>,
) -> Result<Vec<String>, BackendError> {
    let upper = |layer: &LayerId| volume(*layer, Part::Upper);
    let empty = empty_volume(run.run);
    let fits = |chain: &[String]| {
        // Upper and work directory, and the options around them.
        let around = 2 * engine.volume_path(&empty).len() + 128;
        let paths: usize = chain.iter().map(|name| engine.volume_path(name).len() + 1).sum();
        chain.len() <= CHAIN + 1 && around + paths <= PAGE
    };
    let with_empty = |newest: &[LayerId], oldest: &str| -> Vec<String> {
        newest.iter().map(upper).chain([oldest.to_owned()]).collect()
    };

    let whole = with_empty(attempt.lower, &empty);
    if fits(&whole) {
        return Ok(whole);
    }
    // Most layers of a long chain hold nothing, and add nothing to it.
    let holds = |layer: &LayerId| !is_known_empty(engine, *layer);
    let lower: Vec<LayerId> = attempt.lower.iter().copied().filter(holds).collect();
    let whole = with_empty(&lower, &empty);
    if fits(&whole) {
        return Ok(whole);
    }
    // The longest end of the chain that was flattened for a stage before.
    let found = layers.with(run.run, |known| {
        let ends = known.flattened.iter().filter(|(end, _)| lower.ends_with(end));
        ends.max_by_key(|(end, _)| end.len()).cloned()
    });
    let (mut newest, mut oldest) = match found {
        Some((end, flat)) => (&lower[..lower.len() - end.len()], flat),
        None => (lower.as_slice(), empty.clone()),
    };
    while !fits(&with_empty(newest, &oldest)) {
        let (rest, group) = newest.split_at(newest.len() - newest.len().min(GROUP));
        oldest = flatten(engine, layers, run, attempt, &with_empty(group, &oldest)).await?;
        newest = rest;
        let end = lower[newest.len()..].to_vec();
        layers.with(run.run, |known| known.flattened.push((end, oldest.clone())));
    }
    Ok(with_empty(newest, &oldest))
}

/// Whether nothing is in a sealed layer, where it lies on this machine and can be looked at.
pub(super) fn is_known_empty(engine: &Engine, layer: LayerId) -> bool {
    let path = engine.volume_path(&volume(layer, Part::Upper));
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// Copies the view over `chain` into a volume of its own.
async fn flatten(
    engine: &Engine,
    layers: &Layers,
    run: &RunContext,
    attempt: &Attempt<'_>,
    chain: &[String],
) -> Result<String, BackendError> {
    let count = layers.with(run.run, |known| {
        known.flats += 1;
        known.flats
    });
    let flat = flat_volume(attempt.layer, count);
    let view = format!("{flat}v");
    let paths: Vec<String> = chain.iter().map(|name| engine.volume_path(name)).collect();
    // Without upper directory, a view that cannot be written.
    let options =
        format!("lowerdir={},redirect_dir=follow,index=off,metacopy=off", paths.join(":"));
    let labels = || attempt.labels(engine, run, Kind::Layer);
    // What a former life left half done must not be mistaken for the whole.
    remove_volume(engine, &flat).await?;
    create_volume(engine, flat.clone(), labels(), None).await?;
    create_volume(engine, view.clone(), labels(), Some(options)).await?;
    let helper = Helper {
        name: format!("shipline-{}-flatten-{count}", run.run.short()),
        labels: attempt.labels(engine, run, Kind::Helper),
        mounts: vec![mount(view.clone(), "/from", true), mount(flat.clone(), "/to", false)],
        command: ["layer", "copy", "/from", "/to"].map(str::to_owned).into(),
        capabilities: vec!["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD"],
        stdin: false,
    };
    helper::run(engine, helper).await?;
    remove_volume(engine, &view).await?;
    Ok(flat)
}
