use std::sync::Arc;
use std::time::Duration;

use deploy::testing::{FaultKind, MemoryLedger, MemoryTarget};
use deploy::{Artifact, EnvironmentKey, Ledger};
use event::{DeploymentState, EventKind, RunState};
use pipeline::{PlannedStage, Work};
use serde_json::json;

use super::Lab;
use crate::backend::fake::{CHECK, FakeBackend, Script};
use crate::testing::{plan, queued, stage, stage_of};

struct Place {
    ledger: Arc<MemoryLedger>,
    target: Arc<MemoryTarget>,
}

impl Place {
    fn new() -> Self {
        Self { ledger: Arc::default(), target: Arc::default() }
    }

    fn lab(&self, stages: Vec<PlannedStage>) -> Lab {
        self.at(Lab::new(stages))
    }

    fn at(&self, lab: Lab) -> Lab {
        lab.configured(|config| {
            config.ledger = self.ledger.clone();
            config.targets.insert("demo".to_owned(), self.target.clone());
        })
    }

    /// Returns the reference of an image that never gets healthy.
    async fn bad_release(&self) -> String {
        let reference = format!("registry.example.net/app@sha256:{:0>64}", 1);
        let release = deploy::Release {
            id: event::ReleaseId::new(uuid::Uuid::now_v7()),
            project: "test".to_owned(),
            version: "bad".to_owned(),
            branch: None,
            sha: String::new(),
            committer: String::new(),
            artifact: Artifact::Digest { reference: reference.clone(), credential: None },
            built_at: chrono::Utc::now(),
        };
        self.target.never_healthy(self.ledger.release(release).await.unwrap().id);
        reference
    }

    async fn history(&self) -> Vec<deploy::DeploymentRecord> {
        let key = EnvironmentKey { project: "test".to_owned(), environment: "demo".to_owned() };
        self.ledger.history(&key, 10).await.unwrap()
    }
}

fn stages(image: &serde_json::Value) -> Vec<PlannedStage> {
    let build = json!({"action": "build", "context": ".", "file": "Dockerfile"});
    let deploy = json!({
        "action": "deploy", "environment": "demo", "image": image, "replicas": 2,
        "env": {"MODE": "demo"},
        "health": {
            "http": {"path": "/health", "port": 8080}, "interval": "1s", "timeout": "2s",
            "successes": 3, "failures": 3, "start-period": "5s", "deadline": "1m",
        },
    });
    vec![
        stage_of("image", &[], build),
        stage_of("deploy", &["image"], deploy),
        stage("report", &["deploy"]),
    ]
}

fn built() -> Vec<PlannedStage> {
    stages(&json!({"stage": "image"}))
}

#[tokio::test(start_paused = true)]
async fn what_a_stage_built_runs_on_the_target_and_the_run_tells_each_step() {
    let place = Place::new();
    let mut lab = place.lab(built());
    assert_eq!(lab.told().await, "image passed\ndeploy passed\nreport passed\nrun passed");

    let events = lab.journal.events();
    let applied =
        events.iter().filter(|event| matches!(event.kind, EventKind::DeployApplied { .. }));
    assert!(applied.count() > 2, "every op is an event of the run");
    assert!(lab.printed("deploy").contains("preflight ok\n"));

    let history = place.history().await;
    let [record] = history.as_slice() else { panic!("one deployment, not {history:?}") };
    assert_eq!(record.state, Some(DeploymentState::Succeeded));
    let deployment = &record.deployment;
    assert_eq!((deployment.by.as_str(), deployment.stage.as_deref()), ("jo", Some("deploy")));
    let id = format!("sha256:{:0>64}", hex::encode("image"));
    assert_eq!(deployment.spec.artifact, Artifact::ImageId(id));
    assert_eq!(deployment.spec.env["MODE"], "demo");

    let releases = place.ledger.releases("test").await.unwrap();
    assert_eq!(releases[0].version, "main-01234567");
    let state = RunState::fold(&events).unwrap();
    let outputs = &state.stage("deploy").unwrap().outputs;
    assert_eq!(outputs["state"], json!("deployed"));
    assert_eq!(outputs["release"], json!(releases[0].id.to_string()));
    assert_eq!(outputs["previous"], json!(null));
}

