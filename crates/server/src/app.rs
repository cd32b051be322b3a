//! The server's parts, put together once.

use std::collections::BTreeMap;
use std::sync::Arc;

use deploy::{CheckRunner, Ledger, Machine, Target};
use runner::ContainerChecks;
use runner::Registries;
use runner::backend::Backend;
use runner::backend::docker::DockerBackend;
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::StoreResults;
use crate::config::{Config, PasswordError};
use crate::data::{DataDirectory, DataError};
use crate::deployments::Desk;
use crate::forge::{Rate, Replays};
use crate::hints::Hints;
use crate::outbox::{Post, PostError};
use crate::targets::{self, docker_logins};
use crate::token::{AdminToken, TokenError};
use crate::triggers::Repositories;

/// Everything a request or a loop may need. It holds no clock: time is read
/// where something happens.
pub struct App {
    pub(crate) config: Config,
    pub(crate) data: DataDirectory,
    pub(crate) store: Store,
    pub(crate) token: AdminToken,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) registries: Registries,
    /// By name of the configuration.
    pub(crate) targets: BTreeMap<String, Arc<dyn Target>>,
    pub(crate) post: Post,
    pub(crate) hints: Hints,
    pub(crate) repositories: Repositories,
    pub(crate) desk: Desk,
    /// Of webhooks.
    pub(crate) rate: Rate,
    pub(crate) replays: Replays,
    /// Ends what is held open for clients.
    pub(crate) closing: CancellationToken,
    pub(crate) abort: CancellationToken,
}

/// What reaches the world outside, which tests replace.
pub struct Outside {
    pub backend: Arc<dyn Backend>,
    pub registries: Registries,
    pub targets: BTreeMap<String, Arc<dyn Target>>,
    pub post: Post,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error("cannot open the database")]
    Store(#[from] store::OpenError),
    #[error("cannot use the Docker engine")]
    Backend(#[from] runner::backend::docker::ConnectError),
    #[error("cannot use the mail server of the configuration")]
    Post(#[from] PostError),
}

impl App {
    /// Opens the data directory and connects to what the configuration names; `machine`
    /// is the one this process runs on.
    /// Targets and the mail server are reached when they are needed.
    pub async fn open(config: Config, machine: &Machine) -> Result<Self, OpenError> {
        let data = DataDirectory::open(&config.data)?;
        let store = Store::open(&data.database()).await?;
        warn(&config);
        let registries = registries(&config)?;
        let backend = DockerBackend::connect(config.runner.docker_host.as_deref()).await?;
        let backend = backend.with_subnets(config.runner.subnets).with_layers(config.runner.layers);
        let logins = docker_logins(&registries);
        let outside = Outside {
            backend: Arc::new(backend),
            targets: targets::of(&config, store.instance(), &logins, machine),
            post: Post::of(&config)?,
            registries,
        };
        Self::assemble(config, data, store, outside)
    }

    /// Puts the parts together.
    pub fn assemble(
        config: Config,
        data: DataDirectory,
        store: Store,
        outside: Outside,
    ) -> Result<Self, OpenError> {
        let token = AdminToken::open(&data.token())?;
        Ok(Self {
            config,
            data,
            store,
            token,
            backend: outside.backend,
            registries: outside.registries,
            targets: outside.targets,
            post: outside.post,
            hints: Hints::default(),
            repositories: Repositories::default(),
            desk: Desk::default(),
            rate: Rate::default(),
            replays: Replays::default(),
            closing: CancellationToken::new(),
            abort: CancellationToken::new(),
        })
    }

    /// The second signal: cancelled, it ends running work instead of waiting for it.
    pub fn abort(&self) -> CancellationToken {
        self.abort.clone()
    }

    pub(crate) fn ledger(&self) -> Arc<dyn Ledger> {
        Arc::new(self.store.clone())
    }

    /// Runs the checks of deployments that nobody's run carries out. Without it they are a
    /// finding.
    pub(crate) fn checks(&self) -> Option<Arc<dyn CheckRunner>> {
        let (backend, instance) = (Arc::clone(&self.backend), self.store.instance().to_owned());
        match ContainerChecks::new(backend, instance, self.registries.clone()) {
            Ok(checks) => Some(Arc::new(checks)),
            Err(error) => {
                tracing::error!("checks cannot be run: {error}");
                None
            }
        }
    }

    /// What stages with `inputs` came to before.
    pub(crate) fn results(&self) -> StoreResults {
        StoreResults::new(self.store.clone(), self.data.archives())
    }

    /// Who leases runs and holds locks: there is one server per store.
    pub(crate) fn holder(&self) -> String {
        format!("server {}", self.store.instance())
    }

    /// The target of an environment, if the configuration grants it to the
    /// project. The error is the text of E062.
    pub(crate) fn target(
        &self,
        project: &str,
        environment: &str,
    ) -> Result<Arc<dyn Target>, String> {
        let (name, _) = self.config.target(project, environment)?;
        let environment = self.config.environments(project).remove(environment);
        let part = targets::part_name(name, environment.and_then(|it| it.only).as_ref());
        let target = self.targets.get(&part).map(Arc::clone);
        target.ok_or_else(|| format!("error[E062]: target `{name}` is not set up on this server"))
    }

    /// Where a run is shown, if people have an address to reach the server: the
    /// API's answer, as long as there are no pages.
    pub(crate) fn run_url(&self, run: event::RunId) -> String {
        match &self.config.external_url {
            Some(base) => format!("{base}/api/v1/runs/{run}"),
            None => String::new(),
        }
    }
}

/// Says what a configuration holds that will not do what it seems to.
fn warn(config: &Config) {
    for (project, entry) in &config.projects {
        for environment in entry.environments.keys() {
            if let Err(reason) = config.target(project, environment) {
                tracing::warn!("environment `{environment}` of `{project}`: {reason}");
            }
        }
    }
    if config.smtp.is_none() {
        tracing::info!("there is no [smtp]: mails wait in the outbox for three days");
    }
}

/// Reads the passwords of the registries of a configuration.
pub fn registries(config: &Config) -> Result<Registries, PasswordError> {
    let named = config.registries.iter().map(|(name, entry)| {
        let registry = runner::Registry {
            host: entry.host.clone(),
            username: entry.username.clone(),
            password: crate::config::read_password(&entry.password_file)?,
            ca_file: entry.ca_file.clone(),
        };
        Ok((name.clone(), registry))
    });
    Ok(Registries { named: named.collect::<Result<_, _>>()? })
}
