//! The session of a build: while it lasts, BuildKit asks for the secrets and logins
//! that a step needs, and they are nowhere else.
//!
//! The library's own session knows logins only. This one is a gRPC server on a
//! connection that we open to the engine, and that the engine then speaks over.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::health::health_check_response::ServingStatus;
use bollard::health::health_server::{Health, HealthServer};
use bollard::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use bollard::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use bollard::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard::moby::filesync::v1::auth_server::{Auth, AuthServer};
use bollard::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse,
    GetTokenAuthorityRequest, GetTokenAuthorityResponse, VerifyTokenAuthorityRequest,
    VerifyTokenAuthorityResponse,
};
use bytes::Bytes;
use futures_util::Stream;
use http_body_util::Empty;
use hyper::header::{CONNECTION, HOST, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::service::Routes;
use tonic::{Response, Status};
use uuid::Uuid;

use super::engine::Engine;
use crate::backend::{Chunk, SecretSpec};
use crate::{Registry, causes};

/// Docker's own name for its default registry, and the host that it is asked by.
pub(super) const HUB: &str = "https://index.docker.io/v1/";
const HUB_HOST: &str = "registry-1.docker.io";

/// What the engine may call; to what is not listed it does not even try.
const METHODS: [&str; 2] =
    ["/moby.buildkit.secrets.v1.Secrets/GetSecret", "/moby.filesync.v1.Auth/Credentials"];
/// For the engine to take the connection over.
const ANSWER: Duration = Duration::from_secs(10);

/// Why there is no session.
#[derive(Debug)]
pub(super) enum SessionError {
    /// This engine has no BuildKit.
    Unknown,
    Broken(String),
}

/// A session that lasts until it is dropped.
pub(super) struct Session {
    pub(super) id: String,
    lacking: Arc<Mutex<BTreeSet<String>>>,
    /// The connection, and the server on it.
    _tasks: JoinSet<()>,
}

impl Session {
    /// Opens a session that hands out `secrets`, and tells `output` of any other that is wanted.
    pub(super) async fn open(
        engine: &Engine,
        secrets: &[SecretSpec],
        registries: &[Registry],
        output: &mpsc::Sender<Chunk>,
    ) -> Result<Self, SessionError> {
        let id = Uuid::now_v7().to_string();
        let mut tasks = JoinSet::new();
        let connection = tokio::time::timeout(ANSWER, connect(engine, &id, &mut tasks)).await;
        let connection = connection
            .map_err(|_| SessionError::Broken("the engine does not answer".to_owned()))??;
        let lacking = Arc::default();
        let routes = Routes::new(SecretsServer::new(Given {
            values: secrets.iter().map(|secret| (secret.id(), secret.value.clone())).collect(),
            lacking: Arc::clone(&lacking),
            output: output.clone(),
        }))
        .add_service(AuthServer::new(Logins::of(registries)))
        .add_service(HealthServer::new(Alive));
        tasks.spawn(async move {
            let service = TowerToHyperService::new(routes);
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            if let Err(error) = server.serve_connection(connection, service).await {
                // The build it was for says what is missing.
                tracing::debug!("the session of a build ended: {error}");
            }
        });
        Ok(Self { id, lacking, _tasks: tasks })
    }

    /// Ids of secrets that the build asked for and did not get.
    pub(super) fn lacking(&self) -> Vec<String> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Asks the engine to turn a connection round: from then on it is the client.
async fn connect(
    engine: &Engine,
    id: &str,
    tasks: &mut JoinSet<()>,
) -> Result<Upgraded, SessionError> {
    let stream = engine.dial().await.map_err(broken)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tasks.spawn(async move { drop(connection.with_upgrades().await) });
    let mut request = Request::post("/session")
        .header(HOST, "docker")
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "h2c")
        .header("X-Docker-Expose-Session-Uuid", id)
        .header("X-Docker-Expose-Session-Name", "shipline");
    for method in METHODS {
        request = request.header("X-Docker-Expose-Session-Grpc-Method", method);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(broken)?;
    let response = sender.send_request(request).await.map_err(broken)?;
    match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => {}
        StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED => return Err(SessionError::Unknown),
        status => return Err(SessionError::Broken(format!("the engine answers {status}"))),
    }
    hyper::upgrade::on(response).await.map_err(broken)
}

fn broken(error: impl std::error::Error + 'static) -> SessionError {
    SessionError::Broken(causes(&error))
}

/// The secrets of one build.
struct Given {
    values: BTreeMap<String, String>,
    lacking: Arc<Mutex<BTreeSet<String>>>,
    output: mpsc::Sender<Chunk>,
}

#[tonic::async_trait]
impl Secrets for Given {
    async fn get_secret(
        &self,
        request: tonic::Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        if let Some(value) = self.values.get(&id) {
            return Ok(Response::new(GetSecretResponse { data: value.clone().into_bytes() }));
        }
        let is_new = self.lacking.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        if is_new {
            let line = format!(
                "the Dockerfile asks for the secret `{id}`, which `secrets` of the stage does not name"
            );
            // Nobody listening is no reason to fail.
            drop(self.output.send(Chunk::engine(line)).await);
        }
        Err(Status::not_found(format!("secret {id} is not given to this build")))
    }
}

/// Logins by the host that asks for one.
struct Logins {
    by_host: BTreeMap<String, Registry>,
}

impl Logins {
    fn of(registries: &[Registry]) -> Self {
        let named = registries.iter().filter(|registry| !registry.username.is_empty());
        let by_host = named.flat_map(|registry| {
            let hosts = match registry.host.as_str() {
                "docker.io" => vec![HUB, HUB_HOST, "docker.io"],
                host => vec![host],
            };
            hosts.into_iter().map(|host| (host.to_owned(), registry.clone()))
        });
        Self { by_host: by_host.collect() }
    }
}

#[tonic::async_trait]
impl Auth for Logins {
    async fn credentials(
        &self,
        request: tonic::Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let host = request.into_inner().host;
        // Without a login a registry may still answer.
        let login = self.by_host.get(&host).map(|registry| CredentialsResponse {
            // Without a name the secret is a token, to BuildKit.
            username: match registry.identity_token() {
                Some(_) => String::new(),
                None => registry.username.clone(),
            },
            secret: registry.password.clone(),
        });
        Ok(Response::new(login.unwrap_or_default()))
    }

    async fn fetch_token(
        &self,
        _: tonic::Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("the builder fetches its tokens itself"))
    }

    async fn get_token_authority(
        &self,
        _: tonic::Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("the builder fetches its tokens itself"))
    }

    async fn verify_token_authority(
        &self,
        _: tonic::Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("the builder fetches its tokens itself"))
    }
}

