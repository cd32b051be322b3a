//! Targets of the configuration, reached when they are needed: an engine that is
//! away keeps nobody from starting the server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use deploy::{
    Caps, DockerTarget, EnvironmentKey, Observed, Op, OpOutcome, RegistryLogin, Spec, Target,
    TargetError,
};
use runner::Registries;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// The targets of a configuration by name.
pub(crate) fn of(
    config: &Config,
    instance: &str,
    logins: &[RegistryLogin],
) -> BTreeMap<String, Arc<dyn Target>> {
    let target = |(name, entry): (&String, &crate::config::TargetEntry)| {
        let target = ConnectedOnUse {
            host: entry.docker.host.clone(),
            proxy: entry.docker.proxy.clone(),
            instance: instance.to_owned(),
            logins: logins.to_vec(),
            connected: OnceCell::new(),
        };
        (name.clone(), Arc::new(target) as Arc<dyn Target>)
    };
    config.targets.iter().map(target).collect()
}

/// Connects to a Docker engine that things are deployed to.
pub async fn docker_target(
    host: &str,
    proxy: Option<&Path>,
    instance: &str,
    registries: &Registries,
) -> Result<DockerTarget, TargetError> {
    let proxy = proxy.map(Path::to_path_buf);
    DockerTarget::connect(host, proxy, instance.to_owned(), docker_logins(registries)).await
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

/// A Docker engine that is connected to by the first call that succeeds in it.
struct ConnectedOnUse {
    host: String,
    proxy: Option<PathBuf>,
    instance: String,
    logins: Vec<RegistryLogin>,
    connected: OnceCell<DockerTarget>,
}

impl ConnectedOnUse {
    async fn target(&self) -> Result<&DockerTarget, TargetError> {
        let connect = || {
            let (proxy, instance) = (self.proxy.clone(), self.instance.clone());
            DockerTarget::connect(&self.host, proxy, instance, self.logins.clone())
        };
        self.connected.get_or_try_init(connect).await
    }
}

#[async_trait]
impl Target for ConnectedOnUse {
    fn caps(&self) -> Caps {
        // What every Docker engine can, connected or not.
        Caps { start_first: true }
    }

    async fn observe(&self, key: &EnvironmentKey) -> Result<Observed, TargetError> {
        self.target().await?.observe(key).await
    }

    async fn preflight(&self, spec: &Spec, seen: &Observed) -> Result<Vec<String>, TargetError> {
        self.target().await?.preflight(spec, seen).await
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
        let targets = of(&config, "instance", &[]);
        let key = EnvironmentKey { project: "orders".to_owned(), environment: "test".to_owned() };
        let error = targets["away"].observe(&key).await.expect_err("nobody is there");
        assert!(matches!(error, TargetError::Infrastructure { .. }), "{error}");
    }
}
