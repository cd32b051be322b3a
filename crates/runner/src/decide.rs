//! What follows from a fact: the scheduler, as a pure function.
//!
//! No clock, no IO, no randomness; time arrives with the fact. A restart means
//! to fold the journal and to go on here: there is no second path for recovery.
//! The rules are those of docs/language.md, "Order, skip, failure".

mod need;
mod withheld;

use std::cell::OnceCell;
use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use event::{Attempt, Event, EventKind, Outputs, Phase, RunResult, RunState, StageResult};
use pipeline::{Decision as Planned, Fate, Finished, NOT_ASKED_FOR, RunOn, Work};

pub use self::withheld::WITHHELD;
use crate::aftermath::{self, AFTERMATH};
use crate::retry;
use crate::schedule::{Intake, On, Schedule};
use crate::standing::Standing;
use crate::verdict::is_allowed;
use crate::when;

/// What is to be done once the events decided with it are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Begin the attempt that an `attempt.starting` announces.
    Start { index: usize, attempt: u32, name: String, not_before: Option<DateTime<Utc>> },
    /// End a running attempt: the run has no more time, for this reason, or else somebody
    /// cancelled.
    Stop { index: usize, overdue: Option<String> },
}

/// Returns what follows from `fact`, which is folded into `state` already.
pub fn decide(
    schedule: &Schedule,
    state: &RunState,
    fact: &Event,
) -> (Vec<EventKind>, Vec<Effect>) {
    decide_at(schedule, state, &Standing::of(schedule, state), fact)
}

/// As [`decide`], for whoever knows how far the stages are.
pub(crate) fn decide_at(
    schedule: &Schedule,
    state: &RunState,
    standing: &Standing,
    fact: &Event,
) -> (Vec<EventKind>, Vec<Effect>) {
    debug_assert_eq!(*standing, Standing::of(schedule, state), "it is what the state says");
    let cut = match fact.kind {
        EventKind::RunStarted { .. } | EventKind::AttemptFinished { .. } => false,
        EventKind::CancelRequested { .. } | EventKind::RunTimedOut { .. } => true,
        // Whatever else happens to a stage changes nothing for the others.
        _ => return (Vec::new(), Vec::new()),
    };
    // What is cancelled before the start is found by the start.
    if state.started_at.is_none() || state.result.is_some() {
        return (Vec::new(), Vec::new());
    }
    let mut pass = Pass {
        schedule,
        state,
        fact,
        phases: standing.phases.clone(),
        outputs: BTreeMap::new(),
        reasons: BTreeMap::new(),
        groups: vec![OnceCell::new(); schedule.groups()],
        finished: None,
        cleans_up: state.cut_at().is_some() && aftermath::is_open(schedule, state, fact.at),
        events: Vec::new(),
        effects: Vec::new(),
    };
    pass.finish_attempts();
    let ready = pass.settle();
    if cut {
        pass.stop_running();
    }
    pass.start(ready);
    pass.finish_run();
    (pass.events, pass.effects)
}

/// One look at the whole run. `phases` are those of `state`, brought up to date
/// by what this pass decides.
struct Pass<'a> {
    schedule: &'a Schedule,
    state: &'a RunState,
    fact: &'a Event,
    phases: Vec<Phase>,
    /// Outputs of the stages this pass ends.
    outputs: BTreeMap<usize, Outputs>,
    /// Reasons of the stages this pass skips or blocks.
    reasons: BTreeMap<usize, String>,
    /// What the cells of a group come to, once somebody asks.
    groups: Vec<OnceCell<Vec<usize>>>,
    /// What deferred conditions read, once one is asked.
    finished: Option<BTreeMap<String, Finished>>,
    /// The run is cancelled, and `run-on: always` stages may still start.
    cleans_up: bool,
    events: Vec<EventKind>,
    effects: Vec<Effect>,
}

