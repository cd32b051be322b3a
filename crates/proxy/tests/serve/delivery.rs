//! How a request is delivered: once, whole, to somebody who answers.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::client::{Answer, Client, ok};
use crate::proxy::{TestProxy, target};
use crate::unit::{Unit, Witness};

/// The unit closes kept connections under the next request. Reading again is
/// harmless, so that is done; nothing else ever uses a kept connection.
#[tokio::test]
async fn a_unit_that_drops_kept_connections_loses_no_request_and_doubles_no_post() {
    let witness = Witness::default();
    let proxy = TestProxy::start().await;
    let unit = Unit::start_fickle("fickle", &witness).await;
    proxy.route(&[&unit]).await;
    let mut client = Client::new(proxy.address);
    let mut ids = Vec::new();
    for id in 0..20 {
        let id = id.to_string();
        ok(client.get("/").await).unwrap();
        ok(client.post(&format!("/post/{id}"), &id).await).unwrap();
        ok(client.post(&format!("/post/{id}-empty"), "").await).unwrap();
        ids.extend([id.clone(), format!("{id}-empty")]);
    }
    assert_eq!(*witness.lock().unwrap(), ids);
    // That a kept connection failed says nothing about the release.
    assert_eq!(proxy.counts("r1").await, "2xx=60");
}

#[tokio::test]
async fn reading_keeps_a_connection_and_a_new_unit_at_the_address_does_not_get_it() {
    let proxy = TestProxy::start().await;
    let unit = Unit::start_counting("old").await;
    proxy.route(&[&unit]).await;
    let mut client = Client::new(proxy.address);
    for expected in ["1", "1"] {
        assert_eq!(ok(client.get("/").await).unwrap(), expected);
    }
    assert_eq!(ok(client.post("/", "").await).unwrap(), "2");
    assert_eq!(ok(client.get("/").await).unwrap(), "1");
    proxy.route_to(vec![target("new", unit.address)]).await;
    for expected in ["3", "3"] {
        assert_eq!(ok(client.get("/").await).unwrap(), expected);
    }
}

#[tokio::test]
async fn when_a_unit_cannot_be_reached_another_gets_the_request_also_a_post() {
    let witness = Witness::default();
    let proxy = TestProxy::start().await;
    let alive = Unit::start("alive", &witness).await;
    let (_kept, nobody) = nobody();
    let mut dead = target("dead", nobody);
    dead.release = "r2".to_owned();
    proxy.route_to(vec![dead.clone(), target("alive", alive.address)]).await;
    let mut client = Client::new(proxy.address);
    for id in 0..10 {
        let id = id.to_string();
        let answer = client.post(&format!("/post/{id}"), &id).await;
        assert_eq!(ok(answer).unwrap(), "alive");
    }
    assert_eq!(witness.lock().unwrap().len(), 10);
    // Tried once, then passed over.
    assert_eq!(proxy.counts("r2").await, "error=1");

    proxy.route_to(vec![dead]).await;
    let answer = client.get("/").await.unwrap();
    let expected =
        Answer { status: 502, body: "the unit behind this route gave no answer\n".to_owned() };
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn without_route_or_unit_there_is_an_answer_in_words() {
    let witness = Witness::default();
    let proxy = TestProxy::start().await;
    let mut client = Client::new(proxy.address);
    let answer = client.get("/").await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (404, "no route for this host and path\n"));
    proxy.route(&[]).await;
    let answer = client.get("/").await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (503, "nothing runs here at the moment\n"));
    let page =
        shipline_proxy::control::Page { fence: 1, status: 503, text: "back at noon".to_owned() };
    proxy.control().put_page("web", &page).await.unwrap();
    let answer = client.get("/").await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (503, "back at noon"));

    let unit = Unit::start("unit", &witness).await;
    proxy.route(&[&unit]).await;
    assert_eq!(ok(client.get("/").await).unwrap(), "unit");
}

#[tokio::test]
async fn who_uploads_to_nobody_gets_the_answer_nevertheless() {
    let proxy = TestProxy::start().await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 4194304\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; 4 << 20]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
}

#[tokio::test]
async fn a_client_may_ask_before_it_sends_its_body() {
    let witness = Witness::default();
    let proxy = TestProxy::start().await;
    let unit = Unit::start("unit", &witness).await;
    proxy.route(&[&unit]).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let head = "POST /upload HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\n\
                expect: 100-continue\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go = [0; 25];
    stream.read_exact(&mut go).await.unwrap();
    assert_eq!(&go, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n5"), "{answer}");
}

#[tokio::test]
async fn the_unit_learns_who_asked_and_for_which_host() {
    let witness = Witness::default();
    let proxy = TestProxy::start().await;
    let unit = Unit::start("unit", &witness).await;
    proxy.route(&[&unit]).await;
    let answer = raw(
        &proxy,
        "GET /headers HTTP/1.1\r\nHost: Shop.example.com:8080\r\nConnection: close, X-Hop\r\n\
         X-Hop: this hop only\r\nTE: trailers\r\nKeep-Alive: timeout=5\r\nX-End: to end\r\n\r\n",
    )
    .await;
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(
        body,
        "host: Shop.example.com:8080\n\
         x-end: to end\n\
         x-forwarded-for: 127.0.0.1\n\
         x-forwarded-host: Shop.example.com:8080\n\
         x-forwarded-proto: http"
    );
}

#[tokio::test]
async fn large_bodies_stream_both_ways() {
    let witness = Witness::default();
    let proxy = TestProxy::start().await;
    let unit = Unit::start("unit", &witness).await;
    proxy.route(&[&unit]).await;
    let mut client = Client::new(proxy.address);
    let body = ok(client.get("/big/32").await).unwrap();
    assert_eq!(body.len(), 32 << 20);
    let answer = client.post("/upload", &body).await;
    assert_eq!(ok(answer).unwrap(), body.len().to_string());

    // The unit sees the first part of an upload before the last one is sent.
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let head = "POST /upload HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(b"5\r\nhello\r\n").await.unwrap();
    proxy.until_in_flight(&unit, 1).await;
    stream.write_all(b"6\r\n world\r\n0\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]);
    assert!(answer.ends_with("\r\n\r\n11"), "{answer}");
}

#[tokio::test]
async fn a_client_that_sends_its_next_request_early_gets_both_answers() {
    let witness = Witness::default();
    let proxy = TestProxy::start().await;
    let unit = Unit::start("unit", &witness).await;
    proxy.route(&[&unit]).await;
    let answers = raw(
        &proxy,
        "GET /slow/50 HTTP/1.1\r\nhost: web\r\n\r\n\
         POST /post/7 HTTP/1.1\r\nhost: web\r\ncontent-length: 1\r\n\r\n7\
         GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    assert_eq!(*witness.lock().unwrap(), ["7"]);
}

#[tokio::test]
async fn a_client_that_goes_away_gives_its_unit_back() {
    let witness = Witness::default();
    let proxy = TestProxy::start().await;
    let unit = Unit::start("unit", &witness).await;
    proxy.route(&[&unit]).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let request = "GET /slow/60000 HTTP/1.1\r\nhost: web\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    proxy.until_in_flight(&unit, 1).await;
    drop(stream);
    proxy.until_in_flight(&unit, 0).await;
    assert_eq!(proxy.counts("r1").await, "gone=1");
}

/// An address where nobody listens, as long as its socket is kept.
pub fn nobody() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Sends bytes as they are and reads until the proxy closes.
async fn raw(proxy: &TestProxy, request: &str) -> String {
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
