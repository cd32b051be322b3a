//! A [`Target`] in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use event::{DeploymentId, ReleaseId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    Caps, EnvironmentKey, Observed, ObservedUnit, Op, OpAction, OpOutcome, Spec, Target,
    TargetError, UnitId, UnitState,
};

/// Runs units that are rows in a table.
#[derive(Default)]
pub struct MemoryTarget {
    state: Mutex<State>,
    /// Told when a call hangs by a [`FaultKind::HangBefore`] or `HangAfter`.
    hanging: Notify,
}

#[derive(Default)]
struct State {
    units: BTreeMap<UnitId, ObservedUnit>,
    fence: u64,
    calls: usize,
    faults: Vec<Fault>,
    findings: Vec<String>,
    sick: BTreeSet<ReleaseId>,
    sick_slots: BTreeSet<u32>,
    sick_later: BTreeSet<ReleaseId>,
    gate_takes: Duration,
    twice: bool,
    mutations: Vec<(String, UnitId)>,
    /// Units in traffic that run, per sample.
    samples: Vec<Sample>,
}

/// What traffic was served by at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub serving: usize,
    pub serving_by_deployment: BTreeMap<DeploymentId, usize>,
    /// Units in traffic that do not run: requests to them are lost.
    pub broken: usize,
}

/// Goes wrong at the `call`th `apply` or `undo`, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub call: usize,
    pub kind: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The infrastructure fails, without or after the effect.
    FailBefore,
    FailAfter,
    /// The call never returns, without or after the effect; its caller is as
    /// good as dead.
    HangBefore,
    HangAfter,
    /// The call says that it is done, and did nothing.
    Pretend,
}

impl MemoryTarget {
    /// Units of `release` never pass a gate.
    pub fn never_healthy(&self, release: ReleaseId) {
        self.state().sick.insert(release);
    }

    /// Units of `release` pass their gate and turn bad while they are watched.
    pub fn healthy_then_bad(&self, release: ReleaseId) {
        self.state().sick_later.insert(release);
    }

    /// Units of a slot fail their gate at once, whatever they run.
    pub fn slot_never_healthy(&self, slot: u32) {
        self.state().sick_slots.insert(slot);
    }

    /// Units of every release are healthy again.
    pub fn heal(&self) {
        let mut state = self.state();
        state.sick.clear();
        state.sick_slots.clear();
        state.sick_later.clear();
    }

    /// Adds a fault at a call counted from now.
    pub fn fault_in(&self, calls: usize, kind: FaultKind) {
        let mut state = self.state();
        let call = state.calls + calls;
        state.faults.push(Fault { call, kind });
    }

    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// What preflight finds from now on.
    pub fn findings(&self, findings: Vec<String>) {
        self.state().findings = findings;
    }

    pub fn gate_takes(&self, time: Duration) {
        self.state().gate_takes = time;
    }

    /// From now on every op is applied, and every undo done, twice.
    pub fn twice(&self) {
        self.state().twice = true;
    }

    /// Returns when a call hangs.
    pub async fn hanging(&self) {
        self.hanging.notified().await;
    }

    /// Returns the effects since the last time, in their order.
    pub fn take_mutations(&self) -> Vec<(String, UnitId)> {
        std::mem::take(&mut self.state().mutations)
    }

    pub fn take_samples(&self) -> Vec<Sample> {
        std::mem::take(&mut self.state().samples)
    }

    /// Returns how many calls there were.
    pub fn calls(&self) -> usize {
        self.state().calls
    }

    /// Puts a unit there, or changes it, as if by another hand.
    pub fn put(&self, unit: ObservedUnit) {
        self.state().units.insert(unit.unit.clone(), unit);
    }

