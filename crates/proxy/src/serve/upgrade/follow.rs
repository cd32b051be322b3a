//! Predecessors that drain: what they are told, and what they are asked.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Json;
use axum::routing::{get, post, put};
use tokio::sync::Mutex;

use crate::control::{Client, ClientError, DrainRequest, Drained, Routes};
use crate::serve::api::{self, Problem};
use crate::serve::changes::{ChangeError, Control};
use crate::serve::state::SavedRoute;

const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(50);

/// The language of the socket on which a predecessor follows.
pub fn router(control: Arc<Control>) -> Router {
    Router::new()
        .route("/v1/follow", put(follow))
        .route("/v1/routes", get(list))
        .route("/v1/routes/{name}/drain", post(drain))
        .layer(api::body_limit())
        .with_state(control)
}

async fn follow(
    State(control): State<Arc<Control>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Problem> {
    let routes: BTreeMap<String, SavedRoute> = api::read(body)?;
    control.table().replace(routes);
    Ok(StatusCode::NO_CONTENT)
}

/// Of this proxy alone: its successors ask those before it themselves.
async fn list(State(control): State<Arc<Control>>) -> Json<Routes> {
    Json(control.table().status())
}

/// Of this proxy alone, too.
async fn drain(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Drained>, Problem> {
    let request: DrainRequest = api::read(body)?;
    let drained = control.table().drain(&name, &request).await;
    Ok(Json(drained.map_err(ChangeError::from)?))
}

/// Proxies that still have requests in flight which began before we took over.
#[derive(Debug, Default)]
pub struct Predecessors {
    /// Held over a whole change, so that all hear changes in one order.
    clients: Mutex<Vec<Client>>,
}

impl Predecessors {
    pub fn new(paths: Vec<PathBuf>) -> Predecessors {
        Predecessors { clients: Mutex::new(paths.into_iter().map(Client::new).collect()) }
    }

    pub async fn paths(&self) -> Vec<PathBuf> {
        let clients = self.clients.lock().await;
        clients.iter().map(|client| client.socket().to_owned()).collect()
    }

    /// Tells all of them the routes in force; returns when they are in force there.
    pub async fn tell(
        &self,
        routes: impl FnOnce() -> BTreeMap<String, SavedRoute>,
    ) -> Result<(), ClientError> {
        let mut clients = self.clients.lock().await;
        if clients.is_empty() {
            return Ok(());
        }
        let routes = routes();
        let mut index = 0;
        while let Some(client) = clients.get(index) {
            match asked(|| client.follow(&routes)).await? {
                Some(()) => index += 1,
                None => drop(clients.remove(index)),
            }
        }
        Ok(())
    }

    /// Drains a unit on all of them; counts what they cut.
    pub async fn drain(&self, route: &str, request: &DrainRequest) -> Result<u64, ClientError> {
        let clients = self.clients.lock().await.clone();
        let drains = clients.into_iter().map(|client| {
            let (route, request) = (route.to_owned(), request.clone());
            async move { asked(|| client.drain(&route, &request)).await }
        });
        let mut drains: tokio::task::JoinSet<_> = drains.collect();
        let mut cut = 0;
        while let Some(drained) = drains.join_next().await {
            if let Ok(drained) = drained {
                cut += drained?.map_or(0, |drained| drained.cut);
            }
        }
        Ok(cut)
    }

    /// Adds what is in flight on them to what is in flight here.
    pub async fn add_to(&self, routes: &mut Routes) {
        let clients = self.clients.lock().await.clone();
        for client in clients {
            match asked(|| client.routes()).await {
                Ok(Some(theirs)) => add(routes, theirs),
                Ok(None) => {
                    let mut clients = self.clients.lock().await;
                    clients.retain(|other| other.socket() != client.socket());
                }
                Err(error) => tracing::warn!("a predecessor does not say what it does: {error}"),
            }
        }
    }
}

/// Asks a predecessor; `None` when it has ended, and with it all it had in flight.
///
/// One that ends while it is asked breaks the connection off. The next try tells.
async fn asked<T, F>(ask: impl Fn() -> F) -> Result<Option<T>, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut tries = 1;
    loop {
        match ask().await {
            Ok(answer) => return Ok(Some(answer)),
            Err(error) if is_gone(&error) => return Ok(None),
            // One that does not answer had its time.
            Err(ClientError::Unreachable { source, .. })
                if tries < TRIES && source.kind() != io::ErrorKind::TimedOut =>
            {
                tries += 1;
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Nobody listens there any more: the process has ended.
fn is_gone(error: &ClientError) -> bool {
    matches!(error, ClientError::Unreachable { source, .. }
        if matches!(source.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound))
}

fn add(routes: &mut Routes, theirs: Routes) {
    for (name, theirs) in theirs.routes {
        let Some(ours) = routes.routes.get_mut(&name) else {
            continue;
        };
        for their in theirs.targets.into_iter().chain(theirs.draining) {
            let known = ours.targets.iter_mut().chain(&mut ours.draining);
            let same = known.into_iter().find(|our| {
                let (our, their) = (&our.target, &their.target);
                (&our.unit, &our.address, &our.release)
                    == (&their.unit, &their.address, &their.release)
            });
            if let Some(counts) = ours.releases.get_mut(&their.target.release) {
                counts.in_flight += their.in_flight;
            }
            match same {
                Some(our) => our.in_flight += their.in_flight,
                None if their.in_flight > 0 => ours.draining.push(their),
                None => {}
            }
        }
    }
}
