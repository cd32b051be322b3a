//! Forward: a plan's phases one after another, the ops of a phase at once.

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::op::{Direction, Fault, Place, Work};
use crate::plan::DeployPlan;
use crate::{Op, Spec};

/// Fetches the artifact and clears the ground. Nothing has to be undone after it.
pub(crate) async fn prepare(
    work: &Work<'_>,
    plan: &DeployPlan,
    spec: &Spec,
    cancel: &CancellationToken,
) -> Result<(), Fault> {
    for op in &plan.prepare {
        phase(work, std::slice::from_ref(op), spec, None, cancel).await?;
    }
    Ok(())
}

/// Does all batches; the first fault ends it, and what is touched stays so.
pub(crate) async fn batches(
    work: &Work<'_>,
    plan: &DeployPlan,
    spec: &Spec,
    cancel: &CancellationToken,
) -> Result<(), Fault> {
    let count = plan.batches.len();
    for (number, batch) in (1u32..).zip(&plan.batches) {
        work.progress.line(format!("batch {number} of {count}")).await;
        for ops in &batch.phases {
            if cancel.is_cancelled() {
                return Err(Fault::Cancelled);
            }
            work.marks.begin_batch();
            phase(work, ops, spec, Some(number), cancel).await?;
        }
    }
    Ok(())
}

/// Removes what is no longer kept. A failure is a warning: the next deployment
/// finds and removes it.
pub(crate) async fn finalise(work: &Work<'_>, plan: &DeployPlan, spec: &Spec) -> Result<(), Fault> {
    // Not under the caller's token: the deployment has happened.
    let cancel = CancellationToken::new();
    for op in &plan.finalise {
        match phase(work, std::slice::from_ref(op), spec, None, &cancel).await {
            Err(fault) if fault.is_interruption() => return Err(fault),
            Err(fault) => tracing::warn!(unit = %op.unit, "{fault}"),
            Ok(()) => {}
        }
    }
    Ok(())
}

async fn phase(
    work: &Work<'_>,
    ops: &[Op],
    spec: &Spec,
    batch: Option<u32>,
    cancel: &CancellationToken,
) -> Result<(), Fault> {
    if cancel.is_cancelled() {
        return Err(Fault::Cancelled);
    }
    let place = Place { batch, back: false };
    let intents = work.intend(ops, place).await?;
    // When one fails the others need not wait for their own verdict.
    let siblings = cancel.child_token();
    let perform = async |(intent, op)| {
        let result = work.perform(intent, op, Direction::Apply, spec, place, &siblings).await;
        if result.is_err() {
            siblings.cancel();
        }
        result
    };
    let results = join_all(intents.into_iter().zip(ops).map(perform)).await;
    let mut faults: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    // The cause, not the siblings it ended.
    faults.sort_by_key(|fault| (!fault.is_interruption(), matches!(fault, Fault::Cancelled)));
    faults.into_iter().next().map_or(Ok(()), Err)
}
