//! The last run of a directory, and what of it is still there to stand on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use event::{Phase, RunId, RunState};
use pipeline::Work;
use runner::backend::docker::DockerBackend;
use runner::backend::{Backend as _, LayerId, Left};
use runner::{Carried, carried_layers};
use store::{RunRow, Store};

use crate::error::{CommandError, Context as _};
use crate::history;
use crate::home::Home;
use crate::stage_name::no_such_stage;

const WHAT: &str = "cannot read a former run";

/// A run that has ended.
pub(crate) struct Former {
    pub(crate) row: RunRow,
    pub(crate) state: RunState,
}

impl Former {
    /// The last one of a directory.
    pub(crate) async fn last(
        home: &Home,
        store: &Store,
        directory: &Path,
    ) -> Result<Self, CommandError> {
        for run in home.runs_of(directory) {
            let Some(row) = store.run(run).await.environment(WHAT)? else { continue };
            if row.result.is_some() {
                return Self::read(store, row).await;
            }
        }
        Err(CommandError::usage("nothing has run in this directory yet").hint("`shipline run`"))
    }

    /// The one that is named, else the last one of this directory.
    pub(crate) async fn find(
        home: &Home,
        store: &Store,
        named: Option<&str>,
    ) -> Result<Self, CommandError> {
        match named {
            Some(id) => Self::read(store, history::find(store, id).await?).await,
            None => {
                let here = std::fs::canonicalize(".").environment("cannot find the directory")?;
                Self::last(home, store, &here).await
            }
        }
    }

    /// Returns the whole name of a stage; a stage with a matrix is none.
    pub(crate) fn stage<'a>(&self, name: &'a str) -> Result<&'a str, CommandError> {
        if self.state.stage(name).is_some() {
            return Ok(name);
        }
        let plan = self.state.plan.clone().unwrap_or_default();
        Err(no_such_stage(&plan, name))
    }

    pub(crate) async fn read(store: &Store, row: RunRow) -> Result<Self, CommandError> {
        let state = store.run_state(row.id).await.environment(WHAT)?;
        Ok(Self { row, state })
    }

    /// What the stages `names` left, all of which has to be there.
    pub(crate) async fn carry(
        &self,
        backend: &DockerBackend,
        instance: &str,
        names: &[String],
    ) -> Result<BTreeMap<String, Carried>, CommandError> {
        let run = self.row.id.short();
        let carried = runner::carry(&self.state, names).map_err(|name| {
            let ended = match self.state.result_of(name) {
                Some(result) => format!("ended `{result}` in the last run here, {run}"),
                None => format!("is not in the last run here, {run}"),
            };
            CommandError::usage(format_args!("stage `{name}` is needed, and {ended}"))
                .hint(format_args!("`shipline run {name}` runs it and what it needs"))
        })?;
        match self.gone(backend, instance, &carried).await?.first() {
            None => Ok(carried),
            Some(name) => Err(self.nothing_left(name)),
        }
    }

    /// What need not run again. The checkout has to be there: other files would be
    /// another run.
    pub(crate) async fn resume(
        &self,
        backend: &DockerBackend,
        instance: &str,
    ) -> Result<BTreeMap<String, Carried>, CommandError> {
        let all = runner::resume(&self.state, &BTreeSet::new()).environment(WHAT)?;
        let gone = self.gone(backend, instance, &all).await?;
        let plan = self.state.plan.iter().flat_map(|plan| &plan.stages);
        let mut checkouts = plan.filter(|stage| matches!(stage.work, Work::Checkout { .. }));
        if let Some(lost) = checkouts.find(|stage| gone.contains(&stage.name)) {
            return Err(self.nothing_left(&lost.name));
        }
        runner::resume(&self.state, &gone).environment(WHAT)
    }

    pub(crate) fn nothing_left(&self, name: &str) -> CommandError {
        CommandError::usage(format_args!(
            "what `{name}` left in run {} is not on the engine any more",
            self.row.id.short()
        ))
        .hint("the files of the last run of a directory are kept until `shipline clean`; `shipline run` begins anew")
    }

    /// The stages of `carried` whose layers or images are not on the engine any more.
    async fn gone(
        &self,
        backend: &DockerBackend,
        instance: &str,
        carried: &BTreeMap<String, Carried>,
    ) -> Result<BTreeSet<String>, CommandError> {
        let Some(plan) = &self.state.plan else { return Ok(BTreeSet::new()) };
        let layers: Vec<(&str, LayerId)> = carried_layers(plan, carried).collect();
        let wanted: Vec<LayerId> = layers.iter().map(|(_, layer)| *layer).collect();
        let lost = backend.gone(instance, &wanted).await.environment(WHAT)?;
        let lost = layers.into_iter().filter(|(_, layer)| lost.contains(layer));
        let mut gone: BTreeSet<String> = lost.map(|(name, _)| name.to_owned()).collect();
        for stage in plan.stages.iter().filter(|stage| matches!(stage.work, Work::Build(_))) {
            let image = carried.get(&stage.name).and_then(|stage| stage.outputs.get("image"));
            if let Some(image) = image.and_then(|image| image.as_str())
                && !backend.still_has(&Left::Image(image.to_owned())).await.environment(WHAT)?
            {
                gone.insert(stage.name.clone());
            }
        }
        Ok(gone)
    }
}

/// Removes the files of former runs of a directory, but those that this or a living run of
/// any directory stands on.
pub(crate) async fn retire(
    home: &Home,
    store: &Store,
    backend: &DockerBackend,
    directory: &Path,
    now: &RunState,
) -> Result<(), CommandError> {
    const WHAT: &str = "cannot remove the files of former runs";
    let mut except = stands_on(now);
    let unfinished = store.unfinished_runs().await.environment(WHAT)?;
    let alive: Vec<RunId> =
        unfinished.iter().map(|row| row.id).filter(|run| home.is_alive(*run)).collect();
    for run in &alive {
        except.extend(stands_on(&store.run_state(*run).await.environment(WHAT)?));
    }
    let mut former = home.runs_of(directory);
    former.retain(|run| Some(*run) != now.run && !alive.contains(run));
    if former.is_empty() {
        return Ok(());
    }
    let of = |run| former.contains(&run);
    backend.remove_layers(store.instance(), &of, &except).await.environment(WHAT)?;
    Ok(())
}

/// The layers of other runs that a run stands on.
pub(crate) fn stands_on(state: &RunState) -> Vec<LayerId> {
    let done = state.stages.values().filter(|stage| matches!(stage.phase, Phase::Done(_)));
    done.filter_map(|stage| stage.reused).map(LayerId::from).collect()
}
