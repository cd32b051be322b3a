//! What a deploy stage gives its units beside image and environment.

use std::collections::HashMap;

use bollard::models::{ContainerInspectResponse, EndpointSettings, NetworkConnectRequest};
use bollard::models::{Mount, MountType, MountVolumeOptions};

use super::call::call;
use super::unit::{ENVIRONMENT, INSTANCE, KIND, PROJECT};
use super::{CALL, DockerTarget};
use crate::{Check, Finding, Spec, TargetError, UnitId};

pub(in crate::target) fn nano_cpus(cores: f64) -> i64 {
    // Cores are small numbers with a few digits.
    #[expect(clippy::cast_possible_truncation, reason = "a whole number after rounding")]
    let nano = (cores * 1e9).round() as i64;
    nano
}

/// Named volumes belong to an environment: two of them on one engine share no data
/// because their files use the same word. Nothing of ours ever removes one.
pub(in crate::target) fn mounts(spec: &Spec, instance: &str) -> Vec<Mount> {
    let mount = |volume: &String| {
        let (name, path) = volume.split_once(':')?;
        let labels = [
            (INSTANCE, instance),
            (KIND, "volume"),
            (PROJECT, &spec.project),
            (ENVIRONMENT, &spec.environment),
        ];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Some(Mount {
            typ: Some(MountType::VOLUME),
            source: Some(format!("{}-{name}", spec.route())),
            target: Some(path.to_owned()),
            volume_options: Some(MountVolumeOptions {
                labels: Some(labels.into()),
                ..Default::default()
            }),
            ..Default::default()
        })
    };
    spec.unit.volumes.iter().filter_map(mount).collect()
}

/// Ports of the host, `host:container`.
pub(super) mod binding {
    use std::collections::HashMap;

    use bollard::models::PortBinding;

    fn pairs(ports: &[String]) -> impl Iterator<Item = (&str, String)> {
        ports.iter().filter_map(|pair| {
            let (host, container) = pair.split_once(':')?;
            Some((host, format!("{container}/tcp")))
        })
    }

    pub(in super::super) fn exposed(ports: &[String]) -> Vec<String> {
        pairs(ports).map(|(_, container)| container).collect()
    }

    pub(in super::super) fn published(
        ports: &[String],
    ) -> HashMap<String, Option<Vec<PortBinding>>> {
        let mut published: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
        for (host, container) in pairs(ports) {
            let binding = PortBinding { host_ip: None, host_port: Some(host.to_owned()) };
            published.entry(container).or_default().get_or_insert_default().push(binding);
        }
        published
    }
}

/// Two containers cannot have one port of the host, so one must go before the other
/// comes, and be alone.
pub(in crate::target) fn ports_misfit(spec: &Spec) -> Option<Finding> {
    let fits = spec.stops_first() && spec.replicas <= 1;
    (!spec.unit.ports.is_empty() && !fits).then(|| {
        Check::Setting.finding(
            "`ports` publishes ports of the host, which two containers cannot have at once",
            "write `order: stop-first` and `replicas: 1`, or `expose` in its place",
        )
    })
}

impl DockerTarget {
    /// Connects a unit that does not run yet to the networks it shall be in; the
    /// engine takes but one when a container is made.
    pub(super) async fn join(
        &self,
        unit: &UnitId,
        container: &ContainerInspectResponse,
        spec: &Spec,
    ) -> Result<(), TargetError> {
        let joined = container.network_settings.as_ref().and_then(|all| all.networks.as_ref());
        let is_in = |name: &str| joined.is_some_and(|joined| joined.contains_key(name));
        for name in spec.unit.networks.iter().filter(|name| !is_in(name)) {
            let request = NetworkConnectRequest {
                container: unit.0.clone(),
                endpoint_config: Some(EndpointSettings::default()),
            };
            match call(CALL, "join a network", self.docker.connect_network(name, request)).await {
                Ok(()) => {}
                // It is in already.
                Err(error) if error.status == Some(403) => {}
                Err(error) if error.status == Some(404) => {
                    return Err(TargetError::Refused { message: missing_network(name) });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(super) async fn missing_networks(&self, spec: &Spec) -> Result<Vec<Finding>, TargetError> {
        if spec.unit.networks.is_empty() {
            return Ok(Vec::new());
        }
        let there = self.networks().await?;
        let there: HashMap<_, _> =
            there.iter().filter_map(|network| Some((network.name.as_deref()?, ()))).collect();
        let missing = spec.unit.networks.iter().filter(|name| !there.contains_key(name.as_str()));
        let fix = |name| format!("make it with `docker network create {name}`");
        Ok(missing.map(|name| Check::Setting.finding(missing_network(name), fix(name))).collect())
    }
}

fn missing_network(name: &str) -> String {
    format!("network `{name}` is not on the engine")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_published_by_their_container_port() {
        let ports = ["8080:80".to_owned(), "8443:443".to_owned(), "9090:80".to_owned()];
        let published = binding::published(&ports);
        let hosts = |port: &str| {
            let bindings = published[port].as_ref().unwrap();
            bindings.iter().map(|binding| binding.host_port.clone().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(hosts("80/tcp"), ["8080", "9090"]);
        assert_eq!(hosts("443/tcp"), ["8443"]);
        assert_eq!(nano_cpus(0.5), 500_000_000);
    }
}
