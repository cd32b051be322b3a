//! Back: every touched slot to the unit that served it.
//!
//! As many slots go back at once as may be between two units: whatever waits for another
//! still serves what is bad. Within a slot the former unit is admitted first, and what it
//! replaces is drained after that. Going back is never given up half way: a slot that cannot be restored keeps
//! whichever of its units serves, and the others are still restored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use event::DeploymentId;
use futures_util::future::join_all;
use pipeline::StrategyKind;
use tokio_util::sync::CancellationToken;

use crate::fault::Fault;
use crate::op::{Direction, Place, Work};
use crate::plan::{Before, Restore, Step, back_size, restore};
use crate::{DeploymentRecord, Observed, ObservedUnit, OpAction, Spec, UnitId, UnitState};

/// A step back is tried again when the infrastructure fails: giving up costs more.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// The specifications units were made from.
pub(crate) struct Specs<'a> {
    /// Of the deployment that is undone.
    pub(crate) failed: &'a Spec,
    by_deployment: BTreeMap<DeploymentId, Spec>,
    /// Stands in for one that nobody knows any more; it has no health check, so
    /// that a unit is judged by what the target can see for itself.
    unknown: Spec,
}

impl<'a> Specs<'a> {
    pub(crate) fn new(failed: &'a Spec, history: &[DeploymentRecord]) -> Self {
        let by_deployment = history
            .iter()
            .map(|record| (record.deployment.id, record.deployment.spec.clone()))
            .collect();
        let unknown = Spec { health: None, ..failed.clone() };
        Self { failed, by_deployment, unknown }
    }

    fn of(&self, deployment: DeploymentId) -> &Spec {
        self.by_deployment.get(&deployment).unwrap_or(&self.unknown)
    }
}

/// Which slots to go back in.
#[derive(Clone, Copy)]
pub(crate) enum Extent<'a> {
    All,
    /// What the deployment has brought up and serves stays: of an explicit rollback
    /// since it is what somebody wanted to go back to. A unit that was found unhealthy
    /// does not count as serving.
    Unserving {
        unhealthy: &'a BTreeSet<UnitId>,
    },
    /// These only, in a deployment that goes on. Where no two releases may run at
    /// once, they are left without a unit.
    Slots(&'a BTreeSet<u32>),
    /// Traffic of these only, in a deployment that waits: what failed stays to be looked
    /// at. Where two units of a slot cannot run side by side, nobody serves it meanwhile.
    Traffic(&'a BTreeSet<u32>),
}

impl Extent<'_> {
    /// Takes out of `restores` whatever is not to go back.
    fn narrow(self, restores: &mut Vec<Restore>, before: &Before, seen: &Observed, spec: &Spec) {
        match self {
            Self::All => {}
            Self::Unserving { unhealthy } => {
                let serves = |unit: &ObservedUnit| {
                    before.is_new(unit)
                        && unit.state == UnitState::Running
                        && !unhealthy.contains(&unit.unit)
                };
                restores.retain(|restore| !seen.current(restore.slot).is_some_and(serves));
            }
            Self::Slots(slots) => restores.retain(|restore| slots.contains(&restore.slot)),
            Self::Traffic(slots) => {
                let beside = !spec.stops_first();
                restores.retain(|restore| slots.contains(&restore.slot));
                for restore in restores {
                    restore.steps.retain(|step| match step {
                        Step::Forward(_) => beside,
                        Step::Retire(op) => op.action == OpAction::Drain,
                        Step::Undo(_) => false,
                    });
                }
            }
        }
    }
}

