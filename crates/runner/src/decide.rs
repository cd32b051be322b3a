//! What follows from a fact: the scheduler, as a pure function.
//!
//! No clock, no IO, no randomness; time arrives with the fact. A restart means
//! to fold the journal and to go on here: there is no second path for recovery.
//! The rules are those of docs/language.md, "Order, skip, failure".

use std::collections::BTreeMap;

use event::{Event, EventKind, Outputs, Phase, RunResult, RunState, StageResult};
use pipeline::{Decision as Planned, ImageSource, Work};

use crate::SideEffects;
use crate::schedule::{Intake, Schedule};

/// What is to be done once the events decided with it are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Begin the attempt that an `attempt.starting` announces.
    Start { index: usize, attempt: u32, name: String },
    /// End a running attempt: somebody cancelled.
    Stop { index: usize },
}

/// How the reason of a `push` or `deploy` stage begins that may not have effects.
pub const WITHHELD: &str = "side effects are withheld; `--allow-side-effects` runs it";

/// Returns what follows from `fact`, which is folded into `state` already.
pub fn decide(
    schedule: &Schedule,
    state: &RunState,
    fact: &Event,
) -> (Vec<EventKind>, Vec<Effect>) {
    let cancelled = match fact.kind {
        EventKind::RunStarted { .. } | EventKind::AttemptFinished { .. } => false,
        EventKind::CancelRequested { .. } => true,
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
        phases: schedule.phases(state),
        reasons: BTreeMap::new(),
        events: Vec::new(),
        effects: Vec::new(),
    };
    pass.finish_attempts(fact);
    let ready = pass.settle();
    if cancelled {
        pass.stop_running();
    }
    pass.start(ready);
    pass.finish_run(fact);
    (pass.events, pass.effects)
}

/// One look at the whole run. `phases` are those of `state`, brought up to date
/// by what this pass decides.
struct Pass<'a> {
    schedule: &'a Schedule,
    state: &'a RunState,
    phases: Vec<Phase>,
    /// Reasons of the stages this pass skips or blocks.
    reasons: BTreeMap<usize, String>,
    events: Vec<EventKind>,
    effects: Vec<Effect>,
}

/// What becomes of a stage that has not started.
enum Fate {
    Wait,
    Run,
    Skip(String),
    Block(String),
    Cancel(String),
    Lose,
}

