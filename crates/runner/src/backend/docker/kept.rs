//! What outlives its run: the layers of the last run of a directory, and caches.

use std::collections::HashSet;

use event::RunId;

use super::clean::{Object, What, list, remove_all};
use super::engine::{Engine, fault, is_missing};
use super::init::{is_delivered, take_away};
use super::labels::{self, Kind, Part, volume};
use crate::backend::{BackendError, LayerId};

/// A volume that outlives its run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub volume: String,
    /// `layer` or `cache`.
    pub reason: String,
    pub run: Option<RunId>,
    pub stage: Option<String>,
}

/// Lists the volumes of an instance that outlive their runs, but what is delivered.
pub(super) async fn kept(engine: &Engine, instance: &str) -> Result<Vec<Kept>, BackendError> {
    let objects = list(engine, &[(labels::INSTANCE, instance)]).await?;
    let kept = objects.into_iter().filter(|object| object.what == What::Volume);
    let kept = kept.filter(|object| !is_delivered(&object.id));
    Ok(kept
        .filter_map(|object| {
            Some(Kept {
                reason: object.labels.get(labels::KEEP)?.clone(),
                run: object.labels.get(labels::RUN).and_then(|run| run.parse().ok()),
                stage: object.labels.get(labels::STAGE).cloned(),
                volume: object.id,
            })
        })
        .collect())
}

/// Removes the volumes that ended runs of an instance keep, and what it delivered
/// if nobody uses it; those of `except` stay.
pub(super) async fn remove_kept(
    engine: &Engine,
    instance: &str,
    except: &[RunId],
    caches: bool,
) -> Result<usize, BackendError> {
    let goes = |object: &Object| {
        let kind = object.labels.get(labels::KIND).map(String::as_str);
        let run = object.labels.get(labels::RUN).and_then(|run| run.parse::<RunId>().ok());
        object.what == What::Volume
            && !is_delivered(&object.id)
            && object.labels.contains_key(labels::KEEP)
            && (caches || kind != Some(Kind::Cache.text()))
            && run.is_none_or(|run| !except.contains(&run))
    };
    let removed = remove_all(engine, &[(labels::INSTANCE, instance)], goes).await?;
    take_away(engine, instance).await?;
    Ok(removed)
}

/// Removes the layers that the runs of which `of` says so keep, but those of `except`;
/// returns how many.
pub(super) async fn remove_layers(
    engine: &Engine,
    instance: &str,
    of: impl Fn(RunId) -> bool,
    except: &[LayerId],
) -> Result<usize, BackendError> {
    let except: HashSet<String> = except.iter().map(|layer| volume(*layer, Part::Upper)).collect();
    let goes = |object: &Object| {
        let run = object.labels.get(labels::RUN).and_then(|run| run.parse::<RunId>().ok());
        object.what == What::Volume
            && object.labels.contains_key(labels::KEEP)
            && run.is_some_and(&of)
            && !except.contains(&object.id)
    };
    remove_all(engine, &of_kind(instance, Kind::Layer), goes).await
}

/// Returns those of `layers` that are not on the engine.
pub(super) async fn gone(
    engine: &Engine,
    instance: &str,
    layers: &[LayerId],
) -> Result<Vec<LayerId>, BackendError> {
    let there = list(engine, &of_kind(instance, Kind::Layer)).await?;
    let there: HashSet<String> = there.into_iter().map(|object| object.id).collect();
    let is_gone = |layer: &&LayerId| !there.contains(&volume(**layer, Part::Upper));
    Ok(layers.iter().filter(is_gone).copied().collect())
}

/// Whether a layer is there that its run did not remove.
pub(super) async fn has_layer(engine: &Engine, layer: LayerId) -> Result<bool, BackendError> {
    match engine.volumes.inspect_volume(&volume(layer, Part::Upper)).await {
        Ok(found) => Ok(found.labels.contains_key(labels::KEEP)),
        Err(error) if is_missing(&error) => Ok(false),
        Err(error) => Err(fault("a layer cannot be read", &error)),
    }
}

/// Whether the engine has an image of that id or name.
pub(super) async fn has_image(engine: &Engine, image: &str) -> Result<bool, BackendError> {
    match engine.docker.inspect_image(image).await {
        Ok(_) => Ok(true),
        Err(error) if is_missing(&error) => Ok(false),
        Err(error) => Err(fault(format!("image `{image}` cannot be read"), &error)),
    }
}

const fn of_kind(instance: &str, kind: Kind) -> [(&'static str, &str); 2] {
    [(labels::INSTANCE, instance), (labels::KIND, kind.text())]
}
