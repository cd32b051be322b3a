//! A [`Target`] in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use event::{DeploymentId, Finding, ReleaseId};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    Artifact, Caps, EnvironmentKey, ExecEnd, ExecOptions, KeepSet, LeaseAnswer, LeaseAsk,
    LeaseHolder, LogChunk, LogOptions, LogSource, LogStream, Observed, ObservedUnit, Op, OpAction,
    OpOutcome, Pruned, Spec, Target, TargetError, Terminal, UnitId, UnitState,
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
    /// The largest that was seen.
    fences: BTreeMap<EnvironmentKey, u64>,
    leases: BTreeMap<EnvironmentKey, HeldLease>,
    calls: usize,
    faults: Vec<Fault>,
    findings: Vec<Finding>,
    expired: Vec<UnitId>,
    /// What was fetched, by project.
    artifacts: BTreeSet<(String, ReleaseId)>,
    gone: BTreeSet<ReleaseId>,
    /// Where every unit answers; by default each has an address of its own.
    answers_at: Option<SocketAddr>,
    sick: BTreeSet<ReleaseId>,
    sick_slots: BTreeSet<u32>,
    sick_slots_of: BTreeSet<(u32, ReleaseId)>,
    sick_later: BTreeSet<ReleaseId>,
    sick_later_slots_of: BTreeSet<(u32, ReleaseId)>,
    gate_takes: Duration,
    cuts: u64,
    /// The slot whose host dies, and at which call.
    dies: Option<(usize, u32)>,
    /// The slots whose host is away.
    dead: BTreeSet<u32>,
    cannot_prune: bool,
    twice: bool,
    mutations: Vec<(String, UnitId)>,
    /// The deployment of each effect.
    writers: Vec<DeploymentId>,
    /// Units in traffic that run, per sample.
    samples: Vec<Sample>,
    /// Units that have passed their gate since they were started.
    gated: BTreeSet<UnitId>,
    /// Units that left traffic and were not drained since.
    undrained: BTreeSet<UnitId>,
    violations: Vec<String>,
}

struct HeldLease {
    ask: LeaseAsk,
    fence: u64,
    since: DateTime<Utc>,
    until: Instant,
}

