//! Durable runs whose process dies: another one goes on with them.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use event::{Event, EventKind, RunState, StageResult};
use futures_util::FutureExt;
use pipeline::PlannedStage;
use serde_json::json;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{check, told};
use crate::backend::fake::{FakeBackend, Script};
use crate::run::run_from;
use crate::testing::{
    MemoryJournal, checkout, config, plan, queued, stage, stage_of, stage_running,
};
use crate::{Outcome, RunConfig, log_path, read_frames, run};

/// A durable run, over any number of processes.
struct Lab {
    backend: FakeBackend,
    journal: Arc<MemoryJournal>,
    output: tempfile::TempDir,
    cancel: CancellationToken,
    /// When it all began, for everybody.
    begun: (Instant, DateTime<Utc>),
}

impl Lab {
    fn new(stages: Vec<PlannedStage>) -> Self {
        let begun = (Instant::now(), Utc::now());
        Self {
            backend: FakeBackend::default().with_clock(begun.1),
            journal: Arc::new(MemoryJournal::holding(vec![queued(plan(stages))])),
            output: tempfile::tempdir().unwrap(),
            cancel: CancellationToken::new(),
            begun,
        }
    }

    fn on(self, backend: FakeBackend) -> Self {
        Self { backend: backend.with_clock(self.begun.1), ..self }
    }

    /// The same run, with somebody else to cancel it.
    fn again(&self) -> Self {
        Self {
            backend: self.backend.clone(),
            journal: self.journal.clone(),
            output: tempfile::tempdir().unwrap(),
            cancel: CancellationToken::new(),
            begun: self.begun,
        }
    }

    fn config(&self) -> RunConfig {
        let mut config = config(&self.journal.events(), self.output.path());
        config.durable = true;
        config
    }

    async fn process(&self) -> Outcome {
        let (backend, journal) = (Arc::new(self.backend.clone()), self.journal.clone());
        let now = self.begun.1 + self.begun.0.elapsed();
        let run = run_from(now, self.config(), backend, journal, self.cancel.clone());
        run.boxed().await.unwrap()
    }

    /// A process that dies after so long.
    async fn dies_after(&self, time: Duration) {
        assert!(timeout(time, self.process()).await.is_err(), "it has ended before");
        tokio::task::yield_now().await;
    }

    /// The last process: how all went.
    async fn told(&self) -> String {
        let outcome = self.process().await;
        let events = self.journal.events();
        check(&events);
        assert_eq!(RunState::fold(&events).unwrap().result, Some(outcome.result));
        assert_eq!(self.backend.violations(), [""; 0]);
        assert!(self.backend.running().is_empty() && self.backend.serving().is_empty());
        told(&events)
    }

    fn printed(&self, stage: &str, attempt: u32) -> String {
        let frames = read_frames(&log_path(self.output.path(), stage, attempt)).unwrap();
        let mut offset = 0;
        let texts = frames.map(|frame| {
            let frame = frame.unwrap();
            let event::FrameBody::Text(text) = frame.body else { panic!("bytes") };
            assert_eq!(frame.offset, offset, "no byte twice, none left out");
            offset += text.len() as u64;
            text
        });
        texts.collect()
    }

