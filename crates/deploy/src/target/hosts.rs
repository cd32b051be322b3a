//! Units as releases on hosts behind SSH: files that a service of the host reads through
//! a symbolic link.
//!
//! A unit is one release on one host with one configuration, and its slot is the host's
//! place in the target. A host serves one at a time, so its old unit stops before its
//! new one starts, which is when the link is switched.
//!
//! ```text
//! PATH/releases/RELEASE/                  what was placed; complete, never changed
//! PATH/releases/RELEASE/RELEASE.json      what it is, with the hashes of its files
//! PATH/shared/                            what stays from release to release
//! PATH/current -> releases/RELEASE
//! PATH/.shipline/fence                    the largest fence that was seen
//! PATH/.shipline/lease                    who has the lease, and when it was renewed
//! PATH/.shipline/previous                 where `current` led before the last switch
//! PATH/.shipline/started                  the unit whose service runs
//! PATH/.shipline/admitted                 of an environment without `expose`: the slot's unit
//! PATH/.shipline/env                      the variables of the unit that was started last
//! PATH/.shipline/units/UNIT/unit.json     what it is, and all it takes to start it again
//! PATH/.shipline/units/UNIT/{env,output}  its variables, and what its hooks wrote
//! PATH/.shipline/units/UNIT/cleared       whether the host was in traffic before it
//! ```
//!
//! Everything on the host is done by one script, under a lock of the folder and its
//! fence; nothing of ours stays there.

mod balancer;
mod bootstrap;
pub(crate) mod connection;
mod gate;
mod lease;
mod look;
mod place;
mod preflight;
mod profile;
mod release;
mod sight;
mod steps;
pub(crate) mod trouble;
mod unit;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use tokio_util::sync::CancellationToken;

pub use self::bootstrap::{Acceptance, Bootstrapped, HostKey, KeyState};
use self::connection::Host;
use self::place::Staged;
pub use self::profile::{HostSettings, Profile};
use self::sight::Sight;
use self::unit::UnitView;
use super::driving::{done, key_of};
use super::process::ENGINE;
use super::traffic::Traffic;
use super::waiting::{Waiting, expired};
use crate::{
    Artifact, Caps, EnvironmentKey, ExecOptions, Finding, HostPlace, KeepSet, LeaseAnswer,
    LeaseAsk, LogOptions, LogStream, Machine, Observed, Op, OpAction, OpOutcome, Pruned,
    RegistryLogin, Spec, SwitchCaps, Target, TargetError, Terminal, UnitId, UnitState,
};

/// Where projects are on a host that names no folder.
const BASE: &str = "/srv";
/// A call that neither carries files nor runs a hook, with the time to connect.
const CALL: Duration = Duration::from_secs(30);
/// A call that may run one.
const HOOK: Duration = Duration::from_secs(88);

/// One machine that releases are put onto.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAccess {
    /// What people call it.
    pub name: String,
    /// `HOST`, `USER@HOST` or `USER@HOST:PORT`.
    pub address: String,
    /// The folder of the releases; without it, `/srv/PROJECT`.
    pub path: Option<PathBuf>,
    pub group: Option<String>,
    /// `region=north`.
    pub labels: Vec<String>,
    /// Whether the switch may route to it. Where not, it is deployed and asked for its
    /// health like the others, and only we visit it.
    pub traffic: bool,
    /// Variables of this host alone.
    pub env: BTreeMap<String, String>,
}

impl HostAccess {
    /// Returns it as people call and choose it.
    pub fn place(&self) -> HostPlace {
        let Self { name, group, labels, env, .. } = self.clone();
        HostPlace { name, group, labels, env }
    }

    fn host_and_port(&self) -> (&str, Option<&str>) {
        let (_, place) = self.address.rsplit_once('@').unwrap_or(("", &self.address));
        match place.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        }
    }
}

/// The hosts of a target, in the order they are changed in, and what proves who we are
/// to them and they to us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostsAccess {
    pub hosts: Vec<HostAccess>,
    /// The private key; without it, those of the SSH client's own configuration and agent.
    pub identity: Option<PathBuf>,
    /// Hosts whose keys are known; without it, those of the user who runs this.
    pub known_hosts: Option<PathBuf>,
}

