use event::RunResult;

use super::*;
use crate::samples::{Sample, at, new_run};
use crate::{NewRun, RunRow};

fn grouped(limit: u32, on_new: OnNew, minute: i64) -> NewRun {
    let mut new = new_run("orders", "main", at(minute));
    new.plan.concurrency = Some(Concurrency { group: "board".into(), limit, on_new });
    new
}

async fn queued(sample: &Sample, limit: u32, on_new: OnNew) -> RunRow {
    sample.store.queue_run(grouped(limit, on_new, 0)).await.expect("queued")
}

async fn leased(store: &Store) -> Option<RunId> {
    store.lease_next("here", at(0)).await.expect("leased").map(|row| row.id)
}

fn stage(row: &RunRow, stage: &str, position: u32, limit: u32) -> GroupEntry {
    let concurrency = Concurrency { group: "db".into(), limit, on_new: OnNew::Queue };
    let (run, project) = (row.id, row.project.clone());
    GroupEntry { run, project, stage: Some(stage.into()), position, concurrency }
}

#[tokio::test]
async fn runs_of_a_group_are_leased_one_after_the_other_and_others_pass_by() {
    let sample = Sample::new().await;
    let first = queued(&sample, 1, OnNew::Queue).await;
    let second = queued(&sample, 1, OnNew::Queue).await;
    let third = queued(&sample, 1, OnNew::Queue).await;
    let free = sample.run("orders", "main", at(1)).await;
    // As two servers would, that share the store.
    let again = sample.again().await;
    assert_eq!(leased(&sample.store).await, Some(first.id));
    assert_eq!(leased(&again).await, Some(free.id));
    assert_eq!(leased(&again).await, None);
    let queues = sample.store.queues_of(third.id).await.expect("read");
    assert_eq!(
        queues[0].1.to_string(),
        format!(
            "waits for the group `board`: held by run {}, position 2 in the queue",
            first.id.short()
        )
    );
    sample.finish(&first, RunResult::Passed).await;
    assert_eq!(leased(&again).await, Some(second.id));
    assert_eq!(leased(&sample.store).await, None);
    sample.finish(&second, RunResult::Failed).await;
    assert_eq!(leased(&sample.store).await, Some(third.id));
    assert_eq!(sample.store.queues_of(third.id).await.expect("read"), []);
}

#[tokio::test]
async fn a_run_that_is_put_back_keeps_its_place() {
    let sample = Sample::new().await;
    let first = queued(&sample, 1, OnNew::Queue).await;
    let second = queued(&sample, 1, OnNew::Queue).await;
    assert_eq!(leased(&sample.store).await, Some(first.id));
    assert!(sample.store.requeue(first.id).await.expect("written"));
    assert_eq!(leased(&sample.store).await, Some(first.id));
    assert_eq!(leased(&sample.store).await, None);
    drop(second);
}

#[tokio::test]
async fn a_new_run_supersedes_what_runs_and_nothing_that_waits() {
    let sample = Sample::new().await;
    let first = queued(&sample, 1, OnNew::CancelRunning).await;
    assert_eq!(leased(&sample.store).await, Some(first.id));
    let second = queued(&sample, 1, OnNew::CancelRunning).await;
    let third = queued(&sample, 1, OnNew::CancelRunning).await;
    let superseded = async |row: &RunRow| {
        let plan = grouped(1, OnNew::CancelRunning, 0).plan;
        let entry =
            GroupEntry::of_run(row.id, &row.project, plan.concurrency.as_ref()).expect("a group");
        sample.store.superseded(&entry).await.expect("read")
    };
    assert_eq!(superseded(&first).await, Some(second.id), "the first that came counts");
    assert_eq!(superseded(&second).await, None);
    sample.finish(&first, RunResult::Cancelled).await;
    assert_eq!(leased(&sample.store).await, Some(second.id));
    assert_eq!(superseded(&second).await, None, "it began after the third had come");
    drop(third);
}

#[tokio::test]
async fn stages_take_turns_whoever_asks_first_and_leave_when_they_end() {
    let sample = Sample::new().await;
    let first = sample.run("orders", "main", at(0)).await;
    let second = sample.run("orders", "main", at(1)).await;
    let again = sample.again().await;
    let (old, new) = (stage(&first, "test", 3, 1), stage(&second, "test", 3, 1));
    assert_eq!(sample.store.enter_group(&new, at(0)).await.expect("asked"), None);
    let waits = again.enter_group(&old, at(0)).await.expect("asked").expect("it waits");
    assert_eq!((waits.position, waits.holders[0].run), (1, second.id));
    assert_eq!(sample.store.enter_group(&new, at(0)).await.expect("asked"), None);
    sample.store.leave_group(&new).await.expect("left");
    sample.store.leave_group(&new).await.expect("again changes nothing");
    let waits = sample.store.enter_group(&new, at(1)).await.expect("asked");
    assert_eq!(waits.expect("the older goes first").position, 2);
    assert_eq!(again.enter_group(&old, at(1)).await.expect("asked"), None);
    sample.finish(&first, RunResult::Passed).await;
    assert_eq!(sample.store.enter_group(&new, at(2)).await.expect("asked"), None);
    assert_eq!(sample.store.runs_in_groups().await.expect("read"), [second.id]);
    sample.store.leave_groups(second.id).await.expect("left");
    assert_eq!(sample.store.runs_in_groups().await.expect("read"), []);
}

#[tokio::test]
async fn groups_of_projects_are_separate() {
    let sample = Sample::new().await;
    let ours = sample.run("orders", "main", at(0)).await;
    let theirs = sample.run("other", "main", at(1)).await;
    for row in [&ours, &theirs] {
        let entered = sample.store.enter_group(&stage(row, "test", 1, 1), at(0)).await;
        assert_eq!(entered.expect("asked"), None);
    }
}
