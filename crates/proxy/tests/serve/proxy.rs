//! A proxy in this process, with its own socket and state file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shipline_proxy::control::{
    Client, DrainRequest, Drained, RouteMatch, RouteOptions, RouteSpec, Target,
};
use shipline_proxy::{CertificateFiles, Proxy, ProxyConfig, ServeError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::unit::Unit;

pub struct TestProxy {
    folder: Arc<tempfile::TempDir>,
    config: ProxyConfig,
    pub address: SocketAddr,
    tls_address: Option<SocketAddr>,
    stop: CancellationToken,
    run: JoinHandle<Result<(), ServeError>>,
}

impl TestProxy {
    pub async fn start() -> TestProxy {
        TestProxy::start_with(|_| {}).await
    }

    pub async fn start_with_tls(certificate: &CertificateFiles) -> TestProxy {
        TestProxy::start_with(|config| {
            config.tls_listen.clone_from(&config.listen);
            config.certificate = Some(certificate.clone());
        })
        .await
    }

    /// Starts with what `change` makes of the usual configuration.
    pub async fn start_with(change: impl FnOnce(&mut ProxyConfig)) -> TestProxy {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let mut config = config(&folder, SocketAddr::from(([127, 0, 0, 1], 0)));
        change(&mut config);
        TestProxy::start_as(folder, config).await
    }

    async fn start_as(folder: Arc<tempfile::TempDir>, config: ProxyConfig) -> TestProxy {
        let proxy = Proxy::bind(config.clone()).await.unwrap();
        let address = proxy.addresses()[0];
        let tls_address = proxy.addresses().get(1).copied();
        let stop = CancellationToken::new();
        let (said, ready) = oneshot::channel();
        let run = tokio::spawn(proxy.run(stop.clone(), |_| said.send(()).unwrap()));
        ready.await.unwrap();
        TestProxy { folder, config, address, tls_address, stop, run }
    }

    pub fn config(&self) -> &ProxyConfig {
        &self.config
    }

    /// Starts another one that takes over; returns it and the one that leaves.
    pub async fn upgraded(self) -> (TestProxy, TestProxy) {
        let config = ProxyConfig { upgrade: true, ..self.config.clone() };
        let next = TestProxy::start_as(self.folder.clone(), config).await;
        assert_eq!(next.address, self.address);
        (next, self)
    }

    pub fn tls_address(&self) -> SocketAddr {
        self.tls_address.unwrap()
    }

    pub fn control(&self) -> Client {
        Client::new(self.socket())
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("proxy.sock")
    }

    /// Begins to stop; `ended` waits for the end.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    pub async fn ended(self) -> Arc<tempfile::TempDir> {
        self.run.await.unwrap().unwrap();
        self.folder
    }

    /// Stops, and starts again at the same address with what is on disk.
    pub async fn restarted(self) -> TestProxy {
        self.stop();
        let config = ProxyConfig { listen: vec![self.address], ..self.config.clone() };
        let folder = self.ended().await;
        TestProxy::start_as(folder, config).await
    }

    /// Makes `units` the targets of the route for everything.
    pub async fn route(&self, units: &[&Unit]) {
        let targets = units.iter().map(|unit| target(&unit.name, unit.address));
        self.route_to(targets.collect()).await;
    }

    pub async fn route_to(&self, targets: Vec<Target>) {
        self.route_with(targets, RouteOptions::default()).await;
    }

    pub async fn route_with(&self, targets: Vec<Target>, options: RouteOptions) {
        let spec = RouteSpec {
            fence: 1,
            matches: vec![RouteMatch { host: "*".to_owned(), path: "/".to_owned() }],
            targets,
            options,
        };
        self.control().put_route("web", &spec).await.unwrap();
    }

    pub async fn drain(&self, unit: &Unit, timeout_ms: u64) -> Drained {
        let request =
            DrainRequest { unit: unit.name.clone(), timeout_ms, websockets_timeout_ms: None };
        self.control().drain("web", &request).await.unwrap()
    }

    /// Waits until `unit` has that many requests in flight.
    pub async fn until_in_flight(&self, unit: &Unit, count: u64) {
        for _ in 0..1000 {
            let routes = self.control().routes().await.unwrap();
            let route = &routes.routes["web"];
            let mut shown = route.targets.iter().chain(&route.draining);
            let shown = shown.find(|shown| shown.target.unit == unit.name);
            if shown.map_or(0, |shown| shown.in_flight) == count {
                return;
            }
            // There is no event for it on the control socket.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{} never had {count} requests in flight", unit.name);
    }

    /// The counts of a release: `2xx=3 error=1`.
    pub async fn counts(&self, release: &str) -> String {
        let routes = self.control().routes().await.unwrap();
        let counts = &routes.routes["web"].releases[release];
        let counts = counts.status.iter().map(|(class, count)| format!("{class}={count}"));
        counts.collect::<Vec<_>>().join(" ")
    }
}

pub fn config(folder: &tempfile::TempDir, address: SocketAddr) -> ProxyConfig {
    ProxyConfig {
        listen: vec![address],
        tls_listen: Vec::new(),
        certificate: None,
        control: folder.path().join("proxy.sock"),
        state: folder.path().join("routes.json"),
        drain: Duration::from_secs(30),
        drain_websockets: Duration::from_secs(30),
        upgrade: false,
    }
}

pub fn target(unit: &str, address: SocketAddr) -> Target {
    Target {
        unit: unit.to_owned(),
        address: address.to_string(),
        release: "r1".to_owned(),
        weight: 100,
    }
}
