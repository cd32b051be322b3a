//! Units as services of a Docker Swarm, one for each slot: the swarm places a unit on a
//! node and keeps it alive, and everything else is decided here, as with every target.
//!
//! A service of many replicas would be rolled by the swarm itself, which stops an old
//! task as soon as a new one runs and asks nobody whether requests are in flight. With a
//! service for each slot a unit can be gated, admitted, drained and gone back to.
//!
//! A unit answers on a port of the node it runs on, the same on every node: it can be
//! reached from other machines, and stays where it is when the swarm starts it again.
//!
//! A service changes only if nobody else has changed it since it was looked at. Who may
//! change an environment is told by a lease, which is a config object of the swarm.

mod beside;
mod change;
mod create;
mod gate;
mod lease;
mod preflight;
mod steps;
mod task;
mod unit;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

use async_trait::async_trait;
use bollard::Docker;
use chrono::Utc;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use self::unit::UnitView;
use super::docker::{DockerTarget, EngineAccess, RegistryLogin};
use super::driving;
use super::traffic::Traffic;
use super::waiting::{Waiting, expired};
use crate::{
    Artifact, Caps, EnvironmentKey, ExecOptions, Finding, Inspected, KeepSet, LeaseAnswer,
    LeaseAsk, LogOptions, LogStream, Observed, Op, OpOutcome, Pruned, Spec, SwitchAccess,
    SwitchCaps, Target, TargetError, Terminal, UnitId,
};

/// One swarm, reached through a manager.
pub struct SwarmTarget {
    /// The manager: its images, its containers, its credentials for registries.
    engine: DockerTarget,
    traffic: Traffic,
    instance: String,
    /// To find a free port and take it is one step.
    allotting: Mutex<()>,
}

impl SwarmTarget {
    /// Connects to a manager. What is made there belongs to `instance`. Without
    /// `proxy_socket` nothing with `expose` can be deployed.
    pub async fn connect(
        access: impl Into<EngineAccess>,
        proxy_socket: Option<PathBuf>,
        instance: String,
        registries: Vec<RegistryLogin>,
    ) -> Result<Self, TargetError> {
        let engine = DockerTarget::connect(access, None, instance.clone(), registries).await?;
        let traffic = Traffic::new(proxy_socket);
        Ok(Self { engine, traffic, instance, allotting: Mutex::new(()) })
    }

    /// Puts it behind a balancer of somebody else, in place of the proxy.
    #[must_use]
    pub fn behind(self, switch: Option<SwitchAccess>) -> Self {
        match switch {
            Some(switch) => Self { traffic: Traffic::behind(&switch), ..self },
            None => self,
        }
    }

    const fn docker(&self) -> &Docker {
        &self.engine.docker
    }

    /// Removes everything of an environment: its route, its units, its lease, and the pins
    /// of images that nothing else of the project needs. Returns how many units there were.
    pub async fn remove_environment(&self, key: &EnvironmentKey) -> Result<usize, TargetError> {
        let units = self.units(key).await?;
        let ours = |unit: &UnitId| units.iter().any(|known| known.seen.unit == *unit);
        self.traffic.remove(&driving::route_name(key), ours).await?;
        for unit in &units {
            self.remove_service(&unit.seen.unit).await?;
        }
        self.remove_lease(key).await?;
        self.unpin_unused(&key.project, &KeepSet::default()).await?;
        Ok(units.len())
    }

    async fn unpin_unused(
        &self,
        project: &str,
        keep: &KeepSet,
    ) -> Result<Vec<String>, TargetError> {
        let used = self.releases_of(project).await?;
        self.engine.unpin(project, keep, &used).await
    }
}

#[async_trait]
impl Target for SwarmTarget {
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

    async fn preflight(&self, spec: &Spec, _seen: &Observed) -> Result<Vec<Finding>, TargetError> {
        self.findings(spec).await
    }

    async fn fetchable(&self, spec: &Spec) -> Result<Option<String>, TargetError> {
        Ok(self.check_image(spec).await?.map(|finding| finding.cause))
    }

    async fn lease(
        &self,
        key: &EnvironmentKey,
        ask: &LeaseAsk,
    ) -> Result<LeaseAnswer, TargetError> {
        self.take_lease(key, ask).await
    }

    async fn renew(
        &self,
        key: &EnvironmentKey,
        fence: u64,
        ask: &LeaseAsk,
    ) -> Result<(), TargetError> {
        self.renew_lease(key, fence, ask).await
    }

    async fn release(
        &self,
        key: &EnvironmentKey,
        fence: u64,
        ask: &LeaseAsk,
    ) -> Result<(), TargetError> {
        self.release_lease(key, fence, ask).await
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

    async fn undo(&self, op: &Op, spec: &Spec, fence: u64) -> Result<OpOutcome, TargetError> {
        driving::undo(self, op, spec, fence).await
    }

    async fn expired(&self, key: &EnvironmentKey) -> Result<Vec<UnitId>, TargetError> {
        let units = self.units(key).await?;
        let waits = |unit: &UnitView| Waiting {
            keep_warm: unit.keep_warm,
            since: unit.stopped_at,
            seen: unit.seen.clone(),
        };
        Ok(expired(&units.iter().map(waits).collect::<Vec<_>>(), Utc::now()))
    }

    async fn entrance(&self) -> Result<Option<SocketAddr>, TargetError> {
        self.traffic.entrance().await
    }

    async fn resolve(&self, reference: &str) -> Result<Artifact, TargetError> {
        self.engine.resolve(reference).await
    }

    async fn logs(&self, unit: &UnitId, options: LogOptions) -> Result<LogStream, TargetError> {
        self.own(unit).await?;
        Ok(self.log_stream(unit, options))
    }

    async fn exec(&self, unit: &UnitId, options: ExecOptions) -> Result<Terminal, TargetError> {
        self.own(unit).await?;
        self.run_in_task(unit, options).await
    }

    async fn prune(&self, project: &str, keep: &KeepSet) -> Result<Pruned, TargetError> {
        Ok(Pruned { removed: self.unpin_unused(project, keep).await? })
    }
}
