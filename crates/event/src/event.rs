//! The event and its kinds. A new field is optional with a default; a change of
//! meaning raises [`FORMAT`].

use chrono::{DateTime, Utc};
use pipeline::Plan;
use serde::{Deserialize, Serialize};

use crate::{
    Caught, Decision, DeploymentId, DeploymentKind, DeploymentState, Finding, Incident,
    IncidentKind, OpState, Outputs, ReleaseId, Resolution, Reused, RunId, RunResult, StageResult,
    TestTotals, Verdict,
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
    /// A container beside the stage, which it reaches by this name.
    #[serde(rename = "service.ready")]
    ServiceReady {
        stage: String,
        attempt: u32,
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image_digest: Option<String>,
        /// Since it was started.
        duration_ms: u64,
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
        #[serde(flatten)]
        peak: Peak,
        /// A person asked for another attempt.
        #[serde(default, skip_serializing_if = "is_no")]
        repeat: bool,
        /// The stage is `unchanged`: it stands for this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reused: Option<Reused>,
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
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reused: Option<Reused>,
        duration_ms: u64,
    },
    /// People are asked; `by` names those who may answer.
    #[serde(rename = "approval.requested")]
    ApprovalRequested { stage: String, attempt: u32, message: String, by: Vec<String> },
    #[serde(rename = "approval.given")]
    ApprovalGiven {
        stage: String,
        attempt: u32,
        by: String,
        #[serde(default, skip_serializing_if = "Outputs::is_empty")]
        fields: Outputs,
    },
    #[serde(rename = "approval.refused")]
    ApprovalRefused {
        stage: String,
        attempt: u32,
        by: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
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
    /// The run reached its `run-timeout`: what runs is ended, what waits never begins.
    #[serde(rename = "run.timed-out")]
    RunTimedOut { reason: String },
    #[serde(rename = "run.finished")]
    RunFinished { result: RunResult, duration_ms: u64 },

    #[serde(rename = "deployment.requested")]
    DeploymentRequested {
        project: String,
        environment: String,
        /// The word `deploy`, `rollback` and so on; `kind` is taken by the event.
        change: DeploymentKind,
        release: ReleaseId,
        by: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    #[serde(rename = "deployment.locked")]
    DeploymentLocked { fence: u64 },
    /// What the checks found before anything was changed; with an error among it, that
    /// is the end.
    #[serde(rename = "deployment.checked")]
    DeploymentChecked { findings: Vec<Finding> },
    /// What it will do, settled under the lock; durable before the first op.
    #[serde(rename = "deployment.planned")]
    DeploymentPlanned {
        release: ReleaseId,
        /// Units that there will be.
        replicas: u32,
        batches: u32,
        ops: u32,
    },
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
    /// A failed batch waits for somebody to decide, until then; `units` are those that
    /// failed, out of traffic now.
    #[serde(rename = "deployment.held")]
    DeploymentHeld { reason: String, units: Vec<String>, until: DateTime<Utc> },
    #[serde(rename = "deployment.decided")]
    DeploymentDecided {
        decision: Decision,
        by: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Artifacts of releases that nobody needs any more were removed from the target, or
    /// could not be: then `error` says why.
    #[serde(rename = "deployment.pruned")]
    DeploymentPruned {
        removed: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// What the commands of a check came to, and the end of what they wrote, masked.
    #[serde(rename = "deployment.tested")]
    DeploymentTested {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        suite: Option<String>,
        /// The unit, where it was tested by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
        image: String,
        /// `None` if their time was over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit: Option<i64>,
        lines: Vec<String>,
        /// Lines before these.
        #[serde(default)]
        left_out: u64,
    },
    #[serde(rename = "deployment.rolling-back")]
    DeploymentRollingBack { reason: String },
    #[serde(rename = "deployment.finished")]
    DeploymentFinished {
        state: DeploymentState,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Of a failure.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        caught: Option<Caught>,
        /// It failed and was not taken back: units of two releases serve.
        #[serde(default, skip_serializing_if = "is_no")]
        mixed: bool,
        /// It failed since the target or the registry did, and nothing was switched.
        #[serde(default, skip_serializing_if = "is_no")]
        infrastructure: bool,
        /// Requests that did not end within `drain`.
        #[serde(default, skip_serializing_if = "is_zero")]
        cut: u64,
        duration_ms: u64,
    },
    /// Somebody said what it was worth, after its end.
    #[serde(rename = "deployment.marked")]
    DeploymentMarked {
        verdict: Verdict,
        by: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// What it has left is no longer so, for whoever watches.
    #[serde(rename = "incident.opened")]
    IncidentOpened { incident: Incident },
    /// The incident at this place is of another kind now, or about another unit.
    #[serde(rename = "incident.changed")]
    IncidentChanged { incident: Incident },
    /// Repairs have not helped, and there will be no more of them.
    #[serde(rename = "incident.given-up")]
    IncidentGivenUp { place: String, tries: u32, reason: String },
    #[serde(rename = "incident.resolved")]
    IncidentResolved {
        place: String,
        /// The one it had last; `kind` is taken by the event.
        #[serde(rename = "was")]
        kind: IncidentKind,
        because: Resolution,
        open_ms: u64,
    },
}

/// What an attempt used at most, as far as its engine tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peak {
    /// Bytes, with what the kernel keeps of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak: Option<u64>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids_peak: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_no(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl EventKind {
    /// Whether it is the end of the stream; only what [is told later](Self::is_afterwards)
    /// may follow.
    pub const fn is_terminal(&self) -> bool {
        matches!(self, Self::RunFinished { .. } | Self::DeploymentFinished { .. })
    }

    /// Whether it tells what became known of a deployment after its end.
    pub const fn is_afterwards(&self) -> bool {
        matches!(
            self,
            Self::DeploymentMarked { .. }
                | Self::IncidentOpened { .. }
                | Self::IncidentChanged { .. }
                | Self::IncidentGivenUp { .. }
                | Self::IncidentResolved { .. }
        )
    }
}
