//! The ops of a deployment, done to containers. What each comes to is in the files
//! beside, under the same name: a method of the target's own goes before one of a trait.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::container::UNDO_TIMEOUT;
use super::unit::UnitView;
use super::{DockerTarget, done, key_of};
use crate::target::driving::{Driving, UnitOf};
use crate::{EnvironmentKey, ObservedUnit, Op, OpOutcome, Spec, TargetError, UnitId};

impl UnitOf for UnitView {
    fn seen(&self) -> &ObservedUnit {
        &self.seen
    }
}

#[async_trait]
impl Driving for DockerTarget {
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
        let key = key_of(spec);
        self.traffic.guard(&key, fence).await?;
        let mut units = self.units(&key).await?;
        if let Some(newer) = units.iter().find(|unit| unit.seen.fence > fence) {
            let message = format!(
                "{} was made under fence {}, this engine holds {fence}",
                newer.seen.unit, newer.seen.fence
            );
            return Err(TargetError::Fenced(message));
        }
        let of_op = units.iter().position(|unit| unit.seen.unit == op.unit);
        Ok(of_op.map(|index| units.swap_remove(index)))
    }

    fn gone(&self, unit: &UnitId) -> TargetError {
        let message = format!("{unit} does not exist");
        TargetError::Infrastructure { part: "docker".to_owned(), message }
    }

    async fn fetch(
        &self,
        _op: &Op,
        spec: &Spec,
        _fence: u64,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        self.fetch(spec, cancel).await
    }

    async fn create(&self, op: &Op, spec: &Spec, fence: u64) -> Result<OpOutcome, TargetError> {
        self.create(op, spec, fence).await
    }

    async fn start(
        &self,
        unit: &UnitView,
        _spec: &Spec,
        _fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        self.start(&unit.seen.unit).await
    }

    async fn gate(
        &self,
        unit: &UnitView,
        spec: &Spec,
        _fence: u64,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        self.gate(unit, spec, cancel).await
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
        self.confirm_out(unit, spec, fence).await?;
        self.drain_if_served(unit, spec, fence).await?;
        self.remove_container(&unit.seen.unit).await?;
        Ok(done("removed"))
    }

    async fn undo_create(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        self.undo_create(unit, spec, fence).await
    }

    async fn undo_start(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        self.confirm_out(unit, spec, fence).await?;
        self.stop_container(&unit.seen.unit, unit.stop_timeout.min(UNDO_TIMEOUT)).await?;
        Ok(done("stopped"))
    }
}
