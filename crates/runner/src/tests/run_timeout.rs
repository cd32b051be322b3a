//! The deadline of a whole run.

use std::time::Duration;

use event::EventKind;
use pipeline::{PlannedStage, RunOn};
use tokio::time::{Instant, sleep};

use super::Lab;
use crate::backend::fake::{FakeBackend, Script};
use crate::testing::{plan, queued, stage, stage_running};

/// A run of `stages` that may take a minute.
fn lab(stages: Vec<PlannedStage>) -> Lab {
    let mut plan = plan(stages);
    plan.run_timeout = pipeline::Duration::from_secs(60);
    let origin =
        serde_json::json!({"file": ".shipline.yml", "line": 2, "column": 14, "by": "file"});
    plan.origins.insert("run-timeout".to_owned(), serde_json::from_value(origin).unwrap());
    Lab::after(vec![queued(plan)])
}

const REASON: &str = "the run took longer than 1m (`run-timeout` at .shipline.yml:2:14)";

#[tokio::test(start_paused = true)]
async fn what_runs_is_timed_out_what_waits_never_begins_and_what_cleans_up_has_two_minutes() {
    let always = |stage: PlannedStage| PlannedStage { run_on: RunOn::Always, ..stage };
    let mut lab = lab(vec![
        stage_running("quick", &[], &["sleep 10"]),
        stage_running("slow", &[], &["sleep 600"]),
        stage("after", &["slow"]),
        PlannedStage { run_on: RunOn::Failure, ..stage("report", &["slow"]) },
        always(stage_running("teardown", &["slow"], &["sleep 30"])),
        always(stage_running("last", &["teardown"], &["sleep 600"])),
    ]);
    let begun = Instant::now();
    assert_eq!(
        lab.told().await,
        format!(
            "quick passed\n\
             after timed-out: {REASON}\n\
             report timed-out: {REASON}\n\
             slow timed-out: {REASON}\n\
             teardown passed\n\
             last cancelled: not done within 2 minutes after the time of the run\n\
             run failed"
        )
    );
    assert_eq!(begun.elapsed().as_secs(), 60 + 120);
    let events = lab.journal.events();
    let told = events.iter().filter(|event| matches!(event.kind, EventKind::RunTimedOut { .. }));
    assert_eq!(told.count(), 1);
    let code = events.iter().find_map(|event| match &event.kind {
        EventKind::AttemptFinished { stage, code, .. } if stage == "slow" => code.clone(),
        _ => None,
    });
    assert_eq!(code.as_deref(), Some("E093"));
    assert!(lab.backend.calls().contains(&"stop slow 10s".to_owned()), "TERM, and its grace");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_stage_comes_first_when_it_is_earlier() {
    let mut timed = stage_running("a", &[], &["sleep 600"]);
    timed.timeout = pipeline::Duration::from_secs(20);
    let mut lab = lab(vec![timed, stage_running("b", &[], &["sleep 59"])]);
    assert_eq!(
        lab.told().await,
        "a timed-out: timed out after 20s, without output\nb passed\nrun failed"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_repeated_when_the_time_is_over() {
    let mut again = stage("a", &[]);
    again.retry.max = 5;
    again.retry.on = vec![pipeline::RetryOn::Infrastructure, pipeline::RetryOn::Timeout];
    let script = Script::hang();
    let mut lab = lab(vec![again]).on(FakeBackend::default().with("a", script));
    assert_eq!(lab.told().await, format!("a timed-out: {REASON}\nrun failed"));
    assert_eq!(lab.backend.started().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pause_before_another_attempt_ends_with_the_time_of_the_run() {
    let mut again = stage("a", &[]);
    again.retry.backoff = pipeline::Duration::from_secs(60);
    let broken = Script::broken("connection reset").after(Duration::from_secs(10));
    let mut lab = lab(vec![again]).on(FakeBackend::default().with("a", broken));
    let begun = Instant::now();
    assert_eq!(lab.told().await, format!("a timed-out: {REASON}\nrun failed"));
    assert_eq!(begun.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_before_the_time_is_over_is_a_cancel() {
    let mut lab = lab(vec![stage_running("a", &[], &["trap '' TERM", "sleep 600"])]);
    let cancel = lab.cancel.clone();
    let (told, ()) = tokio::join!(lab.told(), async {
        sleep(Duration::from_secs(55)).await;
        cancel.cancel();
    });
    assert_eq!(told, "a cancelled\nrun cancelled");
    let events = lab.journal.events();
    assert!(!events.iter().any(|event| matches!(event.kind, EventKind::RunTimedOut { .. })));
}