/// Goes back and returns why it could not, slot by slot; empty when it could.
pub(crate) async fn go_back(
    work: &Work<'_>,
    before: &Before,
    seen: &Observed,
    specs: &Specs<'_>,
    deployment: DeploymentId,
    extent: Extent<'_>,
) -> Result<Vec<String>, Fault> {
    let mut restores = restore(before, seen, deployment, specs.failed.stops_first());
    extent.narrow(&mut restores, before, seen, specs.failed);
    // The last group first.
    restores.sort_by_key(|restore| std::cmp::Reverse(specs.failed.rank(restore.slot)));
    // What nobody serves comes first: another slot that goes down is missed beside it.
    let serves = |slot| seen.current(slot).is_some_and(|unit| unit.state == UnitState::Running);
    restores.sort_by_key(|restore| serves(restore.slot));
    let mut rounds = rounds(specs.failed, restores);
    if matches!(extent, Extent::Slots(_)) && specs.failed.strategy.kind == StrategyKind::Recreate {
        rounds.truncate(1);
    }
    let mut failures = BTreeMap::new();
    for round in rounds {
        // What could not be taken away may still hold what the previous unit needs.
        let possible: Vec<_> =
            round.iter().filter(|restore| !failures.contains_key(&restore.slot)).collect();
        let slots = possible.iter().map(|restore| slot(work, restore, seen, specs));
        for (restore, result) in possible.iter().zip(join_all(slots).await) {
            match result {
                Ok(()) => {}
                Err(fault) if fault.is_interruption() => return Err(fault),
                Err(fault) => drop(failures.insert(restore.slot, fault.to_string())),
            }
        }
    }
    Ok(failures.iter().map(|(slot, fault)| format!("slot {slot}: {fault}")).collect())
}

/// What goes back at once, round after round.
fn rounds(spec: &Spec, restores: Vec<Restore>) -> Vec<Vec<Restore>> {
    if spec.strategy.kind == StrategyKind::Recreate {
        let (down, up) = restores.into_iter().map(Restore::halves).map(<(_, _)>::from).unzip();
        return vec![down, up];
    }
    let size = usize::try_from(back_size(spec)).unwrap_or(usize::MAX);
    restores.chunks(size).map(<[_]>::to_vec).collect()
}

async fn slot(
    work: &Work<'_>,
    restore: &Restore,
    seen: &Observed,
    specs: &Specs<'_>,
) -> Result<(), Fault> {
    for restoring in &restore.steps {
        if let Err(fault) = step(work, restore, restoring, specs).await {
            if !fault.is_interruption() {
                drain_broken(work, restore, seen, specs).await?;
            }
            return Err(fault);
        }
    }
    Ok(())
}

async fn step(
    work: &Work<'_>,
    restore: &Restore,
    step: &Step,
    specs: &Specs<'_>,
) -> Result<(), Fault> {
    let (direction, spec) = match step {
        Step::Undo(_) => (Direction::Undo, specs.failed),
        Step::Retire(_) => (Direction::Apply, specs.failed),
        Step::Forward(_) => {
            let made_by = restore.previous.as_ref().map(|unit| unit.deployment);
            (Direction::Apply, made_by.map_or(specs.failed, |made_by| specs.of(made_by)))
        }
    };
    let place = Place { batch: None, back: true };
    // Not under the caller's token: going back must also work after cancelling.
    let cancel = CancellationToken::new();
    let mut tries = 0;
    loop {
        let op = step.op();
        let intent = work.intend([op], place).await?[0];
        tries += 1;
        match work.perform(intent, op, direction, spec, place, &cancel).await {
            Err(Fault::Broken { .. }) if tries < TRIES => tokio::time::sleep(PAUSE).await,
            result => return result,
        }
    }
}

/// Where the way back of a slot ended early, takes its broken unit out of
/// traffic, as long as somebody else serves.
async fn drain_broken(
    work: &Work<'_>,
    restore: &Restore,
    seen: &Observed,
    specs: &Specs<'_>,
) -> Result<(), Fault> {
    let Some(drain) = restore.steps.iter().find(|step| step.op().action == OpAction::Drain) else {
        return Ok(());
    };
    let broken = &drain.op().unit;
    let works = |unit: &&ObservedUnit| unit.admitted && unit.state == UnitState::Running;
    let is_broken = seen.unit(broken).is_some_and(|unit| unit.state != UnitState::Running);
    if is_broken && seen.units.iter().filter(works).any(|unit| unit.unit != *broken) {
        match step(work, restore, drain, specs).await {
            Err(fault) if fault.is_interruption() => return Err(fault),
            Err(fault) => tracing::warn!(unit = %broken, "{fault}"),
            Ok(()) => {}
        }
    }
    Ok(())
}
