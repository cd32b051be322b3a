//! Units made: what their services are given.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;

use bollard::models::{
    EndpointPortConfig, EndpointPortConfigProtocolEnum, EndpointPortConfigPublishModeEnum,
    EndpointSpec, EndpointSpecModeEnum, HealthConfig, Limit, NetworkAttachmentConfig, ServiceSpec,
    ServiceSpecMode, ServiceSpecModeReplicated, TaskSpec, TaskSpecContainerSpec,
    TaskSpecContainerSpecPrivileges, TaskSpecLogDriver, TaskSpecResources, TaskSpecRestartPolicy,
    TaskSpecRestartPolicyConditionEnum,
};
use bollard::query_parameters::ListServicesOptions;
use pipeline::Probe;

use super::SwarmTarget;
use super::unit::label;
use crate::target::docker::CALL;
use crate::target::docker::call::call;
use crate::target::docker::create::{MEMORY_BYTES, PIDS, environment, image_of};
use crate::target::docker::settings::{mounts, nano_cpus};
use crate::target::docker::unit::{
    DEPLOYMENT, ENVIRONMENT, FENCE, INSTANCE, KEEP_WARM, KIND, PORT, PROBE_PORT, PROJECT, RELEASE,
    SLOT, SPEC,
};
use crate::target::driving::done;
use crate::{Op, OpOutcome, Spec, TargetError};

/// Below those that systems take for connections of their own, which begin at 32768.
const PORTS: RangeInclusive<u16> = 31_000..=31_999;
/// By which `docker stack ls` and others show the units of an environment together.
const STACK: &str = "com.docker.stack.namespace";
/// Until the swarm starts a task again that has ended.
const RESTART_NANOS: i64 = 1_000_000_000;

