//! What people do to an environment, asked of the API.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::rollbacks::{TEST, deploy, deploy_telling, push};
use super::{Answer, Lab};

async fn order(lab: &Lab, query: &str, body: Value) -> Answer {
    lab.post(&format!("{TEST}/deployments{query}"), body).await
}

async fn serving(lab: &Lab) -> usize {
    let status = lab.get(TEST).await.json();
    let units = status["units"].as_array().expect("units");
    units.iter().filter(|unit| unit["admitted"] == true && unit["state"] == "running").count()
}

#[tokio::test]
async fn every_change_is_one_route_and_ends_as_it_was_observed() {
    let mut lab = Lab::new().await;
    lab.start();
    let repository = lab.orders().await;
    let nothing = order(&lab, "?wait=true", json!({ "kind": "restart" })).await;
    assert_eq!(nothing.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", nothing.text);
    let first = deploy(&lab, &repository, "1").await;
    deploy(&lab, &repository, "2").await;

    let done = async |body: Value| {
        let answer = order(&lab, "?wait=true", body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(answer.json()["state"], "succeeded", "{}", answer.text);
    };
    done(json!({ "kind": "scale", "replicas": 3 })).await;
    assert_eq!(serving(&lab).await, 3);
    // A server takes the configuration that stands, and what was scaled stays.
    done(json!({ "kind": "deploy", "release": first["version"] })).await;
    let status = lab.get(TEST).await.json();
    assert_eq!((&status["release"], serving(&lab).await), (&first["release"], 3), "{status:#}");
    done(json!({ "kind": "restart" })).await;
    done(json!({ "kind": "stop" })).await;
    assert_eq!(serving(&lab).await, 0);
    let status = lab.get(TEST).await.json();
    assert_eq!((&status["stopped"], &status["drift"]), (&json!(true), &Value::Null));
    done(json!({ "kind": "start" })).await;
    assert_eq!(serving(&lab).await, 3);

    let history = lab.get(&format!("{TEST}/deployments?limit=3")).await.json();
    let kinds: Vec<_> = history.as_array().expect("a list").iter().map(|it| &it["kind"]).collect();
    assert_eq!(kinds, ["start", "stop", "restart"]);
    for body in [json!({ "kind": "scale" }), json!({ "kind": "stop", "release": "1" }), json!({})] {
        let wrong = order(&lab, "", body).await;
        assert_eq!(wrong.status, StatusCode::BAD_REQUEST, "{}", wrong.text);
    }
    lab.stop().await;
}

#[tokio::test]
async fn some_units_and_ways_back_in_haste_are_asked_for_and_told() {
    let mut lab = Lab::new().await;
    lab.start();
    let repository = lab.orders().await;
    let first = deploy(&lab, &repository, "1").await;
    deploy(&lab, &repository, "2").await;
    let done = async |body: Value| {
        let answer = order(&lab, "?wait=true", body).await;
        assert_eq!(answer.json()["state"], "succeeded", "{}", answer.text);
    };
    done(json!({ "kind": "deploy", "release": first["version"], "only": ["1"] })).await;
    let status = lab.get(TEST).await.json();
    assert_ne!(status["release"], first["release"], "what should run is as it was");
    assert_eq!(status["drift"][0]["slot"], 1, "{status:#}");
    assert_eq!(status["deployments"][0]["slots"], json!([1]), "{status:#}");
    done(json!({ "kind": "rollback", "emergency": true, "reason": "fire" })).await;
    let status = lab.get(TEST).await.json();
    assert_eq!(status["release"], first["release"], "{status:#}");
    assert_eq!(status["deployments"][0]["emergency"], true, "{status:#}");
    for (body, said) in [
        (json!({ "kind": "restart", "only": ["host=web-1"] }), "selects by host"),
        (json!({ "kind": "restart", "only": ["7"] }), "slot 7 is none of the 2"),
        (json!({ "kind": "scale", "replicas": 3, "only": ["0"] }), "take no `only`"),
        (json!({ "kind": "rollback", "emergency": true }), "an emergency has a `reason`"),
    ] {
        let wrong = order(&lab, "", body).await;
        assert_eq!(wrong.status, StatusCode::BAD_REQUEST, "{}", wrong.text);
        assert!(wrong.text.contains(said), "{}", wrong.text);
    }
    lab.stop().await;
}

#[tokio::test]
async fn a_preview_changes_nothing_and_leaves_no_trace() {
    let mut lab = Lab::new().await;
    lab.start();
    let repository = lab.orders().await;
    deploy(&lab, &repository, "1").await;
    let image = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let body = json!({ "kind": "deploy", "image": image });
    let preview = order(&lab, "?dry-run=true", body).await.json();
    assert_eq!((&preview["replicas"], &preview["nothing_to_do"]), (&json!(2), &json!(false)));
    assert!(preview["batches"][0]["phases"][0][0]["action"] == "create", "{preview:#}");
    let releases = lab.get("/api/v1/projects/orders/releases").await.json();
    assert_eq!(releases.as_array().map(Vec::len), Some(1), "{releases:#}");
    let history = lab.get(&format!("{TEST}/deployments")).await.json();
    assert_eq!(history.as_array().map(Vec::len), Some(1), "{history:#}");
    lab.stop().await;
}

#[tokio::test]
async fn a_deployment_that_was_begun_is_followed_marked_and_found() {
    let mut lab = Lab::new().await;
    lab.start();
    let repository = lab.orders().await;
    deploy(&lab, &repository, "1").await;
    let begun = order(&lab, "", json!({ "kind": "restart", "reason": "a leak" })).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.text);
    let id = begun.json()["deployment"].as_str().expect("an id").to_owned();
    let path = format!("/api/v1/deployments/{id}");
    let events = lab.get(&format!("{path}/events?follow=true")).await.lines();
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["kind"].as_str()).collect();
    assert_eq!(kinds[0], "deployment.requested");
    assert_eq!(kinds.last(), Some(&"deployment.finished"), "{kinds:?}");
    let rest = lab.get(&format!("{path}/events?after={}", events.len() - 1)).await.lines();
    assert_eq!(rest.len(), 1);

    let late = lab.post(&format!("{path}/decision"), json!({ "decision": "continue" })).await;
    assert_eq!(late.status, StatusCode::CONFLICT, "{}", late.text);
    let marked = lab.post(&format!("{path}/verdict"), json!({ "verdict": "bad" })).await.json();
    assert_eq!((&marked["verdict"], &marked["reason"]), (&json!("bad"), &json!("a leak")));
    let short = id.replace('-', "");
    let found = lab.get(&format!("/api/v1/deployments/{}", &short[short.len() - 8..])).await.json();
    assert_eq!(found["deployment"], json!(id));
    let ended = lab.post(&format!("{path}/cancel"), json!({})).await;
    assert_eq!(ended.status, StatusCode::CONFLICT, "{}", ended.text);
    assert_eq!(lab.get("/api/v1/deployments/00000000").await.status, StatusCode::NOT_FOUND);
    lab.stop().await;
}

