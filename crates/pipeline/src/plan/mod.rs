//! The plan: the frozen graph for one event.
//!
//! Conditions are decided, templates and defaults are merged in, expressions
//! that need nothing of the run are evaluated, and every value knows where it
//! came from. A run stores its plan, so a rerun never reads a file again.

mod decide;
mod deploy;
mod make;
mod trigger;

use std::collections::BTreeMap;

pub use make::plan;
use serde::{Deserialize, Serialize};

pub use trigger::triggers;

use crate::{Duration, Environment, TriggerEvent};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub format: u32,
    pub pipeline: String,
    pub file: String,
    pub event: TriggerEvent,
    pub sha: String,
    pub branch: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    pub trusted: bool,
    /// In topological order, then by file; skipped ones are here too.
    pub stages: Vec<PlannedStage>,
    /// Those that deploy stages name, as the place of the plan defines them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environments: BTreeMap<String, Environment>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<MailRule>,
    /// Warnings, in the form of `check --format json`.
    #[serde(default)]
    pub diagnostics: Vec<serde_json::Value>,
}

impl Plan {
    pub fn stage(&self, name: &str) -> Option<&PlannedStage> {
        self.stages.iter().find(|stage| stage.name == name)
    }
}

/// One cell of one stage: the unit the runner executes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedStage {
    /// With the cell in brackets: `unit-test[db=mysql:8]`.
    pub name: String,
    pub stage: String,
    #[serde(default)]
    pub matrix: BTreeMap<String, String>,
    pub needs: Vec<Edge>,
    pub state: Decision,
    pub reason: String,
    #[serde(default)]
    pub deferred: Vec<String>,
    #[serde(default)]
    pub secrets: Vec<SecretUse>,
    pub timeout: Duration,
    /// Dotted path of a value to where it came from.
    #[serde(default)]
    pub origins: BTreeMap<String, Origin>,
    /// Adds `action` and the keys of that action.
    #[serde(flatten)]
    pub work: Work,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    #[default]
    Run,
    Skip,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    pub stage: String,
    pub by: EdgeReason,
    /// `"run"` when a skipped need skips this stage too, written or implied.
    pub must: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EdgeReason {
    Order,
    Needs,
    Output,
    Before,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretUse {
    pub name: String,
    pub present: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub by: OriginKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OriginKind {
    File,
    Defaults,
    Template,
    Param,
    Policy,
    Builtin,
    Server,
}

/// What a stage does: exactly one action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Work {
    /// The engine's own first stage.
    Checkout {
        /// `None` is the full history.
        depth: Option<u32>,
    },
    Run(RunWork),
    Build(BuildWork),
    Push(PushWork),
    Deploy(Box<DeployWork>),
}

impl Work {
    pub const fn action(&self) -> ActionKind {
        match self {
            Self::Checkout { .. } => ActionKind::Checkout,
            Self::Run(_) => ActionKind::Run,
            Self::Build(_) => ActionKind::Build,
            Self::Push(_) => ActionKind::Push,
            Self::Deploy(_) => ActionKind::Deploy,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionKind {
    Checkout,
    Run,
    Build,
    Push,
    Deploy,
}

impl ActionKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Checkout => "checkout",
            Self::Run => "run",
            Self::Build => "build",
            Self::Push => "push",
            Self::Deploy => "deploy",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunWork {
    pub image: String,
    /// Run line by line in one shell, each echoed first.
    pub run: Vec<String>,
    /// The stage's own variables; those of §9 are added by the runner.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildWork {
    pub context: String,
    pub file: String,
    #[serde(default)]
    pub args: BTreeMap<String, String>,
    #[serde(default)]
    pub tags: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushWork {
    pub image: ImageSource,
    /// Name of a credential, not a host.
    pub registry: String,
    pub tags: Vec<String>,
}

/// The image of a `push` or `deploy`: what a stage made, or a reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageSource {
    Stage(String),
    Reference(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DeployWork {
    pub environment: String,
    pub image: ImageSource,
    pub replicas: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose: Option<Expose>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    #[serde(default)]
    pub strategy: Strategy,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expose {
    pub port: u16,
    /// `*` matches every host.
    pub host: String,
    /// A path prefix; `/` matches every path.
    pub path: String,
}

/// When a unit counts as healthy: `successes` answers in a row before `deadline`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Health {
    #[serde(flatten)]
    pub probe: Probe,
    pub interval: Duration,
    pub timeout: Duration,
    pub successes: u32,
    pub failures: u32,
    pub start_period: Duration,
    pub deadline: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// A GET answered with 2xx or 3xx.
    Http { path: String, port: u16 },
    /// A connection that is accepted.
    Tcp(u16),
}

/// How the units of an environment are rolled: start-first, batch by batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Strategy {
    /// Units changed together before the next verification.
    pub batch: u32,
    /// How long a batch is watched before it is called good.
    pub bake: Duration,
    /// How long requests in flight may take before they are cut.
    pub drain: Duration,
}

impl Default for Strategy {
    fn default() -> Self {
        Self { batch: 1, bake: Duration::from_secs(0), drain: Duration::from_secs(30) }
    }
}

/// `notify.mail` of the file: who hears of what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailRule {
    /// Addresses, or the word `committer`.
    pub to: Vec<String>,
    pub on: Vec<MailEvent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MailEvent {
    Failed,
    Broken,
    Fixed,
    Always,
    Deployed,
    RolledBack,
}
