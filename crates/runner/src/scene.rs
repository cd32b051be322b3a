//! The container of a stage as its last attempt had it, for a person who looks into it.

use std::collections::BTreeMap;

use event::{Phase, RunState};
use pipeline::{Git, PlannedStage, Resources, Shell, Work};

use crate::backend::LayerId;
use crate::container_stage::directory;
use crate::environment::{Identity, variables};
use crate::{layer_of, layers_below, when};

/// Everything but secrets, which nobody looks at.
#[derive(Clone, Debug)]
pub struct Scene {
    pub stage: String,
    /// As its file names it.
    pub named: String,
    /// As it was found by its attempt, if that got so far: its digest.
    pub image: String,
    pub env: BTreeMap<String, String>,
    pub user: Option<String>,
    pub workdir: String,
    pub shell: Shell,
    pub resources: Resources,
    /// What the attempt left and began with, newest first.
    pub layers: Vec<LayerId>,
    /// Names of the secrets it had.
    pub secrets: Vec<String>,
}

/// Returns the scene of a stage that has a container, in a run that may still go on.
pub fn scene(state: &RunState, name: &str, project: &str, git: &Git) -> Option<Scene> {
    let plan = state.plan.as_ref()?;
    let planned = plan.stage(name)?;
    let stage = resolved(state, planned);
    let Work::Run(work) = &stage.work else { return None };
    let identity = Identity {
        run: state.run?,
        number: state.number,
        url: String::new(),
        project: project.to_owned(),
        git: git.clone(),
    };
    let last = state.stage(name).and_then(|stage| stage.attempts.last());
    let attempt = last.map_or(1, |last| last.number);
    let own = layer_of(state, name, None);
    Some(Scene {
        stage: name.to_owned(),
        named: work.image.clone(),
        image: last.and_then(|last| last.image_digest.clone()).map_or_else(
            || work.image.clone(),
            |digest| digest.strip_prefix("id:").map(str::to_owned).unwrap_or(digest),
        ),
        env: variables(&identity, plan, &stage, attempt, &work.env),
        user: work.user.clone(),
        workdir: directory(work.workdir.as_deref()),
        shell: work.shell.clone(),
        resources: stage.resources.clone(),
        layers: own.into_iter().chain(layers_below(state, name)?).collect(),
        secrets: stage.secrets.iter().map(|secret| secret.name.clone()).collect(),
    })
}

/// Puts in what other stages put out, as far as it is known by now; files are not read for it.
fn resolved(state: &RunState, planned: &PlannedStage) -> PlannedStage {
    let Some(plan) = &state.plan else { return planned.clone() };
    let done = state.stages.iter().filter_map(|(name, stage)| match stage.phase {
        Phase::Done(result) => Some((name.clone(), when::finished(result, stage.outputs.clone()))),
        Phase::Waiting | Phase::Running => None,
    });
    let finished = done.collect();
    let no_files = |_: &[String]| Err("files are not read".to_owned());
    let facts = when::facts_of(state, 1);
    pipeline::resolve(plan, planned, &finished, &facts, &no_files)
        .unwrap_or_else(|_| planned.clone())
}
