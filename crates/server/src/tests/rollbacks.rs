//! What runs in an environment, and the way back.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Lab, Repository};

/// Pushes a version and waits until its run has deployed it.
pub(super) async fn deploy(lab: &Lab, repository: &Repository, version: &str) -> Value {
    deploy_telling(lab, repository, version, "").await
}

/// As [`deploy`], with more lines in the pipeline file.
pub(super) async fn deploy_telling(
    lab: &Lab,
    repository: &Repository,
    version: &str,
    more: &str,
) -> Value {
    let detail = push(lab, repository, version, more).await;
    assert_eq!(detail["result"], "passed", "{detail:#}");
    lab.get(TEST).await.json()
}

/// Pushes a version and returns its run when that has ended.
pub(super) async fn push(lab: &Lab, repository: &Repository, version: &str, more: &str) -> Value {
    // The fake backend gives each stage an image of its own.
    let pipeline = format!(
        "image: busybox:1\nstages:\n  image-{version}: {{ build: {{}} }}\n  \
         deploy: {{ deploy: {{ environment: test, image: image-{version}, replicas: 2 }} }}\n{more}"
    );
    repository.commit_and_push(&[(".shipline.yml", &pipeline)]);
    lab.look("orders").await;
    let run =
        lab.get("/api/v1/runs?limit=1").await.json()[0]["run"].as_str().expect("an id").to_owned();
    lab.finish(&run).await;
    lab.get(&format!("/api/v1/runs/{run}")).await.json()
}

pub(super) const TEST: &str = "/api/v1/projects/orders/environments/test";

#[tokio::test]
async fn the_status_says_what_is_wanted_and_what_runs() {
    let mut lab = Lab::new().await;
    lab.start();
    let repository = lab.orders().await;
    let empty = lab.get(TEST).await.json();
    assert_eq!(
        empty,
        json!({
            "project": "orders", "environment": "test", "release": null, "version": null, "wanted": null,
            "units": [], "deployments": [], "locked_by": null,
        })
    );
    let status = deploy(&lab, &repository, "1").await;
    assert_eq!((&status["wanted"], &status["locked_by"]), (&json!(2), &json!(null)));
    let units = status["units"].as_array().expect("units");
    assert_eq!(units.len(), 2, "{status:#}");
    for (slot, unit) in units.iter().enumerate() {
        assert_eq!((&unit["slot"], &unit["admitted"]), (&json!(slot), &json!(true)), "{unit:#}");
        assert_eq!((&unit["release"], &unit["version"]), (&status["release"], &status["version"]));
    }
    let deployments = status["deployments"].as_array().expect("deployments");
    assert_eq!(deployments.len(), 1);
    assert_eq!(
        (&deployments[0]["kind"], &deployments[0]["state"]),
        (&json!("deploy"), &json!("succeeded"))
    );
    let environments = lab.get("/api/v1/projects/orders/environments").await.json();
    assert_eq!(
        environments,
        json!([{ "environment": "test", "target": "memory", "tier": "dev", "url": null }])
    );
    lab.stop().await;
}

#[tokio::test]
async fn a_rollback_waits_for_its_real_outcome() {
    let mut lab = Lab::new().await;
    lab.start();
    let repository = lab.orders().await;
    let path = format!("{TEST}/deployments?wait=true");
    let nothing = lab.post(&path, json!({ "kind": "rollback" })).await;
    assert_eq!(nothing.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(nothing.text.contains("has nothing to go back to"), "{}", nothing.text);

    let first = deploy(&lab, &repository, "1").await;
    let second = deploy(&lab, &repository, "2").await;
    let back = lab.post(&path, json!({ "kind": "rollback", "reason": "wrong prices" })).await;
    assert_eq!(back.status, StatusCode::OK, "{}", back.text);
    let outcome = back.json();
    assert_eq!(
        (&outcome["state"], &outcome["release"], &outcome["previous"]),
        (&json!("succeeded"), &first["release"], &second["release"]),
        "{outcome:#}"
    );
    assert!(outcome["duration_ms"].is_u64());
    let status = lab.get(TEST).await.json();
    assert_eq!(status["release"], first["release"]);
    let last = &status["deployments"][0];
    assert_eq!(
        (&last["kind"], &last["reason"], &last["by"]),
        (&json!("rollback"), &json!("wrong prices"), &json!("admin"))
    );

    // To a named one, by its last eight digits.
    let short = second["release"].as_str().expect("an id").replace('-', "");
    let named = json!({ "kind": "rollback", "release": &short[short.len() - 8..] });
    assert_eq!(lab.post(&path, named).await.json()["release"], second["release"]);
    let unknown = lab.post(&path, json!({ "kind": "rollback", "release": "nobody" })).await;
    assert_eq!(unknown.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(unknown.text.contains("there is no release `nobody`"), "{}", unknown.text);
    lab.stop().await;
}

#[tokio::test]
async fn what_did_not_succeed_is_never_called_accepted() {
    let mut lab = Lab::new().await;
    lab.start();
    let repository = lab.orders().await;
    let first = deploy(&lab, &repository, "1").await;
    let second = deploy(&lab, &repository, "2").await;
    let release = first["release"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    lab.target.never_healthy(release);
    let back = lab
        .post(&format!("{TEST}/deployments?wait=true"), json!({ "kind": "rollback" }))
        .await
        .json();
    assert_ne!(back["state"], "succeeded");
    assert!(back["reason"].is_string(), "{back:#}");
    assert_eq!(lab.get(TEST).await.json()["release"], second["release"]);
    lab.stop().await;
}

#[tokio::test]
async fn releases_are_listed_and_unknown_environments_are_404() {
    let mut lab = Lab::new().await;
    lab.start();
    let repository = lab.orders().await;
    deploy(&lab, &repository, "1").await;
    let releases = lab.get("/api/v1/projects/orders/releases").await.json();
    assert_eq!(releases.as_array().map(Vec::len), Some(1), "{releases:#}");
    for path in
        ["/api/v1/projects/orders/environments/prod", "/api/v1/projects/nobody/environments/test"]
    {
        assert_eq!(lab.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
        let path = format!("{path}/deployments");
        assert_eq!(
            lab.post(&path, json!({ "kind": "rollback" })).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    lab.stop().await;
}
