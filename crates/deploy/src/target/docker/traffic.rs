//! Traffic: who is routed to, told to the proxy and to restart policies.

use bollard::models::RestartPolicyNameEnum;
use proxy::control::Target as RouteTarget;

use super::unit::UnitView;
use super::{DockerTarget, done, key_of};
use crate::{Op, OpOutcome, Spec, TargetError, UnitId, UnitState};

impl DockerTarget {
    /// Routes to `unit` in place of the one it replaces. Without `expose` the
    /// restart policy alone says which unit is the slot's current one.
    pub(super) async fn admit(
        &self,
        unit: &UnitView,
        op: &Op,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        let runs = matches!(unit.seen.state, UnitState::Running | UnitState::Unhealthy);
        if !runs {
            let message = format!("{} does not run", op.unit);
            return Err(TargetError::Infrastructure { part: "docker".to_owned(), message });
        }
        let _alone = self.traffic.alone().await;
        let units = self.units(&key_of(spec)).await?;
        if let Some(expose) = &spec.expose {
            let target = RouteTarget {
                unit: unit.seen.unit.0.clone(),
                address: format!("{}:{}", unit.address, unit.port.unwrap_or(expose.port)),
                release: unit.seen.release.to_string(),
                weight: 100,
            };
            // A container that somebody removed by hand would be routed to for ever.
            let known = |unit: &UnitId| units.iter().any(|known| known.seen.unit == *unit);
            self.traffic.admit(spec, target, op.replaces.as_ref(), known, fence).await?;
        }
        self.set_policy(&unit.seen.unit, RestartPolicyNameEnum::UNLESS_STOPPED).await?;
        // The old one of a route keeps its policy until it is stopped; without a
        // route the policy is what makes it the current one.
        let replaced = units.iter().find(|known| Some(&known.seen.unit) == op.replaces.as_ref());
        if let Some(replaced) = replaced.filter(|replaced| !replaced.is_routed()) {
            self.set_policy(&replaced.seen.unit, RestartPolicyNameEnum::NO).await?;
        }
        Ok(done(""))
    }

    /// Takes the unit out of traffic; without a route its restart policy says so.
    pub(super) async fn drain(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        if let Some(member) = unit.member() {
            return self.traffic.drain(&member, spec, fence).await;
        }
        self.set_policy(&unit.seen.unit, RestartPolicyNameEnum::NO).await?;
        Ok(done("no route"))
    }

    /// Drains a unit that has the restart policy of one that was admitted: a crash
    /// may have come between its leaving the route and its drain.
    pub(super) async fn drain_if_served(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<(), TargetError> {
        if unit.is_routed() && unit.comes_back {
            self.drain(unit, spec, fence).await?;
        }
        Ok(())
    }
}
