//! What the server does about what goes wrong with what it has deployed.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use deploy::{EnvironmentKey, ObservedUnit, Target, UnitState};
use serde_json::{Value, json};

use super::rollbacks::TEST;
use super::{Lab, Repository};
use crate::watcher::{Mails, Watched, Watcher};

const EVERY: Duration = Duration::from_millis(1);

async fn deploy(lab: &Lab, repository: &Repository) {
    let pipeline = "image: busybox:1\nstages:\n  image: { build: {} }\n  \
        deploy: { deploy: { environment: test, image: image, replicas: 2 } }\n\
        notify: { mail: [{ to: ops@corp.example, on: unhealthy }, { to: dev@corp.example, on: drift }] }\n";
    repository.commit_and_push(&[(".shipline.yml", pipeline)]);
    lab.look("orders").await;
    let run = lab.run().await["run"].as_str().expect("an id").to_owned();
    lab.finish(&run).await;
}

fn watcher(lab: &Lab, ensure: bool) -> Watcher {
    let key = EnvironmentKey { project: "orders".to_owned(), environment: "test".to_owned() };
    let target = Arc::clone(&lab.target) as Arc<dyn Target>;
    let watcher = Watcher::new(lab.app.store.clone(), key, target, EVERY, ensure);
    watcher.telling(Mails::new(Arc::clone(&lab.app)))
}

async fn look(watcher: &mut Watcher, times: u32) -> Vec<Watched> {
    let mut looks = Vec::new();
    for _ in 0..times {
        looks.push(watcher.look().await.expect("a look"));
    }
    looks
}

fn kill(lab: &Lab, slot: u32) -> ObservedUnit {
    let unit = lab.target.seen().current(slot).expect("it serves").clone();
    lab.target.put(ObservedUnit { state: UnitState::Exited, ..unit.clone() });
    unit
}

async fn subjects(lab: &Lab) -> Vec<(Value, Value)> {
    let rows = lab.get("/api/v1/outbox").await.json();
    let rows = rows.as_array().expect("a list").iter().rev();
    rows.map(|row| (row["to"].clone(), row["subject"].clone())).collect()
}

/// Asks for what the watcher wants repaired, as its loop does.
async fn carry_out(lab: &Lab, watched: Watched) -> Value {
    let deployment = watched.repair.expect("a repair is due");
    assert_eq!((deployment.by.as_str(), deployment.kind.name()), ("watcher", "repair"));
    let request = deploy::Request {
        deployment,
        holder: lab.app.holder(),
        policy: deploy::Policy::default(),
        runner: None,
    };
    let target = Arc::clone(&lab.target) as Arc<dyn Target>;
    let abort = tokio_util::sync::CancellationToken::new();
    let ended = lab.app.desk.order(&abort, request, deploy::Limits::default(), target).await;
    let ended = ended.expect("taken").await.expect("an end");
    json!(ended.outcome.expect("an honest end").state)
}

#[tokio::test]
async fn a_dead_unit_is_an_incident_a_mail_and_where_it_is_asked_for_a_repair() {
    let mut lab = Lab::new().await;
    lab.start();
    let repository = lab.orders().await;
    let mut reporter = watcher(&lab, false);
    let looks = look(&mut reporter, 3).await;
    assert!(looks.iter().all(|it| it.events.is_empty()), "nothing is deployed: {looks:?}");
    deploy(&lab, &repository).await;
    assert!(look(&mut reporter, 3).await.iter().all(|it| it.events.is_empty()));

    let unit = kill(&lab, 1);
    let looks = look(&mut reporter, 4).await;
    assert_eq!(looks.iter().map(|it| it.events.len()).collect::<Vec<_>>(), [0, 1, 0, 0]);
    assert!(looks.iter().all(|it| it.repair.is_none()), "nobody asked for it");
    let status = lab.get(TEST).await.json();
    let open = &status["incidents"][0];
    assert_eq!(
        (&open["kind"], &open["slot"], &open["unit"]),
        (&json!("dead"), &json!(1), &json!(unit.unit.0)),
        "{status:#}"
    );
    assert!(open["since"].is_string(), "{open:#}");
    let about = format!("test, {}", unit.unit);
    let ops = json!(["ops@corp.example"]);
    assert_eq!(subjects(&lab).await, [(ops.clone(), json!(format!("[orders] dead: {about}")))]);

    // A server that starts again tells nothing twice, and repairs what it knows of.
    let mut repairer = watcher(&lab, true);
    let looked = look(&mut repairer, 1).await.remove(0);
    assert!(looked.events.is_empty(), "{looked:?}");
    let reason = looked.repair.as_ref().and_then(|it| it.reason.clone()).expect("a reason");
    assert!(reason.contains("slot 1") && reason.contains("try 1 of 3"), "{reason}");
    assert_eq!(carry_out(&lab, looked).await, "succeeded");
    look(&mut repairer, 3).await;
    let status = lab.get(TEST).await.json();
    assert_eq!(status["incidents"], Value::Null, "{status:#}");
    assert_eq!(status["drift"], Value::Null, "{status:#}");
    let told = subjects(&lab).await;
    assert_eq!(told[1..], [(ops, json!(format!("[orders] repaired: {about}")))]);
    let history = lab.get(&format!("{TEST}/deployments")).await.json();
    assert_eq!((&history[0]["kind"], &history[0]["by"]), (&json!("repair"), &json!("watcher")));
    let incident = &history[1]["incidents"][0];
    assert_eq!((&incident["kind"], &incident["because"]), (&json!("dead"), &json!("repaired")));
    lab.stop().await;
}

