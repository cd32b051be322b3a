//! What a plan on the server is made for: changed files, parameters, and what this
//! version cannot run.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{HELLO, Lab, Repository};

/// What has become of `docs`, which asks for changes below `docs/`, in the last run.
async fn docs(lab: &Lab) -> String {
    let runs = lab.get("/api/v1/runs").await.json();
    let id = runs[0]["run"].as_str().expect("a run");
    let events = lab.get(&format!("/api/v1/runs/{id}/events")).await.lines();
    let plan: &Value = &events[0]["plan"];
    let stages = plan["stages"].as_array().expect("stages");
    let stage = stages.iter().find(|stage| stage["name"] == "docs").expect("the stage");
    let word = |field: &str| stage[field].as_str().expect("a word").to_owned();
    format!("{}: {}", word("state"), word("reason"))
}

async fn pushed(lab: &Lab, repository: &Repository, path: &str) -> String {
    repository.commit_and_push(&[(path, path)]);
    lab.look("orders").await;
    docs(lab).await
}

#[tokio::test]
async fn a_push_has_changed_what_is_new_since_the_push_before_it() {
    let lab = Lab::new().await;
    let repository = lab.orders().await;
    let file =
        "image: busybox:1\nstages:\n  docs: { run: make docs, when: { changed: docs/** } }\n";
    repository.commit_and_push(&[(".shipline.yml", file)]);
    lab.look("orders").await;
    assert!(docs(&lab).await.starts_with("run: "), "nothing is known before the first push");
    assert!(pushed(&lab, &repository, "docs/guide.md").await.starts_with("run: "));
    assert!(pushed(&lab, &repository, "src/main.c").await.starts_with("skip: "));

    repository.git(&["checkout", "-q", "-b", "feature"]);
    repository.git(&["push", "-q", "origin", "feature"]);
    lab.look("orders").await;
    let unknown = docs(&lab).await;
    assert!(unknown.starts_with("run: "), "a new branch has nothing before it: {unknown}");
}

const DEPLOYMENT: &str = "on: { push: {}, manual: { params: { target: { type: enum, values: [a, b], required: true } } } }\n\
    image: busybox:1\n\
    stages: { hello: { run: make, env: { TARGET: \"${{ params.target }}\" }, when: { event: manual } } }\n";

#[tokio::test]
async fn a_run_by_hand_takes_parameters() {
    let lab = Lab::new().await;
    let repository = lab.orders().await;
    repository.commit_and_push(&[(".shipline.yml", DEPLOYMENT)]);
    let start = async |params: Value| {
        lab.post("/api/v1/projects/orders/runs", json!({ "ref": "main", "params": params })).await
    };
    let started = start(json!({ "target": "b" })).await;
    assert_eq!(started.status, StatusCode::ACCEPTED, "{}", started.json());
    let id = started.json()["run"].as_str().expect("a run").to_owned();
    let events = lab.get(&format!("/api/v1/runs/{id}/events")).await.lines();
    assert_eq!(events[0]["plan"]["params"], json!({ "target": "b" }));

    let refused = start(json!({ "target": "c" })).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.json()["detail"].as_str().expect("text").contains("E066"));
}

#[tokio::test]
async fn parameters_that_cannot_be_kept_whole_are_refused() {
    let lab = Lab::new().await;
    let repository = lab.orders().await;
    repository.commit_and_push(&[(".shipline.yml", HELLO)]);
    let asked = json!({ "ref": "main", "params": { "target": "x".repeat(70_000) } });
    let long = lab.post("/api/v1/projects/orders/runs", asked).await;
    assert_eq!(long.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(long.json()["detail"], json!("the parameters are longer than 64 KiB"));
}

#[tokio::test]
async fn what_this_version_cannot_run_is_not_queued_and_the_record_says_why() {
    let lab = Lab::new().await;
    let repository = lab.orders().await;
    let file = "image: busybox:1\nstages:\n  hello: { approve: { by: [jo] } }\n";
    repository.commit_and_push(&[(".shipline.yml", file)]);
    lab.look("orders").await;
    assert_eq!(lab.get("/api/v1/runs").await.json(), json!([]));
    let trigger = lab.trigger().await;
    assert_eq!(trigger["verdict"], "failed");
    let reason = trigger["reason"].as_str().expect("a reason");
    let sentence = "error[E018]: stage `hello` uses `approve`, which this version cannot run yet\n  --> .shipline.yml:3:";
    assert!(reason.starts_with(sentence), "{reason}");

    repository.commit_and_push(&[(".shipline.yml", &format!("auto: false\n{HELLO}"))]);
    lab.look("orders").await;
    let reason = lab.trigger().await["reason"].as_str().expect("a reason").to_owned();
    assert!(reason.contains("`auto: false` holds the run"), "{reason}");
    let by_hand = lab.post("/api/v1/projects/orders/runs", json!({ "ref": "main" })).await;
    assert_eq!(by_hand.status, StatusCode::ACCEPTED, "somebody starts it");
}
