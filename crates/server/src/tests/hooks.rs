//! Signed webhooks, from the delivery to the run.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use chrono::Utc;
use serde_json::{Value, json};

use super::{Answer, HELLO, Lab};
use crate::forge::sign;

const SECRET: &str = "a hook secret";

async fn deliver(lab: &Lab, project: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method("POST").uri(format!("/hooks/generic/{project}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    lab.send(request.body(Body::from(body.to_owned())).expect("a request")).await
}

async fn deliver_signed(lab: &Lab, secret: &str, body: &str) -> Answer {
    let time = Utc::now().timestamp().to_string();
    let signature = sign(secret, &time, body.as_bytes());
    deliver(
        lab,
        "orders",
        body,
        &[("x-shipline-timestamp", &time), ("x-shipline-signature", &signature)],
    )
    .await
}

fn push(sha: &str) -> String {
    json!({ "ref": "refs/heads/main", "sha": sha }).to_string()
}

#[tokio::test]
async fn a_delivery_wakes_the_loop_and_its_commit_runs() {
    let mut lab = Lab::new().await;
    lab.start();
    let repository = lab.project("orders", json!({ "hook_secret": SECRET })).await;
    let sha = repository.commit_and_push(&[(".shipline.yml", HELLO)]);
    let answer = deliver_signed(&lab, SECRET, &push(&sha)).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);

    let trigger = decided(&lab).await;
    assert_eq!((&trigger["source"], &trigger["verdict"]), (&json!("generic"), &json!("started")));
    let run = lab.run().await;
    assert_eq!((&run["sha"], &run["event"]), (&json!(sha), &json!("push")));
    lab.finish(run["run"].as_str().expect("an id")).await;

    // The poll that follows sees nothing new.
    lab.look("orders").await;
    lab.run().await;
    lab.stop().await;
}

/// The newest trigger, once it has a verdict.
async fn decided(lab: &Lab) -> Value {
    let decided = async {
        loop {
            let trigger = lab.trigger().await;
            if trigger["verdict"] != "pending" {
                return trigger;
            }
            // The loop runs beside; nothing tells of a verdict.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), decided).await.expect("a verdict")
}

#[tokio::test]
async fn a_delivery_that_comes_twice_starts_one_run() {
    let lab = Lab::new().await;
    let repository = lab.project("orders", json!({ "hook_secret": SECRET })).await;
    let sha = repository.commit_and_push(&[(".shipline.yml", HELLO)]);
    let time = Utc::now().timestamp().to_string();
    let (body, other) = (push(&sha), format!(" {}", push(&sha)));
    let signature = sign(SECRET, &time, body.as_bytes());
    let signed = [("x-shipline-timestamp", time.as_str()), ("x-shipline-signature", &signature)];
    assert_eq!(deliver(&lab, "orders", &body, &signed).await.status, StatusCode::ACCEPTED);
    let again = deliver(&lab, "orders", &body, &signed).await;
    assert_eq!((again.status, &again.json()["status"]), (StatusCode::OK, &json!("duplicate")));

    // With an id of the sender it is the id that counts.
    let signature = sign(SECRET, &time, other.as_bytes());
    let named = [
        ("x-shipline-timestamp", time.as_str()),
        ("x-shipline-signature", &signature),
        ("x-shipline-delivery", "42"),
    ];
    assert_eq!(deliver(&lab, "orders", &other, &named).await.status, StatusCode::ACCEPTED);
    assert_eq!(deliver(&lab, "orders", &other, &named).await.status, StatusCode::OK);

    lab.look("orders").await;
    assert_eq!(lab.run().await["sha"], json!(sha));
    let triggers = lab.get("/api/v1/triggers?project=orders").await.json();
    let verdicts: Vec<_> = triggers
        .as_array()
        .expect("a list")
        .iter()
        .map(|trigger| trigger["verdict"].clone())
        .collect();
    assert_eq!(verdicts, [json!("ignored"), json!("started")], "{triggers:#}");
}

#[tokio::test]
async fn an_overheard_delivery_starts_nothing_under_another_id() {
    let lab = Lab::new().await;
    let repository = lab.project("orders", json!({ "hook_secret": SECRET })).await;
    let sha = repository.commit_and_push(&[(".shipline.yml", HELLO)]);
    let time = Utc::now().timestamp().to_string();
    let body = push(&sha);
    let signature = sign(SECRET, &time, body.as_bytes());
    let mut statuses = Vec::new();
    for (id, signature) in [("1", signature.clone()), ("2", spelled_otherwise(&signature))] {
        let headers = [
            ("x-shipline-timestamp", time.as_str()),
            ("x-shipline-signature", &signature),
            ("x-shipline-delivery", id),
        ];
        statuses.push(deliver(&lab, "orders", &body, &headers).await.json()["status"].clone());
    }
    assert_eq!(statuses, [json!("accepted"), json!("duplicate")]);
}

/// The same signature with capital digits.
fn spelled_otherwise(signature: &str) -> String {
    signature.to_ascii_uppercase().replace("SHA256", "sha256")
}

#[tokio::test]
async fn whoever_cannot_sign_gets_the_same_answer_whatever_is_wrong() {
    let lab = Lab::new().await;
    lab.project("orders", json!({ "hook_secret": SECRET })).await;
    lab.project("open", json!({})).await;
    let body = push(&"0a".repeat(20));
    let time = Utc::now().timestamp().to_string();
    let old = (Utc::now().timestamp() - 301).to_string();
    let signed = |secret: &str, time: &str| sign(secret, time, body.as_bytes());
    let (good, wrong, empty, late) =
        (signed(SECRET, &time), signed("other", &time), signed("", &time), signed(SECRET, &old));
    let sha1 = good.replace("sha256=", "sha1=");
    let mut answers = Vec::new();
    for (project, time, signature) in [
        ("orders", Some(&time), None),
        ("orders", None, Some(&good)),
        ("orders", Some(&time), Some(&wrong)),
        ("orders", Some(&time), Some(&sha1)),
        ("orders", Some(&old), Some(&late)),
        ("open", Some(&time), Some(&empty)),
        ("nobody", Some(&time), Some(&good)),
    ] {
        let mut headers = Vec::new();
        headers.extend(time.map(|time| ("x-shipline-timestamp", time.as_str())));
        headers.extend(signature.map(|signature| ("x-shipline-signature", signature.as_str())));
        let answer = deliver(&lab, project, &body, &headers).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{project} {headers:?}");
        answers.push(answer.text);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(lab.get("/api/v1/triggers").await.json(), json!([]));
}

#[tokio::test]
async fn a_signed_delivery_that_makes_no_sense_is_400_and_a_large_one_413() {
    let lab = Lab::new().await;
    lab.project("orders", json!({ "hook_secret": SECRET })).await;
    let sha = "0a".repeat(20);
    for body in [
        "{".to_owned(),
        "[]".to_owned(),
        json!({ "ref": "main" }).to_string(),
        json!({ "ref": 1, "sha": sha }).to_string(),
        json!({ "ref": "--upload-pack=x", "sha": sha }).to_string(),
        json!({ "ref": "main", "sha": "HEAD" }).to_string(),
        "[".repeat(100_000),
    ] {
        let answer = deliver_signed(&lab, SECRET, &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", &body[..body.len().min(80)]);
    }
    let large = format!("{{\"ref\":\"{}\"}}", "a".repeat(5 * 1024 * 1024));
    assert_eq!(deliver_signed(&lab, SECRET, &large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(lab.get("/api/v1/triggers").await.json(), json!([]));
}

#[tokio::test]
async fn a_commit_that_is_not_on_the_branch_starts_nothing() {
    let lab = Lab::new().await;
    let repository = lab.project("orders", json!({ "hook_secret": SECRET })).await;
    repository.commit_and_push(&[(".shipline.yml", HELLO)]);
    lab.look("orders").await;
    repository.git(&["checkout", "--quiet", "-b", "side"]);
    let side = repository.commit_and_push(&[("a", "1")]);
    let unknown = "0a".repeat(20);
    for (sha, reason) in [
        (&side, format!("commit {side} is not on `main`")),
        (&unknown, format!("commit {unknown} is gone")),
    ] {
        assert_eq!(deliver_signed(&lab, SECRET, &push(sha)).await.status, StatusCode::ACCEPTED);
        lab.look("orders").await;
        let triggers = lab.get("/api/v1/triggers").await.json();
        let of_hook = triggers
            .as_array()
            .expect("a list")
            .iter()
            .find(|trigger| trigger["source"] == "generic" && trigger["sha"] == sha.as_str())
            .expect("recorded")
            .clone();
        assert_eq!((&of_hook["verdict"], &of_hook["reason"]), (&json!("failed"), &json!(reason)));
    }
}

#[tokio::test]
async fn a_late_delivery_of_an_older_commit_does_not_run_the_newer_one_twice() {
    let lab = Lab::new().await;
    let repository = lab.project("orders", json!({ "hook_secret": SECRET })).await;
    let first = repository.commit_and_push(&[(".shipline.yml", HELLO)]);
    let second = repository.commit_and_push(&[("a", "1")]);
    lab.look("orders").await;
    assert_eq!(lab.run().await["sha"], json!(second));
    assert_eq!(deliver_signed(&lab, SECRET, &push(&first)).await.status, StatusCode::ACCEPTED);
    lab.look("orders").await;
    lab.look("orders").await;
    let runs = lab.get("/api/v1/runs").await.json();
    let shas: Vec<_> =
        runs.as_array().expect("runs").iter().map(|run| run["sha"].clone()).collect();
    assert_eq!(shas, [json!(first), json!(second)], "each of the two, once");
}

#[tokio::test]
async fn a_flood_of_one_project_is_told_to_come_back_later() {
    let lab = Lab::new().await;
    lab.project("orders", json!({ "hook_secret": SECRET })).await;
    let now = tokio::time::Instant::now() + std::time::Duration::from_secs(1);
    while lab.app.rate.admits("orders", now) {}
    let answer = deliver_signed(&lab, SECRET, &push(&"0a".repeat(20))).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(lab.get("/api/v1/triggers").await.json(), json!([]));
}
