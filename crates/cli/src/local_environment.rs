//! Environments of the pipeline file, for `status` and `rollback` without a server.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use deploy::{Deployment, DeploymentRecord, EnvironmentKey, Ledger, Release, Request, Target};
use event::{DeploymentId, DeploymentKind, ReleaseId};
use pipeline::{Environment, InlineTarget, Plan, TargetSpec};
use runner::Registries;
use serde_json::{Value, json};
use store::Store;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::arguments::{PlaceArguments, SimulationArguments};
use crate::error::{CommandError, Context as _, Kind};
use crate::home::Home;
use crate::interrupt::Interrupts;
use crate::local;

/// Deployments of an environment that `status` shows.
const SHOWN: u32 = 5;

pub(crate) struct LocalEnvironments {
    project: String,
    environments: BTreeMap<String, Environment>,
    store: Store,
}

impl LocalEnvironments {
    /// Reads the environments of the pipeline file of this directory.
    pub(crate) async fn open(place: &PlaceArguments) -> Result<Self, CommandError> {
        let planned = local::plan(&place.pipeline, &SimulationArguments::default()).await?;
        let store = Home::from_environment()?.store().await?;
        let project = place.project.clone().unwrap_or(planned.project);
        Ok(Self { project, environments: planned.plan.environments, store })
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.environments.keys().cloned().collect()
    }

    /// What should run, what does, and what was deployed last.
    pub(crate) async fn status(&self, name: &str) -> Result<Value, CommandError> {
        let target = self.target(name).await?;
        let key = self.key(name);
        let observed = target.observe(&key).await.environment("cannot observe the environment")?;
        let history =
            self.store.history(&key, SHOWN).await.environment("cannot read the history")?;
        let releases = self.releases().await?;
        let status = server::environment_status(&key, &observed, &history, &releases);
        serde_json::to_value(status).environment("the status is no JSON")
    }

    pub(crate) async fn rollback(
        &self,
        name: &str,
        release: Option<&str>,
        reason: Option<String>,
    ) -> Result<Value, CommandError> {
        let target = self.target(name).await?;
        let ledger: Arc<dyn Ledger> = Arc::new(self.store.clone());
        let key = self.key(name);
        let releases = self.releases().await?;
        let to = release.map(|text| find(&releases, text)).transpose()?;
        let spec = deploy::rollback_spec(&ledger, &key, to)
            .await
            .map_err(|error| CommandError::caused(Kind::Usage, "cannot roll back", &error))?;
        let deployment = Deployment {
            id: DeploymentId::new(uuid::Uuid::now_v7()),
            kind: DeploymentKind::Rollback,
            spec,
            by: "local".to_owned(),
            reason,
            run: None,
            stage: None,
        };
        let request = Request { deployment, holder: format!("local:{}", std::process::id()) };
        let interrupts = Interrupts::listen()?;
        let began = Instant::now();
        let deployed = deploy_telling(request, target, ledger, &interrupts.cancel).await?;
        let version = releases.iter().find(|known| known.id == deployed.release);
        Ok(json!({
            "deployment": deployed.deployment,
            "state": deployed.state,
            "release": deployed.release,
            "version": version.map(|release| release.version.clone()),
            "previous": deployed.previous,
            "reason": deployed.reason,
            "duration_ms": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }))
    }

    async fn target(&self, name: &str) -> Result<Arc<dyn Target>, CommandError> {
        let environment = self.environments.get(name).ok_or_else(|| {
            let names = self.names();
            CommandError::usage(format_args!("the pipeline file has no environment `{name}`")).hint(
                if names.is_empty() {
                    "define one under `environments`, or name the server with `--server`".to_owned()
                } else {
                    format!("its environments are {}", names.join(", "))
                },
            )
        })?;
        connect(name, environment, &self.store, &Registries::default()).await
    }

    async fn releases(&self) -> Result<Vec<Release>, CommandError> {
        Ledger::releases(&self.store, &self.project).await.environment("cannot read the releases")
    }

    fn key(&self, name: &str) -> EnvironmentKey {
        EnvironmentKey { project: self.project.clone(), environment: name.to_owned() }
    }
}

/// The targets of the environments that deploy stages of a plan name.
pub(crate) async fn targets(
    plan: &Plan,
    store: &Store,
    registries: &Registries,
) -> Result<BTreeMap<String, Arc<dyn Target>>, CommandError> {
    let mut targets = BTreeMap::new();
    for (name, environment) in &plan.environments {
        targets.insert(name.clone(), connect(name, environment, store, registries).await?);
    }
    Ok(targets)
}

/// Connects to the target of a deployment that was made from somewhere else.
pub(crate) async fn target_of(
    record: &DeploymentRecord,
    environments: &BTreeMap<String, Environment>,
    store: &Store,
) -> Result<Option<Arc<dyn Target>>, CommandError> {
    let name = &record.deployment.spec.environment;
    match environments.get(name) {
        Some(environment) => {
            Ok(Some(connect(name, environment, store, &Registries::default()).await?))
        }
        None => Ok(None),
    }
}

async fn connect(
    name: &str,
    environment: &Environment,
    store: &Store,
    registries: &Registries,
) -> Result<Arc<dyn Target>, CommandError> {
    let TargetSpec::Inline(InlineTarget::Docker { host, proxy }) = &environment.target else {
        return Err(CommandError::usage(format_args!(
            "environment `{name}` names a target of a server"
        ))
        .hint("write the target out for local runs, or use `--server`"));
    };
    let target =
        server::docker_target(host, proxy.as_deref().map(Path::new), store.instance(), registries)
            .await
            .environment(&format!("cannot reach the target of environment `{name}`"))?;
    Ok(Arc::new(target))
}

/// Finds a release by its id, the last eight digits of it, or its version.
fn find(releases: &[Release], text: &str) -> Result<ReleaseId, CommandError> {
    releases
        .iter()
        .find(|release| {
            release.id.to_string() == text || release.id.short() == text || release.version == text
        })
        .map(|release| release.id)
        .ok_or_else(|| {
            let known: Vec<String> = releases
                .iter()
                .map(|release| format!("{} ({})", release.id.short(), release.version))
                .collect();
            CommandError::usage(format_args!("no release `{text}` is known")).hint(
                if known.is_empty() {
                    "nothing was deployed from this directory yet".to_owned()
                } else {
                    format!("there are {}", known.join(", "))
                },
            )
        })
}

/// Deploys and tells each step on stderr.
async fn deploy_telling(
    request: Request,
    target: Arc<dyn Target>,
    ledger: Arc<dyn Ledger>,
    cancel: &CancellationToken,
) -> Result<deploy::Deployed, CommandError> {
    let (progress, mut steps) = mpsc::channel::<deploy::Progress>(64);
    let tell = async {
        while let Some(step) = steps.recv().await {
            eprintln!("{}", step.line);
        }
    };
    let (deployed, ()) =
        tokio::join!(deploy::deploy(request, target, ledger, progress, cancel), tell);
    deployed.environment("the rollback could not go on")
}

/// The project that is meant: `--project`, else that of the pipeline file here.
pub(crate) async fn project_name(place: &PlaceArguments) -> Result<String, CommandError> {
    if let Some(project) = &place.project {
        return Ok(project.clone());
    }
    let checked = local::check(&place.pipeline).await?;
    match &checked.pipeline {
        Some(pipeline) => Ok(local::project(pipeline, &checked.directory)),
        None => Err(CommandError::usage(
            "no project is named, and this directory has no pipeline file to tell it",
        )
        .hint("give `--project NAME`")),
    }
}
