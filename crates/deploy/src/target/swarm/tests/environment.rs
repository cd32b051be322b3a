//! An environment of its own in a swarm of one node, both gone when the test ends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bollard::Docker;
use bollard::models::{ContainerConfig, ContainerCreateBody, SwarmInitRequest};
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, CreateContainerOptions, LeaveSwarmOptionsBuilder,
    RemoveContainerOptions, RemoveImageOptionsBuilder,
};
use event::{DeploymentId, DeploymentKind, ReleaseId};
use pipeline::{Health, Probe, Strategy};
use tokio::sync::{Mutex, MutexGuard, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::testing::MemoryLedger;
use crate::{
    Artifact, Deployed, Deployment, EnvironmentKey, Ledger, Limits, Observed, Policy, Request,
    Spec, SwarmTarget, Target, deploy_within,
};

const HOST: &str = "unix:///var/run/docker.sock";

/// Answers on port 8080 with `$BODY`, leaves at once on TERM; `$MODE` breaks it.
const SERVICE: &str = r#"
trap 'exit 0' TERM
case "$MODE" in
  deaf) echo 'not listening' ;;
  crash) echo 'cannot find the database' >&2; exit 3 ;;
  *) echo serving; mkdir -p /www; echo "$BODY" > /www/index.html; httpd -f -p 8080 -h /www & ;;
esac
while :; do sleep 1000 & wait $!; done
"#;

/// An engine is in one swarm.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

pub(super) struct Environment {
    pub(super) target: Arc<SwarmTarget>,
    pub(super) ledger: Arc<MemoryLedger>,
    pub(super) docker: Docker,
    image: String,
    project: String,
    instance: String,
    /// Whether the engine is in a swarm for this test alone.
    made_swarm: bool,
    _alone: MutexGuard<'static, ()>,
}

impl Environment {
    pub(super) async fn new(proxy: Option<PathBuf>) -> Self {
        let alone = ONE_AT_A_TIME.lock().await;
        let instance = format!("test-{}", Uuid::now_v7());
        let project = format!("t{}", &instance[instance.len() - 8..]);
        let docker = engine().await;
        let swarm = docker.info().await.unwrap().swarm.unwrap();
        let made_swarm = swarm.control_available != Some(true);
        if made_swarm {
            let request = SwarmInitRequest {
                listen_addr: Some("127.0.0.1:2377".to_owned()),
                advertise_addr: Some("127.0.0.1".to_owned()),
                ..Default::default()
            };
            docker.init_swarm(request).await.unwrap();
        }
        let image = service_image(&docker, &instance).await;
        let target = SwarmTarget::connect(HOST, proxy, instance.clone(), Vec::new()).await.unwrap();
        let (target, ledger) = (Arc::new(target), Arc::default());
        Self { target, ledger, docker, image, project, instance, made_swarm, _alone: alone }
    }

    pub(super) fn key(&self) -> EnvironmentKey {
        EnvironmentKey { project: self.project.clone(), environment: "test".to_owned() }
    }

    /// Release `number`, which answers with its number, in two units.
    pub(super) fn spec(&self, number: u128) -> Spec {
        let second = pipeline::Duration::from_secs(1);
        let mut spec = Spec {
            replicas: 2,
            health: Some(Health {
                probe: Probe::Http { path: "/".to_owned(), port: 8080 },
                interval: pipeline::Duration::from_millis(200),
                timeout: second,
                successes: 2,
                failures: 2,
                start_period: pipeline::Duration::from_secs(0),
                deadline: pipeline::Duration::from_secs(20),
            }),
            release: ReleaseId::new(Uuid::from_u128(number)),
            artifact: Artifact::ImageId(self.image.clone()),
            strategy: Strategy { drain: second, ..Strategy::default() },
            env: BTreeMap::from([("BODY".to_owned(), format!("release {number}"))]),
            ..crate::testing::spec(&self.project, "test")
        };
        spec.unit.stop_timeout = pipeline::Duration::from_secs(2);
        spec
    }

    /// A release that never gets healthy in this `mode`.
    pub(super) fn broken(&self, number: u128, mode: &str) -> Spec {
        let mut spec = self.spec(number);
        spec.env.insert("MODE".to_owned(), mode.to_owned());
        if let Some(health) = &mut spec.health {
            health.deadline = pipeline::Duration::from_secs(2);
        }
        spec
    }

