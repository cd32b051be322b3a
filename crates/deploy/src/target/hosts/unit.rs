//! Units as they are seen on hosts.
//!
//! A unit is a release on one host with one configuration. Of all units of a host one
//! at most runs: the one that `current` leads to and whose service was started.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use event::{DeploymentId, ReleaseId};
use serde::{Deserialize, Serialize};

use super::connection::{Host, Input};
use super::profile::Hooks;
use super::trouble::Trouble;
use super::{CALL, HostsTarget};
use crate::{EnvironmentKey, ObservedUnit, TargetError, UnitId, UnitState};

/// `unit.json`: what a unit is, and all it takes to bring it up again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct UnitFile {
    pub(super) instance: String,
    pub(super) kind: String,
    pub(super) project: String,
    pub(super) env: String,
    pub(super) slot: u32,
    pub(super) release: ReleaseId,
    pub(super) deploy: DeploymentId,
    pub(super) fence: u64,
    pub(super) spec: String,
    pub(super) artifact: String,
    /// Where it answers requests, if it is routed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<u16>,
    /// Whether the switch routes to it where it answers.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub(super) traffic: bool,
    pub(super) hooks: Hooks,
    pub(super) keep_warm: pipeline::Duration,
}

const fn yes() -> bool {
    true
}

impl UnitFile {
    /// Where the switch sends requests; `None` where it sends none.
    pub(super) fn routed(&self) -> Option<u16> {
        self.port.filter(|_| self.traffic)
    }
}

/// A unit with what only this target knows of it.
#[derive(Clone)]
pub(super) struct UnitView {
    pub(super) seen: ObservedUnit,
    pub(super) file: UnitFile,
    pub(super) host: Arc<Host>,
    pub(super) stopped_at: Option<DateTime<Utc>>,
}

/// What a host says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct HostView {
    /// Where `current` leads.
    pub(super) current: Option<String>,
    /// `current` is there and is no link.
    pub(super) occupied: Option<String>,
    pub(super) started: Option<String>,
    pub(super) admitted: Option<String>,
    pub(super) units: Vec<(UnitId, String, UnitFile)>,
}

impl HostView {
    pub(super) fn read(said: &str) -> Self {
        let mut view = Self::default();
        for (word, rest) in said.lines().filter_map(|line| line.split_once('\t')) {
            match word {
                "current" => view.current = Some(rest.to_owned()),
                "occupied" => view.occupied = Some(rest.to_owned()),
                "started" => view.started = Some(rest.to_owned()),
                "admitted" => view.admitted = Some(rest.to_owned()),
                "unit" => {
                    let mut parts = rest.splitn(3, '\t');
                    let (Some(name), Some(phase), Some(text)) =
                        (parts.next(), parts.next(), parts.next())
                    else {
                        continue;
                    };
                    if let Ok(file) = serde_json::from_str(text) {
                        view.units.push((UnitId(name.to_owned()), phase.to_owned(), file));
                    }
                }
                _ => {}
            }
        }
        view
    }

    /// Whether `current` leads to the release of a unit.
    pub(super) fn leads_to(&self, file: &UnitFile) -> bool {
        self.current.as_deref() == Some(&*format!("releases/{}", file.release))
    }

    fn state(&self, unit: &UnitId, phase: &str, file: &UnitFile) -> UnitState {
        let started = self.started.as_deref() == Some(&*unit.0);
        match phase {
            _ if started && self.leads_to(file) => UnitState::Running,
            // Somebody has moved the link, or its start did not come to its end.
            _ if started => UnitState::Unhealthy,
            "begun" => UnitState::Unhealthy,
            "created" => UnitState::Created,
            _ => UnitState::Exited,
        }
    }
}

