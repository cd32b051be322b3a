//! Runs on what former runs left.

use std::collections::BTreeSet;

use event::{RunState, StageResult};
use pipeline::{AllowFailure, PlannedStage, RunOn};

use super::Lab;
use crate::backend::fake::{FakeBackend, Script};
use crate::testing::{checkout, run_id, stage, stage_running};
use crate::{carry, resume};

fn stages() -> Vec<PlannedStage> {
    let mut flaky = stage("flaky", &["checkout"]);
    flaky.allow_failure = Some(AllowFailure::Any);
    let mut teardown = stage("teardown", &["pack"]);
    teardown.run_on = RunOn::Always;
    vec![
        checkout(),
        stage_running("compile", &["checkout"], &["echo made >made"]),
        flaky,
        stage("test", &["compile", "flaky"]),
        stage("pack", &["test"]),
        teardown,
    ]
}

/// A run that failed at `test`, with a backend that still has its layers.
async fn failed() -> (RunState, FakeBackend) {
    let backend =
        FakeBackend::default().with("test", Script::exit(1)).with("flaky", Script::exit(2));
    let mut lab = Lab::new(stages()).on(backend).configured(|config| config.keep_layers = true);
    lab.told().await;
    (RunState::fold(&lab.journal.events()).unwrap(), lab.backend)
}

#[tokio::test(start_paused = true)]
async fn a_rerun_takes_what_passed_and_what_was_allowed_and_runs_the_rest() {
    let (former, backend) = failed().await;
    let carried = resume(&former, &BTreeSet::new()).unwrap();
    assert_eq!(carried.keys().collect::<Vec<_>>(), ["checkout", "compile", "flaky"]);
    let gone = resume(&former, &["compile".to_owned()].into()).unwrap();
    assert_eq!(gone.keys().collect::<Vec<_>>(), ["checkout", "flaky"]);

    // The same engine, where `test` passes by now.
    let backend = backend.with("test", Script::exit(0));
    let mut lab = Lab::new(stages()).on(backend).configured(|config| config.carried = carried);
    assert_eq!(
        lab.told().await,
        "checkout unchanged: taken from run 1a2b3c4d\ncompile unchanged: taken from run 1a2b3c4d\n\
         flaky warning: taken from run 1a2b3c4d\ntest passed\npack passed\nteardown passed\n\
         run warning"
    );
    let specs = lab.backend.specs();
    let test = specs.iter().rfind(|spec| spec.stage == "test").unwrap();
    let lower: Vec<u32> = test.lower.iter().map(|layer| layer.index).collect();
    assert_eq!(lower, [2, 1, 0]);

    // What stands on the rerun stands on the first run.
    let state = RunState::fold(&lab.journal.events()).unwrap();
    assert_eq!(state.left_by(1, "compile").unwrap().run, run_id());
    assert_eq!(resume(&state, &BTreeSet::new()).unwrap().len(), 5, "all but the teardown");
}

#[tokio::test(start_paused = true)]
async fn only_what_ended_well_can_be_carried() {
    let (former, _) = failed().await;
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let carried = carry(&former, &names(&["compile", "flaky"])).map_err(str::to_owned).unwrap();
    assert_eq!(carried["flaky"].result, StageResult::Warning);
    for name in ["test", "pack", "nosuch"] {
        assert_eq!(carry(&former, &names(&["compile", name])).unwrap_err(), name);
    }
}
