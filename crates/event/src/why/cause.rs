//! The way from a stage to the first cause of what became of it.

use pipeline::{
    Decision, EdgeReason, Fate, NeedResult, NeedState, Origin, OriginKind, PlannedStage,
};

use super::{Link, Looked, State};
use crate::StageResult;

impl<'a> Looked<'a> {
    /// From this stage to the one whose own doing it was; empty when it is its own.
    pub(super) fn chain(self, stage: &'a PlannedStage) -> Vec<Link> {
        let mut chain = Vec::new();
        let mut next = self.cause(stage);
        if next.is_some() {
            chain.push(self.link(stage));
        }
        // Every step goes up in the plan, so it ends.
        while let Some(stage) = next {
            chain.push(self.link(stage));
            next = self.cause(stage);
        }
        chain
    }

    fn link(self, stage: &PlannedStage) -> Link {
        let state = self.state(stage);
        let origin = match state {
            State::WouldBeSkipped | State::Done(StageResult::Skipped) => self.refusal(stage),
            State::Done(result) if result.is_failure() => action(stage),
            _ => None,
        };
        Link { stage: stage.name.clone(), state, reason: self.reason(stage), origin }
    }

    /// Where the test is written that does not hold.
    fn refusal(self, stage: &PlannedStage) -> Option<Origin> {
        let condition = self.condition(stage).0?;
        let mut tests = condition.any.iter().flat_map(|alternative| &alternative.all);
        tests.find(|test| test.holds == Some(false)).map(|test| test.origin.clone())
    }

    /// The need that decided about a stage.
    fn cause(self, stage: &'a PlannedStage) -> Option<&'a PlannedStage> {
        let needs: Vec<(&PlannedStage, EdgeReason, bool)> = self.needs(stage).collect();
        let states: Vec<NeedState<'_>> = needs
            .iter()
            .map(|(need, _, must_run)| NeedState {
                name: &need.name,
                result: self.result(need),
                must_run: *must_run,
            })
            .collect();
        let is = |wanted: fn(&NeedState<'_>) -> bool| {
            states.iter().position(wanted).map(|index| needs[index].0)
        };
        let is_failed = |need: &NeedState<'_>| need.result == NeedResult::Failed;
        let is_blocked = |need: &NeedState<'_>| matches!(need.result, NeedResult::Blocked(_));
        let is_missing = |need: &NeedState<'_>| {
            let missing = matches!(need.result, NeedResult::Skipped | NeedResult::Blocked(_));
            need.must_run && missing
        };
        match self.state(stage) {
            // The plan knows what is skipped, and nothing of what fails.
            State::WouldBeSkipped => {
                let told = |need: &&(&PlannedStage, EdgeReason, bool)| {
                    need.2
                        && need.0.state == Decision::Skip
                        && stage.reason.contains(&quoted(need.0))
                };
                needs.iter().find(told).map(|need| need.0)
            }
            State::Done(StageResult::Blocked) => is(is_failed).or_else(|| is(is_blocked)),
            State::Done(StageResult::Skipped | StageResult::Cancelled) => {
                match pipeline::fate(stage.run_on, states.iter().copied()) {
                    Fate::Skip(_) => is(is_missing),
                    Fate::Cancel(_) if self.is_cancelled_alone() => {
                        is(|need| need.result == NeedResult::Cancelled)
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Whether stages were cancelled though the run was not.
    fn is_cancelled_alone(self) -> bool {
        self.state.is_some_and(|run| run.cancel.is_none())
    }

    fn result(self, stage: &PlannedStage) -> NeedResult<'a> {
        let run = self.state;
        match self.state(stage) {
            State::WouldBeSkipped | State::Done(StageResult::Skipped) => NeedResult::Skipped,
            State::Done(result) if result.is_good() => NeedResult::Good,
            State::Done(StageResult::Blocked) => {
                let reason = run.and_then(|run| run.stage(&stage.name)?.reason.as_deref());
                NeedResult::Blocked(reason.unwrap_or_default())
            }
            State::Done(StageResult::Cancelled) => NeedResult::Cancelled,
            State::Done(_) => NeedResult::Failed,
            _ => NeedResult::Open,
        }
    }
}

fn quoted(stage: &PlannedStage) -> String {
    format!("`{}`", stage.name)
}

/// Where the action of a stage is written.
fn action(stage: &PlannedStage) -> Option<Origin> {
    let action = stage.work.action().name();
    let of_action = stage.origins.iter().filter(|(path, origin)| {
        let path = path.split('.').next().unwrap_or(path);
        path == action && origin.by != OriginKind::Builtin
    });
    let first = of_action.min_by_key(|(_, origin)| (origin.line, origin.column));
    first.map(|(_, origin)| origin.clone())
}
