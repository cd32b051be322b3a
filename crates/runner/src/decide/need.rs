//! What a stage waits for, as the table of the language looks at it.

use std::collections::BTreeMap;

use event::{Phase, StageResult};
use pipeline::{Finished, NeedResult, NeedState};

use super::{Next, Pass};
use crate::schedule::On;
use crate::when;

impl Pass<'_> {
    /// The cells of a group that stand for all: the first that is not done, or the
    /// first of each result. They all come before what needs the group, so that
    /// nothing about them changes any more in this pass.
    pub(super) fn cells(&self, group: usize) -> &[usize] {
        self.groups[group].get_or_init(|| {
            let mut firsts: Vec<usize> = Vec::new();
            for cell in self.schedule.cells(group) {
                if !matches!(self.phases[*cell], Phase::Done(_)) {
                    return vec![*cell];
                }
                if firsts.iter().all(|first| self.phases[*first] != self.phases[*cell]) {
                    firsts.push(*cell);
                }
            }
            firsts
        })
    }

    /// The needs of a stage as the table of the language looks at them.
    pub(super) fn needs(&self, index: usize) -> impl Iterator<Item = NeedState<'_>> {
        self.schedule.node(index).needs.iter().flat_map(|need| {
            let cells = match &need.on {
                On::Stage(index) => std::slice::from_ref(index),
                On::Group(group) => self.cells(*group),
            };
            cells.iter().map(|cell| NeedState {
                name: &self.schedule.stage(*cell).name,
                result: self.need_result(*cell),
                must_run: need.must_run,
            })
        })
    }

    pub(super) fn need_result(&self, index: usize) -> NeedResult<'_> {
        let Phase::Done(result) = self.phases[index] else { return NeedResult::Open };
        match result {
            StageResult::Passed | StageResult::Unchanged | StageResult::Warning => NeedResult::Good,
            StageResult::Failed
            | StageResult::TimedOut
            | StageResult::ResourceLimit
            | StageResult::InfraError => NeedResult::Failed,
            // Its reason already names the first cause.
            StageResult::Blocked => NeedResult::Blocked(self.reason_of(index)),
            StageResult::Cancelled if self.has_run(index) => NeedResult::Cancelled,
            StageResult::Cancelled => NeedResult::Unstarted,
            StageResult::Skipped => NeedResult::Skipped,
        }
    }

    pub(super) fn has_run(&self, index: usize) -> bool {
        let stage = self.state.stage(&self.schedule.stage(index).name);
        stage.is_some_and(|stage| !stage.attempts.is_empty())
    }

    /// Decides a `when` that reads what other stages ended with; `None` when it holds.
    pub(super) fn deferred(&mut self, index: usize) -> Option<Next> {
        let (stage, node) = (self.schedule.stage(index), self.schedule.node(index));
        if node.holds.get().is_some() || !when::is_open(stage) {
            return None;
        }
        let finished = self.finished.take().unwrap_or_else(|| self.all_finished());
        let facts = when::facts(self.state, self.schedule, 1);
        let decided = when::decide(self.schedule.plan(), stage, &finished, &facts);
        self.finished = Some(finished);
        match decided {
            Ok(None) => {
                node.holds.get_or_init(|| ());
                None
            }
            Ok(Some(reason)) => Some(Next::Skip(reason)),
            Err(reason) => Some(Next::Fail(reason)),
        }
    }

    /// What the stages that are done ended with, by name.
    pub(super) fn all_finished(&self) -> BTreeMap<String, Finished> {
        let done = self.phases.iter().enumerate().filter_map(|(index, phase)| match phase {
            Phase::Done(result) => Some((index, *result)),
            Phase::Waiting | Phase::Running => None,
        });
        done.map(|(index, result)| {
            let name = &self.schedule.stage(index).name;
            let outputs = self.outputs.get(&index).cloned().unwrap_or_else(|| {
                self.state.stage(name).map(|stage| stage.outputs.clone()).unwrap_or_default()
            });
            (name.clone(), when::finished(result, outputs))
        })
        .collect()
    }

    pub(super) fn reason_of(&self, index: usize) -> &str {
        if let Some(reason) = self.reasons.get(&index) {
            return reason;
        }
        self.state
            .stage(&self.schedule.stage(index).name)
            .and_then(|stage| stage.reason.as_deref())
            .unwrap_or_default()
    }
}