/// How long people may take is the deployment's own limit.
#[tokio::test(start_paused = true)]
async fn a_person_may_take_longer_to_decide_than_the_stage_has() {
    let place = Place::new();
    place.lab(built()).told().await;
    let reference = place.bad_release().await;
    let mut stages = stages(&json!({"reference": reference}));
    stages[1].timeout = pipeline::Duration::from_secs(120);
    let Work::Deploy(work) = &mut stages[1].work else { panic!("it deploys") };
    work.strategy.on_failure = pipeline::OnFailure::Hold;
    let mut lab = place.lab(stages);
    let deciding = async {
        tokio::time::sleep(Duration::from_secs(20 * 60)).await;
        let record = place.history().await.remove(0);
        assert!(record.held_until.is_some(), "{record:?}");
        let (id, back) = (record.deployment.id, event::Decision::Rollback);
        place.ledger.decide(id, back, "ann", None).await.unwrap();
    };
    let (told, ()) = tokio::join!(lab.told(), deciding);
    assert!(told.contains("\ndeploy failed: rolled-back: "), "{told}");
    assert!(told.contains("; somebody chose to go back\n"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_release_that_never_gets_healthy_is_rolled_back_and_fails_the_stage() {
    let place = Place::new();
    place.lab(built()).told().await;
    let first = place.ledger.releases("test").await.unwrap()[0].id;
    let reference = place.bad_release().await;
    let mut lab = place.lab(stages(&json!({"reference": reference})));
    let told = lab.told().await;
    assert!(told.contains("\ndeploy failed: rolled-back: "), "{told}");
    assert!(told.ends_with("report blocked: `deploy` failed\nrun failed"), "{told}");
    let events = lab.journal.events();
    assert!(events.iter().any(|event| matches!(event.kind, EventKind::DeployUndone { .. })));
    let state = RunState::fold(&events).unwrap();
    let stage = state.stage("deploy").unwrap();
    assert_eq!(stage.attempts[0].code.as_deref(), Some("E098"));
    assert_eq!(stage.outputs["state"], json!("rolled-back"));
    assert_eq!(stage.outputs["previous"], json!(first.to_string()));
}

#[tokio::test(start_paused = true)]
async fn a_way_back_that_fails_names_the_units_it_left() {
    let place = Place::new();
    place.lab(built()).told().await;
    let reference = place.bad_release().await;
    // The new unit is fetched, created and started; from its gate on nothing works.
    for call in 4..200 {
        place.target.fault_in(call, FaultKind::FailBefore);
    }
    let mut lab = place.lab(stages(&json!({"reference": reference})));
    let told = lab.told().await;
    assert!(told.contains("\ndeploy failed: stuck: "), "{told}");
    let events = lab.journal.events();
    let stuck: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::DeployStuck { stage, action, unit } => Some((stage, action, unit)),
            _ => None,
        })
        .collect();
    let [(stage, action, unit)] = stuck.as_slice() else {
        panic!("one unit is stuck, not {stuck:?}")
    };
    assert_eq!((stage.as_str(), action.as_str()), ("deploy", "remove"));
    assert!(place.target.seen().units.iter().any(|seen| seen.unit.0 == **unit));
    assert_eq!(
        RunState::fold(&events).unwrap().stage("deploy").unwrap().outputs["state"],
        json!("stuck")
    );
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_is_cancelled_cancels_its_stage() {
    let place = Place::new();
    place.target.gate_takes(Duration::from_secs(60));
    let mut lab = place.lab(built());
    let cancel = lab.cancel.clone();
    let cancelling = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        cancel.cancel();
    };
    let told = tokio::join!(lab.told(), cancelling).0;
    assert!(told.contains("\ndeploy cancelled: "), "{told}");
    assert!(told.ends_with("run cancelled"), "{told}");
    assert_eq!(place.history().await[0].state, Some(DeploymentState::Cancelled));
    assert!(place.target.seen().units.is_empty(), "what was made is removed");
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_lasts_too_long_is_taken_back_and_timed_out() {
    let place = Place::new();
    place.target.gate_takes(Duration::from_secs(600));
    let mut stages = built();
    stages[1].timeout = pipeline::Duration::from_secs(30);
    let told = place.lab(stages).told().await;
    assert!(told.contains("\ndeploy timed-out: timed out after 30s, without output"), "{told}");
    assert!(place.target.seen().units.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_can_move_is_not_deployed() {
    let place = Place::new();
    let told =
        place.lab(stages(&json!({"reference": "registry.example.net/app:latest"}))).told().await;
    assert!(
        told.contains("deploy failed: image `registry.example.net/app:latest` can change after it was deployed"),
        "{told}"
    );
    assert!(place.history().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_environment_without_a_target_is_the_users_to_define() {
    let place = Place::new();
    let mut lab = place.lab(built()).configured(|config| config.targets.clear());
    let told = lab.told().await;
    assert!(told.contains("deploy failed: environment `demo` has no target here"), "{told}");
}

/// As [`built`], in another configuration each time, verified by the suite `smoke` of the plan.
fn verified(place: &Place, mode: &str, commands: &[&str]) -> Lab {
    let mut stages = built();
    let Work::Deploy(work) = &mut stages[1].work else { panic!("no deploy") };
    work.verify = serde_json::from_value(json!([{"suite": "smoke"}])).unwrap();
    work.verify_env.insert("TOKEN".to_owned(), "x".to_owned());
    work.env.insert("MODE".to_owned(), mode.to_owned());
    let suite = json!([{"image": "debian:12", "run": commands}]);
    let suites = [("smoke".to_owned(), serde_json::from_value(suite).unwrap())];
    let plan = pipeline::Plan { suites: suites.into(), ..plan(stages) };
    place.at(Lab::after(vec![queued(plan)]))
}

#[tokio::test(start_paused = true)]
async fn commands_of_a_suite_are_run_on_the_backend_and_decide() {
    let place = Place::new();
    let mut lab = verified(&place, "1", &["echo all is well"]);
    assert_eq!(lab.told().await, "image passed\ndeploy passed\nreport passed\nrun passed");
    let printed = lab.printed("deploy");
    assert!(printed.contains("  | all is well\n"), "{printed}");
    assert!(printed.contains("smoke 1/1\n"), "{printed}");
    // Of each batch, with what every stage has and what is tested.
    let checks = lab.backend.checks();
    assert_eq!(checks.len(), 2);
    let env = &checks[1].env;
    let told = ["TOKEN", "SHIPLINE_STAGE", "SHIPLINE_ENVIRONMENT", "SHIPLINE_SLOTS"];
    let told = told.map(|name| env.get(name).map(String::as_str));
    assert_eq!(told, ["x", "deploy", "demo", "0 1"].map(Some));

    let mut lab = verified(&place, "2", &["echo prices are 0", "exit 3"]);
    let told = lab.told().await;
    let said = "smoke 0/1: the check in `debian:12` ended with 3, last line: `prices are 0`";
    assert!(told.contains("\ndeploy failed: rolled-back: ") && told.contains(said), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_suite_that_cannot_be_run_is_told_as_that() {
    let place = Place::new();
    verified(&place, "3", &["true"]).told().await;
    let backend = FakeBackend::default().with(CHECK, Script::broken("the engine is away"));
    let told = verified(&place, "4", &["true"]).on(backend).told().await;
    let said = "suite `smoke` could not be run in `debian:12`: the engine is away";
    assert!(told.contains(said), "{told}");
}

#[tokio::test(start_paused = true)]
async fn to_cancel_ends_the_commands_of_a_check() {
    let place = Place::new();
    verified(&place, "5", &["true"]).told().await;
    let backend = FakeBackend::default().with(CHECK, Script::hang());
    let mut lab = verified(&place, "6", &["true"]).on(backend);
    let cancel = lab.cancel.clone();
    let cancelling = async {
        tokio::time::sleep(Duration::from_secs(120)).await;
        cancel.cancel();
    };
    let told = tokio::join!(lab.told(), cancelling).0;
    assert!(told.contains("\ndeploy cancelled"), "{told}");
    assert_eq!(place.history().await[0].state, Some(DeploymentState::RolledBack));
}

/// A stage that writes `files`, and one that deploys those that match.
fn files(patterns: &[&str]) -> Vec<PlannedStage> {
    let make = json!({"action": "run", "image": "busybox:1", "run": ["make"]});
    let deploy = json!({
        "action": "deploy", "environment": "demo", "replicas": 1,
        "hosts": {"artifact": patterns},
    });
    vec![stage_of("make", &[], make), stage_of("deploy", &["make"], deploy)]
}

#[tokio::test(start_paused = true)]
async fn files_of_the_workspace_are_a_release_and_the_same_files_are_the_same() {
    let place = Place::new();
    let script = || {
        let script = Script::exit(0).writing("dist/a", "1").writing("dist/b", "2");
        FakeBackend::default().with("make", script.writing("app.tar", "inside"))
    };
    let mut folders = Vec::new();
    for _ in 0..2 {
        let mut lab = place.lab(files(&["dist/**"])).on(script());
        folders.push(lab.config.as_ref().unwrap().releases.clone());
        assert_eq!(lab.told().await, "make passed\ndeploy passed\nrun passed");
    }
    let releases = place.ledger.releases("test").await.unwrap();
    let hashes: std::collections::BTreeSet<_> = releases
        .iter()
        .map(|release| {
            let Artifact::File { path, sha256 } = &release.artifact else { panic!("{release:?}") };
            assert_eq!(path.file_name().unwrap().to_str().unwrap(), format!("{sha256}.tar.zst"));
            sha256.clone()
        })
        .collect();
    assert_eq!(hashes.len(), 1, "{releases:?}");

    // One archive is not packed once more.
    let mut lab = place.lab(files(&["app.*"])).on(script());
    let folder = lab.config.as_ref().unwrap().releases.join("test");
    assert_eq!(lab.told().await, "make passed\ndeploy passed\nrun passed");
    let found: Vec<_> = std::fs::read_dir(folder).unwrap().flatten().collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(std::fs::read_to_string(found[0].path()).unwrap(), "inside");
    let name = found[0].file_name().into_string().unwrap();
    assert_eq!(name.split_once('.').map(|(hash, end)| (hash.len(), end)), Some((64, "tar")));

    let told = place.lab(files(&["out/**"])).on(script()).told().await;
    let reason = "`out/**` of `hosts.artifact` matches no file; the workspace has";
    assert!(told.contains(&format!("deploy failed: {reason}")), "{told}");
}
