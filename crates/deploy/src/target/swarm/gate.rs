//! The health of a unit: does its task live, does its own check say yes, and does it
//! answer on the port of its node.
//!
//! A `cmd` and an image's HEALTHCHECK are asked by the node, and the swarm says that a
//! task runs only once they have passed.

use std::collections::BTreeMap;
use std::time::Duration;

use pipeline::Probe;
use tokio_util::sync::CancellationToken;

use super::SwarmTarget;
use super::task::{Stage, failure, newest, stage_of, words};
use super::unit::{UnitView, view};
use crate::health::{Look, Pace, Verdict, gate, probe, watch};
use crate::target::driving::{done, key_of};
use crate::{Inspected, Life, Observed, OpOutcome, Spec, TargetError, UnitId};

/// What to ask a unit, and how often.
struct Check {
    probe: Option<(Probe, Duration)>,
    pace: Pace,
}

impl SwarmTarget {
    pub(super) async fn gate(
        &self,
        unit: &UnitView,
        spec: &Spec,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        let check = check_of(unit, spec);
        let verdict = gate(check.pace, || self.look(unit, &check), cancel).await?;
        self.judge(&unit.seen.unit, verdict).await
    }

    pub(super) async fn bake(
        &self,
        unit: &UnitView,
        spec: &Spec,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        let check = check_of(unit, spec);
        let length = spec.strategy.bake.std();
        let verdict = watch(check.pace, length, || self.look(unit, &check), cancel).await?;
        self.judge(&unit.seen.unit, verdict).await
    }

    /// Looks at the unit as it is now; `unit` is as it was when the looking began.
    async fn look(&self, unit: &UnitView, check: &Check) -> Result<Look, TargetError> {
        let tasks = self.tasks(unit.service.id.clone().into_iter().collect()).await?;
        if let Some(failed) = failure(&tasks, unit.service.updated_at) {
            return Ok(Look::Dead(words(failed)));
        }
        let Some(task) = newest(&tasks) else {
            return Ok(Look::Dead("it was not started".to_owned()));
        };
        if stage_of(task) != Stage::Runs {
            return Ok(Look::Bad(words(task)));
        }
        let Some((asked, timeout)) = &check.probe else { return Ok(Look::Good) };
        let nodes = self.nodes().await?;
        let now = view(unit.service.clone(), tasks.clone(), &nodes);
        let ports = now.map(|now| now.ports).unwrap_or_default();
        let at = |port: &u16| ports.get(port).copied();
        let asking = match asked {
            Probe::Http { path, port } => {
                at(port).map(|at| (at.ip(), Probe::Http { path: path.clone(), port: at.port() }))
            }
            Probe::Tcp(port) => at(port).map(|at| (at.ip(), Probe::Tcp(at.port()))),
            Probe::Cmd(_) => return Ok(Look::Good),
        };
        let Some((address, asked)) = asking else {
            return Ok(Look::Bad("the swarm does not say where its node is".to_owned()));
        };
        let seen = probe(&asked, address, unit.seen.release, *timeout).await;
        Ok(seen.unwrap_or_else(|| Look::Bad("it cannot be asked".to_owned())))
    }

    async fn judge(&self, unit: &UnitId, verdict: Verdict) -> Result<OpOutcome, TargetError> {
        Ok(match verdict {
            Verdict::Healthy { looks, took } => {
                let s = if looks == 1 { "" } else { "s" };
                done(format!("healthy, {looks} look{s} in {:.1} s", took.as_secs_f64()))
            }
            Verdict::Unhealthy(reason) => {
                OpOutcome::Unhealthy { reason, logs: self.last_lines(unit).await }
            }
            // The caller asked for it and knows.
            Verdict::Cancelled => done("cancelled"),
        })
    }

    /// Units for who watches: how they fare, and what the proxy does.
    pub(super) async fn inspect_units(&self, spec: &Spec) -> Result<Inspected, TargetError> {
        let units = self.units(&key_of(spec)).await?;
        let mut lives = BTreeMap::new();
        for unit in units.iter().filter(|unit| unit.seen.admitted) {
            lives.insert(unit.seen.unit.clone(), self.life(unit, spec).await?);
        }
        let route = self.traffic.seen(&spec.route()).await?;
        let units = units.into_iter().map(|unit| unit.seen).collect();
        let observed = Observed { units, ..Observed::default() };
        Ok(Inspected { observed, lives, route })
    }

    async fn life(&self, unit: &UnitView, spec: &Spec) -> Result<Life, TargetError> {
        let task = newest(&unit.tasks);
        let begins = task.is_some_and(|task| stage_of(task) == Stage::Begins);
        let complaint = match self.look(unit, &check_of(unit, spec)).await? {
            Look::Good => None,
            Look::Bad(_) if begins => None,
            // It is another task that ended: this one is asked the next time.
            Look::Dead(_) if task.is_some_and(|task| stage_of(task) == Stage::Runs) => None,
            Look::Bad(why) | Look::Dead(why) | Look::Other(why) => Some(why),
        };
        Ok(Life {
            beginning: task.and_then(|task| task.id.clone()).unwrap_or_default(),
            restarts: u64::try_from(unit.tasks.len().saturating_sub(1)).unwrap_or(u64::MAX),
            complaint,
        })
    }
}

fn check_of(unit: &UnitView, spec: &Spec) -> Check {
    if let Some(health) = &spec.health {
        let probe = Some((health.probe.clone(), health.timeout.std()));
        return Check { probe, pace: Pace::from(health) };
    }
    let pace = Pace {
        interval: Duration::from_millis(250),
        successes: if unit.port.is_some() { 3 } else { 5 },
        failures: 3,
        deadline: Duration::from_secs(60),
    };
    Check { probe: unit.port.map(|port| (Probe::Tcp(port), Duration::from_secs(2))), pace }
}
