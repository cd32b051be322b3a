//! Deferred conditions, and what they and pending values read of the run.

use std::collections::BTreeMap;

use chrono::SecondsFormat;
use event::{Outputs, RunState, StageResult};
use pipeline::{Condition, Finished, Plan, PlannedStage, RunFacts};

use crate::schedule::Schedule;

/// How a stage ended, as expressions see it.
pub(crate) fn finished(result: StageResult, outputs: Outputs) -> Finished {
    Finished { result: result.name().to_owned(), outputs }
}

/// The run itself, as `run` reads it.
pub(crate) fn facts(state: &RunState, schedule: &Schedule, attempt: u32) -> RunFacts {
    let started = state.started_at.or(state.queued_at);
    RunFacts {
        number: state.number,
        id: schedule.run.to_string(),
        url: schedule.run_url.clone(),
        attempt,
        started: started
            .map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
            .unwrap_or_default(),
    }
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
        Ok(condition) => Ok(refusal(&condition)),
        Err(unresolved) => {
            let pipeline::Origin { file, line, column, .. } = &unresolved.origin;
            let pipeline::Unresolved { code, message, .. } = &unresolved;
            Err(format!(
                "its `when` cannot be decided: {message} ({code} at {file}:{line}:{column})"
            ))
        }
    }
}

/// Why no alternative holds, in the words of the plan.
fn refusal(condition: &Condition) -> Option<String> {
    let mut reasons = Vec::new();
    for alternative in &condition.any {
        match alternative.all.iter().find(|test| test.holds != Some(true)) {
            None => return None,
            Some(test) => reasons.push(test.reason.as_str()),
        }
    }
    Some(reasons.join("; "))
}
