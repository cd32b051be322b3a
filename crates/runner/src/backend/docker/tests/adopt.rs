//! Runs on the real engine whose process dies: what it left is joined, or read, and nothing
//! runs twice.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use event::{Event, EventKind, FrameBody, OutputStream, RunId, RunState, StageResult, Stream};
use futures_util::FutureExt;
use pipeline::PlannedStage;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, IMAGE};
use crate::backend::contract;
use crate::backend::docker::{DockerBackend, LayerMode};
use crate::testing::{MemoryJournal, checkout, config, plan, queued, stage_of, stage_running};
use crate::{Outcome, RunError, Workspace, log_path, read_frames, run};

/// A durable run on the engine, over any number of processes.
struct Durable {
    bench: Bench,
    journal: Arc<MemoryJournal>,
    folder: tempfile::TempDir,
    cancel: CancellationToken,
    mode: LayerMode,
}

type Process = JoinHandle<Result<Outcome, RunError>>;

impl Durable {
    async fn new(stages: Vec<PlannedStage>) -> Self {
        let bench = Bench::empty().await;
        let mut first = queued(plan(stages));
        first.stream = Stream::Run(bench.run.run);
        let journal = Arc::new(MemoryJournal::holding(vec![first]));
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tree")).unwrap();
        std::fs::write(folder.path().join("tree/file"), "here\n").unwrap();
        let (cancel, mode) = (CancellationToken::new(), LayerMode::Auto);
        Self { bench, journal, folder, cancel, mode }
    }

    fn run(&self) -> RunId {
        self.bench.run.run
    }

    /// A process that knows nothing but the journal.
    async fn process(&self) -> Process {
        let backend = DockerBackend::connect(None).await.unwrap().with_layers(self.mode);
        let mut config = config(&self.journal.events(), &self.folder.path().join("output"));
        config.run = self.run();
        config.instance.clone_from(&self.bench.run.instance);
        config.workspace = Workspace::Tree(self.folder.path().join("tree"));
        config.artifacts = self.folder.path().join("artifacts");
        config.durable = true;
        let (journal, cancel) = (self.journal.clone(), self.cancel.clone());
        tokio::spawn(run(config, Arc::new(backend), journal, cancel).boxed())
    }

