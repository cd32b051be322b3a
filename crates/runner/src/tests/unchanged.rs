//! Stages with `inputs`, and results that are remembered.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use event::{Outputs, Reused};
use pipeline::PlannedStage;

use super::Lab;
use crate::backend::fake::FakeBackend;
use crate::testing::{checkout, run_id, stage, stage_running};
use crate::{FormerPass, JournalError, ResultKey, Results};

/// Passes by their keys; its reader may be broken.
#[derive(Default)]
struct Memory {
    passes: Mutex<Vec<(ResultKey, Reused)>>,
    broken: bool,
}

#[async_trait]
impl Results for Memory {
    async fn find(&self, key: &ResultKey) -> Result<Option<FormerPass>, JournalError> {
        if self.broken {
            return Err(JournalError::Store("the disk is gone".into()));
        }
        let passes = self.passes.lock().unwrap();
        Ok(passes.iter().find(|(known, _)| known == key).map(|(_, reused)| FormerPass {
            reused: *reused,
            outputs: Outputs::from([("version".to_owned(), "1".into())]),
            artifacts: Vec::new(),
            archives: PathBuf::new(),
            tests: None,
        }))
    }

    async fn remember(&self, key: &ResultKey, pass: Reused) -> Result<(), JournalError> {
        self.passes.lock().unwrap().push((key.clone(), pass));
        Ok(())
    }

    async fn forget(&self, key: &ResultKey) -> Result<(), JournalError> {
        self.passes.lock().unwrap().retain(|(known, _)| known != key);
        Ok(())
    }
}

fn compile(command: &str) -> PlannedStage {
    let mut compile = stage_running("compile", &["checkout"], &[command]);
    compile.inputs = vec!["src/**".to_owned()];
    compile
}

/// Runs a plan of two stages and tells how it went, and which stages really ran.
async fn run(
    results: &Arc<Memory>,
    backend: FakeBackend,
    command: &str,
    reuse: bool,
) -> (String, Vec<String>) {
    let stages = vec![checkout(), compile(command), stage("test", &["compile"])];
    let mut lab = Lab::new(stages).on(backend).configured(|config| {
        config.keep_layers = true;
        config.results = Some(results.clone());
        config.reuse = reuse;
    });
    let told = lab.told().await;
    let ran = lab.backend.specs().iter().map(|spec| spec.stage.clone()).collect();
    (told, ran)
}

fn on(files: &[(&str, &str)]) -> FakeBackend {
    FakeBackend::default().with_files(files)
}

#[tokio::test(start_paused = true)]
async fn a_stage_runs_once_for_each_state_of_its_inputs() {
    let results = Arc::new(Memory::default());
    let backend = on(&[("src/a", "1"), ("README", "x")]);
    let (told, _) = run(&results, backend.clone(), "true", true).await;
    assert_eq!(told, "checkout passed\ncompile passed\ntest passed\nrun passed");
    // The checkout, and `compile` by what it reads and by what it stands on.
    assert_eq!(results.passes.lock().unwrap().len(), 3);

    let (told, ran) = run(&results, backend.clone(), "true", true).await;
    let short = run_id().short();
    let unchanged = format!("compile unchanged: its inputs are those of run {short}");
    let checkout = format!("checkout unchanged: the files are those of run {short}");
    assert_eq!(told, format!("{checkout}\n{unchanged}\ntest passed\nrun passed"));
    assert_eq!(ran, ["compile", "test", "test"], "the first run's two, and one more");

    let ran_again = async |backend, command, reuse| {
        run(&results, backend, command, reuse).await.0.contains("compile passed")
    };
    assert!(!ran_again(backend.clone(), "true", true).await);
    assert!(ran_again(backend.clone(), "echo two", true).await, "another command");
    assert!(ran_again(backend.clone(), "true", false).await, "reuse is off");
    assert!(ran_again(on(&[("src/a", "2")]), "true", true).await, "another file");
}

#[tokio::test(start_paused = true)]
async fn files_are_not_read_where_the_layers_below_are_the_same() {
    let results = Arc::new(Memory::default());
    let backend = on(&[("src/a", "1")]);
    let reads = || backend.calls().iter().filter(|call| *call == "read compile").count();
    run(&results, backend.clone(), "true", true).await;
    assert_eq!(reads(), 1);
    let (told, _) = run(&results, backend.clone(), "true", true).await;
    assert!(told.contains("compile unchanged"), "{told}");
    assert_eq!(reads(), 1);
    let (told, _) = run(&results, backend.clone(), "echo two", true).await;
    assert!(told.contains("compile passed"), "{told}");
    assert_eq!(reads(), 2, "another command: nothing is known of it");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_or_is_gone_runs() {
    let results = Arc::new(Memory { broken: true, ..Memory::default() });
    let (told, _) = run(&results, on(&[("src/a", "1")]), "true", true).await;
    assert!(told.contains("compile passed"), "{told}");
    // Known, but its layer is on no engine: forgotten, run, and known again.
    let passes = Mutex::new(results.passes.lock().unwrap().clone());
    let results = Arc::new(Memory { passes, broken: false });
    let (told, _) = run(&results, on(&[("src/a", "1")]), "true", true).await;
    assert!(told.contains("compile passed"), "{told}");
    assert_eq!(results.passes.lock().unwrap().len(), 3);
}
