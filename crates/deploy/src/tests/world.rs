//! One environment in memory, and what is asked of it again and again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use event::{DeploymentId, DeploymentKind, DeploymentState, ReleaseId};
use pipeline::{BatchSize, Strategy};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::testing::{MemoryLedger, MemoryTarget};
use crate::{
    Artifact, CheckRunner, DeployError, Deployed, Deployment, DeploymentRecord, EnvironmentKey,
    Ledger, Limits, ObservedUnit, Policy, Progress, Request, Spec, Target, UnitState,
    deploy_within, recover_within,
};

pub(super) struct World {
    pub(super) target: Arc<MemoryTarget>,
    pub(super) ledger: Arc<MemoryLedger>,
    pub(super) limits: Limits,
    pub(super) runner: Option<Arc<dyn CheckRunner>>,
    pub(super) told: std::sync::Mutex<Vec<Progress>>,
}

/// Release `number` in `replicas` units, `batch` at a time.
pub(super) fn spec(number: u128, replicas: u32, batch: u32) -> Spec {
    Spec {
        project: "web".to_owned(),
        environment: "prod".to_owned(),
        release: release(number),
        artifact: Artifact::ImageId(format!("sha256:{number}")),
        replicas,
        expose: None,
        health: None,
        verify: Vec::new(),
        checks: crate::CheckSettings::default(),
        hosts: Vec::new(),
        strategy: Strategy {
            batch: BatchSize::Units(batch),
            rollback_deadline: pipeline::Duration::from_secs(60),
            ..Strategy::default()
        },
        env: BTreeMap::new(),
        unit: crate::UnitSettings::default(),
    }
}

pub(super) fn release(number: u128) -> ReleaseId {
    ReleaseId::new(Uuid::from_u128(number))
}

pub(super) fn deployment(kind: DeploymentKind, spec: Spec) -> Deployment {
    let id = DeploymentId::new(Uuid::now_v7());
    let (by, name) = ("ann".to_owned(), String::new());
    let scope = crate::Scope::default();
    Deployment { id, kind, spec, by, reason: None, name, run: None, stage: None, scope }
}

pub(super) fn key() -> EnvironmentKey {
    EnvironmentKey { project: "web".to_owned(), environment: "prod".to_owned() }
}

impl World {
    pub(super) fn new() -> Self {
        let limits = Limits { lock_wait: Duration::from_secs(120), ..Limits::default() };
        Self {
            runner: None,
            target: Arc::default(),
            ledger: Arc::default(),
            limits,
            told: Default::default(),
        }
    }

    pub(super) async fn deploy(&self, spec: Spec) -> Result<Deployed, DeployError> {
        self.deploy_as(deployment(DeploymentKind::Deploy, spec), &CancellationToken::new()).await
    }

    pub(super) async fn deploy_as(
        &self,
        deployment: Deployment,
        cancel: &CancellationToken,
    ) -> Result<Deployed, DeployError> {
        self.deploy_with(deployment, Policy::default(), cancel).await
    }

    pub(super) async fn deploy_with(
        &self,
        deployment: Deployment,
        policy: Policy,
        cancel: &CancellationToken,
    ) -> Result<Deployed, DeployError> {
        let request = Request {
            deployment,
            holder: "ann's engine".to_owned(),
            policy,
            runner: self.runner.clone(),
        };
        let (progress, mut told) = mpsc::channel(1_000);
        let target = Arc::clone(&self.target) as Arc<dyn Target>;
        let ledger = Arc::clone(&self.ledger) as Arc<dyn Ledger>;
        let deployed = deploy_within(request, self.limits, target, ledger, progress, cancel).await;
        while let Ok(progress) = told.try_recv() {
            self.told.lock().unwrap().push(progress);
        }
        deployed
    }

    /// Deploys, and dies when a call of the target or a write of the ledger hangs; `None`
    /// if it came to that.
    pub(super) async fn deploy_and_die(&self, spec: Spec) -> Option<Result<Deployed, DeployError>> {
        self.die(deployment(DeploymentKind::Deploy, spec)).await
    }

    pub(super) async fn die(
        &self,
        deployment: Deployment,
    ) -> Option<Result<Deployed, DeployError>> {
        let cancel = CancellationToken::new();
        tokio::select! {
            biased;
            () = self.target.hanging() => None,
            () = self.ledger.hanging() => None,
            deployed = self.deploy_as(deployment, &cancel) => Some(deployed),
        }
    }

    /// Ends what has not ended, as the next start would.
    pub(super) async fn recover(&self) -> Vec<Deployed> {
        let mut ended = Vec::new();
        for record in self.ledger.unfinished().await.unwrap() {
            ended.push(self.recover_one(record).await.unwrap());
        }
        ended
    }

    pub(super) async fn recover_one(
        &self,
        record: DeploymentRecord,
    ) -> Result<Deployed, DeployError> {
        let (progress, _told) = mpsc::channel(1_000);
        let target = Arc::clone(&self.target) as Arc<dyn Target>;
        let ledger = Arc::clone(&self.ledger) as Arc<dyn Ledger>;
        let holder = "the next engine".to_owned();
        let runner = self.runner.clone();
        recover_within(record, self.limits, target, ledger, holder, runner, progress).await
    }

    /// Shows the units in traffic as `slot:release`, broken ones with `!`, others
    /// in brackets when they are kept.
    pub(super) fn show(&self) -> String {
        let mut units = self.target.seen().units;
        // Names end in random digits.
        units.sort_by_key(|unit| (unit.slot, unit.fence));
        let unit = |unit: &ObservedUnit| {
            let release = self.number(unit.release);
            let mark = if unit.state == UnitState::Running { "" } else { "!" };
            match unit.admitted {
                true => format!("{}:{release}{mark}", unit.slot),
                false if unit.state == UnitState::Exited => format!("({}:{release})", unit.slot),
                false => format!("[{}:{release}]", unit.slot),
            }
        };
        units.iter().map(unit).collect::<Vec<_>>().join(" ")
    }

    /// As [`World::show`], without warm units.
    pub(super) fn traffic(&self) -> String {
        let shown = self.show();
        shown.split(' ').filter(|unit| !unit.starts_with('(')).collect::<Vec<_>>().join(" ")
    }

    fn number(&self, release: ReleaseId) -> u128 {
        release.to_string().parse::<Uuid>().unwrap().as_u128()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.told.lock().unwrap().iter().map(|told| told.line.clone()).collect()
    }
}

/// Deploys releases that must succeed.
pub(super) async fn world_with(releases: &[(u128, u32, u32)]) -> World {
    let world = World::new();
    for (number, replicas, batch) in releases {
        let deployed = world.deploy(spec(*number, *replicas, *batch)).await.unwrap();
        assert_eq!(deployed.state, DeploymentState::Succeeded, "{:?}", deployed.reason);
    }
    world.target.take_mutations();
    world.target.take_samples();
    world.told.lock().unwrap().clear();
    world
}
