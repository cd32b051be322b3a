use event::{Event, EventKind, RunState};

use super::{Lab, check, told};
use crate::backend::fake::{FakeBackend, Script};
use crate::testing::{checkout, stage, stage_running};

/// The journal of a run with a bit of everything.
async fn journal() -> Vec<Event> {
    let mut lab = Lab::new(vec![
        checkout(),
        stage("compile", &["checkout"]),
        stage_running("lint", &["checkout"], &["exit 1"]),
        stage("test", &["compile"]),
        stage("report", &["lint"]),
        stage("image", &["test"]),
    ]);
    lab.told().await;
    lab.journal.events()
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_after_any_event_leaves_a_run_that_ends() {
    let events = journal().await;
    for length in 1..events.len() {
        let before = events[..length].to_vec();
        let state = RunState::fold(&before).unwrap();
        let begun = state.stages.values().any(|stage| !stage.attempts.is_empty());
        let mut lab = Lab::after(before.clone());
        lab.told().await;
        let after = lab.journal.events();
        check(&after);
        assert_eq!(after[..length], before, "what was written stays");
        if begun {
            assert_eq!(lab.backend.started(), [""; 0], "nothing runs again after event {length}");
        } else {
            assert_eq!(lab.backend.started().len(), 5, "nothing was lost after event {length}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_ran_when_the_process_died_is_an_infra_error() {
    let all = {
        let mut lab = Lab::new(vec![
            checkout(),
            stage_running("slow", &["checkout"], &["sleep 60"]),
            stage("after", &["slow"]),
            stage("aside", &["checkout"]),
        ])
        .configured(|config| config.concurrency = 1);
        lab.told().await;
        lab.journal.events()
    };
    let started = all.iter().position(
        |event| matches!(&event.kind, EventKind::AttemptStarted { stage, .. } if stage == "slow"),
    );
    let mut lab = Lab::after(all[..=started.unwrap()].to_vec());
    assert_eq!(
        lab.told().await,
        "checkout passed\n\
         slow infra-error: shipline was stopped while this stage ran\n\
         after blocked: `slow` failed\n\
         aside infra-error: shipline was stopped before this stage could run\n\
         run infra-error"
    );
    assert_eq!(lab.backend.calls(), ["clean"], "what the dead process left is removed");
}

#[tokio::test(start_paused = true)]
async fn a_failure_before_the_process_died_is_still_the_verdict() {
    let events = journal().await;
    let failed = events.iter().position(
        |event| matches!(&event.kind, EventKind::StageFinished { stage, .. } if stage == "lint"),
    );
    let mut lab = Lab::after(events[..=failed.unwrap()].to_vec());
    assert!(lab.told().await.ends_with("run failed"));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_has_ended_is_not_run_again() {
    let events = journal().await;
    let mut lab = Lab::after(events.clone());
    let outcome = lab.run().await.unwrap();
    assert_eq!(Some(outcome.result), RunState::fold(&events).unwrap().result);
    assert_eq!(lab.journal.events(), events);
    assert_eq!(lab.backend.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_stood_in_the_queue_holds_after_a_restart() {
    let events = journal().await;
    let mut cancelled = events[..1].to_vec();
    let kind = EventKind::CancelRequested { reason: "not needed".to_owned(), by: "jo".to_owned() };
    cancelled.push(Event { seq: 2, kind, ..events[1].clone() });
    let mut lab = Lab::after(cancelled);
    let told_now = lab.told().await;
    assert!(told_now.starts_with("checkout cancelled: not needed\n"), "{told_now}");
    assert!(told_now.ends_with("run cancelled"));
    assert_eq!(told(&lab.journal.events()), told_now);
}

#[tokio::test(start_paused = true)]
async fn a_dead_process_whose_objects_cannot_be_removed_still_gets_its_verdict() {
    let events = journal().await;
    let mut lab = Lab::after(events[..4].to_vec())
        .on(FakeBackend::default().with_failing_clean("gone").with("a", Script::hang()));
    let outcome = lab.run().await.unwrap();
    assert_eq!(outcome.result, event::RunResult::InfraError);
    assert_eq!(outcome.left_behind.as_deref(), Some("fake: gone"));
}
