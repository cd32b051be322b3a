//! A folder of units and a service to run in them, gone when the test ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use event::{DeploymentId, DeploymentKind, DeploymentState, ReleaseId};
use pipeline::{Expose, Health, Probe, Strategy};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::switch::stub::StubProxy;
use crate::target::process::record::Root;
use crate::target::process::system::Process;
use crate::testing::MemoryLedger;
use crate::{
    Artifact, Deployed, Deployment, EnvironmentKey, Ledger, Limits, Machine, Observed, Policy,
    ProcessTarget, Request, Spec, Target, UnitSettings, deploy_within,
};

/// Answers at `$PORT` with `$BODY`; `$MODE` breaks it.
const SERVICE: &str = r#"
import http.server, os, signal, subprocess, sys
mode = os.environ.get("MODE", "")
print("serving", os.environ["BODY"], flush=True)
if mode == "crash":
    print("cannot find the database", file=sys.stderr)
    sys.exit(3)
if mode == "deaf":
    signal.pause()
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mode == "parent":
    subprocess.Popen(["sleep", "1000"], process_group=0)
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ["BODY"].encode()
        self.send_response(500 if mode == "sick" else 200)
        self.send_header("Content-Length", str(len(body)))
        said = "another" if mode == "liar" else os.environ["SHIPLINE_RELEASE"]
        self.send_header("X-Shipline-Release", said)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answer).serve_forever()
"#;

pub(super) struct World {
    pub(super) target: Arc<ProcessTarget>,
    pub(super) proxy: StubProxy,
    pub(super) ledger: Arc<MemoryLedger>,
    pub(super) folder: tempfile::TempDir,
}

impl World {
    pub(super) async fn new() -> Self {
        let (folder, proxy) = (tempfile::tempdir().unwrap(), StubProxy::start());
        let target = Arc::new(open(folder.path(), &proxy).await);
        Self { target, proxy, ledger: Arc::default(), folder }
    }

    pub(super) fn key() -> EnvironmentKey {
        EnvironmentKey { project: "web".to_owned(), environment: "prod".to_owned() }
    }

    /// Release `number`, which answers with its number, in one unit.
    pub(super) fn spec(&self, number: u128) -> Spec {
        let second = pipeline::Duration::from_secs(1);
        let command = ["/usr/bin/python3", "-c", SERVICE].map(str::to_owned);
        Spec {
            project: "web".to_owned(),
            environment: "prod".to_owned(),
            release: ReleaseId::new(Uuid::from_u128(number)),
            artifact: Artifact::Nothing,
            replicas: 1,
            expose: Some(Expose { port: 80, host: "*".to_owned(), path: "/".to_owned() }),
            health: Some(Health {
                probe: Probe::Http { path: "/".to_owned(), port: 80 },
                interval: pipeline::Duration::from_millis(50),
                timeout: second,
                successes: 2,
                failures: 2,
                start_period: pipeline::Duration::from_secs(0),
                deadline: pipeline::Duration::from_secs(20),
            }),
            verify: Vec::new(),
            checks: crate::CheckSettings::default(),
            hosts: Vec::new(),
            strategy: Strategy { drain: second, ..Strategy::default() },
            env: BTreeMap::from([("BODY".to_owned(), format!("release {number}"))]),
            unit: UnitSettings {
                command: command.to_vec(),
                stop_timeout: second,
                ..UnitSettings::default()
            },
        }
    }

    /// A release that is broken in this `mode`.
    pub(super) fn in_mode(&self, number: u128, mode: &str) -> Spec {
        let mut spec = self.spec(number);
        spec.env.insert("MODE".to_owned(), mode.to_owned());
        if let Some(health) = &mut spec.health {
            health.deadline = pipeline::Duration::from_secs(3);
        }
        spec
    }

    pub(super) async fn deploy(&self, spec: Spec) -> Deployed {
        let id = DeploymentId::new(Uuid::now_v7());
        let kind = DeploymentKind::Deploy;
        let by = "ann".to_owned();
        let deployment = Deployment {
            id,
            kind,
            spec,
            by,
            reason: None,
            name: String::new(),
            run: None,
            stage: None,
            scope: crate::Scope::default(),
        };
        let policy = Policy::default();
        let holder = "ann's engine".to_owned();
        let request = Request { deployment, holder, policy, runner: None };
        let (progress, _told) = mpsc::channel(1_000);
        let target = Arc::clone(&self.target) as Arc<dyn Target>;
        let ledger = Arc::clone(&self.ledger) as Arc<dyn Ledger>;
        let cancel = CancellationToken::new();
        deploy_within(request, Limits::default(), target, ledger, progress, &cancel).await.unwrap()
    }

    pub(super) async fn seen(&self) -> Observed {
        self.target.observe(&Self::key()).await.unwrap()
    }

    /// What the only unit in traffic answers.
    pub(super) async fn answer(&self) -> Option<String> {
        let seen = self.seen().await;
        ask(seen.current(0)?.address?).await
    }

    pub(super) fn unit_folder(&self, unit: &crate::UnitId) -> PathBuf {
        self.folder.path().join("units").join(&unit.0)
    }

    pub(super) fn process(&self, unit: &crate::UnitId) -> Process {
        Process::recorded(&self.unit_folder(unit).join("process")).unwrap()
    }
}

pub(super) async fn open(root: &Path, proxy: &StubProxy) -> ProcessTarget {
    let instance = "019a2b3c-test".to_owned();
    let socket = Some(proxy.socket());
    ProcessTarget::open(root, socket, instance, Vec::new(), machine()).await.unwrap()
}

pub(super) fn machine() -> Machine {
    Machine::of(None, |name| std::env::var(name).ok())
}

pub(super) fn succeeded(deployed: &Deployed) {
    assert_eq!(deployed.state, DeploymentState::Succeeded, "{:?}", deployed.reason);
}

pub(super) async fn ask(address: std::net::SocketAddr) -> Option<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

impl Drop for World {
    /// A unit outlives whoever started it, and so a test that fails.
    fn drop(&mut self) {
        let root = Root::new(self.folder.path().to_path_buf());
        for (unit, _) in root.all().unwrap_or_default() {
            if let Some(process) = Process::recorded(&self.unit_folder(&unit).join("process")) {
                process.signal_group(rustix::process::Signal::KILL);
            }
        }
    }
}
