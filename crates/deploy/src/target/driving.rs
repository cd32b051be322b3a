//! What all targets have in common that roll units by themselves: which unit an op is
//! about, what becomes of it where that unit is gone, and how an op is taken back.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::{
    EnvironmentKey, ObservedUnit, Op, OpAction, OpOutcome, Spec, TargetError, UnitId, UnitState,
};

/// A unit with what only its own target knows of it.
pub(super) trait UnitOf: Send + Sync {
    fn seen(&self) -> &ObservedUnit;
}

/// The steps of one kind of target, each on a unit that was seen a moment ago.
/// [`apply`] and [`undo`] make a [`Target`](crate::Target) of them.
#[async_trait]
pub(super) trait Driving: Send + Sync {
    type Unit: UnitOf;

    /// The units of an environment, by slot, then name.
    async fn units_of(&self, key: &EnvironmentKey) -> Result<Vec<Self::Unit>, TargetError>;

    /// Refuses to act under a fence that is not the largest, and returns the unit that
    /// is acted on, if it exists.
    async fn guard(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
    ) -> Result<Option<Self::Unit>, TargetError>;

    /// The error of an op whose unit is gone.
    fn gone(&self, unit: &UnitId) -> TargetError;

    async fn fetch(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError>;

    async fn create(&self, op: &Op, spec: &Spec, fence: u64) -> Result<OpOutcome, TargetError>;

    async fn start(
        &self,
        unit: &Self::Unit,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError>;

    async fn gate(
        &self,
        unit: &Self::Unit,
        spec: &Spec,
        fence: u64,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError>;

    /// Routes to `unit` in place of the one that `op` replaces.
    async fn admit(
        &self,
        unit: &Self::Unit,
        op: &Op,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError>;

    async fn bake(
        &self,
        unit: &Self::Unit,
        spec: &Spec,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError>;

    async fn close(&self, spec: &Spec, fence: u64) -> Result<OpOutcome, TargetError>;

    async fn drain(
        &self,
        unit: &Self::Unit,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError>;

    async fn stop(
        &self,
        unit: &Self::Unit,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError>;

    async fn remove(
        &self,
        unit: &Self::Unit,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError>;

    /// Takes away a unit that its deployment made.
    async fn undo_create(
        &self,
        unit: &Self::Unit,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError>;

    /// Ends a unit that its deployment started, and leaves it there.
    async fn undo_start(
        &self,
        unit: &Self::Unit,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError>;
}

/// As [`Target::apply`](crate::Target::apply).
pub(super) async fn apply<D: Driving + ?Sized>(
    target: &D,
    op: &Op,
    spec: &Spec,
    fence: u64,
    cancel: &CancellationToken,
) -> Result<OpOutcome, TargetError> {
    let unit = target.guard(op, spec, fence).await?;
    let there = unit.ok_or_else(|| target.gone(&op.unit));
    match op.action {
        OpAction::Fetch => target.fetch(op, spec, fence, cancel).await,
        OpAction::Create => target.create(op, spec, fence).await,
        OpAction::Start => target.start(&there?, spec, fence).await,
        OpAction::Gate => target.gate(&there?, spec, fence, cancel).await,
        OpAction::Admit => target.admit(&there?, op, spec, fence).await,
        OpAction::Bake => target.bake(&there?, spec, cancel).await,
        // The engine asks by itself, what is observed tells it whom.
        OpAction::VerifyUnit | OpAction::Verify => Ok(done("")),
        OpAction::Close => target.close(spec, fence).await,
        OpAction::Drain => match there {
            Ok(unit) => tokio::select! {
                drained = target.drain(&unit, spec, fence) => drained,
                // Requests in flight are left alone.
                () = cancel.cancelled() => Ok(done("cancelled")),
            },
            Err(_) => Ok(done("is gone")),
        },
        OpAction::Stop => match there {
            Ok(unit) => target.stop(&unit, spec, fence).await,
            Err(_) => Ok(done("is gone")),
        },
        OpAction::Remove => match there {
            Ok(unit) => target.remove(&unit, spec, fence).await,
            Err(_) => Ok(done("removed")),
        },
    }
}

/// As [`Target::undo`](crate::Target::undo).
pub(super) async fn undo<D: Driving + ?Sized>(
    target: &D,
    op: &Op,
    spec: &Spec,
    fence: u64,
) -> Result<OpOutcome, TargetError> {
    let Some(unit) = target.guard(op, spec, fence).await? else {
        return Ok(done("is gone"));
    };
    match op.action {
        OpAction::Create => target.undo_create(&unit, spec, fence).await,
        OpAction::Start => target.undo_start(&unit, spec, fence).await,
        OpAction::Admit => undo_admit(target, &unit, op, spec, fence).await,
        OpAction::Stop => target.start(&unit, spec, fence).await,
        // They change nothing that could be taken back; what was fetched stays for
        // the next try.
        OpAction::Fetch
        | OpAction::Gate
        | OpAction::Close
        | OpAction::Drain
        | OpAction::VerifyUnit
        | OpAction::Verify
        | OpAction::Bake
        | OpAction::Remove => Ok(done("")),
    }
}

/// Gives the slot back to the unit that `op` replaced, if that one runs.
async fn undo_admit<D: Driving + ?Sized>(
    target: &D,
    unit: &D::Unit,
    op: &Op,
    spec: &Spec,
    fence: u64,
) -> Result<OpOutcome, TargetError> {
    let units = target.units_of(&key_of(spec)).await?;
    let replaced = units.iter().find(|known| Some(&known.seen().unit) == op.replaces.as_ref());
    match replaced.filter(|replaced| replaced.seen().state == UnitState::Running) {
        Some(replaced) => {
            let back = Op {
                unit: replaced.seen().unit.clone(),
                replaces: Some(op.unit.clone()),
                ..op.clone()
            };
            target.admit(replaced, &back, spec, fence).await
        }
        None => target.drain(unit, spec, fence).await,
    }
}

pub(super) fn done(detail: impl Into<String>) -> OpOutcome {
    OpOutcome::Done { detail: detail.into() }
}

pub(super) fn key_of(spec: &Spec) -> EnvironmentKey {
    EnvironmentKey { project: spec.project.clone(), environment: spec.environment.clone() }
}

/// As [`Spec::route`].
pub(super) fn route_name(key: &EnvironmentKey) -> String {
    format!("{}-{}", key.project, key.environment)
}
