use std::time::Duration;

use event::{EventKind, StageResult};
use tokio::time::Instant;

use super::Lab;
use crate::backend::fake::{FakeBackend, Script};
use crate::backend::{Exit, Usage, Use};
use crate::testing::{MemoryJournal, checkout, plan, queued, stage, stage_running};
use crate::{JournalError, Registry, RunError};

/// How a stage with `script` ends: result, code and reason.
async fn verdict(script: Script) -> (StageResult, String, String) {
    let mut planned = stage("a", &[]);
    planned.timeout = pipeline::Duration::from_secs(60);
    let mut lab = Lab::new(vec![planned]).on(FakeBackend::default().with("a", script));
    lab.told().await;
    let events = lab.journal.events();
    let finished = events.into_iter().find_map(|event| match event.kind {
        EventKind::AttemptFinished { result, code, reason, .. } => {
            Some((result, code.unwrap_or_default(), reason.unwrap_or_default()))
        }
        _ => None,
    });
    finished.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_needs_an_allowed_failure_that_never_began_runs_without_its_files() {
    let mut optional = stage("optional", &["checkout"]);
    optional.allow_failure = Some(pipeline::AllowFailure::Any);
    let script = Script::refused("E090", "image `x` does not exist");
    let mut lab = Lab::new(vec![checkout(), optional, stage("test", &["optional"])])
        .on(FakeBackend::default().with("optional", script));
    assert_eq!(
        lab.told().await,
        "checkout passed\noptional warning: image `x` does not exist\ntest passed\nrun warning"
    );
    let specs = lab.backend.specs();
    assert_eq!(specs[0].lower.len(), 1, "the layer of the checkout alone");
}

#[tokio::test(start_paused = true)]
async fn a_verdict_says_whose_fault_it_was() {
    let shown =
        |(result, code, reason): (StageResult, String, String)| format!("{result} {code} {reason}");
    assert_eq!(shown(verdict(Script::exit(0)).await), "passed  ");
    assert_eq!(shown(verdict(Script::exit(3)).await), "failed  exit 3");
    assert_eq!(
        shown(verdict(Script::refused("E090", "image `x` does not exist")).await),
        "failed E090 image `x` does not exist"
    );
    assert_eq!(
        shown(verdict(Script::unstartable("no space left")).await),
        "infra-error E099 fake: no space left"
    );
    assert_eq!(
        shown(verdict(Script::broken("connection reset")).await),
        "infra-error E099 fake: connection reset"
    );
    assert_eq!(
        shown(verdict(Script::lost("the engine restarted")).await),
        "infra-error E099 the engine restarted"
    );
    assert_eq!(
        shown(verdict(Script::out_of_memory()).await),
        "resource-limit E092 out of memory (exit 137): the stage may use 1.0 GiB, and used 1.0 GiB; write `resources: { memory: 2Gi }`, or let it need less"
    );
    assert_eq!(
        shown(verdict(Script::panicking()).await),
        "infra-error E099 shipline panicked: as the script says"
    );
}

#[tokio::test(start_paused = true)]
async fn what_an_attempt_used_at_most_is_recorded_however_it_ended() {
    for code in [0, 3] {
        let usage = Usage {
            memory: Use { peak: Some(5 << 20), limit: Some(4 << 30) },
            pids: Use { peak: Some(7), limit: Some(512) },
            ..Usage::default()
        };
        let script = Script::ending(Exit { code, usage, ..Exit::default() });
        let backend = FakeBackend::default().with("a", script);
        let mut lab = Lab::new(vec![stage("a", &[])]).on(backend);
        lab.told().await;
        let state = event::RunState::fold(&lab.journal.events()).unwrap();
        let peak = state.stage("a").unwrap().attempts[0].peak;
        assert_eq!(peak, event::Peak { memory_peak: Some(5 << 20), pids_peak: Some(7) });
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_was_reached_and_did_not_matter_is_a_warning_in_the_output() {
    let usage = Usage { memory: Use { peak: None, limit: Some(4 << 30) }, ..Usage::default() };
    let script = Script::ending(Exit { oom_killed: true, usage, ..Exit::default() });
    let mut lab = Lab::new(vec![stage("a", &[])]).on(FakeBackend::default().with("a", script));
    assert_eq!(lab.told().await, "a passed\nrun passed");
    let warning =
        "warning: a process of this stage was killed, because the memory of 4.0 GiB was used up\n";
    assert_eq!(lab.printed("a"), warning);
}

#[tokio::test(start_paused = true)]
async fn output_about_a_full_disk_is_a_hint_and_changes_no_verdict() {
    let script = Script::exit(1).printing("tar: write error: No space left on device\n");
    let (result, code, reason) = verdict(script).await;
    assert_eq!((result, code.as_str()), (StageResult::Failed, ""));
    assert_eq!(reason, "exit 1; its output says `No space left on device`");
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_lasts_too_long_is_told_and_then_killed() {
    let begun = Instant::now();
    let (result, code, reason) = verdict(Script::hang().printing("compiling\n")).await;
    assert_eq!((result, code.as_str()), (StageResult::TimedOut, "E093"));
    assert_eq!(reason, "timed out after 1m, last line: `compiling`");
    assert_eq!(begun.elapsed().as_secs(), 60);

    let begun = Instant::now();
    let (result, _, reason) = verdict(Script::hang().ignoring_term()).await;
    assert_eq!(
        (result, reason.as_str()),
        (StageResult::TimedOut, "timed out after 1m, without output")
    );
    assert_eq!(begun.elapsed().as_secs(), 70);
}

#[tokio::test(start_paused = true)]
async fn the_place_of_a_timeout_is_named() {
    let mut planned = stage_running("a", &[], &["sleep infinity"]);
    planned.timeout = pipeline::Duration::from_secs(90);
    let origin =
        serde_json::json!({"file": ".shipline.yml", "line": 12, "column": 5, "by": "file"});
    planned.origins.insert("timeout".to_owned(), serde_json::from_value(origin).unwrap());
    let mut lab = Lab::new(vec![planned]);
    assert_eq!(
        lab.told().await,
        "a timed-out: timed out after 1m30s (`timeout` at .shipline.yml:12:5), without output\nrun failed"
    );
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_recorded_as_a_point_in_time() {
    let mut lab = Lab::new(vec![stage_running("a", &[], &["sleep 5"])]);
    lab.told().await;
    let state = event::RunState::fold(&lab.journal.events()).unwrap();
    let attempt = &state.stage("a").unwrap().attempts[0];
    assert_eq!(attempt.deadline.unwrap() - attempt.started_at.unwrap(), chrono::Duration::hours(1));
    assert!(attempt.image_digest.as_deref().unwrap().starts_with("id:sha256:"));
    assert_eq!(state.stage("a").unwrap().duration_ms, 5000);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_cannot_be_reached_is_an_infra_error_of_the_run() {
    let backend = FakeBackend::default().with_unreachable_engine("connection refused");
    let mut lab = Lab::new(vec![stage("a", &[]), stage("b", &[]), stage("c", &["a"])])
        .on(backend)
        .configured(|config| config.concurrency = 1);
    assert_eq!(
        lab.told().await,
        "a infra-error: fake: connection refused\n\
         c blocked: `a` failed\n\
         b infra-error: fake: connection refused\n\
         run infra-error"
    );
    // Both stages, twice: who knows when it comes back.
    assert_eq!(lab.backend.calls(), ["prepare", "prepare", "prepare", "prepare", "clean"]);
}

#[tokio::test(start_paused = true)]
async fn cleaning_up_that_fails_changes_no_verdict() {
    let mut lab = Lab::new(vec![stage("a", &[])])
        .on(FakeBackend::default().with_failing_clean("volume is in use"));
    let outcome = lab.run().await.unwrap();
    assert_eq!(outcome.result, event::RunResult::Passed);
    assert_eq!(outcome.left_behind.as_deref(), Some("fake: volume is in use"));
}

#[tokio::test(start_paused = true)]
async fn output_that_cannot_be_kept_is_never_a_pass() {
    let mut lab = Lab::new(vec![stage("a", &[])]).configured(|config| {
        let file = config.output.join("file");
        std::fs::write(&file, "").unwrap();
        config.output = file;
    });
    let told = lab.told().await;
    assert!(told.starts_with("a infra-error: the output file cannot be written: "), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_password_of_a_registry_is_in_no_output_and_no_reason() {
    let script = Script::refused("E090", "harbor refuses `hunter22`");
    let backend = FakeBackend::default().with("b", script);
    let mut lab =
        Lab::new(vec![stage_running("a", &[], &["echo login hunter22"]), stage("b", &[])])
            .on(backend)
            .configured(|config| {
                let registry = Registry {
                    host: "harbor.example.net".to_owned(),
                    username: "ci".to_owned(),
                    password: "hunter22".to_owned(),
                    ca_file: None,
                };
                config.registries.named.insert("harbor".to_owned(), registry);
            });
    let told = lab.told().await;
    assert!(told.contains("b failed: harbor refuses `***`"), "{told}");
    assert_eq!(lab.printed("a"), "login ***\n");
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_breaks_ends_the_run_with_an_error_and_nothing_running() {
    let mut lab = Lab::new(vec![
        stage_running("a", &[], &["sleep infinity"]),
        stage_running("b", &[], &["sleep 5"]),
    ]);
    // Events 2 to 6 are the start of the run and of both stages; b's end cannot be written.
    lab.journal = MemoryJournal::breaking_at(lab.journal.events(), 7).into();
    let begun = Instant::now();
    let error = lab.run().await.unwrap_err();
    assert_eq!(error.to_string(), "the journal of the run cannot be written");
    assert!(begun.elapsed() < Duration::from_secs(10), "what runs is killed, not waited for");
    assert_eq!(lab.backend.calls().last().unwrap(), "clean");
}

#[tokio::test(start_paused = true)]
async fn of_two_deciders_one_loses_and_changes_nothing() {
    let first = queued(plan(vec![stage("a", &[])]));
    let mut lab = Lab::after(vec![first.clone()]);
    let mut second = first.clone();
    second.seq = 2;
    second.kind = EventKind::RunStarted { by: "somebody else".to_owned() };
    lab.journal = MemoryJournal::holding(vec![first, second]).into();
    let error = lab.run().await.unwrap_err();
    assert!(matches!(error, RunError::Journal(JournalError::Conflict { seq: 2 })));
    assert_eq!(lab.backend.started(), [""; 0]);
    assert_eq!(lab.journal.events().len(), 2);
}
