//! Stages that are attempted again.

use std::time::Duration;

use event::{Event, EventKind};
use pipeline::{AllowFailure, PlannedStage, Retry, RetryOn};
use tokio::time::Instant;

use super::Lab;
use crate::backend::LayerId;
use crate::backend::fake::{FakeBackend, Script};
use crate::testing::{self, checkout, stage};

fn with_retry(stage: PlannedStage, max: u32, on: Vec<RetryOn>) -> PlannedStage {
    PlannedStage { retry: Retry { max, on, ..Retry::builtin() }, ..stage }
}

/// The attempts of a stage, as `NUMBER RESULT`.
fn attempts(events: &[Event], of: &str) -> Vec<String> {
    let ended = events.iter().filter_map(|event| match &event.kind {
        EventKind::AttemptFinished { stage, attempt, result, .. } if stage == of => {
            Some(format!("{attempt} {result}"))
        }
        _ => None,
    });
    ended.collect()
}

#[tokio::test(start_paused = true)]
async fn what_the_infrastructure_broke_is_repeated_once_after_a_pause() {
    let backend = FakeBackend::default()
        .with_attempts("compile", vec![Script::lost("the engine restarted"), Script::exit(0)])
        .with("test", Script::broken("no space left"));
    let mut lab =
        Lab::new(vec![checkout(), stage("compile", &["checkout"]), stage("test", &["compile"])])
            .on(backend);
    let begun = Instant::now();
    assert_eq!(
        lab.told().await,
        "checkout passed\ncompile passed\ntest infra-error: fake: no space left\nrun infra-error"
    );
    assert!(begun.elapsed() >= Duration::from_secs(10), "two pauses of five seconds");
    let events = lab.journal.events();
    assert_eq!(attempts(&events, "compile"), ["1 infra-error", "2 passed"]);
    assert_eq!(attempts(&events, "test"), ["1 infra-error", "2 infra-error"]);
    // What the last attempt wrote is what others stand on.
    let specs = lab.backend.specs();
    let layer = |index, attempt| LayerId { run: testing::run_id(), index, attempt };
    let compiled = layer(1, 2);
    assert_eq!(specs[2].lower, [compiled, layer(0, 1)]);
    assert_eq!(specs[1].env["SHIPLINE_ATTEMPT"], "2");
    assert!(specs[1].name.ends_with("-compile-2"), "{}", specs[1].name);
}

#[tokio::test(start_paused = true)]
async fn an_exit_is_repeated_as_often_as_it_is_named_and_allowed_at_the_end() {
    let mut flaky = with_retry(stage("flaky", &[]), 2, vec![RetryOn::Exit(vec![75])]);
    flaky.allow_failure = Some(AllowFailure::ExitCodes(vec![75]));
    let backend = FakeBackend::default().with("flaky", Script::exit(75));
    let mut lab = Lab::new(vec![flaky.clone()]).on(backend);
    assert_eq!(lab.told().await, "flaky warning: exit 75\nrun warning");
    let events = lab.journal.events();
    assert_eq!(attempts(&events, "flaky"), ["1 failed", "2 failed", "3 failed"]);

    let backend = FakeBackend::default()
        .with_attempts("flaky", vec![Script::exit(75), Script::exit(1), Script::exit(0)]);
    let mut lab = Lab::new(vec![flaky]).on(backend);
    assert_eq!(lab.told().await, "flaky failed: exit 1\nrun failed");
}

#[tokio::test(start_paused = true)]
async fn a_time_out_is_repeated_with_all_of_its_time() {
    let mut slow = with_retry(stage("slow", &[]), 1, vec![RetryOn::Timeout]);
    slow.timeout = pipeline::Duration::from_secs(60);
    let minute = Duration::from_secs(59);
    let backend = FakeBackend::default()
        .with_attempts("slow", vec![Script::hang(), Script::exit(0).after(minute)]);
    let mut lab = Lab::new(vec![slow]).on(backend);
    assert_eq!(lab.told().await, "slow passed\nrun passed");
    assert_eq!(attempts(&lab.journal.events(), "slow"), ["1 timed-out", "2 passed"]);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_repeats_nothing_and_does_not_wait_out_the_pause() {
    let backend = FakeBackend::default().with("a", Script::lost("the engine restarted"));
    let mut lab = Lab::new(vec![stage("a", &[])]).on(backend);
    let cancel = lab.cancel.clone();
    let cancelling = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(2)).await;
        cancel.cancel();
    });
    let begun = Instant::now();
    assert_eq!(lab.told().await, "a cancelled\nrun cancelled");
    assert!(begun.elapsed() < Duration::from_secs(4));
    cancelling.await.unwrap();
    assert_eq!(lab.backend.started().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_comes_back_is_used() {
    let backend = FakeBackend::default().with_engine_that_comes_back();
    let mut lab = Lab::new(vec![stage("a", &[])]).on(backend);
    assert_eq!(lab.told().await, "a passed\nrun passed");
}