#[tokio::test]
async fn what_was_stopped_on_purpose_is_neither_told_nor_repaired() {
    let mut lab = Lab::new().await;
    lab.start();
    let repository = lab.orders().await;
    deploy(&lab, &repository).await;
    kill(&lab, 0);
    let mut watcher = watcher(&lab, true);
    // Two find it, and the next one has it repaired.
    let looks = look(&mut watcher, 3).await;
    assert!(looks[1].repair.is_none() && looks[2].repair.is_some(), "{looks:?}");
    let stopped =
        lab.post(&format!("{TEST}/deployments?wait=true"), json!({ "kind": "stop" })).await;
    assert_eq!(stopped.status, StatusCode::OK, "{}", stopped.text);
    let before = subjects(&lab).await.len();
    let looks = look(&mut watcher, 6).await;
    assert!(looks.iter().all(|it| it.repair.is_none()), "{looks:?}");
    let resolved = looks.iter().map(|it| it.events.len()).sum::<usize>();
    assert_eq!(resolved, 1, "what was open is over: {looks:?}");
    assert_eq!(subjects(&lab).await.len(), before, "who stops something knows");
    // One that was decided on meanwhile is refused under the lock.
    let lost = Watched { repair: looks_of(&lab).await, ..Watched::default() };
    assert_eq!(carry_out(&lab, lost).await, "failed");
    let status = lab.get(TEST).await.json();
    assert_eq!((&status["stopped"], &status["drift"]), (&json!(true), &Value::Null));
    lab.stop().await;
}

/// A repair as somebody would have asked for it before the stop.
async fn looks_of(lab: &Lab) -> Option<deploy::Deployment> {
    let key = EnvironmentKey { project: "orders".to_owned(), environment: "test".to_owned() };
    let history = deploy::Ledger::history(&lab.app.store, &key, 10).await.expect("read");
    let mut repair = history.last()?.deployment.clone();
    repair.id = event::DeploymentId::new(uuid::Uuid::now_v7());
    (repair.kind, repair.by) = (event::DeploymentKind::Repair, "watcher".to_owned());
    (repair.run, repair.stage, repair.name) = (None, None, String::new());
    Some(repair)
}

#[tokio::test]
async fn repairs_that_do_not_help_are_given_up_loudly() {
    let mut lab = Lab::new().await;
    lab.start();
    let repository = lab.orders().await;
    deploy(&lab, &repository).await;
    let unit = kill(&lab, 1);
    lab.target.slot_never_healthy(1);
    let mut watcher = watcher(&lab, true);
    let mut tries = 0;
    let mut given_up = false;
    for _ in 0..200 {
        let looked = look(&mut watcher, 1).await.remove(0);
        given_up |= looked
            .events
            .iter()
            .any(|event| matches!(event.kind, event::EventKind::IncidentGivenUp { tries: 3, .. }));
        if looked.repair.is_some() {
            tries += 1;
            assert!(!given_up, "it was given up");
            // What was dead cannot be brought back either.
            let state = carry_out(&lab, looked).await;
            assert!(state == "rolled-back" || state == "stuck", "{state}");
            lab.target.put(ObservedUnit { state: UnitState::Exited, ..unit.clone() });
        } else {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    assert_eq!((tries, given_up), (3, true));
    let status = lab.get(TEST).await.json();
    assert!(status["incidents"][0]["given_up_at"].is_string(), "{status:#}");
    let told = subjects(&lab).await;
    let subject = told.last().expect("a mail").1.as_str().expect("text").to_owned();
    assert!(subject.starts_with("[orders] given up: test, "), "{subject}");
    lab.stop().await;
}

#[tokio::test]
async fn drift_is_told_to_those_who_want_to_hear_of_drift_and_a_lock_keeps_repairs_away() {
    let mut lab = Lab::new().await;
    lab.start();
    let repository = lab.orders().await;
    deploy(&lab, &repository).await;
    let unit = lab.target.seen().units[0].clone();
    let other = event::ReleaseId::new(uuid::Uuid::from_u128(9));
    lab.target.put(ObservedUnit { release: other, ..unit.clone() });
    let mut watcher = watcher(&lab, true);
    let looks = look(&mut watcher, 3).await;
    assert!(looks.iter().all(|it| it.repair.is_none()), "somebody has to see it first");
    let subject = format!("[orders] release: test, {}", unit.unit);
    assert_eq!(subjects(&lab).await, [(json!(["dev@corp.example"]), json!(subject))]);

    let lock = json!({ "reason": "QA looks at it", "until": chrono::Utc::now() + chrono::TimeDelta::hours(1) });
    let locked = lab.call("PUT", &format!("{TEST}/lock"), Some(lock)).await;
    assert!(locked.status.is_success(), "{}", locked.text);
    kill(&lab, 1);
    let looks = look(&mut watcher, 4).await;
    assert!(looks.iter().all(|it| it.repair.is_none()), "who locks it wants it as it is");
    let list = lab.get(&format!("{TEST}/incidents")).await.json();
    assert_eq!(list.as_array().expect("a list").len(), 2, "{list:#}");
    lab.stop().await;
}