impl SwarmTarget {
    /// Creates a unit without a task; one that is already there is adopted if it is made
    /// as wanted.
    pub(super) async fn create(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        let _alone = self.allotting.lock().await;
        if let Some(there) = self.service(&op.unit).await? {
            if label(&there, SPEC) == Some(spec.unit_hash().as_str()) {
                return Ok(done("is already there"));
            }
            self.remove_service(&op.unit).await?;
        }
        let taken = self.taken_ports().await?;
        let body = self.body(op, spec, fence, &taken)?;
        let credentials = self.engine.credentials(&spec.artifact);
        match call(CALL, "create service", self.docker().create_service(body, credentials)).await {
            Ok(_) => Ok(done("")),
            // The swarm understood what it was asked for, and cannot give it.
            Err(error) if error.status == Some(400) => {
                Err(TargetError::Refused { message: error.message })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The ports of nodes that services publish, whoever made them.
    async fn taken_ports(&self) -> Result<BTreeSet<u16>, TargetError> {
        let listing = self.docker().list_services(None::<ListServicesOptions>);
        let services = call(CALL, "list services", listing).await?;
        let ports = services.into_iter().filter_map(|service| service.spec?.endpoint_spec?.ports);
        let published = ports.flatten().filter_map(|port| port.published_port);
        Ok(published.filter_map(|port| u16::try_from(port).ok()).collect())
    }

    fn body(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
        taken: &BTreeSet<u16>,
    ) -> Result<ServiceSpec, TargetError> {
        let resources = &spec.unit.resources;
        let memory =
            resources.memory.map_or(MEMORY_BYTES, |bytes| bytes.try_into().unwrap_or(i64::MAX));
        let container = TaskSpecContainerSpec {
            image: Some(image_of(&spec.artifact).to_owned()),
            labels: Some(owned([(INSTANCE, self.instance.clone()), (KIND, "task".to_owned())])),
            args: Some(spec.unit.command.clone()).filter(|command| !command.is_empty()),
            env: Some(environment(spec).iter().map(|variable| literal(variable)).collect()),
            mounts: Some(mounts(spec, &self.instance)).filter(|mounts| !mounts.is_empty()),
            stop_grace_period: Some(nanos(spec.unit.stop_timeout.std())),
            health_check: health_check(spec),
            privileges: Some(TaskSpecContainerSpecPrivileges {
                no_new_privileges: Some(true),
                ..Default::default()
            }),
            ..Default::default()
        };
        let network = |name: &String| NetworkAttachmentConfig {
            target: Some(name.clone()),
            aliases: Some(vec![spec.route()]),
            ..Default::default()
        };
        let networks: Vec<_> = spec.unit.networks.iter().map(network).collect();
        Ok(ServiceSpec {
            name: Some(op.unit.0.clone()),
            labels: Some(self.labels(op, spec, fence)),
            task_template: Some(TaskSpec {
                container_spec: Some(container),
                resources: Some(TaskSpecResources {
                    limits: Some(Limit {
                        nano_cpus: resources.cpu.map(nano_cpus),
                        memory_bytes: Some(memory),
                        pids: Some(resources.pids.map_or(PIDS, i64::from)),
                    }),
                    ..Default::default()
                }),
                restart_policy: Some(TaskSpecRestartPolicy {
                    condition: Some(TaskSpecRestartPolicyConditionEnum::ANY),
                    delay: Some(RESTART_NANOS),
                    ..Default::default()
                }),
                networks: Some(networks).filter(|networks| !networks.is_empty()),
                log_driver: Some(TaskSpecLogDriver {
                    name: Some("json-file".to_owned()),
                    options: Some(owned([
                        ("max-size", "10m".to_owned()),
                        ("max-file", "3".to_owned()),
                    ])),
                }),
                ..Default::default()
            }),
            mode: Some(ServiceSpecMode {
                replicated: Some(ServiceSpecModeReplicated { replicas: Some(0) }),
                ..Default::default()
            }),
            endpoint_spec: Some(EndpointSpec {
                // Without a virtual address: each unit is asked for by itself.
                mode: Some(EndpointSpecModeEnum::DNSRR),
                ports: Some(published(spec, taken)?),
            }),
            ..Default::default()
        })
    }

    fn labels(&self, op: &Op, spec: &Spec, fence: u64) -> HashMap<String, String> {
        let mut labels = owned([
            (INSTANCE, self.instance.clone()),
            (KIND, "unit".to_owned()),
            (PROJECT, spec.project.clone()),
            (ENVIRONMENT, spec.environment.clone()),
            (SLOT, op.slot.to_string()),
            (RELEASE, spec.release.to_string()),
            (DEPLOYMENT, op.deployment.to_string()),
            (FENCE, fence.to_string()),
            (SPEC, spec.unit_hash()),
            (KEEP_WARM, spec.unit.keep_warm.std().as_secs().to_string()),
            (STACK, spec.route()),
        ]);
        if let Some(expose) = &spec.expose {
            labels.insert(PORT.to_owned(), expose.port.to_string());
        } else if let Some(port) = probed(spec) {
            labels.insert(PROBE_PORT.to_owned(), port.to_string());
        }
        labels
    }
}

fn owned<const N: usize>(pairs: [(&str, String); N]) -> HashMap<String, String> {
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

/// What is asked of the unit from outside: its port.
fn probed(spec: &Spec) -> Option<u16> {
    match &spec.health.as_ref()?.probe {
        Probe::Http { port, .. } | Probe::Tcp(port) => Some(*port),
        Probe::Cmd(_) => None,
    }
}

/// A swarm reads `{{` in a variable as the beginning of a template of its own.
fn literal(variable: &str) -> String {
    variable.replace("{{", "{{\"{{\"}}")
}

fn nanos(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// A command is asked by the node that the unit runs on, and nobody else could.
fn health_check(spec: &Spec) -> Option<HealthConfig> {
    let health = spec.health.as_ref()?;
    let Probe::Cmd(command) = &health.probe else { return None };
    let test = std::iter::once("CMD".to_owned()).chain(command.iter().cloned()).collect();
    Some(HealthConfig {
        test: Some(test),
        interval: Some(nanos(health.interval.std())),
        timeout: Some(nanos(health.timeout.std())),
        retries: Some(i64::from(health.failures)),
        start_period: Some(nanos(health.start_period.std())),
        ..Default::default()
    })
}

/// Publishes what is routed to or asked on free ports of the nodes, and `ports` on theirs.
fn published(spec: &Spec, taken: &BTreeSet<u16>) -> Result<Vec<EndpointPortConfig>, TargetError> {
    let pair = |published: u16, target: u16| EndpointPortConfig {
        protocol: Some(EndpointPortConfigProtocolEnum::TCP),
        target_port: Some(i64::from(target)),
        published_port: Some(i64::from(published)),
        publish_mode: Some(EndpointPortConfigPublishModeEnum::HOST),
        ..Default::default()
    };
    let mut ports = Vec::new();
    let mut free = PORTS.filter(|port| !taken.contains(port));
    let asked: BTreeSet<u16> =
        spec.expose.iter().map(|expose| expose.port).chain(probed(spec)).collect();
    for target in asked {
        let port = free.next().ok_or_else(|| TargetError::Infrastructure {
            part: "swarm".to_owned(),
            message: format!(
                "services take all ports from {} to {}, which units answer on",
                PORTS.start(),
                PORTS.end()
            ),
        })?;
        ports.push(pair(port, target));
    }
    let own = spec.unit.ports.iter().filter_map(|own| {
        let (host, container) = own.split_once(':')?;
        Some(pair(host.parse().ok()?, container.parse().ok()?))
    });
    ports.extend(own);
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_no_template() {
        assert_eq!(literal("A={{.Node.ID}} }}"), "A={{\"{{\"}}.Node.ID}} }}");
        assert_eq!(literal("A={ {1} }"), "A={ {1} }");
    }

    #[test]
    fn units_answer_on_ports_that_no_service_has() {
        let mut spec = crate::testing::spec("web", "prod");
        spec.health = None;
        spec.expose =
            Some(pipeline::Expose { port: 8080, host: "*".to_owned(), path: "/".to_owned() });
        spec.unit.ports = vec!["25:2525".to_owned()];
        let ports = |taken: &BTreeSet<u16>| {
            let pair = |port: EndpointPortConfig| (port.published_port, port.target_port);
            published(&spec, taken).map(|ports| ports.into_iter().map(pair).collect::<Vec<_>>())
        };
        let taken = BTreeSet::from([31_000, 31_001]);
        assert_eq!(ports(&taken).unwrap(), [(Some(31_002), Some(8080)), (Some(25), Some(2525))]);
        let why = ports(&PORTS.collect()).unwrap_err().to_string();
        assert_eq!(
            why,
            "swarm: services take all ports from 31000 to 31999, which units answer on"
        );
    }
}
