//! A run that must not begin: it ends, with the reason at the stage that has it.

use chrono::Utc;
use event::{Event, EventKind, FORMAT, Outputs, Phase, RunId, RunResult, RunState, StageResult, Stream};
use runner::{Journal, JournalError};

use super::execute::Refusal;

/// Ends a run that was never started: the refused stage fails, the others are
/// blocked by it, and nothing of it was executed.
pub(super) async fn refuse(
    journal: &dyn Journal,
    run: RunId,
    state: &RunState,
    refusal: &Refusal,
) -> Result<(), JournalError> {
    let mut kinds = vec![EventKind::RunStarted { by: state.by.clone() }];
    kinds.push(EventKind::StageFinished {
        stage: refusal.stage.clone(),
        result: StageResult::Failed,
        reason: Some(refusal.reason.clone()),
        outputs: Outputs::new(),
        duration_ms: 0,
    });
    let others = state.stages.iter().filter(|(name, stage)| {
        **name != refusal.stage && !matches!(stage.phase, Phase::Done(_))
    });
    kinds.extend(others.map(|(name, _)| EventKind::StageBlocked {
        stage: name.clone(),
        reason: format!("the run was refused because of `{}`", refusal.stage),
    }));
    kinds.push(EventKind::RunFinished { result: RunResult::Failed, duration_ms: 0 });
    let at = Utc::now();
    let events: Vec<Event> = (state.seq + 1..)
        .zip(kinds)
        .map(|(seq, kind)| Event { format: FORMAT, seq, at, stream: Stream::Run(run), kind })
        .collect();
    journal.append(&events).await
}

#[cfg(test)]
mod tests {
    use runner::testing::{MemoryJournal, checkout, plan, queued, run_id, stage};

    use super::*;

    #[tokio::test]
    async fn a_refused_run_is_failed_with_the_reason_at_its_stage() {
        let first = queued(plan(vec![checkout(), stage("compile", &["checkout"]), stage("deploy", &["compile"])]));
        let state = RunState::fold([&first]).expect("one event");
        let journal = MemoryJournal::holding(vec![first]);
        let refusal = Refusal { stage: "deploy".to_owned(), reason: "error[E062]: not granted".to_owned() };
        refuse(&journal, run_id(), &state, &refusal).await.expect("written");

        let state = RunState::fold(&journal.events()).expect("legal");
        assert_eq!(state.result, Some(RunResult::Failed));
        assert_eq!(state.result_of("deploy"), Some(StageResult::Failed));
        assert_eq!(state.result_of("compile"), Some(StageResult::Blocked));
        let reason = state.stage("deploy").and_then(|stage| stage.reason.as_deref());
        assert_eq!(reason, Some("error[E062]: not granted"));
    }
}
