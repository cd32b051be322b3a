//! The health of a unit: is the container alive, does its own check say yes,
//! and does it answer at its own address.
//!
//! Without `health`, an image's HEALTHCHECK is the gate. Without that too, a unit
//! with `expose` must accept connections on its port, since no request may reach
//! a unit that does not listen, and any other must run for a second.

use std::net::IpAddr;
use std::time::Duration;

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum, HealthStatusEnum};
use pipeline::Probe;
use tokio_util::sync::CancellationToken;

use super::call::CallError;
use super::unit::UnitView;
use super::{DockerTarget, done};
use crate::health::{Look, Pace, Verdict, gate, probe, watch};
use crate::{OpOutcome, Spec, TargetError};

/// What to ask a unit, and how often.
pub(super) struct Check {
    probe: Option<(Probe, Duration)>,
    pace: Pace,
}

impl DockerTarget {
    pub(super) async fn gate(
        &self,
        unit: &UnitView,
        spec: &Spec,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        let first = self.inspect(&unit.seen.unit.0).await?;
        let check = check_of(unit, spec, &first);
        let verdict = gate(check.pace, || self.look(unit, &check, &first), cancel).await?;
        self.judge(unit, verdict).await
    }

    pub(super) async fn bake(
        &self,
        unit: &UnitView,
        spec: &Spec,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        let first = self.inspect(&unit.seen.unit.0).await?;
        let check = check_of(unit, spec, &first);
        let length = spec.strategy.bake.std();
        let verdict = watch(check.pace, length, || self.look(unit, &check, &first), cancel).await?;
        self.judge(unit, verdict).await
    }

    pub(super) async fn look(
        &self,
        unit: &UnitView,
        check: &Check,
        first: &ContainerInspectResponse,
    ) -> Result<Look, TargetError> {
        let now = match self.inspect(&unit.seen.unit.0).await {
            Ok(now) => now,
            Err(CallError { status: Some(404), .. }) => {
                return Ok(Look::Dead("the container was removed".to_owned()));
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(why) = death(&now, first.restart_count) {
            return Ok(Look::Dead(why));
        }
        if let Some(why) = own_check(&now) {
            // Where the image's check is all there is, its own retries have been used
            // up when it says so.
            let is_final =
                check.probe.is_none() && health_status(&now) == Some(HealthStatusEnum::UNHEALTHY);
            return Ok(if is_final { Look::Dead(why) } else { Look::Bad(why) });
        }
        let Some((asked, timeout)) = &check.probe else { return Ok(Look::Good) };
        if let Probe::Cmd(command) = asked {
            return self.run_check(&unit.seen.unit, command, *timeout).await;
        }
        let address = IpAddr::V4(unit.address);
        let seen = probe(asked, address, unit.seen.release, *timeout).await;
        Ok(seen.unwrap_or_else(|| Look::Bad("it cannot be asked".to_owned())))
    }

    async fn judge(&self, unit: &UnitView, verdict: Verdict) -> Result<OpOutcome, TargetError> {
        Ok(match verdict {
            Verdict::Healthy { looks, took } => {
                let s = if looks == 1 { "" } else { "s" };
                done(format!("healthy, {looks} look{s} in {:.1} s", took.as_secs_f64()))
            }
            Verdict::Unhealthy(reason) => {
                OpOutcome::Unhealthy { reason, logs: self.last_lines(&unit.seen.unit).await }
            }
            // The caller asked for it and knows.
            Verdict::Cancelled => done("cancelled"),
        })
    }
}

pub(super) fn check_of(
    unit: &UnitView,
    spec: &Spec,
    container: &ContainerInspectResponse,
) -> Check {
    if let Some(health) = &spec.health {
        let probe = Some((health.probe.clone(), health.timeout.std()));
        return Check { probe, pace: Pace::from(health) };
    }
    let pace = Pace {
        interval: Duration::from_millis(250),
        successes: 1,
        failures: 3,
        deadline: Duration::from_secs(60),
    };
    if health_status(container).is_some() {
        return Check { probe: None, pace };
    }
    match unit.port {
        Some(port) => Check {
            probe: Some((Probe::Tcp(port), Duration::from_secs(2))),
            pace: Pace { successes: 3, ..pace },
        },
        None => Check { probe: None, pace: Pace { successes: 5, ..pace } },
    }
}

/// Says why a container will not become healthy any more.
fn death(container: &ContainerInspectResponse, restarts_before: Option<i64>) -> Option<String> {
    let state = container.state.as_ref()?;
    let restarts = container.restart_count.unwrap_or(0);
    let code = state.exit_code.unwrap_or(0);
    let why = match state.status {
        Some(ContainerStateStatusEnum::RUNNING) if restarts > restarts_before.unwrap_or(0) => {
            format!("it has restarted {restarts} times")
        }
        Some(ContainerStateStatusEnum::RUNNING) => return None,
        Some(ContainerStateStatusEnum::CREATED) => "it was not started".to_owned(),
        _ if state.oom_killed == Some(true) => {
            format!("it ran out of memory and exited with {code}")
        }
        _ => format!("it exited with {code}"),
    };
    let error = state.error.as_deref().filter(|error| !error.is_empty());
    Some(error.map_or(why.clone(), |error| format!("{why}: {error}")))
}

/// Says what the image's own HEALTHCHECK has against the unit.
fn own_check(container: &ContainerInspectResponse) -> Option<String> {
    let status = health_status(container)?;
    if status == HealthStatusEnum::HEALTHY {
        return None;
    }
    let health = container.state.as_ref()?.health.as_ref()?;
    let last = health.log.as_ref().and_then(|log| log.last());
    let output = last.and_then(|last| last.output.as_deref()).unwrap_or_default().trim();
    let said = if output.is_empty() { String::new() } else { format!(": {output}") };
    Some(format!("its HEALTHCHECK is {status}{said}"))
}

pub(super) fn health_status(container: &ContainerInspectResponse) -> Option<HealthStatusEnum> {
    let status = container.state.as_ref()?.health.as_ref()?.status?;
    (!matches!(status, HealthStatusEnum::NONE | HealthStatusEnum::EMPTY)).then_some(status)
}
