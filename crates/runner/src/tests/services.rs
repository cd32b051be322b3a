//! Services around a stage: what is told of them, and what their end makes of it.

use std::time::Duration;

use event::EventKind;
use serde_json::json;

use super::Lab;
use crate::backend::fake::{FakeBackend, Script, ServiceScript};
use crate::testing::{checkout, stage_of};
use crate::{Secrets, log_path};

/// A run with a stage that has a service `db`.
fn lab(script: Script, ready_after: Option<u64>, stage: Script) -> Lab {
    let work = json!({
        "action": "run", "image": "busybox:1", "run": ["make test"],
        "services": {"db": {"image": "postgres:12", "ready": {"probe": {"tcp": 5432}, "timeout": "60s"}}},
        "origins": {"services.db.image": {"file": ".shipline.yml", "line": 7, "column": 9, "by": "file"}},
    });
    let ready_after = ready_after.map(Duration::from_secs);
    let backend = FakeBackend::default()
        .with_service("db", ServiceScript { script, ready_after })
        .with("test", stage);
    Lab::new(vec![checkout(), stage_of("test", &["checkout"], work)]).on(backend)
}

#[tokio::test(start_paused = true)]
async fn a_stage_begins_when_its_services_are_ready_and_they_end_with_it() {
    let mut lab = lab(Script::hang().printing("up\n"), Some(5), Script::exit(0));
    assert_eq!(lab.told().await, "checkout passed\ntest passed\nrun passed");
    let events = lab.journal.events();
    let at = |kind: fn(&EventKind) -> bool| events.iter().position(|event| kind(&event.kind));
    let ready = at(
        |kind| matches!(kind, EventKind::ServiceReady { name, duration_ms: 5000, image_digest: Some(_), .. } if name == "db"),
    );
    let started = events.iter().position(
        |event| matches!(&event.kind, EventKind::AttemptStarted { stage, .. } if stage == "test"),
    );
    assert!(ready.unwrap() < started.unwrap());
    assert!(lab.backend.serving().is_empty());
    assert_eq!(lab.printed("test/db"), "up\n", "what it wrote is kept beside the stage's output");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_ready_fails_its_stage_with_its_last_lines_masked() {
    let silent = Script::hang().printing("password is swordfish\n");
    let mut lab = lab(silent, None, Script::exit(0)).configured(|config| {
        config.secrets = Secrets([("P".to_owned(), "swordfish".to_owned())].into());
    });
    assert_eq!(
        lab.told().await,
        "checkout passed\n\
         test failed: service `db` of image `postgres:12` was not ready within 60s: `probe` got no answer (.shipline.yml:7:9)\n\
         its last lines:\n  \
         password is ***\n\
         run failed"
    );
    let events = lab.journal.events();
    let code = events.iter().find_map(|event| match &event.kind {
        EventKind::AttemptFinished { stage, code, .. } if stage == "test" => code.clone(),
        _ => None,
    });
    assert_eq!(code.as_deref(), Some("E094"));
    assert!(!lab.backend.calls().contains(&"start test".to_owned()), "it never begins");
    assert_eq!(lab.printed("test/db"), "password is ***\n");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_ends_while_the_stage_runs_ends_and_fails_it() {
    let ends = Script::exit(1).printing("disk full\n").after(Duration::from_secs(30));
    let mut lab = lab(ends, Some(0), Script::hang());
    assert_eq!(
        lab.told().await,
        "checkout passed\n\
         test failed: service `db` of image `postgres:12` exited with 1 while the stage ran (.shipline.yml:7:9)\n\
         its last lines:\n  \
         disk full\n\
         run failed"
    );
    assert!(lab.backend.calls().contains(&"stop test 10s".to_owned()), "TERM, and its grace");
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_passed_or_failed_without_its_service_has_failed_for_that() {
    for code in [0, 1] {
        let ends = Script::exit(0).after(Duration::from_secs(1));
        // It ignores TERM and ends by itself.
        let goes_on = Script::exit(code).after(Duration::from_secs(3)).ignoring_term();
        let mut lab = lab(ends, Some(0), goes_on);
        let told = lab.told().await;
        assert!(
            told.contains(
                "test failed: service `db` of image `postgres:12` exited with 0 while the stage ran"
            ),
            "{told}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_container_and_a_cancel_are_not_the_services_fault() {
    let ends = || Script::exit(137).after(Duration::from_secs(30));
    let mut lost = lab(
        ends(),
        Some(0),
        Script::lost("the docker daemon was restarted").after(Duration::from_secs(30)),
    );
    let told = lost.told().await;
    assert!(told.contains("test infra-error: the docker daemon was restarted"), "{told}");

    let mut cancelled = lab(Script::hang(), None, Script::exit(0));
    let cancel = cancelled.cancel.clone();
    let (told, ()) = tokio::join!(cancelled.told(), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        cancel.cancel();
    });
    assert_eq!(told, "checkout passed\ntest cancelled\nrun cancelled");
}

#[tokio::test(start_paused = true)]
async fn the_output_of_a_service_has_a_file_of_its_own() {
    let mut lab = lab(Script::hang().printing("a\nb\n"), Some(0), Script::exit(2).printing("no\n"));
    lab.told().await;
    let path = log_path(lab.output.path(), "test/db", 1);
    assert!(path.ends_with("test%2Fdb.1.log"), "{}", path.display());
    assert_eq!(lab.printed("test/db"), "a\nb\n");
    assert_eq!(lab.printed("test"), "no\n");
}
