//! Units as processes of this machine, behind `shipline proxy`.
//!
//! A unit is a folder with its record, a session of its own, and a port of the
//! loopback interface. It needs no engine to go on: what is known of it is read
//! from its folder and from the kernel. It is alive if a process with its number
//! *and* its start time is; its answers count only if the listening socket of its
//! port is held by a process of its session.
//!
//! ```text
//! ROOT/units/UNIT/unit.json            what it is, and all it takes to start it
//! ROOT/units/UNIT/process              the line of /proc/PID/stat it began with
//! ROOT/units/UNIT/{stdout,stderr}.log  what it wrote
//! ROOT/releases/RELEASE/               what was placed; complete, never changed
//! ROOT/fences/PROJECT/ENVIRONMENT      the largest fence that was seen
//! ROOT/leases/PROJECT/ENVIRONMENT      who may change it, and until when
//! ```

mod create;
pub(super) mod exec;
mod gate;
mod inspect;
mod lease;
mod logs;
pub(super) mod place;
mod record;
mod run;
mod steps;
mod system;
mod unit;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::record::Root;
use self::unit::UnitView;
use super::driving::{self, done, key_of, route_name};
use super::traffic::Traffic;
use super::waiting::{Waiting, expired};
use crate::{
    Artifact, Caps, Check, EnvironmentKey, ExecOptions, Finding, Inspected, KeepSet, LeaseAnswer,
    LeaseAsk, LogOptions, LogStream, Observed, Op, OpOutcome, Pruned, RegistryLogin, Spec,
    SwitchAccess, SwitchCaps, Target, TargetError, Terminal, UnitId,
};

/// Below the ports that the kernel gives to clients.
pub const PORTS: RangeInclusive<u16> = 20_000..=29_999;
/// How often the size of what units wrote is looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(5);
/// The engine of a machine that names none.
pub(super) const ENGINE: &str = "unix:///var/run/docker.sock";

/// What of its caller's environment a unit gets: enough to find programs, and none of
/// the secrets.
pub const PASSED: [&str; 6] = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ"];

/// What a unit has of the machine it runs on. Whoever opens a target has looked it up;
/// nothing here reads an environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The engine that images are taken from, as in `DOCKER_HOST`; `None` is the usual one.
    pub engine: Option<String>,
    /// The variables of [`PASSED`] that are set.
    pub variables: BTreeMap<String, String>,
}

impl Machine {
    /// Takes from `lookup` what units get.
    pub fn of(engine: Option<String>, lookup: impl Fn(&str) -> Option<String>) -> Self {
        let passed = |name: &str| Some((name.to_owned(), lookup(name)?));
        Self {
            engine: engine.filter(|host| !host.is_empty()),
            variables: PASSED.into_iter().filter_map(passed).collect(),
        }
    }
}

/// The processes below one folder.
pub struct ProcessTarget {
    root: Root,
    instance: String,
    ports: RangeInclusive<u16>,
    traffic: Arc<Traffic>,
    machine: Machine,
    /// To pull images with.
    registries: Vec<RegistryLogin>,
    _housekeeping: AbortOnDropHandle<()>,
}

impl ProcessTarget {
    /// Takes the folder `root`, which is made when there is none. What is made there
    /// belongs to `instance`. Without `proxy_socket` nothing with `expose` can be
    /// deployed.
    pub async fn open(
        root: &Path,
        proxy_socket: Option<PathBuf>,
        instance: String,
        registries: Vec<RegistryLogin>,
        machine: Machine,
    ) -> Result<Self, TargetError> {
        let path = root.to_path_buf();
        let root = blocking(move || {
            std::fs::create_dir_all(path.join("units"))
                .and_then(|()| path.canonicalize())
                .map(Root::new)
                .map_err(|error| failed("make", &path, &error))
        })
        .await?;
        Ok(Self {
            _housekeeping: AbortOnDropHandle::new(tokio::spawn(keep_house(root.clone()))),
            root,
            instance,
            ports: PORTS,
            registries,
            traffic: Arc::new(Traffic::new(proxy_socket)),
            machine,
        })
    }

    /// Takes ports for units from another range.
    #[must_use]
    pub fn with_ports(self, ports: RangeInclusive<u16>) -> Self {
        Self { ports, ..self }
    }

    /// Puts it behind a balancer of somebody else, in place of the proxy.
    #[must_use]
    pub fn behind(self, switch: Option<SwitchAccess>) -> Self {
        match switch {
            Some(switch) => Self { traffic: Arc::new(Traffic::behind(&switch)), ..self },
            None => self,
        }
    }

