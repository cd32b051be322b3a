//! Hosts behind a balancer of somebody else, which knows a host by its address and no units.
//!
//! Which unit of a host serves is a mark there, as without traffic; that it gets requests is
//! for the balancer to say. A host is out of traffic from before its link is switched until
//! its unit has passed its gate: what a reload of the balancer forgets meanwhile is made
//! again. A host that was in traffic before its first deployment is drained for it, and is
//! given back when that deployment is undone.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::connection::{Host, Input};
use super::unit::UnitView;
use super::{HostsTarget, done, infrastructure, key_of};
use crate::switch::{Member, Order, Switch};
use crate::target::traffic::Traffic;
use crate::{
    EnvironmentKey, Finding, Op, OpOutcome, Spec, SwitchAccess, TargetError, UnitId, UnitState,
};

/// How often a host that is to be out of traffic is looked at.
const ASSERT: Duration = Duration::from_secs(1);

/// Whether it is what its host serves: of all units of a host one at most is.
const fn is_served(unit: &UnitView) -> bool {
    matches!(unit.seen.state, UnitState::Running | UnitState::Unhealthy)
}

/// Whether `fence` is the largest that a host has seen.
fn guard<'a>(
    host: &'a Host,
    project: &'a str,
    fence: u64,
) -> BoxFuture<'a, Result<(), TargetError>> {
    Box::pin(async move {
        let looked = host.look(project, Some(fence)).await;
        looked.map(drop).map_err(|trouble| trouble.error(&host.access.name))
    })
}

impl HostsTarget {
    /// Puts it behind a balancer of somebody else, in place of the proxy.
    #[must_use]
    pub fn behind(self, switch: Option<SwitchAccess>) -> Self {
        match switch {
            Some(switch) => Self { traffic: Traffic::behind(&switch), ..self },
            None => self,
        }
    }

    /// Says what stands in the way of traffic.
    pub(super) async fn check_traffic(&self, spec: &Spec) -> Result<Vec<Finding>, TargetError> {
        let mut members = Vec::new();
        if let (Some(_), Some(expose)) = (self.traffic.balancer(), &spec.expose) {
            for host in self.wanted(spec).iter().filter(|host| host.access.traffic) {
                // That it has no address is told of the host itself.
                let Ok(ip) = host.address().await else { continue };
                let (name, address) = (host.access.name.clone(), SocketAddr::new(ip, expose.port));
                members.push(Member { unit: UnitId(name.clone()), address, name });
            }
        }
        self.traffic.check(spec, &members).await
    }

    /// The balancer, and how it knows a unit; nothing where no requests come to it.
    async fn member(&self, unit: &UnitView) -> Result<Option<(&dyn Switch, Member)>, TargetError> {
        let (Some(balancer), Some(port)) = (self.traffic.balancer(), unit.file.routed()) else {
            return Ok(None);
        };
        let name = unit.host.access.name.clone();
        let ip = unit.host.address().await.map_err(|trouble| trouble.error(&name))?;
        let member =
            Member { unit: unit.seen.unit.clone(), address: SocketAddr::new(ip, port), name };
        Ok(Some((balancer, member)))
    }

    /// Of units with the mark, those that the balancer keeps requests from are not admitted.
    pub(super) async fn mark_behind(
        &self,
        units: &mut [UnitView],
        key: &EnvironmentKey,
    ) -> Result<(), TargetError> {
        let mut members = Vec::new();
        for unit in units.iter().filter(|unit| unit.seen.admitted) {
            members.extend(self.member(unit).await?.map(|(_, member)| member));
        }
        let serving = self.traffic.in_traffic(key, &members).await?;
        for unit in units.iter_mut().filter(|unit| unit.file.routed().is_some()) {
            unit.seen.admitted &= serving.contains(&unit.seen.unit);
        }
        Ok(())
    }

    /// Brings a unit into traffic; `None` where there is no balancer to tell.
    pub(super) async fn admit_behind(
        &self,
        unit: &UnitView,
        op: &Op,
        spec: &Spec,
        fence: u64,
    ) -> Result<Option<OpOutcome>, TargetError> {
        let Some((balancer, member)) = self.member(unit).await? else { return Ok(None) };
        let (key, held) = (key_of(spec), || guard(&unit.host, &spec.project, fence));
        let order = Order { key: &key, fence, held: &held };
        if let Err(why) = balancer.admit(&member, op.replaces.as_ref(), &order).await? {
            let reason = format!("host {}: {why}", member.name);
            return Ok(Some(OpOutcome::Unhealthy { reason, logs: Vec::new() }));
        }
        let id = &unit.seen.unit;
        self.tell(&unit.host, spec, "admit", fence, id, &[], &Input::Nothing).await?;
        let caps = balancer.caps();
        Ok(Some(done(if caps.says_up { format!("{} says up", caps.name) } else { String::new() })))
    }

