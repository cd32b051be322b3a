//! WebSockets: none that a unit agrees to is lost, and what it says instead is passed on.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shipline_proxy::control::{DrainRequest, RouteOptions};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::{Client, ok};
use crate::delivery::nobody;
use crate::http2::Certificates;
use crate::proxy::{TestProxy, target};
use crate::swap::{talk, upgrade};
use crate::unit::{Unit, Witness, read_head};

const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\n\
                      Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nHost: web\r\nConnection: keep-alive, Upgrade\r\n\
                         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Agrees before it is asked, and has the first word.
async fn hasty(name: &str) -> Unit {
    Unit::raw(name, async |mut stream: TcpStream| {
        let words = format!("{AGREED}hello");
        let _ = stream.write_all(words.as_bytes()).await;
        let mut stream = BufReader::new(stream);
        if read_head(&mut stream).await.is_some() {
            echo(stream).await;
        }
    })
    .await
}

/// Agrees for each permit once.
async fn thoughtful(name: &str, permits: &Arc<Semaphore>) -> Unit {
    let permits = permits.clone();
    Unit::raw(name, move |stream| {
        let permits = permits.clone();
        async move {
            let mut stream = BufReader::new(stream);
            if read_head(&mut stream).await.is_some() {
                permits.acquire().await.unwrap().forget();
                let _ = stream.write_all(AGREED.as_bytes()).await;
                echo(stream).await;
            }
        }
    })
    .await
}