impl Pass<'_> {
    /// Ends the stages whose attempt has ended. An attempt is never repeated yet,
    /// so its result is the stage's.
    fn finish_attempts(&mut self, fact: &Event) {
        for index in 0..self.schedule.len() {
            if self.phases[index] != Phase::Running {
                continue;
            }
            let name = &self.schedule.stage(index).name;
            let Some(attempt) = self.state.stage(name).and_then(|stage| stage.attempts.last())
            else {
                continue;
            };
            let Some(result) = attempt.result else { continue };
            // What the attempt made stands in the event alone, the fold keeps it for stages.
            let (outputs, duration_ms) = match &fact.kind {
                EventKind::AttemptFinished { stage, outputs, duration_ms, .. } if stage == name => {
                    (outputs.clone(), *duration_ms)
                }
                _ => (Outputs::new(), 0),
            };
            let reason = attempt.reason.clone();
            self.events.push(EventKind::StageFinished {
                stage: name.clone(),
                result,
                reason,
                outputs,
                duration_ms,
            });
            self.phases[index] = Phase::Done(result);
        }
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
            let fate = self.fate(index);
            let stage = || self.schedule.stage(index).name.clone();
            let (event, result, reason) = match fate {
                Fate::Wait => continue,
                Fate::Run => {
                    ready.push(index);
                    continue;
                }
                Fate::Skip(reason) => {
                    let event = EventKind::StageSkipped { stage: stage(), reason: reason.clone() };
                    (event, StageResult::Skipped, reason)
                }
                Fate::Block(reason) => {
                    let event = EventKind::StageBlocked { stage: stage(), reason: reason.clone() };
                    (event, StageResult::Blocked, reason)
                }
                Fate::Cancel(reason) => {
                    let event = unstarted(stage(), StageResult::Cancelled, &reason);
                    (event, StageResult::Cancelled, reason)
                }
                Fate::Lose => {
                    let reason = "shipline was stopped before this stage could run".to_owned();
                    let event = unstarted(stage(), StageResult::InfraError, &reason);
                    (event, StageResult::InfraError, reason)
                }
            };
            self.events.push(event);
            self.phases[index] = Phase::Done(result);
            self.reasons.insert(index, reason);
        }
        ready
    }

    /// The column `run-on: success` of the table.
    fn fate(&self, index: usize) -> Fate {
        let stage = self.schedule.stage(index);
        if let Some(reason) = &self.state.cancel {
            return match stage.state {
                Planned::Run => Fate::Cancel(reason.clone()),
                Planned::Skip => Fate::Skip(stage.reason.clone()),
            };
        }
        let node = self.schedule.node(index);
        if node.waits_for.iter().any(|need| !matches!(self.phases[*need], Phase::Done(_))) {
            return Fate::Wait;
        }
        let (mut cancelled, mut blocked, mut skipped) = (None, None, None);
        for need in &node.needs {
            let Phase::Done(result) = self.phases[need.index] else { return Fate::Wait };
            let name = &self.schedule.stage(need.index).name;
            match result {
                StageResult::Passed | StageResult::Unchanged | StageResult::Warning => {}
                StageResult::Failed
                | StageResult::TimedOut
                | StageResult::ResourceLimit
                | StageResult::InfraError => return Fate::Block(format!("`{name}` failed")),
                // Its reason already names the first cause.
                StageResult::Blocked => {
                    blocked.get_or_insert_with(|| self.reason_of(need.index).to_owned());
                }
                StageResult::Cancelled => {
                    cancelled.get_or_insert_with(|| format!("`{name}` was cancelled"));
                }
                StageResult::Skipped if need.must_run => {
                    skipped.get_or_insert(need.index);
                }
                StageResult::Skipped => {}
            }
        }
        if let Some(reason) = blocked {
            return Fate::Block(reason);
        }
        if let Some(reason) = cancelled {
            return Fate::Cancel(reason);
        }
        if let Some(need) = skipped {
            // A deployment of what was not pushed would still tell what it would do.
            if self.reason_of(need).starts_with(WITHHELD)
                && let Some(reason) = self.withheld(index)
            {
                return Fate::Skip(reason);
            }
            return Fate::Skip(format!("`{}` was skipped", self.schedule.stage(need).name));
        }
        // Not before its needs are done: edges are reduced, and those that need this
        // stage wait for what is above it through it.
        if stage.state == Planned::Skip {
            return Fate::Skip(stage.reason.clone());
        }
        if let Some(reason) = self.withheld(index) {
            return Fate::Skip(reason);
        }
        match self.schedule.intake {
            Intake::Open => Fate::Run,
            Intake::Lost => Fate::Lose,
        }
    }

    fn reason_of(&self, index: usize) -> &str {
        if let Some(reason) = self.reasons.get(&index) {
            return reason;
        }
        self.state
            .stage(&self.schedule.stage(index).name)
            .and_then(|stage| stage.reason.as_deref())
            .unwrap_or_default()
    }

    fn withheld(&self, index: usize) -> Option<String> {
        if self.schedule.side_effects == SideEffects::Allowed {
            return None;
        }
        let would = match &self.schedule.stage(index).work {
            Work::Push(push) => {
                let tags: Vec<String> = push.tags.iter().map(|tag| format!("`{tag}`")).collect();
                format!("would push {} to `{}`", tags.join(", "), push.registry)
            }
            Work::Deploy(deploy) => {
                let image = match &deploy.image {
                    Some(ImageSource::Stage(name)) => format!("the image of `{name}` "),
                    Some(ImageSource::Reference(reference)) => format!("`{reference}` "),
                    None => String::new(),
                };
                format!("would deploy {image}to `{}`", deploy.environment)
            }
            Work::Trigger(trigger) => format!("would start `{}`", trigger.pipeline),
            Work::Checkout { .. } | Work::Run(_) | Work::Build(_) | Work::Approve(_) => {
                return None;
            }
        };
        Some(format!("{WITHHELD}: {would}"))
    }

    fn stop_running(&mut self) {
        for index in 0..self.schedule.len() {
            if self.phases[index] == Phase::Running {
                self.effects.push(Effect::Stop { index });
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
            let stage = self.schedule.stage(index).name.clone();
            let attempts = self.state.stage(&stage).map_or(0, |stage| stage.attempts.len());
            let attempt = u32::try_from(attempts).unwrap_or(u32::MAX).saturating_add(1);
            let name = self.schedule.container(index, attempt);
            self.events.push(EventKind::AttemptStarting { stage, attempt, name: name.clone() });
            self.effects.push(Effect::Start { index, attempt, name });
            self.phases[index] = Phase::Running;
        }
    }

    fn finish_run(&mut self, fact: &Event) {
        let results: Option<Vec<StageResult>> = self
            .phases
            .iter()
            .map(|phase| match phase {
                Phase::Done(result) => Some(*result),
                Phase::Waiting | Phase::Running => None,
            })
            .collect();
        let Some(results) = results else { return };
        let lasted = fact.at - self.state.started_at.unwrap_or(fact.at);
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

/// The end of a stage that no attempt was made for.
fn unstarted(stage: String, result: StageResult, reason: &str) -> EventKind {
    EventKind::StageFinished {
        stage,
        result,
        reason: Some(reason.to_owned()),
        outputs: Outputs::new(),
        duration_ms: 0,
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
