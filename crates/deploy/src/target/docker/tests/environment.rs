//! An environment of its own on the engine, gone when the test ends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{
    ContainerConfig, ContainerCreateBody, ContainerInspectResponse, HealthConfig,
};
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, CreateContainerOptions, InspectContainerOptions,
    ListImagesOptionsBuilder, RemoveContainerOptions, RemoveImageOptionsBuilder,
};
use event::{DeploymentId, DeploymentKind, DeploymentState, ReleaseId};
use pipeline::{Health, Probe, Strategy};
use tokio::sync::{Mutex, MutexGuard, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::testing::MemoryLedger;
use crate::{
    Artifact, Change, Deployed, Deployment, DockerTarget, EnvironmentKey, Ledger, Limits, Observed,
    Policy, Progress, RegistryLogin, Request, Spec, Target, TargetError, UnitId, deploy_within,
    recover_within,
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

/// Two engines of work at once are slow, and slow is what health checks notice.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

pub(super) struct Environment {
    pub(super) target: Arc<DockerTarget>,
    pub(super) ledger: Arc<MemoryLedger>,
    pub(super) docker: Docker,
    image: String,
    cleaner: Cleaner,
    _alone: MutexGuard<'static, ()>,
}

impl Environment {
    pub(super) async fn new(proxy: Option<PathBuf>) -> Self {
        let alone = ONE_AT_A_TIME.lock().await;
        let instance = format!("test-{}", Uuid::now_v7());
        let project = format!("t{}", &instance[instance.len() - 8..]);
        let docker = Docker::connect_with_unix(HOST, 120, bollard::API_DEFAULT_VERSION).unwrap();
        let docker = docker.negotiate_version().await.unwrap();
        let image = service_image(&docker, &instance, None).await;
        let cleaner = Cleaner { project, instance };
        let target = connect(proxy, &cleaner.instance, Vec::new()).await.unwrap();
        let target = Arc::new(target);
        Self { target, ledger: Arc::default(), docker, image, cleaner, _alone: alone }
    }

    /// The image of the service with a HEALTHCHECK of this shell command.
    pub(super) async fn image_with_check(&self, command: &str) -> String {
        service_image(&self.docker, self.instance(), Some(command)).await
    }

    pub(super) fn instance(&self) -> &str {
        &self.cleaner.instance
    }

    /// The name that keeps the image of a release.
    pub(super) fn pin(&self, spec: &Spec) -> String {
        format!("shipline-keep/{}/{}:{}", self.instance(), spec.project, spec.release)
    }

    pub(super) fn key(&self) -> EnvironmentKey {
        self.cleaner.key()
    }

    /// Release `number`, which answers with its number, in two units.
    pub(super) fn spec(&self, number: u128) -> Spec {
        let second = pipeline::Duration::from_secs(1);
        Spec {
            project: self.cleaner.project.clone(),
            environment: "test".to_owned(),
            release: ReleaseId::new(Uuid::from_u128(number)),
            artifact: Artifact::ImageId(self.image.clone()),
            replicas: 2,
            expose: None,
            health: Some(Health {
                probe: Probe::Http { path: "/".to_owned(), port: 8080 },
                interval: pipeline::Duration::from_millis(200),
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
            unit: crate::UnitSettings::default(),
        }
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

    pub(super) async fn deploy(&self, spec: Spec) -> Deployed {
        let (progress, _told) = mpsc::channel(1_000);
        self.start(DeploymentKind::Deploy, spec, progress).await
    }

    pub(super) async fn roll_back(&self, spec: Spec) -> Deployed {
        let (progress, _told) = mpsc::channel(1_000);
        self.start(DeploymentKind::Rollback, spec, progress).await
    }

    pub(super) async fn change(&self, change: Change) -> Deployed {
        let (progress, _told) = mpsc::channel(1_000);
        let ledger = Arc::clone(&self.ledger) as Arc<dyn Ledger>;
        let spec = crate::change_spec(&ledger, &self.key(), change).await.unwrap();
        self.start(change.kind(), spec, progress).await
    }

    async fn start(
        &self,
        kind: DeploymentKind,
        spec: Spec,
        progress: mpsc::Sender<Progress>,
    ) -> Deployed {
        let id = DeploymentId::new(Uuid::now_v7());
        let deployment = Deployment {
            id,
            kind,
            spec,
            by: "ann".to_owned(),
            reason: None,
            name: String::new(),
            run: None,
            stage: None,
            scope: crate::Scope::default(),
        };
        let request = Request {
            deployment,
            holder: "ann's engine".to_owned(),
            policy: Policy::default(),
            runner: None,
        };
        let target = Arc::clone(&self.target) as Arc<dyn Target>;
        let ledger = Arc::clone(&self.ledger) as Arc<dyn Ledger>;
        let cancel = CancellationToken::new();
        deploy_within(request, Limits::default(), target, ledger, progress, &cancel).await.unwrap()
    }

    /// Deploys and dies right after the `count`th `action` was done.
    pub(super) async fn deploy_and_die(&self, spec: Spec, action: &str, count: usize) {
        // The engine waits for the reader, so it dies where the test says.
        let (progress, mut told) = mpsc::channel::<Progress>(1);
        let mut left = count;
        let dying = async {
            while let Some(progress) = told.recv().await {
                if progress.applied.is_some_and(|(applied, _)| applied == action) {
                    left -= 1;
                    if left == 0 {
                        return;
                    }
                }
            }
            panic!("it ended before {action} {count}");
        };
        tokio::select! {
            biased;
            () = dying => {}
            deployed = self.start(DeploymentKind::Deploy, spec, progress) => panic!("{deployed:?}"),
        }
        self.ledger.expire(&self.key());
    }

    pub(super) async fn recover(&self) -> Deployed {
        self.recover_within(Limits::default()).await
    }

    /// Ends what has stood still for too long to be carried on.
    pub(super) async fn recover_late(&self) -> Deployed {
        self.recover_within(Limits { resume_max: Duration::ZERO, ..Limits::default() }).await
    }

    async fn recover_within(&self, limits: Limits) -> Deployed {
        let record = self.ledger.unfinished().await.unwrap().remove(0);
        let (progress, _told) = mpsc::channel(1_000);
        let target = Arc::clone(&self.target) as Arc<dyn Target>;
        let ledger = Arc::clone(&self.ledger) as Arc<dyn Ledger>;
        let holder = "the next engine".to_owned();
        recover_within(record, limits, target, ledger, holder, None, progress).await.unwrap()
    }

    pub(super) async fn seen(&self) -> Observed {
        self.target.observe(&self.key()).await.unwrap()
    }

    /// Shows each unit as `slot: what it answers`, or `warm` or its state.
    pub(super) async fn show(&self) -> Vec<String> {
        let mut shown = Vec::new();
        for unit in self.target.units(&self.key()).await.unwrap() {
            let answer = ask(unit.address).await;
            let said = match (&answer, unit.seen.admitted) {
                (Some(body), true) => body.clone(),
                (None, false) if unit.seen.state == crate::UnitState::Exited => "warm".to_owned(),
                _ => format!("{:?} {:?}", unit.seen.state, unit.seen.admitted),
            };
            shown.push(format!("{}: {said}", unit.seen.slot));
        }
        shown.sort();
        shown
    }

    pub(super) async fn inspect(&self, unit: &UnitId) -> ContainerInspectResponse {
        self.docker.inspect_container(&unit.0, None::<InspectContainerOptions>).await.unwrap()
    }

    /// The containers there are, with when they were last started.
    pub(super) async fn containers(&self) -> Vec<(String, Option<String>)> {
        let mut containers = Vec::new();
        for unit in self.seen().await.units {
            let container = self.inspect(&unit.unit).await;
            let started = container.state.and_then(|state| state.started_at);
            containers.push((container.id.unwrap(), started));
        }
        containers
    }
}

pub(super) fn succeeded(deployed: &Deployed) {
    assert_eq!(deployed.state, DeploymentState::Succeeded, "{:?}", deployed.reason);
}

pub(super) async fn connect(
    proxy: Option<PathBuf>,
    instance: &str,
    logins: Vec<RegistryLogin>,
) -> Result<DockerTarget, TargetError> {
    DockerTarget::connect(HOST, proxy, instance.to_owned(), logins).await
}

async fn ask(address: std::net::Ipv4Addr) -> Option<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let asking = async {
        let mut stream = tokio::net::TcpStream::connect((address, 8080)).await.ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer.split_once("\r\n\r\n")?.1.trim().to_owned())
    };
    tokio::time::timeout(Duration::from_secs(2), asking).await.ok()?
}

/// Makes the image of the service: busybox with another command.
async fn service_image(docker: &Docker, instance: &str, check: Option<&str>) -> String {
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
        healthcheck: check.map(|check| HealthConfig {
            test: Some(vec!["CMD-SHELL".to_owned(), check.to_owned()]),
            interval: Some(300_000_000),
            timeout: Some(1_000_000_000),
            retries: Some(2),
            ..Default::default()
        }),
        ..Default::default()
    };
    let committed = docker.commit_container(options, config).await;
    docker.remove_container(&made.id, None::<RemoveContainerOptions>).await.unwrap();
    committed.unwrap().id
}

/// Removes what the test made, also when it fails.
struct Cleaner {
    project: String,
    instance: String,
}

impl Cleaner {
    fn key(&self) -> EnvironmentKey {
        EnvironmentKey { project: self.project.clone(), environment: "test".to_owned() }
    }

    async fn clean(&self) {
        let target = connect(None, &self.instance, Vec::new()).await.unwrap();
        target.remove_environment(&self.key()).await.unwrap();
        // All of them carry the label of the instance, pulled ones too.
        let label = vec![format!("shipline.instance={}", self.instance)];
        let filters = std::collections::HashMap::from([("label", label)]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        for image in target.docker.list_images(Some(options)).await.unwrap() {
            let options = RemoveImageOptionsBuilder::new().force(true).build();
            target.docker.remove_image(&image.id, Some(options), None).await.unwrap();
        }
    }
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        // A runtime of its own: that of the test cannot be waited for in a drop.
        std::thread::scope(|scope| {
            let cleaning = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(self.clean());
            });
            if cleaning.join().is_err() && !std::thread::panicking() {
                panic!("the test left something on the engine");
            }
        });
    }
}
