//! Units to stand behind the proxy: a polite one, and two that are not.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Request};
use axum::routing::{get, post};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What reached the units: the ids of all POSTs, as often as they came.
pub type Witness = Arc<Mutex<Vec<String>>>;

/// A unit that is killed when it is dropped.
pub struct Unit {
    pub name: String,
    pub address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Unit {
    /// Answers as an application does, and keeps connections.
    pub async fn start(name: &str, witness: &Witness) -> Unit {
        let state = (name.to_owned(), witness.clone());
        let router = Router::new()
            .route("/", get(async |State((name, _)): Shared| name))
            .route("/slow/{ms}", get(slow))
            .route("/post/{id}", post(posted))
            .route("/headers", get(headers))
            .route("/big/{mebibytes}", get(big))
            .route("/upload", post(upload))
            .with_state(state);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // axum's own tasks outlive the abort of this one; a connection each does not.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = hyper_util::service::TowerToHyperService::new(router.clone());
                connections.spawn(async move {
                    let stream = hyper_util::rt::TokioIo::new(stream);
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(stream, service)
                        .await;
                });
            }
        });
        Unit { name: name.to_owned(), address, _tasks: tasks }
    }

    /// Promises to keep connections and closes each at its second request,
    /// without an answer: what the race with an idle time-out looks like.
    pub async fn start_fickle(name: &str, witness: &Witness) -> Unit {
        let witness = witness.clone();
        Unit::raw(name, move |stream| {
            let witness = witness.clone();
            async move {
                let mut stream = BufReader::new(stream);
                let Some(first) = read_head(&mut stream).await else {
                    return;
                };
                note(&witness, &first);
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nfickle";
                let _ = stream.write_all(answer.as_bytes()).await;
                if let Some(second) = read_head(&mut stream).await {
                    note(&witness, &second);
                }
            }
        })
        .await
    }

    /// Says on which of its connections a request came.
    pub async fn start_counting(name: &str) -> Unit {
        let connections = Arc::new(AtomicU64::new(0));
        Unit::raw(name, move |stream| {
            let connection = connections.fetch_add(1, Ordering::Relaxed) + 1;
            async move {
                let mut stream = BufReader::new(stream);
                while read_head(&mut stream).await.is_some() {
                    let answer =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{connection}");
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            }
        })
        .await
    }

    /// Switches protocols and sends everything back.
    pub async fn start_echo(name: &str) -> Unit {
        Unit::raw(name, async move |stream: TcpStream| {
            let mut stream = BufReader::new(stream);
            let Some(head) = read_head(&mut stream).await else {
                return;
            };
            assert!(head.to_lowercase().contains("upgrade: websocket"), "{head}");
            let answer = "HTTP/1.1 101 Switching Protocols\r\n\
                          connection: upgrade\r\nupgrade: websocket\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes()).await;
            let mut bytes = [0; 1024];
            while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                let _ = stream.write_all(&bytes[..read]).await;
            }
        })
        .await
    }

    /// Does with each connection what `serve` says.
    pub async fn raw<S, F>(name: &str, serve: S) -> Unit
    where
        S: Fn(TcpStream) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = ()> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let serve = serve.clone();
                connections.spawn(async move { serve(stream).await });
            }
        });
        Unit { name: name.to_owned(), address, _tasks: tasks }
    }
}

type Shared = State<(String, Witness)>;

async fn slow(State((name, _)): Shared, Path(ms): Path<u64>) -> String {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    name
}

async fn posted(State((name, witness)): Shared, Path(id): Path<String>, body: Bytes) -> String {
    assert_eq!(body, id);
    witness.lock().unwrap().push(id);
    name
}

/// The headers that came, a line each, sorted.
async fn headers(headers: HeaderMap) -> String {
    let mut lines: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    lines.join("\n")
}

async fn big(Path(mebibytes): Path<usize>) -> Body {
    let chunk = Bytes::from(vec![b'x'; 1 << 20]);
    let chunks = std::iter::repeat_n(chunk, mebibytes).map(Ok::<_, std::io::Error>);
    Body::from_stream(futures_util::stream::iter(chunks))
}

async fn upload(request: Request<Body>) -> String {
    use http_body_util::BodyExt;
    let mut body = request.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame.unwrap().data_ref().map_or(0, Bytes::len);
    }
    bytes.to_string()
}

fn note(witness: &Witness, head: &str) {
    if let Some(id) = head.strip_prefix("POST /post/") {
        let id = id.split(' ').next().unwrap();
        witness.lock().unwrap().push(id.to_owned());
    }
}

/// The head of a request, and its body with it if it says how long that is.
pub async fn read_head(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let length = head
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some(head)
}
