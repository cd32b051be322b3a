//! The ops of a deployment, done to services, and their traffic.

use async_trait::async_trait;
use proxy::control::Target as RouteTarget;
use tokio_util::sync::CancellationToken;

use super::SwarmTarget;
use super::change::{gone, infrastructure, unlabel};
use super::unit::{CURRENT, UnitView};
use crate::target::driving::{Driving, UnitOf, done, key_of};
use crate::{Artifact, EnvironmentKey, ObservedUnit, Op, OpOutcome, Spec, TargetError, UnitId};

impl UnitOf for UnitView {
    fn seen(&self) -> &ObservedUnit {
        &self.seen
    }
}

#[async_trait]
impl Driving for SwarmTarget {
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
        self.guard_lease(&key, fence).await?;
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
        gone(unit)
    }

    /// The nodes fetch by themselves. The only node of a swarm has the image beforehand,
    /// and kept from being pruned.
    async fn fetch(
        &self,
        _op: &Op,
        spec: &Spec,
        _fence: u64,
        cancel: &CancellationToken,
    ) -> Result<OpOutcome, TargetError> {
        if self.nodes().await?.count() == 1 {
            return self.engine.fetch(spec, cancel).await;
        }
        if let Artifact::Digest { reference, .. } = &spec.artifact
            && let Some(missing) = self.engine.check_registry(reference, &spec.artifact).await?
        {
            return Err(TargetError::Refused { message: missing.cause });
        }
        Ok(done("the nodes fetch it"))
    }

    async fn create(&self, op: &Op, spec: &Spec, fence: u64) -> Result<OpOutcome, TargetError> {
        self.create(op, spec, fence).await
    }

    async fn start(
        &self,
        unit: &UnitView,
        _spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        self.start(unit, fence).await
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
        let _alone = self.traffic.alone().await;
        let units = self.units(&key_of(spec)).await?;
        if let Some(expose) = &spec.expose {
            let port = unit.port.unwrap_or(expose.port);
            let Some(address) = unit.ports.get(&port) else {
                return Err(infrastructure(format!("{} does not run", op.unit)));
            };
            let target = RouteTarget {
                unit: unit.seen.unit.0.clone(),
                address: address.to_string(),
                release: unit.seen.release.to_string(),
                weight: 100,
            };
            // A service that somebody removed by hand would be routed to for ever.
            let known = |unit: &UnitId| units.iter().any(|known| known.seen.unit == *unit);
            self.traffic.admit(spec, target, op.replaces.as_ref(), known, fence).await?;
        }
        self.change(&unit.seen.unit, fence, |spec| {
            spec.labels.get_or_insert_default().insert(CURRENT.to_owned(), "true".to_owned());
        })
        .await?;
        // Of a route, the former one keeps the mark until it is drained.
        let replaced = units.iter().find(|known| Some(&known.seen.unit) == op.replaces.as_ref());
        if let Some(replaced) = replaced.filter(|replaced| !replaced.is_routed()) {
            self.change(&replaced.seen.unit, fence, |spec| unlabel(spec, CURRENT)).await?;
        }
        Ok(done(""))
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
        let drained = match unit.member() {
            Some(member) => self.traffic.drain(&member, spec, fence).await?,
            None => done("no route"),
        };
        self.change(&unit.seen.unit, fence, |spec| unlabel(spec, CURRENT)).await?;
        Ok(drained)
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
        self.take_away(unit, spec, fence).await
    }

    async fn undo_create(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        self.take_away(unit, spec, fence).await
    }

    async fn undo_start(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        self.stop(unit, spec, fence).await
    }
}
