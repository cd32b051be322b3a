//! Looks at what came of a run, and says what should not be: the promises of a run, checked
//! from outside against its plan, its events, and what the engine saw.
//!
//! The rules are written once more here, slowly and plainly, so that a mistake in the runner
//! is not made twice.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use event::{Event, EventKind, RunResult, RunState, StageResult};
use pipeline::{AllowFailure, Decision, Plan, PlannedStage, RetryOn, RunOn, Work};

mod times;

/// What an engine may take beyond what it was given.
pub const SLACK: TimeDelta = TimeDelta::seconds(2);

/// How an engine reports a container that was killed.
const KILLED: i64 = 137;

/// A container of an attempt, as somebody saw it who is not the runner.
#[derive(Clone, Debug)]
pub struct Container {
    pub name: String,
    pub stage: String,
    pub attempt: u32,
    pub begun: DateTime<Utc>,
    pub ended: Option<DateTime<Utc>>,
    /// Its code, whether it was out of memory, whether it was lost.
    pub exit: Option<(i64, bool, bool)>,
    /// When it was first told to stop.
    pub stopped: Option<DateTime<Utc>>,
}

/// A process died, and another took its place.
#[derive(Clone, Copy, Debug)]
pub struct Restart {
    pub down: DateTime<Utc>,
    pub up: DateTime<Utc>,
}

/// See the module.
pub struct Auditor<'a> {
    pub plan: &'a Plan,
    pub events: &'a [Event],
    pub containers: &'a [Container],
    pub restarts: &'a [Restart],
    /// Whoever is started again goes on with what runs.
    pub durable: bool,
    /// Errors of the engine by stage; "" are those that may be of any, "clean" those of
    /// removing.
    pub blamed: &'a BTreeMap<String, u32>,
}

/// An attempt as the events tell it.
#[derive(Debug, Default)]
struct Attempt {
    number: u32,
    name: String,
    starting: u64,
    not_before: Option<DateTime<Utc>>,
    started: Option<DateTime<Utc>>,
    deadline: Option<DateTime<Utc>>,
    finished: Option<(u64, DateTime<Utc>, StageResult, Option<i64>)>,
    /// Its process died, and the next one ended it.
    lost: bool,
    duration_ms: u64,
}

/// A stage as the events tell it.
#[derive(Debug, Default)]
struct Stage {
    attempts: Vec<Attempt>,
    end: Option<(u64, StageResult)>,
}

