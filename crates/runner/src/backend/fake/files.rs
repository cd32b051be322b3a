//! Files of the fake: workspaces as maps from paths to contents, and caches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use event::RunId;
use pipeline::{FilePatterns, Merge};

use crate::WORKSPACE;
use crate::backend::entry::{find, scope};
use crate::backend::{
    AttemptSpec, BackendError, BuildSpec, FileEntry, Kept, LayerId, Restored, RunContext,
    SecretSpec, View,
};

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
    stage: String,
    lower: Vec<LayerId>,
    base: Tree,
    written: Arc<Mutex<Tree>>,
    /// Of its caches.
    places: Vec<Vec<String>>,
}

impl AttemptFiles {
    /// Of steps that see nothing but these secrets.
    pub(super) fn of_build(secrets: &[SecretSpec]) -> Self {
        let named = secrets.iter().map(|secret| (secret.id(), secret));
        let base = named.map(|(id, secret)| (secret_file(&id), secret.value.clone().into()));
        Self { base: base.collect(), ..Self::default() }
    }

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
        let files = spec.secrets.iter().filter(|secret| secret.env.is_none());
        base.extend(files.map(|file| (secret_file(&file.name), file.value.clone().into())));
        let (stage, lower) = (spec.stage.clone(), spec.lower.clone());
        let files = AttemptFiles { stage, lower, base, places, ..AttemptFiles::default() };
        self.layers.insert(spec.layer, files.clone());
        (files, restored)
    }

    /// Why an attempt cannot be started: layers below it disagree, or it has a cache where
    /// there is a file.
    pub(super) fn refuse(&self, spec: &AttemptSpec) -> Result<(), BackendError> {
        self.compare(&spec.lower, spec.merge.as_ref())?;
        if spec.caches.is_empty() {
            return Ok(());
        }
        let below = self.below(&spec.lower);
        let places = spec.caches.iter().flat_map(|cache| &cache.paths);
        match places.map(|path| absolute(path)).find(|place| below.contains_key(place)) {
            Some(place) => {
                Err(user("E091", format!("the cache `{place}` lies over a file of the workspace")))
            }
            None => Ok(()),
        }
    }

    /// Refuses parallel layers that changed one path differently.
    pub(super) fn compare(
        &self,
        lower: &[LayerId],
        merge: Option<&Merge>,
    ) -> Result<(), BackendError> {
        let merged = match merge {
            Some(Merge::Last) => return Ok(()),
            Some(Merge::Paths(patterns)) => Some(FilePatterns::new(patterns)),
            None => None,
        };
        let all = || lower.iter().filter_map(|id| Some((id, self.layers.get(id)?)));
        let joined = |a, b| all().any(|(_, on)| on.lower.contains(a) && on.lower.contains(b));
        // Of a thousand stages most write nothing.
        let wrote: Vec<_> = all().filter(|(_, layer)| !layer.written().is_empty()).collect();
        for (position, (a, first)) in wrote.iter().enumerate() {
            for (b, second) in &wrote[position + 1..] {
                let Some(path) = first.conflict(second, merged.as_ref()) else { continue };
                if first.lower.contains(b) || second.lower.contains(a) || joined(a, b) {
                    continue;
                }
                let (one, other) = (&second.stage, &first.stage);
                let message = format!(
                    "`{path}` was changed by both `{one}` and `{other}`, which run in parallel: \
                     write `merge: [\"{path}\"]`"
                );
                return Err(user("E095", message));
            }
        }
        Ok(())
    }

    /// The text of the Dockerfile of a build, where its workspace is known.
    pub(super) fn dockerfile(&self, build: &BuildSpec) -> Result<Option<Bytes>, BackendError> {
        let files = self.list(&build.view());
        if files.is_empty() {
            return Ok(None);
        }
        let (context, file) = (plain(&build.work.context), plain(&build.work.file));
        let in_context = format!("{context}/{file}");
        let in_context = in_context.trim_start_matches('/');
        let found = |path: &str| files.iter().find(|(entry, _)| entry.path == path);
        match found(in_context).or_else(|| found(&file)) {
            Some((_, text)) => Ok(Some(text.clone())),
            None => Err(user("E097", format!("`{file}` of `build.file` is not in the workspace"))),
        }
    }

    /// Removes all of a run but caches.
    pub(super) fn clean(&mut self, run: RunId) {
        self.layers.retain(|layer, _| layer.run != run);
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

impl AttemptFiles {
    /// A path of the workspace that both wrote, and not the same.
    fn conflict(&self, other: &Self, merged: Option<&FilePatterns>) -> Option<String> {
        let (ours, theirs) = (self.written().clone(), other.written().clone());
        let below = format!("{WORKSPACE}/");
        let differ = ours.iter().filter(|(path, contents)| {
            theirs.get(*path).is_some_and(|other| other != *contents)
                && !self.is_cached(path)
                && !other.is_cached(path)
        });
        let mut paths = differ.filter_map(|(path, _)| path.strip_prefix(&below));
        let settled = |path| merged.is_some_and(|merged| !merged.choose([path]).0.is_empty());
        paths.find(|path| !settled(path)).map(str::to_owned)
    }
}

fn user(code: &'static str, message: String) -> BackendError {
    BackendError::User { code: Some(code), message }
}

fn secret_file(name: &str) -> String {
    format!("/run/secrets/{name}")
}

/// Without `.` and superfluous slashes.
fn plain(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    parts.join("/")
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
