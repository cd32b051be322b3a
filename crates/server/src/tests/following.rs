//! Following a run: each event and each byte once, in order, wherever one begins.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use runner::backend::fake::{FakeBackend, Script};
use serde_json::{Value, json};

use super::{Answer, Lab};
use crate::outbox::Post;

async fn events_of(lab: &Lab, path: &str, last: Option<&str>) -> Answer {
    let mut request = Request::builder()
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {}", lab.token))
        .header(header::ACCEPT, "text/event-stream");
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    lab.send(request.body(Body::empty()).expect("a request")).await
}

/// A lab with one queued run of two stages.
async fn queued(backend: FakeBackend) -> (Lab, String) {
    let lab = Lab::with(backend, Post::default()).await;
    let repository = lab.orders().await;
    let pipeline =
        "image: busybox:1\nstages:\n  hello: echo hello\n  bye: [echo bye, echo again]\n";
    repository.commit_and_push(&[(".shipline.yml", pipeline)]);
    lab.look("orders").await;
    let run = lab.run().await["run"].as_str().expect("an id").to_owned();
    (lab, run)
}

#[tokio::test]
async fn a_follower_that_comes_before_the_run_sees_all_of_it() {
    let (mut lab, run) = queued(FakeBackend::default()).await;
    let path = format!("/api/v1/runs/{run}/events?follow=true");
    let log = format!("/api/v1/runs/{run}/stages/bye/log?follow=true");
    // The loops begin when both followers wait.
    let (app, drain) = (std::sync::Arc::clone(&lab.app), lab.drain.clone());
    let begin = async {
        tokio::task::yield_now().await;
        crate::queue::run(app, drain).await.expect("no error");
    };
    let follow = async {
        let both = tokio::join!(lab.get(&path), lab.get(&log));
        lab.drain.cancel();
        both
    };
    let ((events, log), ()) = tokio::join!(follow, begin);
    let stored = lab.get(&format!("/api/v1/runs/{run}/events")).await;
    assert_eq!(events.lines(), stored.lines());
    assert_eq!(
        events.lines().last().map(|event| event["kind"].clone()),
        Some(json!("run.finished"))
    );
    let text: String =
        log.lines().iter().filter_map(|frame| frame["text"].as_str().map(str::to_owned)).collect();
    assert!(
        text.contains("bye\n") && text.contains("again\n") && !text.contains("hello"),
        "{text}"
    );
    lab.stop().await;
}

#[tokio::test]
async fn a_reader_goes_on_where_it_was() {
    let (mut lab, run) = queued(FakeBackend::default()).await;
    lab.start();
    let all = lab.finish(&run).await;
    for after in 0..=all.len() {
        let rest = lab.get(&format!("/api/v1/runs/{run}/events?after={after}")).await.lines();
        assert_eq!(rest, all[after..], "after {after}");
    }
    let log = format!("/api/v1/runs/{run}/stages/bye/log");
    let frames = lab.get(&log).await.lines();
    assert!(frames.len() > 1, "{frames:?}");
    let second = frames[1]["offset"].as_u64().expect("an offset");
    assert_eq!(lab.get(&format!("{log}?from={second}")).await.lines(), frames[1..]);
    lab.stop().await;
}

#[tokio::test]
async fn server_sent_events_carry_their_number_and_end_for_good() {
    let (mut lab, run) = queued(FakeBackend::default()).await;
    lab.start();
    let all = lab.finish(&run).await;
    let path = format!("/api/v1/runs/{run}/events");
    let answer = events_of(&lab, &path, Some("2")).await;
    assert_eq!(answer.kind, "text/event-stream");
    let ids: Vec<_> = answer.text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    let expected: Vec<_> = (3..=all.len()).map(|seq| seq.to_string()).collect();
    assert_eq!(ids, expected);
    let data: Vec<Value> = answer
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).expect("an event"))
        .collect();
    assert_eq!(data, all[2..]);
    let over = events_of(&lab, &path, Some(&all.len().to_string())).await;
    assert_eq!(over.status, StatusCode::NO_CONTENT);

    let log = format!("/api/v1/runs/{run}/stages/bye/log");
    let frames = lab.get(&log).await.lines();
    let first = frames[0]["offset"].to_string();
    let rest = events_of(&lab, &log, Some(&first)).await;
    let ids: Vec<_> =
        rest.text.lines().filter_map(|line| line.strip_prefix("id: ")).map(str::to_owned).collect();
    let expected: Vec<_> = frames[1..].iter().map(|frame| frame["offset"].to_string()).collect();
    assert_eq!(ids, expected);
    lab.stop().await;
}

#[tokio::test]
async fn the_log_of_a_stage_that_never_ran_is_empty_and_of_an_unknown_one_404() {
    let backend = FakeBackend::default().with("hello", Script::exit(3));
    let (mut lab, run) = queued(backend).await;
    let log = |stage: &str| format!("/api/v1/runs/{run}/stages/{stage}/log");
    assert_eq!(lab.get(&log("hello")).await.text, "", "not yet begun");
    lab.start();
    lab.finish(&run).await;
    assert_eq!(lab.get(&format!("{}?follow=true", log("bye"))).await.text, "", "blocked");
    assert_eq!(lab.get(&log("nobody")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(lab.get("/api/v1/runs/00000000/events").await.status, StatusCode::NOT_FOUND);
    lab.stop().await;
}

#[tokio::test]
async fn a_stop_of_the_server_lets_followers_go() {
    let (lab, run) = queued(FakeBackend::default()).await;
    let (path, log) = (
        format!("/api/v1/runs/{run}/events?follow=true"),
        format!("/api/v1/runs/{run}/stages/hello/log?follow=true"),
    );
    let close = async { lab.app.closing.cancel() };
    let (events, frames, ()) = tokio::join!(lab.get(&path), lab.get(&log), close);
    let kinds: Vec<_> = events.lines().iter().map(|event| event["kind"].clone()).collect();
    assert_eq!((kinds, frames.text.as_str()), (vec![json!("run.queued")], ""));
}
