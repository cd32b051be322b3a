use std::sync::Arc;
use std::time::Duration;

use deploy::testing::{FaultKind, MemoryLedger, MemoryTarget};
use deploy::{Artifact, EnvironmentKey, Ledger};
use event::{DeploymentState, EventKind, RunState};
use pipeline::PlannedStage;
use serde_json::json;

use super::Lab;
use crate::testing::{stage, stage_of};

struct Place {
    ledger: Arc<MemoryLedger>,
    target: Arc<MemoryTarget>,
}

impl Place {
    fn new() -> Self {
        Self { ledger: Arc::default(), target: Arc::default() }
    }

    fn lab(&self, stages: Vec<PlannedStage>) -> Lab {
        Lab::new(stages).configured(|config| {
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