    /// Takes a unit out of traffic and waits; `None` where there is no balancer to tell.
    pub(super) async fn drain_behind(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<Option<OpOutcome>, TargetError> {
        let Some((balancer, member)) = self.member(unit).await? else { return Ok(None) };
        if !is_served(unit) {
            return Ok(Some(done("its host serves another")));
        }
        let (key, held) = (key_of(spec), || guard(&unit.host, &spec.project, fence));
        let order = Order { key: &key, fence, held: &held };
        balancer.drain(&member, &order).await?;
        let idle = balancer.wait_idle(&member, spec.strategy.drain.std(), &order).await?;
        let id = &unit.seen.unit;
        self.tell(&unit.host, spec, "drain", fence, id, &[], &Input::Nothing).await?;
        Ok(Some(idle.outcome()))
    }

    /// Takes a host out of traffic whose link is about to be switched, where it still is in
    /// it: before its first deployment, or since somebody has forgotten the drain.
    pub(super) async fn clear(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<&'static str, TargetError> {
        let Some((balancer, member)) = self.member(unit).await? else { return Ok("") };
        let key = key_of(spec);
        if unit.seen.admitted || !balancer.leads_to(&member, &key).await? {
            return Ok("");
        }
        let (id, held) = (&unit.seen.unit, || guard(&unit.host, &spec.project, fence));
        let order = Order { key: &key, fence, held: &held };
        self.tell(&unit.host, spec, "cleared", fence, id, &[], &Input::Nothing).await?;
        balancer.drain(&member, &order).await?;
        balancer.wait_idle(&member, spec.strategy.drain.std(), &order).await?;
        Ok(", after it was drained")
    }

    /// Does `work` on a unit that its host serves, or is about to, while the host stays out
    /// of traffic.
    pub(super) async fn kept_out<T>(
        &self,
        unit: &UnitView,
        is_started: bool,
        spec: &Spec,
        fence: u64,
        work: impl Future<Output = T>,
    ) -> T {
        let balancer = self.traffic.balancer().filter(|it| !it.caps().keeps_drains);
        let is_its = is_started || is_served(unit);
        if balancer.is_none() || unit.seen.admitted || !is_its {
            return work.await;
        }
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(ASSERT) => {}
            }
            // Not beside the work: nothing of it may come later than what follows.
            if let Err(error) = self.drain_again(unit, spec, fence).await {
                tracing::warn!(unit = %unit.seen.unit, "it may be in traffic: {error}");
            }
        }
    }

    async fn drain_again(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<(), TargetError> {
        let Some((balancer, member)) = self.member(unit).await? else { return Ok(()) };
        let key = key_of(spec);
        if !balancer.leads_to(&member, &key).await? {
            return Ok(());
        }
        let held = || guard(&unit.host, &spec.project, fence);
        balancer.drain(&member, &Order { key: &key, fence, held: &held }).await
    }

    /// Confirms that no request comes to a unit; `false` where there is no balancer to ask.
    pub(super) async fn is_out_behind(
        &self,
        unit: &UnitView,
        spec: &Spec,
    ) -> Result<bool, TargetError> {
        let Some((balancer, member)) = self.member(unit).await? else { return Ok(false) };
        if is_served(unit) && balancer.leads_to(&member, &key_of(spec)).await? {
            return Err(infrastructure(format!("{} still gets traffic", unit.seen.unit)));
        }
        Ok(true)
    }

    /// Takes a unit that is not admitted out of whatever is left of its traffic; `false`
    /// where there is no balancer to tell.
    pub(super) async fn empty_behind(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<bool, TargetError> {
        let Some((balancer, member)) = self.member(unit).await? else { return Ok(false) };
        if unit.seen.admitted {
            return Err(infrastructure(format!("{} still gets traffic", unit.seen.unit)));
        }
        let id = &unit.seen.unit;
        if is_served(unit) && balancer.leads_to(&member, &key_of(spec)).await? {
            self.drain_behind(unit, spec, fence).await?;
        } else {
            // A mark that the balancer knows nothing of.
            self.tell(&unit.host, spec, "drain", fence, id, &[], &Input::Nothing).await?;
        }
        Ok(true)
    }

    /// Takes away a unit that its deployment made. A host that was in traffic before it had
    /// units, and has none again, is given back.
    pub(super) async fn undo_create(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        if self.take_away(unit, spec, fence).await?.contains("cleared") {
            self.give_back(unit, spec, fence).await?;
        }
        Ok(done("removed"))
    }

    async fn give_back(&self, unit: &UnitView, spec: &Spec, fence: u64) -> Result<(), TargetError> {
        let Some((balancer, member)) = self.member(unit).await? else { return Ok(()) };
        let key = key_of(spec);
        if !self.units_of(&unit.host, &key, fence).await?.is_empty() {
            return Ok(());
        }
        let held = || guard(&unit.host, &spec.project, fence);
        balancer.give_back(&member, &Order { key: &key, fence, held: &held }).await
    }
}
