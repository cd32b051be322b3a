//! From the text of the file to a [`Config`]: keys are known, addresses parse,
//! names are defined, paths are complete.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use pipeline::{Duration, Environment, Only, SwitchSpec, TargetHost, TargetSpec, Tier};
use runner::backend::docker::{LayerMode, Subnet};
use serde::Deserialize;
use toml::Spanned;

use super::{
    Config, ConfigError, DockerEntry, HostsEntry, Poll, ProjectEntry, RegistryEntry, Runner, Smtp,
    TargetEntry, TargetPlace, Templates, Watch, error,
};

/// Reads the text of the file `file_name`. Relative paths in it are relative to
/// the file's directory.
pub fn load(text: &str, file_name: &Path) -> Result<Config, ConfigError> {
    let file: File =
        toml::from_str(text).map_err(|error| ConfigError::from_toml(text, file_name, &error))?;
    let base = file_name.parent().unwrap_or_else(|| Path::new(""));
    Reader { text, file_name, base }.config(file)
}

/// Turns what serde read into what the server uses.
struct Reader<'a> {
    text: &'a str,
    file_name: &'a Path,
    base: &'a Path,
}

impl Reader<'_> {
    fn config(&self, file: File) -> Result<Config, ConfigError> {
        let default = Config::default();
        let target = |(name, target)| Ok((name, self.target(&target)?));
        let targets: BTreeMap<_, _> =
            file.targets.into_iter().map(target).collect::<Result<_, ConfigError>>()?;
        let mut projects = BTreeMap::new();
        for (name, project) in file.projects {
            projects.insert(name, self.project(project, &targets)?);
        }
        let listen = match file.listen {
            Some(listen) => self.listen(&listen)?,
            None => default.listen,
        };
        let external_url = file.external_url.map(|url| self.external_url(&url)).transpose()?;
        Ok(Config {
            listen,
            data: self.path(file.data.unwrap_or(default.data)),
            external_url,
            drain_timeout: file.drain_timeout.map_or(default.drain_timeout, Duration::std),
            poll: match file.poll.and_then(|poll| poll.every) {
                Some(every) => Poll { every: self.pause(&every, "polling needs a pause", "60s")? },
                None => default.poll,
            },
            watch: match file.watch.and_then(|watch| watch.every) {
                Some(every) => {
                    Watch { every: self.pause(&every, "watching needs a pause", "30s")? }
                }
                None => default.watch,
            },
            smtp: file.smtp.map(|smtp| self.smtp(smtp)).transpose()?,
            runner: self.runner(file.runner.unwrap_or_default())?,
            registries: file
                .registries
                .into_iter()
                .map(|(name, entry)| (name, self.registry(entry)))
                .collect(),
            targets,
            templates: Templates { hosts: file.templates.unwrap_or_default().hosts },
            projects,
        })
    }

    fn listen(&self, listen: &Spanned<String>) -> Result<SocketAddr, ConfigError> {
        listen.get_ref().parse().map_err(|_| {
            self.refuse(
                listen,
                format!("`{}` is not an address with a port", listen.get_ref()),
                Some("write for example `127.0.0.1:8080`".to_owned()),
            )
        })
    }

    fn external_url(&self, url: &Spanned<String>) -> Result<String, ConfigError> {
        let text = url.get_ref();
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(text.trim_end_matches('/').to_owned());
        }
        let help = format!("did you mean `https://{text}`?");
        Err(self.refuse(url, format!("`{text}` is not an http or https address"), Some(help)))
    }

    fn pause(
        &self,
        every: &Spanned<Duration>,
        message: &str,
        example: &str,
    ) -> Result<std::time::Duration, ConfigError> {
        let duration = every.get_ref().std();
        if duration.is_zero() {
            let help = format!("write for example `{example}`");
            return Err(self.refuse(every, message.to_owned(), Some(help)));
        }
        Ok(duration)
    }

    fn smtp(&self, smtp: SmtpFile) -> Result<Smtp, ConfigError> {
        let url = smtp.url.get_ref();
        if !url.starts_with("smtp://") && !url.starts_with("smtps://") {
            let help = format!("did you mean `smtp://{url}`?");
            let message = format!("`{url}` is not an smtp or smtps address");
            return Err(self.refuse(&smtp.url, message, Some(help)));
        }
        if let (Some(username), None) = (&smtp.username, &smtp.password_file) {
            let help = "add `password-file`".to_owned();
            return Err(self.refuse(
                username,
                "a username needs a password".to_owned(),
                Some(help),
            ));
        }
        Ok(Smtp {
            url: smtp.url.into_inner(),
            from: smtp.from,
            username: smtp.username.map(Spanned::into_inner),
            password_file: smtp.password_file.map(|path| self.path(path)),
            ca_file: smtp.ca_file.map(|path| self.path(path)),
        })
    }

    fn runner(&self, runner: RunnerFile) -> Result<Runner, ConfigError> {
        let default = Runner::default();
        Ok(Runner {
            concurrency: self.count(runner.concurrency, default.concurrency)?,
            stages: self.count(runner.stages, default.stages)?,
            labels: runner.labels.unwrap_or(default.labels),
            subnets: match runner.subnets {
                Some(subnets) => self.subnets(&subnets)?,
                None => default.subnets,
            },
            layers: match runner.layers {
                Some(layers) => self.layers(&layers)?,
                None => default.layers,
            },
            docker_host: runner.docker_host,
            cache_limit: match runner.cache_limit {
                Some(limit) => self.size(&limit)?,
                None => default.cache_limit,
            },
        })
    }

    fn count(&self, count: Option<Spanned<usize>>, default: usize) -> Result<usize, ConfigError> {
        match count {
            Some(count) if *count.get_ref() == 0 => {
                Err(self.refuse(&count, "0 would let nothing run".to_owned(), None))
            }
            Some(count) => Ok(count.into_inner()),
            None => Ok(default),
        }
    }

    fn size(&self, size: &Spanned<String>) -> Result<u64, ConfigError> {
        pipeline::parse_size(size.get_ref()).map_err(|help| {
            let message = format!("`{}` is not a size", size.get_ref());
            self.refuse(size, message, Some(help))
        })
    }

    fn layers(&self, layers: &Spanned<String>) -> Result<LayerMode, ConfigError> {
        layers.get_ref().parse().map_err(|_| {
            let message = format!("`{}` is not a way to make workspaces", layers.get_ref());
            let help = "write `auto`, `overlay` or `copy`".to_owned();
            self.refuse(layers, message, Some(help))
        })
    }

    fn subnets(&self, subnets: &Spanned<String>) -> Result<Subnet, ConfigError> {
        let parsed = subnets.get_ref().parse::<Subnet>().ok();
        parsed.filter(|subnet| (8..=28).contains(&subnet.bits())).ok_or_else(|| {
            let message = format!("`{}` is not a range of addresses", subnets.get_ref());
            self.refuse(subnets, message, Some("write for example `10.213.0.0/16`".to_owned()))
        })
    }

    fn registry(&self, entry: RegistryFile) -> RegistryEntry {
        RegistryEntry {
            host: entry.host,
            username: entry.username,
            password_file: self.path(entry.password_file),
            ca_file: entry.ca_file.map(|path| self.path(path)),
        }
    }

    fn target(&self, target: &Spanned<TargetFile>) -> Result<TargetEntry, ConfigError> {
        let path = |path: Option<PathBuf>| path.map(|path| self.path(path));
        let TargetFile { docker, hosts, process, projects } = target.get_ref().clone();
        if let Some((message, help)) = switch_misfit(target.get_ref()) {
            return Err(self.refuse(target, message, Some(help)));
        }
        let place = match (docker, hosts, process) {
            (Some(docker), None, None) => TargetPlace::Docker(DockerEntry {
                host: docker.host,
                proxy: path(docker.proxy),
                switch: docker.switch,
                certificates: path(docker.certificates),
                identity: path(docker.identity),
                known_hosts: path(docker.known_hosts),
            }),
            (None, Some(hosts), None) if !hosts.hosts.is_empty() => {
                TargetPlace::Hosts(HostsEntry {
                    hosts: hosts.hosts,
                    user: hosts.user,
                    // Of the hosts, not of this machine.
                    path: hosts.path,
                    proxy: path(hosts.proxy),
                    switch: hosts.switch,
                    identity: path(hosts.identity),
                    known_hosts: path(hosts.known_hosts),
                })
            }
            (None, None, Some(process)) => {
                let (root, proxy) = (self.path(process.root), path(process.proxy));
                TargetPlace::Process { root, proxy, switch: process.switch }
            }
            _ => {
                let message = "a target is one place".to_owned();
                let help = "give it `docker`, `hosts` or `process`".to_owned();
                return Err(self.refuse(target, message, Some(help)));
            }
        };
        Ok(TargetEntry { place, projects })
    }

    fn project(
        &self,
        project: ProjectFile,
        targets: &BTreeMap<String, TargetEntry>,
    ) -> Result<ProjectEntry, ConfigError> {
        let mut environments = BTreeMap::new();
        for (name, environment) in project.environments {
            let target = environment.target.get_ref();
            if !targets.contains_key(target) {
                let message =
                    format!("environment `{name}` names target `{target}`, which is not defined");
                let help = error::suggest(target, targets.keys().map(String::as_str))
                    .unwrap_or_else(|| format!("define it as [targets.{target}]"));
                return Err(self.refuse(&environment.target, message, Some(help)));
            }
            environments.insert(
                name,
                Environment {
                    target: TargetSpec::Named(environment.target.into_inner()),
                    tier: environment.tier,
                    replicas: environment.replicas,
                    url: environment.url,
                    ensure: environment.ensure,
                    only: environment.only,
                    env: environment.env,
                    ..Environment::default()
                },
            );
        }
        Ok(ProjectEntry { environments, templates: project.templates })
    }

    fn path(&self, path: PathBuf) -> PathBuf {
        if path.is_absolute() { path } else { self.base.join(path) }
    }

    fn refuse<T>(&self, at: &Spanned<T>, message: String, help: Option<String>) -> ConfigError {
        ConfigError::at(self.text, self.file_name, at.span(), message, help)
    }
}

