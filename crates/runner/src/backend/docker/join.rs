//! Joining parallel layers: refused where both changed one path differently (E095) and no
//! `merge` says that the later wins.

use std::collections::{BTreeSet, HashMap};

use pipeline::{FilePatterns, Merge};
use serde::Deserialize;

use super::container::mount;
use super::engine::{Engine, fault, is_missing};
use super::helper::{self, Helper};
use super::labels::{self, Kind, Part, volume};
use super::layer::{Attempt, Layers, is_known_empty};
use super::lineage::Layer;
use crate::backend::{BackendError, LayerId, RunContext};

/// Conflicts that are told where all of them are refused; more are counted.
const TOLD: usize = 20;
/// Conflicts that patterns are matched against; more parallel changes of one path are no
/// accident that a pattern mends.
const MOST: usize = 200_000;

/// What `shipline-init layer conflicts` answers.
#[derive(Deserialize)]
struct Answer {
    count: usize,
    conflicts: Vec<Conflict>,
}

impl Answer {
    /// Drops the conflicts about paths that `patterns` match.
    fn without(&mut self, patterns: &FilePatterns) {
        let (chosen, _) = patterns.choose(self.conflicts.iter().map(|found| found.path.as_str()));
        let untold = self.count.saturating_sub(self.conflicts.len());
        let mut merged = chosen.into_iter().peekable();
        let mut position = 0..;
        self.conflicts
            .retain(|_| merged.next_if_eq(&position.next().unwrap_or_default()).is_none());
        self.count = self.conflicts.len() + untold;
    }
}

#[derive(Deserialize)]
struct Conflict {
    path: String,
    first: usize,
    second: usize,
}

/// Compares the parallel layers that the attempt is the first to join.
pub(super) async fn compare(
    engine: &Engine,
    layers: &Layers,
    run: &RunContext,
    attempt: &Attempt<'_>,
) -> Result<(), BackendError> {
    for layer in attempt.lower {
        if layers.with(run.run, |known| known.lineage.get(*layer).is_none()) {
            let found = read(engine, *layer).await?;
            layers.with(run.run, |known| known.lineage.add(*layer, found));
        }
    }
    let pairs = layers.with(run.run, |known| known.lineage.new_pairs(attempt.lower));
    // Nothing in one of them is nothing to disagree about.
    let is_empty = |layer: &LayerId| is_known_empty(engine, *layer);
    let (agreed, pairs): (Vec<_>, Vec<_>) =
        pairs.into_iter().partition(|(a, b)| is_empty(a) || is_empty(b));
    layers.with(run.run, |known| known.lineage.agree(agreed));
    if pairs.is_empty() {
        return Ok(());
    }
    let involved: BTreeSet<LayerId> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
    let involved: Vec<LayerId> = involved.into_iter().collect();
    // The engine makes an empty volume of one that is gone; nobody may take that for a layer.
    for layer in attempt.lower {
        read(engine, *layer).await?;
    }
    let mut answer = ask(engine, layers, run, attempt, &involved).await?;
    if answer.count == 0 {
        layers.with(run.run, |known| known.lineage.agree(pairs));
        return Ok(());
    }
    match attempt.merge {
        // Layers lie as the plan has them: the later one is above whatever it changed.
        Some(Merge::Last) => return Ok(()),
        Some(Merge::Paths(patterns)) => answer.without(&FilePatterns::new(patterns)),
        None => {}
    }
    let Some(first) = answer.conflicts.first() else { return Ok(()) };
    let stage = |index: usize| {
        let stage = involved.get(index).and_then(|layer| {
            layers.with(run.run, |known| Some(known.lineage.get(*layer)?.stage.clone()))
        });
        stage.unwrap_or_default()
    };
    let more = match answer.count {
        1 => String::new(),
        2 => ", as was one more path".to_owned(),
        count => format!(", as were {} more paths", count - 1),
    };
    let message = format!(
        "`{path}` was changed by both `{}` and `{}`, which run in parallel{more}: write another \
         path, let one need the other, or let the later one win with `merge: [{}]` in `{}`",
        stage(first.first),
        stage(first.second),
        serde_json::Value::from(first.path.as_str()),
        attempt.stage,
        path = first.path,
    );
    Err(BackendError::User { code: Some("E095"), message })
}

/// Has the layers compared beside the engine.
async fn ask(
    engine: &Engine,
    layers: &Layers,
    run: &RunContext,
    attempt: &Attempt<'_>,
    involved: &[LayerId],
) -> Result<Answer, BackendError> {
    // Those that are only looked up stand behind.
    let others = attempt.lower.iter().filter(|layer| !involved.contains(layer));
    let all: Vec<LayerId> = involved.iter().chain(others).copied().collect();
    let position: HashMap<LayerId, usize> =
        all.iter().enumerate().map(|(index, layer)| (*layer, index)).collect();
    let ancestors: Vec<Vec<usize>> = involved
        .iter()
        .map(|layer| {
            let closure = layers.with(run.run, |known| known.lineage.closure(*layer));
            let below = attempt.lower.iter().filter(|other| *other != layer);
            below.filter(|other| closure.contains(other)).map(|other| position[other]).collect()
        })
        .collect();
    let place = |index: usize| format!("/layers/{index}");
    let mounts = all
        .iter()
        .enumerate()
        .map(|(index, layer)| {
            mount(volume(*layer, Part::Upper), &place(index), index >= involved.len())
        })
        .collect();
    let ancestors = serde_json::to_string(&ancestors).expect("lists of numbers are JSON");
    let told = if attempt.merge.is_some() { MOST } else { TOLD };
    let command = ["layer".to_owned(), "conflicts".to_owned(), told.to_string(), ancestors]
        .into_iter()
        .chain((0..all.len()).map(place))
        .collect();
    let LayerId { index, attempt: number, .. } = attempt.layer;
    let helper = Helper {
        name: format!("shipline-{}-compare-{index}-{number}", run.run.short()),
        labels: attempt.labels(engine, run, Kind::Helper),
        mounts,
        command,
        // The attributes of an overlay are for the administrator only.
        capabilities: vec!["SYS_ADMIN", "DAC_OVERRIDE", "DAC_READ_SEARCH"],
        stdin: false,
    };
    let output = helper::run(engine, helper).await?;
    serde_json::from_slice(&output).map_err(|error| {
        let message = format!("layers could not be compared: {error}");
        BackendError::Infrastructure { part: "workspace", message }
    })
}

/// Reads what the engine knows of a layer; one that is gone is said by name.
pub(super) async fn read(engine: &Engine, id: LayerId) -> Result<Layer, BackendError> {
    let name = volume(id, Part::Upper);
    let gone = |message| BackendError::Infrastructure { part: "workspace", message };
    let found = engine.volumes.inspect_volume(&name).await.map_err(|error| {
        if is_missing(&error) {
            gone(format!("the layer `{name}` is gone from the engine"))
        } else {
            fault(format!("the layer `{name}` cannot be read"), &error)
        }
    })?;
    let heads = found.labels.get(labels::LOWER).and_then(|text| labels::parse_lower(id.run, text));
    let (Some(stage), Some(heads)) = (found.labels.get(labels::STAGE), heads) else {
        return Err(gone(format!("the volume `{name}` is not a layer of ours")));
    };
    Ok(Layer { stage: stage.clone(), container: None, heads })
}
