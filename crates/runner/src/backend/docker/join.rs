//! Joining parallel layers: refused where both changed one path differently (E095).

use std::collections::BTreeSet;

use serde::Deserialize;

use super::container::mount;
use super::engine::{Engine, fault, is_missing};
use super::helper::{self, Helper};
use super::labels::{self, Kind, Part, volume};
use super::layer::{Attempt, Layers};
use super::lineage::Layer;
use crate::backend::{BackendError, LayerId, RunContext};

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

/// Compares the parallel layers that the attempt is the first to join.
pub(super) async fn compare(
    engine: &Engine,
    layers: &Layers,
    run: &RunContext,
    attempt: &Attempt<'_>,
) -> Result<(), BackendError> {
    for layer in attempt.lower {
        if layers.with(run.run, |known| known.lineage.get(*layer).is_none()) {
            let found = read(engine, run, *layer).await?;
            layers.with(run.run, |known| known.lineage.add(*layer, found));
        }
    }
    let pairs = layers.with(run.run, |known| known.lineage.new_pairs(attempt.lower));
    if pairs.is_empty() {
        return Ok(());
    }
    let involved: BTreeSet<LayerId> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
    let involved: Vec<LayerId> = involved.into_iter().collect();
    // The engine makes an empty volume of one that is gone; nobody may take that for a layer.
    for layer in &involved {
        read(engine, run, *layer).await?;
    }
    let answer = ask(engine, layers, run, attempt, &involved).await?;
    let Some(first) = answer.conflicts.first() else {
        layers.with(run.run, |known| known.lineage.agree(pairs));
        return Ok(());
    };
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
         path, or let one need the other",
        stage(first.first),
        stage(first.second),
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
    let position = |layer: LayerId| involved.iter().position(|other| *other == layer);
    let ancestors: Vec<Vec<usize>> = involved
        .iter()
        .map(|layer| {
            let closure = layers.with(run.run, |known| known.lineage.closure(*layer));
            closure.into_iter().filter(|other| other != layer).filter_map(position).collect()
        })
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
    let LayerId { index, attempt: number } = attempt.layer;
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
pub(super) async fn read(
    engine: &Engine,
    run: &RunContext,
    id: LayerId,
) -> Result<Layer, BackendError> {
    let name = volume(run.run, id, Part::Upper);
    let gone = |message| BackendError::Infrastructure { part: "workspace", message };
    let found = engine.docker.inspect_volume(&name).await.map_err(|error| {
        if is_missing(&error) {
            gone(format!("the layer `{name}` is gone from the engine"))
        } else {
            fault(format!("the layer `{name}` cannot be read"), &error)
        }
    })?;
    let heads = found.labels.get(labels::LOWER).and_then(|text| labels::parse_lower(text));
    let (Some(stage), Some(heads)) = (found.labels.get(labels::STAGE), heads) else {
        return Err(gone(format!("the volume `{name}` is not a layer of ours")));
    };
    Ok(Layer { stage: stage.clone(), container: None, heads })
}