#[tokio::test]
async fn a_deployment_is_cancelled_from_elsewhere() {
    let mut lab = Lab::new().await;
    lab.start();
    let repository = lab.orders().await;
    deploy(&lab, &repository, "1").await;
    lab.target.gate_takes(Duration::from_secs(600));
    let begun = order(&lab, "", json!({ "kind": "restart" })).await.json();
    let path = format!("/api/v1/deployments/{}", begun["deployment"].as_str().expect("an id"));
    let cancelled = lab.post(&format!("{path}/cancel"), json!({})).await;
    assert_eq!(cancelled.status, StatusCode::ACCEPTED, "{}", cancelled.text);
    lab.target.gate_takes(Duration::ZERO);
    let events = lab.get(&format!("{path}/events?follow=true")).await.lines();
    assert_eq!(events.last().map(|event| &event["state"]), Some(&json!("cancelled")));
    assert_eq!(serving(&lab).await, 2);
    lab.stop().await;
}

#[tokio::test]
async fn a_lock_refuses_with_its_reason_and_lets_a_rollback_through() {
    let mut lab = Lab::new().await;
    lab.start();
    let repository = lab.orders().await;
    deploy(&lab, &repository, "1").await;
    deploy(&lab, &repository, "2").await;
    let path = format!("{TEST}/lock");
    let until = chrono::Utc::now() + chrono::TimeDelta::hours(2);
    let lock = json!({ "reason": "stocktaking", "until": until });
    assert_eq!(lab.call("PUT", &path, Some(lock)).await.status, StatusCode::OK);
    let status = lab.get(TEST).await.json();
    assert_eq!(status["lock"]["owner"], "admin", "{status:#}");
    let refused = order(&lab, "?wait=true", json!({ "kind": "restart" })).await.json();
    let reason = refused["reason"].as_str().expect("a reason");
    assert_eq!(refused["state"], "refused");
    assert!(
        reason.contains("locked by admin until") && reason.ends_with("stocktaking"),
        "{reason}"
    );
    let back = order(&lab, "?wait=true", json!({ "kind": "rollback" })).await.json();
    assert_eq!(back["state"], "succeeded", "{back:#}");

    assert_eq!(lab.call("DELETE", &path, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(lab.call("DELETE", &path, None).await.status, StatusCode::NOT_FOUND);
    let past = json!({ "reason": "late", "until": chrono::DateTime::UNIX_EPOCH });
    assert_eq!(lab.call("PUT", &path, Some(past)).await.status, StatusCode::BAD_REQUEST);
    lab.stop().await;
}

#[tokio::test]
async fn haste_and_force_are_mailed_to_the_people_of_an_environment() {
    let mut lab = Lab::new().await;
    lab.start();
    let repository = lab.orders().await;
    let rules = "notify: { mail: [{ to: ops@corp.example, on: unhealthy }, \
                 { to: dev@corp.example, on: failed }] }\n";
    deploy(&lab, &repository, "1").await;
    let haste = json!({ "kind": "rollback", "emergency": true, "reason": "orders are lost" });
    let first = order(&lab, "?wait=true&dry-run=true", haste.clone()).await.json();
    assert_eq!(first.get("told"), None, "nothing is done: {first:#}");
    deploy_telling(&lab, &repository, "2", rules).await;
    let people = json!(["dev@corp.example", "ops@corp.example"]);
    let back = order(&lab, "?wait=true", haste.clone()).await.json();
    assert_eq!((&back["state"], &back["told"]), (&json!("succeeded"), &people), "{back:#}");
    let waits = "the mail waits: the server's configuration has no [smtp]";
    assert_eq!(back["note"], waits);

    let path = format!("{TEST}/lock");
    let until = chrono::Utc::now() + chrono::TimeDelta::hours(2);
    let lock = json!({ "reason": "stocktaking", "until": until });
    lab.call("PUT", &path, Some(lock)).await;
    let opened = lab.call("DELETE", &format!("{path}?force=true"), None).await;
    assert_eq!(opened.status, StatusCode::OK);
    assert_eq!((&opened.json()["owner"], &opened.json()["told"]), (&json!("admin"), &people));
    let mails = lab.get("/api/v1/outbox").await.json();
    let mails = mails.as_array().expect("a list").iter();
    let mut told: Vec<_> = mails.map(|mail| mail["subject"].as_str().expect("text")).collect();
    told.retain(|subject| subject.ends_with("by admin"));
    told.sort_unstable();
    assert_eq!(
        told,
        ["[orders] emergency rollback: test, by admin", "[orders] lock opened: test, by admin"]
    );

    // Whom nobody named, nobody can write to; what is urgent is done all the same.
    deploy(&lab, &repository, "3").await;
    let back = order(&lab, "?wait=true", haste).await.json();
    assert_eq!((&back["state"], &back["told"]), (&json!("succeeded"), &json!([])), "{back:#}");
    let note = back["note"].as_str().expect("a note");
    assert!(note.contains("deploys to `test` names no address in `notify`"), "{note}");
    lab.stop().await;
}

#[tokio::test]
async fn what_waits_says_for_whom_and_a_reservation_is_for_its_owner() {
    let mut lab = Lab::new().await;
    lab.start();
    let repository = lab.orders().await;
    deploy(&lab, &repository, "1").await;
    let path = format!("{TEST}/lock");
    // It ends before anybody gives up waiting.
    let until = chrono::Utc::now() + chrono::TimeDelta::minutes(5);
    let lock = |mine| Some(json!({ "reason": "new prices", "until": until, "mine": mine }));
    assert_eq!(lab.call("PUT", &path, lock(false)).await.status, StatusCode::OK);
    let begun = order(&lab, "", json!({ "kind": "restart" })).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.text);
    let id = begun.json()["deployment"].as_str().expect("an id").to_owned();
    let status = lab.get(TEST).await.json();
    let waits = status["waits"][0].as_str().unwrap_or_default();
    assert!(waits.ends_with("by admin waits for admin to open it"), "{status:#}");
    // As a reservation it lets its owner through.
    assert_eq!(lab.call("PUT", &path, lock(true)).await.status, StatusCode::OK);
    let events = lab.get(&format!("/api/v1/deployments/{id}/events?follow=true")).await.lines();
    assert_eq!(events.last().map(|event| &event["state"]), Some(&json!("succeeded")));
    let status = lab.get(TEST).await.json();
    assert_eq!((&status["waits"], &status["lock"]["reserved"]), (&Value::Null, &json!(true)));
    // One token is one person: a reservation keeps out what pushes start.
    let until = chrono::Utc::now() + chrono::TimeDelta::hours(2);
    let reserved = json!({ "reason": "new prices", "until": until, "mine": true });
    assert_eq!(lab.call("PUT", &path, Some(reserved)).await.status, StatusCode::OK);
    let pushed = push(&lab, &repository, "2", "").await;
    assert_eq!(pushed["result"], "failed", "{pushed:#}");
    assert!(pushed.to_string().contains("is locked by admin until"), "{pushed:#}");
    lab.stop().await;
}

#[tokio::test]
async fn releases_of_an_environment_say_whether_there_is_a_way_back() {
    let mut lab = Lab::new().await;
    lab.start();
    let repository = lab.orders().await;
    deploy(&lab, &repository, "1").await;
    deploy(&lab, &repository, "2").await;
    let releases = lab.get(&format!("{TEST}/releases")).await.json();
    let back: Vec<_> = releases
        .as_array()
        .expect("a list")
        .iter()
        .map(|release| (release["can_roll_back"].clone(), release["because"].clone()))
        .collect();
    assert_eq!(back, [(json!(false), json!("it runs now")), (json!(true), Value::Null)]);
    lab.stop().await;
}

#[tokio::test]
async fn what_a_unit_writes_is_read_by_its_name_in_its_environment() {
    let mut lab = Lab::new().await;
    lab.start();
    let repository = lab.orders().await;
    let status = deploy(&lab, &repository, "1").await;
    let unit = status["units"][0]["unit"].as_str().expect("a name");
    let lines = lab.get(&format!("{TEST}/units/{unit}/log?tail=10")).await.lines();
    assert_eq!((&lines[0]["unit"], &lines[0]["stream"]), (&json!(unit), &json!("stdout")));
    assert!(lines[0]["text"].is_string(), "{lines:?}");
    let other = lab.get(&format!("{TEST}/units/somebody-elses/log")).await;
    assert_eq!(other.status, StatusCode::NOT_FOUND, "{}", other.text);
    lab.stop().await;
}
