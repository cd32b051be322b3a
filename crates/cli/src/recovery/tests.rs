use std::path::Path;
use std::time::Duration;

use deploy::{Artifact, Deployment, NewDeployment, Release, Spec};
use event::{DeploymentId, DeploymentKind, DeploymentState, ReleaseId};
use pipeline::{Bundled, Git, Place, SourceFile, TriggerEvent};
use uuid::Uuid;

use super::*;
use crate::local::{self, Planned};

const ENGINE: &str = "unix:///var/run/docker.sock";
/// Far longer than any test lasts.
const LONG: Duration = Duration::from_secs(900);

/// A state directory with a store.
struct Lab {
    directory: tempfile::TempDir,
    home: Home,
    store: Store,
}

impl Lab {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let home = Home::at(directory.path());
        let store = home.store().await.expect("a store");
        Self { directory, home, store }
    }

    /// A run whose deployment to an environment at `engine` holds the lock, as far
    /// as the store knows.
    async fn deploying(&self, engine: &str) -> (RunId, DeploymentRecord) {
        let planned = planned(self.directory.path(), engine);
        let run = RunId::new(Uuid::now_v7());
        local::queue(&self.store, &planned, run).await.expect("queued");
        let artifact = Artifact::ImageId(format!("sha256:{}", "0a".repeat(32)));
        let release = Release {
            id: ReleaseId::new(Uuid::now_v7()),
            project: planned.project.clone(),
            version: "main-0a0a0a0a".to_owned(),
            branch: None,
            sha: planned.git.sha.clone(),
            committer: String::new(),
            artifact: artifact.clone(),
            built_at: Utc::now(),
        };
        let release = self.store.release(release).await.expect("recorded");
        let deployment = Deployment {
            id: DeploymentId::new(Uuid::now_v7()),
            kind: DeploymentKind::Deploy,
            spec: Spec {
                project: planned.project,
                environment: "test".to_owned(),
                release: release.id,
                artifact,
                replicas: 1,
                expose: None,
                health: None,
                verify: Vec::new(),
                checks: deploy::CheckSettings::default(),
                strategy: pipeline::Strategy::default(),
                hosts: Vec::new(),
                unit: deploy::UnitSettings::default(),
                env: BTreeMap::new(),
            },
            by: "local".to_owned(),
            reason: None,
            name: String::new(),
            run: Some(run),
            stage: Some("deploy".to_owned()),
            scope: deploy::Scope::default(),
        };
        let new = NewDeployment { deployment: deployment.clone(), at: Utc::now() };
        self.store.request(new).await.expect("requested");
        let holder = format!("run {} of local", run.short());
        self.store
            .acquire(&deployment.key(), deployment.id, &holder, LONG)
            .await
            .expect("nobody else holds it");
        (run, self.record(&deployment).await)
    }

    async fn record(&self, deployment: &Deployment) -> DeploymentRecord {
        let history = self.store.history(&deployment.key(), 10).await.expect("read");
        history.into_iter().find(|record| record.deployment.id == deployment.id).expect("known")
    }

    /// Writes down that somebody is to decide, for so many minutes from now.
    async fn hold(&self, id: DeploymentId, minutes: i64) {
        let until = Utc::now() + chrono::TimeDelta::minutes(minutes);
        let (reason, units) = ("it is bad".to_owned(), Vec::new());
        let held = event::EventKind::DeploymentHeld { reason, units, until };
        deploy::Ledger::append(&self.store, id, vec![held]).await.expect("written");
    }

    async fn recover(&self) {
        let recovered = tokio::time::timeout(LONG / 30, deployments(&self.home, &self.store));
        recovered.await.expect("no lease is waited for").expect("nothing holds a new run up");
    }
}

