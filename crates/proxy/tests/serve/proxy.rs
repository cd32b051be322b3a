//! A proxy in this process, with its own socket and state file.

use std::net::SocketAddr;
use std::path::PathBuf;

use shipline_proxy::control::{Client, DrainRequest, Drained, RouteMatch, RouteSpec, Target};
use shipline_proxy::{Proxy, ProxyConfig, ServeError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::unit::Unit;

pub struct TestProxy {
    folder: tempfile::TempDir,
    pub address: SocketAddr,
    stop: CancellationToken,
    run: JoinHandle<Result<(), ServeError>>,
}

impl TestProxy {
    pub async fn start() -> TestProxy {
        let folder = tempfile::tempdir().unwrap();
        TestProxy::start_on(folder, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    async fn start_on(folder: tempfile::TempDir, address: SocketAddr) -> TestProxy {
        let proxy = Proxy::bind(config(&folder, address)).await.unwrap();
        let address = proxy.addresses()[0];
        let stop = CancellationToken::new();
        let run = tokio::spawn(proxy.run(stop.clone()));
        TestProxy { folder, address, stop, run }
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

    pub async fn ended(self) -> tempfile::TempDir {
        self.run.await.unwrap().unwrap();
        self.folder
    }

    /// Stops, and starts again at the same address with what is on disk.
    pub async fn restarted(self) -> TestProxy {
        self.stop();
        let address = self.address;
        let folder = self.ended().await;
        TestProxy::start_on(folder, address).await
    }

    /// Makes `units` the targets of the route for everything.
    pub async fn route(&self, units: &[&Unit]) {
        let targets = units.iter().map(|unit| target(&unit.name, unit.address));
        self.route_to(targets.collect()).await;
    }

    pub async fn route_to(&self, targets: Vec<Target>) {
        let spec = RouteSpec {
            fence: 1,
            matches: vec![RouteMatch { host: "*".to_owned(), path: "/".to_owned() }],
            targets,
        };
        self.control().put_route("web", &spec).await.unwrap();
    }

    pub async fn drain(&self, unit: &Unit, timeout_ms: u64) -> Drained {
        let request = DrainRequest { unit: unit.name.clone(), timeout_ms };
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
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
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
        control: folder.path().join("proxy.sock"),
        state: folder.path().join("routes.json"),
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
