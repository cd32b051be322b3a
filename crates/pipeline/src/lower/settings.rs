//! Keys that stages of several actions have: retry, resources, caches, artifacts.

use super::Lowering;
use crate::expression::Site;
use crate::plan::{
    AllowFailure, Artifacts, Cache, Concurrency, Merge, Resources, Retry, SecretUse,
};
use crate::yaml::{Map, Node};

impl Lowering<'_> {
    pub(super) fn secrets(&mut self, _map: &Map) -> Vec<SecretUse> {
        Vec::new()
    }

    pub(super) fn allow_failure(&mut self, _node: &Node) -> Option<AllowFailure> {
        None
    }

    pub(super) fn retry(&mut self, _map: &Map) -> Retry {
        Retry::builtin()
    }

    /// `concurrency` of a stage, or of the run.
    pub(crate) fn concurrency(&mut self, _node: &Node, _site: Site) -> Option<Concurrency> {
        None
    }

    pub(super) fn runner(&mut self, _map: &Map) -> Vec<String> {
        Vec::new()
    }

    /// `resources` of a stage, a service or a deployed service: the key at `path`.
    pub(super) fn resources(&mut self, _map: &Map, _path: &str, _site: Site) -> Resources {
        Resources::default()
    }

    pub(super) fn caches(&mut self, _map: &Map) -> Vec<Cache> {
        Vec::new()
    }

    pub(super) fn inputs(&mut self, _map: &Map) -> Vec<String> {
        Vec::new()
    }

    pub(super) fn artifacts(&mut self, _node: &Node) -> Option<Artifacts> {
        None
    }

    pub(super) fn merge(&mut self, _node: &Node) -> Option<Merge> {
        None
    }
}
