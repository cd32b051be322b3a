use std::time::{Duration, Instant};

use event::{DeploymentId, RunResult, StageResult};
use uuid::Uuid;

use super::*;
use crate::RunStatus;
use crate::samples::{Sample, at, event, mail, queued, run_id};

fn started() -> EventKind {
    EventKind::RunStarted { by: "here".into() }
}

fn finished() -> EventKind {
    EventKind::RunFinished { result: RunResult::Failed, duration_ms: 41_000 }
}

fn cancel() -> EventKind {
    EventKind::CancelRequested { reason: "no".into(), by: "me".into() }
}

#[tokio::test]
async fn what_is_appended_is_read_in_order_from_anywhere() {
    let sample = Sample::new().await;
    let run = sample.run("orders", "main", at(0)).await.id;
    let events = [event(run, 2, started()), event(run, 3, cancel()), event(run, 4, finished())];
    sample.store.append(&events[..2], &[]).await.expect("appended");
    sample.store.append(&events[2..], &[]).await.expect("appended");

    let read = |after, limit| {
        let store = sample.store.clone();
        async move { store.events(Stream::Run(run), after, limit).await.expect("read") }
    };
    assert_eq!(read(1, 10).await, events);
    assert_eq!(read(2, 1).await, events[1..2]);
    assert_eq!(read(4, 10).await, []);
    assert_eq!(read(0, 1).await[0].seq, 1);
}

#[tokio::test]
async fn the_row_of_a_run_shows_what_its_events_say() {
    let sample = Sample::new().await;
    let run = sample.run("orders", "main", at(0)).await.id;
    let shown = || async {
        let row = queued(&sample.store, run).await;
        (row.status, row.result, row.started_at, row.finished_at, row.seq)
    };
    assert_eq!(shown().await, (RunStatus::Queued, None, None, None, 1));
    sample.store.append(&[event(run, 2, started())], &[]).await.expect("appended");
    assert_eq!(shown().await, (RunStatus::Running, None, Some(at(2)), None, 2));
    // A run that is taken up again says so again, and began when it began.
    sample.store.append(&[event(run, 3, started())], &[]).await.expect("appended");
    assert_eq!(shown().await, (RunStatus::Running, None, Some(at(2)), None, 3));
    sample.store.append(&[event(run, 4, finished())], &[]).await.expect("appended");
    let failed = Some(RunResult::Failed);
    assert_eq!(shown().await, (RunStatus::Finished, failed, Some(at(2)), Some(at(4)), 4));
    assert_eq!(sample.store.unfinished_runs().await.expect("read"), []);
}

#[tokio::test]
async fn of_two_appenders_one_wins_and_the_other_changes_nothing() {
    let sample = Sample::new().await;
    let run = sample.run("orders", "main", at(0)).await.id;
    let other = sample.again().await;
    let a = sample.store.clone();
    let first = tokio::spawn(async move { a.append(&[event(run, 2, started())], &[]).await });
    let second = tokio::spawn(async move {
        other
            .append(&[event(run, 2, cancel()), event(run, 3, finished())], &[mail("m", at(3))])
            .await
    });
    let results = [first.await.expect("no panic"), second.await.expect("no panic")];
    let lost: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert!(matches!(lost[..], [AppendError::Conflict { seq: 2, next: 3 | 4 }]), "{results:?}");
    let events = sample.store.events(Stream::Run(run), 1, 10).await.expect("read");
    let mails = sample.store.outbox(10).await.expect("read").len();
    match results[0] {
        Ok(()) => assert_eq!((events, mails), (vec![event(run, 2, started())], 0)),
        Err(_) => assert_eq!((events.len(), mails), (2, 1)),
    }
}

