//! Start, stop and crash.

use std::time::Duration;

use deploy::testing::FaultKind;
use runner::backend::fake::{FakeBackend, Script};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{HELLO, Lab};
use crate::outbox::Post;

const ENVIRONMENT: &str = "/api/v1/projects/orders/environments/test";

/// A lab with a run whose stage `hello` hangs, and the id of the run.
async fn hanging() -> (Lab, String) {
    running(FakeBackend::default().with("hello", Script::hang().printing("up\n"))).await
}

/// A lab with a run whose stage `hello` has begun, and the id of the run.
async fn running(backend: FakeBackend) -> (Lab, String) {
    let mut lab = Lab::with(backend, Post::default()).await;
    let repository = lab.orders().await;
    repository.commit_and_push(&[(".shipline.yml", HELLO)]);
    lab.look("orders").await;
    let run = lab.run().await["run"].as_str().expect("an id").to_owned();
    lab.start();
    started(&lab, &run).await;
    (lab, run)
}

/// Waits until the stage `hello` of the run has begun.
async fn started(lab: &Lab, run: &str) {
    let hint = lab.app.hints.follow(run.parse().expect("an id"));
    begun(&lab.app.store, hint, run).await;
}

async fn begun(store: &store::Store, mut hint: watch::Receiver<u64>, run: &str) {
    let id = run.parse().expect("an id");
    let begun = async {
        loop {
            let state = store.run_state(id).await.expect("read");
            let stage = state.stage("hello").expect("planned");
            if stage.attempts.first().is_some_and(|attempt| attempt.started_at.is_some()) {
                return;
            }
            hint.changed().await.expect("the server runs");
        }
    };
    tokio::time::timeout(Duration::from_secs(30), begun).await.expect("a start");
}

#[tokio::test]
async fn a_run_that_a_crash_interrupted_goes_on_and_runs_nothing_twice() {
    let script = Script::exit(0).after(Duration::from_secs(1)).printing("up\n");
    let backend = FakeBackend::default().with("hello", script);
    let (lab, run) = running(backend.clone()).await;
    let mut lab = lab.crash(backend.clone()).await;
    let before = lab.get(&format!("/api/v1/runs/{run}")).await.json();
    assert_eq!((&before["state"], &before["result"]), (&json!("running"), &json!(null)));
    lab.start();
    lab.finish(&run).await;
    let after = lab.get(&format!("/api/v1/runs/{run}")).await.json();
    assert_eq!(after["result"], "passed", "{after:#}");
    assert_eq!(backend.started().len(), 2, "{:?}", backend.started());
    lab.stop().await;
}

#[tokio::test]
async fn a_run_that_waited_when_the_server_died_is_run() {
    let mut lab = Lab::new().await;
    let repository = lab.orders().await;
    repository.commit_and_push(&[(".shipline.yml", HELLO)]);
    lab.look("orders").await;
    let run = lab.run().await["run"].as_str().expect("an id").to_owned();
    // Leased by a process that died before it began.
    lab.app.store.lease_next("somebody", chrono::Utc::now()).await.expect("leased").expect("a run");
    lab = lab.crash(FakeBackend::default()).await;
    lab.start();
    lab.finish(&run).await;
    assert_eq!(lab.get(&format!("/api/v1/runs/{run}")).await.json()["result"], "passed");
    lab.stop().await;
}