/// What traffic was served by at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub serving: usize,
    pub serving_by_deployment: BTreeMap<DeploymentId, usize>,
    /// Units in traffic that do not run: requests to them are lost.
    pub broken: usize,
    /// Slots of which two units run.
    pub doubled: usize,
    /// Deployments of which any unit runs.
    pub running: BTreeSet<DeploymentId>,
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

    /// Units of a slot fail their gate at once, if they are of `release`.
    pub fn sick_slot_of(&self, slot: u32, release: ReleaseId) {
        self.state().sick_slots_of.insert((slot, release));
    }

    /// Units of a slot pass their gate and turn bad while they are watched, if they are of
    /// `release`.
    pub fn sick_later_slot_of(&self, slot: u32, release: ReleaseId) {
        self.state().sick_later_slots_of.insert((slot, release));
    }

    /// Units of every release are healthy again.
    pub fn heal(&self) {
        let mut state = self.state();
        state.sick.clear();
        state.sick_slots.clear();
        state.sick_slots_of.clear();
        state.sick_later.clear();
        state.sick_later_slots_of.clear();
    }

    /// Forgets who has the lease, as a proxy does that lost its state.
    pub fn lose_lease(&self) {
        self.state().leases.clear();
    }

    /// Adds a fault at a call counted from now.
    pub fn fault_in(&self, calls: usize, kind: FaultKind) {
        let mut state = self.state();
        let call = state.calls + calls;
        state.faults.push(Fault { call, kind });
    }

    /// The host of a slot dies at a call counted from now: nobody sees what is there, and
    /// nothing but its traffic can be changed.
    pub fn dies_in(&self, calls: usize, slot: u32) {
        let mut state = self.state();
        state.dies = Some((state.calls + calls, slot));
    }

    /// All hosts are there again.
    pub fn revive(&self) {
        let mut state = self.state();
        state.dies = None;
        state.dead.clear();
    }

    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// What preflight finds from now on.
    pub fn findings(&self, findings: Vec<Finding>) {
        self.state().findings = findings;
    }

    /// Which units have waited long enough from now on.
    pub fn expire(&self, units: Vec<UnitId>) {
        self.state().expired = units;
    }

    /// From now on every unit that is made answers there.
    pub fn answers_at(&self, address: SocketAddr) {
        self.state().answers_at = Some(address);
    }

    /// The artifact of `release` cannot be fetched any more.
    pub fn unfetchable(&self, release: ReleaseId) {
        self.state().gone.insert(release);
    }

    /// Every drain cuts so many requests.
    pub fn cuts(&self, requests: u64) {
        self.state().cuts = requests;
    }

    /// Nothing that was fetched can be removed any more.
    pub fn cannot_prune(&self) {
        self.state().cannot_prune = true;
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

    /// Returns what must never happen and did: a unit that got traffic without passing
    /// its gate, or was stopped without being drained.
    pub fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut self.state().violations)
    }

    /// Returns whose effects there were since the last time, in their order.
    pub fn take_writers(&self) -> Vec<DeploymentId> {
        std::mem::take(&mut self.state().writers)
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

    /// Takes a unit away, as if by another hand.
    pub fn lose(&self, unit: &UnitId) {
        self.state().units.remove(unit);
    }

    pub fn seen(&self) -> Observed {
        self.state().seen()
    }

    fn known(&self, unit: &UnitId) -> Result<UnitId, TargetError> {
        match self.state().units.get(unit) {
            Some(known) => Ok(known.unit.clone()),
            None => {
                let message = format!("{unit} does not exist");
                Err(TargetError::Infrastructure { part: "memory".to_owned(), message })
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
        effect: impl Fn(&mut State) -> Result<OpOutcome, TargetError>,
    ) -> Result<OpOutcome, TargetError> {
        let fault = self.state().begin(&spec.key(), fence)?;
        if self.state().is_out_of_reach(op) {
            return Err(broken(op));
        }
        if fault == Some(FaultKind::HangBefore) {
            self.hang().await;
        }
        if fault == Some(FaultKind::FailBefore) {
            return Err(broken(op));
        }
        if fault == Some(FaultKind::Pretend) {
            return Ok(OpOutcome::Done { detail: "trust me".to_owned() });
        }
        self.state().writers.push(op.deployment);
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

    async fn preflight(&self, _spec: &Spec, _seen: &Observed) -> Result<Vec<Finding>, TargetError> {
        Ok(self.state().findings.clone())
    }

    async fn fetchable(&self, spec: &Spec) -> Result<Option<String>, TargetError> {
        let gone = self.state().gone.contains(&spec.release);
        Ok(gone.then(|| format!("image {} is gone", spec.release.short())))
    }

    async fn lease(
        &self,
        key: &EnvironmentKey,
        ask: &LeaseAsk,
    ) -> Result<LeaseAnswer, TargetError> {
        self.state().take_lease(key, ask)
    }

    async fn renew(
        &self,
        key: &EnvironmentKey,
        fence: u64,
        ask: &LeaseAsk,
    ) -> Result<(), TargetError> {
        match self.state().leases.get_mut(key) {
            Some(held) if held.fence == fence => {
                held.until = Instant::now() + ask.ttl;
                Ok(())
            }
            _ => Err(TargetError::Fenced("somebody else has the lease".to_owned())),
        }
    }

    async fn release(
        &self,
        key: &EnvironmentKey,
        fence: u64,
        _ask: &LeaseAsk,
    ) -> Result<(), TargetError> {
        self.state().leases.retain(|of, held| of != key || held.fence != fence);
        Ok(())
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
        self.call(op, spec, fence, |state| state.apply(op, spec, fence)).await
    }

    async fn prune(&self, project: &str, keep: &KeepSet) -> Result<Pruned, TargetError> {
        let mut state = self.state();
        if state.cannot_prune {
            let (part, message) = ("memory".to_owned(), "the disk is read-only".to_owned());
            return Err(TargetError::Infrastructure { part, message });
        }
        let used: BTreeSet<_> = state.units.values().map(|unit| unit.release).collect();
        let (gone, kept) =
            std::mem::take(&mut state.artifacts).into_iter().partition(|(of, release)| {
                of == project && !keep.keeps(*release) && !used.contains(release)
            });
        state.artifacts = kept;
        let gone: BTreeSet<(String, ReleaseId)> = gone;
        Ok(Pruned { removed: gone.into_iter().map(|(_, release)| release.to_string()).collect() })
    }

    async fn undo(&self, op: &Op, spec: &Spec, fence: u64) -> Result<OpOutcome, TargetError> {
        self.call(op, spec, fence, |state| state.undo(op)).await
    }

    async fn expired(&self, _key: &EnvironmentKey) -> Result<Vec<UnitId>, TargetError> {
        Ok(self.state().expired.clone())
    }

    /// There is no registry: what a reference means is its name.
    async fn resolve(&self, reference: &str) -> Result<Artifact, TargetError> {
        Ok(Artifact::ImageId(format!("sha256:{reference}")))
    }

    /// A unit that is a row writes nothing but its name.
    async fn logs(&self, unit: &UnitId, _options: LogOptions) -> Result<LogStream, TargetError> {
        let bytes = format!("{}\n", self.known(unit)?).into_bytes();
        let line = Ok(LogChunk { source: LogSource::Stdout, bytes });
        Ok(futures_util::stream::iter([line]).boxed())
    }

    /// Says again what it was told, and ends well.
    async fn exec(&self, unit: &UnitId, options: ExecOptions) -> Result<Terminal, TargetError> {
        self.known(unit)?;
        let (input, mut told) = mpsc::channel(1);
        let words = format!("{}\n", options.command.join(" ")).into_bytes();
        let words = Ok(LogChunk { source: LogSource::Stdout, bytes: words });
        let end = async move {
            while told.recv().await.is_some() {}
            Ok(ExecEnd { code: 0 })
        };
        let output = futures_util::stream::iter([words]).boxed();
        Ok(Terminal { input, output, end: end.boxed() })
    }
}

impl State {
    fn take_lease(
        &mut self,
        key: &EnvironmentKey,
        ask: &LeaseAsk,
    ) -> Result<LeaseAnswer, TargetError> {
        let live = self.leases.get(key).filter(|held| held.until > Instant::now());
        if let Some(held) = live.filter(|held| held.ask.deployment != ask.deployment) {
            let by = LeaseHolder { holder: held.ask.holder.clone(), since: Some(held.since) };
            return Ok(LeaseAnswer::Held(by));
        }
        let seen = self.fences.entry(key.clone()).or_default();
        let fence = (*seen).max(ask.above) + 1;
        *seen = fence;
        let (since, until) = (SystemTime::now().into(), Instant::now() + ask.ttl);
        self.leases.insert(key.clone(), HeldLease { ask: ask.clone(), fence, since, until });
        Ok(LeaseAnswer::Taken { fence })
    }

    fn seen(&self) -> Observed {
        let there = |unit: &&ObservedUnit| !self.dead.contains(&unit.slot);
        let mut units: Vec<_> = self.units.values().filter(there).cloned().collect();
        units.sort_by(|a, b| (a.slot, &a.unit).cmp(&(b.slot, &b.unit)));
        Observed { units, away: self.dead.clone() }
    }

    /// Whether an op wants something of a host that is dead.
    fn is_out_of_reach(&self, op: &Op) -> bool {
        let of_host = !op.action.is_of_environment() && op.action != OpAction::Drain;
        of_host && self.dead.contains(&op.slot)
    }

    fn gate_time(&self, slot: u32) -> Duration {
        if self.sick_slots.contains(&slot) { Duration::ZERO } else { self.gate_takes }
    }

    fn begin(
        &mut self,
        key: &EnvironmentKey,
        fence: u64,
    ) -> Result<Option<FaultKind>, TargetError> {
        let seen = self.fences.entry(key.clone()).or_default();
        if fence < *seen {
            return Err(TargetError::Fenced(format!("fence {seen} was seen")));
        }
        *seen = fence;
        let call = self.calls;
        self.calls += 1;
        if let Some((_, slot)) = self.dies.filter(|(at, _)| call >= *at) {
            self.dead.insert(slot);
        }
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
            OpAction::Fetch => {
                self.artifacts.insert((spec.project.clone(), spec.release));
            }
            OpAction::VerifyUnit | OpAction::Verify => {}
            OpAction::Create => {
                let at = self.answers_at;
                let host = u8::try_from(self.units.len() % 250).unwrap_or(0) + 1;
                self.units.entry(op.unit.clone()).or_insert_with(|| ObservedUnit {
                    unit: op.unit.clone(),
                    slot: op.slot,
                    release: spec.release,
                    deployment: op.deployment,
                    spec: spec.unit_hash(),
                    state: UnitState::Created,
                    admitted: false,
                    address: at.or(Some(SocketAddr::from((Ipv4Addr::new(10, 0, 0, host), 8080)))),
                    image: "image".to_owned(),
                    fence,
                });
            }
            OpAction::Start => {
                if self.unit(op)?.state != UnitState::Running {
                    self.gated.remove(&op.unit);
                }
                self.unit(op)?.state = UnitState::Running;
            }
            OpAction::Gate | OpAction::Bake => return self.health(op),
            OpAction::Admit => {
                if self.unit(op)?.state != UnitState::Running {
                    return Err(refused(op, "does not run"));
                }
                if !self.unit(op)?.admitted && !self.gated.contains(&op.unit) {
                    self.violations.push(format!("{} got traffic without its gate", op.unit));
                }
                self.admit(op.replaces.as_ref(), false);
                self.undrained.remove(&op.unit);
                self.unit(op)?.admitted = true;
            }
            OpAction::Close => {
                let admitted = self.units.values().filter(|unit| unit.admitted);
                for unit in admitted.map(|unit| unit.unit.clone()).collect::<Vec<_>>() {
                    self.admit(Some(&unit), false);
                }
            }
            OpAction::Drain => {
                self.admit(Some(&op.unit), false);
                self.undrained.remove(&op.unit);
                return Ok(OpOutcome::Drained { cut: self.cuts, took_ms: 1 });
            }
            OpAction::Stop => {
                let unit = self.unit(op)?;
                if unit.admitted {
                    return Err(refused(op, "still gets traffic"));
                }
                unit.state = UnitState::Exited;
                if self.undrained.contains(&op.unit) {
                    self.violations.push(format!("{} was stopped, not drained", op.unit));
                }
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
            | OpAction::Close
            | OpAction::VerifyUnit
            | OpAction::Verify
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
            || self.sick_slots_of.contains(&(unit.slot, unit.release))
            || (sick_later && self.sick_later.contains(&unit.release))
            || (sick_later && self.sick_later_slots_of.contains(&(unit.slot, unit.release)));
        if unit.state != UnitState::Running || sick {
            let reason = if sick { "GET / → 500" } else { "does not run" };
            return Ok(OpOutcome::Unhealthy {
                reason: reason.to_owned(),
                logs: vec!["it hurts".to_owned()],
            });
        }
        self.gated.insert(op.unit.clone());
        Ok(OpOutcome::Done { detail: "3 of 3".to_owned() })
    }

    fn unit(&mut self, op: &Op) -> Result<&mut ObservedUnit, TargetError> {
        self.units.get_mut(&op.unit).ok_or_else(|| refused(op, "does not exist"))
    }

    fn admit(&mut self, unit: Option<&UnitId>, admitted: bool) {
        if let Some(unit) = unit.and_then(|unit| self.units.get_mut(unit)) {
            if unit.admitted && !admitted {
                self.undrained.insert(unit.unit.clone());
            }
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
        let running = || self.units.values().filter(|unit| unit.state == UnitState::Running);
        let slots: BTreeSet<u32> = running().map(|unit| unit.slot).collect();
        self.samples.push(Sample {
            serving,
            serving_by_deployment,
            broken,
            doubled: running().count() - slots.len(),
            running: running().map(|unit| unit.deployment).collect(),
        });
    }
}

fn refused(op: &Op, why: &str) -> TargetError {
    let message = format!("{} {}: it {why}", op.action.name(), op.unit);
    TargetError::Infrastructure { part: "memory".to_owned(), message }
}
