//! Concurrency groups of stages and of whole runs.

use std::time::Duration;

use event::{EventKind, RunId};
use pipeline::{Concurrency, OnNew, PlannedStage};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::Lab;
use crate::Observation;
use crate::testing::{plan, queued, stage_running};

fn other() -> RunId {
    RunId::new(Uuid::from_u128(0x019c_a8e0_0000_7000_8000_0000_0000_0b0b))
}

fn grouped(name: &str, limit: u32, seconds: u64) -> PlannedStage {
    let concurrency = Concurrency { group: "board".to_owned(), limit, on_new: OnNew::Queue };
    let stage = stage_running(name, &[], &[&format!("sleep {seconds}")]);
    PlannedStage { concurrency: Some(concurrency), ..stage }
}

#[tokio::test(start_paused = true)]
async fn as_many_stages_of_a_group_run_at_a_time_as_it_says() {
    let mut lab = Lab::new(vec![grouped("a", 1, 60), grouped("b", 1, 60), grouped("c", 1, 60)]);
    let begun = Instant::now();
    assert!(lab.told().await.ends_with("run passed"));
    assert!((180..190).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(lab.backend.peak(), 1);
    let waits = ["a", "b", "c"].map(|stage| lab.printed(stage));
    let short = crate::testing::run_id().short();
    let last = format!(" of run {short}, position 2 in the queue\n");
    assert_eq!(waits.iter().filter(|said| said.contains(&last)).count(), 1, "{waits:?}");
    assert_eq!(waits.iter().filter(|said| said.is_empty()).count(), 1, "{waits:?}");

    let mut two = Lab::new(vec![grouped("a", 2, 60), grouped("b", 2, 60), grouped("c", 2, 60)]);
    two.told().await;
    assert_eq!(two.backend.peak(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_time_in_the_queue_is_not_the_time_of_the_stage() {
    let mut patient = grouped("a", 1, 10);
    patient.timeout = pipeline::Duration::from_secs(20);
    let mut lab = Lab::new(vec![patient]);
    lab.journal.occupy("board", other(), true);
    let journal = lab.journal.clone();
    let (told, ()) = tokio::join!(lab.told(), async {
        sleep(Duration::from_secs(100)).await;
        journal.occupy("board", other(), false);
    });
    assert_eq!(told, "a passed\nrun passed");
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_waits_is_cancelled_like_any_other() {
    let mut lab = Lab::new(vec![grouped("a", 1, 60)]);
    lab.journal.occupy("board", other(), true);
    let cancel = lab.cancel.clone();
    let (told, ()) = tokio::join!(lab.told(), async {
        sleep(Duration::from_secs(30)).await;
        cancel.cancel();
    });
    assert_eq!(told, "a cancelled\nrun cancelled");
    assert_eq!(lab.backend.started(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_stage_gives_way_to_a_newer_run_and_the_others_go_on() {
    let mut lab = Lab::new(vec![grouped("a", 1, 600), stage_running("b", &[], &["sleep 60"])]);
    let journal = lab.journal.clone();
    let (told, ()) = tokio::join!(lab.told(), async {
        sleep(Duration::from_secs(30)).await;
        journal.supersede("board", other());
    });
    let short = other().short();
    assert_eq!(
        told,
        format!(
            "a cancelled: run {short} is newer and takes its place in the group `board`\nb passed\nrun cancelled"
        )
    );
    assert!(lab.backend.calls().contains(&"stop a 10s".to_owned()));
}

/// A run of the group `board`, with what is said while it waits.
fn whole_run(stages: Vec<PlannedStage>) -> (Lab, mpsc::Receiver<Observation>) {
    let mut plan = plan(stages);
    let on_new = OnNew::CancelRunning;
    plan.concurrency = Some(Concurrency { group: "board".to_owned(), limit: 1, on_new });
    let (observer, heard) = mpsc::channel(1024);
    let lab = Lab::after(vec![queued(plan)]);
    (lab.configured(|config| config.observer = Some(observer)), heard)
}

#[tokio::test(start_paused = true)]
async fn a_run_begins_when_it_holds_its_group_and_its_own_stages_are_not_in_the_way() {
    let (mut lab, mut heard) = whole_run(vec![grouped("a", 1, 5)]);
    lab.journal.occupy("board", other(), true);
    let journal = lab.journal.clone();
    let begun = Instant::now();
    let (told, ()) = tokio::join!(lab.told(), async {
        sleep(Duration::from_secs(100)).await;
        journal.occupy("board", other(), false);
    });
    assert_eq!(told, "a passed\nrun passed");
    assert!((105..110).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    let Some(Observation::Waiting(line)) = heard.recv().await else { panic!("it is told first") };
    let short = other().short();
    assert_eq!(
        line,
        format!("waits for the group `board`: held by run {short}, position 1 in the queue")
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_can_be_cancelled() {
    let (mut lab, _heard) = whole_run(vec![stage_running("a", &[], &["true"])]);
    lab.journal.occupy("board", other(), true);
    let cancel = lab.cancel.clone();
    let (told, ()) = tokio::join!(lab.told(), async {
        sleep(Duration::from_secs(30)).await;
        cancel.cancel();
    });
    assert_eq!(told, "a cancelled: interrupted\nrun cancelled");
    assert_eq!(lab.backend.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_run_gives_way_to_a_newer_one() {
    let (mut lab, _heard) = whole_run(vec![stage_running("a", &[], &["sleep 600"])]);
    let journal = lab.journal.clone();
    let (told, ()) = tokio::join!(lab.told(), async {
        sleep(Duration::from_secs(30)).await;
        journal.supersede("board", other());
    });
    assert_eq!(told, "a cancelled\nrun cancelled");
    let asked = lab.journal.events().into_iter().find_map(|event| match event.kind {
        EventKind::CancelRequested { reason, by } => Some((reason, by)),
        _ => None,
    });
    let (reason, by) = asked.unwrap();
    assert!(reason.starts_with(&format!("run {} is newer", other().short())));
    assert_eq!(by, "concurrency");
}
