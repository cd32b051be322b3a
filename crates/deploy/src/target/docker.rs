//! Units as containers of a Docker engine, behind `shipline proxy`.
//!
//! Each unit has a fixed address in a network of the instance, and no published
//! port: requests reach it through the proxy alone. Which container a daemon
//! restart revives is told by restart policies: a unit gets `unless-stopped`
//! when it is admitted and `no` before it is stopped, so each slot has one
//! container that comes back, and a retired one never does.
//!
//! Docker has no compare-and-swap. Every change therefore looks first whether
//! the environment has units of a larger fence, and a stop or removal asks the
//! proxy, whether anything is routed to the unit.

mod call;
mod container;
mod create;
mod gate;
mod image;
mod network;
mod traffic;
mod unit;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::future::try_join_all;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use self::call::call;
use self::container::UNDO_TIMEOUT;
use self::unit::UnitView;
use crate::switch::ProxySwitch;
use crate::{Caps, EnvironmentKey, Observed, Op, OpAction, OpOutcome, Spec, Target, TargetError};

const CALL: Duration = Duration::from_secs(30);
/// The client waits for the head of an answer at most this long; a stop answers
/// when it is done.
const CLIENT_SECONDS: u64 = 120;

/// A password for the registry of a host.
#[derive(Clone)]
pub struct RegistryLogin {
    /// As a pipeline names it.
    pub name: String,
    /// With port, as in an image reference.
    pub host: String,
    pub username: String,
    pub password: String,
}

impl std::fmt::Debug for RegistryLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryLogin")
            .field("name", &self.name)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// One Docker engine.
pub struct DockerTarget {
    docker: Docker,
    switch: Option<ProxySwitch>,
    instance: String,
    registries: Vec<RegistryLogin>,
    /// To read a route and write it back is one step.
    switching: Mutex<()>,
    /// To find a free address and take it is one step.
    allotting: Mutex<()>,
}

impl DockerTarget {
    /// Connects to the engine at `host`, an address as in `DOCKER_HOST`. What is
    /// made there belongs to `instance`. Without `proxy_socket` nothing with
    /// `expose` can be deployed.
    pub async fn connect(
        host: &str,
        proxy_socket: Option<PathBuf>,
        instance: String,
        registries: Vec<RegistryLogin>,
    ) -> Result<Self, TargetError> {
        let connected = if host.starts_with("unix://") {
            Docker::connect_with_unix(host, CLIENT_SECONDS, API_DEFAULT_VERSION)
        } else if host.starts_with("tcp://") || host.starts_with("http://") {
            Docker::connect_with_http(host, CLIENT_SECONDS, API_DEFAULT_VERSION)
        } else {
            let message = format!(
                "`{host}` is not the address of a docker engine: unix://PATH or tcp://HOST:PORT"
            );
            return Err(TargetError::Refused { message });
        };
        let unreachable = |message: String| TargetError::Infrastructure {
            part: "docker".to_owned(),
            message: format!("cannot reach the engine at {host}: {message}"),
        };
        let docker = connected.map_err(|error| unreachable(error.to_string()))?;
        let negotiated = tokio::time::timeout(CALL, docker.negotiate_version()).await;
        let docker = match negotiated {
            Ok(Ok(docker)) => docker,
            Ok(Err(error)) => return Err(unreachable(error.to_string())),
            Err(_) => return Err(unreachable(format!("no answer within {} s", CALL.as_secs()))),
        };
        Ok(Self {
            docker,
            switch: proxy_socket.map(ProxySwitch::new),
            instance,
            registries,
            switching: Mutex::new(()),
            allotting: Mutex::new(()),
        })
    }

    /// Removes everything of an environment: its route, its units, the pins of
    /// images no other environment of the project uses, and the network once it
    /// has no units. Returns how many units there were.
    pub async fn remove_environment(&self, key: &EnvironmentKey) -> Result<usize, TargetError> {
        let name = route_name(key);
        if let Some(switch) = &self.switch
            && let Some(route) = switch.route(&name).await?
        {
            switch.remove(&name, route.fence).await?;
        }
        let units = self.units(key).await?;
        try_join_all(units.iter().map(|unit| self.remove_container(&unit.seen.unit))).await?;
        self.unpin_unused(key).await?;
        self.remove_network_if_unused().await?;
        Ok(units.len())
    }

