//! Tasks: how far one has got, why it does not get further, and where it answers.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bollard::models::{Node, NodeState, Service, Task, TaskState};
use bollard::query_parameters::ListNodesOptions;
use chrono::{DateTime, Utc};

use super::SwarmTarget;
use crate::TargetError;
use crate::target::docker::CALL;
use crate::target::docker::call::call;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No node has it yet.
    Waits,
    /// Its node fetches the image and makes the container.
    Prepares,
    /// Its container runs, and its own health check has not said yes.
    Begins,
    Runs,
    Ended,
}

pub(super) fn stage_of(task: &Task) -> Stage {
    use TaskState as State;
    match task.status.as_ref().and_then(|status| status.state) {
        None | Some(State::NEW | State::ALLOCATED | State::PENDING) => Stage::Waits,
        Some(State::ASSIGNED | State::ACCEPTED | State::PREPARING | State::READY) => {
            Stage::Prepares
        }
        Some(State::STARTING) => Stage::Begins,
        Some(State::RUNNING) => Stage::Runs,
        _ => Stage::Ended,
    }
}

/// The task that a service has now: the last one that was made and is not to go.
pub(super) fn newest(tasks: &[Task]) -> Option<&Task> {
    let wanted = |task: &&Task| {
        let desired = task.desired_state;
        !matches!(desired, Some(TaskState::SHUTDOWN | TaskState::REMOVE))
    };
    tasks.iter().filter(wanted).max_by_key(|task| task.created_at)
}

/// Says why a task does not run.
pub(super) fn words(task: &Task) -> String {
    let status = task.status.as_ref();
    let error = status.and_then(|status| status.err.as_deref()).filter(|err| !err.is_empty());
    let code = status
        .and_then(|status| status.container_status.as_ref()?.exit_code)
        .filter(|_| stage_of(task) == Stage::Ended);
    match (stage_of(task), code, error) {
        (Stage::Ended, Some(code), Some(error)) if error.contains("unhealthy") => {
            format!("its health check failed, and it exited with {code}")
        }
        (Stage::Ended, Some(code), _) if code != 0 => format!("it exited with {code}"),
        (Stage::Ended, _, Some(error)) => format!("it cannot be started: {error}"),
        (Stage::Ended, ..) => "it exited with 0".to_owned(),
        (Stage::Waits, _, Some(error)) => format!("no node takes it: {error}"),
        (Stage::Waits, ..) => "no node has taken it".to_owned(),
        (Stage::Prepares, _, Some(error)) => format!("its node cannot prepare it: {error}"),
        (Stage::Prepares, ..) => "its node is preparing it".to_owned(),
        (Stage::Begins, ..) => "its own health check has not passed".to_owned(),
        (Stage::Runs, ..) => "it runs".to_owned(),
    }
}

/// Returns the last task that ended by itself after `since`, if any did.
pub(super) fn failure(tasks: &[Task], since: Option<DateTime<Utc>>) -> Option<&Task> {
    use TaskState as State;
    let failed = |task: &&Task| {
        let status = task.status.as_ref();
        let state = status.and_then(|status| status.state);
        let ended = matches!(
            state,
            Some(State::FAILED | State::REJECTED | State::COMPLETE | State::ORPHANED)
        );
        let at = status.and_then(|status| status.timestamp).max(task.created_at);
        ended && at >= since
    };
    tasks.iter().filter(failed).max_by_key(|task| task.created_at)
}

/// The nodes of a swarm, by their ids.
pub(super) struct Nodes {
    nodes: Vec<Node>,
    /// Whether the manager is on this machine for certain.
    manager_is_here: bool,
}

impl Nodes {
    /// Those that take tasks.
    pub(super) fn ready(&self) -> usize {
        let ready = |node: &&Node| {
            let state = node.status.as_ref().and_then(|status| status.state);
            let availability = node.spec.as_ref().and_then(|spec| spec.availability);
            state == Some(NodeState::READY)
                && availability
                    .is_none_or(|it| it == bollard::models::NodeSpecAvailabilityEnum::ACTIVE)
        };
        self.nodes.iter().filter(ready).count()
    }

    pub(super) const fn count(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn name(&self, id: &str) -> Option<&str> {
        let node = self.nodes.iter().find(|node| node.id.as_deref() == Some(id))?;
        node.description.as_ref()?.hostname.as_deref()
    }

    /// The address that other machines know a node by.
    fn address(&self, id: &str) -> Option<IpAddr> {
        let node = self.nodes.iter().find(|node| node.id.as_deref() == Some(id))?;
        let own = node.status.as_ref().and_then(|status| status.addr.as_deref());
        let own = own.and_then(|address| address.parse::<IpAddr>().ok());
        let of_manager = || {
            let address = node.manager_status.as_ref()?.addr.as_deref()?;
            address.parse::<SocketAddr>().ok().map(|address| address.ip())
        };
        let known = |address: &IpAddr| !address.is_unspecified();
        own.filter(known).or_else(|| of_manager().filter(known)).or_else(|| {
            let alone = self.manager_is_here && self.nodes.len() == 1;
            alone.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST))
        })
    }

    /// Where a task answers for each port of its unit.
    pub(super) fn ports_of(&self, service: &Service, task: &Task) -> HashMap<u16, SocketAddr> {
        let Some(node) = task.node_id.as_deref().and_then(|id| self.address(id)) else {
            return HashMap::new();
        };
        let spec = service.spec.as_ref().and_then(|spec| spec.endpoint_spec.as_ref());
        let ports = spec.and_then(|spec| spec.ports.as_ref()).into_iter().flatten();
        let port = |number: Option<i64>| number.and_then(|number| u16::try_from(number).ok());
        ports
            .filter_map(|pair| {
                let published = port(pair.published_port)?;
                Some((port(pair.target_port)?, SocketAddr::new(node, published)))
            })
            .collect()
    }
}

impl SwarmTarget {
    pub(super) async fn nodes(&self) -> Result<Nodes, TargetError> {
        let listing = self.docker().list_nodes(None::<ListNodesOptions>);
        let nodes = call(CALL, "list nodes", listing).await?;
        Ok(Nodes { nodes, manager_is_here: self.engine.is_here })
    }
}