#[tokio::test]
async fn a_deployment_that_a_crash_interrupted_gets_an_end_at_once() {
    let mut lab = Lab::new().await;
    lab.start();
    let repository = lab.orders().await;
    let pipeline = "image: busybox:1\nstages:\n  image: { build: {} }\n  \
                    deploy: { deploy: { environment: test, image: image, replicas: 2 } }\n";
    repository.commit_and_push(&[(".shipline.yml", pipeline)]);
    // In the middle of the second unit.
    lab.target.fault_in(6, FaultKind::HangBefore);
    lab.look("orders").await;
    let run = lab.run().await["run"].as_str().expect("an id").to_owned();
    lab.target.hanging().await;
    lab.target.clear_faults();

    let mut lab = lab.crash(FakeBackend::default()).await;
    let status = lab.get(ENVIRONMENT).await.json();
    assert_eq!(status["deployments"][0]["state"], json!(null));
    assert!(status["locked_by"].as_str().is_some_and(|by| by.starts_with("deploy ")), "{status:#}");
    lab.start();
    // Not after the 30 s that the lock of the dead process still has.
    tokio::time::timeout(Duration::from_secs(15), lab.finish(&run)).await.expect("an end");
    assert_eq!(lab.get(&format!("/api/v1/runs/{run}")).await.json()["result"], "infra-error");
    let ended = async {
        loop {
            let status = lab.get(ENVIRONMENT).await.json();
            if status["deployments"][0]["state"] != json!(null) {
                return status;
            }
            // Recovery runs beside; nothing tells of its end.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let status = tokio::time::timeout(Duration::from_secs(15), ended).await.expect("an end");
    // The first unit serves and is healthy, so the rest is done.
    assert_eq!(status["deployments"][0]["state"], "succeeded", "{status:#}");
    assert_eq!(status["units"].as_array().map(Vec::len), Some(2), "{status:#}");
    assert_eq!(status["locked_by"], json!(null));
    lab.stop().await;
}

#[tokio::test]
async fn a_trigger_that_nobody_decided_is_decided_after_the_start() {
    let lab = Lab::new().await;
    let repository = lab.orders().await;
    let sha = repository.commit_and_push(&[(".shipline.yml", HELLO)]);
    let project = lab.app.store.project("orders").await.expect("read").expect("a project");
    let heads = crate::triggers::look(&project).await.expect("listed");
    lab.app.store.record_heads("orders", &heads, chrono::Utc::now()).await.expect("recorded");
    assert_eq!(lab.trigger().await["verdict"], "pending");
    let lab = lab.crash(FakeBackend::default()).await;
    lab.look("orders").await;
    assert_eq!(
        (&lab.trigger().await["verdict"], &lab.run().await["sha"]),
        (&json!("started"), &json!(sha))
    );
}

#[tokio::test]
async fn a_stop_waits_for_what_runs_and_takes_nothing_new() {
    let backend =
        FakeBackend::default().with("hello", Script::exit(0).after(Duration::from_millis(300)));
    let mut lab = Lab::with(backend, Post::default()).await;
    let repository = lab.orders().await;
    repository.commit_and_push(&[(".shipline.yml", HELLO)]);
    lab.look("orders").await;
    let first = lab.run().await["run"].as_str().expect("an id").to_owned();
    lab.start();
    started(&lab, &first).await;
    lab.drain.cancel();
    repository.commit_and_push(&[("a", "1")]);
    lab.look("orders").await;
    lab.stop().await;
    let runs = lab.get("/api/v1/runs").await.json();
    let states: Vec<_> =
        runs.as_array().expect("runs").iter().map(|run| (&run["state"], &run["result"])).collect();
    assert_eq!(states, [(&json!("queued"), &json!(null)), (&json!("finished"), &json!("passed"))]);
}

#[tokio::test]
async fn a_second_signal_cancels_what_runs_and_says_so() {
    let (mut lab, run) = hanging().await;
    lab.drain.cancel();
    lab.app.abort().cancel();
    tokio::time::timeout(Duration::from_secs(30), lab.stop()).await.expect("an end");
    let detail = lab.get(&format!("/api/v1/runs/{run}")).await.json();
    assert_eq!(detail["result"], "cancelled", "{detail:#}");
    let events = lab.get(&format!("/api/v1/runs/{run}/events")).await.lines();
    let cancel =
        events.iter().find(|event| event["kind"] == "cancel.requested").expect("written down");
    assert_eq!(
        (&cancel["reason"], &cancel["by"]),
        (&json!("the server is stopping"), &json!("shipline"))
    );
}

#[tokio::test]
async fn no_more_runs_at_a_time_than_configured_and_in_their_order() {
    let backend = FakeBackend::default().with("hello", Script::hang());
    let mut lab = Lab::with(backend.clone(), Post::default()).await;
    let repository = lab.orders().await;
    for change in 1..=4 {
        repository.commit_and_push(&[(".shipline.yml", HELLO), ("a", &change.to_string())]);
        lab.look("orders").await;
    }
    let runs = lab.get("/api/v1/runs").await.json();
    let ids: Vec<String> = runs
        .as_array()
        .expect("runs")
        .iter()
        .rev()
        .map(|run| run["run"].as_str().expect("an id").to_owned())
        .collect();
    lab.start();
    started(&lab, &ids[0]).await;
    started(&lab, &ids[1]).await;
    let runs = lab.get("/api/v1/runs").await.json();
    let waiting: Vec<_> = runs
        .as_array()
        .expect("runs")
        .iter()
        .filter(|run| run["state"] == "queued")
        .map(|run| run["number"].clone())
        .collect();
    assert_eq!(waiting, [json!(4), json!(3)], "two at a time, oldest first");
    lab.app.abort().cancel();
    lab.stop().await;
}

#[tokio::test]
async fn what_still_runs_when_the_time_to_stop_is_over_is_cancelled() {
    let backend = FakeBackend::default().with("hello", Script::hang());
    let lab = Lab::with(backend, Post::default()).await;
    let repository = lab.orders().await;
    repository.commit_and_push(&[(".shipline.yml", HELLO)]);
    lab.look("orders").await;
    let run = lab.run().await["run"].as_str().expect("an id").to_owned();
    let hint = lab.app.hints.follow(run.parse().expect("an id"));
    let store = lab.app.store.clone();
    let database = lab.app.data.database();
    let Lab { app, folder, .. } = lab;
    let mut app = std::sync::Arc::into_inner(app).expect("the only one");
    app.config.drain_timeout = Duration::ZERO;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let cancel = tokio_util::sync::CancellationToken::new();
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(crate::serve(app, listener, cancel.clone()));
    begun(&store, hint, &run).await;
    cancel.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(30), serving.join_next());
    ended.await.expect("an end").expect("one task").expect("no panic").expect("no error");
    let store = store::Store::open(&database).await.expect("opened again");
    let row = store.run(run.parse().expect("an id")).await.expect("read").expect("a run");
    assert_eq!(row.result, Some(event::RunResult::Cancelled));
    drop(folder);
}

#[tokio::test]
async fn the_whole_server_answers_on_its_socket_and_ends_when_told() {
    let lab = Lab::new().await;
    let Lab { app, .. } = lab;
    let app = std::sync::Arc::into_inner(app).expect("the only one");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("an address");
    let cancel = tokio_util::sync::CancellationToken::new();
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(crate::serve(app, listener, cancel.clone()));

    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");

    cancel.cancel();
    let ended =
        tokio::time::timeout(Duration::from_secs(30), serving.join_next()).await.expect("an end");
    ended.expect("one task").expect("no panic").expect("no error");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}
