//! Files of the fake: workspaces as maps from paths to contents, and caches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::WORKSPACE;
use crate::backend::entry::{find, scope};
use crate::backend::{AttemptSpec, FileEntry, Kept, LayerId, Restored, RunContext, View};

/// By absolute path.
pub(super) type Tree = BTreeMap<String, Bytes>;

#[derive(Debug, Default)]
pub(super) struct Files {
    /// What each attempt wrote.
    layers: BTreeMap<LayerId, AttemptFiles>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    scope: String,
    key: String,
    tree: Tree,
}

/// What an attempt sees and writes.
#[derive(Clone, Debug, Default)]
pub(super) struct AttemptFiles {
    base: Tree,
    written: Arc<Mutex<Tree>>,
    /// Of its caches.
    places: Vec<Vec<String>>,
}

impl AttemptFiles {
    /// Writes a file; a path without `/` in front is one of the workspace.
    pub(super) fn write(&self, path: &str, contents: Bytes) {
        self.written().insert(absolute(path), contents);
    }

    pub(super) fn read(&self, path: &str) -> Option<Bytes> {
        let path = absolute(path);
        self.written().get(&path).or_else(|| self.base.get(&path)).cloned()
    }

    fn written(&self) -> MutexGuard<'_, Tree> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Tree {
        let mut all = self.base.clone();
        all.extend(self.written().clone());
        all
    }

    fn is_cached(&self, path: &str) -> bool {
        self.places.iter().flatten().any(|place| is_below(path, place))
    }
}

impl Files {
    pub(super) fn check_out(&mut self, layer: LayerId, files: &Tree) {
        let attempt = AttemptFiles::default();
        for (path, contents) in files {
            attempt.write(path, contents.clone());
        }
        self.layers.insert(layer, attempt);
    }

    /// Returns the files an attempt begins with, and what its caches began as.
    pub(super) fn begin(
        &mut self,
        run: &RunContext,
        spec: &AttemptSpec,
    ) -> (AttemptFiles, Vec<Option<Restored>>) {
        let mut base = self.below(&spec.lower);
        let (mut places, mut restored) = (Vec::new(), Vec::new());
        for cache in &spec.caches {
            let of: Vec<String> = cache.paths.iter().map(|path| absolute(path)).collect();
            base.retain(|path, _| !of.iter().any(|place| is_below(path, place)));
            let numbered: Vec<(u64, &Entry)> = (0..).zip(&self.entries).collect();
            let found = find(&numbered, run, cache, |(at, entry)| (&entry.scope, &entry.key, *at));
            restored.push(found.map(|(_, entry)| {
                base.extend(entry.tree.clone());
                let own = entry.scope == scope(run, cache, run.trusted);
                Restored { key: entry.key.clone(), own }
            }));
            places.push(of);
        }
        let files = AttemptFiles { base, places, ..AttemptFiles::default() };
        self.layers.insert(spec.layer, files.clone());
        (files, restored)
    }

    /// Removes all but caches.
    pub(super) fn clean(&mut self) {
        self.layers.clear();
    }

    fn below(&self, lower: &[LayerId]) -> Tree {
        let mut tree = Tree::new();
        for layer in lower.iter().rev().filter_map(|layer| self.layers.get(layer)) {
            let written = layer.written().clone();
            tree.extend(written.into_iter().filter(|(path, _)| !layer.is_cached(path)));
        }
        tree
    }

    /// What is in the workspace of an attempt, begun or not.
    pub(super) fn list(&self, view: &View) -> Vec<(FileEntry, Bytes)> {
        let all = match self.layers.get(&view.layer) {
            Some(attempt) => {
                let mut all = attempt.all();
                all.retain(|path, _| !attempt.is_cached(path));
                all
            }
            None => self.below(&view.lower),
        };
        let below = format!("{WORKSPACE}/");
        let entry = |path: &str, contents: &Bytes| FileEntry {
            path: path.to_owned(),
            link: false,
            size: contents.len() as u64,
            mode: 0o100_644,
        };
        all.into_iter()
            .filter_map(|(path, contents)| {
                Some((entry(path.strip_prefix(&below)?, &contents), contents))
            })
            .collect()
    }

    pub(super) fn keep(
        &mut self,
        run: &RunContext,
        spec: &AttemptSpec,
        cache: usize,
        restored: Option<&Restored>,
    ) -> Kept {
        let Some(attempt) = self.layers.get(&spec.layer) else { return Kept::Unchanged };
        let places = attempt.places.get(cache).cloned().unwrap_or_default();
        let ours = |path: &String| places.iter().any(|place| is_below(path, place));
        let wanted = &spec.caches[cache];
        let same = restored.is_some_and(|found| found.own && found.key == wanted.key);
        if same && !attempt.written().keys().any(ours) {
            return Kept::Unchanged;
        }
        let mut tree = attempt.all();
        tree.retain(|path, _| ours(path));
        let bytes = tree.values().map(|contents| contents.len() as u64).sum();
        if bytes > run.cache_limit {
            return Kept::TooLarge { bytes };
        }
        let scope = scope(run, wanted, run.trusted);
        self.entries.push(Entry { scope, key: wanted.key.clone(), tree });
        Kept::Saved { bytes }
    }
}

fn absolute(path: &str) -> String {
    match path.strip_prefix('~') {
        Some(below) => format!("/root{below}"),
        None if path.starts_with('/') => path.to_owned(),
        None => format!("{WORKSPACE}/{path}"),
    }
}

fn is_below(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.starts_with('/'))
}