    /// Ends and removes all units of an environment, and its route. Returns how
    /// many there were.
    pub async fn remove_environment(&self, key: &EnvironmentKey) -> Result<usize, TargetError> {
        let units = self.units(key).await?;
        let ours = |unit: &UnitId| units.iter().any(|known| known.seen.unit == *unit);
        self.traffic.remove(&route_name(key), ours).await?;
        for unit in &units {
            self.end(unit).await?;
            self.remove_folder(&unit.seen.unit).await?;
        }
        self.prune_releases(&key.project, &KeepSet::default()).await?;
        Ok(units.len())
    }

    async fn find(&self, unit: &UnitId) -> Result<UnitView, TargetError> {
        let found = self.view(unit).await?;
        found.ok_or_else(|| infrastructure(format!("{unit} does not exist")))
    }
}

#[async_trait]
impl Target for ProcessTarget {
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
        let mut findings = Vec::new();
        findings.extend(unsupported(spec));
        findings.extend(self.traffic.check(spec, &[]).await?);
        findings.extend(self.check_artifact(spec).await?);
        findings.extend(rustix::process::geteuid().is_root().then(|| {
            Check::User.warning(
                "units run as root, as whoever starts them does",
                "run shipline as an ordinary user there",
            )
        }));
        Ok(findings)
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
        driving::apply(self, op, spec, fence, cancel).await
    }

    async fn undo(&self, op: &Op, spec: &Spec, fence: u64) -> Result<OpOutcome, TargetError> {
        driving::undo(self, op, spec, fence).await
    }

    async fn prune(&self, project: &str, keep: &KeepSet) -> Result<Pruned, TargetError> {
        Ok(Pruned { removed: self.prune_releases(project, keep).await? })
    }

    async fn entrance(&self) -> Result<Option<SocketAddr>, TargetError> {
        self.traffic.entrance().await
    }

    async fn expired(&self, key: &EnvironmentKey) -> Result<Vec<UnitId>, TargetError> {
        let units = self.units(key).await?;
        let waits = |unit: &UnitView| Waiting {
            keep_warm: unit.file.keep_warm.std(),
            since: unit.file.stopped_at,
            seen: unit.seen.clone(),
        };
        Ok(expired(&units.iter().map(waits).collect::<Vec<_>>(), Utc::now()))
    }

    async fn resolve(&self, reference: &str) -> Result<Artifact, TargetError> {
        self.docker().await?.resolve_image(reference).await
    }

    async fn logs(&self, unit: &UnitId, options: LogOptions) -> Result<LogStream, TargetError> {
        self.find(unit).await?;
        logs::stream(self.root.unit(unit)?, options)
    }

    async fn exec(&self, unit: &UnitId, options: ExecOptions) -> Result<Terminal, TargetError> {
        exec::exec(&self.find(unit).await?.file, &options)
    }
}

/// Says which keys of `spec` a process cannot have.
fn unsupported(spec: &Spec) -> impl Iterator<Item = Finding> {
    let unit = &spec.unit;
    let keys = [
        ("resources", !unit.resources.is_empty(), "limits are of containers"),
        ("volumes", !unit.volumes.is_empty(), "a process sees the folders of its machine"),
        ("networks", !unit.networks.is_empty(), "a process has the networks of its machine"),
        ("ports", !unit.ports.is_empty(), "a process opens the ports it wants by itself"),
    ];
    keys.into_iter().filter(|(_, used, _)| *used).map(|(key, _, why)| {
        Check::Setting.finding(
            format!("a `process` target takes no `{key}`: {why}"),
            "remove it, or deploy to a `docker` target",
        )
    })
}

/// Bounds what units wrote, for as long as somebody has the target open.
async fn keep_house(root: Root) {
    loop {
        tokio::time::sleep(HOUSEKEEPING).await;
        let root = root.clone();
        let kept = blocking(move || {
            for (unit, _) in root.all()? {
                logs::rotate(&root.unit(&unit)?, logs::ROTATE_BYTES);
            }
            Ok(())
        });
        if let Err(error) = kept.await {
            tracing::warn!("{error}");
        }
    }
}

/// Does what may wait for a disk or a lock.
async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, TargetError> + Send + 'static,
) -> Result<T, TargetError> {
    match tokio::task::spawn_blocking(act).await {
        Ok(result) => result,
        Err(error) => Err(infrastructure(error.to_string())),
    }
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> TargetError {
    infrastructure(format!("cannot {what} {}: {error}", path.display()))
}

fn infrastructure(message: String) -> TargetError {
    TargetError::Infrastructure { part: "process".to_owned(), message }
}

pub(super) fn artifact_name(artifact: &Artifact) -> String {
    match artifact {
        Artifact::Digest { reference, .. } => reference.clone(),
        Artifact::ImageId(id) => id.clone(),
        Artifact::File { path, sha256 } => format!("{}@sha256:{sha256}", path.display()),
        Artifact::Nothing => String::new(),
    }
}