    /// Waits for an event.
    async fn until(&self, which: impl Fn(&EventKind) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.journal.events().iter().any(|event| which(&event.kind)) {
            assert!(Instant::now() < deadline, "{:#?}", self.journal.events());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn until_started(&self, name: &str) {
        let is_start = |kind: &EventKind| matches!(kind, EventKind::AttemptStarted { stage, .. } if stage == name);
        self.until(is_start).await;
    }

    /// Runs until the stage has started and so long after that, and dies.
    async fn dies_in(&self, stage: &str, after: Duration) {
        let process = self.process().await;
        self.until_started(stage).await;
        tokio::time::sleep(after).await;
        assert!(!process.is_finished(), "it ended before");
        process.abort();
        drop(process.await);
    }

    async fn ends(&self) -> RunState {
        let outcome = tokio::time::timeout(Duration::from_secs(90), self.process().await).await;
        let outcome = outcome.expect("the run ends").unwrap().unwrap();
        assert_eq!(outcome.left_behind, None);
        assert_eq!(self.bench.objects().await, [""; 0]);
        RunState::fold(&self.journal.events()).unwrap()
    }

    fn output(&self, stage: &str, stream: OutputStream) -> Vec<u8> {
        let path = log_path(&self.folder.path().join("output"), stage, 1);
        let mut offset = 0;
        let mut all = Vec::new();
        for frame in read_frames(&path).unwrap() {
            let frame = frame.unwrap();
            let bytes = match frame.body {
                FrameBody::Text(text) => text.into_bytes(),
                FrameBody::Base64(text) => {
                    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
                }
            };
            assert_eq!(frame.offset, offset);
            offset += bytes.len() as u64;
            if frame.stream == stream {
                all.extend(bytes);
            }
        }
        all
    }

    fn text(&self, stage: &str, stream: OutputStream) -> String {
        String::from_utf8(self.output(stage, stream)).unwrap()
    }

    fn events(&self) -> Vec<Event> {
        self.journal.events()
    }
}

fn results(state: &RunState) -> BTreeMap<&str, String> {
    let result = |name: &str| state.result_of(name).map_or("none".to_owned(), |r| r.to_string());
    state.stages.keys().map(|name| (name.as_str(), result(name))).collect()
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_running_stage_is_joined_and_later_ones_stand_on_it() {
    let durable = Durable::new(vec![
        checkout(),
        stage_running("base", &["checkout"], &["cat file", "echo base >made"]),
        stage_running(
            "long",
            &["base"],
            &["echo one; echo err >&2", "cat made; sleep 4", "echo two; echo ran >>made", "exit 0"],
        ),
        stage_running("after", &["long"], &["cat made file"]),
    ])
    .await;
    durable.dies_in("long", Duration::from_secs(1)).await;
    durable.dies_in("long", Duration::from_millis(300)).await;
    let state = durable.ends().await;
    let all = results(&state);
    assert!(all.values().all(|result| result == "passed"), "{all:?}");
    assert!(state.stages.values().all(|stage| stage.attempts.len() == 1));
    assert_eq!(durable.text("long", OutputStream::Stdout), "one\nbase\ntwo\n");
    assert_eq!(durable.text("long", OutputStream::Stderr), "err\n");
    let engine = durable.text("long", OutputStream::Engine);
    assert_eq!(
        engine,
        "$ echo one; echo err >&2\n$ cat made; sleep 4\n$ echo two; echo ran >>made\n$ exit 0\n"
    );
    assert_eq!(durable.text("after", OutputStream::Stdout), "base\nran\nhere\n");
}

#[tokio::test]
async fn a_stage_that_ended_while_nobody_was_there_is_read_byte_by_byte() {
    // 3 MiB of anything on stdout, and something else on stderr; the codes are those of the stage.
    let script = "sleep 1; dd if=/dev/urandom of=/tmp/x bs=1024 count=3072 2>/dev/null; cat /tmp/x; \
                  sha256sum </tmp/x >&2; exit 7";
    let durable =
        Durable::new(vec![checkout(), stage_running("bad", &["checkout"], &[script])]).await;
    durable.dies_in("bad", Duration::from_millis(100)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let state = durable.ends().await;
    let bad = &state.stages["bad"].attempts;
    assert_eq!((bad.len(), bad[0].result, bad[0].exit), (1, Some(StageResult::Failed), Some(7)));
    let (out, sum) =
        (durable.output("bad", OutputStream::Stdout), durable.text("bad", OutputStream::Stderr));
    assert_eq!(out.len(), 3 << 20);
    let found = <sha2::Sha256 as sha2::Digest>::digest(&out);
    assert_eq!(sum.split_whitespace().next().unwrap(), hex::encode(found));
}

#[tokio::test]
async fn binary_output_is_whole_however_often_its_reader_dies() {
    let script = "i=0; while [ $i -lt 40 ]; do dd if=/dev/urandom of=/tmp/x bs=65536 count=2 \
                  2>/dev/null; cat /tmp/x; cat /tmp/x >>/tmp/all; i=$((i+1)); sleep 0.1; done; \
                  sha256sum </tmp/all >&2";
    let durable =
        Durable::new(vec![checkout(), stage_running("blob", &["checkout"], &[script])]).await;
    for _ in 0..4 {
        durable.dies_in("blob", Duration::from_millis(700)).await;
    }
    let state = durable.ends().await;
    assert_eq!(state.result_of("blob"), Some(StageResult::Passed));
    let out = durable.output("blob", OutputStream::Stdout);
    let sum = durable.text("blob", OutputStream::Stderr);
    assert_eq!(out.len(), 40 * 2 * 65536);
    let found = <sha2::Sha256 as sha2::Digest>::digest(&out);
    assert_eq!(sum.split_whitespace().next().unwrap(), hex::encode(found));
}

#[tokio::test]
async fn what_was_made_and_never_asked_for_anything_is_started() {
    // At several points between the event that announces it and the first output.
    for millis in [0, 30, 80, 150, 250, 400] {
        let commands = ["echo ran; cat /proc/sys/kernel/random/uuid", "sleep 1"];
        let durable =
            Durable::new(vec![checkout(), stage_running("one", &["checkout"], &commands)]).await;
        let process = durable.process().await;
        durable
            .until(
                |kind| matches!(kind, EventKind::AttemptStarting { stage, .. } if stage == "one"),
            )
            .await;
        tokio::time::sleep(Duration::from_millis(millis)).await;
        process.abort();
        drop(process.await);
        let state = durable.ends().await;
        assert_eq!(state.result_of("one"), Some(StageResult::Passed), "after {millis} ms");
        assert_eq!(state.stages["one"].attempts.len(), 1, "after {millis} ms");
        let out = durable.text("one", OutputStream::Stdout);
        assert_eq!(out.lines().count(), 2, "after {millis} ms: {out}");
    }
}

#[tokio::test]
async fn a_container_that_vanished_is_infrastructure_and_its_stage_is_repeated() {
    let mut stage = stage_running("long", &["checkout"], &["sleep 3"]);
    stage.retry.backoff = pipeline::Duration::from_secs(1);
    let durable = Durable::new(vec![checkout(), stage]).await;
    durable.dies_in("long", Duration::from_millis(100)).await;
    docker(&["rm", "-f", &format!("shipline-{}-long-1", durable.run().short())]);
    let state = durable.ends().await;
    let attempts = &state.stages["long"].attempts;
    assert_eq!(
        attempts[0].reason.as_deref(),
        Some("the container vanished while shipline was away")
    );
    assert_eq!(attempts[1].result, Some(StageResult::Passed));
}

#[tokio::test]
async fn a_deadline_outlives_the_process_that_set_it() {
    let mut stage = stage_running("slow", &["checkout"], &["trap 'exit 0' TERM; sleep 60"]);
    stage.timeout = pipeline::Duration::from_secs(8);
    let durable = Durable::new(vec![checkout(), stage]).await;
    durable.dies_in("slow", Duration::from_secs(2)).await;
    durable.dies_in("slow", Duration::from_secs(3)).await;
    let state = durable.ends().await;
    let slow = &state.stages["slow"].attempts[0];
    assert_eq!(slow.result, Some(StageResult::TimedOut));
    let started = slow.started_at.unwrap();
    let ended = durable.events().into_iter().find_map(|event| match event.kind {
        EventKind::AttemptFinished { ref stage, .. } if stage == "slow" => Some(event.at),
        _ => None,
    });
    let lasted = (ended.unwrap() - started).num_milliseconds();
    assert!((7_900..11_000).contains(&lasted), "{lasted} ms");
}

#[tokio::test]
async fn a_cancel_reaches_a_stage_that_another_process_began() {
    let durable =
        Durable::new(vec![checkout(), stage_running("slow", &["checkout"], &["sleep 60"])]).await;
    durable.dies_in("slow", Duration::from_millis(200)).await;
    let process = durable.process().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    durable.cancel.cancel();
    drop(process.await);
    let state = RunState::fold(&durable.events()).unwrap();
    assert_eq!(state.result_of("slow"), Some(StageResult::Cancelled));
    assert_eq!(durable.bench.objects().await, [""; 0]);
}

#[tokio::test]
async fn exit_codes_are_those_of_the_engine() {
    let mut hungry =
        stage_running("hungry", &["checkout"], &["sleep 1; head -c 200m /dev/zero | tail"]);
    hungry.resources.memory = Some(32 << 20);
    let durable = Durable::new(vec![
        checkout(),
        hungry,
        stage_running("zero", &["checkout"], &["sleep 1"]),
        stage_running("none", &["checkout"], &["sleep 1; nosuchcommand"]),
    ])
    .await;
    for stage in ["hungry", "zero"] {
        durable.dies_in(stage, Duration::ZERO).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let state = durable.ends().await;
    let of = |name: &str| (state.result_of(name).unwrap(), state.stages[name].attempts[0].exit);
    assert_eq!(of("zero"), (StageResult::Passed, Some(0)));
    assert_eq!(of("none"), (StageResult::Failed, Some(127)));
    assert_eq!(of("hungry"), (StageResult::ResourceLimit, Some(137)));
}

/// A stage with everything: a service, a cache, outputs and an artifact.
fn everything() -> PlannedStage {
    let ready = json!({"probe": {"tcp": 8080}, "timeout": "30s"});
    let services = json!({"db": {"image": IMAGE, "command": ["sh", "-c",
            "echo serving; echo hi >/tmp/index.html; httpd -f -p 8080 -h /tmp"],
        "ready": ready}});
    let commands = [
        "mkdir -p deps; cat deps/kept 2>/dev/null || echo fresh",
        "sleep 3; wget -q -O - http://db:8080/",
        "echo kept >deps/kept; echo file >out.txt; echo v=1 >>$SHIPLINE_OUTPUT",
    ];
    let mut stage = stage_of(
        "all",
        &["checkout"],
        json!({"action": "run", "image": IMAGE, "run": commands, "services": services,
            "outputs": {"v": "string"}}),
    );
    stage.cache = vec![serde_json::from_value(json!({"key": "k", "paths": ["deps"]})).unwrap()];
    stage.artifacts =
        serde_json::from_value(json!({"paths": ["out.txt"], "expire": "1d", "on": "success"}))
            .unwrap();
    stage
}

async fn with_everything(mode: LayerMode) {
    let mut durable = Durable::new(vec![checkout(), everything()]).await;
    durable.mode = mode;
    durable.dies_in("all", Duration::from_millis(1500)).await;
    durable.dies_in("all", Duration::from_millis(100)).await;
    let outcome = tokio::time::timeout(Duration::from_secs(90), durable.process().await).await;
    let outcome = outcome.expect("the run ends").unwrap().unwrap();
    assert_eq!(outcome.left_behind, None);
    let state = RunState::fold(&durable.events()).unwrap();
    let stage = &state.stages["all"];
    assert_eq!((state.result_of("all"), stage.attempts.len()), (Some(StageResult::Passed), 1));
    assert_eq!(durable.text("all", OutputStream::Stdout), "fresh\nhi\n");
    assert_eq!(stage.outputs["v"], json!("1"));
    assert_eq!(stage.artifacts.len(), 1);
    assert_eq!(durable.text("all/db", OutputStream::Stdout), "serving\n");
    let count = |which: fn(&EventKind) -> bool| {
        durable.events().iter().filter(|event| which(&event.kind)).count()
    };
    assert_eq!(count(|kind| matches!(kind, EventKind::ServiceReady { .. })), 1);
    assert_eq!(count(|kind| matches!(kind, EventKind::CacheSaved { .. })), 1);
    let left = durable.bench.objects().await;
    assert!(left.iter().all(|object| object.contains("shipline-cache-")), "{left:?}");
}

#[tokio::test]
async fn services_caches_outputs_and_artifacts_are_those_of_a_run_that_nobody_disturbed() {
    with_everything(LayerMode::Auto).await;
}

#[tokio::test]
async fn a_copied_workspace_is_joined_too() {
    with_everything(LayerMode::Copy).await;
}

#[tokio::test]
async fn a_process_that_dies_between_the_end_of_a_stage_and_its_record_repeats_nothing() {
    for millis in [0, 40, 120, 200, 300] {
        let commands = ["cat /proc/sys/kernel/random/uuid; sleep 1"];
        let durable = Durable::new(vec![
            checkout(),
            stage_running("one", &["checkout"], &commands),
            stage_running("two", &["one"], &["echo two"]),
        ])
        .await;
        durable.dies_in("one", Duration::from_millis(950 + millis)).await;
        let state = durable.ends().await;
        let all = results(&state);
        assert!(all.values().all(|result| result == "passed"), "after {millis} ms: {all:?}");
        assert!(state.stages.values().all(|stage| stage.attempts.len() == 1));
        assert_eq!(durable.text("one", OutputStream::Stdout).lines().count(), 1);
    }
}

#[tokio::test]
async fn the_contract_of_adoption_holds() {
    let bench = Bench::with(&[]).await;
    let other = DockerBackend::connect(None).await.unwrap();
    contract::a_durable_attempt_is_adopted(&bench.backend, &other, &bench.run, IMAGE).await;
    // What it ran in goes some time; its layer stays.
    let deadline = Instant::now() + Duration::from_secs(30);
    let upper = format!("Volume sl-{}-61u", bench.run.run.short());
    loop {
        let objects = bench.objects().await;
        let of_attempt = |object: &&String| object.contains("-61") || object.contains("-s61");
        let left: Vec<&String> = objects.iter().filter(of_attempt).collect();
        if left == [&upper] {
            break;
        }
        assert!(Instant::now() < deadline, "{left:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