impl Auditor<'_> {
    /// Returns what does not hold; nothing is as it should be.
    pub fn audit(&self) -> Vec<String> {
        let mut broken = self.history();
        let stages = self.stages(&mut broken);
        self.check_order(&stages, &mut broken);
        self.check_attempts(&stages, &mut broken);
        self.check_repetition(&stages, &mut broken);
        self.check_ends(&stages, &mut broken);
        self.check_run(&stages, &mut broken);
        self.check_containers(&stages, &mut broken);
        self.check_times(&stages, &mut broken);
        self.check_groups(&mut broken);
        broken
    }

    /// Gapless, legal, and one end that is the last.
    fn history(&self) -> Vec<String> {
        let mut broken = Vec::new();
        if let Err(error) = RunState::fold(self.events) {
            broken.push(format!("the journal: {error}"));
        }
        let ends = self.events.iter().filter(|event| event.kind.is_terminal()).count();
        if ends != 1 || !self.events.last().is_some_and(|event| event.kind.is_terminal()) {
            broken.push(format!("the run has {ends} ends"));
        }
        if let Some(pair) = self.events.windows(2).find(|pair| pair[1].at < pair[0].at) {
            broken.push(format!("event {} lies before the one before it", pair[1].seq));
        }
        broken
    }

    fn stages(&self, broken: &mut Vec<String>) -> BTreeMap<&str, Stage> {
        let names = self.plan.stages.iter().map(|stage| stage.name.as_str());
        let mut stages: BTreeMap<&str, Stage> =
            names.map(|name| (name, Stage::default())).collect();
        for event in self.events {
            let mut end = |stage: &String, result| {
                let Some(stage) = stages.get_mut(stage.as_str()) else { return };
                if stage.end.replace((event.seq, result)).is_some() {
                    broken.push(format!("event {} ends a stage again", event.seq));
                }
            };
            match &event.kind {
                EventKind::StageFinished { stage, result, .. } => end(stage, *result),
                EventKind::StageSkipped { stage, .. } => end(stage, StageResult::Skipped),
                EventKind::StageBlocked { stage, .. } => end(stage, StageResult::Blocked),
                EventKind::AttemptStarting { stage, attempt, name, not_before } => {
                    let Some(stage) = stages.get_mut(stage.as_str()) else { continue };
                    stage.attempts.push(Attempt {
                        number: *attempt,
                        name: name.clone(),
                        starting: event.seq,
                        not_before: *not_before,
                        ..Attempt::default()
                    });
                }
                EventKind::AttemptStarted { stage, deadline, .. } => {
                    let stage = stages.get_mut(stage.as_str());
                    if let Some(attempt) = stage.and_then(|stage| stage.attempts.last_mut()) {
                        attempt.deadline = Some(*deadline);
                        attempt.started = Some(event.at);
                    }
                }
                EventKind::AttemptFinished { stage, result, exit, reason, duration_ms, .. } => {
                    let stage = stages.get_mut(stage.as_str());
                    let Some(attempt) = stage.and_then(|stage| stage.attempts.last_mut()) else {
                        continue;
                    };
                    if attempt.finished.replace((event.seq, event.at, *result, *exit)).is_some() {
                        broken.push(format!("event {} ends an attempt again", event.seq));
                    }
                    let stopped = "shipline was stopped while this stage ran";
                    attempt.lost = reason.as_deref() == Some(stopped);
                    attempt.duration_ms = *duration_ms;
                }
                _ => {}
            }
        }
        for (name, stage) in &stages {
            if stage.end.is_none() {
                broken.push(format!("`{name}` has no end"));
            }
            if stage.attempts.iter().any(|attempt| attempt.finished.is_none()) {
                broken.push(format!("an attempt of `{name}` has no end"));
            }
        }
        stages
    }

    fn planned(&self, name: &str) -> Option<&PlannedStage> {
        self.plan.stages.iter().find(|stage| stage.name == name)
    }

    /// The stages that an edge means: one, or all cells.
    fn needs<'a>(&'a self, stage: &'a PlannedStage) -> impl Iterator<Item = (&'a str, bool)> {
        stage.needs.iter().flat_map(|edge| {
            let of =
                move |other: &&PlannedStage| other.name == edge.stage || other.stage == edge.stage;
            let must = edge.must_run();
            self.plan.stages.iter().filter(of).map(move |other| (other.name.as_str(), must))
        })
    }

    fn seq_of(&self, which: impl Fn(&EventKind) -> bool) -> Option<&Event> {
        self.events.iter().find(|event| which(&event.kind))
    }

    fn cancelled(&self) -> Option<&Event> {
        self.seq_of(|kind| matches!(kind, EventKind::CancelRequested { .. }))
    }

    fn timed_out(&self) -> Option<&Event> {
        self.seq_of(|kind| matches!(kind, EventKind::RunTimedOut { .. }))
    }

    /// The first event after which nothing begins but what cleans up.
    fn cut(&self) -> Option<&Event> {
        [self.cancelled(), self.timed_out()].into_iter().flatten().min_by_key(|event| event.seq)
    }

    fn is_cut_before(&self, seq: u64) -> bool {
        self.cut().is_some_and(|cut| cut.seq < seq)
    }

    /// Nothing begins before what it needs has ended, nor after a cancellation.
    fn check_order(&self, stages: &BTreeMap<&str, Stage>, broken: &mut Vec<String>) {
        for planned in &self.plan.stages {
            let Some(first) = stages[planned.name.as_str()].attempts.first() else { continue };
            for (need, _) in self.needs(planned) {
                if stages[need].end.is_none_or(|(seq, _)| seq > first.starting) {
                    broken.push(format!("`{}` began before `{need}` had ended", planned.name));
                }
            }
            if self.is_cut_before(first.starting) && planned.run_on != RunOn::Always {
                broken.push(format!("`{}` began after the run was cut", planned.name));
            }
            if planned.state == Decision::Skip {
                broken.push(format!("`{}` began though it was to be skipped", planned.name));
            }
        }
    }

    fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }

    fn is_blamed(&self, stage: &str) -> bool {
        self.blamed.contains_key(stage) || self.blamed.contains_key("")
    }

    /// The result of an attempt is what the engine saw of it.
    fn check_attempts(&self, stages: &BTreeMap<&str, Stage>, broken: &mut Vec<String>) {
        for planned in &self.plan.stages {
            for attempt in &stages[planned.name.as_str()].attempts {
                let latest = attempt.started.map(|started| started + timeout(planned));
                if attempt.deadline > latest {
                    broken.push(format!("the deadline of `{}` is too late", planned.name));
                }
                if let Some((seq, at, result, exit)) = attempt.finished {
                    let what = self.wrong_with(planned, attempt, seq, at, result, exit);
                    if let Some(what) = what {
                        let (name, number) = (&planned.name, attempt.number);
                        broken.push(format!("attempt {number} of `{name}` is {result}, {what}"));
                    }
                }
            }
        }
    }

    fn wrong_with(
        &self,
        planned: &PlannedStage,
        attempt: &Attempt,
        seq: u64,
        at: DateTime<Utc>,
        result: StageResult,
        exit: Option<i64>,
    ) -> Option<String> {
        let container = self.container(&attempt.name);
        let seen = container.and_then(|container| container.exit);
        // PID 1 told the end with its last record, and was removed before it had ended itself:
        // the engine then saw how it was removed.
        let removed = container.is_some_and(|seen| seen.stopped.is_some_and(|stop| at <= stop));
        let seen = match (seen, exit) {
            (Some((KILLED, ..)), Some(code)) if removed => Some((code, false, false)),
            _ => seen,
        };
        let saw = seen.map(|(code, memory, lost)| of_exit(code, memory, lost));
        let because = |is: bool, what: &str| (!is).then(|| what.to_owned());
        if let (Some(reported), Some((code, ..))) = (exit, seen)
            && reported != code
        {
            return Some(format!("exit {reported}, but the engine saw exit {code}"));
        }
        let services = matches!(&planned.work, Work::Run(work) if !work.services.is_empty());
        let runs = matches!(planned.work, Work::Run(_));
        // Whoever ended it, or meant to in that moment, had the word.
        let ended = container.and_then(|seen| seen.ended.filter(|_| seen.stopped.is_none()));
        let cut = self.cut().map(|cut| cut.at).into_iter().chain(attempt.deadline).min();
        let by_itself = ended.is_some_and(|ended| cut.is_none_or(|cut| ended < cut));
        if let Some(saw) = saw
            && by_itself
            && !attempt.lost
            && !services
            && !self.is_blamed(&planned.name)
        {
            return because(result == saw, &format!("but the engine saw {saw}"));
        }
        match result {
            StageResult::Passed if runs => {
                because(saw == Some(StageResult::Passed), "but it did not end with 0")
            }
            StageResult::Failed if runs && !services && !self.is_blamed(&planned.name) => {
                because(saw == Some(StageResult::Failed), "but its command did not fail")
            }
            StageResult::ResourceLimit => {
                because(services || saw == Some(result), "but it had enough")
            }
            StageResult::TimedOut => {
                let over = attempt.deadline.is_some_and(|deadline| at >= deadline);
                let cut = self.timed_out().is_some_and(|event| event.seq < seq);
                because(over || cut, "before its time was over")
            }
            StageResult::Cancelled => because(self.is_cut_before(seq), "but nobody cancelled"),
            StageResult::InfraError => {
                let late = attempt.deadline.is_none()
                    && u128::from(attempt.duration_ms) >= planned.timeout.std().as_millis();
                if attempt.lost && runs && self.durable {
                    return Some("though it could be joined".to_owned());
                }
                let excused =
                    late || services || self.is_blamed(&planned.name) || saw == Some(result);
                because(
                    excused || (attempt.lost && self.is_restarted_before(at)),
                    "without a fault",
                )
            }
            _ => None,
        }
    }

    fn is_restarted_before(&self, at: DateTime<Utc>) -> bool {
        self.restarts.iter().any(|restart| restart.up <= at)
    }

    /// An attempt is repeated where the plan says so, and nowhere else.
    fn check_repetition(&self, stages: &BTreeMap<&str, Stage>, broken: &mut Vec<String>) {
        for planned in &self.plan.stages {
            let attempts = &stages[planned.name.as_str()].attempts;
            for (position, attempt) in attempts.iter().enumerate() {
                let Some((seq, _, result, exit)) = attempt.finished else { continue };
                let may = repeats(planned, attempt.number, result, exit);
                let what = format!("attempt {} of `{}`", attempt.number, planned.name);
                match attempts.get(position + 1) {
                    Some(_) if (attempt.lost && !self.durable) || !may => {
                        broken.push(format!("{what} is repeated, it was {result}"));
                    }
                    Some(next) if self.is_cut_before(next.starting) => {
                        broken.push(format!("{what} is repeated after the run was cut"));
                    }
                    None if may
                        && !self.is_cut_before(seq + 1)
                        && (self.durable || self.restarts.is_empty()) =>
                    {
                        broken.push(format!("{what} is not repeated, it was {result}"));
                    }
                    _ => {}
                }
            }
        }
    }

    /// The end of a stage is what its last attempt came to, or what its needs did.
    fn check_ends(&self, stages: &BTreeMap<&str, Stage>, broken: &mut Vec<String>) {
        for planned in &self.plan.stages {
            let stage = &stages[planned.name.as_str()];
            let Some((seq, result)) = stage.end else { continue };
            let name = &planned.name;
            if let Some((.., came, exit)) = stage.attempts.last().and_then(|last| last.finished) {
                let expected =
                    if is_allowed(planned, came, exit) { StageResult::Warning } else { came };
                if result != expected {
                    broken.push(format!("`{name}` is {result}, its attempt came to {came}"));
                }
                continue;
            }
            if self.is_cut_before(seq) {
                continue;
            }
            let lost = result == StageResult::InfraError && !self.restarts.is_empty();
            let lost = lost && !self.durable;
            let expected = self.fate(planned, stages);
            if expected != Some(result) && !(expected.is_none() && lost) {
                broken.push(format!("`{name}` is {result} without an attempt, not {expected:?}"));
            }
        }
        for planned in &self.plan.stages {
            let stage = &stages[planned.name.as_str()];
            let Some(first) = stage.attempts.first() else { continue };
            let fate = self.fate(planned, stages);
            if let Some(fate) = fate.filter(|_| !self.is_cut_before(first.starting)) {
                broken.push(format!("`{}` ran, it should have been {fate}", planned.name));
            }
        }
    }

    /// What a stage comes to by its needs alone; `None`: it runs.
    fn fate(&self, planned: &PlannedStage, stages: &BTreeMap<&str, Stage>) -> Option<StageResult> {
        let needs: Vec<(StageResult, bool)> = self
            .needs(planned)
            .filter_map(|(need, must)| Some((stages[need].end?.1, must)))
            .collect();
        let any = |row: &dyn Fn(StageResult, bool) -> bool| {
            needs.iter().any(|(result, must)| row(*result, *must))
        };
        let bad = any(&|result, _| result.is_failure() || result == StageResult::Blocked);
        let skipped = any(&|result, must| must && result == StageResult::Skipped);
        let missing = any(&|result, must| {
            must && matches!(result, StageResult::Skipped | StageResult::Blocked)
        });
        match planned.run_on {
            RunOn::Success if bad => Some(StageResult::Blocked),
            RunOn::Success if skipped => Some(StageResult::Skipped),
            RunOn::Failure if !bad || missing => Some(StageResult::Skipped),
            RunOn::Always if (bad && missing) || skipped => Some(StageResult::Skipped),
            _ => (planned.state == Decision::Skip).then_some(StageResult::Skipped),
        }
    }

    /// The result of the run is the worst of its stages.
    fn check_run(&self, stages: &BTreeMap<&str, Stage>, broken: &mut Vec<String>) {
        let Some(EventKind::RunFinished { result, .. }) = self.events.last().map(|last| &last.kind)
        else {
            return;
        };
        let any = |wanted: &[StageResult]| {
            stages.values().any(|stage| stage.end.is_some_and(|(_, end)| wanted.contains(&end)))
        };
        let expected = if self.cancelled().is_some() {
            RunResult::Cancelled
        } else if any(&[StageResult::Failed, StageResult::TimedOut, StageResult::ResourceLimit]) {
            RunResult::Failed
        } else if any(&[StageResult::InfraError]) {
            RunResult::InfraError
        } else if any(&[StageResult::Cancelled]) {
            RunResult::Cancelled
        } else if any(&[StageResult::Warning]) {
            RunResult::Warning
        } else {
            RunResult::Passed
        };
        let skipped = *result == RunResult::Skipped && expected == RunResult::Passed;
        if *result != expected && !skipped {
            broken.push(format!("the run is {result}, its stages make it {expected}"));
        }
    }
}