    /// Refuses to act where a larger fence has left its mark, and returns the
    /// unit that is acted on, if it exists.
    async fn guard(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
    ) -> Result<Option<UnitView>, TargetError> {
        let mut units = self.units(&key_of(spec)).await?;
        if let Some(newer) = units.iter().find(|unit| unit.seen.fence > fence) {
            let message = format!(
                "{} was made under fence {}, this engine holds {fence}",
                newer.seen.unit, newer.seen.fence
            );
            return Err(TargetError::Fenced(message));
        }
        let of_op = units.iter().position(|unit| unit.seen.unit == op.unit);
        Ok(of_op.map(|index| units.swap_remove(index)))
    }
}

#[async_trait]
impl Target for DockerTarget {
    fn caps(&self) -> Caps {
        Caps { start_first: true }
    }

    async fn observe(&self, key: &EnvironmentKey) -> Result<Observed, TargetError> {
        let units = self.units(key).await?;
        Ok(Observed { units: units.into_iter().map(|unit| unit.seen).collect() })
    }

    async fn preflight(&self, spec: &Spec, _seen: &Observed) -> Result<Vec<String>, TargetError> {
        let mut findings = Vec::new();
        call(CALL, "ping", self.docker.ping()).await?;
        match (&spec.expose, &self.switch) {
            (Some(_), None) => findings.push(
                "`expose` needs a proxy, and the target has none: start `shipline proxy` and name its control socket in the target".to_owned(),
            ),
            // Any answer says that it is there and speaks our language.
            (Some(expose), Some(switch)) => {
                let wanted = traffic::match_of(expose);
                if let Some(other) = switch.taken_by(&spec.route(), &wanted).await? {
                    findings.push(format!(
                        "host `{}` path `{}` is routed to `{other}` already: give one of them a host or path of its own in `expose`",
                        expose.host, expose.path
                    ));
                }
            }
            (None, _) => {}
        }
        findings.extend(self.check_image(spec).await?);
        Ok(findings)
    }

    async fn apply(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        let unit = self.guard(op, spec, fence).await?;
        let there = unit.ok_or_else(|| TargetError::Infrastructure {
            part: "docker".to_owned(),
            message: format!("{} does not exist", op.unit),
        });
        match op.action {
            OpAction::Fetch => self.fetch(spec, cancel).await,
            OpAction::Create => self.create(op, spec, fence).await,
            OpAction::Start => self.start(&there?.seen.unit).await,
            OpAction::Gate => self.gate(&there?, spec, cancel).await,
            OpAction::Admit => self.admit(&there?, op, spec, fence).await,
            OpAction::Bake => self.bake(&there?, spec, cancel).await,
            OpAction::Drain => match there {
                Ok(unit) => tokio::select! {
                    drained = self.drain(&unit, spec, fence) => drained,
                    // Requests in flight are left alone.
                    () = cancel.cancelled() => Ok(done("cancelled")),
                },
                Err(_) => Ok(done("is gone")),
            },
            OpAction::Stop => match there {
                Ok(unit) => self.stop(&unit, spec, fence).await,
                Err(_) => Ok(done("is gone")),
            },
            OpAction::Remove => {
                if let Ok(unit) = there {
                    self.confirm_out(&unit, spec, fence).await?;
                    self.drain_if_served(&unit, spec, fence).await?;
                    self.remove_container(&unit.seen.unit).await?;
                }
                Ok(done("removed"))
            }
        }
    }

    async fn undo(&self, op: &Op, spec: &Spec, fence: u64) -> Result<OpOutcome, TargetError> {
        let Some(unit) = self.guard(op, spec, fence).await? else {
            return Ok(done("is gone"));
        };
        match op.action {
            OpAction::Create => self.undo_create(&unit, spec, fence).await,
            OpAction::Start => {
                self.confirm_out(&unit, spec, fence).await?;
                self.stop_container(&unit.seen.unit, UNDO_TIMEOUT).await?;
                Ok(done("stopped"))
            }
            OpAction::Admit => self.undo_admit(&unit, op, spec, fence).await,
            OpAction::Stop => self.start(&unit.seen.unit).await,
            // They change nothing that could be taken back; the pin of a fetched
            // image stays for the next try.
            OpAction::Fetch
            | OpAction::Gate
            | OpAction::Drain
            | OpAction::Bake
            | OpAction::Remove => Ok(done("")),
        }
    }
}

fn done(detail: impl Into<String>) -> OpOutcome {
    OpOutcome::Done { detail: detail.into() }
}

fn key_of(spec: &Spec) -> EnvironmentKey {
    EnvironmentKey { project: spec.project.clone(), environment: spec.environment.clone() }
}

/// As [`Spec::route`].
fn route_name(key: &EnvironmentKey) -> String {
    format!("{}-{}", key.project, key.environment)
}
