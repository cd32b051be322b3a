use std::time::Duration;

use event::Outputs;
use pipeline::{AllowFailure, PlannedStage, RunOn};

use super::Lab;
use crate::backend::fake::{FakeBackend, Script};
use crate::testing::{checkout, stage_of};
use crate::{Registry, SideEffects};

fn stages() -> Vec<PlannedStage> {
    let build = serde_json::json!({"action": "build", "context": ".", "file": "Dockerfile"});
    let push = serde_json::json!({
        "action": "push", "image": {"stage": "image"}, "registry": "harbor",
        "tags": ["harbor.example.net/team/app:1", "harbor.example.net/team/app:main"],
    });
    vec![checkout(), stage_of("image", &["checkout"], build), stage_of("publish", &["image"], push)]
}

fn with_harbor(lab: Lab) -> Lab {
    lab.configured(|config| {
        let registry = Registry {
            host: "harbor.example.net".to_owned(),
            username: "ci".to_owned(),
            password: "hunter22".to_owned(),
            ca_file: None,
        };
        config.registries.named.insert("harbor".to_owned(), registry);
    })
}

fn digest(of: &str) -> String {
    format!("sha256:{:0>64}", hex::encode(of))
}

#[tokio::test(start_paused = true)]
async fn what_a_stage_built_is_what_is_pushed() {
    let mut lab = with_harbor(Lab::new(stages()));
    assert_eq!(lab.told().await, "checkout passed\nimage passed\npublish passed\nrun passed");
    let push = format!(
        "push {} as harbor.example.net/team/app:1 harbor.example.net/team/app:main",
        digest("image")
    );
    assert!(lab.backend.calls().contains(&push), "{:?}", lab.backend.calls());
    let state = event::RunState::fold(&lab.journal.events()).unwrap();
    let expected = Outputs::from([
        ("digest".to_owned(), digest("publish").into()),
        ("ref".to_owned(), format!("harbor.example.net/team/app@{}", digest("publish")).into()),
    ]);
    assert_eq!(state.stage("publish").unwrap().outputs, expected);
}

#[tokio::test(start_paused = true)]
async fn the_gate_of_a_push_reaches_the_backend() {
    let mut stages = stages();
    let scan =
        serde_json::json!({"max-severity": "high", "timeout": "5m", "on-unscannable": "pass"});
    let pipeline::Work::Push(work) = &mut stages[2].work else { panic!("it pushes") };
    work.scan = serde_json::from_value(scan).unwrap();
    let wanted = work.scan.clone();
    let mut lab = with_harbor(Lab::new(stages));
    lab.told().await;
    let push = lab.backend.pushes().remove(0);
    assert!(wanted.is_some() && push.scan == wanted, "{push:?}");
}

#[tokio::test(start_paused = true)]
async fn a_registry_nobody_configured_is_named_with_those_there_are() {
    let mut lab = with_harbor(Lab::new(stages())).configured(|config| {
        let harbor = config.registries.named.remove("harbor").unwrap();
        config.registries.named.insert("quay".to_owned(), harbor);
    });
    let told = lab.told().await;
    assert!(
        told.contains("publish failed: registry `harbor` is not configured; there are: quay\n"),
        "{told}"
    );
}

#[tokio::test(start_paused = true)]
async fn withheld_side_effects_build_but_do_not_push() {
    let mut lab = with_harbor(Lab::new(stages()))
        .configured(|config| config.side_effects = SideEffects::Withheld);
    let told = lab.told().await;
    assert!(told.contains("image passed\npublish skipped: side effects are withheld; "), "{told}");
    assert!(told.ends_with("run passed"));
    assert!(!lab.backend.calls().iter().any(|call| call.starts_with("push")));
}

#[tokio::test(start_paused = true)]
async fn a_build_that_lasts_too_long_is_timed_out_with_its_last_line() {
    let mut stages = stages();
    stages[1].timeout = pipeline::Duration::from_secs(30);
    let script = Script::hang().printing("step 3/9\n");
    let mut lab = with_harbor(Lab::new(stages)).on(FakeBackend::default().with("image", script));
    let told = lab.told().await;
    assert!(
        told.contains("image timed-out: timed out after 30s, last line: `step 3/9`\npublish blocked: `image` failed"),
        "{told}"
    );
}