#[tokio::test]
async fn sequence_numbers_have_no_gaps() {
    let sample = Sample::new().await;
    let run = sample.run("orders", "main", at(0)).await.id;
    let error = sample.store.append(&[event(run, 3, started())], &[]).await.expect_err("refused");
    assert_eq!(error.to_string(), "event 3 was already written by somebody else; the next is 2");
    let gap = [event(run, 2, started()), event(run, 4, finished())];
    let error = sample.store.append(&gap, &[]).await.expect_err("refused");
    assert_eq!(error.to_string(), "event 4 follows event 2 in one append");
    assert_eq!(queued(&sample.store, run).await.seq, 1);
}

#[tokio::test]
async fn a_run_ends_once_and_nothing_follows() {
    let sample = Sample::new().await;
    let run = sample.run("orders", "main", at(0)).await.id;
    let twice = [event(run, 2, finished()), event(run, 3, finished())];
    let error = sample.store.append(&twice, &[]).await.expect_err("refused");
    assert!(matches!(error, AppendError::Ended(_)), "{error:?}");
    sample.store.append(&twice[..1], &[]).await.expect("appended");
    // Who did not see the end is told so: that others were first.
    let error = sample.store.append(&[event(run, 2, cancel())], &[]).await.expect_err("refused");
    assert!(matches!(error, AppendError::Conflict { seq: 2, next: 3 }), "{error:?}");
    for late in [finished(), cancel()] {
        let error = sample.store.append(&[event(run, 3, late)], &[]).await.expect_err("refused");
        assert_eq!(error.to_string(), format!("run {run} has ended"));
    }
}

#[tokio::test]
async fn the_database_itself_keeps_a_stream_from_ending_twice() {
    let sample = Sample::new().await;
    let run = sample.run("orders", "main", at(0)).await.id;
    sample.store.append(&[event(run, 2, finished())], &[]).await.expect("appended");
    let mut transaction = sample.store.write().await.expect("begun");
    let error = insert(&mut transaction, &event(run, 3, finished())).await.expect_err("refused");
    let StoreError::Database(error) = error else { panic!("{error:?}") };
    assert!(crate::error::is_duplicate(&error), "{error:?}");
}

#[tokio::test]
async fn an_event_of_a_run_nobody_queued_is_refused() {
    let sample = Sample::new().await;
    let run = run_id();
    let error = sample.store.append(&[event(run, 1, started())], &[]).await.expect_err("refused");
    assert_eq!(error.to_string(), format!("nothing is known of run {run}"));
    let deployment = DeploymentId::new(Uuid::now_v7());
    let stray = Event { stream: Stream::Deployment(deployment), ..event(run, 1, started()) };
    let error = sample.store.append(&[stray], &[]).await.expect_err("refused");
    assert_eq!(error.to_string(), format!("nothing is known of deployment {deployment}"));
}

#[tokio::test]
async fn what_an_append_returned_for_survives_the_process() {
    let sample = Sample::new().await;
    let run = sample.run("orders", "main", at(0)).await.id;
    sample.store.append(&[event(run, 2, started())], &[mail("m", at(2))]).await.expect("appended");

    // As a crash leaves them: the files as they are, with the log not yet
    // moved into the database, and nobody who closes anything.
    let crashed = tempfile::tempdir().expect("directory");
    for name in ["state.db", "state.db-wal"] {
        std::fs::copy(sample.directory.path().join(name), crashed.path().join(name)).expect(name);
    }
    let store = Store::open(&crashed.path().join("state.db")).await.expect("opened");
    assert_eq!(store.instance(), sample.store.instance());
    assert_eq!(
        store.events(Stream::Run(run), 1, 10).await.expect("read"),
        [event(run, 2, started())]
    );
    assert_eq!(store.outbox(10).await.expect("read").len(), 1);
    let left = store.unfinished_runs().await.expect("read");
    assert_eq!((left.len(), left[0].id, left[0].status), (1, run, RunStatus::Running));
}

