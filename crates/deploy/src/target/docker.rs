//! Units as containers of a Docker engine, behind `shipline proxy`.
//!
//! Each unit has a fixed address in a network of the instance, and no published
//! port: requests reach it through the proxy alone. Which container a daemon
//! restart revives is told by restart policies: a unit gets `unless-stopped`
//! when it is admitted and `no` before it is stopped, so each slot has one
//! container that comes back, and a retired one never does.
//!
//! Docker has no compare-and-swap. Every change therefore looks first whether
//! the environment has units of a larger fence, and asks the proxy whose the lease
//! is; a stop or removal, whether anything is routed to the unit. Without a proxy there
//! is no lease: two instances have nothing on an engine that both would change.

mod access;
pub(super) mod call;
mod container;
pub(super) mod create;
mod exec;
mod export;
mod gate;
mod image;
mod inspect;
pub(super) mod logs;
mod network;
pub(super) mod preflight;
pub(super) mod settings;
mod ssh;
mod steps;
mod traffic;
pub(super) mod unit;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use chrono::Utc;
use futures_util::future::try_join_all;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use self::access::Connected;
pub use self::access::EngineAccess;
pub(in crate::target) use self::access::words;
use self::ssh::Tunnel;
use self::unit::UnitView;
use super::driving::{self, done, key_of, route_name};
use super::traffic::Traffic;
use super::waiting::{Waiting, expired};
use crate::{
    Artifact, Caps, EnvironmentKey, ExecOptions, Finding, Inspected, KeepSet, LeaseAnswer,
    LeaseAsk, LogOptions, LogStream, Observed, Op, OpOutcome, Pruned, Spec, SwitchAccess,
    SwitchCaps, Target, TargetError, Terminal, UnitId,
};

pub(super) const CALL: Duration = Duration::from_secs(30);
/// A password for the registry of a host.
#[derive(Clone)]
pub struct RegistryLogin {
    /// As a pipeline names it.
    pub name: String,
    /// With port, as in an image reference.
    pub host: String,
    pub username: String,
    pub password: String,
}

impl std::fmt::Debug for RegistryLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryLogin")
            .field("name", &self.name)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// One Docker engine.
pub struct DockerTarget {
    pub(super) docker: Docker,
    /// Ends with the target.
    tunnel: Option<Tunnel>,
    /// Whether the engine is on this machine for certain.
    pub(super) is_here: bool,
    traffic: Traffic,
    instance: String,
    registries: Vec<RegistryLogin>,
    /// To find a free address and take it is one step.
    allotting: Mutex<()>,
}

impl DockerTarget {
    /// Connects to an engine. What is made there belongs to `instance`. Without
    /// `proxy_socket` nothing with `expose` can be deployed.
    pub async fn connect(
        access: impl Into<EngineAccess>,
        proxy_socket: Option<PathBuf>,
        instance: String,
        registries: Vec<RegistryLogin>,
    ) -> Result<Self, TargetError> {
        let access = access.into();
        let Connected { docker, tunnel } = access::connect(&access).await?;
        Ok(Self {
            docker,
            tunnel,
            is_here: access.host.starts_with("unix://"),
            traffic: Traffic::new(proxy_socket),
            instance,
            registries,
            allotting: Mutex::new(()),
        })
    }

    /// Puts it behind a balancer of somebody else, in place of the proxy.
    #[must_use]
    pub fn behind(self, switch: Option<SwitchAccess>) -> Self {
        match switch {
            Some(switch) => Self { traffic: Traffic::behind(&switch), ..self },
            None => self,
        }
    }

    /// Removes everything of an environment: its route, its units, the pins of
    /// images no other environment of the project uses, and the network once it
    /// has no units. Returns how many units there were.
    pub async fn remove_environment(&self, key: &EnvironmentKey) -> Result<usize, TargetError> {
        let units = self.units(key).await?;
        let ours = |unit: &UnitId| units.iter().any(|known| known.seen.unit == *unit);
        self.traffic.remove(&route_name(key), ours).await?;
        try_join_all(units.iter().map(|unit| self.remove_container(&unit.seen.unit))).await?;
        self.unpin_unused(key).await?;
        self.remove_network_if_unused().await?;
        Ok(units.len())
    }
}

#[async_trait]
impl Target for DockerTarget {
    fn caps(&self) -> Caps {
        Caps { start_first: true }
    }

    fn switch(&self) -> Option<SwitchCaps> {
        self.traffic.caps()
    }

    async fn observe(&self, key: &EnvironmentKey) -> Result<Observed, TargetError> {
        let units = self.units(key).await?;
        let units = units.into_iter().map(|unit| unit.seen).collect();
        Ok(Observed { units, ..Observed::default() })
    }

    async fn inspect(&self, spec: &Spec) -> Result<Inspected, TargetError> {
        self.inspect_units(spec).await
    }

    async fn preflight(&self, spec: &Spec, seen: &Observed) -> Result<Vec<Finding>, TargetError> {
        self.findings(spec, seen).await
    }

    async fn fetchable(&self, spec: &Spec) -> Result<Option<String>, TargetError> {
        Ok(self.check_image(spec).await?.map(|finding| finding.cause))
    }

    async fn lease(
        &self,
        key: &EnvironmentKey,
        ask: &LeaseAsk,
    ) -> Result<LeaseAnswer, TargetError> {
        let units = self.units(key).await?;
        let seen = units.iter().map(|unit| unit.seen.fence).max().unwrap_or(0);
        self.traffic.lease(key, &LeaseAsk { above: ask.above.max(seen), ..ask.clone() }).await
    }

    async fn renew(
        &self,
        key: &EnvironmentKey,
        fence: u64,
        ask: &LeaseAsk,
    ) -> Result<(), TargetError> {
        self.traffic.renew(key, fence, ask).await
    }

    async fn release(
        &self,
        key: &EnvironmentKey,
        fence: u64,
        _ask: &LeaseAsk,
    ) -> Result<(), TargetError> {
        self.traffic.release(key, fence).await
    }

    async fn apply(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        driving::apply(self, op, spec, fence, cancel).await
    }

    async fn prune(&self, project: &str, keep: &KeepSet) -> Result<Pruned, TargetError> {
        Ok(Pruned { removed: self.unpin_but(project, keep).await? })
    }

    async fn undo(&self, op: &Op, spec: &Spec, fence: u64) -> Result<OpOutcome, TargetError> {
        driving::undo(self, op, spec, fence).await
    }

    async fn entrance(&self) -> Result<Option<SocketAddr>, TargetError> {
        self.traffic.entrance().await
    }

    async fn expired(&self, key: &EnvironmentKey) -> Result<Vec<UnitId>, TargetError> {
        let units = self.units(key).await?;
        let waits = |unit: &UnitView| Waiting {
            keep_warm: unit.keep_warm,
            since: unit.finished_at,
            seen: unit.seen.clone(),
        };
        Ok(expired(&units.iter().map(waits).collect::<Vec<_>>(), Utc::now()))
    }

    async fn resolve(&self, reference: &str) -> Result<Artifact, TargetError> {
        self.resolve_image(reference).await
    }

    async fn logs(&self, unit: &UnitId, options: LogOptions) -> Result<LogStream, TargetError> {
        self.own(unit).await?;
        Ok(self.log_stream(unit, options))
    }

    async fn exec(&self, unit: &UnitId, options: ExecOptions) -> Result<Terminal, TargetError> {
        self.own(unit).await?;
        self.run_beside(unit, options).await
    }
}
