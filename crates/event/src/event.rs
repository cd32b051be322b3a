//! The event and its kinds. A new field is optional with a default; a change of
//! meaning raises [`FORMAT`].

use chrono::{DateTime, Utc};
use pipeline::Plan;
use serde::{Deserialize, Serialize};

use crate::{
    DeploymentId, DeploymentKind, DeploymentState, OpState, Outputs, ReleaseId, RunId, RunResult,
    StageResult, TestTotals,
};

pub const FORMAT: u32 = 1;

/// One line of a stream's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub format: u32,
    pub seq: u64,
    pub at: DateTime<Utc>,
    /// Adds `run` or `deployment`.
    #[serde(flatten)]
    pub stream: Stream,
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What the events of one `seq` belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    Run(RunId),
    Deployment(DeploymentId),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum EventKind {
    #[serde(rename = "run.queued")]
    RunQueued { number: u64, by: String, plan: Box<Plan> },
    #[serde(rename = "run.started")]
    RunStarted { by: String },
    #[serde(rename = "stage.skipped")]
    StageSkipped { stage: String, reason: String },
    #[serde(rename = "stage.blocked")]
    StageBlocked { stage: String, reason: String },
    /// Committed before anything of the attempt is created.
    #[serde(rename = "attempt.starting")]
    AttemptStarting {
        stage: String,
        attempt: u32,
        name: String,
        /// An attempt that repeats another waits until then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        not_before: Option<DateTime<Utc>>,
    },
    #[serde(rename = "attempt.started")]
    AttemptStarted {
        stage: String,
        attempt: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image_digest: Option<String>,
        deadline: DateTime<Utc>,
    },
    /// `key` is what the stage asks for; `from` the entry it got, if that is another.
    #[serde(rename = "cache.restored")]
    CacheRestored {
        stage: String,
        attempt: u32,
        key: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
    },
    #[serde(rename = "cache.saved")]
    CacheSaved { stage: String, attempt: u32, key: String, size: u64 },
    #[serde(rename = "report.read")]
    ReportRead {
        stage: String,
        attempt: u32,
        #[serde(flatten)]
        totals: TestTotals,
    },
    /// An archive of the run, named by its hash.
    #[serde(rename = "artifact.stored")]
    ArtifactStored {
        stage: String,
        attempt: u32,
        name: String,
        size: u64,
        sha256: String,
        files: u64,
        expires_at: DateTime<Utc>,
    },
    #[serde(rename = "attempt.finished")]
    AttemptFinished {
        stage: String,
        attempt: u32,
        result: StageResult,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit: Option<i64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The code of §10.2 (`E090` …) when there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        #[serde(default, skip_serializing_if = "Outputs::is_empty")]
        outputs: Outputs,
        duration_ms: u64,
    },
    #[serde(rename = "stage.finished")]
    StageFinished {
        stage: String,
        result: StageResult,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        #[serde(default, skip_serializing_if = "Outputs::is_empty")]
        outputs: Outputs,
        duration_ms: u64,
    },
    #[serde(rename = "deploy.applied")]
    DeployApplied { stage: String, action: String, unit: String },
    #[serde(rename = "deploy.undone")]
    DeployUndone { stage: String, action: String, unit: String },
    #[serde(rename = "deploy.stuck")]
    DeployStuck { stage: String, action: String, unit: String },
    /// A second one kills: what still cleans up after the first ends at once.
    #[serde(rename = "cancel.requested")]
    CancelRequested { reason: String, by: String },
    #[serde(rename = "run.finished")]
    RunFinished { result: RunResult, duration_ms: u64 },

    #[serde(rename = "deployment.requested")]
    DeploymentRequested {
        project: String,
        environment: String,
        /// The word `deploy` or `rollback`; `kind` is taken by the event.
        change: DeploymentKind,
        release: ReleaseId,
        by: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    #[serde(rename = "deployment.locked")]
    DeploymentLocked { fence: u64 },
    /// Committed before the op acts. `op` numbers the ops of the deployment; an
    /// undo is an op of its own with `undo` set.
    #[serde(rename = "op.intended")]
    OpIntended {
        op: u32,
        action: String,
        unit: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        batch: Option<u32>,
        #[serde(default)]
        undo: bool,
    },
    #[serde(rename = "op.finished")]
    OpFinished {
        op: u32,
        action: String,
        unit: String,
        state: OpState,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
        duration_ms: u64,
    },
    #[serde(rename = "deployment.finished")]
    DeploymentFinished {
        state: DeploymentState,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        duration_ms: u64,
    },
}

impl EventKind {
    /// Whether nothing may follow in the stream.
    pub const fn is_terminal(&self) -> bool {
        matches!(self, Self::RunFinished { .. } | Self::DeploymentFinished { .. })
    }
}
