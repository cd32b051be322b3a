use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Lab, check};
use crate::Observation;
use crate::backend::fake::{FakeBackend, Script};
use crate::testing::{checkout, stage, stage_running};

#[tokio::test(start_paused = true)]
async fn stages_run_after_their_needs_on_the_layers_of_what_they_need() {
    let mut lab = Lab::new(vec![
        checkout(),
        stage_running("compile", &["checkout"], &["echo compiling"]),
        stage_running("test", &["checkout", "compile"], &["echo testing"]),
    ]);
    assert_eq!(lab.told().await, "checkout passed\ncompile passed\ntest passed\nrun passed");
    assert_eq!(
        lab.backend.calls(),
        [
            "prepare",
            "checkout",
            "seal 0.1",
            "start compile",
            "seal 1.1",
            "start test",
            "seal 2.1",
            "clean",
        ]
    );
    assert_eq!(lab.printed("test"), "testing\n");
}

#[tokio::test(start_paused = true)]
async fn independent_stages_run_at_the_same_time_up_to_the_limit() {
    let stages =
        (0..8).map(|index| stage_running(&format!("s{index}"), &[], &["sleep 10"])).collect();
    let mut lab = Lab::new(stages).configured(|config| config.concurrency = 3);
    let begun = Instant::now();
    lab.told().await;
    assert_eq!(lab.backend.peak(), 3);
    // Three, three and two of ten seconds each.
    assert_eq!(begun.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_ready_stage_does_not_wait_for_unrelated_siblings() {
    let mut lab = Lab::new(vec![
        stage_running("slow", &[], &["sleep 100"]),
        stage_running("quick", &[], &["sleep 1"]),
        stage_running("after-quick", &["quick"], &["sleep 1"]),
    ]);
    assert_eq!(lab.told().await, "quick passed\nafter-quick passed\nslow passed\nrun passed");
}

#[tokio::test(start_paused = true)]
async fn a_failure_blocks_the_chain_below_it_and_nothing_else() {
    let mut lab = Lab::new(vec![
        stage_running("compile", &[], &["exit 2"]),
        stage("test", &["compile"]),
        stage("image", &["test"]),
        stage_running("docs", &[], &["sleep 5"]),
    ]);
    assert_eq!(
        lab.told().await,
        "compile failed: exit 2\n\
         test blocked: `compile` failed\n\
         image blocked: `compile` failed\n\
         docs passed\n\
         run failed"
    );
    assert_eq!(lab.backend.started().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_told_of_events_in_order_and_of_every_frame() {
    let (observer, mut observed) = mpsc::channel(1);
    let mut lab = Lab::new(vec![stage_running("a", &[], &["echo one", "echo two"])])
        .configured(|config| config.observer = Some(observer));
    let watch = async {
        let (mut seqs, mut lines) = (Vec::new(), Vec::new());
        while let Some(observation) = observed.recv().await {
            match observation {
                Observation::Event(event) => seqs.push(event.seq),
                Observation::Frame(frame) => lines.push(frame.body),
                Observation::Waiting(line) => panic!("the run {line}"),
            }
        }
        (seqs, lines)
    };
    let (_, (seqs, lines)) = tokio::join!(lab.told(), watch);
    let last = lab.journal.events().last().unwrap().seq;
    assert_eq!(seqs, (2..=last).collect::<Vec<_>>());
    assert_eq!(lines.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_stages_run_to_their_end() {
    // Five columns of two hundred, each row needing two of the row above.
    let name = |row: usize, column: usize| format!("r{row}c{column}");
    let mut stages = vec![checkout()];
    for row in 0..200 {
        for column in 0..5 {
            let needs = match row {
                0 => vec!["checkout".to_owned()],
                _ => vec![name(row - 1, column), name(row - 1, (column + 1) % 5)],
            };
            let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
            stages.push(stage(&name(row, column), &needs));
        }
    }
    let mut lab = Lab::new(stages).configured(|config| config.concurrency = 8);
    assert!(lab.told().await.ends_with("\nrun passed"));
    assert_eq!(lab.backend.started().len(), 1001);
}

#[tokio::test(start_paused = true)]
async fn output_of_megabytes_is_stored_to_the_last_byte() {
    let backend = FakeBackend::default().with("a", Script::exit(0).printing_bytes(3_000_000));
    let mut lab = Lab::new(vec![stage("a", &[])]).on(backend);
    lab.told().await;
    assert_eq!(lab.printed("a").len(), 3_000_000);
}

fn script() -> impl Strategy<Value = Script> {
    prop_oneof![
        4 => (0_u64..9).prop_map(|seconds| Script::exit(0).after(Duration::from_secs(seconds))),
        1 => (0_u64..9).prop_map(|seconds| Script::exit(1).printing("no\n").after(Duration::from_secs(seconds))),
        1 => Just(Script::hang()),
        1 => Just(Script::hang().ignoring_term()),
        1 => Just(Script::broken("the daemon is gone")),
        1 => Just(Script::unstartable("no space left")),
        1 => Just(Script::refused("E090", "no such image")),
        1 => Just(Script::lost("the engine restarted")),
        1 => Just(Script::out_of_memory()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_stages_do_a_run_ends_and_leaves_nothing(
        stages in proptest::collection::vec((proptest::collection::vec(any::<usize>(), 0..3), script()), 1..12),
        concurrency in 1_usize..4,
        cancel_after in proptest::option::of(0_u64..20),
    ) {
        let mut backend = FakeBackend::default();
        let mut planned = Vec::new();
        for (index, (needs, script)) in stages.into_iter().enumerate() {
            let mut needs: Vec<String> = match index {
                0 => Vec::new(),
                _ => needs.iter().map(|need| format!("s{}", need % index)).collect(),
            };
            needs.dedup();
            let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
            let mut stage = stage(&format!("s{index}"), &needs);
            stage.timeout = pipeline::Duration::from_secs(7);
            planned.push(stage);
            backend = backend.with(&format!("s{index}"), script);
        }
        let mut lab = Lab::new(planned).on(backend).configured(|config| config.concurrency = concurrency);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let cancel = lab.cancel.clone();
            let cancelling = async {
                match cancel_after {
                    Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                    None => return,
                }
                cancel.cancel();
            };
            let (told, ()) = tokio::join!(lab.told(), cancelling);
            check(&lab.journal.events());
            assert!(told.lines().last().unwrap().starts_with("run "));
        });
    }
}