fn timeout(planned: &PlannedStage) -> TimeDelta {
    TimeDelta::from_std(planned.timeout.std()).unwrap_or(TimeDelta::MAX)
}

fn of_exit(code: i64, out_of_memory: bool, lost: bool) -> StageResult {
    match code {
        _ if lost => StageResult::InfraError,
        0 => StageResult::Passed,
        _ if out_of_memory => StageResult::ResourceLimit,
        _ => StageResult::Failed,
    }
}

fn repeats(stage: &PlannedStage, attempt: u32, result: StageResult, exit: Option<i64>) -> bool {
    let is_safe = !matches!(stage.work, Work::Deploy(_) | Work::Approve(_));
    let is_named = stage.retry.on.iter().any(|on| match on {
        RetryOn::Infrastructure => result == StageResult::InfraError,
        RetryOn::Timeout => result == StageResult::TimedOut,
        RetryOn::ResourceLimit => result == StageResult::ResourceLimit,
        RetryOn::Exit(codes) => {
            result == StageResult::Failed && codes.iter().any(|code| exit == Some(i64::from(*code)))
        }
    });
    is_safe && is_named && attempt <= stage.retry.max
}

fn is_allowed(stage: &PlannedStage, result: StageResult, exit: Option<i64>) -> bool {
    let own = matches!(result, StageResult::Failed | StageResult::ResourceLimit);
    match &stage.allow_failure {
        None => false,
        Some(AllowFailure::Any) => own || result == StageResult::TimedOut,
        Some(AllowFailure::ExitCodes(codes)) => {
            own && codes.iter().any(|code| exit == Some(i64::from(*code)))
        }
    }
}