    /// The events that tell of a stage, without those of its end.
    fn count(&self, which: impl Fn(&EventKind) -> bool) -> usize {
        self.journal.events().iter().filter(|event| which(&event.kind)).count()
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_running_stage_is_joined_and_the_run_goes_on_to_its_end() {
    let lab = Lab::new(vec![
        checkout(),
        stage_running("long", &["checkout"], &["echo one", "sleep 10", "echo two", "sleep 10"]),
        stage("after", &["long"]),
    ]);
    lab.dies_after(seconds(5)).await;
    lab.dies_after(seconds(8)).await;
    assert_eq!(lab.told().await, "checkout passed\nlong passed\nafter passed\nrun passed");
    assert_eq!(lab.printed("long", 1), "one\ntwo\n");
    let runs = lab.backend.witnessed();
    assert_eq!(runs.iter().map(|seen| seen.stage.as_str()).collect::<Vec<_>>(), ["long", "after"]);
    let started = |kind: &EventKind| matches!(kind, EventKind::AttemptStarted { stage, .. } if stage == "long");
    assert_eq!(lab.count(started), 1);
    let long = lab.journal.events().into_iter().find_map(|event| match event.kind {
        EventKind::AttemptFinished { stage, duration_ms, .. } if stage == "long" => {
            Some(duration_ms)
        }
        _ => None,
    });
    assert!(long.is_some(), "it is told how long it took");
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_ended_while_nobody_was_there_is_read() {
    let lab = Lab::new(vec![
        checkout(),
        stage_running("bad", &["checkout"], &["sleep 5", "echo oops", "exit 7"]),
    ]);
    lab.dies_after(seconds(2)).await;
    tokio::time::sleep(seconds(60)).await;
    assert_eq!(lab.told().await, "checkout passed\nbad failed: exit 7\nrun failed");
    assert_eq!(lab.printed("bad", 1), "oops\n");
    assert_eq!(lab.backend.witnessed().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_outlives_the_process_that_set_it() {
    let mut slow = stage_running("slow", &["checkout"], &["sleep 600"]);
    slow.timeout = pipeline::Duration::from_secs(60);
    let lab = Lab::new(vec![checkout(), slow]);
    let begun = Instant::now();
    for _ in 0..3 {
        lab.dies_after(seconds(15)).await;
    }
    let told = lab.told().await;
    assert!(told.contains("slow timed-out: timed out after 1m"), "{told}");
    assert!(begun.elapsed() < seconds(62), "{:?}", begun.elapsed());
    let seen = &lab.backend.witnessed()[0];
    assert!(seen.ended.unwrap() - seen.begun >= seconds(59));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_is_written_holds_and_a_new_one_is_heard() {
    let stages = || {
        let mut clean = stage_running("clean", &["slow"], &["echo clean"]);
        clean.run_on = pipeline::RunOn::Always;
        vec![checkout(), stage_running("slow", &["checkout"], &["sleep 600"]), clean]
    };
    let lab = Lab::new(stages());
    lab.dies_after(seconds(5)).await;
    lab.cancel.cancel();
    let expected = "checkout passed\nslow cancelled\nclean passed\nrun cancelled";
    assert_eq!(lab.told().await, expected);

    // The process dies right after the cancel is written.
    let backend = FakeBackend::default().with("slow", Script::hang().ignoring_term());
    let lab = Lab::new(stages()).on(backend);
    lab.dies_after(seconds(5)).await;
    let cancelled = lab.again();
    cancelled.cancel.cancel();
    cancelled.dies_after(seconds(1)).await;
    let begun = Instant::now();
    assert_eq!(lab.told().await, expected);
    assert!(begun.elapsed() <= seconds(11), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_vanished_is_infrastructure_and_repeated_once() {
    let lab = Lab::new(vec![checkout(), stage_running("long", &["checkout"], &["sleep 20"])]);
    lab.dies_after(seconds(5)).await;
    // Somebody takes everything away.
    let other = lab.backend.clone();
    use crate::backend::Backend as _;
    other.sweep("test", &[]).await.unwrap();
    other
        .seal(
            &crate::backend::RunContext::aside("test"),
            crate::backend::LayerId { run: crate::testing::run_id(), index: 0, attempt: 1 },
        )
        .await
        .unwrap();
    let told = lab.told().await;
    assert_eq!(told, "checkout passed\nlong passed\nrun passed");
    let reasons: Vec<String> = lab
        .journal
        .events()
        .into_iter()
        .filter_map(|event| match event.kind {
            EventKind::AttemptFinished { reason, result: StageResult::InfraError, .. } => reason,
            _ => None,
        })
        .collect();
    assert_eq!(reasons, ["the container vanished while shipline was away"]);
    assert_eq!(lab.backend.witnessed().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_has_effects_outside_is_not_joined() {
    let build = json!({"action": "build", "context": ".", "file": "Dockerfile"});
    let backend = FakeBackend::default().with("image", Script::exit(0).after(seconds(20)));
    let lab = Lab::new(vec![checkout(), stage_of("image", &["checkout"], build)]).on(backend);
    lab.dies_after(seconds(5)).await;
    let told = lab.told().await;
    assert!(told.contains("image passed"), "{told}");
    let reasons = lab.count(|kind| {
        matches!(kind, EventKind::AttemptFinished { reason: Some(reason), .. }
            if reason == "shipline was stopped while this stage ran")
    });
    assert_eq!(reasons, 1, "{told}");
}

#[tokio::test(start_paused = true)]
async fn services_go_on_beside_their_stage() {
    let ready = json!({"probe": {"tcp": 5432}, "timeout": "30s"});
    let services = json!({"db": {"image": "postgres:12", "ready": ready}});
    let work = json!({"action": "run", "image": "busybox:1", "run": ["sleep 20"],
        "services": services});
    let lab = Lab::new(vec![checkout(), stage_of("test", &["checkout"], work)]);
    lab.dies_after(seconds(5)).await;
    assert_eq!(lab.backend.serving().len(), 1, "they are still there");
    assert_eq!(lab.told().await, "checkout passed\ntest passed\nrun passed");
    let calls = lab.backend.calls();
    assert_eq!(calls.iter().filter(|call| *call == "serve test").count(), 1, "{calls:?}");
    let ready = lab.count(|kind| matches!(kind, EventKind::ServiceReady { .. }));
    assert_eq!(ready, 1);
}

/// The journal of a run with a bit of everything, cut after any event: what is on the engine
/// is of the process that went on, and the end is that of a run that nobody disturbed.
#[tokio::test(start_paused = true)]
async fn a_process_that_dies_at_any_time_leaves_a_run_that_goes_on() {
    let stages = || {
        let mut flaky = stage_running("flaky", &["checkout"], &["sleep 3", "exit 75"]);
        flaky.retry.max = 1;
        flaky.retry.on = vec![pipeline::RetryOn::Exit(vec![75])];
        vec![
            checkout(),
            stage_running("compile", &["checkout"], &["echo a", "sleep 4", "echo b >made"]),
            flaky,
            stage_running("test", &["compile"], &["cat made", "sleep 2"]),
            stage("report", &["flaky"]),
        ]
    };
    let undisturbed = Lab::new(stages());
    let expected = undisturbed.told().await;
    let count = undisturbed.backend.witnessed().len();
    for quarter in 1..60 {
        let lab = Lab::new(stages());
        let time = Duration::from_millis(250 * quarter);
        if timeout(time, lab.process()).await.is_err() {
            tokio::task::yield_now().await;
            let mut lines: Vec<String> = lab.told().await.lines().map(str::to_owned).collect();
            let mut wanted: Vec<String> = expected.lines().map(str::to_owned).collect();
            lines.sort();
            wanted.sort();
            assert_eq!(lines, wanted, "after {time:?}");
        }
        assert_eq!(lab.backend.witnessed().len(), count, "nothing runs twice after {time:?}");
        assert_eq!(lab.printed("compile", 1), "a\n");
        assert_eq!(lab.printed("test", 1), "b\n");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_journal_breaks_stands_still_and_goes_on_later() {
    let stages = vec![checkout(), stage_running("long", &["checkout"], &["echo x", "sleep 5"])];
    let events: Vec<Event> = vec![queued(plan(stages))];
    let output = tempfile::tempdir().unwrap();
    let backend = FakeBackend::default();
    let broken = Arc::new(MemoryJournal::breaking_at(events.clone(), 8));
    let mut first = config(&events, output.path());
    first.durable = true;
    let failed = run(first, Arc::new(backend.clone()), broken.clone(), CancellationToken::new());
    assert!(failed.boxed().await.is_err());
    assert!(!backend.calls().contains(&"clean".to_owned()), "{:?}", backend.calls());
    let lab = Lab::new(Vec::new()).on(backend);
    let lab = Lab { output, journal: Arc::new(MemoryJournal::holding(broken.events())), ..lab };
    assert_eq!(lab.told().await, "checkout passed\nlong passed\nrun passed");
    assert_eq!(lab.backend.witnessed().len(), 1);
}
