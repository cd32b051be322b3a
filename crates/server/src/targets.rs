//! Targets of the configuration, reached when they are needed: an engine that is
//! away keeps nobody from starting the server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use deploy::{
    Artifact, Caps, DockerTarget, EngineAccess, EnvironmentKey, ExecOptions, Finding, HostAccess,
    HostPlace, HostsAccess, HostsTarget, Inspected, KeepSet, LeaseAnswer, LeaseAsk, LogOptions,
    LogStream, Machine, Observed, Op, OpOutcome, ProcessTarget, Pruned, RegistryLogin, Spec,
    SwitchAccess, SwitchCaps, Target, TargetError, Terminal, UnitId,
};
use pipeline::{InlineTarget, Only, SwitchSpec, TargetHost};
use runner::Registries;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, DockerEntry, HostsEntry, TargetPlace};

/// The targets of a configuration by name, and the parts of them that environments are.
pub(crate) fn of(
    config: &Config,
    instance: &str,
    logins: &[RegistryLogin],
    machine: &Machine,
) -> BTreeMap<String, Arc<dyn Target>> {
    let on_use = |place: TargetPlace| {
        let target = ConnectedOnUse {
            place,
            instance: instance.to_owned(),
            logins: logins.to_vec(),
            machine: machine.clone(),
            connected: OnceCell::new(),
        };
        Arc::new(target) as Arc<dyn Target>
    };
    let whole = config
        .targets
        .iter()
        .map(|(name, entry)| (part_name(name, None), on_use(entry.place.clone())));
    let parts = config.parts().filter_map(|(name, only)| {
        let place = config.targets.get(name)?.place.only(only);
        Some((part_name(name, Some(only)), on_use(place)))
    });
    whole.chain(parts).collect()
}

/// What the part of a target that an environment is goes by.
pub(crate) fn part_name(target: &str, only: Option<&Only>) -> String {
    match only {
        None => target.to_owned(),
        Some(only) => format!("{target} {only}"),
    }
}

/// Connects to the Docker engine of this machine, to look what is there.
pub async fn docker_target(
    host: &str,
    proxy: Option<&Path>,
    instance: &str,
    registries: &Registries,
) -> Result<DockerTarget, TargetError> {
    let proxy = proxy.map(Path::to_path_buf);
    DockerTarget::connect(host, proxy, instance.to_owned(), docker_logins(registries)).await
}

/// Connects to a target that is written out in a pipeline file; `None` for a kind
/// that nothing can be deployed to yet.
pub async fn inline_target(
    target: &InlineTarget,
    instance: &str,
    registries: &Registries,
    machine: &Machine,
) -> Result<Option<Arc<dyn Target>>, TargetError> {
    match place_of(target) {
        Some(place) => {
            connect(&place, instance, &docker_logins(registries), machine).await.map(Some)
        }
        None => Ok(None),
    }
}

fn place_of(target: &InlineTarget) -> Option<TargetPlace> {
    let path = |path: &Option<String>| path.as_ref().map(PathBuf::from);
    Some(match target {
        InlineTarget::Docker { host, proxy, switch, certificates, identity, known_hosts } => {
            TargetPlace::Docker(DockerEntry {
                host: host.clone(),
                proxy: path(proxy),
                switch: switch.clone(),
                certificates: path(certificates),
                identity: path(identity),
                known_hosts: path(known_hosts),
            })
        }
        InlineTarget::Process { root, proxy, switch } => {
            let (root, switch) = (root.into(), switch.clone());
            TargetPlace::Process { root, proxy: path(proxy), switch }
        }
        InlineTarget::Hosts { hosts, user, path: home, proxy, switch, identity, known_hosts } => {
            TargetPlace::Hosts(HostsEntry {
                hosts: hosts.clone(),
                user: user.clone(),
                path: path(home),
                proxy: path(proxy),
                switch: switch.clone(),
                identity: path(identity),
                known_hosts: path(known_hosts),
            })
        }
        InlineTarget::Swarm { .. } | InlineTarget::Kubernetes { .. } => return None,
    })
}

