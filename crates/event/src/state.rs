//! The state of a run: a fold over its events, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use pipeline::Plan;

use crate::{
    Event, EventKind, Outputs, Peak, Reused, RunId, RunResult, StageResult, Stream, TestTotals,
};

#[derive(Clone, Debug, Default)]
pub struct RunState {
    pub run: Option<RunId>,
    pub number: u64,
    pub by: String,
    pub plan: Option<Arc<Plan>>,
    /// The `seq` of the last event folded.
    pub seq: u64,
    pub queued_at: Option<DateTime<Utc>>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    /// Why it was cancelled.
    pub cancel: Option<String>,
    pub cancelled_at: Option<DateTime<Utc>>,
    /// Why it could not go on: it reached its `run-timeout`.
    pub timed_out: Option<String>,
    pub timed_out_at: Option<DateTime<Utc>>,
    /// It was cancelled twice: nothing is cleaned up any more.
    pub killed: bool,
    pub result: Option<RunResult>,
    /// One entry per stage of the plan.
    pub stages: BTreeMap<String, Stage>,
}

#[derive(Clone, Debug, Default)]
pub struct Stage {
    pub phase: Phase,
    /// Why it was skipped or blocked, or what its last attempt said.
    pub reason: Option<String>,
    pub outputs: Outputs,
    /// Whose files it stands for, if it did not make them itself.
    pub reused: Option<Reused>,
    pub attempts: Vec<Attempt>,
    /// In the order they were stored.
    pub artifacts: Vec<Artifact>,
    /// Of the reports of its last attempt.
    pub tests: Option<TestTotals>,
    pub duration_ms: u64,
    pub finished_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Waiting,
    Running,
    Done(StageResult),
}

/// Files that a stage published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    pub attempt: u32,
    pub name: String,
    /// Bytes of the archive.
    pub size: u64,
    pub sha256: String,
    pub files: u64,
    pub expires_at: DateTime<Utc>,
}

#[derive(Clone, Debug)]
pub struct Attempt {
    pub number: u32,
    /// Of the container, also when it was never created.
    pub name: String,
    /// One that repeats another waits until then.
    pub not_before: Option<DateTime<Utc>>,
    pub started_at: Option<DateTime<Utc>>,
    pub deadline: Option<DateTime<Utc>>,
    pub image_digest: Option<String>,
    /// `None` while it runs.
    pub result: Option<StageResult>,
    pub exit: Option<i64>,
    pub code: Option<String>,
    pub reason: Option<String>,
    pub peak: Peak,
    /// A person asked for another one.
    pub repeat: bool,
}

/// An event that cannot follow what came before.
#[derive(Debug, thiserror::Error)]
pub enum IllegalEvent {
    #[error("event {found} follows event {last}")]
    Gap { last: u64, found: u64 },
    #[error("event {0} follows the end of the run")]
    AfterEnd(u64),
    #[error("event {0} comes before the plan")]
    NoPlan(u64),
    #[error("event {0} brings a second plan")]
    SecondPlan(u64),
    #[error("event {seq} names stage `{stage}`, which the plan does not have")]
    UnknownStage { seq: u64, stage: String },
    #[error("event {seq}: stage `{stage}` is already done")]
    StageDone { seq: u64, stage: String },
    #[error("event {seq}: stage `{stage}` has no attempt {attempt}")]
    UnknownAttempt { seq: u64, stage: String, attempt: u32 },
    #[error("event {0} belongs to another stream")]
    Foreign(u64),
}

impl RunState {
    /// Returns the state after all of `events`.
    pub fn fold<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<Self, IllegalEvent> {
        let mut state = Self::default();
        for event in events {
            state.apply(event)?;
        }
        Ok(state)
    }

