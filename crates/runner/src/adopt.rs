//! Going on with attempts that another process of a durable run began.
//!
//! What ran in a container is joined there, or its end is read; a checkout is done again, a
//! question asked again. What has an effect outside and nobody watched has no known end: a
//! build and a push may be repeated where the stage says so, a deployment never is.

use std::pin::pin;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use event::{EventKind, Outputs, Peak, Phase, RunState, StageResult};
use pipeline::{PlannedStage, RunOn, Work};
use tokio::time::{Instant, sleep};

use crate::backend::{Adopted, AttemptSpec, BackendError, Joined, LayerId, Released};
use crate::container_stage::Watched;
use crate::dispatcher::Dispatcher;
use crate::executor::Attempt;
use crate::limit::{Cause, LAST_MOMENT, Stop};
use crate::schedule::number;
use crate::services::Beside;
use crate::verdict::{Cut, Verdict};

/// The reason of an attempt that ended with its process.
pub(crate) const STOPPED: &str = "shipline was stopped while this stage ran";
const VANISHED: &str = "the container vanished while shipline was away";
/// An engine that starts beside us may take that long to answer.
const PATIENCE: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(500);

/// What is written of an attempt that has no end yet.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    started_at: Option<DateTime<Utc>>,
    deadline: Option<DateTime<Utc>>,
    /// When it was to be stopped.
    cut: Option<(DateTime<Utc>, Cause)>,
    /// Names and hashes of artifacts that are told already.
    artifacts: Vec<(String, String)>,
}

/// An attempt that nobody will report any more unless somebody goes on with it.
pub(crate) struct Orphan {
    pub(crate) index: usize,
    pub(crate) attempt: u32,
    pub(crate) name: String,
    pub(crate) not_before: Option<DateTime<Utc>>,
    /// `None`: it waits for its time, and begins as if it were new.
    pub(crate) begun: Option<Begun>,
}

impl Orphan {
    /// Tells it to stop, if the run was told that before.
    pub(crate) fn stop(&self, stop: &Stop) {
        match self.begun.as_ref().and_then(|begun| begun.cut.as_ref()) {
            Some((_, Cause::Overdue(reason))) => stop.overdue(reason),
            Some(_) => stop.cancel(),
            None => {}
        }
    }
}

/// The attempts of a durable run whose process died.
pub(crate) fn orphans(dispatcher: &Dispatcher) -> Vec<Orphan> {
    let (schedule, state) = (&dispatcher.schedule, &dispatcher.state);
    let now = dispatcher.clock.now();
    let stages = schedule.plan().stages.iter().enumerate();
    let orphans = stages.filter_map(|(index, planned)| {
        let stage = state.stage(&planned.name)?;
        let last = stage.attempts.last().filter(|last| last.result.is_none())?;
        if stage.phase != Phase::Running {
            return None;
        }
        // What is in a container is found there, whatever the clock says.
        let waits = last.not_before.is_some_and(|not_before| not_before > now)
            && last.started_at.is_none()
            && !matches!(planned.work, Work::Run(_));
        let artifacts = stage.artifacts.iter().filter(|stored| stored.attempt == last.number);
        let begun = Begun {
            started_at: last.started_at,
            deadline: last.deadline,
            cut: cut(state, planned),
            artifacts: artifacts
                .map(|stored| (stored.name.clone(), stored.sha256.clone()))
                .collect(),
        };
        Some(Orphan {
            index,
            attempt: last.number,
            name: last.name.clone(),
            not_before: last.not_before,
            begun: (!waits || begun.cut.is_some()).then_some(begun),
        })
    });
    orphans.collect()
}

/// When a running stage was to be stopped, and why.
fn cut(state: &RunState, planned: &PlannedStage) -> Option<(DateTime<Utc>, Cause)> {
    if planned.run_on == RunOn::Always && !state.killed {
        return None;
    }
    let overdue = || {
        let cause = Cause::Overdue(state.timed_out.as_deref().unwrap_or_default().into());
        Some((state.timed_out_at?, cause))
    };
    state.cancelled_at.map(|at| (at, Cause::Cancelled)).or_else(overdue)
}

/// What an attempt ends with that nobody can go on with.
pub(crate) fn lost(stage: String, attempt: u32) -> EventKind {
    EventKind::AttemptFinished {
        stage,
        attempt,
        result: StageResult::InfraError,
        exit: None,
        reason: Some(STOPPED.to_owned()),
        code: Some("E099".to_owned()),
        outputs: Outputs::new(),
        peak: Peak::default(),
        repeat: false,
        reused: None,
        duration_ms: 0,
    }
}

