//! The plan: the frozen graph for one event.
//!
//! Conditions are decided, the matrix is expanded, templates and defaults are
//! merged in, expressions that need nothing of the run are evaluated, and every
//! value knows where it came from. A run stores its plan, so a rerun never reads
//! a file again.

mod changes;
mod condition;
mod decide;
mod deploy;
mod edge;
mod environment;
mod fit;
mod make;
mod matrix;
mod mounts;
mod offers;
mod params;
mod pending;
mod select;
mod settings;
mod strategy;
mod trigger;
mod work;

use std::collections::BTreeMap;

pub use changes::{Change, PlanChange, plan_changes};
pub use condition::{Alternative, Condition, Test, Verdict};
pub use deploy::{
    Canary, CanaryBy, CanaryStep, DeployWork, Expose, Health, HostsDeploy, HttpCheck, Inconclusive,
    KubernetesDeploy, Metric, Per, Probe, RunCheck, Verify, VerifyCheck,
};
pub(crate) use deploy::{default_keep_warm, default_stop_timeout};
pub use edge::{Decision, Edge, EdgeReason};
pub use make::{FORCED, plan};
pub(crate) use matrix::same_cell;
pub use mounts::{Access, Mount, Mounted};
pub use pending::{Pending, PendingPart, Scopes, ValueKind};
pub use select::{NOT_ASKED_FOR, SelectError, Selection};
use serde::{Deserialize, Serialize};
pub use settings::{
    AllowFailure, Artifacts, ArtifactsOn, Cache, Channel, Concurrency, MailEvent, MailRule, Merge,
    Notice, OnNew, Resources, Retry, RetryOn, RunOn, SecretUse,
};
pub use strategy::{BatchSize, OnFailure, RolloutOrder, Strategy, StrategyKind};
pub use trigger::{Start, triggers};
pub use work::{
    ActionKind, ApproveWork, BuildWork, ImageSource, OutputType, Param, ParamType, PushWork, Ready,
    ReadyProbe, Reports, RunWork, Scan, Service, Severity as ScanSeverity, Shell, Submodules,
    TriggerWork, Unscannable, Work,
};

use crate::{Duration, Environment, PullRequest, TriggerEvent};

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
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "pull-request")]
    pub pull_request: Option<PullRequest>,
    pub trusted: bool,
    /// `false`: the run is made, and waits until somebody starts it.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub auto: bool,
    /// Deadline of the whole run, approvals not counted.
    #[serde(default = "default_run_timeout", rename = "run-timeout")]
    pub run_timeout: Duration,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// The templates it is made of with their exact versions, that of the file first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<String>,
    /// Values of the parameters of a manual run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, serde_json::Value>,
    /// In topological order, then by file; skipped ones are here too.
    pub stages: Vec<PlannedStage>,
    /// Those that deploy stages name, as the place of the plan defines them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environments: BTreeMap<String, Environment>,
    /// Lists of checks that `verify` names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub suites: BTreeMap<String, Vec<Verify>>,
    /// Mails; the other channels are `notices`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<MailRule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<Notice>,
    /// Where the values of the whole run came from, by dotted path: `run-timeout`,
    /// `concurrency.group`, `notify.mail.to`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub origins: BTreeMap<String, Origin>,
    /// What pending values are evaluated with; empty when there is none.
    #[serde(default, skip_serializing_if = "Scopes::is_empty")]
    pub scopes: Scopes,
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
#[serde(rename_all = "kebab-case")]
pub struct PlannedStage {
    /// With the cell in brackets: `unit-test[db=mysql:8]`.
    pub name: String,
    pub stage: String,
    #[serde(default)]
    pub matrix: BTreeMap<String, serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub needs: Vec<Edge>,
    #[serde(default, skip_serializing_if = "RunOn::is_success")]
    pub run_on: RunOn,
    pub state: Decision,
    pub reason: String,
    /// Every test of `when` with what it saw; `None` without a `when`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// Stages that must finish before `state` is final.
    #[serde(default)]
    pub deferred: Vec<String>,
    #[serde(default)]
    pub secrets: Vec<SecretUse>,
    pub timeout: Duration,
    #[serde(default = "default_cancel_grace", skip_serializing_if = "is_default_cancel_grace")]
    pub cancel_grace: Duration,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_failure: Option<AllowFailure>,
    #[serde(default, skip_serializing_if = "Retry::is_default")]
    pub retry: Retry,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// Labels the runner must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runner: Vec<String>,
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache: Vec<Cache>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<Artifacts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Merge>,
    /// Of its container; empty unless [`Plan::with_mounts`] was asked for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Values that are known only when the stage starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<Pending>,
    /// Dotted path of a value to where it came from.
    #[serde(default)]
    pub origins: BTreeMap<String, Origin>,
    /// Adds `action` and the keys of that action.
    #[serde(flatten)]
    pub work: Work,
}

impl PlannedStage {
    /// A stage with this work that runs after nothing, with everything else as it
    /// is when a file does not say it.
    pub fn new(name: &str, work: Work) -> Self {
        Self {
            name: name.to_owned(),
            stage: name.to_owned(),
            matrix: BTreeMap::new(),
            description: None,
            needs: Vec::new(),
            run_on: RunOn::Success,
            state: Decision::Run,
            reason: "no condition".to_owned(),
            condition: None,
            deferred: Vec::new(),
            secrets: Vec::new(),
            timeout: Duration::from_secs(3600),
            cancel_grace: default_cancel_grace(),
            allow_failure: None,
            retry: Retry::builtin(),
            concurrency: None,
            runner: Vec::new(),
            resources: Resources::default(),
            cache: Vec::new(),
            inputs: Vec::new(),
            artifacts: None,
            merge: None,
            mounts: Vec::new(),
            pending: Vec::new(),
            origins: BTreeMap::new(),
            work,
        }
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            format: make::FORMAT,
            pipeline: String::new(),
            file: String::new(),
            event: TriggerEvent::default(),
            sha: String::new(),
            branch: None,
            tag: None,
            pull_request: None,
            trusted: true,
            auto: true,
            run_timeout: default_run_timeout(),
            concurrency: None,
            templates: Vec::new(),
            params: BTreeMap::new(),
            stages: Vec::new(),
            environments: BTreeMap::new(),
            suites: BTreeMap::new(),
            notify: Vec::new(),
            notices: Vec::new(),
            origins: BTreeMap::new(),
            scopes: Scopes::default(),
            diagnostics: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub by: OriginKind,
}

impl Origin {
    /// Of a value that stands in no file.
    pub(crate) const fn builtin() -> Self {
        Self { file: String::new(), line: 0, column: 0, by: OriginKind::Builtin }
    }
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

/// A value of a matrix or parameter as text: what a variable of it holds.
pub fn value_text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    }
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_yes(value: &bool) -> bool {
    *value
}

/// 6 hours.
pub(crate) const fn default_run_timeout() -> Duration {
    Duration::from_secs(6 * 3600)
}

pub(crate) const fn default_cancel_grace() -> Duration {
    Duration::from_secs(10)
}

fn is_default_cancel_grace(value: &Duration) -> bool {
    *value == default_cancel_grace()
}
