//! The health of a host: asked at its own address, or by a command on it.
//!
//! Without `health`, a host with `expose` must accept connections on its port; one
//! without both is as healthy as its start was.

use std::net::IpAddr;
use std::time::Duration;

use pipeline::Probe;
use tokio_util::sync::CancellationToken;

use super::connection::Input;
use super::trouble::Trouble;
use super::unit::UnitView;
use super::{HostsTarget, done};
use crate::health::{Look, Pace, Verdict, gate, probe, watch};
use crate::{OpOutcome, Spec, TargetError, UnitState};

/// What to ask, and how often.
struct Check {
    probe: Option<(Probe, Duration)>,
    pace: Pace,
}

fn check_of(spec: &Spec) -> Check {
    if let Some(health) = &spec.health {
        let probe = Some((health.probe.clone(), health.timeout.std()));
        return Check { probe, pace: Pace::from(health) };
    }
    let exposed = spec.expose.as_ref().map(|expose| expose.port);
    let pace = Pace {
        interval: Duration::from_millis(250),
        successes: if exposed.is_some() { 3 } else { 1 },
        failures: 3,
        deadline: Duration::from_secs(60),
    };
    Check { probe: exposed.map(|port| (Probe::Tcp(port), Duration::from_secs(2))), pace }
}

impl HostsTarget {
    pub(super) async fn gate(
        &self,
        unit: &UnitView,
        spec: &Spec,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        if unit.seen.state != UnitState::Running {
            let reason = format!("host {}: it was not started", unit.host.access.name);
            return Ok(OpOutcome::Unhealthy { reason, logs: Vec::new() });
        }
        let (check, ip) = (check_of(spec), self.asked_at(unit).await?);
        let verdict = gate(check.pace, || look(unit, ip, &check), cancel).await?;
        Ok(judge(unit, verdict))
    }

    pub(super) async fn bake(
        &self,
        unit: &UnitView,
        spec: &Spec,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        let (check, ip) = (check_of(spec), self.asked_at(unit).await?);
        let length = spec.strategy.bake.std();
        let verdict = watch(check.pace, length, || look(unit, ip, &check), cancel).await?;
        Ok(judge(unit, verdict))
    }

    async fn asked_at(&self, unit: &UnitView) -> Result<IpAddr, TargetError> {
        let address = unit.host.address().await;
        address.map_err(|trouble| trouble.error(&unit.host.access.name))
    }
}

fn judge(unit: &UnitView, verdict: Verdict) -> OpOutcome {
    let host = &unit.host.access.name;
    match verdict {
        Verdict::Healthy { looks, took } => {
            let s = if looks == 1 { "" } else { "s" };
            done(format!("{host}: healthy, {looks} look{s} in {:.1} s", took.as_secs_f64()))
        }
        Verdict::Unhealthy(reason) => {
            OpOutcome::Unhealthy { reason: format!("host {host}: {reason}"), logs: Vec::new() }
        }
        // The caller asked for it and knows.
        Verdict::Cancelled => done("cancelled"),
    }
}

async fn look(unit: &UnitView, ip: IpAddr, check: &Check) -> Result<Look, TargetError> {
    let Some((asked, timeout)) = &check.probe else { return Ok(Look::Good) };
    if let Probe::Cmd(command) = asked {
        return run(unit, command, *timeout).await;
    }
    let seen = probe(asked, ip, unit.file.release, *timeout).await;
    Ok(match seen {
        // The service still has the files of the former release open: it is about to have ours.
        Some(Look::Other(why)) => Look::Bad(why),
        Some(look) => look,
        None => Look::Bad("it cannot be asked".to_owned()),
    })
}

/// Runs a check that is a command, on the host, in the release.
async fn run(unit: &UnitView, words: &[String], timeout: Duration) -> Result<Look, TargetError> {
    let shown = words.join(" ");
    let root = unit.host.root(&unit.file.project);
    let arguments: Vec<_> =
        std::iter::once(&*unit.seen.unit.0).chain(words.iter().map(String::as_str)).collect();
    match unit.host.call(&root, "check", &arguments, &Input::Nothing, timeout).await {
        Ok(_) => Ok(Look::Good),
        Err(Trouble::Hook(said)) => {
            let mut lines: Vec<_> = said.lines().collect();
            let how = lines.pop().unwrap_or_default();
            let last = lines.pop().map(|line| format!(": {line}")).unwrap_or_default();
            Ok(Look::Bad(format!("`{shown}` {how}{last}")))
        }
        Err(Trouble::Late { .. }) => {
            Ok(Look::Bad(format!("`{shown}`: not done within {} s", timeout.as_secs_f64())))
        }
        // A connection that falters is no verdict about the release.
        Err(trouble) if trouble.is_away() => Ok(Look::Bad(trouble.cause())),
        Err(trouble) => Err(trouble.error(&unit.host.access.name)),
    }
}
