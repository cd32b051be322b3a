//! The health of a unit: is the container alive, does its own check say yes,
//! and does it answer at its own address.
//!
//! Without `health`, an image's HEALTHCHECK is the gate. Without that too, a unit
//! with `expose` must accept connections on its port, since no request may reach
//! a unit that does not listen, and any other must run for a second.

use std::net::IpAddr;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum, HealthStatusEnum};
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;
use pipeline::Probe;
use tokio_util::sync::CancellationToken;

use super::call::CallError;
use super::unit::UnitView;
use super::{DockerTarget, done};
use crate::health::{Look, Pace, Verdict, gate, probe, watch};
use crate::{OpOutcome, Spec, TargetError, UnitId};

const LOG_LINES: usize = 200;
const LOG_LINE_BYTES: usize = 2_000;
const LOGS: Duration = Duration::from_secs(5);

/// What to ask a unit, and how often.
struct Check {
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

    async fn look(
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
            return Ok(Look::Bad(why));
        }
        Ok(match &check.probe {
            Some((asked, timeout)) => probe(asked, IpAddr::V4(unit.address), *timeout).await,
            None => Look::Good,
        })
    }

    async fn judge(&self, unit: &UnitView, verdict: Verdict) -> Result<OpOutcome, TargetError> {
        Ok(match verdict {
            Verdict::Healthy { looks, took } => {
                let s = if looks == 1 { "" } else { "s" };
                done(format!("healthy, {looks} look{s} in {:.1} s", took.as_secs_f64()))
            }
            Verdict::Unhealthy(reason) => {
                OpOutcome::Unhealthy { reason, logs: self.logs(&unit.seen.unit).await }
            }
            // The caller asked for it and knows.
            Verdict::Cancelled => done("cancelled"),
        })
    }

    /// Returns the last lines of a unit; what cannot be read is not worth an error.
    pub(super) async fn logs(&self, unit: &UnitId) -> Vec<String> {
        let options = LogsOptionsBuilder::new()
            .stdout(true)
            .stderr(true)
            .tail(&LOG_LINES.to_string())
            .build();
        let mut text = Vec::new();
        let mut reading = self.docker.logs(&unit.0, Some(options));
        let read = async {
            while let Some(Ok(output)) = reading.next().await {
                let (LogOutput::StdOut { message }
                | LogOutput::StdErr { message }
                | LogOutput::StdIn { message }
                | LogOutput::Console { message }) = output;
                text.extend_from_slice(&message);
            }
        };
        // What was read until then is kept.
        let _ = tokio::time::timeout(LOGS, read).await;
        last_lines(&text)
    }
}

fn last_lines(text: &[u8]) -> Vec<String> {
    let line = |line: &[u8]| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        String::from_utf8_lossy(&line[..line.len().min(LOG_LINE_BYTES)]).into_owned()
    };
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    if text.is_empty() {
        return Vec::new();
    }
    let lines: Vec<_> = text.split(|byte| *byte == b'\n').map(line).collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].to_vec()
}

fn check_of(unit: &UnitView, spec: &Spec, container: &ContainerInspectResponse) -> Check {
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

fn health_status(container: &ContainerInspectResponse) -> Option<HealthStatusEnum> {
    let status = container.state.as_ref()?.health.as_ref()?.status?;
    (!matches!(status, HealthStatusEnum::NONE | HealthStatusEnum::EMPTY)).then_some(status)
}