    pub fn seen(&self) -> Observed {
        self.state().seen()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(
        &self,
        op: &Op,
        fence: u64,
        effect: impl Fn(&mut State) -> Result<OpOutcome, TargetError>,
    ) -> Result<OpOutcome, TargetError> {
        let fault = self.state().begin(fence)?;
        if fault == Some(FaultKind::HangBefore) {
            self.hang().await;
        }
        if fault == Some(FaultKind::FailBefore) {
            return Err(broken(op));
        }
        if fault == Some(FaultKind::Pretend) {
            return Ok(OpOutcome::Done { detail: "trust me".to_owned() });
        }
        let outcome = self.state().effect(effect)?;
        match fault {
            Some(FaultKind::FailAfter) => Err(broken(op)),
            Some(FaultKind::HangAfter) => {
                self.hang().await;
                Ok(outcome)
            }
            _ => Ok(outcome),
        }
    }

    async fn hang(&self) {
        self.hanging.notify_one();
        std::future::pending::<()>().await;
    }
}

fn broken(op: &Op) -> TargetError {
    let message = format!("connection reset at {} {}", op.action.name(), op.unit);
    TargetError::Infrastructure { part: "memory".to_owned(), message }
}

#[async_trait]
impl Target for MemoryTarget {
    fn caps(&self) -> Caps {
        Caps { start_first: true }
    }

    async fn observe(&self, _key: &EnvironmentKey) -> Result<Observed, TargetError> {
        Ok(self.seen())
    }

    async fn preflight(&self, _spec: &Spec, _seen: &Observed) -> Result<Vec<String>, TargetError> {
        Ok(self.state().findings.clone())
    }

    async fn apply(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        if op.action == OpAction::Gate {
            let takes = self.state().gate_time(op.slot);
            tokio::select! {
                () = tokio::time::sleep(takes) => {}
                () = cancel.cancelled() => {}
            }
        }
        self.call(op, fence, |state| state.apply(op, spec, fence)).await
    }

    async fn undo(&self, op: &Op, _spec: &Spec, fence: u64) -> Result<OpOutcome, TargetError> {
        self.call(op, fence, |state| state.undo(op)).await
    }
}

impl State {
    fn seen(&self) -> Observed {
        let mut units: Vec<_> = self.units.values().cloned().collect();
        units.sort_by(|a, b| (a.slot, &a.unit).cmp(&(b.slot, &b.unit)));
        Observed { units }
    }

    fn gate_time(&self, slot: u32) -> Duration {
        if self.sick_slots.contains(&slot) { Duration::ZERO } else { self.gate_takes }
    }

    fn begin(&mut self, fence: u64) -> Result<Option<FaultKind>, TargetError> {
        if fence < self.fence {
            return Err(TargetError::Fenced(format!("fence {} was seen", self.fence)));
        }
        self.fence = fence;
        let call = self.calls;
        self.calls += 1;
        Ok(self.faults.iter().find(|fault| fault.call == call).map(|fault| fault.kind))
    }

    fn effect(
        &mut self,
        effect: impl Fn(&mut State) -> Result<OpOutcome, TargetError>,
    ) -> Result<OpOutcome, TargetError> {
        let outcome = effect(self)?;
        if self.twice {
            let once = self.units.clone();
            let again = effect(self)?;
            assert_eq!((&once, &outcome), (&self.units, &again), "twice is not as once");
        }
        self.sample();
        Ok(outcome)
    }