/// Says this to each request, and then nothing more.
async fn saying(name: &str, answer: &'static str) -> Unit {
    Unit::raw(name, move |stream| async move {
        let mut stream = BufReader::new(stream);
        if read_head(&mut stream).await.is_some() {
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await
}

async fn echo(mut stream: BufReader<TcpStream>) {
    let mut bytes = [0; 1024];
    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
        if stream.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

/// Sends these bytes and returns the head of the answer.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, bytes: &str) -> String {
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn hear<S: AsyncRead + Unpin>(stream: &mut S, length: usize) -> String {
    let mut words = vec![0; length];
    stream.read_exact(&mut words).await.unwrap();
    String::from_utf8(words).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_that_agrees_before_it_is_asked_loses_none() {
    let proxy = TestProxy::start().await;
    let unit = hasty("hasty").await;
    proxy.route(&[&unit]).await;
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let address = proxy.address;
        clients.spawn(async move {
            for _ in 0..50 {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let head = ask(&mut stream, HANDSHAKE).await;
                assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
                assert_eq!(hear(&mut stream, 5).await, "hello");
                assert_eq!(talk(&mut stream, b"and on").await, b"and on");
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    proxy.until_in_flight(&unit, 0).await;
    assert_eq!(proxy.counts("r1").await, "1xx=400");
}

#[tokio::test]
async fn what_a_client_says_early_reaches_the_unit_after_its_handshake() {
    let proxy = TestProxy::start().await;
    let permits = Arc::new(Semaphore::new(0));
    let unit = thoughtful("unit", &permits).await;
    proxy.route(&[&unit]).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(HANDSHAKE.as_bytes()).await.unwrap();
    stream.write_all(b"with it, ").await.unwrap();
    proxy.until_in_flight(&unit, 1).await;
    stream.write_all(b"while it thinks, ").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    permits.add_permits(1);
    let head = ask(&mut stream, "and later").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let words = "with it, while it thinks, and later";
    assert_eq!(hear(&mut stream, words.len()).await, words);
}

#[tokio::test]
async fn what_a_unit_says_instead_is_passed_on_and_the_connection_is_kept() {
    for (answer, status, body) in [
        ("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno", 403, "no"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n", 200, "no"),
        ("HTTP/1.0 426 Upgrade Required\r\n\r\nno", 426, "no"),
        ("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 204, ""),
    ] {
        let proxy = TestProxy::start().await;
        let unit = saying("unit", answer).await;
        proxy.route(&[&unit]).await;
        let mut client = Client::new(proxy.address);
        client.upgrade_to("websocket");
        for _ in 0..2 {
            let said = client.get("/chat").await.unwrap();
            assert_eq!((said.status, said.body.as_str()), (status, body));
        }
        assert_eq!(client.connections(), 1, "{answer}");
        assert_eq!(proxy.counts("r1").await, format!("{}xx=2", status / 100));
    }
}

#[tokio::test]
async fn a_unit_that_gives_no_answer_is_a_502_and_is_asked_once() {
    let proxy = TestProxy::start().await;
    let heads = Witness::default();
    let unit = Unit::raw("unit", {
        let heads = heads.clone();
        move |stream| {
            let heads = heads.clone();
            async move {
                let head = read_head(&mut BufReader::new(stream)).await;
                heads.lock().unwrap().push(head.unwrap());
            }
        }
    })
    .await;
    let other = saying("other", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    proxy.route(&[&unit, &other]).await;
    let mut client = Client::new(proxy.address);
    client.upgrade_to("websocket");
    let mut statuses = HashSet::new();
    for _ in 0..2 {
        statuses.insert(client.get("/chat").await.unwrap().status);
    }
    assert_eq!(statuses, HashSet::from([200, 502]));
    assert_eq!(heads.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_handshake_says_who_asks_and_only_a_handshake_asks_for_an_upgrade() {
    let proxy = TestProxy::start().await;
    let heads = Witness::default();
    let unit = Unit::raw("unit", {
        let heads = heads.clone();
        move |stream| {
            let heads = heads.clone();
            async move {
                let mut stream = BufReader::new(stream);
                let head = read_head(&mut stream).await.unwrap();
                let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
                lines[1..].sort_unstable_by_key(|line| line.to_lowercase());
                heads.lock().unwrap().push(lines.join(" | "));
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        }
    })
    .await;
    proxy.route(&[&unit]).await;
    let own = "Host: web\r\nKeep-Alive: timeout=5\r\n";
    for request in [
        format!(
            "GET /a?b HTTP/1.1\r\n{own}Connection: Upgrade, X-Hop\r\nX-Hop: 1\r\nUpgrade: WebSocket\r\n\r\n"
        ),
        format!("GET / HTTP/1.1\r\n{own}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
        format!(
            "GET / HTTP/1.1\r\n{own}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\nbody"
        ),
        format!(
            "POST / HTTP/1.1\r\n{own}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n"
        ),
        format!("GET / HTTP/1.0\r\n{own}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
    ] {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        let head = ask(&mut stream, &request).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    }
    let forwarded = "X-Forwarded-For: 127.0.0.1 | X-Forwarded-Host: web | X-Forwarded-Proto: http"
        .to_lowercase();
    let heads: Vec<String> = heads.lock().unwrap().iter().map(|head| head.to_lowercase()).collect();
    assert_eq!(
        heads,
        [
            format!(
                "get /a?b http/1.1 | connection: upgrade | host: web | upgrade: websocket | {forwarded}"
            ),
            format!("get / http/1.1 | connection: close | host: web | {forwarded}"),
            format!(
                "get / http/1.1 | connection: close | content-length: 4 | host: web | {forwarded}"
            ),
            format!(
                "post / http/1.1 | connection: close | content-length: 0 | host: web | {forwarded}"
            ),
            format!("get / http/1.1 | host: web | {forwarded}"),
        ]
    );
}

#[tokio::test]
async fn a_unit_that_cannot_be_connected_to_is_passed_over() {
    let proxy = TestProxy::start().await;
    let echo = Unit::start_echo("echo").await;
    let (_kept, nobody) = nobody();
    proxy.route_to(vec![target("dead", nobody), target("echo", echo.address)]).await;
    for _ in 0..4 {
        let mut socket = upgrade(&proxy).await;
        assert_eq!(talk(&mut socket, b"hello").await, b"hello");
    }
    proxy.route_to(vec![target("dead", nobody)]).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let head = ask(&mut stream, HANDSHAKE).await;
    assert!(head.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{head}");
}

/// The unit left the set while it thought about the handshake: the WebSocket is
/// its own, and the drain waits for it as for one.
#[tokio::test]
async fn a_handshake_under_way_ends_on_the_unit_it_began_on() {
    let proxy = TestProxy::start().await;
    let permits = Arc::new(Semaphore::new(0));
    let old = thoughtful("old", &permits).await;
    let new = Unit::start("new", &Witness::default()).await;
    proxy.route(&[&old]).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(HANDSHAKE.as_bytes()).await.unwrap();
    proxy.until_in_flight(&old, 1).await;
    proxy.route(&[&new]).await;
    let control = proxy.control();
    let drain = tokio::spawn(async move {
        let request = DrainRequest {
            unit: "old".to_owned(),
            timeout_ms: 60_000,
            websockets_timeout_ms: Some(60_000),
        };
        control.drain("web", &request).await.unwrap()
    });
    assert_eq!(ok(Client::new(proxy.address).get("/").await).unwrap(), "new");
    permits.add_permits(1);
    let head = ask(&mut stream, "").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(talk(&mut stream, b"still here").await, b"still here");
    assert!(!drain.is_finished());
    drop(stream);
    assert_eq!(drain.await.unwrap().cut, 0);
}

/// Units come and go as fast as they can while WebSockets begin: each is with one
/// unit from its first word to its last, and none is cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_and_drains_lose_none_that_begin_meanwhile() {
    let proxy = TestProxy::start().await;
    let mut unit = hasty("unit-0").await;
    proxy.route(&[&unit]).await;
    let stop = Arc::new(Mutex::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..6 {
        let (address, stop) = (proxy.address, stop.clone());
        clients.spawn(async move {
            let mut talks = 0;
            while !*stop.lock().unwrap() {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let head = ask(&mut stream, HANDSHAKE).await;
                assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
                assert_eq!(hear(&mut stream, 5).await, "hello");
                for _ in 0..3 {
                    assert_eq!(talk(&mut stream, b"and on").await, b"and on");
                }
                talks += 1;
            }
            talks
        });
    }
    for generation in 1..=40 {
        let next = hasty(&format!("unit-{generation}")).await;
        proxy.route(&[&next]).await;
        assert_eq!(proxy.drain(&unit, 60_000).await.cut, 0);
        // Killed at once.
        unit = next;
    }
    *stop.lock().unwrap() = true;
    let mut talks = 0;
    while let Some(client) = clients.join_next().await {
        talks += client.unwrap();
    }
    println!("{talks} WebSockets over 40 swaps");
    assert!(talks > 0);
}

#[tokio::test]
async fn a_handshake_that_outlasts_the_drain_is_cut_as_a_request() {
    let proxy = TestProxy::start().await;
    let unit = thoughtful("unit", &Arc::new(Semaphore::new(0))).await;
    proxy.route(&[&unit]).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(HANDSHAKE.as_bytes()).await.unwrap();
    proxy.until_in_flight(&unit, 1).await;
    proxy.route(&[]).await;
    let request = DrainRequest {
        unit: "unit".to_owned(),
        timeout_ms: 100,
        websockets_timeout_ms: Some(60_000),
    };
    assert_eq!(proxy.control().drain("web", &request).await.unwrap().cut, 1);
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
    assert_eq!(proxy.counts("r1").await, "cut=1");
}

#[tokio::test]
async fn a_client_that_goes_away_gives_its_unit_back_at_any_time() {
    let proxy = TestProxy::start().await;
    let permits = Arc::new(Semaphore::new(1));
    let unit = thoughtful("unit", &permits).await;
    proxy.route(&[&unit]).await;
    let socket = upgrade(&proxy).await;
    proxy.until_in_flight(&unit, 1).await;
    drop(socket);
    proxy.until_in_flight(&unit, 0).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(HANDSHAKE.as_bytes()).await.unwrap();
    proxy.until_in_flight(&unit, 1).await;
    drop(stream);
    proxy.until_in_flight(&unit, 0).await;
    assert_eq!(proxy.counts("r1").await, "1xx=1 gone=1");
}

#[tokio::test]
async fn a_unit_that_dies_ends_its_websockets_after_its_last_word() {
    let proxy = TestProxy::start().await;
    let last = Box::leak(format!("{AGREED}{}", "x".repeat(100_000)).into_boxed_str());
    let unit = saying("unit", last).await;
    proxy.route(&[&unit]).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    ask(&mut stream, HANDSHAKE).await;
    let mut words = Vec::new();
    stream.read_to_end(&mut words).await.unwrap();
    assert_eq!(words.len(), 100_000);
    drop(stream);
    proxy.until_in_flight(&unit, 0).await;
}

#[tokio::test]
async fn much_goes_both_ways_at_once_after_a_request_on_the_same_connection() {
    const LENGTH: usize = 8 << 20;
    let proxy = TestProxy::start().await;
    let unit = Unit::start_echo("echo").await;
    let first = Unit::start("first", &Witness::default()).await;
    proxy.route(&[&first]).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let head = ask(&mut stream, "GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(hear(&mut stream, 5).await, "first");
    proxy.route(&[&unit]).await;
    let head = ask(&mut stream, HANDSHAKE).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (mut reader, mut writer) = stream.into_split();
    let say = tokio::spawn(async move {
        writer.write_all(&vec![b'x'; LENGTH]).await.unwrap();
        // Says that nothing more comes; the rest of the echo comes nevertheless.
        writer.shutdown().await.unwrap();
        writer
    });
    let mut heard = Vec::new();
    reader.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard.len(), LENGTH);
    drop(say.await.unwrap());
}

#[tokio::test]
async fn over_tls_and_with_a_cookie_it_is_the_same() {
    let certificates = Certificates::new();
    let proxy = TestProxy::start_with_tls(&certificates.files()).await;
    let unit = hasty("unit").await;
    let options =
        RouteOptions { sticky: Some("cookie".parse().unwrap()), ..RouteOptions::default() };
    proxy.route_with(vec![target(&unit.name, unit.address)], options).await;
    let mut stream = certificates.connect(proxy.tls_address(), "http/1.1").await.unwrap();
    let head = ask(&mut stream, HANDSHAKE).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.to_lowercase().contains("\r\nset-cookie: shipline-unit="), "{head}");
    assert_eq!(hear(&mut stream, 5).await, "hello");
    stream.write_all(b"and on").await.unwrap();
    assert_eq!(hear(&mut stream, 6).await, "and on");
    stream.shutdown().await.unwrap();
    proxy.until_in_flight(&unit, 0).await;
}