fn planned(directory: &Path, engine: &str) -> Planned {
    let text = format!(
        "name: orders
environments:
  test: {{ tier: test, target: {{ docker: {{ host: \"{engine}\" }} }} }}
stages:
  image: {{ build: {{ file: Dockerfile }} }}
  deploy: {{ deploy: {{ environment: test, image: image }} }}
"
    );
    let source = SourceFile::from_bytes(".shipline.yml", text.into_bytes()).expect("text");
    let (document, _) = pipeline::parse(&source);
    let (pipeline, diagnostics) = pipeline::check(&document, &Bundled);
    let pipeline = pipeline.unwrap_or_else(|| panic!("{diagnostics}"));
    let git = Git { sha: "0a".repeat(20), ..Git::default() };
    let context = pipeline::Context {
        event: TriggerEvent::Manual,
        git: git.clone(),
        project: "orders".to_owned(),
        trusted: true,
        place: Place::Local,
        ..pipeline::Context::default()
    };
    let plan = pipeline::plan(&pipeline, &context).unwrap_or_else(|error| panic!("{error}"));
    Planned {
        directory: directory.to_owned(),
        project: "orders".to_owned(),
        git,
        plan,
        files: Vec::new(),
        ignored: None,
    }
}

#[tokio::test]
async fn the_deployment_of_a_dead_run_is_ended_without_waiting_for_its_lease() {
    let lab = Lab::new().await;
    let (_, record) = lab.deploying(ENGINE).await;
    lab.recover().await;
    let record = lab.record(&record.deployment).await;
    assert_eq!(record.state, Some(DeploymentState::Failed), "{record:#?}");
}

#[tokio::test]
async fn the_deployment_of_a_living_run_is_left_alone() {
    let lab = Lab::new().await;
    let (run, record) = lab.deploying(ENGINE).await;
    let _alive = lab.home.claim(lab.directory.path(), run).expect("claimed");
    lab.recover().await;
    let record = lab.record(&record.deployment).await;
    assert_eq!(record.state, None);
    let held = lab.store.held(&record.deployment.key(), Utc::now()).await.expect("read");
    assert_eq!(held.map(|held| held.deployment), Some(record.deployment.id));
}

#[tokio::test]
async fn an_engine_that_is_gone_leaves_its_deployment_open_and_holds_no_run_up() {
    let lab = Lab::new().await;
    let (_, record) = lab.deploying("unix:///nonexistent/docker.sock").await;
    lab.recover().await;
    let key = record.deployment.key();
    assert_eq!(lab.record(&record.deployment).await.state, None, "the next run tries again");
    let held = lab.store.held(&key, Utc::now()).await.expect("read");
    assert!(held.is_some(), "nothing was changed");
}

#[tokio::test]
async fn what_waits_for_a_decision_is_left_to_whoever_decides_until_its_time_is_up() {
    let lab = Lab::new().await;
    let (_, record) = lab.deploying(ENGINE).await;
    let id = record.deployment.id;
    lab.hold(id, 30).await;
    lab.recover().await;
    assert_eq!(lab.record(&record.deployment).await.state, None);
    assert!(take_up(&lab.home, &lab.store, id).await.expect("its engine is there"));
    assert_eq!(lab.record(&record.deployment).await.state, Some(DeploymentState::Failed));

    let (_, record) = lab.deploying(ENGINE).await;
    lab.hold(record.deployment.id, -1).await;
    lab.recover().await;
    assert_eq!(lab.record(&record.deployment).await.state, Some(DeploymentState::Failed));
}

#[tokio::test]
async fn a_rollback_is_abandoned_once_it_has_lost_the_lock_of_its_environment() {
    let lab = Lab::new().await;
    let (_, mut record) = lab.deploying(ENGINE).await;
    record.deployment.run = None;
    let is_abandoned = async |record: &DeploymentRecord| {
        is_abandoned(&lab.home, &lab.store, record).await.expect("read")
    };
    assert!(!is_abandoned(&record).await, "it holds the lock");
    lab.store.forfeit_lock(record.deployment.id).await.expect("written");
    assert!(is_abandoned(&record).await);
    record.fence = 0;
    assert!(!is_abandoned(&record).await, "it may be waiting for the lock");
}

#[tokio::test(start_paused = true)]
async fn only_one_process_ends_what_others_left() {
    let directory = tempfile::tempdir().expect("directory");
    let home = Home::at(directory.path());
    let first = home.alone().await.expect("alone");
    let waited = tokio::time::timeout(LONG, home.alone()).await;
    assert!(waited.is_err(), "it is not given twice");
    drop(first);
    home.alone().await.expect("alone again");
}
