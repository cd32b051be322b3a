//! Units: their labels, and how they are seen.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use chrono::{DateTime, Utc};

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerSummary,
    HealthStatusEnum, RestartPolicyNameEnum,
};
use bollard::query_parameters::ListContainersOptionsBuilder;
use futures_util::future::try_join_all;

use super::call::call;
use super::{CALL, DockerTarget};
use crate::switch::Member;
use crate::{EnvironmentKey, ObservedUnit, TargetError, UnitId, UnitState};

pub(in crate::target) const INSTANCE: &str = "shipline.instance";
pub(in crate::target) const KIND: &str = "shipline.kind";
pub(in crate::target) const PROJECT: &str = "shipline.project";
pub(in crate::target) const ENVIRONMENT: &str = "shipline.env";
pub(in crate::target) const SLOT: &str = "shipline.slot";
pub(in crate::target) const RELEASE: &str = "shipline.release";
pub(in crate::target) const DEPLOYMENT: &str = "shipline.deploy";
pub(in crate::target) const FENCE: &str = "shipline.fence";
pub(in crate::target) const SPEC: &str = "shipline.spec";
/// The fixed address; a label, since it must be known of stopped units too.
pub(in crate::target) const ADDRESS: &str = "shipline.address";
/// How many seconds the unit it replaced is kept.
pub(in crate::target) const KEEP_WARM: &str = "shipline.keep-warm";
/// The port requests go to; units without `expose` have none.
pub(in crate::target) const PORT: &str = "shipline.port";
/// Where a unit without a route answers, if its probe knows.
pub(in crate::target) const PROBE_PORT: &str = "shipline.probe-port";

/// A container that is a unit.
#[derive(Clone, Debug)]
pub(in crate::target) struct UnitView {
    pub(super) seen: ObservedUnit,
    pub(super) address: Ipv4Addr,
    /// Of `expose`, when it was made.
    pub(super) port: Option<u16>,
    /// Whether a daemon restart revives it.
    pub(super) comes_back: bool,
    /// From TERM to KILL, as it was made.
    pub(super) stop_timeout: Duration,
    /// How long the unit it replaced is kept.
    pub(super) keep_warm: Duration,
    /// When it ended, if it did.
    pub(super) finished_at: Option<DateTime<Utc>>,
}

/// What a container has that says nothing of it.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

impl UnitView {
    pub(super) const fn is_routed(&self) -> bool {
        self.port.is_some()
    }

    /// As a switch knows it, if it is routed to.
    pub(super) fn member(&self) -> Option<Member> {
        let address = SocketAddr::new(IpAddr::V4(self.address), self.port?);
        let unit = self.seen.unit.clone();
        Some(Member { name: unit.0.clone(), unit, address })
    }
}

impl DockerTarget {
    /// Returns the units of an environment, by slot, then name.
    pub(super) async fn units(&self, key: &EnvironmentKey) -> Result<Vec<UnitView>, TargetError> {
        let labels = vec![
            format!("{INSTANCE}={}", self.instance),
            format!("{KIND}=unit"),
            format!("{PROJECT}={}", key.project),
            format!("{ENVIRONMENT}={}", key.environment),
        ];
        let containers = self.inspect_all(labels).await?;
        let mut units: Vec<_> = containers.iter().filter_map(view).collect();
        let routed = match units.iter().any(UnitView::is_routed) {
            true => {
                let members: Vec<_> = units.iter().filter_map(UnitView::member).collect();
                self.traffic.in_traffic(key, &members).await?
            }
            false => std::collections::BTreeSet::new(),
        };
        for unit in &mut units {
            // Without a route, the policy is the mark of the slot's current unit.
            unit.seen.admitted = match unit.is_routed() {
                true => routed.contains(&unit.seen.unit),
                false => unit.comes_back,
            };
        }
        units.sort_by(|a, b| (a.seen.slot, &a.seen.unit).cmp(&(b.seen.slot, &b.seen.unit)));
        Ok(units)
    }

    /// Returns the labels of all units of this instance, and with them the
    /// addresses that are taken.
    pub(super) async fn taken_addresses(&self) -> Result<HashMap<String, Ipv4Addr>, TargetError> {
        let labels = vec![format!("{INSTANCE}={}", self.instance), format!("{KIND}=unit")];
        let listed = self.list(labels).await?;
        let address = |container: ContainerSummary| {
            let address = container.labels?.get(ADDRESS)?.parse().ok()?;
            Some((container.id?, address))
        };
        Ok(listed.into_iter().filter_map(address).collect())
    }

