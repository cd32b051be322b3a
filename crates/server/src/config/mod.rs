//! The server's TOML file: what belongs to the machine, and not to a project.
//!
//! [`load`] takes the text and the file's name and gives a [`Config`] whose
//! paths no longer depend on the working directory. It reads no other file:
//! passwords are read by [`read_password`], once, by whoever opens the server.

mod error;
mod password;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use pipeline::{Environment, Only, StagePolicy, SwitchSpec, TargetHost, TargetSpec};
use runner::backend::docker::{LayerMode, Subnet};

pub use error::ConfigError;
pub use password::{PasswordError, read_password};
pub use read::load;

/// The configuration of one server. [`Config::default`] is what `shipline
/// serve` uses without a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub listen: SocketAddr,
    pub data: PathBuf,
    /// The address people reach the server at; links in mails begin with it.
    pub external_url: Option<String>,
    /// How long running work may go on after the first signal to stop.
    pub drain_timeout: std::time::Duration,
    pub poll: Poll,
    pub watch: Watch,
    pub smtp: Option<Smtp>,
    pub runner: Runner,
    pub registries: BTreeMap<String, RegistryEntry>,
    pub targets: BTreeMap<String, TargetEntry>,
    pub templates: Templates,
    pub projects: BTreeMap<String, ProjectEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// Between two looks at a project that says nothing else.
    pub every: std::time::Duration,
}

/// How what was deployed is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Between two looks at an environment.
    pub every: std::time::Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smtp {
    /// `smtp://HOST:PORT` or `smtps://HOST:PORT`.
    pub url: String,
    pub from: String,
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runner {
    /// Runs at a time.
    pub concurrency: usize,
    /// Stages of one run at a time.
    pub stages: usize,
    /// What stages may ask for with `runner`.
    pub labels: BTreeSet<String>,
    /// The range that networks of stages are taken from.
    pub subnets: Subnet,
    /// How views of workspaces are made.
    pub layers: LayerMode,
    /// Address of the engine that stages run on; `None` is Docker's default.
    pub docker_host: Option<String>,
    /// Bytes that all caches together may take on the engine.
    pub cache_limit: u64,
}

/// A credential, by the name a pipeline uses for it. The password is not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryEntry {
    pub host: String,
    pub username: String,
    pub password_file: PathBuf,
    pub ca_file: Option<PathBuf>,
}

/// A place to deploy to, and the projects that may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetEntry {
    pub place: TargetPlace,
    pub projects: BTreeSet<String>,
}

/// What a target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPlace {
    Docker(DockerEntry),
    Hosts(HostsEntry),
    Process { root: PathBuf, proxy: Option<PathBuf>, switch: Option<SwitchSpec> },
}

impl TargetPlace {
    /// Returns the part of it that an environment is.
    pub(crate) fn only(&self, part: &Only) -> Self {
        let mut place = self.clone();
        if let Self::Hosts(entry) = &mut place {
            entry.hosts.retain(|host| part.has(host));
        }
        place
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostsEntry {
    pub hosts: Vec<TargetHost>,
    pub user: Option<String>,
    /// The folder of the releases.
    pub path: Option<PathBuf>,
    /// Path of the proxy's control socket.
    pub proxy: Option<PathBuf>,
    pub switch: Option<SwitchSpec>,
    pub identity: Option<PathBuf>,
    pub known_hosts: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerEntry {
    pub host: String,
    /// Path of the proxy's control socket.
    pub proxy: Option<PathBuf>,
    pub switch: Option<SwitchSpec>,
    pub certificates: Option<PathBuf>,
    pub identity: Option<PathBuf>,
    pub known_hosts: Option<PathBuf>,
}

/// Where templates may be fetched from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Templates {
    /// Besides the host of a project's own repository.
    pub hosts: BTreeSet<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectEntry {
    pub environments: BTreeMap<String, Environment>,
    /// Its pipelines use one of these; empty is no rule.
    pub templates: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            data: PathBuf::from("data"),
            external_url: None,
            drain_timeout: std::time::Duration::from_secs(600),
            poll: Poll::default(),
            watch: Watch::default(),
            smtp: None,
            runner: Runner::default(),
            registries: BTreeMap::new(),
            targets: BTreeMap::new(),
            templates: Templates::default(),
            projects: BTreeMap::new(),
        }
    }
}

impl Default for Poll {
    fn default() -> Self {
        Self { every: std::time::Duration::from_secs(60) }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self { every: std::time::Duration::from_secs(30) }
    }
}

impl Default for Runner {
    fn default() -> Self {
        Self {
            concurrency: 2,
            stages: 4,
            labels: ["linux", architecture()].map(str::to_owned).into(),
            subnets: Subnet::default(),
            layers: LayerMode::default(),
            docker_host: None,
            cache_limit: runner::CACHE_LIMIT,
        }
    }
}

impl Config {
    /// What a project's pipelines may ask for, if anything limits them.
    pub fn policy(&self, project: &str) -> Option<StagePolicy> {
        let templates = self.projects.get(project).map(|entry| entry.templates.clone())?;
        let set_by = format!("`templates` of [projects.{project}] in the server's configuration");
        let policy = StagePolicy { set_by, templates, ..StagePolicy::default() };
        (!policy.templates.is_empty()).then_some(policy)
    }

    /// The parts of targets that environments are.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&str, &Only)> {
        let environments = self.projects.values().flat_map(|project| project.environments.values());
        environments.filter_map(|environment| match (&environment.target, &environment.only) {
            (TargetSpec::Named(name), Some(only)) => Some((name.as_str(), only)),
            _ => None,
        })
    }

    /// The environments of a project, as a plan on this server sees them.
    pub fn environments(&self, project: &str) -> BTreeMap<String, Environment> {
        self.projects.get(project).map(|entry| entry.environments.clone()).unwrap_or_default()
    }

    /// The name and entry of the target that an environment of `project` deploys to.
    ///
    /// The error is the text of E062: an environment is only usable when its
    /// target grants itself to the project.
    pub fn target(&self, project: &str, environment: &str) -> Result<(&str, &TargetEntry), String> {
        let entry =
            self.projects.get(project).and_then(|entry| entry.environments.get(environment));
        let Some(Environment { target: TargetSpec::Named(name), .. }) = entry else {
            return Err(format!(
                "error[E062]: project `{project}` has no environment `{environment}` on this server"
            ));
        };
        match self.targets.get_key_value(name) {
            Some((name, target)) if target.projects.contains(project) => Ok((name, target)),
            Some(_) => Err(format!(
                "error[E062]: target `{name}` of environment `{environment}` is not granted to \
                 project `{project}`; add it to `projects` of [targets.{name}]"
            )),
            None => Err(format!(
                "error[E062]: environment `{environment}` names target `{name}`, which this server \
                 does not have"
            )),
        }
    }
}

#[cfg(test)]
mod tests;

/// The name of this machine's architecture, as images have it.
const fn architecture() -> &'static str {
    match std::env::consts::ARCH.as_bytes() {
        b"x86_64" => "amd64",
        b"aarch64" => "arm64",
        _ => std::env::consts::ARCH,
    }
}
