//! Forward: a plan's phases one after another, the ops of a phase at once.
//!
//! A unit that fails is given up, its slot goes back to the unit it had, and the rest
//! goes on, as long as no more fail than are tolerated.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use event::DeploymentKind;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::fault::Fault;
use crate::op::{Direction, Place, Work};
use crate::plan::{Batch, Before, Budget, DeployPlan, FailedUnit};
use crate::prune::prune;
use crate::session::Session;
use crate::undo::{Extent, Specs, go_back};
use crate::{
    Observed, ObservedUnit, Op, OpAction, Spec, TargetError, UnitId, unit_name, verify, warm,
};

/// How long the clearing away at the end may take.
const FINALISE: Duration = Duration::from_secs(120);

/// Everything a plan is carried out with.
pub(crate) struct Rollout<'a> {
    pub(crate) session: &'a Session,
    pub(crate) work: &'a Work<'a>,
    pub(crate) before: &'a Before,
    pub(crate) specs: &'a Specs<'a>,
    pub(crate) cancel: &'a CancellationToken,
}

impl Rollout<'_> {
    /// Does the plan and returns what was then observed to run. The first fault beyond
    /// the budget ends it, and what is touched stays so.
    pub(crate) async fn carry_out(
        &self,
        plan: &DeployPlan,
        budget: &mut Budget,
    ) -> Result<Vec<ObservedUnit>, Fault> {
        let deployment = self.session.deployment();
        for op in &plan.prepare {
            self.alone(op, self.cancel).await?;
        }
        self.batches(plan, budget).await?;
        let seen = self.session.observe().await?;
        self.lose(&seen, budget).await?;
        let missing = verify::missing(deployment, &seen, &budget.slots());
        if !missing.is_empty() {
            return Err(Fault::Unverified(missing.join("; ")));
        }
        let expired = self.expired().await?;
        let stays = plan.finalise.is_empty() && expired.is_empty();
        self.finalise(plan.finalise.iter().chain(&expired)).await?;
        if !plan.is_empty() {
            prune(self.session).await?;
        }
        if stays {
            return Ok(seen.units);
        }
        Ok(self.session.observe().await.map_or(seen.units, |seen| seen.units))
    }

    async fn batches(&self, plan: &DeployPlan, budget: &mut Budget) -> Result<(), Fault> {
        let count = plan.batches.len();
        for (number, batch) in (1u32..).zip(&plan.batches) {
            let group = batch.group.as_ref().map(|group| format!(": {group}"));
            let group = group.unwrap_or_default();
            self.work.progress.line(format!("batch {number} of {count}{group}")).await;
            self.work.marks.unproven(unproven(batch));
            self.batch(number, batch, budget).await?;
            self.work.marks.take_unproven();
        }
        Ok(())
    }

    async fn batch(&self, number: u32, batch: &Batch, budget: &mut Budget) -> Result<(), Fault> {
        let mut failure = None;
        for ops in &batch.phases {
            let given_up = budget.slots();
            let ops: Vec<_> = ops
                .iter()
                .filter(|op| op.action.is_of_environment() || !given_up.contains(&op.slot))
                .cloned()
                .collect();
            if self.cancel.is_cancelled() {
                return Err(Fault::Cancelled);
            }
            self.work.marks.begin_batch();
            let place = Place { batch: Some(number), back: false };
            let spare = if self.is_rollback() { usize::MAX } else { budget.left() };
            let faults = self.phase(&ops, place, self.cancel, spare).await?;
            let fault = self.count(faults, budget).await?;
            failure = failure.or(fault);
        }
        failure.map_or(Ok(()), Err)
    }

    /// A rollback is not taken back when it fails, so whatever of a batch can go back does.
    fn is_rollback(&self) -> bool {
        self.session.deployment().kind == DeploymentKind::Rollback
    }

    /// Counts units that failed against the budget, and gives them up within it. Returns
    /// the failure with which a batch ends that is carried on beyond it.
    async fn count(&self, faults: Vec<Fault>, budget: &mut Budget) -> Result<Option<Fault>, Fault> {
        let mut slots = BTreeSet::new();
        for fault in &faults {
            if let Some(op) = fault.op().filter(|op| !op.action.is_of_environment()) {
                slots.insert(op.slot);
                let failed = FailedUnit { slot: op.slot, reason: fault.to_string() };
                budget.fail(op.unit.clone(), failed);
            }
        }
        let Some(first) = faults.into_iter().next() else { return Ok(None) };
        let exceeded = budget.is_exceeded();
        if slots.is_empty() || (exceeded && !self.is_rollback()) {
            return Err(first);
        }
        self.give_up(&slots).await?;
        Ok(exceeded.then_some(first))
    }

    /// Gives up slots whose host died when their own batch was done, within the budget.
    async fn lose(&self, seen: &Observed, budget: &mut Budget) -> Result<(), Fault> {
        let deployment = self.session.deployment();
        let given_up = budget.slots();
        let is_lost = |slot: &u32| {
            *slot < deployment.spec.replicas
                && deployment.scope.has(*slot)
                && !given_up.contains(slot)
        };
        let lost: BTreeSet<u32> = seen.away.iter().copied().filter(is_lost).collect();
        if lost.is_empty() || deployment.kind == DeploymentKind::Stop {
            return Ok(());
        }
        let mut reasons = Vec::new();
        for slot in &lost {
            let reason = format!("host {} cannot be reached", deployment.spec.place_name(*slot));
            reasons.push(reason.clone());
            let unit = unit_name(&deployment.spec, *slot, deployment.id);
            budget.fail(unit, FailedUnit { slot: *slot, reason });
        }
        if budget.is_exceeded() {
            return Err(Fault::Unverified(reasons.join("; ")));
        }
        self.give_up(&lost).await
    }

    /// Brings slots back to the units they had. Where a host is away, nobody can: what it
    /// serves leaves traffic.
    pub(crate) async fn give_up(&self, slots: &BTreeSet<u32>) -> Result<(), Fault> {
        let Self { session, work, before, specs, .. } = self;
        if slots.is_empty() {
            return Ok(());
        }
        let id = session.deployment().id;
        let seen = session.observe().await?;
        let (away, there): (BTreeSet<u32>, BTreeSet<u32>) =
            slots.iter().copied().partition(|slot| seen.away.contains(slot));
        let failures = go_back(work, before, &seen, specs, id, Extent::Slots(&there)).await?;
        self.quarantine(&away).await?;
        if !failures.is_empty() {
            return Err(Fault::Unverified(format!("not given up: {}", failures.join("; "))));
        }
        let name = |slot: &u32| {
            let name = specs.failed.place_name(*slot);
            if away.contains(slot) { format!("{name}, which is away") } else { name }
        };
        let names: Vec<_> = slots.iter().map(name).collect();
        work.progress.line(format!("gave up {}", names.join(", "))).await;
        Ok(())
    }

    /// Takes the units of hosts that are away out of traffic, whatever they still serve.
    async fn quarantine(&self, slots: &BTreeSet<u32>) -> Result<(), Fault> {
        let deployment = self.session.deployment();
        let former = self.before.serving.iter().chain(&self.before.others);
        let former = former.map(|unit| (unit.slot, unit.unit.clone()));
        let new = |slot: &u32| (*slot, unit_name(&deployment.spec, *slot, deployment.id));
        let units: BTreeSet<(u32, UnitId)> = former.chain(slots.iter().map(new)).collect();
        let drain = |(slot, unit): (u32, UnitId)| Op {
            action: OpAction::Drain,
            unit,
            slot,
            replaces: None,
            deployment: deployment.id,
        };
        let ops: Vec<_> =
            units.into_iter().filter(|(slot, _)| slots.contains(slot)).map(drain).collect();
        let (place, cancel) = (Place { batch: None, back: true }, CancellationToken::new());
        let faults = self.phase(&ops, place, &cancel, usize::MAX).await?;
        let fault = faults.into_iter().next();
        fault.map_or(Ok(()), |fault| Err(Fault::Unverified(fault.to_string())))
    }

    /// Removes what is no longer kept. A failure is a warning: the next deployment
    /// finds and removes it.
    async fn finalise(&self, ops: impl Iterator<Item = &Op>) -> Result<(), Fault> {
        // Not under the caller's token: the deployment has happened.
        let cancel = CancellationToken::new();
        let clearing = async {
            for op in ops {
                match self.alone(op, &cancel).await {
                    Err(fault) if fault.is_interruption() => return Err(fault),
                    Err(fault) => tracing::warn!(unit = %op.unit, "{fault}"),
                    Ok(()) => {}
                }
            }
            Ok(())
        };
        tokio::time::timeout(FINALISE, clearing).await.unwrap_or_else(|_| {
            tracing::warn!("what is no longer kept was not cleared away in time");
            Ok(())
        })
    }

    /// Removes units that have waited for a way back as long as they were to.
    async fn expired(&self) -> Result<Vec<Op>, Fault> {
        let deployment = self.session.deployment();
        let expired = match warm::expired(&deployment.key(), self.work.target).await {
            Ok(expired) => expired,
            Err(TargetError::Fenced(by)) => return Err(Fault::Fenced(by)),
            Err(error) => {
                tracing::warn!(%error, "what has waited long enough is not known");
                Vec::new()
            }
        };
        let remove = |(unit, slot)| Op {
            action: OpAction::Remove,
            unit,
            slot,
            replaces: None,
            deployment: deployment.id,
        };
        Ok(expired.into_iter().map(remove).collect())
    }

    /// One op outside batches.
    async fn alone(&self, op: &Op, cancel: &CancellationToken) -> Result<(), Fault> {
        let place = Place { batch: None, back: false };
        let faults = self.phase(std::slice::from_ref(op), place, cancel, 0).await?;
        faults.into_iter().next().map_or(Ok(()), Err)
    }

    /// Does ops at once and returns what became of those that failed. More than `spare`
    /// of them end the others, which need not wait for their own verdict.
    async fn phase(
        &self,
        ops: &[Op],
        place: Place,
        cancel: &CancellationToken,
        spare: usize,
    ) -> Result<Vec<Fault>, Fault> {
        if cancel.is_cancelled() {
            return Err(Fault::Cancelled);
        }
        if ops.is_empty() {
            return Ok(Vec::new());
        }
        let acting = self.session.acting();
        let spec: &Spec = &acting;
        let intents = self.work.intend(ops, place).await?;
        let siblings = cancel.child_token();
        let failed = AtomicUsize::new(0);
        let perform = async |(intent, op)| {
            let performing =
                self.work.perform(intent, op, Direction::Apply, spec, place, &siblings);
            let result = performing.await;
            if result.is_err() && failed.fetch_add(1, Ordering::Relaxed) >= spare {
                siblings.cancel();
            }
            result
        };
        let results = join_all(intents.into_iter().zip(ops).map(perform)).await;
        let faults: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        let (mut stops, faults): (Vec<_>, Vec<_>) =
            faults.into_iter().partition(Fault::is_interruption);
        if let Some(stop) = stops.pop() {
            return Err(stop);
        }
        if cancel.is_cancelled() && !faults.is_empty() {
            return Err(Fault::Cancelled);
        }
        // The causes, not the siblings they ended.
        Ok(faults.into_iter().filter(|fault| !matches!(fault, Fault::Cancelled)).collect())
    }
}

/// The units that are proven when a batch is done: those it brings up, or, of one that only
/// looks, those it looks at.
fn unproven(batch: &Batch) -> BTreeSet<UnitId> {
    let of = |action| {
        let ops = batch.ops().filter(move |op| op.action == action);
        ops.map(|op| op.unit.clone()).collect::<BTreeSet<_>>()
    };
    let admitted = of(OpAction::Admit);
    if admitted.is_empty() { of(OpAction::Bake) } else { admitted }
}
