//! Deferred conditions, and what they and pending values read of the run.

use std::collections::BTreeMap;

use chrono::SecondsFormat;
use event::{Outputs, RunState, StageResult};
use pipeline::{Finished, Plan, PlannedStage, RunFacts};

use crate::schedule::Schedule;

/// How a stage ended, as expressions see it.
pub(crate) fn finished(result: StageResult, outputs: Outputs) -> Finished {
    Finished { result: result.name().to_owned(), outputs }
}

/// The run itself, as `run` reads it.
pub(crate) fn facts(state: &RunState, schedule: &Schedule, attempt: u32) -> RunFacts {
    let (id, url) = (schedule.run.to_string(), schedule.run_url.clone());
    RunFacts { id, url, ..facts_of(state, attempt) }
}

/// The run itself, as far as its events tell it.
pub(crate) fn facts_of(state: &RunState, attempt: u32) -> RunFacts {
    let started = state.started_at.or(state.queued_at);
    RunFacts {
        number: state.number,
        id: state.run.map(|run| run.to_string()).unwrap_or_default(),
        url: String::new(),
        attempt,
        started: started
            .map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
            .unwrap_or_default(),
    }
}

/// Whether the `when` of a stage could not be decided before the run.
pub(crate) fn is_open(stage: &PlannedStage) -> bool {
    stage.condition.as_ref().is_some_and(|condition| condition.verdict().holds.is_none())
}

/// Decides a deferred `when`: `None` when it holds, else why not. The error says
/// why it cannot be decided.
pub(crate) fn decide(
    plan: &Plan,
    stage: &PlannedStage,
    finished: &BTreeMap<String, Finished>,
    facts: &RunFacts,
) -> Result<Option<String>, String> {
    match pipeline::settle(plan, stage, finished, facts) {
        Ok(condition) => {
            let verdict = condition.verdict();
            Ok((verdict.holds != Some(true)).then_some(verdict.reason))
        }
        Err(unresolved) => {
            let pipeline::Origin { file, line, column, .. } = &unresolved.origin;
            let pipeline::Unresolved { code, message, .. } = &unresolved;
            Err(format!(
                "its `when` cannot be decided: {message} ({code} at {file}:{line}:{column})"
            ))
        }
    }
}