/// Hosts behind SSH.
pub struct HostsTarget {
    hosts: Vec<Arc<Host>>,
    instance: String,
    traffic: Traffic,
    /// What was seen last.
    sight: Sight,
    staged: tokio::sync::Mutex<Option<Arc<Staged>>>,
    /// The engine that images are taken from, and what it needs to pull them.
    engine: String,
    registries: Vec<RegistryLogin>,
}

impl HostsTarget {
    /// Takes the hosts, each of which is connected to when it is first needed. What is
    /// made there belongs to `instance`. Without `proxy_socket` nothing with `expose`
    /// can be deployed.
    pub fn new(
        access: &HostsAccess,
        proxy_socket: Option<PathBuf>,
        instance: String,
        registries: Vec<RegistryLogin>,
        machine: &Machine,
    ) -> Self {
        let host =
            |(slot, host): (u32, &HostAccess)| Arc::new(Host::new(slot, host.clone(), access));
        let engine = machine.engine.clone();
        Self {
            hosts: (0..).zip(&access.hosts).map(host).collect(),
            instance,
            traffic: Traffic::new(proxy_socket),
            sight: Sight::default(),
            staged: tokio::sync::Mutex::new(None),
            engine: engine.unwrap_or_else(|| ENGINE.to_owned()),
            registries,
        }
    }

    fn host(&self, slot: u32) -> Result<&Arc<Host>, TargetError> {
        let host = usize::try_from(slot).ok().and_then(|slot| self.hosts.get(slot));
        host.ok_or_else(|| infrastructure(format!("there is no host for slot {slot}")))
    }

    /// The hosts that a release is wanted on.
    fn wanted(&self, spec: &Spec) -> &[Arc<Host>] {
        let count = usize::try_from(spec.replicas).unwrap_or(usize::MAX);
        &self.hosts[..count.min(self.hosts.len())]
    }

    /// Refuses to act under a fence that is not the largest, and returns the unit that is
    /// acted on. Where the command that follows looks by itself, what is remembered of the
    /// unit is enough.
    async fn guard(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
    ) -> Result<Option<UnitView>, TargetError> {
        if matches!(op.action, OpAction::Start | OpAction::Stop)
            && let Some(known) = self.remembered(op.slot, &op.unit)
        {
            return Ok(Some(known));
        }
        let units = self.units_of(self.host(op.slot)?, &key_of(spec), fence).await?;
        Ok(units.into_iter().find(|unit| unit.seen.unit == op.unit))
    }

    /// As [`Self::guard`], of a unit that must be there.
    async fn there(&self, op: &Op, spec: &Spec, fence: u64) -> Result<UnitView, TargetError> {
        let unit = self.guard(op, spec, fence).await?;
        unit.ok_or_else(|| infrastructure(format!("{} does not exist", op.unit)))
    }

    /// Gives traffic back to a unit that still runs.
    async fn undo_drain(
        &self,
        unit: &UnitView,
        op: &Op,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        if unit.seen.admitted || unit.seen.state != UnitState::Running {
            return Ok(done(""));
        }
        self.admit(&unit.seen.unit, op, spec, fence).await
    }
}

#[async_trait]
impl Target for HostsTarget {
    fn caps(&self) -> Caps {
        Caps { start_first: false }
    }

    fn switch(&self) -> Option<SwitchCaps> {
        self.traffic.caps()
    }

    fn hosts(&self) -> Vec<HostPlace> {
        self.hosts.iter().map(|host| host.access.place()).collect()
    }

    async fn observe(&self, key: &EnvironmentKey) -> Result<Observed, TargetError> {
        let (units, away) = self.seen(key).await?;
        Ok(Observed { units: units.into_iter().map(|unit| unit.seen).collect(), away })
    }

    async fn preflight(&self, spec: &Spec, _seen: &Observed) -> Result<Vec<Finding>, TargetError> {
        self.findings(spec).await
    }