impl Host {
    /// Looks at a host; with a fence, on behalf of whoever is about to change it.
    pub(super) async fn look(
        &self,
        project: &str,
        fence: Option<u64>,
    ) -> Result<HostView, Trouble> {
        let fence = fence.map(|fence| fence.to_string());
        let arguments: Vec<_> = fence.iter().map(String::as_str).collect();
        let root = self.root(project);
        let said = self.call(&root, "observe", &arguments, &Input::Nothing, CALL).await?;
        Ok(HostView::read(&said))
    }

    /// Where a project is on this host.
    pub(super) fn root(&self, project: &str) -> PathBuf {
        let path = self.access.path.clone();
        path.unwrap_or_else(|| PathBuf::from(super::BASE).join(project))
    }

    /// The address that requests and questions go to.
    async fn ip(&self) -> Option<IpAddr> {
        let (name, _) = self.access.host_and_port();
        tokio::net::lookup_host((name, 0)).await.ok()?.next().map(|address| address.ip())
    }

    pub(super) async fn address(&self) -> Result<IpAddr, Trouble> {
        let unknown = || {
            let (name, _) = self.access.host_and_port();
            Trouble::Setup(format!("`{name}` has no address that this machine knows"))
        };
        self.ip().await.ok_or_else(unknown)
    }
}

impl HostsTarget {
    /// Returns the units of one host, under a fence.
    pub(super) async fn units_of(
        &self,
        host: &Arc<Host>,
        key: &EnvironmentKey,
        fence: u64,
    ) -> Result<Vec<UnitView>, TargetError> {
        let view = host.look(&key.project, Some(fence)).await;
        let view = view.map_err(|trouble| trouble.error(&host.access.name))?;
        let mut units = self.of_host(host, key, &view).await;
        self.mark_routed(&mut units, key).await?;
        Ok(units)
    }

    pub(super) async fn of_host(
        &self,
        host: &Arc<Host>,
        key: &EnvironmentKey,
        view: &HostView,
    ) -> Vec<UnitView> {
        let ours = |file: &UnitFile| {
            file.instance == self.instance
                && file.project == key.project
                && file.env == key.environment
        };
        let mut units = Vec::new();
        for (unit, phase, file) in view.units.iter().filter(|(_, _, file)| ours(file)) {
            let state = view.state(unit, phase, file);
            let address = match (state, file.port) {
                (UnitState::Running, Some(port)) => {
                    host.ip().await.map(|ip| SocketAddr::new(ip, port))
                }
                _ => None,
            };
            let seen = ObservedUnit {
                unit: unit.clone(),
                // Of the host, and not of the time when it was made: hosts may have come since.
                slot: host.slot,
                release: file.release,
                deployment: file.deploy,
                spec: file.spec.clone(),
                state,
                admitted: view.admitted.as_deref() == Some(&*unit.0),
                address,
                image: file.artifact.clone(),
                fence: file.fence,
            };
            let stopped_at = phase.parse().ok().and_then(|at| DateTime::from_timestamp(at, 0));
            let (file, host) = (file.clone(), Arc::clone(host));
            units.push(UnitView { seen, file, host, stopped_at });
        }
        self.sight.of_host(host.slot, &units);
        units
    }

    pub(super) async fn mark_routed(
        &self,
        units: &mut [UnitView],
        key: &EnvironmentKey,
    ) -> Result<(), TargetError> {
        if units.iter().all(|unit| unit.file.routed().is_none()) {
            return Ok(());
        }
        if self.traffic.balancer().is_some() {
            return self.mark_behind(units, key).await;
        }
        let routed = self.traffic.in_traffic(key, &[]).await?;
        for unit in units.iter_mut().filter(|unit| unit.file.routed().is_some()) {
            unit.seen.admitted = routed.contains(&unit.seen.unit);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_unit_is_passed_over() {
        let said = "current\treleases/x\nunit\ta\tcreated\t{}\nunit\tb\nsomething else\n";
        let view = HostView::read(said);
        assert_eq!(
            view,
            HostView { current: Some("releases/x".to_owned()), ..HostView::default() }
        );
    }
}