/// What comes next for a stage that has not started.
enum Next {
    Wait,
    Run,
    Skip(String),
    Block(String),
    Cancel(String),
    /// The run has no more time.
    Overdue(String),
    /// Its `when` cannot be decided.
    Fail(String),
    Lose,
}

impl Pass<'_> {
    /// Ends the stages whose attempt has ended, or begins another attempt. The result of
    /// the last is the stage's, unless `allow-failure` names it.
    fn finish_attempts(&mut self) {
        for index in 0..self.schedule.len() {
            if self.phases[index] != Phase::Running {
                continue;
            }
            let stage = self.schedule.stage(index);
            let attempt = self.state.stage(&stage.name).and_then(|stage| stage.attempts.last());
            let Some((attempt, result)) = attempt.and_then(|last| Some((last, last.result?)))
            else {
                continue;
            };
            if attempt.repeat && self.state.cancel.is_none() {
                self.begin(index, None);
                continue;
            }
            if let Some(backoff) = self.repeats(index, attempt.number, result, attempt.exit) {
                self.begin(index, Some(self.fact.at + backoff));
                continue;
            }
            let allowed = is_allowed(stage.allow_failure.as_ref(), result, attempt.exit);
            let result = if allowed { StageResult::Warning } else { result };
            // What the attempt made stands in the event alone, the fold keeps it for stages.
            let (outputs, reused, duration_ms) = match &self.fact.kind {
                EventKind::AttemptFinished {
                    stage: name, outputs, reused, duration_ms, ..
                } if *name == stage.name => (outputs.clone(), *reused, *duration_ms),
                _ => (Outputs::new(), None, 0),
            };
            self.events.push(EventKind::StageFinished {
                stage: stage.name.clone(),
                result,
                reason: self.reason_of_attempt(index, attempt),
                outputs: outputs.clone(),
                reused,
                duration_ms,
            });
            self.phases[index] = Phase::Done(result);
            self.outputs.insert(index, outputs);
        }
    }

    /// What the attempt said; of one that cleaned up too long, that.
    fn reason_of_attempt(&self, index: usize, attempt: &Attempt) -> Option<String> {
        let cleaned_up = self.schedule.stage(index).run_on == RunOn::Always
            && attempt.result == Some(StageResult::Cancelled)
            && !self.state.killed
            && aftermath::is_over(self.schedule, self.state, self.fact.at);
        if cleaned_up { Some(too_late("done", self.state)) } else { attempt.reason.clone() }
    }

    /// Ends the stages that will not run, and returns those that may start now.
    /// Plan order makes one pass enough: what is decided about a stage is known
    /// before those that need it are looked at.
    fn settle(&mut self) -> Vec<usize> {
        let mut ready = Vec::new();
        for index in 0..self.schedule.len() {
            if self.phases[index] != Phase::Waiting {
                continue;
            }
            let next = self.next(index);
            let stage = || self.schedule.stage(index).name.clone();
            let (event, result, reason) = match next {
                Next::Wait => continue,
                Next::Run => {
                    ready.push(index);
                    continue;
                }
                Next::Skip(reason) => {
                    let event = EventKind::StageSkipped { stage: stage(), reason: reason.clone() };
                    (event, StageResult::Skipped, reason)
                }
                Next::Block(reason) => {
                    let event = EventKind::StageBlocked { stage: stage(), reason: reason.clone() };
                    (event, StageResult::Blocked, reason)
                }
                Next::Cancel(reason) => {
                    let event = unstarted(stage(), StageResult::Cancelled, &reason);
                    (event, StageResult::Cancelled, reason)
                }
                Next::Overdue(reason) => {
                    let event = unstarted(stage(), StageResult::TimedOut, &reason);
                    (event, StageResult::TimedOut, reason)
                }
                Next::Fail(reason) => {
                    let event = unstarted(stage(), StageResult::Failed, &reason);
                    (event, StageResult::Failed, reason)
                }
                Next::Lose => {
                    let reason = "shipline was stopped before this stage could run".to_owned();
                    let event = unstarted(stage(), StageResult::InfraError, &reason);
                    (event, StageResult::InfraError, reason)
                }
            };
            if let Some(finished) = &mut self.finished {
                finished.insert(stage(), when::finished(result, Outputs::new()));
            }
            self.events.push(event);
            self.phases[index] = Phase::Done(result);
            self.reasons.insert(index, reason);
        }
        ready
    }

    fn next(&mut self, index: usize) -> Next {
        if let Some(next) = self.after_cut(index) {
            return next;
        }
        let schedule = self.schedule;
        let (stage, node) = (schedule.stage(index), schedule.node(index));
        if node.waits_for.iter().any(|on| !self.is_done(*on)) {
            return Next::Wait;
        }
        // Nobody is to be told that something stands in its way.
        if stage.state == Planned::Skip && stage.reason == NOT_ASKED_FOR {
            return Next::Skip(stage.reason.clone());
        }
        match pipeline::fate(stage.run_on, self.needs(index)) {
            Fate::Wait => return Next::Wait,
            Fate::Run => {}
            Fate::Skip(reason) => return Next::Skip(self.would(index).unwrap_or(reason)),
            Fate::Block(reason) => return Next::Block(reason),
            Fate::Cancel(reason) => return Next::Cancel(reason),
        }
        // Not before its needs are done: edges are reduced, and those that need this
        // stage wait for what is above it through it.
        if stage.state == Planned::Skip {
            return Next::Skip(stage.reason.clone());
        }
        if let Some(next) = self.deferred(index) {
            return next;
        }
        if let Some(reason) = self.withheld(index) {
            return Next::Skip(reason);
        }
        match self.schedule.intake {
            Intake::Open => Next::Run,
            Intake::Lost => Next::Lose,
        }
    }

    /// What a cancellation, or the end of the run's time, makes of a stage; `None` is what
    /// would become of it anyway.
    fn after_cut(&self, index: usize) -> Option<Next> {
        let (cancel, overdue) = (self.state.cancel.as_ref(), self.state.timed_out.as_ref());
        let reason = cancel.or(overdue)?;
        let stage = self.schedule.stage(index);
        let always = stage.run_on == RunOn::Always && !self.state.killed;
        if always && self.cleans_up {
            // What it cleans up after may still be on its way to an end.
            let ends = |above: usize| !matches!(self.phases[above], Phase::Done(_));
            return self.schedule.above(index).any(ends).then_some(Next::Wait);
        }
        Some(match stage.state {
            Planned::Skip => Next::Skip(stage.reason.clone()),
            Planned::Run if always && self.has_begun() => {
                Next::Cancel(too_late("begun", self.state))
            }
            Planned::Run if cancel.is_none() => Next::Overdue(reason.clone()),
            Planned::Run => Next::Cancel(reason.clone()),
        })
    }

    /// Without an attempt there is nothing to clean up after.
    fn has_begun(&self) -> bool {
        aftermath::has_begun(self.state)
    }

    fn is_done(&self, on: On) -> bool {
        let is_done = |index: usize| matches!(self.phases[index], Phase::Done(_));
        match on {
            On::Stage(index) => is_done(index),
            On::Group(group) => self.cells(group).iter().copied().all(is_done),
        }
    }

    /// Stops what runs, but not what cleans up: that is outside of what is cancelled,
    /// until somebody cancels again.
    fn stop_running(&mut self) {
        for index in 0..self.schedule.len() {
            let always = self.schedule.stage(index).run_on == RunOn::Always;
            if self.phases[index] == Phase::Running && (!always || self.state.killed) {
                let overdue = match self.state.cancel {
                    Some(_) => None,
                    None => self.state.timed_out.clone(),
                };
                self.effects.push(Effect::Stop { index, overdue });
            }
        }
    }

    /// Starts as many of `ready` as may run at a time, those on the longest path first.
    fn start(&mut self, mut ready: Vec<usize>) {
        let running = self.phases.iter().filter(|phase| **phase == Phase::Running).count();
        let free = self.schedule.concurrency.saturating_sub(running);
        if ready.len() > free {
            ready.sort_by_key(|index| std::cmp::Reverse(self.schedule.node(*index).height));
            ready.truncate(free);
        }
        for index in ready {
            self.begin(index, None);
        }
    }

    /// Begins an attempt. One that repeats another keeps its place among those that run.
    fn begin(&mut self, index: usize, not_before: Option<DateTime<Utc>>) {
        let stage = self.schedule.stage(index).name.clone();
        let attempts = self.state.stage(&stage).map_or(0, |stage| stage.attempts.len());
        let attempt = u32::try_from(attempts).unwrap_or(u32::MAX).saturating_add(1);
        let name = self.schedule.container(index, attempt);
        self.events.push(EventKind::AttemptStarting {
            stage,
            attempt,
            name: name.clone(),
            not_before,
        });
        self.effects.push(Effect::Start { index, attempt, name, not_before });
        self.phases[index] = Phase::Running;
    }

    /// How long to wait before the attempt is repeated, if it is. Nothing is repeated in
    /// a run that is cancelled, or after the death of its process.
    fn repeats(
        &self,
        index: usize,
        attempt: u32,
        result: StageResult,
        exit: Option<i64>,
    ) -> Option<TimeDelta> {
        if self.state.cut_at().is_some() || self.schedule.intake == Intake::Lost {
            return None;
        }
        retry::backoff(self.schedule.stage(index), attempt, result, exit)
    }

    fn finish_run(&mut self) {
        let result_of = |phase: &Phase| match phase {
            Phase::Done(result) => Some(*result),
            Phase::Waiting | Phase::Running => None,
        };
        // The last stages end last: what is open is found soon, from behind.
        if self.phases.iter().rev().any(|phase| result_of(phase).is_none()) {
            return;
        }
        let results: Vec<StageResult> = self.phases.iter().filter_map(result_of).collect();
        let now = self.fact.at;
        let lasted = now - self.state.started_at.unwrap_or(now);
        self.events.push(EventKind::RunFinished {
            result: self.result(&results),
            duration_ms: u64::try_from(lasted.num_milliseconds()).unwrap_or(0),
        });
    }

    fn result(&self, results: &[StageResult]) -> RunResult {
        let any = |wanted: &[StageResult]| results.iter().any(|result| wanted.contains(result));
        if self.state.cancel.is_some() {
            RunResult::Cancelled
        } else if any(&[StageResult::Failed, StageResult::TimedOut, StageResult::ResourceLimit]) {
            RunResult::Failed
        } else if any(&[StageResult::InfraError]) {
            RunResult::InfraError
        } else if any(&[StageResult::Cancelled]) {
            // A newer run took the place of one of its stages.
            RunResult::Cancelled
        } else if any(&[StageResult::Warning]) {
            RunResult::Warning
        } else if self.all_skipped(results) {
            RunResult::Skipped
        } else {
            RunResult::Passed
        }
    }

    /// Whether every stage but the checkout was skipped, and there was one.
    fn all_skipped(&self, results: &[StageResult]) -> bool {
        let mut others = results
            .iter()
            .enumerate()
            .filter(|(index, _)| !matches!(self.schedule.stage(*index).work, Work::Checkout { .. }))
            .map(|(_, result)| *result)
            .peekable();
        others.peek().is_some() && others.all(|result| result == StageResult::Skipped)
    }
}

fn too_late(what: &str, state: &RunState) -> String {
    let after = if state.cancel.is_some() { "the cancellation" } else { "the time of the run" };
    format!("not {what} within {} minutes after {after}", AFTERMATH.num_minutes())
}

/// The end of a stage that no attempt was made for.
fn unstarted(stage: String, result: StageResult, reason: &str) -> EventKind {
    EventKind::StageFinished {
        stage,
        result,
        reason: Some(reason.to_owned()),
        outputs: Outputs::new(),
        reused: None,
        duration_ms: 0,
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
