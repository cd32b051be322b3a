//! A control socket without a proxy behind it: keeps routes and fences as the
//! real one does, and writes down what it was asked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proxy::control::{
    DrainRequest, Drained, Lease, LeaseRequest, Leases, Page, Refusal, RouteSpec, RouteStatus,
    Routes, TargetStatus,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::task::AbortOnDropHandle;

/// `drain-websockets` where nobody says it.
const BUILTIN_WEBSOCKETS_MS: u64 = 300_000;

pub(crate) struct StubProxy {
    folder: tempfile::TempDir,
    state: Arc<Mutex<State>>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct State {
    routes: Routes,
    fences: BTreeMap<String, u64>,
    /// By `PROJECT/ENVIRONMENT`, with the key of who has it; held until it is given back.
    leases: BTreeMap<String, (Option<String>, Lease)>,
    /// Changes and drains, in their order, by unit.
    asked: Vec<String>,
    /// Requests that every drain cuts.
    cut: u64,
}

impl StubProxy {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("proxy.sock")).unwrap();
        let state = Arc::<Mutex<State>>::default();
        let serving = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { folder, state, _serving: AbortOnDropHandle::new(serving) }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("proxy.sock")
    }

    pub(crate) fn cut(&self, requests: u64) {
        self.state().cut = requests;
    }

    pub(crate) fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state().asked)
    }

    /// Returns units and addresses of a route; `None` where there is no route.
    pub(crate) fn targets(&self, name: &str) -> Option<Vec<(String, String)>> {
        let state = self.state();
        let targets = &state.routes.routes.get(name)?.targets;
        Some(
            targets
                .iter()
                .map(|target| (target.target.unit.clone(), target.target.address.clone()))
                .collect(),
        )
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: UnixListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        answer(stream, &state).await;
    }
}

/// One request per connection, as the client makes them.
async fn answer(mut stream: UnixStream, state: &Mutex<State>) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    let (head, body) = loop {
        let Ok(read @ 1..) = stream.read(&mut buffer).await else { return };
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, length)| length.trim().parse().unwrap());
        if body.len() >= length {
            break (head.to_owned(), body.to_owned());
        }
    };
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let answer = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.answer(method, path, &body)
    };
    let (status, body) = match answer {
        Ok(body) => ("200 OK", body),
        Err(refusal) => ("409 Conflict", serde_json::to_string(&refusal).unwrap()),
    };
    let length = body.len();
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
    let _ = stream.write_all(answer.as_bytes()).await;
}

impl State {
    fn answer(&mut self, method: &str, path: &str, body: &str) -> Result<String, Refusal> {
        if let Some(lease) = path.strip_prefix("/v1/leases") {
            return self.answer_lease(method, lease.trim_start_matches('/'), body);
        }
        let path = path.trim_start_matches("/v1/routes").trim_start_matches('/').to_owned();
        let (name, rest) = path.split_once(['/', '?']).unwrap_or((&path, ""));
        match method {
            "GET" => Ok(serde_json::to_string(&self.routes).unwrap()),
            "PUT" => {
                if rest == "page" {
                    let page: Page = serde_json::from_str(body).unwrap();
                    self.fence(name, page.fence)?;
                    self.asked.push(format!("page {}", page.status));
                    self.routes.routes.get_mut(name).unwrap().page = true;
                    return Ok(String::new());
                }
                let spec: RouteSpec = serde_json::from_str(body).unwrap();
                self.fence(name, spec.fence)?;
                let closed = self.routes.routes.get(name).is_some_and(|route| route.page);
                let units: Vec<_> = spec.targets.iter().map(|target| target.unit.clone()).collect();
                self.asked.push(format!("put {}", units.join(" ")));
                let page = closed && spec.targets.is_empty();
                let targets =
                    spec.targets.into_iter().map(|target| TargetStatus { target, in_flight: 0 });
                let status = RouteStatus {
                    page,
                    fence: spec.fence,
                    generation: 1,
                    matches: spec.matches,
                    targets: targets.collect(),
                    options: spec.options,
                    ..RouteStatus::default()
                };
                self.routes.routes.insert(name.to_owned(), status.clone());
                Ok(serde_json::to_string(&status).unwrap())
            }
            "POST" => {
                let drain: DrainRequest = serde_json::from_str(body).unwrap();
                let websockets = drain.websockets_timeout_ms.unwrap_or(0);
                // What is built in is not worth a word.
                let websockets = match websockets {
                    BUILTIN_WEBSOCKETS_MS => String::new(),
                    other => format!(", WebSockets for {other} ms"),
                };
                let asked = format!("drain {} for {} ms{websockets}", drain.unit, drain.timeout_ms);
                self.asked.push(asked);
                Ok(serde_json::to_string(&Drained { cut: self.cut, took_ms: 5 }).unwrap())
            }
            "DELETE" => {
                self.fence(name, rest.trim_start_matches("fence=").parse().unwrap())?;
                self.asked.push("delete".to_owned());
                self.routes.routes.remove(name);
                Ok(String::new())
            }
            other => panic!("{other}"),
        }
    }

    fn answer_lease(&mut self, method: &str, path: &str, body: &str) -> Result<String, Refusal> {
        let (name, query) = path.split_once('?').unwrap_or((path, ""));
        match method {
            "GET" => {
                let held = self.leases.iter();
                let held = held.map(|(name, (_, lease))| (name.clone(), lease.clone()));
                Ok(serde_json::to_string(&Leases { leases: held.collect() }).unwrap())
            }
            "PUT" => {
                let asked: LeaseRequest = serde_json::from_str(body).unwrap();
                let held = self.leases.get(name);
                if let Some((_, lease)) = held.filter(|(key, _)| *key != asked.key) {
                    let error = format!("{name} is held by {}", lease.holder);
                    let lease = Some(lease.clone());
                    return Err(Refusal { error, lease, ..Refusal::default() });
                }
                let in_force = held.map_or(0, |(_, lease)| lease.fence);
                if asked.fence.is_some_and(|fence| fence != in_force) {
                    let error = format!("fence {in_force} is in force");
                    return Err(Refusal { error, fence: Some(in_force), ..Refusal::default() });
                }
                let highest = self.fences.values().max().copied().unwrap_or(0).max(asked.above);
                let fence = asked.fence.unwrap_or(highest + 1);
                self.fences.insert(format!("lease {name}"), fence);
                let lease = Lease {
                    holder: asked.holder,
                    fence,
                    since_ms: 1_780_000_000_000,
                    remaining_ms: asked.ttl_ms,
                    ..Lease::default()
                };
                let answer = serde_json::to_string(&lease).unwrap();
                self.leases.insert(name.to_owned(), (asked.key, lease));
                Ok(answer)
            }
            "DELETE" => {
                let fence: u64 = query.trim_start_matches("fence=").parse().unwrap();
                self.leases.retain(|held, (_, lease)| held != name || lease.fence != fence);
                Ok(String::new())
            }
            other => panic!("{other}"),
        }
    }

    fn fence(&mut self, name: &str, fence: u64) -> Result<(), Refusal> {
        let in_force = self.fences.entry(name.to_owned()).or_default();
        if fence < *in_force {
            let error = format!("fence {in_force} is in force");
            return Err(Refusal { error, fence: Some(*in_force), ..Refusal::default() });
        }
        *in_force = fence;
        Ok(())
    }
}
