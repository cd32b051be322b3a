//! Units made: what their containers are given.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, HostConfigLogConfig,
    NetworkingConfig, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use pipeline::Probe;

use super::call::call;
use super::settings::{binding, mounts, nano_cpus};
use super::unit::{
    ADDRESS, DEPLOYMENT, ENVIRONMENT, FENCE, INSTANCE, KEEP_WARM, KIND, PORT, PROBE_PORT, PROJECT,
    RELEASE, SLOT, SPEC, label,
};
use super::{CALL, DockerTarget, done};
use crate::{Artifact, Op, OpOutcome, Spec, TargetError};

/// No unit may take the whole machine unless `resources` say so.
pub(in crate::target) const MEMORY_BYTES: i64 = 2 << 30;
pub(in crate::target) const PIDS: i64 = 2_048;
/// Somebody else may take an address between looking and creating.
const TRIES: u32 = 5;

impl DockerTarget {
    /// Creates a unit at a free address; one that is already there is adopted if
    /// it is made as wanted.
    pub(super) async fn create(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        let network = self.network().await?;
        // Two of this process must not find the same address free.
        let _alone = self.allotting.lock().await;
        let mut tries = 0;
        loop {
            tries += 1;
            let taken = self.taken_addresses().await?;
            let address = network.free_address(taken.values().copied())?;
            let body = self.body(op, spec, fence, &network.name, address);
            let options = CreateContainerOptionsBuilder::new().name(&op.unit.0).build();
            let created = call(CALL, "create", self.docker.create_container(Some(options), body));
            let id = match created.await {
                Ok(created) => created.id,
                Err(error) if error.status == Some(409) && tries < TRIES => {
                    match self.inspect(&op.unit.0).await {
                        Ok(there) if label(&there, SPEC) == Some(spec.unit_hash()) => {
                            self.join(&op.unit, &there, spec).await?;
                            return Ok(done("is already there"));
                        }
                        Ok(_) => self.remove_container(&op.unit).await?,
                        Err(error) if error.status == Some(404) => {}
                        Err(error) => return Err(error.into()),
                    }
                    continue;
                }
                Err(error) if error.status == Some(404) => {
                    let image = image_of(&spec.artifact);
                    let message = format!("image `{image}` is not on the engine");
                    return Err(TargetError::Refused { message });
                }
                Err(error) => return Err(error.into()),
            };
            if !self.is_taken_by_another(&id, address).await? || tries >= TRIES {
                let made = self.inspect(&id).await?;
                self.join(&op.unit, &made, spec).await?;
                return Ok(done(address.to_string()));
            }
            self.remove_container(&op.unit).await?;
        }
    }

    /// Whether another process, which does not know our mutex, took the same
    /// address. The later of the two gives way.
    async fn is_taken_by_another(&self, id: &str, address: Ipv4Addr) -> Result<bool, TargetError> {
        let taken = self.taken_addresses().await?;
        let rivals = taken.iter().filter(|(other, taken)| **taken == address && *other != id);
        let mut earlier = false;
        let ours = self.inspect(id).await?.created;
        for (rival, _) in rivals {
            match self.inspect(rival).await {
                Ok(rival) => earlier |= rival.created < ours,
                Err(error) if error.status == Some(404) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(earlier)
    }

    fn body(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
        network: &str,
        address: Ipv4Addr,
    ) -> ContainerCreateBody {
        let endpoint = EndpointSettings {
            ipam_config: Some(EndpointIpamConfig {
                ipv4_address: Some(address.to_string()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let resources = &spec.unit.resources;
        let memory =
            resources.memory.map_or(MEMORY_BYTES, |bytes| bytes.try_into().unwrap_or(i64::MAX));
        ContainerCreateBody {
            image: Some(image_of(&spec.artifact).to_owned()),
            env: Some(environment(spec)),
            labels: Some(self.labels(op, spec, fence, address)),
            cmd: Some(spec.unit.command.clone()).filter(|command| !command.is_empty()),
            stop_timeout: i64::try_from(spec.unit.stop_timeout.std().as_secs()).ok(),
            exposed_ports: Some(binding::exposed(&spec.unit.ports)),
            host_config: Some(HostConfig {
                network_mode: Some(network.to_owned()),
                restart_policy: Some(RestartPolicy {
                    name: Some(RestartPolicyNameEnum::NO),
                    maximum_retry_count: None,
                }),
                auto_remove: Some(false),
                memory: Some(memory),
                // No swap beyond it: a unit that needs more is told so.
                memory_swap: Some(memory),
                nano_cpus: resources.cpu.map(nano_cpus),
                pids_limit: Some(resources.pids.map_or(PIDS, i64::from)),
                mounts: Some(mounts(spec, &self.instance)),
                port_bindings: Some(binding::published(&spec.unit.ports)),
                security_opt: Some(vec!["no-new-privileges".to_owned()]),
                log_config: Some(HostConfigLogConfig {
                    typ: Some("json-file".to_owned()),
                    config: Some(HashMap::from([
                        ("max-size".to_owned(), "10m".to_owned()),
                        ("max-file".to_owned(), "3".to_owned()),
                    ])),
                }),
                ..Default::default()
            }),
            networking_config: Some(NetworkingConfig {
                endpoints_config: Some(HashMap::from([(network.to_owned(), endpoint)])),
            }),
            ..Default::default()
        }
    }

    fn labels(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
        address: Ipv4Addr,
    ) -> HashMap<String, String> {
        let mut labels = HashMap::from([
            (INSTANCE, self.instance.clone()),
            (KIND, "unit".to_owned()),
            (PROJECT, spec.project.clone()),
            (ENVIRONMENT, spec.environment.clone()),
            (SLOT, op.slot.to_string()),
            (RELEASE, spec.release.to_string()),
            (DEPLOYMENT, op.deployment.to_string()),
            (FENCE, fence.to_string()),
            (SPEC, spec.unit_hash()),
            (ADDRESS, address.to_string()),
            (KEEP_WARM, spec.unit.keep_warm.std().as_secs().to_string()),
        ]);
        if let Some(expose) = &spec.expose {
            labels.insert(PORT, expose.port.to_string());
        } else if let Some(health) = &spec.health
            && let Probe::Http { port, .. } | Probe::Tcp(port) = &health.probe
        {
            labels.insert(PROBE_PORT, port.to_string());
        }
        labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

pub(in crate::target) fn image_of(artifact: &Artifact) -> &str {
    match artifact {
        Artifact::Digest { reference, .. } => reference,
        Artifact::ImageId(id) => id,
        // Refused in preflight; no engine has an image of this name.
        Artifact::File { .. } | Artifact::Nothing => "none",
    }
}

/// Returns what a unit gets as its environment: the user's variables, and ours.
pub(in crate::target) fn environment(spec: &Spec) -> Vec<String> {
    let mut variables = spec.env.clone();
    if let Some(expose) = &spec.expose {
        variables.entry("PORT".to_owned()).or_insert_with(|| expose.port.to_string());
    }
    variables.insert("SHIPLINE_RELEASE".to_owned(), spec.release.to_string());
    variables.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}