/// The hosts of a target that is written out in a pipeline file; `None` for another kind.
pub fn hosts_target(
    target: &InlineTarget,
    instance: &str,
    machine: &Machine,
) -> Option<HostsTarget> {
    let TargetPlace::Hosts(entry) = place_of(target)? else { return None };
    let access = hosts_access(&entry);
    Some(HostsTarget::new(&access, entry.proxy, instance.to_owned(), Vec::new(), machine))
}

/// The balancer of a target that is written out in a pipeline file, if it is behind one.
pub fn switch_access(target: &InlineTarget) -> Option<SwitchAccess> {
    access_of(&place_of(target)?)
}

/// How the balancer of a target is reached, which is with the keys of the target.
fn access_of(place: &TargetPlace) -> Option<SwitchAccess> {
    let (switch, identity, known_hosts) = match place {
        TargetPlace::Docker(entry) => (&entry.switch, &entry.identity, &entry.known_hosts),
        TargetPlace::Hosts(entry) => (&entry.switch, &entry.identity, &entry.known_hosts),
        TargetPlace::Process { switch, .. } => (switch, &None, &None),
    };
    let (identity, known_hosts) = (identity.clone(), known_hosts.clone());
    switch.clone().map(|spec: SwitchSpec| SwitchAccess { spec, identity, known_hosts })
}

async fn connect(
    place: &TargetPlace,
    instance: &str,
    logins: &[RegistryLogin],
    machine: &Machine,
) -> Result<Arc<dyn Target>, TargetError> {
    let (instance, logins) = (instance.to_owned(), logins.to_vec());
    let switch = access_of(place);
    Ok(match place {
        TargetPlace::Docker(engine) => {
            let access = EngineAccess {
                host: engine.host.clone(),
                certificates: engine.certificates.clone(),
                identity: engine.identity.clone(),
                known_hosts: engine.known_hosts.clone(),
            };
            let target = DockerTarget::connect(access, engine.proxy.clone(), instance, logins);
            Arc::new(target.await?.behind(switch))
        }
        TargetPlace::Hosts(entry) => {
            let (access, proxy) = (hosts_access(entry), entry.proxy.clone());
            Arc::new(HostsTarget::new(&access, proxy, instance, logins, machine).behind(switch))
        }
        TargetPlace::Process { root, proxy, .. } => {
            let (proxy, machine) = (proxy.clone(), machine.clone());
            let target = ProcessTarget::open(root, proxy, instance, logins, machine).await?;
            Arc::new(target.behind(switch))
        }
    })
}

fn hosts_access(entry: &HostsEntry) -> HostsAccess {
    let host = |host: &TargetHost| {
        let TargetHost { host: written, .. } = host;
        let address = match &entry.user {
            Some(user) if !written.contains('@') => format!("{user}@{written}"),
            _ => written.clone(),
        };
        // Who logs in, and at which port, is not what people call it.
        let name = written.rsplit('@').next().unwrap_or(written);
        let name = name.split(':').next().unwrap_or(name).to_owned();
        let TargetHost { group, labels, traffic, env, .. } = host.clone();
        HostAccess { name, address, path: entry.path.clone(), group, labels, traffic, env }
    };
    HostsAccess {
        hosts: entry.hosts.iter().map(host).collect(),
        identity: entry.identity.clone(),
        known_hosts: entry.known_hosts.clone(),
    }
}

pub(crate) fn docker_logins(registries: &Registries) -> Vec<RegistryLogin> {
    let login = |(name, registry): (&String, &runner::Registry)| RegistryLogin {
        name: name.clone(),
        host: registry.host.clone(),
        username: registry.username.clone(),
        password: registry.password.clone(),
    };
    registries.named.iter().map(login).collect()
}

/// A target that is connected to by the first call that succeeds in it.
struct ConnectedOnUse {
    place: TargetPlace,
    instance: String,
    logins: Vec<RegistryLogin>,
    machine: Machine,
    connected: OnceCell<Arc<dyn Target>>,
}

impl ConnectedOnUse {
    async fn target(&self) -> Result<&Arc<dyn Target>, TargetError> {
        let connect = || connect(&self.place, &self.instance, &self.logins, &self.machine);
        self.connected.get_or_try_init(connect).await
    }
}