    /// Returns the environments of this instance that have units here, sorted.
    pub async fn environments(&self) -> Result<Vec<EnvironmentKey>, TargetError> {
        let labels = vec![format!("{INSTANCE}={}", self.instance), format!("{KIND}=unit")];
        let listed = self.list(labels).await?;
        let key = |unit: ContainerSummary| {
            let mut labels = unit.labels?;
            let (project, environment) = (labels.remove(PROJECT)?, labels.remove(ENVIRONMENT)?);
            Some(EnvironmentKey { project, environment })
        };
        let keys: std::collections::BTreeSet<_> = listed.into_iter().filter_map(key).collect();
        Ok(keys.into_iter().collect())
    }

    /// Returns the releases whose units a project of this instance still has, in any
    /// environment.
    pub(super) async fn releases_of(&self, project: &str) -> Result<Vec<String>, TargetError> {
        let labels = vec![
            format!("{INSTANCE}={}", self.instance),
            format!("{KIND}=unit"),
            format!("{PROJECT}={project}"),
        ];
        let listed = self.list(labels).await?;
        Ok(listed.into_iter().filter_map(|unit| unit.labels?.remove(RELEASE)).collect())
    }

    /// Lists the containers with these labels, stopped ones too.
    async fn list(&self, labels: Vec<String>) -> Result<Vec<ContainerSummary>, TargetError> {
        let filters = HashMap::from([("label", labels)]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        Ok(call(CALL, "list units", self.docker.list_containers(Some(options))).await?)
    }

    async fn inspect_all(
        &self,
        labels: Vec<String>,
    ) -> Result<Vec<ContainerInspectResponse>, TargetError> {
        let listed = self.list(labels).await?;
        let ids = listed.into_iter().filter_map(|container| container.id);
        let inspected = ids.map(async |id| match self.inspect(&id).await {
            Ok(container) => Ok(Some(container)),
            // Removed since it was listed.
            Err(error) if error.status == Some(404) => Ok(None),
            Err(error) => Err(TargetError::from(error)),
        });
        Ok(try_join_all(inspected).await?.into_iter().flatten().collect())
    }
}

/// Reads a unit off its container; `None` for one whose labels are not ours.
fn view(container: &ContainerInspectResponse) -> Option<UnitView> {
    let label = |name| label(container, name);
    let name = container.name.as_deref()?.trim_start_matches('/').to_owned();
    let address: Ipv4Addr = label(ADDRESS)?.parse().ok()?;
    let port: Option<u16> = label(PORT).and_then(|port| port.parse().ok());
    let answers = port.or_else(|| label(PROBE_PORT)?.parse().ok());
    let state = state_of(container.state.as_ref()?);
    let runs = matches!(state, UnitState::Running | UnitState::Unhealthy);
    let policy = container.host_config.as_ref()?.restart_policy.as_ref();
    let comes_back =
        policy.and_then(|policy| policy.name) == Some(RestartPolicyNameEnum::UNLESS_STOPPED);
    let seen = ObservedUnit {
        unit: UnitId(name),
        slot: label(SLOT)?.parse().ok()?,
        release: label(RELEASE)?.parse().ok()?,
        deployment: label(DEPLOYMENT)?.parse().ok()?,
        spec: label(SPEC)?,
        state,
        admitted: false,
        address: answers.filter(|_| runs).map(|port| SocketAddr::new(IpAddr::V4(address), port)),
        image: container.config.as_ref()?.image.clone().unwrap_or_default(),
        fence: label(FENCE)?.parse().ok()?,
    };
    let seconds = container.config.as_ref()?.stop_timeout;
    let stop_timeout = seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map_or(STOP_TIMEOUT, Duration::from_secs);
    let seconds = label(KEEP_WARM).and_then(|seconds| seconds.parse().ok());
    let keep_warm = seconds.map_or(Duration::MAX, Duration::from_secs);
    // One that never ran ended in the year 1.
    let finished_at = container.state.as_ref()?.finished_at.as_deref();
    let finished_at = finished_at
        .and_then(|at| DateTime::parse_from_rfc3339(at).ok())
        .map(|at| at.with_timezone(&Utc))
        .filter(|at| *at > DateTime::UNIX_EPOCH);
    Some(UnitView { seen, address, port, comes_back, stop_timeout, keep_warm, finished_at })
}

pub(super) fn label(container: &ContainerInspectResponse, name: &str) -> Option<String> {
    container.config.as_ref()?.labels.as_ref()?.get(name).cloned()
}

fn state_of(state: &ContainerState) -> UnitState {
    use ContainerStateStatusEnum as Status;
    let health = state.health.as_ref().and_then(|health| health.status);
    match state.status {
        Some(Status::CREATED) => UnitState::Created,
        Some(Status::RUNNING) if health == Some(HealthStatusEnum::UNHEALTHY) => {
            UnitState::Unhealthy
        }
        Some(Status::RUNNING) => UnitState::Running,
        Some(Status::RESTARTING | Status::PAUSED) => UnitState::Unhealthy,
        _ => UnitState::Exited,
    }
}
