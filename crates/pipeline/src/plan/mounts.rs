//! What the containers of a plan find at which path, for who reads the plan.
//!
//! It follows from the rest of the plan, so that no run keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::{Decision, Plan, PlannedStage, Work};

/// Where stages work.
const WORKSPACE: &str = "/workspace";
const SECRETS: &str = "/run/secrets";

/// Something that stands at a path of the container of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// As the file says it: `~` is the home of the stage's user, and what does not begin
    /// with `/` lies in the workspace.
    pub path: String,
    pub access: Access,
    #[serde(flatten)]
    pub of: Mounted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    Read,
    Write,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Mounted {
    /// The files of these stages, in the order of the plan, each on those that it stood on
    /// itself. A stage with a matrix is all its cells.
    Workspace {
        layers: Vec<String>,
    },
    Cache {
        key: String,
    },
    Secret,
}

/// Stages by their place in the plan.
type Layers = Rc<BTreeSet<(usize, String)>>;

impl Plan {
    /// Adds to each stage that runs what is mounted in its container.
    #[must_use]
    pub fn with_mounts(mut self) -> Self {
        // What whoever needs a stage stands on, by its name and, of cells, that of all of them.
        let mut left: BTreeMap<String, Layers> = BTreeMap::new();
        for (place, stage) in self.stages.iter_mut().enumerate() {
            let below = below(stage, &left);
            let runs = stage.state == Decision::Run;
            if runs {
                stage.mounts = mounts(stage, &below);
            }
            let writes = runs && matches!(stage.work, Work::Checkout { .. } | Work::Run(_));
            let leaves = |name: &str| match writes {
                true => Rc::new([(place, name.to_owned())].into()),
                false => Rc::clone(&below),
            };
            left.insert(stage.name.clone(), leaves(&stage.name));
            if stage.stage != stage.name {
                let all = left.entry(stage.stage.clone()).or_default();
                let named = |(_, name): &(usize, String)| *name == stage.stage;
                match writes {
                    true if all.iter().any(named) => {}
                    _ => *all = united([&*all, &leaves(&stage.stage)]),
                }
            }
        }
        self
    }
}

fn below(stage: &PlannedStage, left: &BTreeMap<String, Layers>) -> Layers {
    united(stage.needs.iter().filter_map(|edge| left.get(&edge.stage)))
}

/// One of them alone is not copied: thousands may stand on what one hands on.
fn united<'a>(layers: impl IntoIterator<Item = &'a Layers>) -> Layers {
    let mut layers = layers.into_iter().filter(|layers| !layers.is_empty());
    let Some(first) = layers.next() else { return Layers::default() };
    let mut all = Rc::clone(first);
    for more in layers.filter(|more| !Rc::ptr_eq(more, first)) {
        Rc::make_mut(&mut all).extend(more.iter().cloned());
    }
    all
}

fn mounts(stage: &PlannedStage, below: &Layers) -> Vec<Mount> {
    let workspace = |access| Mount {
        path: WORKSPACE.to_owned(),
        access,
        of: Mounted::Workspace { layers: below.iter().map(|(_, name)| name.clone()).collect() },
    };
    let secret = |name: &String| Mount {
        path: format!("{SECRETS}/{name}"),
        access: Access::Read,
        of: Mounted::Secret,
    };
    match &stage.work {
        Work::Run(_) => {
            let mut mounts = vec![workspace(Access::Write)];
            for cache in &stage.cache {
                mounts.extend(cache.paths.iter().map(|path| Mount {
                    path: path.clone(),
                    access: Access::Write,
                    of: Mounted::Cache { key: cache.key.clone() },
                }));
            }
            let files = stage.secrets.iter().filter(|secret| secret.file);
            mounts.extend(files.map(|file| secret(&file.name)));
            mounts
        }
        // The context is taken from it, and secrets are mounted in the steps that ask.
        Work::Build(_) => {
            let mut mounts = vec![workspace(Access::Read)];
            mounts.extend(stage.secrets.iter().map(|used| secret(&used.name)));
            mounts
        }
        Work::Checkout { .. }
        | Work::Push(_)
        | Work::Deploy(_)
        | Work::Approve(_)
        | Work::Trigger(_) => Vec::new(),
    }
}
