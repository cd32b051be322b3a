use std::time::Duration;

use event::{EventKind, RunResult};
use pipeline::{PlannedStage, RunOn};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Lab;
use crate::backend::fake::{FakeBackend, Script};
use crate::testing::{checkout, stage, stage_running};

fn always(stage: PlannedStage) -> PlannedStage {
    PlannedStage { run_on: RunOn::Always, ..stage }
}

/// Runs `lab` and cancels `token` after `seconds`.
async fn cancelled_after(lab: &mut Lab, token: CancellationToken, seconds: u64) -> String {
    let cancel = async {
        sleep(Duration::from_secs(seconds)).await;
        token.cancel();
    };
    tokio::join!(lab.told(), cancel).0
}

#[tokio::test(start_paused = true)]
async fn cancelling_tells_what_runs_and_waits_for_its_end() {
    let mut lab = Lab::new(vec![stage_running("a", &[], &["sleep 600"]), stage("b", &["a"])]);
    let cancel = lab.cancel.clone();
    let begun = Instant::now();
    let told = cancelled_after(&mut lab, cancel, 5).await;
    assert_eq!(told, "b cancelled: interrupted\na cancelled\nrun cancelled");
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert_eq!(lab.backend.calls(), ["prepare", "start a", "stop a 10s", "clean"]);
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_ignores_term_is_killed_after_its_grace() {
    let backend = FakeBackend::default().with("a", Script::hang().ignoring_term());
    let mut lab = Lab::new(vec![stage("a", &[])]).on(backend);
    let cancel = lab.cancel.clone();
    let begun = Instant::now();
    assert_eq!(cancelled_after(&mut lab, cancel, 5).await, "a cancelled\nrun cancelled");
    assert_eq!(begun.elapsed().as_secs(), 15);
}

#[tokio::test(start_paused = true)]
async fn a_second_interrupt_leaves_no_grace() {
    let backend = FakeBackend::default().with("a", Script::hang().ignoring_term());
    let mut lab = Lab::new(vec![stage("a", &[])]).on(backend);
    let cancel = lab.cancel.clone();
    let kill = lab.config.as_ref().unwrap().kill.clone();
    let begun = Instant::now();
    let killing = async {
        sleep(Duration::from_secs(6)).await;
        kill.cancel();
    };
    let (told, ()) = tokio::join!(cancelled_after(&mut lab, cancel, 5), killing);
    assert_eq!(told, "a cancelled\nrun cancelled");
    assert_eq!(begun.elapsed().as_secs(), 6);
    assert_eq!(lab.backend.calls(), ["prepare", "start a", "stop a 10s", "stop a 0s", "clean"]);
}

#[tokio::test(start_paused = true)]
async fn killing_without_cancelling_first_cancels_too() {
    let mut lab = Lab::new(vec![stage_running("a", &[], &["sleep 600"]), stage("b", &["a"])]);
    let kill = lab.config.as_ref().unwrap().kill.clone();
    let told = cancelled_after(&mut lab, kill, 5).await;
    assert_eq!(told, "b cancelled: interrupted\na cancelled\nrun cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_run_cancelled_before_it_begins_starts_nothing_and_still_ends() {
    let mut lab = Lab::new(vec![checkout(), stage("a", &["checkout"])]);
    lab.cancel.cancel();
    assert_eq!(
        lab.told().await,
        "checkout cancelled: interrupted\na cancelled: interrupted\nrun cancelled"
    );
    assert_eq!(lab.backend.calls(), [""; 0], "nobody needs an engine for that");
}

#[tokio::test(start_paused = true)]
async fn the_note_says_who_cancelled_and_why() {
    let mut lab = Lab::new(vec![stage_running("a", &[], &["sleep 600"])]).configured(|config| {
        config.cancel_note.write("a newer commit was pushed", "the queue");
        config.cancel_note.write("too late", "nobody");
    });
    let cancel = lab.cancel.clone();
    cancelled_after(&mut lab, cancel, 1).await;
    let noted = lab.journal.events().into_iter().find_map(|event| match event.kind {
        EventKind::CancelRequested { reason, by } => Some((reason, by)),
        _ => None,
    });
    assert_eq!(noted, Some(("a newer commit was pushed".to_owned(), "the queue".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_checkout_that_is_cancelled_ends_as_cancelled() {
    let backend = FakeBackend::default().with("checkout", Script::hang());
    let mut lab = Lab::new(vec![checkout(), stage("a", &["checkout"])]).on(backend);
    let cancel = lab.cancel.clone();
    let told = cancelled_after(&mut lab, cancel, 5).await;
    assert_eq!(told, "a cancelled: interrupted\ncheckout cancelled\nrun cancelled");
}

#[tokio::test(start_paused = true)]
async fn an_observer_who_never_reads_cannot_hold_up_a_kill() {
    let (observer, _never_read) = mpsc::channel(1);
    let mut lab = Lab::new(vec![stage_running("a", &[], &["echo 1", "echo 2", "sleep 600"])])
        .configured(|config| config.observer = Some(observer));
    let kill = lab.config.as_ref().unwrap().kill.clone();
    let begun = Instant::now();
    let told = cancelled_after(&mut lab, kill, 5).await;
    assert!(told.ends_with("run cancelled"), "{told}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn cancelling_when_everything_has_passed_changes_nothing() {
    let mut lab = Lab::new(vec![stage("a", &[])]);
    let outcome = lab.run().await.unwrap();
    lab.cancel.cancel();
    assert_eq!(outcome.result, RunResult::Passed);
}

#[tokio::test(start_paused = true)]
async fn what_cleans_up_runs_after_cancelling_and_has_two_minutes() {
    let mut quick = Lab::new(vec![
        stage_running("a", &[], &["sleep 600"]),
        always(stage_running("teardown", &["a"], &["sleep 30"])),
    ]);
    let cancel = quick.cancel.clone();
    let begun = Instant::now();
    let told = cancelled_after(&mut quick, cancel, 5).await;
    assert_eq!(told, "a cancelled\nteardown passed\nrun cancelled");
    assert_eq!(begun.elapsed().as_secs(), 35);
    let calls = ["prepare", "start a", "stop a 10s", "start teardown", "seal 1.1", "clean"];
    assert_eq!(quick.backend.calls(), calls, "it cleans up before we do");

    let mut slow = Lab::new(vec![
        stage_running("a", &[], &["sleep 600"]),
        always(stage_running("teardown", &["a"], &["sleep 600"])),
        always(stage_running("last", &["teardown"], &["sleep 1"])),
    ]);
    let cancel = slow.cancel.clone();
    let begun = Instant::now();
    let told = cancelled_after(&mut slow, cancel, 5).await;
    assert_eq!(
        told,
        "a cancelled\n\
         teardown cancelled: not done within 2 minutes after the cancellation\n\
         last cancelled: not begun within 2 minutes after the cancellation\n\
         run cancelled"
    );
    assert_eq!(begun.elapsed().as_secs(), 125);
}

#[tokio::test(start_paused = true)]
async fn a_second_interrupt_kills_what_cleans_up() {
    let mut lab = Lab::new(vec![
        stage_running("a", &[], &["sleep 600"]),
        always(stage_running("teardown", &["a"], &["trap '' TERM", "sleep 600"])),
        always(stage_running("last", &["teardown"], &["sleep 1"])),
    ]);
    let (cancel, kill) = (lab.cancel.clone(), lab.config.as_ref().unwrap().kill.clone());
    let begun = Instant::now();
    let killing = async {
        sleep(Duration::from_secs(15)).await;
        kill.cancel();
    };
    let (told, ()) = tokio::join!(cancelled_after(&mut lab, cancel, 5), killing);
    assert_eq!(told, "a cancelled\nlast cancelled: interrupted\nteardown cancelled\nrun cancelled");
    assert_eq!(begun.elapsed().as_secs(), 15);
}

#[tokio::test(start_paused = true)]
async fn the_time_between_term_and_kill_is_the_stages_own() {
    let backend = FakeBackend::default().with("a", Script::hang().ignoring_term());
    let mut patient = stage("a", &[]);
    patient.cancel_grace = pipeline::Duration::from_secs(60);
    let mut lab = Lab::new(vec![patient]).on(backend);
    let cancel = lab.cancel.clone();
    let begun = Instant::now();
    assert_eq!(cancelled_after(&mut lab, cancel, 5).await, "a cancelled\nrun cancelled");
    assert_eq!(begun.elapsed().as_secs(), 65);
    assert_eq!(lab.backend.calls(), ["prepare", "start a", "stop a 60s", "clean"]);
}
