//! A run that cannot be executed: it ends, and every stage says why.

use chrono::Utc;
use event::{
    Event, EventKind, FORMAT, Outputs, Phase, RunId, RunResult, RunState, StageResult, Stream,
};
use runner::{Journal, JournalError};

/// Why a run is not executed.
pub(super) struct Refusal {
    /// The stage whose fault it is; without one it is nobody's of the pipeline.
    pub(super) stage: Option<String>,
    pub(super) reason: String,
}

/// Ends a run: the refused stage fails, what is not done is blocked, and nothing
/// is executed.
pub(super) async fn refuse(
    journal: &dyn Journal,
    run: RunId,
    state: &RunState,
    refusal: &Refusal,
) -> Result<(), JournalError> {
    let mut kinds = Vec::new();
    if state.started_at.is_none() {
        kinds.push(EventKind::RunStarted { by: state.by.clone() });
    }
    let open = state.stages.iter().filter(|(_, stage)| !matches!(stage.phase, Phase::Done(_)));
    for (name, _) in open {
        kinds.push(if refusal.stage.as_ref() == Some(name) {
            EventKind::StageFinished {
                stage: name.clone(),
                result: StageResult::Failed,
                reason: Some(refusal.reason.clone()),
                outputs: Outputs::new(),
                reused: None,
                duration_ms: 0,
            }
        } else {
            let reason = match &refusal.stage {
                Some(stage) => format!("the run was refused because of `{stage}`"),
                None => refusal.reason.clone(),
            };
            EventKind::StageBlocked { stage: name.clone(), reason }
        });
    }
    let result = if refusal.stage.is_some() { RunResult::Failed } else { RunResult::InfraError };
    kinds.push(EventKind::RunFinished { result, duration_ms: 0 });
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

    async fn refused(refusal: &Refusal) -> RunState {
        let stages =
            vec![checkout(), stage("compile", &["checkout"]), stage("deploy", &["compile"])];
        let first = queued(plan(stages));
        let state = RunState::fold([&first]).expect("one event");
        let journal = MemoryJournal::holding(vec![first]);
        refuse(&journal, run_id(), &state, refusal).await.expect("written");
        RunState::fold(&journal.events()).expect("legal")
    }

    fn reason<'a>(state: &'a RunState, stage: &str) -> Option<&'a str> {
        state.stage(stage)?.reason.as_deref()
    }

    #[tokio::test]
    async fn a_refused_run_is_failed_with_the_reason_at_its_stage() {
        let said = "error[E062]: not granted";
        let refusal = Refusal { stage: Some("deploy".to_owned()), reason: said.to_owned() };
        let state = refused(&refusal).await;
        assert_eq!(state.result, Some(RunResult::Failed));
        assert_eq!(state.result_of("deploy"), Some(StageResult::Failed));
        assert_eq!(state.result_of("compile"), Some(StageResult::Blocked));
        assert_eq!(reason(&state, "deploy"), Some(said));
        let blocked = Some("the run was refused because of `deploy`");
        assert_eq!(reason(&state, "compile"), blocked);
    }

    #[tokio::test]
    async fn a_run_that_no_runner_understands_is_nobodys_fault_of_the_pipeline() {
        let state = refused(&Refusal { stage: None, reason: "not schedulable".to_owned() }).await;
        assert_eq!(state.result, Some(RunResult::InfraError));
        for stage in ["checkout", "compile", "deploy"] {
            assert_eq!(state.result_of(stage), Some(StageResult::Blocked));
            assert_eq!(reason(&state, stage), Some("not schedulable"));
        }
    }
}