    pub fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.get(name)
    }

    pub fn result_of(&self, name: &str) -> Option<StageResult> {
        match self.stages.get(name)?.phase {
            Phase::Done(result) => Some(result),
            Phase::Waiting | Phase::Running => None,
        }
    }

    /// When nothing more could begin but what cleans up: it was cancelled, or timed out.
    pub fn cut_at(&self) -> Option<DateTime<Utc>> {
        [self.cancelled_at, self.timed_out_at].into_iter().flatten().min()
    }

    /// Returns whose files those of the `index`th stage of the plan are, if it ended well.
    pub fn left_by(&self, index: u32, name: &str) -> Option<Reused> {
        let stage = self.stages.get(name)?;
        let Phase::Done(result) = stage.phase else { return None };
        if stage.reused.is_some() || !result.is_good() {
            return stage.reused;
        }
        let attempt = stage.attempts.last()?.number;
        Some(Reused { run: self.run?, index, attempt })
    }

    pub fn apply(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        let seq = event.seq;
        if seq != self.seq + 1 {
            return Err(IllegalEvent::Gap { last: self.seq, found: seq });
        }
        if self.result.is_some() {
            return Err(IllegalEvent::AfterEnd(seq));
        }
        let Stream::Run(run) = event.stream else {
            return Err(IllegalEvent::Foreign(seq));
        };
        if self.run.is_some_and(|own| own != run) {
            return Err(IllegalEvent::Foreign(seq));
        }
        self.apply_kind(event)?;
        self.run = Some(run);
        self.seq = seq;
        Ok(())
    }

    fn apply_kind(&mut self, event: &Event) -> Result<(), IllegalEvent> {
        let seq = event.seq;
        if self.plan.is_none() && !matches!(event.kind, EventKind::RunQueued { .. }) {
            return Err(IllegalEvent::NoPlan(seq));
        }
        match &event.kind {
            EventKind::RunQueued { .. } if self.plan.is_some() => {
                return Err(IllegalEvent::SecondPlan(seq));
            }
            EventKind::RunQueued { number, by, plan } => {
                self.number = *number;
                self.by.clone_from(by);
                self.queued_at = Some(event.at);
                self.stages = plan
                    .stages
                    .iter()
                    .map(|stage| (stage.name.clone(), Stage::default()))
                    .collect();
                self.plan = Some(Arc::new((**plan).clone()));
            }
            EventKind::RunStarted { .. } => self.started_at = Some(event.at),
            EventKind::StageSkipped { stage, reason } => {
                self.finish(event, stage, StageResult::Skipped, Some(reason))?;
            }
            EventKind::StageBlocked { stage, reason } => {
                self.finish(event, stage, StageResult::Blocked, Some(reason))?;
            }
            EventKind::AttemptStarting { stage, attempt, name, not_before } => {
                let stage = self.open(seq, stage)?;
                stage.phase = Phase::Running;
                stage.attempts.push(Attempt {
                    number: *attempt,
                    name: name.clone(),
                    not_before: *not_before,
                    started_at: None,
                    deadline: None,
                    image_digest: None,
                    result: None,
                    exit: None,
                    code: None,
                    reason: None,
                    peak: Peak::default(),
                    repeat: false,
                });
            }
            EventKind::AttemptStarted { stage, attempt, image_digest, deadline } => {
                let at = event.at;
                let attempt = self.attempt(seq, stage, *attempt)?;
                attempt.started_at = Some(at);
                attempt.deadline = Some(*deadline);
                attempt.image_digest.clone_from(image_digest);
            }
            EventKind::ApprovalRequested { stage, attempt, .. }
            | EventKind::ApprovalGiven { stage, attempt, .. }
            | EventKind::ApprovalRefused { stage, attempt, .. }
            | EventKind::ServiceReady { stage, attempt, .. }
            | EventKind::CacheRestored { stage, attempt, .. }
            | EventKind::CacheSaved { stage, attempt, .. } => {
                self.attempt(seq, stage, *attempt)?;
            }
            EventKind::ReportRead { stage, attempt, totals } => {
                self.attempt(seq, stage, *attempt)?;
                self.open(seq, stage)?.tests = Some(totals.clone());
            }
            EventKind::ArtifactStored { stage, attempt, name, size, sha256, files, expires_at } => {
                self.attempt(seq, stage, *attempt)?;
                self.open(seq, stage)?.artifacts.push(Artifact {
                    attempt: *attempt,
                    name: name.clone(),
                    size: *size,
                    sha256: sha256.clone(),
                    files: *files,
                    expires_at: *expires_at,
                });
            }
            EventKind::AttemptFinished {
                stage,
                attempt,
                result,
                exit,
                reason,
                code,
                repeat,
                peak,
                ..
            } => {
                let attempt = self.attempt(seq, stage, *attempt)?;
                attempt.result = Some(*result);
                attempt.exit = *exit;
                attempt.reason.clone_from(reason);
                attempt.code.clone_from(code);
                attempt.peak = *peak;
                attempt.repeat = *repeat;
            }
            EventKind::StageFinished { stage, result, reason, outputs, reused, duration_ms } => {
                self.finish(event, stage, *result, reason.as_ref())?;
                if let Some(stage) = self.stages.get_mut(stage) {
                    stage.outputs.clone_from(outputs);
                    stage.reused = *reused;
                    stage.duration_ms = *duration_ms;
                }
            }
            EventKind::CancelRequested { .. } if self.cancel.is_some() => self.killed = true,
            EventKind::CancelRequested { reason, .. } => {
                self.cancel = Some(reason.clone());
                self.cancelled_at = Some(event.at);
            }
            EventKind::RunTimedOut { reason } => {
                self.timed_out = Some(reason.clone());
                self.timed_out_at = Some(event.at);
            }
            EventKind::RunFinished { result, .. } => {
                self.result = Some(*result);
                self.finished_at = Some(event.at);
            }
            EventKind::DeployApplied { stage, .. }
            | EventKind::DeployUndone { stage, .. }
            | EventKind::DeployStuck { stage, .. } => {
                self.open(seq, stage)?;
            }
            EventKind::DeploymentRequested { .. }
            | EventKind::DeploymentLocked { .. }
            | EventKind::DeploymentChecked { .. }
            | EventKind::DeploymentPlanned { .. }
            | EventKind::DeploymentMarked { .. }
            | EventKind::IncidentOpened { .. }
            | EventKind::IncidentChanged { .. }
            | EventKind::IncidentGivenUp { .. }
            | EventKind::IncidentResolved { .. }
            | EventKind::DeploymentHeld { .. }
            | EventKind::DeploymentTested { .. }
            | EventKind::DeploymentDecided { .. }
            | EventKind::DeploymentPruned { .. }
            | EventKind::DeploymentRollingBack { .. }
            | EventKind::OpIntended { .. }
            | EventKind::OpFinished { .. }
            | EventKind::DeploymentFinished { .. } => return Err(IllegalEvent::Foreign(seq)),
        }
        Ok(())
    }

    fn open(&mut self, seq: u64, name: &str) -> Result<&mut Stage, IllegalEvent> {
        let stage = self
            .stages
            .get_mut(name)
            .ok_or_else(|| IllegalEvent::UnknownStage { seq, stage: name.to_owned() })?;
        if let Phase::Done(_) = stage.phase {
            return Err(IllegalEvent::StageDone { seq, stage: name.to_owned() });
        }
        Ok(stage)
    }

    fn attempt(&mut self, seq: u64, name: &str, number: u32) -> Result<&mut Attempt, IllegalEvent> {
        self.open(seq, name)?
            .attempts
            .iter_mut()
            .find(|attempt| attempt.number == number)
            .ok_or_else(|| IllegalEvent::UnknownAttempt {
                seq,
                stage: name.to_owned(),
                attempt: number,
            })
    }

    fn finish(
        &mut self,
        event: &Event,
        name: &str,
        result: StageResult,
        reason: Option<&String>,
    ) -> Result<(), IllegalEvent> {
        let stage = self.open(event.seq, name)?;
        stage.phase = Phase::Done(result);
        stage.finished_at = Some(event.at);
        stage.reason = reason.cloned();
        Ok(())
    }
}