/// The engine asks every few seconds, and hangs up on who does not answer.
struct Alive;

#[tonic::async_trait]
impl Health for Alive {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let status = ServingStatus::Serving.into();
        Ok(Response::new(HealthCheckResponse { status }))
    }

    async fn list(
        &self,
        _: tonic::Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("a session has one health"))
    }

    async fn watch(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("a session is asked, it does not tell"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_build_gets_the_secrets_of_its_stage_and_no_others() {
        let (output, mut said) = mpsc::channel(8);
        let lacking = Arc::default();
        let given = Given {
            values: [("TOKEN".to_owned(), "swordfish".to_owned())].into(),
            lacking: Arc::clone(&lacking),
            output,
        };
        let ask = async |id: &str| {
            let request = GetSecretRequest { id: id.to_owned(), ..GetSecretRequest::default() };
            given.get_secret(tonic::Request::new(request)).await
        };
        assert_eq!(ask("TOKEN").await.unwrap().into_inner().data, b"swordfish");
        for _ in 0..2 {
            assert_eq!(ask("OTHER").await.unwrap_err().code(), tonic::Code::NotFound);
        }
        drop(given);
        let told = said.recv().await.unwrap();
        assert_eq!(
            String::from_utf8_lossy(&told.bytes),
            "the Dockerfile asks for the secret `OTHER`, which `secrets` of the stage does not name\n"
        );
        assert!(said.recv().await.is_none(), "it is told once");
        assert_eq!(*lacking.lock().unwrap(), BTreeSet::from(["OTHER".to_owned()]));
    }

    #[tokio::test]
    async fn a_login_goes_to_its_own_host_only() {
        let registry = |host: &str, username: &str| Registry {
            host: host.to_owned(),
            username: username.to_owned(),
            password: "s3cret".to_owned(),
            ca_file: None,
        };
        let logins = Logins::of(&[
            registry("harbor.example", "robot$team+ci"),
            registry("docker.io", "ada"),
            registry("open.example", ""),
        ]);
        let username = async |host: &str| {
            let request = CredentialsRequest { host: host.to_owned() };
            let answer = logins.credentials(tonic::Request::new(request)).await;
            answer.unwrap().into_inner().username
        };
        assert_eq!(username("harbor.example").await, "robot$team+ci");
        assert_eq!(username("registry-1.docker.io").await, "ada");
        assert_eq!(username("evil.example").await, "");
        assert_eq!(username("open.example").await, "");
    }
}