/// What an attempt ran in that has ended, where that is a container.
pub(crate) fn released(
    dispatcher: &Dispatcher,
    run: event::RunId,
    stage: &str,
    attempt: u32,
) -> Option<Released> {
    let index = dispatcher.schedule.index_of(stage)?;
    let Work::Run(work) = &dispatcher.schedule.stage(index).work else { return None };
    Some(Released {
        name: dispatcher.schedule.container(index, attempt),
        layer: LayerId { run, index: number(index), attempt },
        services: work.services.keys().cloned().collect(),
    })
}

impl Begun {
    pub(crate) fn started_at(&self) -> Option<DateTime<Utc>> {
        self.started_at
    }

    pub(crate) fn deadline(&self) -> Option<DateTime<Utc>> {
        self.deadline
    }

    pub(crate) fn has_told(&self, artifact: &str, sha256: &str) -> bool {
        self.artifacts.iter().any(|(name, hash)| name == artifact && hash == sha256)
    }

    /// Ends an attempt of which nobody can find out how it went.
    pub(crate) fn may_go_on(&self, work: &Work) -> Result<(), Verdict> {
        match work {
            Work::Checkout { .. } | Work::Run(_) | Work::Approve(_) => Ok(()),
            Work::Build(_) | Work::Push(_) | Work::Deploy(_) | Work::Trigger(_) => {
                Err(match &self.cut {
                    Some((_, Cause::Cancelled)) if !matches!(work, Work::Deploy(_)) => {
                        Verdict::cut(Cut::Cancelled)
                    }
                    _ => Verdict::infrastructure(STOPPED),
                })
            }
        }
    }

    /// Why an attempt was ended that ended while nobody was there; `None`: by itself.
    fn ended_by(&self, ended: DateTime<Utc>, deadline: DateTime<Utc>) -> Option<Cause> {
        match &self.cut {
            Some((at, cause)) if ended >= *at => Some(cause.clone()),
            _ => (ended >= deadline).then_some(Cause::Deadline),
        }
    }
}

/// Goes on with the container of an attempt; `None`: it is to be started.
pub(crate) async fn join(
    attempt: &mut Attempt<'_>,
    spec: &AttemptSpec,
) -> Result<Option<(Watched, Beside)>, Verdict> {
    let Some(begun) = &attempt.assignment.begun else { return Ok(None) };
    let joined = match find(attempt, spec).await? {
        Adopted::Joined(joined) => joined,
        Adopted::Absent if begun.started_at.is_some() => {
            return Err(Verdict::infrastructure(VANISHED));
        }
        Adopted::Absent | Adopted::NeverBegan => return Ok(None),
        Adopted::Lost(why) => return Err(Verdict::infrastructure(why)),
    };
    let Joined { handle, services, started, ended } = joined;
    let timeout = TimeDelta::from_std(attempt.stage.timeout.std()).unwrap_or(TimeDelta::MAX);
    let deadline = match begun.deadline {
        Some(deadline) => deadline,
        None => started.checked_add_signed(timeout).unwrap_or(DateTime::<Utc>::MAX_UTC),
    };
    attempt.limit.deadline = attempt.shared.clock.instant(deadline);
    if begun.started_at.is_none() {
        attempt.report_started_until(handle.image_digest(), deadline).await;
    }
    let ended = ended.map(|ended| begun.ended_by(ended, deadline));
    Ok(Some((Watched { handle, ended }, Beside::joined(services))))
}

/// Asks the engine for the attempt, also one that does not answer at once.
async fn find(attempt: &Attempt<'_>, spec: &AttemptSpec) -> Result<Adopted, Verdict> {
    let shared = attempt.shared;
    let until = Instant::now() + PATIENCE;
    // Also a stage that is to be stopped has to be found first.
    let mut halted = pin!(async {
        shared.halt.cancelled().await;
        sleep(LAST_MOMENT).await;
    });
    loop {
        let adopting = shared.backend.adopt(&shared.context, spec);
        let adopted = tokio::select! {
            biased;
            adopted = adopting => adopted,
            () = &mut halted => Err(BackendError::Cancelled),
        };
        match adopted {
            Ok(adopted) => return Ok(adopted),
            Err(error @ BackendError::Infrastructure { .. }) if Instant::now() < until => {
                tracing::warn!("`{}` cannot be taken up yet: {error}", spec.name);
                sleep(AGAIN).await;
            }
            Err(error) => return Err(Verdict::of_error(&error)),
        }
    }
}
