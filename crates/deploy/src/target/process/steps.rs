//! The ops of a deployment, done to processes. What each comes to is in the files
//! beside, under the same name: a method of the target's own goes before one of a trait.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::unit::UnitView;
use super::{ProcessTarget, blocking, done, infrastructure, key_of};
use crate::target::driving::{Driving, UnitOf};
use crate::{EnvironmentKey, ObservedUnit, Op, OpOutcome, Spec, TargetError, UnitId};

impl UnitOf for UnitView {
    fn seen(&self) -> &ObservedUnit {
        &self.seen
    }
}

#[async_trait]
impl Driving for ProcessTarget {
    type Unit = UnitView;

    async fn units_of(&self, key: &EnvironmentKey) -> Result<Vec<UnitView>, TargetError> {
        self.units(key).await
    }

    async fn guard(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
    ) -> Result<Option<UnitView>, TargetError> {
        let (root, key) = (self.root.clone(), key_of(spec));
        blocking(move || root.lock_fence(&key, fence).map(drop)).await?;
        let mut units = self.units(&key_of(spec)).await?;
        let of_op = units.iter().position(|unit| unit.seen.unit == op.unit);
        Ok(of_op.map(|index| units.swap_remove(index)))
    }

    fn gone(&self, unit: &UnitId) -> TargetError {
        infrastructure(format!("{unit} does not exist"))
    }

    async fn fetch(
        &self,
        op: &Op,
        spec: &Spec,
        fence: u64,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        self.place(op, spec, fence, cancel).await
    }

    async fn create(&self, op: &Op, spec: &Spec, fence: u64) -> Result<OpOutcome, TargetError> {
        self.create(op, spec, fence).await
    }

    async fn start(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        self.start(&unit.seen.unit, &key_of(spec), fence).await
    }

    async fn gate(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        self.gate(unit, spec, fence, cancel).await
    }

    async fn admit(
        &self,
        unit: &UnitView,
        op: &Op,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        self.admit(unit, op, spec, fence).await
    }

    async fn bake(
        &self,
        unit: &UnitView,
        spec: &Spec,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        self.bake(unit, spec, cancel).await
    }

    async fn close(&self, spec: &Spec, fence: u64) -> Result<OpOutcome, TargetError> {
        self.traffic.close(spec, fence).await
    }

    async fn drain(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        self.drain(unit, spec, fence).await
    }

    async fn stop(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        self.stop(unit, spec, fence).await
    }

    async fn remove(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        self.remove(unit, spec, fence).await
    }

    async fn undo_create(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        self.remove(unit, spec, fence).await
    }

    async fn undo_start(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        self.confirm_out(unit, spec, fence).await?;
        self.end(unit).await?;
        Ok(done("stopped"))
    }
}
