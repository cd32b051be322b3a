//! A client of the control socket: one connection per call, each with a deadline.
//!
//! Every call may be repeated: a `PUT` of what already stands changes nothing, a
//! drained unit stays drained, and a deleted route stays deleted. A caller that
//! got no answer therefore asks again rather than guesses.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::{
    DrainRequest, Drained, Lease, LeaseRequest, Leases, Page, Refusal, RouteSpec, RouteStatus,
    Routes,
};

/// How long the proxy may take for an answer; it never waits for anybody but in a drain.
const DEADLINE: Duration = Duration::from_secs(10);

/// Answers list routes and targets: more than this is not a proxy of ours.
const ANSWER_LIMIT_BYTES: usize = 16 << 20;

/// Asks the proxy that listens on a control socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answered, so it is unknown whether the request took effect.
    #[error("cannot reach the proxy at {}", socket.display())]
    Unreachable {
        socket: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Somebody with a newer lock has spoken since; nothing was changed.
    #[error("{message}")]
    Fenced {
        /// The fence in force.
        fence: u64,
        message: String,
    },
    /// Somebody else holds the lease; nothing was changed.
    #[error("{message}")]
    Held { lease: Lease, message: String },
    /// The proxy understood and said no; nothing was changed.
    #[error("the proxy refused with {status}: {message}")]
    Refused { status: u16, message: String },
    /// Something answered, but not in this language.
    #[error("the answer from {} is not one of shipline's proxy: {message}", socket.display())]
    Protocol { socket: PathBuf, message: String },
}

impl Client {
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Client {
        Client { socket: socket.into() }
    }

    /// The path this client connects to.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// All routes with their targets, counts in flight and counts per release.
    pub async fn routes(&self) -> Result<Routes, ClientError> {
        let body = self.ask(Method::GET, "/v1/routes", None, DEADLINE).await?;
        self.read(&body)
    }

    /// Replaces the target set of a route; returns when that is durable and in force.
    pub async fn put_route(
        &self,
        name: &str,
        spec: &RouteSpec,
    ) -> Result<RouteStatus, ClientError> {
        let path = format!("/v1/routes/{}", segment(name));
        let body = self.ask(Method::PUT, &path, Some(json(spec)), DEADLINE).await?;
        self.read(&body)
    }

    /// Waits until a unit that left the set of a route is idle, or cuts what is left at the timeout.
    pub async fn drain(&self, name: &str, request: &DrainRequest) -> Result<Drained, ClientError> {
        let path = format!("/v1/routes/{}/drain", segment(name));
        let deadline = Duration::from_millis(request.longest_ms()).saturating_add(DEADLINE);
        let body = self.ask(Method::POST, &path, Some(json(request)), deadline).await?;
        self.read(&body)
    }

    /// Removes a route; that there is none is no error.
    pub async fn delete_route(&self, name: &str, fence: u64) -> Result<(), ClientError> {
        let path = format!("/v1/routes/{}?fence={fence}", segment(name));
        self.ask(Method::DELETE, &path, None, DEADLINE).await?;
        Ok(())
    }

    /// Sets what is answered while the route has no targets.
    pub async fn put_page(&self, name: &str, page: &Page) -> Result<(), ClientError> {
        let path = format!("/v1/routes/{}/page", segment(name));
        self.ask(Method::PUT, &path, Some(json(page)), DEADLINE).await?;
        Ok(())
    }

    /// Takes the lease of an environment, or renews it when the request has its fence.
    ///
    /// A taking whose answer was lost may be asked for again: it gives a higher fence.
    pub async fn lease(
        &self,
        project: &str,
        environment: &str,
        request: &LeaseRequest,
    ) -> Result<Lease, ClientError> {
        let path = lease_path(project, environment);
        let body = self.ask(Method::PUT, &path, Some(json(request)), DEADLINE).await?;
        self.read(&body)
    }

    /// Gives a lease back; that it ended meanwhile is no error.
    pub async fn release_lease(
        &self,
        project: &str,
        environment: &str,
        fence: u64,
    ) -> Result<(), ClientError> {
        let path = format!("{}?fence={fence}", lease_path(project, environment));
        self.ask(Method::DELETE, &path, None, DEADLINE).await?;
        Ok(())
    }

    /// The leases that are held.
    pub async fn leases(&self) -> Result<Leases, ClientError> {
        let body = self.ask(Method::GET, "/v1/leases", None, DEADLINE).await?;
        self.read(&body)
    }

    /// Counts and histograms as text for Prometheus.
    pub async fn metrics(&self) -> Result<String, ClientError> {
        let body = self.ask(Method::GET, "/metrics", None, DEADLINE).await?;
        String::from_utf8(body.into()).map_err(|error| self.protocol(error.to_string()))
    }

