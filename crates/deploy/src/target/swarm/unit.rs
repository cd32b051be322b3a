//! Units: services of a swarm by their labels, and the task each one has.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use bollard::models::{Service, Task};
use bollard::query_parameters::{ListServicesOptionsBuilder, ListTasksOptionsBuilder};
use chrono::{DateTime, Utc};

use super::SwarmTarget;
use super::task::{Nodes, Stage, newest, stage_of};
use crate::switch::Member;
use crate::target::docker::CALL;
use crate::target::docker::call::call;
use crate::target::docker::unit::{
    DEPLOYMENT, ENVIRONMENT, FENCE, INSTANCE, KEEP_WARM, KIND, PORT, PROBE_PORT, PROJECT, RELEASE,
    SLOT, SPEC,
};
use crate::{EnvironmentKey, ObservedUnit, TargetError, UnitId, UnitState};

/// Of a unit without a route: it is the one of its slot.
pub(super) const CURRENT: &str = "shipline.current";
/// When it was stopped, for how long it waits.
pub(super) const STOPPED: &str = "shipline.stopped";

/// A service that is a unit.
#[derive(Clone, Debug)]
pub(in crate::target) struct UnitView {
    pub(super) seen: ObservedUnit,
    pub(super) service: Service,
    /// Those that the swarm still remembers.
    pub(super) tasks: Vec<Task>,
    /// Where its node answers on which port of the unit, while it runs.
    pub(super) ports: HashMap<u16, SocketAddr>,
    /// Of `expose`, when it was made.
    pub(super) port: Option<u16>,
    pub(super) keep_warm: Duration,
    pub(super) stopped_at: Option<DateTime<Utc>>,
}

impl UnitView {
    pub(super) const fn is_routed(&self) -> bool {
        self.port.is_some()
    }

    /// As a switch knows it: with the address it has, or one of nobody while it has none.
    pub(super) fn member(&self) -> Option<Member> {
        let port = self.port?;
        let address = self.ports.get(&port).copied();
        let address = address.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], port)));
        let unit = self.seen.unit.clone();
        Some(Member { name: unit.0.clone(), unit, address })
    }

    pub(super) fn label(&self, name: &str) -> Option<&str> {
        label(&self.service, name)
    }
}

impl SwarmTarget {
    /// Returns the units of an environment, by slot, then name.
    pub(super) async fn units(&self, key: &EnvironmentKey) -> Result<Vec<UnitView>, TargetError> {
        let services = self
            .services(vec![
                format!("{INSTANCE}={}", self.instance),
                format!("{KIND}=unit"),
                format!("{PROJECT}={}", key.project),
                format!("{ENVIRONMENT}={}", key.environment),
            ])
            .await?;
        if services.is_empty() {
            return Ok(Vec::new());
        }
        let names = services.iter().filter_map(|service| service.id.clone()).collect();
        let tasks = self.tasks(names).await?;
        let nodes = self.nodes().await?;
        let of = |service: &Service| {
            tasks.iter().filter(|task| task.service_id == service.id).cloned().collect::<Vec<_>>()
        };
        let mut units: Vec<_> = services
            .into_iter()
            .filter_map(|service| {
                let tasks = of(&service);
                view(service, tasks, &nodes)
            })
            .collect();
        let members: Vec<_> = units.iter().filter_map(UnitView::member).collect();
        let routed = match members.is_empty() {
            true => std::collections::BTreeSet::new(),
            false => self.traffic.in_traffic(key, &members).await?,
        };
        for unit in &mut units {
            unit.seen.admitted = match unit.is_routed() {
                true => routed.contains(&unit.seen.unit),
                false => unit.label(CURRENT).is_some(),
            };
        }
        units.sort_by(|a, b| (a.seen.slot, &a.seen.unit).cmp(&(b.seen.slot, &b.seen.unit)));
        Ok(units)
    }

    /// Lists the services with these labels.
    pub(super) async fn services(&self, labels: Vec<String>) -> Result<Vec<Service>, TargetError> {
        let filters = HashMap::from([("label", labels)]);
        let options = ListServicesOptionsBuilder::new().filters(&filters).build();
        Ok(call(CALL, "list services", self.docker().list_services(Some(options))).await?)
    }

    pub(super) async fn tasks(&self, services: Vec<String>) -> Result<Vec<Task>, TargetError> {
        let filters = HashMap::from([("service", services)]);
        let options = ListTasksOptionsBuilder::new().filters(&filters).build();
        Ok(call(CALL, "list tasks", self.docker().list_tasks(Some(options))).await?)
    }

    /// Returns the releases whose units a project of this instance still has, in any
    /// environment.
    pub(super) async fn releases_of(&self, project: &str) -> Result<Vec<String>, TargetError> {
        let services = self
            .services(vec![
                format!("{INSTANCE}={}", self.instance),
                format!("{KIND}=unit"),
                format!("{PROJECT}={project}"),
            ])
            .await?;
        Ok(services
            .iter()
            .filter_map(|service| Some(label(service, RELEASE)?.to_owned()))
            .collect())
    }
}

pub(super) fn label<'a>(service: &'a Service, name: &str) -> Option<&'a str> {
    service.spec.as_ref()?.labels.as_ref()?.get(name).map(String::as_str)
}

/// How many tasks a service is to have.
pub(super) fn replicas(service: &Service) -> i64 {
    let mode = service.spec.as_ref().and_then(|spec| spec.mode.as_ref());
    mode.and_then(|mode| mode.replicated.as_ref()?.replicas).unwrap_or(0)
}

/// Reads a unit off its service; `None` for one whose labels are not ours.
pub(super) fn view(service: Service, tasks: Vec<Task>, nodes: &Nodes) -> Option<UnitView> {
    let label = |name: &str| label(&service, name).map(str::to_owned);
    let task = newest(&tasks);
    let state = match (replicas(&service), task.map(stage_of)) {
        (0, _) if label(STOPPED).is_some() => UnitState::Exited,
        (0, _) => UnitState::Created,
        (_, Some(Stage::Begins | Stage::Runs)) => UnitState::Running,
        // It has no task, or one that waits or has failed: the swarm will try again.
        _ => UnitState::Unhealthy,
    };
    let ports = match state {
        UnitState::Running => task.map(|task| nodes.ports_of(&service, task)).unwrap_or_default(),
        _ => HashMap::new(),
    };
    let port: Option<u16> = label(PORT).and_then(|port| port.parse().ok());
    let answers = port.or_else(|| label(PROBE_PORT)?.parse().ok());
    let seen = ObservedUnit {
        unit: UnitId(service.spec.as_ref()?.name.clone()?),
        slot: label(SLOT)?.parse().ok()?,
        release: label(RELEASE)?.parse().ok()?,
        deployment: label(DEPLOYMENT)?.parse().ok()?,
        spec: label(SPEC)?,
        state,
        admitted: false,
        address: answers.and_then(|port| ports.get(&port).copied()),
        image: image(&service).unwrap_or_default(),
        fence: label(FENCE)?.parse().ok()?,
    };
    let seconds = label(KEEP_WARM).and_then(|seconds| seconds.parse().ok());
    let stopped_at = label(STOPPED).and_then(|at| DateTime::parse_from_rfc3339(&at).ok());
    Some(UnitView {
        seen,
        tasks,
        ports,
        port,
        keep_warm: seconds.map_or(Duration::MAX, Duration::from_secs),
        stopped_at: stopped_at.map(|at| at.with_timezone(&Utc)),
        service,
    })
}

fn image(service: &Service) -> Option<String> {
    service.spec.as_ref()?.task_template.as_ref()?.container_spec.as_ref()?.image.clone()
}
