//! A client that never tries twice: what it could not do is a failed request.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
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
    sender: Option<SendRequest<Full<Bytes>>>,
    connection: JoinSet<()>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Client {
        Client { address, keep: true, sender: None, connection: JoinSet::new() }
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

/// What a request that went well says; all else is told as a failure.
pub fn ok(answer: Result<Answer, String>) -> Result<String, String> {
    match answer {
        Ok(answer) if answer.status == StatusCode::OK => Ok(answer.body),
        Ok(answer) => Err(format!("{answer:?}")),
        Err(error) => Err(error),
    }
}