// The file as serde reads it. A key that is not here is an error, everywhere.

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    listen: Option<Spanned<String>>,
    data: Option<PathBuf>,
    external_url: Option<Spanned<String>>,
    drain_timeout: Option<Duration>,
    poll: Option<PollFile>,
    watch: Option<WatchFile>,
    smtp: Option<SmtpFile>,
    runner: Option<RunnerFile>,
    #[serde(default)]
    registries: BTreeMap<String, RegistryFile>,
    #[serde(default)]
    targets: BTreeMap<String, Spanned<TargetFile>>,
    templates: Option<TemplatesFile>,
    #[serde(default)]
    projects: BTreeMap<String, ProjectFile>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TemplatesFile {
    #[serde(default)]
    hosts: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PollFile {
    every: Option<Spanned<Duration>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WatchFile {
    every: Option<Spanned<Duration>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SmtpFile {
    url: Spanned<String>,
    from: String,
    username: Option<Spanned<String>>,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RunnerFile {
    concurrency: Option<Spanned<usize>>,
    stages: Option<Spanned<usize>>,
    labels: Option<BTreeSet<String>>,
    subnets: Option<Spanned<String>>,
    layers: Option<Spanned<String>>,
    docker_host: Option<String>,
    cache_limit: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RegistryFile {
    host: String,
    username: String,
    password_file: PathBuf,
    ca_file: Option<PathBuf>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TargetFile {
    docker: Option<DockerFile>,
    hosts: Option<HostsFile>,
    process: Option<ProcessFile>,
    #[serde(default)]
    projects: BTreeSet<String>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct DockerFile {
    host: String,
    proxy: Option<PathBuf>,
    switch: Option<SwitchSpec>,
    certificates: Option<PathBuf>,
    identity: Option<PathBuf>,
    known_hosts: Option<PathBuf>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct HostsFile {
    hosts: Vec<TargetHost>,
    user: Option<String>,
    path: Option<PathBuf>,
    proxy: Option<PathBuf>,
    switch: Option<SwitchSpec>,
    identity: Option<PathBuf>,
    known_hosts: Option<PathBuf>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ProcessFile {
    root: PathBuf,
    proxy: Option<PathBuf>,
    switch: Option<SwitchSpec>,
}

/// What is wrong with the switch of a target, and what to do about it.
fn switch_misfit(target: &TargetFile) -> Option<(String, String)> {
    let TargetFile { docker, hosts, process, .. } = target;
    let docker = docker.as_ref().map(|it| ("docker", &it.proxy, &it.switch));
    let hosts = hosts.as_ref().map(|it| ("hosts", &it.proxy, &it.switch));
    let process = process.as_ref().map(|it| ("process", &it.proxy, &it.switch));
    let mut places = [docker, hosts, process].into_iter().flatten();
    places.find_map(|(kind, proxy, switch)| {
        let switch = switch.as_ref()?;
        if proxy.is_some() {
            let message = format!("`{kind}` has a `proxy` and a `switch`");
            return Some((message, "keep the one that requests come through".to_owned()));
        }
        if let Some(why) = switch.misfit(kind) {
            let name = switch.name();
            let message = format!("`{name}` cannot be the `switch` of a `{kind}` target: {why}");
            let help = "use `nginx`, `traefik`, a `hook` or `proxy`, or deploy to `hosts`";
            return Some((message, help.to_owned()));
        }
        let wrong = switch.unclear()?;
        let help = "give it one of both, for example `command = \"/usr/local/bin/balancer\"`";
        Some((format!("`hook` of `{kind}` {wrong}"), help.to_owned()))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ProjectFile {
    #[serde(default)]
    environments: BTreeMap<String, EnvironmentFile>,
    #[serde(default)]
    templates: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct EnvironmentFile {
    target: Spanned<String>,
    #[serde(default)]
    tier: Tier,
    replicas: Option<u32>,
    url: Option<String>,
    #[serde(default)]
    ensure: bool,
    only: Option<Only>,
    #[serde(default)]
    env: BTreeMap<String, String>,
}