#[tokio::test]
async fn a_transaction_that_is_dropped_leaves_nothing() {
    let sample = Sample::new().await;
    let run = sample.run("orders", "main", at(0)).await.id;
    let mut transaction = sample.store.write().await.expect("begun");
    append(&mut transaction, &[event(run, 2, started())]).await.expect("appended");
    drop(transaction);
    assert_eq!(queued(&sample.store, run).await.status, RunStatus::Queued);
    sample.store.append(&[event(run, 2, cancel())], &[]).await.expect("appended");
}

#[tokio::test]
async fn the_state_of_a_run_is_told_from_its_events_however_many() {
    let sample = Sample::new().await;
    let run = sample.run("orders", "main", at(0)).await.id;
    let cancels: Vec<Event> = (2..=2_500).map(|seq| event(run, seq, cancel())).collect();
    sample.store.append(&cancels, &[]).await.expect("appended");
    let state = sample.store.run_state(run).await.expect("told");
    assert_eq!((state.run, state.number, state.seq), (Some(run), 1, 2_500));
    assert_eq!(state.cancel.as_deref(), Some("no"));
    assert_eq!(sample.store.run_state(run_id()).await.expect("told").run, None);
}

#[tokio::test]
async fn a_history_that_contradicts_itself_is_named() {
    let sample = Sample::new().await;
    let run = sample.run("orders", "main", at(0)).await.id;
    let skipped = EventKind::StageSkipped { stage: "nowhere".into(), reason: "x".into() };
    sample.store.append(&[event(run, 2, skipped)], &[]).await.expect("appended");
    let error = sample.store.run_state(run).await.expect_err("refused");
    assert_eq!(error.to_string(), format!("the events of run {run} contradict each other"));
}

#[tokio::test]
async fn an_event_of_a_newer_format_is_refused_and_not_misread() {
    let sample = Sample::new().await;
    let run = sample.run("orders", "main", at(0)).await.id;
    let newer = Event { format: event::FORMAT + 1, ..event(run, 2, started()) };
    sample.store.append(&[newer], &[]).await.expect("appended");
    let error = sample.store.events(Stream::Run(run), 0, 10).await.expect_err("refused");
    assert_eq!(
        error.to_string(),
        format!("event 2 of run {run} has format 2; this version reads up to 1")
    );
}

#[tokio::test]
async fn a_short_foreign_lock_is_invisible() {
    let sample = Sample::new().await;
    let run = sample.run("orders", "main", at(0)).await.id;
    let foreign = sample.again().await.write().await.expect("locked");
    let store = sample.store.clone();
    let append = tokio::spawn(async move { store.append(&[event(run, 2, started())], &[]).await });
    // The other one really has to wait: SQLite's own clock counts here.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!append.is_finished());
    foreign.rollback().await.expect("released");
    append.await.expect("no panic").expect("appended");
}

#[tokio::test]
async fn fifty_thousand_events_are_appended() {
    let sample = Sample::new().await;
    let run = sample.run("orders", "main", at(0)).await.id;
    let output = |seq| {
        let kind = EventKind::StageFinished {
            stage: format!("stage-{seq}"),
            result: StageResult::Passed,
            reason: None,
            outputs: event::Outputs::new(),
            reused: None,
            duration_ms: seq,
        };
        event(run, seq, kind)
    };
    let began = Instant::now();
    let mut seq = 2;
    for _ in 0..500 {
        let events: Vec<Event> = (seq..seq + 100).map(output).collect();
        sample.store.append(&events, &[]).await.expect("appended");
        seq += 100;
    }
    let grouped = began.elapsed();
    let began = Instant::now();
    for _ in 0..500 {
        sample.store.append(&[output(seq)], &[]).await.expect("appended");
        seq += 1;
    }
    let single = began.elapsed();
    println!("50,000 events in groups of 100: {grouped:.1?}; 500 events one by one: {single:.1?}");
    assert_eq!(queued(&sample.store, run).await.seq, seq - 1);
    let last = sample.store.events(Stream::Run(run), seq - 2, 10).await.expect("read");
    assert_eq!(last, [output(seq - 1)]);
}
