//! Workspaces as layers: overlay volumes over what the needs wrote.
//!
//! Each attempt has three volumes: `u` is what it writes, `w` belongs to the
//! overlay, `m` is the view over both and everything below. The engine mounts `m`
//! itself, so nothing but its API is needed. A sealed layer has lost its `w` and
//! `m`: nothing can write to it any more.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Mutex;

use bollard::models::VolumeCreateRequest;
use event::RunId;
use serde::Deserialize;

use super::clean::remove_volume;
use super::container::mount;
use super::engine::{Engine, fault, is_missing};
use super::helper::{self, Helper};
use super::labels::{self, Kind, Labels, Part, empty_volume, flat_volume, volume};
use crate::backend::{AttemptSpec, BackendError, BuildSpec, LayerId, RunContext};

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
struct Known {
    layers: BTreeMap<LayerId, Layer>,
    /// Oldest parts of chains that were flattened, and the volumes they became.
    flattened: Vec<(Vec<LayerId>, String)>,
    flats: usize,
    /// Pairs of parallel layers that were compared and agree.
    compared: HashSet<(LayerId, LayerId)>,
}

#[derive(Clone)]
struct Layer {
    stage: String,
    /// That held its view; what another process made has been removed with it.
    container: Option<String>,
    lower: Vec<LayerId>,
}

impl Layers {
    fn with<T>(&self, run: RunId, work: impl FnOnce(&mut Known) -> T) -> T {
        let mut runs = self.runs.lock().expect("nobody panics with this lock");
        work(runs.entry(run).or_default())
    }

    pub(super) fn container(&self, run: RunId, layer: LayerId) -> Option<String> {
        self.with(run, |known| known.layers.get(&layer)?.container.clone())
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
}

impl<'a> Attempt<'a> {
    pub(super) fn of(spec: &'a AttemptSpec) -> Self {
        Self {
            stage: &spec.stage,
            attempt: spec.attempt,
            container: &spec.name,
            layer: spec.layer,
            lower: &spec.lower,
        }
    }