    pub(super) async fn deploy(&self, kind: DeploymentKind, spec: Spec) -> Deployed {
        let (progress, _told) = mpsc::channel(1_000);
        let deployment = Deployment {
            id: DeploymentId::new(Uuid::now_v7()),
            kind,
            spec,
            by: "ann".to_owned(),
            reason: None,
            name: String::new(),
            run: None,
            stage: None,
            scope: crate::Scope::default(),
        };
        let holder = "ann's engine".to_owned();
        let request = Request { deployment, holder, policy: Policy::default(), runner: None };
        let target = Arc::clone(&self.target) as Arc<dyn Target>;
        let ledger = Arc::clone(&self.ledger) as Arc<dyn Ledger>;
        let cancel = CancellationToken::new();
        deploy_within(request, Limits::default(), target, ledger, progress, &cancel).await.unwrap()
    }

    pub(super) async fn seen(&self) -> Observed {
        self.target.observe(&self.key()).await.unwrap()
    }

    /// Shows each unit as `slot: what it answers`, or `warm` or its state.
    pub(super) async fn show(&self) -> Vec<String> {
        let mut shown = Vec::new();
        for unit in self.seen().await.units {
            let said = match (unit.address, unit.admitted) {
                (Some(address), true) => ask(address).await.unwrap_or_else(|| "silent".to_owned()),
                (None, false) if unit.state == crate::UnitState::Exited => "warm".to_owned(),
                _ => format!("{:?} {:?}", unit.state, unit.admitted),
            };
            shown.push(format!("{}: {said}", unit.slot));
        }
        shown.sort();
        shown
    }

    /// Each task that is there, with what became of it.
    pub(super) async fn tasks(&self) -> Vec<String> {
        let mut tasks = Vec::new();
        for unit in self.target.units(&self.key()).await.unwrap() {
            tasks.extend(unit.tasks.iter().map(|task| {
                let state = task.status.as_ref().and_then(|status| status.state);
                format!("{} {:?} {state:?}", unit.seen.unit, task.id)
            }));
        }
        tasks.sort();
        tasks
    }

    async fn clean(&self) {
        let docker = engine().await;
        let target = SwarmTarget::connect(HOST, None, self.instance.clone(), Vec::new()).await;
        target.unwrap().remove_environment(&self.key()).await.unwrap();
        if self.made_swarm {
            let options = LeaveSwarmOptionsBuilder::new().force(true).build();
            docker.leave_swarm(Some(options)).await.unwrap();
            // The engine makes it for a swarm and keeps it.
            let _ = docker.remove_network("docker_gwbridge").await;
        }
        let options = RemoveImageOptionsBuilder::new().force(true).build();
        docker.remove_image(&self.image, Some(options), None).await.unwrap();
    }
}

async fn engine() -> Docker {
    let docker = Docker::connect_with_unix(HOST, 120, bollard::API_DEFAULT_VERSION).unwrap();
    docker.negotiate_version().await.unwrap()
}

pub(super) async fn ask(address: std::net::SocketAddr) -> Option<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let asking = async {
        let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer.split_once("\r\n\r\n")?.1.trim().to_owned())
    };
    tokio::time::timeout(std::time::Duration::from_secs(2), asking).await.ok()?
}

/// Makes the image of the service: busybox with another command.
async fn service_image(docker: &Docker, instance: &str) -> String {
    let labels = [("shipline.instance".to_owned(), instance.to_owned())];
    let body = ContainerCreateBody {
        image: Some("busybox:1".to_owned()),
        labels: Some(labels.clone().into()),
        ..Default::default()
    };
    let made = docker.create_container(None::<CreateContainerOptions>, body).await.unwrap();
    let options = CommitContainerOptionsBuilder::new().container(&made.id).build();
    let config = ContainerConfig {
        cmd: Some(vec!["sh".to_owned(), "-c".to_owned(), SERVICE.to_owned()]),
        labels: Some(labels.into()),
        ..Default::default()
    };
    let committed = docker.commit_container(options, config).await;
    docker.remove_container(&made.id, None::<RemoveContainerOptions>).await.unwrap();
    committed.unwrap().id
}

impl Drop for Environment {
    fn drop(&mut self) {
        // A runtime of its own: that of the test cannot be waited for in a drop.
        std::thread::scope(|scope| {
            let cleaning = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(self.clean());
            });
            if cleaning.join().is_err() && !std::thread::panicking() {
                panic!("the test left something in the swarm");
            }
        });
    }
}