    async fn fetchable(&self, spec: &Spec) -> Result<Option<String>, TargetError> {
        Ok(self.check_artifact(spec).await?.map(|finding| finding.cause))
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
        match op.action {
            // Each host refuses by itself what is about all of them.
            OpAction::Fetch => self.fetch(op, spec, fence, cancel).await,
            OpAction::Close => self.traffic.close(spec, fence).await,
            // The engine asks by itself, what is observed tells it whom.
            OpAction::VerifyUnit | OpAction::Verify => Ok(done("")),
            OpAction::Create => {
                let unit = self.guard(op, spec, fence).await?;
                self.create(unit.as_ref(), op, spec, fence).await
            }
            OpAction::Start => self.start(&self.there(op, spec, fence).await?, spec, fence).await,
            OpAction::Gate => {
                let unit = self.there(op, spec, fence).await?;
                self.kept_out(&unit, false, spec, fence, self.gate(&unit, spec, cancel)).await
            }
            OpAction::Admit => self.admit(&op.unit, op, spec, fence).await,
            OpAction::Bake => self.bake(&self.there(op, spec, fence).await?, spec, cancel).await,
            OpAction::Drain => tokio::select! {
                drained = self.leave(op, spec, fence) => drained,
                // Requests in flight are left alone.
                () = cancel.cancelled() => Ok(done("cancelled")),
            },
            OpAction::Stop => match self.guard(op, spec, fence).await? {
                Some(unit) => self.stop(&unit, spec, fence).await,
                None => Ok(done("is gone")),
            },
            OpAction::Remove => match self.guard(op, spec, fence).await? {
                Some(unit) => self.remove(&unit, spec, fence).await,
                None => Ok(done("removed")),
            },
        }
    }

    async fn undo(&self, op: &Op, spec: &Spec, fence: u64) -> Result<OpOutcome, TargetError> {
        if op.action.is_of_environment() {
            // What was placed stays for the next try; the fence is looked at all the same.
            let looks = self.wanted(spec).iter().map(|host| async move {
                let looked = host.look(&spec.project, Some(fence)).await;
                looked.map_err(|trouble| trouble.error(&host.access.name))
            });
            let looked = futures_util::future::join_all(looks).await;
            let fenced = looked.into_iter().filter_map(Result::err);
            let mut fenced = fenced.filter(|error| matches!(error, TargetError::Fenced(_)));
            return fenced.next().map_or(Ok(done("")), Err);
        }
        let units = self.units_of(self.host(op.slot)?, &key_of(spec), fence).await?;
        let Some(unit) = units.iter().find(|unit| unit.seen.unit == op.unit) else {
            return Ok(done("is gone"));
        };
        match op.action {
            OpAction::Create => self.undo_create(unit, spec, fence).await,
            OpAction::Start => self.stop(unit, spec, fence).await,
            OpAction::Admit => self.undo_admit(unit, &units, op, spec, fence).await,
            OpAction::Drain => self.undo_drain(unit, op, spec, fence).await,
            OpAction::Stop => self.start(unit, spec, fence).await,
            // They change nothing that could be taken back.
            OpAction::Fetch
            | OpAction::Gate
            | OpAction::Close
            | OpAction::VerifyUnit
            | OpAction::Verify
            | OpAction::Bake
            | OpAction::Remove => Ok(done("")),
        }
    }

    async fn expired(&self, key: &EnvironmentKey) -> Result<Vec<UnitId>, TargetError> {
        let units = self.units(key).await?;
        let waits = |unit: &UnitView| Waiting {
            keep_warm: unit.file.keep_warm.std(),
            since: unit.stopped_at,
            seen: unit.seen.clone(),
        };
        Ok(expired(&units.iter().map(waits).collect::<Vec<_>>(), Utc::now()))
    }

    async fn resolve(&self, reference: &str) -> Result<Artifact, TargetError> {
        self.docker().await?.resolve_image(reference).await
    }

    async fn logs(&self, unit: &UnitId, options: LogOptions) -> Result<LogStream, TargetError> {
        self.read(unit, options).await
    }

    async fn exec(&self, unit: &UnitId, options: ExecOptions) -> Result<Terminal, TargetError> {
        self.run(unit, &options).await
    }

    async fn prune(&self, project: &str, keep: &KeepSet) -> Result<Pruned, TargetError> {
        self.prune_releases(project, keep).await
    }
}

/// A word that a shell reads back as it was.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn infrastructure(message: String) -> TargetError {
    TargetError::Infrastructure { part: "hosts".to_owned(), message }
}
