//! Names and labels of everything we make on an engine.
//!
//! By them, and by nothing else, clean-up finds what is ours.

use std::collections::HashMap;

use event::RunId;

use crate::backend::LayerId;

pub(super) const INSTANCE: &str = "shipline.instance";
pub(super) const KIND: &str = "shipline.kind";
pub(super) const RUN: &str = "shipline.run";
pub(super) const STAGE: &str = "shipline.stage";
pub(super) const ATTEMPT: &str = "shipline.attempt";
pub(super) const SPEC: &str = "shipline.spec";
pub(super) const OWNER: &str = "shipline.owner";
pub(super) const KEEP: &str = "shipline.keep";
/// On a layer: the heads of those below it, as `INDEX.ATTEMPT`, or `RUN/INDEX.ATTEMPT` if of another run.
pub(super) const LOWER: &str = "shipline.lower";
/// On the container of a stage that outlives our process: the digest of its image, and what
/// its caches began as.
pub(super) const IMAGE: &str = "shipline.image";
pub(super) const RESTORED: &str = "shipline.restored";
/// On the record of a cache's entry: project, trust and paths, hashed.
pub(super) const CACHE_SCOPE: &str = "shipline.cache.scope";
pub(super) const CACHE_KEY: &str = "shipline.cache.key";
/// On a record, and on what stands on it: the volume that holds the entry.
pub(super) const CACHE_DATA: &str = "shipline.cache.data";
pub(super) const CACHE_BYTES: &str = "shipline.cache.bytes";
/// Milliseconds since 1970.
pub(super) const CACHE_SAVED: &str = "shipline.cache.saved";
pub(super) const CACHE_USED: &str = "shipline.cache.used";

/// What an object is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Stage,
    Service,
    /// Holds a network for stages.
    Sandbox,
    Network,
    Helper,
    Layer,
    Cache,
    Image,
    /// Tests what is deployed.
    Check,
}

impl Kind {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Service => "service",
            Self::Sandbox => "sandbox",
            Self::Network => "network",
            Self::Helper => "helper",
            Self::Layer => "layer",
            Self::Cache => "cache",
            Self::Image => "image",
            Self::Check => "check",
        }
    }
}

/// The labels of one object.
#[derive(Clone, Debug)]
pub(super) struct Labels(HashMap<String, String>);

impl Labels {
    pub(super) fn new(instance: &str, kind: Kind) -> Self {
        let labels = [(INSTANCE, instance), (KIND, kind.text())];
        Self(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }

    pub(super) fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.0.insert(name.to_owned(), format!("{value}"));
        self
    }

    pub(super) fn instance(&self) -> &str {
        self.0.get(INSTANCE).map_or("", String::as_str)
    }

    pub(super) fn map(self) -> HashMap<String, String> {
        self.0
    }
}

/// A filter of the engine's lists.
pub(super) fn filter(labels: &[(&str, &str)]) -> HashMap<String, Vec<String>> {
    let labels = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    HashMap::from([("label".to_owned(), labels)])
}

/// The volumes of a layer. Names are short: the paths of a whole chain must fit one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// What the attempt writes.
    Upper,
    /// Overlay's own.
    Work,
    /// The view: everything below and the upper.
    Merged,
    /// What its PID 1 said.
    Records,
}

impl Part {
    const fn letter(self) -> char {
        match self {
            Self::Upper => 'u',
            Self::Work => 'w',
            Self::Merged => 'm',
            Self::Records => 'r',
        }
    }
}

pub(super) fn volume(layer: LayerId, part: Part) -> String {
    format!("sl-{}-{}{}", layer.run.short(), layer_text(layer), part.letter())
}

/// What an attempt works on in place of the `path`th path of its `cache`th cache.
pub(super) fn cache_volume(layer: LayerId, (cache, path): (usize, usize), part: Part) -> String {
    format!("sl-{}-{}c{cache}p{path}{}", layer.run.short(), layer_text(layer), part.letter())
}

/// The empty layer below all others: an overlay cannot be mounted on nothing.
pub(super) fn empty_volume(run: RunId) -> String {
    format!("sl-{}-e", run.short())
}

/// The `count`th flattened chain made for `layer`; its view has a `v` behind it.
pub(super) fn flat_volume(layer: LayerId, count: usize) -> String {
    format!("sl-{}-{}f{count}", layer.run.short(), layer_text(layer))
}

fn layer_text(layer: LayerId) -> String {
    match layer.attempt {
        0 | 1 => layer.index.to_string(),
        attempt => format!("{}a{attempt}", layer.index),
    }
}

/// Tells layers below one of `run` in a label, newest first.
pub(super) fn lower_text(run: RunId, lower: &[LayerId]) -> String {
    let text = |layer: &LayerId| {
        let place = format!("{}.{}", layer.index, layer.attempt);
        if layer.run == run { place } else { format!("{}/{place}", layer.run) }
    };
    lower.iter().map(text).collect::<Vec<_>>().join(" ")
}

pub(super) fn parse_lower(run: RunId, text: &str) -> Option<Vec<LayerId>> {
    text.split_whitespace()
        .map(|layer| {
            let (run, place) = match layer.split_once('/') {
                Some((other, place)) => (other.parse().ok()?, place),
                None => (run, layer),
            };
            let (index, attempt) = place.split_once('.')?;
            Some(LayerId { run, index: index.parse().ok()?, attempt: attempt.parse().ok()? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_volumes_are_short() {
        let run: RunId = "0190a1b2-0000-7000-8000-0000deadbeef".parse().unwrap();
        let layer = LayerId { run, index: 7, attempt: 1 };
        assert_eq!(volume(layer, Part::Upper), "sl-deadbeef-7u");
        assert_eq!(volume(layer, Part::Work), "sl-deadbeef-7w");
        let again = LayerId { run, index: 7, attempt: 3 };
        assert_eq!(volume(again, Part::Merged), "sl-deadbeef-7a3m");
        assert_eq!(flat_volume(layer, 0), "sl-deadbeef-7f0");
    }

    #[test]
    fn the_layers_below_are_read_back_from_the_label() {
        let run: RunId = "0190a1b2-0000-7000-8000-0000deadbeef".parse().unwrap();
        let other: RunId = "0190a1b2-0000-7000-8000-00000000cafe".parse().unwrap();
        let lower =
            [LayerId { run, index: 12, attempt: 2 }, LayerId { run: other, index: 0, attempt: 1 }];
        let text = "12.2 0190a1b2-0000-7000-8000-00000000cafe/0.1";
        assert_eq!(lower_text(run, &lower), text);
        assert_eq!(parse_lower(run, text).as_deref(), Some(&lower[..]));
        assert_eq!(parse_lower(run, "").as_deref(), Some(&[][..]));
        assert_eq!(parse_lower(run, "x"), None);
    }
}