/// Runs with a push that plays `script`, and cancels after four seconds.
async fn cancelled_push(script: Script) -> String {
    let mut lab =
        with_harbor(Lab::new(stages())).on(FakeBackend::default().with("publish", script));
    let cancel = lab.cancel.clone();
    let cancelling = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        cancel.cancel();
    };
    tokio::join!(lab.told(), cancelling).0
}

#[tokio::test(start_paused = true)]
async fn a_push_that_heeds_the_cancel_is_cancelled_and_one_that_was_done_has_passed() {
    let push = Script::exit(0).after(Duration::from_secs(5));
    let told = cancelled_push(push.clone()).await;
    assert!(told.ends_with("publish cancelled\nrun cancelled"), "{told}");
    let told = cancelled_push(push.ignoring_term()).await;
    assert!(told.ends_with("publish passed\nrun cancelled"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn an_image_that_an_allowed_failure_did_not_make_fails_those_who_push_it() {
    let mut stages = stages();
    stages[1].allow_failure = Some(AllowFailure::Any);
    let mut lab =
        with_harbor(Lab::new(stages)).on(FakeBackend::default().with("image", Script::exit(1)));
    let told = lab.told().await;
    assert!(
        told.ends_with(
            "\npublish failed: stage `image` left no image to push: it failed, which its `allow-failure` lets pass\nrun failed"
        ),
        "{told}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_image_that_failed_is_no_fault_of_the_infrastructure_for_those_who_push_it_always() {
    let mut stages = stages();
    stages[2].run_on = RunOn::Always;
    let mut lab =
        with_harbor(Lab::new(stages)).on(FakeBackend::default().with("image", Script::exit(1)));
    let told = lab.told().await;
    assert!(
        told.ends_with(
            "\npublish failed: stage `image` left no image to push: it ended `failed`\nrun failed"
        ),
        "{told}"
    );
}

/// Stages whose build names two secrets, of which the run has `given`.
fn with_secrets(given: &[(&str, &str)], trusted: bool) -> Lab {
    let mut stages = stages();
    stages[1].secrets = serde_json::from_value(serde_json::json!([
        {"name": "NPM", "present": true, "env": "NPM_TOKEN"},
        {"name": "KEY", "present": true, "file": true},
    ]))
    .unwrap();
    let mut plan = crate::testing::plan(stages);
    plan.trusted = trusted;
    let given = given.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let script = Script::exit(0).printing("npm said swordfish-1\n");
    with_harbor(Lab::after(vec![crate::testing::queued(plan)]))
        .on(FakeBackend::default().with("image", script))
        .configured(|config| config.secrets = crate::Secrets(given.collect()))
}

#[tokio::test(start_paused = true)]
async fn a_build_gets_the_secrets_it_names_and_nobody_sees_them() {
    let mut lab =
        with_secrets(&[("NPM", "swordfish-1"), ("KEY", "short"), ("OTHER", "not-for-it")], true);
    let told = lab.told().await;
    assert!(told.contains("image passed"), "{told}");
    let build = lab.backend.builds().remove(0);
    let got: Vec<_> =
        build.secrets.iter().map(|secret| (secret.id(), secret.value.as_str())).collect();
    assert_eq!(got, [("NPM_TOKEN".to_owned(), "swordfish-1"), ("KEY".to_owned(), "short")]);
    assert!(!format!("{build:?}").contains("swordfish"), "{build:?}");
    let printed = lab.printed("image");
    assert!(printed.contains("npm said ***"), "{printed}");
    assert!(printed.contains("W052: secret `KEY` is shorter than 8 characters"), "{printed}");
}

#[tokio::test(start_paused = true)]
async fn a_build_without_its_secrets_or_for_strangers_does_not_begin() {
    let mut lab = with_secrets(&[("NPM", "swordfish-1")], true);
    let told = lab.told().await;
    assert!(told.contains("image failed: secret `KEY` is not there: for local runs, "), "{told}");
    let mut lab = with_secrets(&[("NPM", "swordfish-1"), ("KEY", "s")], false);
    let told = lab.told().await;
    assert!(told.contains("image failed: secrets are not for runs of people who"), "{told}");
    assert!(lab.backend.builds().is_empty());
}