    fn apply(&mut self, op: &Op, spec: &Spec, fence: u64) -> Result<OpOutcome, TargetError> {
        self.mutations.push((op.action.name().to_owned(), op.unit.clone()));
        match op.action {
            OpAction::Fetch => {}
            OpAction::Create => {
                let host = u8::try_from(self.units.len() % 250).unwrap_or(0) + 1;
                self.units.entry(op.unit.clone()).or_insert_with(|| ObservedUnit {
                    unit: op.unit.clone(),
                    slot: op.slot,
                    release: spec.release,
                    deployment: op.deployment,
                    spec: spec.unit_hash(),
                    state: UnitState::Created,
                    admitted: false,
                    address: Some(SocketAddr::from((Ipv4Addr::new(10, 0, 0, host), 8080))),
                    image: "image".to_owned(),
                    fence,
                });
            }
            OpAction::Start => self.unit(op)?.state = UnitState::Running,
            OpAction::Gate | OpAction::Bake => return self.health(op),
            OpAction::Admit => {
                if self.unit(op)?.state != UnitState::Running {
                    return Err(refused(op, "does not run"));
                }
                self.admit(op.replaces.as_ref(), false);
                self.unit(op)?.admitted = true;
            }
            OpAction::Drain => {
                self.admit(Some(&op.unit), false);
                return Ok(OpOutcome::Drained { cut: 0, took_ms: 1 });
            }
            OpAction::Stop => {
                let unit = self.unit(op)?;
                if unit.admitted {
                    return Err(refused(op, "still gets traffic"));
                }
                unit.state = UnitState::Exited;
            }
            OpAction::Remove => {
                if self.units.get(&op.unit).is_some_and(|unit| unit.admitted) {
                    return Err(refused(op, "still gets traffic"));
                }
                self.units.remove(&op.unit);
            }
        }
        Ok(OpOutcome::Done { detail: String::new() })
    }

    fn undo(&mut self, op: &Op) -> Result<OpOutcome, TargetError> {
        self.mutations.push((format!("undo {}", op.action.name()), op.unit.clone()));
        match op.action {
            OpAction::Create => {
                self.units.remove(&op.unit);
            }
            OpAction::Start => {
                if let Some(unit) = self.units.get_mut(&op.unit) {
                    unit.state = UnitState::Exited;
                }
            }
            OpAction::Stop => self.unit(op)?.state = UnitState::Running,
            OpAction::Admit => {
                self.admit(op.replaces.as_ref(), true);
                self.admit(Some(&op.unit), false);
            }
            OpAction::Fetch
            | OpAction::Gate
            | OpAction::Drain
            | OpAction::Bake
            | OpAction::Remove => {}
        }
        Ok(OpOutcome::Done { detail: String::new() })
    }

    fn health(&mut self, op: &Op) -> Result<OpOutcome, TargetError> {
        let sick_later = op.action == OpAction::Bake;
        let unit = self.unit(op)?.clone();
        let sick = self.sick.contains(&unit.release)
            || self.sick_slots.contains(&unit.slot)
            || (sick_later && self.sick_later.contains(&unit.release));
        if unit.state != UnitState::Running || sick {
            let reason = if sick { "GET / → 500" } else { "does not run" };
            return Ok(OpOutcome::Unhealthy {
                reason: reason.to_owned(),
                logs: vec!["it hurts".to_owned()],
            });
        }
        Ok(OpOutcome::Done { detail: "3 of 3".to_owned() })
    }

    fn unit(&mut self, op: &Op) -> Result<&mut ObservedUnit, TargetError> {
        self.units.get_mut(&op.unit).ok_or_else(|| refused(op, "does not exist"))
    }

    fn admit(&mut self, unit: Option<&UnitId>, admitted: bool) {
        if let Some(unit) = unit.and_then(|unit| self.units.get_mut(unit)) {
            unit.admitted = admitted;
        }
    }

    fn sample(&mut self) {
        let admitted = || self.units.values().filter(|unit| unit.admitted);
        let mut serving_by_deployment = BTreeMap::new();
        for unit in admitted().filter(|unit| unit.state == UnitState::Running) {
            *serving_by_deployment.entry(unit.deployment).or_insert(0) += 1;
        }
        let serving = serving_by_deployment.values().sum();
        let broken = admitted().filter(|unit| unit.state != UnitState::Running).count();
        self.samples.push(Sample { serving, serving_by_deployment, broken });
    }
}

fn refused(op: &Op, why: &str) -> TargetError {
    let message = format!("{} {}: it {why}", op.action.name(), op.unit);
    TargetError::Infrastructure { part: "memory".to_owned(), message }
}