    pub(super) fn of_build(spec: &'a BuildSpec) -> Self {
        Self {
            stage: &spec.stage,
            attempt: spec.attempt,
            container: &spec.name,
            layer: spec.layer,
            lower: &spec.lower,
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

    fn layer_labels(&self, engine: &Engine, run: &RunContext) -> Labels {
        let labels = self
            .labels(engine, run, Kind::Layer)
            .with(labels::LOWER, labels::lower_text(self.lower));
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
    let name = volume(run.run, attempt.layer, Part::Upper);
    create_volume(engine, name.clone(), attempt.layer_labels(engine, run), None).await?;
    remember(layers, run, attempt);
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
    let names = [Part::Upper, Part::Work, Part::Merged];
    let [upper, work, merged] = names.map(|part| volume(run.run, attempt.layer, part));
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
    let labels = || attempt.labels(engine, run, Kind::Layer);
    tokio::try_join!(
        create_volume(engine, upper, attempt.layer_labels(engine, run), None),
        create_volume(engine, work, labels(), None),
        create_volume(engine, merged.clone(), labels(), Some(options)),
    )?;
    remember(layers, run, attempt);
    Ok(merged)
}

pub(super) fn remember(layers: &Layers, run: &RunContext, attempt: &Attempt<'_>) {
    let layer = Layer {
        stage: attempt.stage.to_owned(),
        container: Some(attempt.container.to_owned()),
        lower: attempt.lower.to_vec(),
    };
    layers.with(run.run, |known| known.layers.insert(attempt.layer, layer));
}

async fn create_volume(
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
    let created = engine.docker.create_volume(request).await;
    created.map(drop).map_err(|error| fault("a volume of the workspace cannot be made", &error))
}

/// Returns the volumes below the attempt, newest first, few enough to be mounted.
async fn chain(
    engine: &Engine,
    layers: &Layers,
    run: &RunContext,
    attempt: &Attempt<'_>,
) -> Result<Vec<String>, BackendError> {
    let upper = |layer: &LayerId| volume(run.run, *layer, Part::Upper);
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
    // The longest end of the chain that was flattened for a stage before.
    let found = layers.with(run.run, |known| {
        let ends = known.flattened.iter().filter(|(end, _)| attempt.lower.ends_with(end));
        ends.max_by_key(|(end, _)| end.len()).cloned()
    });
    let (mut newest, mut oldest) = match found {
        Some((end, flat)) => (&attempt.lower[..attempt.lower.len() - end.len()], flat),
        None => (attempt.lower, empty.clone()),
    };
    while !fits(&with_empty(newest, &oldest)) {
        let (rest, group) = newest.split_at(newest.len() - newest.len().min(GROUP));
        oldest = flatten(engine, layers, run, attempt, &with_empty(group, &oldest)).await?;
        newest = rest;
        let end = attempt.lower[newest.len()..].to_vec();
        layers.with(run.run, |known| known.flattened.push((end, oldest.clone())));
    }
    Ok(with_empty(newest, &oldest))
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
    let flat = flat_volume(run.run, attempt.layer, count);
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
    };
    helper::run(engine, helper).await?;
    remove_volume(engine, &view).await?;
    Ok(flat)
}

/// What `shipline-init layer conflicts` answers.
#[derive(Deserialize)]
struct Answer {
    count: usize,
    conflicts: Vec<Conflict>,
}

#[derive(Deserialize)]
struct Conflict {
    path: String,
    first: usize,
    second: usize,
}

/// Refuses to join parallel layers that changed one path differently.
async fn compare(
    engine: &Engine,
    layers: &Layers,
    run: &RunContext,
    attempt: &Attempt<'_>,
) -> Result<(), BackendError> {
    let mut known = BTreeMap::new();
    for layer in attempt.lower {
        known.insert(*layer, find(engine, layers, run, *layer).await?);
    }
    let pairs = parallel_pairs(attempt.lower, |layer| &known[layer].lower);
    let new: Vec<_> = layers.with(run.run, |known| {
        pairs.into_iter().filter(|pair| !known.compared.contains(pair)).collect()
    });
    if new.is_empty() {
        return Ok(());
    }
    let involved: BTreeSet<LayerId> = new.iter().flat_map(|(a, b)| [*a, *b]).collect();
    let involved: Vec<LayerId> = involved.into_iter().collect();
    let position = |layer: &LayerId| involved.iter().position(|other| other == layer);
    let ancestors: Vec<Vec<usize>> = involved
        .iter()
        .map(|layer| known[layer].lower.iter().filter_map(position).collect())
        .collect();
    let place = |index: usize| format!("/layers/{index}");
    let mounts = involved
        .iter()
        .enumerate()
        .map(|(index, layer)| mount(volume(run.run, *layer, Part::Upper), &place(index), true))
        .collect();
    let ancestors = serde_json::to_string(&ancestors).expect("lists of numbers are JSON");
    let command = ["layer".to_owned(), "conflicts".to_owned(), ancestors]
        .into_iter()
        .chain((0..involved.len()).map(place))
        .collect();
    let helper = Helper {
        name: format!(
            "shipline-{}-compare-{}-{}",
            run.run.short(),
            attempt.layer.index,
            attempt.layer.attempt
        ),
        labels: attempt.labels(engine, run, Kind::Helper),
        mounts,
        command,
        // The attributes of an overlay are for the administrator only.
        capabilities: vec!["SYS_ADMIN", "DAC_OVERRIDE", "DAC_READ_SEARCH"],
    };
    let output = helper::run(engine, helper).await?;
    let answer: Answer = serde_json::from_slice(&output).map_err(|error| {
        let message = format!("layers could not be compared: {error}");
        BackendError::Infrastructure { part: "workspace", message }
    })?;
    let Some(first) = answer.conflicts.first() else {
        layers.with(run.run, |known| known.compared.extend(new));
        return Ok(());
    };
    let stage = |index: usize| known[&involved[index]].stage.as_str();
    let more = match answer.count {
        1 => String::new(),
        count => format!(", and {} more paths", count - 1),
    };
    let message = format!(
        "`{}` was changed by both `{}` and `{}`, which run in parallel{more}: write another path, let one need the other, or add `merge: [\"{}\"]` to `{}`",
        first.path,
        stage(first.first),
        stage(first.second),
        first.path,
        attempt.stage,
    );
    Err(BackendError::User { code: Some("E095"), message })
}

/// Returns the pairs of layers of which neither lies below the other.
fn parallel_pairs<'a>(
    layers: &[LayerId],
    below: impl Fn(&LayerId) -> &'a Vec<LayerId>,
) -> Vec<(LayerId, LayerId)> {
    let mut pairs = Vec::new();
    for (position, newer) in layers.iter().enumerate() {
        for older in &layers[position + 1..] {
            if !below(newer).contains(older) && !below(older).contains(newer) {
                pairs.push((*newer.min(older), *newer.max(older)));
            }
        }
    }
    pairs
}

/// Returns what is known of a layer, if need be from its labels on the engine.
async fn find(
    engine: &Engine,
    layers: &Layers,
    run: &RunContext,
    id: LayerId,
) -> Result<Layer, BackendError> {
    if let Some(layer) = layers.with(run.run, |known| known.layers.get(&id).cloned()) {
        return Ok(layer);
    }
    let name = volume(run.run, id, Part::Upper);
    let gone = |message| BackendError::Infrastructure { part: "workspace", message };
    let found = engine.docker.inspect_volume(&name).await.map_err(|error| {
        if is_missing(&error) {
            gone(format!("the layer `{name}` is gone"))
        } else {
            fault(format!("the layer `{name}` cannot be read"), &error)
        }
    })?;
    let lower = found.labels.get(labels::LOWER).and_then(|text| labels::parse_lower(text));
    let (Some(stage), Some(lower)) = (found.labels.get(labels::STAGE), lower) else {
        return Err(gone(format!("the volume `{name}` is not a layer of ours")));
    };
    let layer = Layer { stage: stage.clone(), container: None, lower };
    layers.with(run.run, |known| known.layers.insert(id, layer.clone()));
    Ok(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_parallel_when_neither_lies_below_the_other() {
        let id = |index| LayerId { index, attempt: 1 };
        // checkout 0; 1 and 2 need it; 3 needs 1; all are joined.
        let below = BTreeMap::from([
            (id(0), vec![]),
            (id(1), vec![id(0)]),
            (id(2), vec![id(0)]),
            (id(3), vec![id(1), id(0)]),
        ]);
        let pairs = parallel_pairs(&[id(3), id(2), id(1), id(0)], |layer| &below[layer]);
        assert_eq!(pairs, [(id(2), id(3)), (id(1), id(2))]);
    }
}
