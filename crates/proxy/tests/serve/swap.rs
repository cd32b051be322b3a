//! Swap and drain: no request is lost, and what is cut is counted.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use shipline_proxy::control::DrainRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::client::{Client, ok};
use crate::proxy::TestProxy;
use crate::unit::{Unit, Witness};

/// Units are swapped, drained and killed fifty times under load of all kinds:
/// not one request fails, and each POST is done once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_swaps_under_load_lose_no_request() {
    let witness = Witness::default();
    let proxy = TestProxy::start().await;
    let mut unit = Unit::start("unit-0", &witness).await;
    proxy.route(&[&unit]).await;

    let stop = Arc::new(AtomicBool::new(false));
    let posted = Arc::new(AtomicU64::new(0));
    let mut load: JoinSet<Result<u64, String>> = JoinSet::new();
    for kind in 0..10 {
        let stop = stop.clone();
        let posted = posted.clone();
        let address = proxy.address;
        load.spawn(async move {
            let mut client = match kind {
                0 | 1 => Client::hasty(address),
                _ => Client::new(address),
            };
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                match kind {
                    // Idle, then send: the connection was kept while units changed.
                    2 => {
                        ok(client.get("/").await)?;
                        tokio::time::sleep(Duration::from_millis(150)).await;
                    }
                    3 | 4 => drop(ok(client.get("/slow/60").await)?),
                    1 | 5 | 6 => {
                        let id = format!("{}", posted.fetch_add(1, Ordering::Relaxed));
                        ok(client.post(&format!("/post/{id}"), &id).await)?;
                    }
                    _ => drop(ok(client.get("/").await)?),
                }
                sent += 1;
            }
            Ok(sent)
        });
    }

    for generation in 1..=50 {
        let next = Unit::start(&format!("unit-{generation}"), &witness).await;
        proxy.route(&[&next]).await;
        let drained = proxy.drain(&unit, 10_000).await;
        assert_eq!(drained.cut, 0);
        // Killed at once, its idle connections with it.
        unit = next;
        // A moment of nothing but load, shorter and longer than a slow request.
        tokio::time::sleep(Duration::from_millis(generation % 7 * 15)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut sent = 0;
    while let Some(ended) = load.join_next().await {
        sent += ended.unwrap().unwrap();
    }
    println!("{sent} requests over 50 swaps");
    assert!(sent > 200, "{sent} requests are no load");

    let seen = witness.lock().unwrap();
    let ids: HashSet<&String> = seen.iter().collect();
    assert_eq!(ids.len(), seen.len(), "a POST was done twice");
    assert_eq!(seen.len() as u64, posted.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_slow_request_ends_on_the_unit_it_began_on() {
    let witness = Witness::default();
    let proxy = TestProxy::start().await;
    let old = Unit::start("old", &witness).await;
    let new = Unit::start("new", &witness).await;
    proxy.route(&[&old]).await;

    let mut client = Client::new(proxy.address);
    let slow = tokio::spawn(async move { client.get("/slow/1500").await });
    proxy.until_in_flight(&old, 1).await;
    proxy.route(&[&new]).await;
    let drain = proxy.drain(&old, 10_000);
    let meanwhile = async {
        let answer = Client::new(proxy.address).get("/").await;
        assert_eq!(ok(answer).unwrap(), "new");
    };
    let (drained, ()) = tokio::join!(drain, meanwhile);
    assert_eq!(drained.cut, 0);
    assert!((1000..3000).contains(&drained.took_ms), "{drained:?}");
    assert_eq!(ok(slow.await.unwrap()).unwrap(), "old");
}

#[tokio::test]
async fn requests_that_outlast_the_drain_are_cut_and_counted() {
    let witness = Witness::default();
    let proxy = TestProxy::start().await;
    let unit = Unit::start("unit", &witness).await;
    proxy.route(&[&unit]).await;

    let mut requests = JoinSet::new();
    for _ in 0..3 {
        let mut client = Client::new(proxy.address);
        requests.spawn(async move { client.get("/slow/60000").await });
    }
    let mut short = Client::new(proxy.address);
    requests.spawn(async move { short.get("/slow/500").await });
    proxy.until_in_flight(&unit, 4).await;
    proxy.route(&[]).await;
    let drained = proxy.drain(&unit, 1500).await;
    assert_eq!(drained.cut, 3);
    assert!((1500..3000).contains(&drained.took_ms), "{drained:?}");
    let ended = requests.join_all().await;
    assert_eq!(ended.iter().filter(|answer| answer.is_err()).count(), 3);
    assert_eq!(proxy.counts("r1").await, "2xx=1 cut=3");
}

/// An upgraded connection is a request in flight as long as it is open.
#[tokio::test]
async fn an_upgraded_connection_passes_bytes_both_ways_and_holds_its_unit() {
    let proxy = TestProxy::start().await;
    let echo = Unit::start_echo("echo").await;
    proxy.route(&[&echo]).await;

    let mut first = upgrade(&proxy).await;
    let mut second = upgrade(&proxy).await;
    for _ in 0..3 {
        assert_eq!(talk(&mut first, b"hello").await, b"hello");
    }
    proxy.until_in_flight(&echo, 2).await;
    proxy.route(&[]).await;
    assert_eq!(talk(&mut first, b"still here").await, b"still here");
    drop(first);
    proxy.until_in_flight(&echo, 1).await;
    let drained = proxy.drain(&echo, 200).await;
    assert_eq!(drained.cut, 1);
    assert_eq!(second.read(&mut [0; 16]).await.unwrap_or(0), 0);
    assert_eq!(proxy.counts("r1").await, "1xx=1 cut=1");
}

pub async fn upgrade(proxy: &TestProxy) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let request = "GET /chat HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\n\
                   upgrade: websocket\r\nsec-websocket-version: 13\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    stream
}

pub async fn talk(stream: &mut TcpStream, words: &[u8]) -> Vec<u8> {
    stream.write_all(words).await.unwrap();
    let mut answer = vec![0; words.len()];
    stream.read_exact(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_websocket_is_cut_at_its_own_limit_and_a_request_at_its() {
    let witness = Witness::default();
    let proxy = TestProxy::start().await;
    let echo = Unit::start_echo("echo").await;
    proxy.route(&[&echo]).await;
    let mut socket = upgrade(&proxy).await;
    proxy.until_in_flight(&echo, 1).await;
    proxy.route(&[&Unit::start("other", &witness).await]).await;
    let request = DrainRequest {
        unit: "echo".to_owned(),
        timeout_ms: 200,
        websockets_timeout_ms: Some(1_500),
    };
    let control = proxy.control();
    let drain = tokio::spawn(async move { control.drain("web", &request).await });
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(talk(&mut socket, b"still here").await, b"still here");
    let drained = drain.await.unwrap().unwrap();
    assert_eq!(drained.cut, 1);
    assert!((1_500..3_000).contains(&drained.took_ms), "{drained:?}");
    assert_eq!(socket.read(&mut [0; 16]).await.unwrap_or(0), 0);
}
