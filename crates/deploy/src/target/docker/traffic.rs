//! Traffic: who is routed to, told to the proxy and to restart policies.

use bollard::models::RestartPolicyNameEnum;
use proxy::control::{RouteMatch, Target as RouteTarget};

use super::unit::UnitView;
use super::{DockerTarget, done, key_of};
use crate::switch::ProxySwitch;
use crate::{Op, OpOutcome, Spec, TargetError, UnitId, UnitState};

pub(super) fn match_of(expose: &pipeline::Expose) -> RouteMatch {
    RouteMatch { host: expose.host.clone(), path: expose.path.clone() }
}

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
        let _alone = self.switching.lock().await;
        let units = self.units(&key_of(spec)).await?;
        if let Some(expose) = &spec.expose {
            let target = RouteTarget {
                unit: unit.seen.unit.0.clone(),
                address: format!("{}:{}", unit.address, unit.port.unwrap_or(expose.port)),
                release: unit.seen.release.to_string(),
                weight: 100,
            };
            let matches = vec![match_of(expose)];
            // A container that somebody removed by hand would be routed to for ever.
            let keep = |unit: &UnitId| units.iter().any(|known| known.seen.unit == *unit);
            let replaces = op.replaces.as_ref();
            let name = spec.route();
            self.switch()?.admit(&name, matches, target, replaces, keep, fence).await?;
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

    /// Gives the slot back to the unit that `op` replaced, if that one runs.
    pub(super) async fn undo_admit(
        &self,
        unit: &UnitView,
        op: &Op,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        let units = self.units(&key_of(spec)).await?;
        let replaced = units.iter().find(|known| Some(&known.seen.unit) == op.replaces.as_ref());
        match replaced.filter(|replaced| replaced.seen.state == UnitState::Running) {
            Some(replaced) => {
                let back = Op {
                    unit: replaced.seen.unit.clone(),
                    replaces: Some(op.unit.clone()),
                    ..op.clone()
                };
                self.admit(replaced, &back, spec, fence).await
            }
            None => self.drain(unit, spec, fence).await,
        }
    }

    /// Takes the unit out of traffic where it is still in it, and waits until no
    /// request is in flight. A route that then leads nowhere is removed.
    pub(super) async fn drain(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        if !unit.is_routed() {
            self.set_policy(&unit.seen.unit, RestartPolicyNameEnum::NO).await?;
            return Ok(done("no route"));
        }
        let (switch, name) = (self.switch()?, spec.route());
        let timeout = spec.strategy.drain.std();
        {
            let _alone = self.switching.lock().await;
            switch.withdraw(&name, &unit.seen.unit, fence).await?;
        }
        let drained = switch.drain(&name, &unit.seen.unit, timeout).await?;
        let _alone = self.switching.lock().await;
        switch.remove_if_empty(&name, fence).await?;
        Ok(OpOutcome::Drained { cut: drained.cut, took_ms: drained.took_ms })
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

    fn switch(&self) -> Result<&ProxySwitch, TargetError> {
        self.switch.as_ref().ok_or_else(|| TargetError::Refused {
            message: "`expose` needs a proxy, and the target has none".to_owned(),
        })
    }
}
