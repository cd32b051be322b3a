//! Requests and their answers.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::knobs::Knobs;
use crate::socket;
use crate::witness::Witness;

pub type Answer = Full<Bytes>;

pub fn body(text: impl Into<Bytes>) -> Answer {
    Full::new(text.into())
}

pub struct Service {
    knobs: Knobs,
    pub witness: Witness,
    /// What it tells.
    version: String,
    release: String,
    unit: String,
    since: Instant,
    seq: AtomicU64,
    /// The witness knows that it is well, and so may everybody.
    announced: AtomicBool,
    /// How often in a row it said that it is well, before anybody else asked for anything.
    well: AtomicU64,
    asked: AtomicBool,
    ending: watch::Sender<bool>,
}

impl Service {
    pub fn new(knobs: Knobs, witness: Witness) -> Self {
        let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
        let lie = knobs.lie_version.clone();
        Self {
            version: lie.clone().unwrap_or_else(|| knobs.version.clone()),
            release: lie.unwrap_or_else(|| knobs.release.clone()),
            unit: format!("{}-{}", host.trim(), knobs.port),
            knobs,
            witness,
            since: Instant::now(),
            seq: AtomicU64::new(0),
            announced: AtomicBool::new(false),
            well: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            ending: watch::Sender::new(false),
        }
    }

    /// It listens: what is to happen by itself begins.
    pub fn begin(self: &Arc<Self>) {
        let service = Arc::clone(self);
        tokio::spawn(async move {
            match service.knobs.health_flip_after {
                Some(Duration::ZERO) => return,
                flip => {
                    service.witness.say("well").await;
                    service.announced.store(true, Ordering::Relaxed);
                    let Some(flip) = flip else { return };
                    tokio::time::sleep(flip.saturating_sub(service.since.elapsed())).await;
                }
            }
            service.witness.say("sick").await;
        });
        let megabytes = self.knobs.eat_memory;
        tokio::spawn(async move {
            let mut eaten: Vec<Vec<u8>> = Vec::new();
            while eaten.len() * 8 < megabytes {
                eaten.push(vec![1; 8 << 20]);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            std::future::pending::<()>().await;
        });
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Answer> {
        let id = request.headers().get("x-request-id").cloned();
        let path = request.uri().path().to_owned();
        let mut answer = match &*path {
            "/health" => self.health(),
            _ => self.traffic(&path, request).await,
        };
        let headers = answer.headers_mut();
        if let Some(id) = id {
            headers.insert("x-request-id", id);
        }
        if let Ok(release) = self.release.parse() {
            headers.insert("x-shipline-release", release);
        }
        answer
    }

    fn health(&self) -> Response<Answer> {
        let is_well = self.announced.load(Ordering::Relaxed)
            && self.knobs.health_flip_after.is_none_or(|at| self.since.elapsed() < at);
        if is_well {
            self.well.fetch_add(1, Ordering::Relaxed);
        } else {
            self.well.store(0, Ordering::Relaxed);
        }
        let release = json!({ "version": self.version, "release": self.release });
        let status = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        told(status, &release)
    }

    async fn traffic(&self, path: &str, request: Request<Incoming>) -> Response<Answer> {
        if !self.asked.swap(true, Ordering::Relaxed) {
            let well = self.well.load(Ordering::Relaxed);
            self.witness.say(&format!("first {well}")).await;
        }
        let seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
        let mut what = json!({ "version": self.version, "unit": self.unit, "seq": seq });
        if !self.knobs.slow.is_zero() {
            tokio::time::sleep(self.knobs.slow).await;
        }
        if self.knobs.fail_after.is_some_and(|at| self.since.elapsed() >= at) {
            return told(StatusCode::INTERNAL_SERVER_ERROR, &what);
        }
        let wait = request.uri().query().and_then(|query| query.strip_prefix("ms="));
        let wait = wait.and_then(|text| text.parse().ok()).map(Duration::from_millis);
        tokio::time::sleep(wait.unwrap_or_default()).await;
        match (request.method(), path) {
            (&Method::GET, "/socket") => {
                return socket::upgrade(request, self.ending.subscribe(), what.to_string());
            }
            (&Method::POST, "/post") => {
                let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok());
                let line = format!("post {}", id.unwrap_or("-"));
                if !self.witness.say(&line).await {
                    return told(StatusCode::INTERNAL_SERVER_ERROR, &what);
                }
            }
            (&Method::POST, "/upload") => {
                let Ok((bytes, digest)) = digest(request).await else {
                    return told(StatusCode::BAD_REQUEST, &what);
                };
                what["bytes"] = bytes.into();
                what["sha256"] = digest.into();
            }
            _ => {}
        }
        told(StatusCode::OK, &what)
    }
}

fn told(status: StatusCode, what: &Value) -> Response<Answer> {
    let mut answer = Response::new(body(what.to_string()));
    *answer.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

async fn digest(request: Request<Incoming>) -> Result<(u64, String), hyper::Error> {
    let mut body = request.into_body();
    let (mut bytes, mut digest) = (0, Sha256::new());
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes += data.len() as u64;
            digest.update(&data);
        }
    }
    let digest = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((bytes, digest))
}

/// Serves until `told`, then as long as there is something in flight, at most `last`.
pub async fn until(
    told: impl Future<Output = ()>,
    listener: TcpListener,
    service: &Arc<Service>,
    last: Duration,
) {
    let ending = &service.ending;
    let accept = async {
        loop {
            // Such as too many open files: the next one may find room.
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let _ = stream.set_nodelay(true);
            let service = Arc::clone(service);
            let answering = service_fn(move |request| {
                let service = Arc::clone(&service);
                async move { Ok::<_, Infallible>(service.answer(request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                // As patient as a proxy is with idle connections.
                .header_read_timeout(Duration::from_secs(120))
                .serve_connection(TokioIo::new(stream), answering)
                .with_upgrades();
            let mut ending = ending.subscribe();
            tokio::spawn(async move {
                let mut connection = pin!(connection);
                tokio::select! {
                    _ = connection.as_mut() => return,
                    () = socket::told(&mut ending) => {}
                }
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = told => {}
    }
    drop(listener);
    ending.send_replace(true);
    // Whatever is in flight listens to it.
    let _ = tokio::time::timeout(last, ending.closed()).await;
}