#[async_trait]
impl Target for ConnectedOnUse {
    fn caps(&self) -> Caps {
        // What each of these can, connected or not.
        Caps { start_first: !matches!(self.place, TargetPlace::Hosts(_)) }
    }

    fn switch(&self) -> Option<SwitchCaps> {
        let proxy = match &self.place {
            TargetPlace::Docker(entry) => &entry.proxy,
            TargetPlace::Hosts(entry) => &entry.proxy,
            TargetPlace::Process { proxy, .. } => proxy,
        };
        let by_proxy = proxy.as_ref().map(|_| SwitchCaps::PROXY);
        access_of(&self.place).map(|access| SwitchCaps::of(&access.spec)).or(by_proxy)
    }

    fn hosts(&self) -> Vec<HostPlace> {
        match &self.place {
            TargetPlace::Hosts(entry) => {
                hosts_access(entry).hosts.iter().map(HostAccess::place).collect()
            }
            TargetPlace::Docker(_) | TargetPlace::Process { .. } => Vec::new(),
        }
    }

    async fn observe(&self, key: &EnvironmentKey) -> Result<Observed, TargetError> {
        self.target().await?.observe(key).await
    }

    async fn inspect(&self, spec: &Spec) -> Result<Inspected, TargetError> {
        self.target().await?.inspect(spec).await
    }

    async fn preflight(&self, spec: &Spec, seen: &Observed) -> Result<Vec<Finding>, TargetError> {
        self.target().await?.preflight(spec, seen).await
    }

    async fn fetchable(&self, spec: &Spec) -> Result<Option<String>, TargetError> {
        self.target().await?.fetchable(spec).await
    }

    async fn prune(&self, project: &str, keep: &KeepSet) -> Result<Pruned, TargetError> {
        self.target().await?.prune(project, keep).await
    }

    async fn lease(
        &self,
        key: &EnvironmentKey,
        ask: &LeaseAsk,
    ) -> Result<LeaseAnswer, TargetError> {
        self.target().await?.lease(key, ask).await
    }

    async fn renew(
        &self,
        key: &EnvironmentKey,
        fence: u64,
        ask: &LeaseAsk,
    ) -> Result<(), TargetError> {
        self.target().await?.renew(key, fence, ask).await
    }

    async fn release(
        &self,
        key: &EnvironmentKey,
        fence: u64,
        ask: &LeaseAsk,
    ) -> Result<(), TargetError> {
        self.target().await?.release(key, fence, ask).await
    }

    async fn apply(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        self.target().await?.apply(op, spec, fence, cancel).await
    }

    async fn undo(&self, op: &Op, spec: &Spec, fence: u64) -> Result<OpOutcome, TargetError> {
        self.target().await?.undo(op, spec, fence).await
    }

    async fn expired(&self, key: &EnvironmentKey) -> Result<Vec<UnitId>, TargetError> {
        self.target().await?.expired(key).await
    }

    async fn entrance(&self) -> Result<Option<SocketAddr>, TargetError> {
        self.target().await?.entrance().await
    }

    async fn resolve(&self, reference: &str) -> Result<Artifact, TargetError> {
        self.target().await?.resolve(reference).await
    }

    async fn logs(&self, unit: &UnitId, options: LogOptions) -> Result<LogStream, TargetError> {
        self.target().await?.logs(unit, options).await
    }

    async fn exec(&self, unit: &UnitId, options: ExecOptions) -> Result<Terminal, TargetError> {
        self.target().await?.exec(unit, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_engine_that_is_away_is_an_error_of_the_call_and_not_of_the_start() {
        let config: Config = crate::config::load(
            "[targets.away]\ndocker = { host = \"unix:///nonexistent/docker.sock\" }\n",
            Path::new("server.toml"),
        )
        .expect("valid");
        let targets = of(&config, "instance", &[], &Machine::default());
        let key = EnvironmentKey { project: "orders".to_owned(), environment: "test".to_owned() };
        let error = targets["away"].observe(&key).await.expect_err("nobody is there");
        assert!(matches!(error, TargetError::Infrastructure { .. }), "{error}");
    }
}
