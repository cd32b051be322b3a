//! Why a stage ran, or did not: the recorded trace of `shipline why`.
//!
//! Of a plan it tells what would happen, of a run what did. Nothing is decided
//! anew but deferred conditions, from the results that were recorded.

mod cause;
mod text;

use std::collections::BTreeMap;

use pipeline::{
    Condition, Decision, EdgeReason, Finished, Origin, Plan, PlannedStage, RunFacts, RunOn,
};
use serde::Serialize;

use crate::{Peak, Phase, RunId, RunState, StageResult};

/// The trace of one stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Why {
    pub format: u32,
    pub pipeline: String,
    /// `None` for what would happen.
    pub run: Option<RunId>,
    pub stage: String,
    pub state: State,
    pub reason: Option<String>,
    pub run_on: RunOn,
    /// All it waits for, in plan order.
    pub needs: Vec<Need>,
    /// Every test of its `when`, as far as it is decided.
    pub condition: Option<Condition>,
    /// Why the condition could not be decided.
    pub undecided: Option<String>,
    pub attempts: Vec<Try>,
    /// From this stage to the first cause, when it is not in itself.
    pub chain: Vec<Link>,
}

/// What became of a stage, or would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    WouldRun,
    WouldBeSkipped,
    /// Its `when` waits for what others end with.
    Open,
    Waiting,
    Running,
    #[serde(untagged)]
    Done(StageResult),
}

/// A stage that is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    pub stage: String,
    pub by: EdgeReason,
    pub must_run: bool,
    pub state: State,
    pub reason: Option<String>,
}

/// One attempt that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Try {
    pub number: u32,
    /// `None` while it runs.
    pub result: Option<StageResult>,
    pub exit: Option<i64>,
    pub code: Option<String>,
    pub reason: Option<String>,
    #[serde(flatten)]
    pub peak: Peak,
}

/// A step on the way to the first cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    pub stage: String,
    pub state: State,
    pub reason: Option<String>,
    /// Of the condition, or of what failed.
    pub origin: Option<Origin>,
}

/// Tells the trace of the planned stage `name`; `None` when the plan has no such stage.
pub fn why(plan: &Plan, state: Option<&RunState>, name: &str) -> Option<Why> {
    let looked = Looked { plan, state };
    let stage = plan.stage(name)?;
    let (condition, undecided) = looked.condition(stage);
    let attempts = state.and_then(|state| state.stage(name)).map(|stage| &stage.attempts);
    Some(Why {
        format: crate::FORMAT,
        pipeline: plan.pipeline.clone(),
        run: state.and_then(|state| state.run),
        stage: stage.name.clone(),
        state: looked.state(stage),
        reason: looked.reason(stage),
        run_on: stage.run_on,
        needs: looked
            .needs(stage)
            .map(|(need, by, must_run)| looked.need(need, by, must_run))
            .collect(),
        condition,
        undecided,
        attempts: attempts
            .into_iter()
            .flatten()
            .map(|attempt| Try {
                number: attempt.number,
                result: attempt.result,
                exit: attempt.exit,
                code: attempt.code.clone(),
                reason: attempt.reason.clone(),
                peak: attempt.peak,
            })
            .collect(),
        chain: looked.chain(stage),
    })
}

/// A plan, and what is known of its run.
#[derive(Clone, Copy)]
struct Looked<'a> {
    plan: &'a Plan,
    state: Option<&'a RunState>,
}

impl<'a> Looked<'a> {
    fn state(self, stage: &PlannedStage) -> State {
        let Some(run) = self.state else {
            let open = stage.condition.as_ref().is_some_and(|when| when.verdict().holds.is_none());
            return match stage.state {
                Decision::Skip => State::WouldBeSkipped,
                Decision::Run if open => State::Open,
                Decision::Run => State::WouldRun,
            };
        };
        match run.stage(&stage.name).map(|stage| stage.phase).unwrap_or_default() {
            Phase::Waiting => State::Waiting,
            Phase::Running => State::Running,
            Phase::Done(result) => State::Done(result),
        }
    }

    fn reason(self, stage: &PlannedStage) -> Option<String> {
        match self.state {
            Some(run) => run.stage(&stage.name)?.reason.clone(),
            None => Some(stage.reason.clone()),
        }
    }

    /// Every planned stage that an edge goes to, in plan order.
    fn needs(
        self,
        stage: &'a PlannedStage,
    ) -> impl Iterator<Item = (&'a PlannedStage, EdgeReason, bool)> {
        self.plan.stages.iter().filter_map(|need| {
            let mut edges = stage.needs.iter().filter(|edge| edge.is_to(&need.name, &need.stage));
            let first = edges.next()?;
            let must_run = first.must_run() || edges.any(pipeline::Edge::must_run);
            Some((need, first.by, must_run))
        })
    }

    fn need(self, stage: &PlannedStage, by: EdgeReason, must_run: bool) -> Need {
        let (state, reason) = (self.state(stage), self.reason(stage));
        Need { stage: stage.name.clone(), by, must_run, state, reason }
    }

    /// The condition with its deferred tests, once what they read is done.
    fn condition(self, stage: &PlannedStage) -> (Option<Condition>, Option<String>) {
        let planned = stage.condition.clone();
        let Some(run) = self.state else { return (planned, None) };
        let is_open = planned.as_ref().is_some_and(|when| when.verdict().holds.is_none());
        let is_done = |name: &String| run.result_of(name).is_some();
        if !is_open || !stage.deferred.iter().all(is_done) {
            return (planned, None);
        }
        let started = run.started_at.or(run.queued_at);
        let facts = RunFacts {
            number: run.number,
            id: run.run.map(|run| run.to_string()).unwrap_or_default(),
            url: String::new(),
            attempt: 1,
            started: started
                .map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
                .unwrap_or_default(),
        };
        match pipeline::settle(self.plan, stage, &finished(run), &facts) {
            Ok(settled) => (Some(settled), None),
            Err(unresolved) => (planned, Some(unresolved.to_string())),
        }
    }
}

/// What the stages that are done ended with.
fn finished(run: &RunState) -> BTreeMap<String, Finished> {
    let done = run.stages.iter().filter_map(|(name, stage)| match stage.phase {
        Phase::Done(result) => {
            let (result, outputs) = (result.name().to_owned(), stage.outputs.clone());
            Some((name.clone(), Finished { result, outputs }))
        }
        Phase::Waiting | Phase::Running => None,
    });
    done.collect()
}

#[cfg(test)]
#[path = "why/tests.rs"]
mod tests;
