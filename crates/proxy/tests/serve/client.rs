//! A client that never tries twice: what it could not do is a failed request.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::client::conn::http2;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// One connection at a time, kept or not.
pub struct Client {
    address: SocketAddr,
    keep: bool,
    /// The protocol that every request asks for.
    upgrade: Option<String>,
    sender: Option<SendRequest<Full<Bytes>>>,
    connection: JoinSet<()>,
    connections: usize,
}

impl Client {
    pub fn new(address: SocketAddr) -> Client {
        let (sender, connection) = (None, JoinSet::new());
        Client { address, keep: true, upgrade: None, sender, connection, connections: 0 }
    }

    /// From now on asks for another protocol, in vain.
    pub fn upgrade_to(&mut self, protocol: &str) {
        self.upgrade = Some(protocol.to_owned());
    }

    /// How many connections it took so far.
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// A connection per request.
    pub fn hasty(address: SocketAddr) -> Client {
        Client { keep: false, ..Client::new(address) }
    }

    pub async fn get(&mut self, path: &str) -> Result<Answer, String> {
        self.send("GET", path, "").await
    }

    pub async fn post(&mut self, path: &str, body: &str) -> Result<Answer, String> {
        self.send("POST", path, body).await
    }

    async fn send(&mut self, method: &str, path: &str, body: &str) -> Result<Answer, String> {
        let said = |error: hyper::Error| format!("{method} {path}: {error:?}");
        if self.sender.as_ref().is_none_or(|sender| sender.is_closed() || !self.keep) {
            let stream = TcpStream::connect(self.address)
                .await
                .map_err(|error| format!("{method} {path}: cannot connect: {error}"))?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(said)?;
            self.connections += 1;
            self.connection.shutdown().await;
            self.connection.spawn(async {
                let _ = connection.await;
            });
            self.sender = Some(sender);
        }
        let mut request =
            Request::builder().method(method).uri(path).header("host", "web.example.com");
        if !self.keep {
            request = request.header("connection", "close");
        }
        if let Some(protocol) = &self.upgrade {
            request = request.header("connection", "upgrade").header("upgrade", protocol);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let sender = self.sender.as_mut().unwrap();
        sender.ready().await.map_err(said)?;
        let answer = sender.send_request(request).await.map_err(said)?;
        let status = answer.status();
        // A short body is an error of `collect`.
        let body = answer.into_body().collect().await.map_err(said)?;
        Ok(Answer {
            status: status.as_u16(),
            body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        })
    }
}

/// The protocol says that nobody looked at the request: it belongs on another connection.
pub const NOT_SENT: &str = "the connection takes no more requests";

/// Many requests at once on one connection.
pub struct Http2 {
    sender: http2::SendRequest<Full<Bytes>>,
    _connection: JoinSet<()>,
}

impl Http2 {
    /// Over TCP with prior knowledge, or over whatever carries it.
    pub async fn on<S>(stream: S) -> Http2
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let shaken = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = shaken.unwrap();
        let mut task = JoinSet::new();
        task.spawn(async {
            let _ = connection.await;
        });
        Http2 { sender, _connection: task }
    }

    pub async fn to(address: SocketAddr) -> Http2 {
        Http2::on(TcpStream::connect(address).await.unwrap()).await
    }

    /// Whether a next request needs a new connection.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub async fn get(&self, path: &str) -> Result<Answer, String> {
        self.send("GET", path, "").await
    }

    pub async fn send(&self, method: &str, path: &str, body: &str) -> Result<Answer, String> {
        let said = |error: hyper::Error| format!("{method} {path}: {error:?}");
        let request = Request::builder()
            .method(method)
            .uri(format!("http://web.example.com{path}"))
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        let mut sender = self.sender.clone();
        if sender.ready().await.is_err() {
            return Err(NOT_SENT.to_owned());
        }
        let answer = sender.try_send_request(request).await.map_err(|mut error| {
            let unsent = error.take_message().is_some();
            let error = said(error.into_error());
            // Either it never left, or it came after what the server said is the last one.
            if unsent || error.contains("GoAway(b\"\", NO_ERROR, Remote)") {
                NOT_SENT.to_owned()
            } else {
                error
            }
        })?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(said)?;
        Ok(Answer { status, body: String::from_utf8_lossy(&body.to_bytes()).into_owned() })
    }
}

/// What a request that went well says; all else is told as a failure.
pub fn ok(answer: Result<Answer, String>) -> Result<String, String> {
    match answer {
        Ok(answer) if answer.status == StatusCode::OK => Ok(answer.body),
        Ok(answer) => Err(format!("{answer:?}")),
        Err(error) => Err(error),
    }
}