    /// Tells a proxy that drains the routes of its successor.
    #[cfg(feature = "serve")]
    pub(crate) async fn follow(&self, routes: &impl Serialize) -> Result<(), ClientError> {
        self.ask(Method::PUT, "/v1/follow", Some(json(routes)), DEADLINE).await?;
        Ok(())
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        deadline: Duration,
    ) -> Result<Bytes, ClientError> {
        let answer = tokio::time::timeout(deadline, self.exchange(method, path, body)).await;
        let (status, body) = match answer {
            Ok(answer) => answer?,
            Err(_) => {
                let message = format!("no answer within {} s", deadline.as_secs());
                return Err(self.unreachable(io::Error::new(io::ErrorKind::TimedOut, message)));
            }
        };
        if status.is_success() {
            return Ok(body);
        }
        Err(match serde_json::from_slice::<Refusal>(&body) {
            Ok(Refusal { error, lease: Some(lease), .. }) if status == StatusCode::CONFLICT => {
                ClientError::Held { lease, message: error }
            }
            Ok(Refusal { error, fence: Some(fence), .. }) if status == StatusCode::CONFLICT => {
                ClientError::Fenced { fence, message: error }
            }
            // It stops or hands over: whoever comes after it can be asked again.
            Ok(refusal) if status == StatusCode::SERVICE_UNAVAILABLE => {
                self.unreachable(io::Error::new(io::ErrorKind::ConnectionRefused, refusal.error))
            }
            Ok(refusal) => ClientError::Refused { status: status.as_u16(), message: refusal.error },
            Err(_) => self.protocol(format!("status {status} without a reason")),
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "proxy")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|error| self.protocol(error.to_string()))?;
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|source| self.unreachable(source))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(&error))?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(|error| self.broken(&error))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_LIMIT_BYTES)
                .collect()
                .await
                .map_err(|error| self.protocol(error.to_string()))?;
            Ok((status, body.to_bytes()))
        };
        tokio::pin!(answer, connection);
        tokio::select! {
            answer = &mut answer => answer,
            // A connection that ended has handed on its error, or all it read, to the answer.
            _ = &mut connection => answer.await,
        }
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| self.protocol(error.to_string()))
    }

    /// A connection that broke says nothing about the request; one that talks nonsense does.
    fn broken(&self, error: &hyper::Error) -> ClientError {
        if error.is_parse() {
            return self.protocol(error.to_string());
        }
        self.unreachable(io::Error::new(io::ErrorKind::ConnectionAborted, error.to_string()))
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        ClientError::Unreachable { socket: self.socket.clone(), source }
    }

    fn protocol(&self, message: String) -> ClientError {
        ClientError::Protocol { socket: self.socket.clone(), message }
    }
}

fn lease_path(project: &str, environment: &str) -> String {
    format!("/v1/leases/{}/{}", segment(project), segment(environment))
}

fn json(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body).expect("messages have string keys and no maps of other types").into()
}

/// One segment of a path: whatever a name holds cannot become another route or a query.
fn segment(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                segment.push(char::from(byte));
            }
            _ => segment.push_str(&format!("%{byte:02X}")),
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    fn answer(status: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}")
    }

    /// Answers one connection with `answer` and returns what the client asked.
    async fn ask_of<T>(answer: &str, ask: impl AsyncFnOnce(Client) -> T) -> (String, T) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("proxy.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let proxy = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        };
        tokio::join!(proxy, ask(Client::new(&socket)))
    }

    #[tokio::test]
    async fn a_fence_too_low_is_told_apart_from_other_refusals() {
        let (request, refusal) = ask_of(
            &answer("409 Conflict", r#"{"error":"fence 3 is in force","fence":3}"#),
            async |client: Client| client.delete_route("web prod", 2).await,
        )
        .await;
        assert!(request.starts_with("DELETE /v1/routes/web%20prod?fence=2 HTTP/1.1\r\n"));
        assert!(
            matches!(&refusal, Err(ClientError::Fenced { fence: 3, message }) if message == "fence 3 is in force"),
            "{refusal:?}"
        );

        let (_, refusal) =
            ask_of(&answer("400 Bad Request", r#"{"error":"no unit"}"#), async |client: Client| {
                client.routes().await
            })
            .await;
        assert!(
            matches!(&refusal, Err(ClientError::Refused { status: 400, message }) if message == "no unit"),
            "{refusal:?}"
        );
    }

    #[tokio::test]
    async fn something_else_behind_the_socket_is_a_protocol_error() {
        for answer in [
            "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
            answer("200 OK", "hello"),
            answer("502 Bad Gateway", "hello"),
        ] {
            let (_, read) = ask_of(&answer, async |client: Client| client.routes().await).await;
            assert!(matches!(read, Err(ClientError::Protocol { .. })), "{answer:?}: {read:?}");
        }
    }

    #[tokio::test]
    async fn a_proxy_that_is_gone_or_dies_in_the_middle_is_unreachable() {
        let gone = Client::new("/nonexistent/proxy.sock").routes().await;
        assert!(matches!(gone, Err(ClientError::Unreachable { .. })), "{gone:?}");
        for answer in ["", "HTTP/1.1 200 OK\r\ncontent-le"] {
            let (_, died) = ask_of(answer, async |client: Client| client.routes().await).await;
            assert!(matches!(died, Err(ClientError::Unreachable { .. })), "{died:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_that_never_answers_is_unreachable_after_the_deadline() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("proxy.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        let begun = tokio::time::Instant::now();
        let request = DrainRequest {
            unit: "web-0".to_owned(),
            timeout_ms: 30_000,
            websockets_timeout_ms: None,
        };
        let answer = Client::new(&socket).drain("web", &request).await;
        assert!(
            matches!(&answer, Err(ClientError::Unreachable { source, .. }) if source.kind() == io::ErrorKind::TimedOut),
            "{answer:?}"
        );
        assert_eq!(begun.elapsed(), Duration::from_secs(40));
    }
}
