//! What the fake engine has and saw.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event::RunId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::{AttemptSpec, BuildSpec, CheckSpec, Exit, LayerId, PushSpec, RunContext};
use super::files::Files;
use super::surviving::Survivors;

#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) prepared: bool,
    /// The next `prepare` fails.
    pub(super) away: bool,
    pub(super) files: Files,
    pub(super) sealed: BTreeSet<LayerId>,
    /// With the run that each belongs to.
    pub(super) running: BTreeMap<String, Owner>,
    /// Attempts whose services run.
    pub(super) serving: BTreeMap<String, RunId>,
    pub(super) peak: usize,
    pub(super) started: Vec<String>,
    pub(super) witnessed: Vec<Witnessed>,
    pub(super) specs: Vec<AttemptSpec>,
    pub(super) builds: Vec<BuildSpec>,
    pub(super) checks: Vec<CheckSpec>,
    pub(super) pushes: Vec<PushSpec>,
    pub(super) calls: Vec<String>,
    pub(super) violations: Vec<String>,
    /// Of every attempt that was started.
    pub(super) kills: Vec<(RunId, CancellationToken)>,
    pub(super) cleaned_away: Vec<String>,
    /// Of durable runs.
    pub(super) survivors: Survivors,
}

/// Whose an object on the engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) instance: String,
    pub(super) run: RunId,
}

impl Owner {
    pub(super) fn of(run: &RunContext) -> Self {
        Self { instance: run.instance.clone(), run: run.run }
    }
}

/// What the engine saw of a container, whoever was told.
#[derive(Clone, Debug)]
pub struct Witnessed {
    pub name: String,
    pub stage: String,
    pub attempt: u32,
    pub begun: Instant,
    pub ended: Option<Instant>,
    /// As far as it ended by itself or by a signal, and did not break.
    pub exit: Option<Exit>,
    /// When it was first told to stop.
    pub stopped: Option<Instant>,
}

impl World {
    /// Kills and removes, and returns how many containers that were. Kills and services are
    /// all of this instance.
    pub(super) fn remove(
        &mut self,
        owner: impl Fn(&Owner) -> bool,
        run: impl Fn(RunId) -> bool,
    ) -> usize {
        self.kills.extract_if(.., |(of, _)| run(*of)).for_each(|(_, kill)| kill.cancel());
        self.serving.retain(|_, of| !run(*of));
        let gone: Vec<String> =
            self.running.iter().filter(|(_, of)| owner(of)).map(|(name, _)| name.clone()).collect();
        self.running.retain(|_, of| !owner(of));
        for name in &gone {
            let seen = self.witnessed.iter_mut().find(|seen| seen.name == *name);
            if let Some(seen) = seen.filter(|seen| seen.ended.is_none()) {
                seen.stopped.get_or_insert(Instant::now());
            }
        }
        let count = gone.len();
        self.cleaned_away.extend(gone);
        count
    }
}

pub(super) fn witness(world: &Mutex<World>, name: &str, change: impl FnOnce(&mut Witnessed)) {
    if let Some(seen) = lock(world).witnessed.iter_mut().rev().find(|seen| seen.name == name) {
        change(seen);
    }
}

/// An attempt that counts as running until it is dropped.
pub(super) struct Running {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) name: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.world).running.remove(&self.name);
    }
}

pub(super) fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}
