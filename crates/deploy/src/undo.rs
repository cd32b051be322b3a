//! Back: every touched slot to the unit that served it, the last one first.
//!
//! Going back is never given up half way: a slot that cannot be restored keeps
//! whichever of its units serves, and the others are still restored.

use std::collections::BTreeMap;
use std::time::Duration;

use event::DeploymentId;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::op::{Direction, Fault, Place, Work};
use crate::plan::{Before, Restore, Step, restore};
use crate::{DeploymentRecord, Observed, OpAction, Spec, UnitId, UnitState};

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
    /// An explicit rollback that fails is not rolled back: what it has brought
    /// up and serves stays, since it is what somebody wanted to go back to. A
    /// unit that was found unhealthy does not count as serving.
    Unserving {
        unhealthy: Option<&'a UnitId>,
    },
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
    let mut restores = restore(before, seen, deployment);
    if let Extent::Unserving { unhealthy } = extent {
        let serves = |unit: &crate::ObservedUnit| {
            unit.deployment == deployment
                && unit.state == UnitState::Running
                && Some(&unit.unit) != unhealthy
        };
        restores.retain(|restore| !seen.current(restore.slot).is_some_and(serves));
    }
    let size = specs.failed.strategy.batch.of(specs.failed.replicas).max(1) as usize;
    let mut failures = Vec::new();
    for together in restores.chunks(size) {
        let slots = together.iter().map(|restore| slot(work, restore, seen, specs));
        for (restore, result) in together.iter().zip(join_all(slots).await) {
            match result {
                Ok(()) => {}
                Err(fault) if fault.is_interruption() => return Err(fault),
                Err(fault) => failures.push(format!("slot {}: {fault}", restore.slot)),
            }
        }
    }
    Ok(failures)
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
    let works = |unit: &&crate::ObservedUnit| unit.admitted && unit.state == UnitState::Running;
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
