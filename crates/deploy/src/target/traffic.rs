//! Traffic of a target behind a switch: the same for all that have one. Shipline's proxy is
//! told units, and a balancer of somebody else the addresses they answer at.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use proxy::control::{RouteMatch, Target as RouteTarget};
use tokio::sync::Mutex;

use super::driving::{key_of, route_name};
use crate::switch::{Member, Order, ProxySwitch, Switch, Wanted, trusted};
use crate::{
    Check, EnvironmentKey, Finding, LeaseAnswer, LeaseAsk, OpOutcome, RouteSeen, Spec,
    SwitchAccess, SwitchCaps, TargetError, UnitId,
};

pub(super) struct Traffic {
    switch: Option<ProxySwitch>,
    /// In place of the proxy.
    balancer: Option<Arc<dyn Switch>>,
    /// To read a route and write it back is one step.
    switching: Mutex<()>,
}

fn match_of(expose: &pipeline::Expose) -> RouteMatch {
    RouteMatch { host: expose.host.clone(), path: expose.path.clone() }
}

/// Removes the route of an environment at a proxy, be it closed or lead to units that are
/// `ours`, and returns whether there was one. What leads to other units is somebody else's.
pub async fn remove_route(
    proxy_socket: PathBuf,
    key: &EnvironmentKey,
    ours: impl Fn(&UnitId) -> bool,
) -> Result<bool, TargetError> {
    ProxySwitch::new(proxy_socket).remove_by_hand(&route_name(key), ours).await
}

/// A unit as a balancer knows it.
fn member_of(unit: &RouteTarget) -> Result<Member, TargetError> {
    let address = unit.address.parse().map_err(|_| TargetError::Refused {
        message: format!("`{}` is no address that a balancer can be told", unit.address),
    })?;
    Ok(Member { unit: UnitId(unit.unit.clone()), address, name: unit.unit.clone() })
}

/// What of `expose` only the proxy heeds.
fn of_others(expose: &pipeline::Expose) -> Option<Finding> {
    (expose.host != "*" || expose.path != "/").then(|| {
        Check::Switch.warning(
            format!(
                "host `{}` and path `{}` of `expose` are for the proxy of Shipline: which requests come here is told by the balancer's own configuration",
                expose.host, expose.path
            ),
            "write them there, and take them out of `expose`",
        )
    })
}

impl Traffic {
    pub(super) fn new(proxy_socket: Option<PathBuf>) -> Self {
        let switch = proxy_socket.map(ProxySwitch::new);
        Self { switch, balancer: None, switching: Mutex::new(()) }
    }

    pub(super) fn behind(access: &SwitchAccess) -> Self {
        Self { switch: None, balancer: Some(access.open()), switching: Mutex::new(()) }
    }

    pub(super) fn caps(&self) -> Option<SwitchCaps> {
        let by_proxy = self.switch.as_ref().map(|_| SwitchCaps::PROXY);
        self.balancer.as_ref().map(|balancer| balancer.caps()).or(by_proxy)
    }

    pub(super) fn balancer(&self) -> Option<&dyn Switch> {
        self.balancer.as_deref()
    }

    /// Returns the units of an environment that are in traffic.
    pub(super) async fn in_traffic(
        &self,
        key: &EnvironmentKey,
        members: &[Member],
    ) -> Result<BTreeSet<UnitId>, TargetError> {
        match &self.balancer {
            Some(balancer) => balancer.admitted(members, key).await,
            None => self.admitted(&route_name(key)).await,
        }
    }

    /// Returns the units that `route` leads to; without a proxy, none.
    async fn admitted(&self, route: &str) -> Result<BTreeSet<UnitId>, TargetError> {
        match &self.switch {
            Some(switch) => switch.admitted(route).await,
            None => Ok(BTreeSet::new()),
        }
    }

    /// Returns where the proxy takes requests, as this machine reaches it.
    pub(super) async fn entrance(&self) -> Result<Option<SocketAddr>, TargetError> {
        match &self.switch {
            Some(switch) => switch.entrance().await,
            None => Ok(None),
        }
    }

    /// Returns what the proxy does with the requests of `route`; `None` without a proxy.
    pub(super) async fn seen(&self, route: &str) -> Result<Option<RouteSeen>, TargetError> {
        let Some(switch) = &self.switch else { return Ok(None) };
        let Some(found) = switch.route(route).await? else {
            return Ok(Some(RouteSeen::default()));
        };
        let matches = found.matches.into_iter().map(|it| (it.host, it.path)).collect();
        let targets = found.targets.into_iter().map(|it| (it.target.unit, it.target.address));
        Ok(Some(RouteSeen { matches, targets: targets.collect() }))
    }

    /// Says what stands in the way of the route that `spec` asks for.
    pub(super) async fn check(
        &self,
        spec: &Spec,
        members: &[Member],
    ) -> Result<Vec<Finding>, TargetError> {
        let Some(expose) = &spec.expose else { return Ok(Vec::new()) };
        if let Some(balancer) = &self.balancer {
            let mut findings = balancer.check(members, &key_of(spec)).await?;
            findings.extend(of_others(expose));
            return Ok(findings);
        }
        let Some(switch) = &self.switch else {
            return Ok(vec![Check::Proxy.finding(
                "`expose` needs a proxy, and the target has none",
                "start `shipline proxy` and name its control socket in the target, or the `switch` that it is behind",
            )]);
        };
        // Any answer says that it is there and speaks our language.
        let other = match switch.taken_by(&spec.route(), &match_of(expose)).await {
            Ok(other) => other,
            Err(TargetError::Infrastructure { message, .. }) => {
                let fix = "start `shipline proxy`, or name the control socket it has";
                return Ok(vec![Check::Proxy.finding(message, fix)]);
            }
            Err(error) => return Err(error),
        };
        let taken = other.map(|other| {
            Check::Route.finding(
                format!(
                    "host `{}` path `{}` is routed to `{other}` already",
                    expose.host, expose.path
                ),
                "give one of them a host or path of its own in `expose`",
            )
        });
        Ok(taken.into_iter().collect())
    }

    /// Takes the lease of an environment at the proxy; without one there is none.
    pub(super) async fn lease(
        &self,
        key: &EnvironmentKey,
        ask: &LeaseAsk,
    ) -> Result<LeaseAnswer, TargetError> {
        match &self.switch {
            Some(switch) => switch.lease(key, ask).await,
            None => Ok(LeaseAnswer::Unkept),
        }
    }

    /// Refuses a fence smaller than that of whoever has the lease at the proxy.
    pub(super) async fn guard(&self, key: &EnvironmentKey, fence: u64) -> Result<(), TargetError> {
        match &self.switch {
            Some(switch) => switch.guard(key, fence).await,
            None => Ok(()),
        }
    }

    pub(super) async fn renew(
        &self,
        key: &EnvironmentKey,
        fence: u64,
        ask: &LeaseAsk,
    ) -> Result<(), TargetError> {
        match &self.switch {
            Some(switch) => switch.renew(key, fence, ask).await,
            None => Ok(()),
        }
    }

    pub(super) async fn release(
        &self,
        key: &EnvironmentKey,
        fence: u64,
    ) -> Result<(), TargetError> {
        match &self.switch {
            Some(switch) => switch.release(key, fence).await,
            None => Ok(()),
        }
    }

    /// Keeps everybody else of this process from changing routes, for a step that
    /// is more than one change.
    pub(super) async fn alone(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.switching.lock().await
    }

    /// Routes to the unit at `address` in place of `replaces`; those of the other
    /// targets stay that are `known`. Only under [`Traffic::alone`].
    pub(super) async fn admit(
        &self,
        spec: &Spec,
        unit: RouteTarget,
        replaces: Option<&UnitId>,
        known: impl Fn(&UnitId) -> bool,
        fence: u64,
    ) -> Result<(), TargetError> {
        let Some(expose) = &spec.expose else { return Ok(()) };
        if let Some(balancer) = &self.balancer {
            let member = member_of(&unit)?;
            let key = key_of(spec);
            let order = Order { key: &key, fence, held: &trusted };
            let admitted = balancer.admit(&member, replaces, &order).await?;
            return admitted.map_err(|message| {
                let part = balancer.caps().name.to_owned();
                TargetError::Infrastructure { part, message }
            });
        }
        let wanted = Wanted::new(vec![match_of(expose)], &key_of(spec));
        self.switch()?.admit(&spec.route(), wanted, unit, replaces, known, fence).await
    }

    /// Takes the unit out of traffic where it is still in it, and waits until no
    /// request is in flight. A route that then leads nowhere is removed.
    pub(super) async fn drain(
        &self,
        member: &Member,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        if let Some(balancer) = &self.balancer {
            let key = key_of(spec);
            let order = Order { key: &key, fence, held: &trusted };
            {
                let _alone = self.switching.lock().await;
                balancer.drain(member, &order).await?;
            }
            let idle = balancer.wait_idle(member, spec.strategy.drain.std(), &order).await?;
            return Ok(idle.outcome());
        }
        let unit = &member.unit;
        let (switch, route) = (self.switch()?, spec.route());
        {
            let _alone = self.switching.lock().await;
            switch.withdraw(&route, unit, fence).await?;
        }
        let (drain, websockets) = (spec.strategy.drain, spec.strategy.drain_websockets);
        let drained = switch.drain(&route, unit, drain.std(), websockets.std()).await?;
        let _alone = self.switching.lock().await;
        switch.remove_if_empty(&route, fence).await?;
        Ok(OpOutcome::Drained { cut: drained.cut, took_ms: drained.took_ms })
    }

    /// Answers with a page from now on, and routes to nobody. An environment that was
    /// never routed to stays so.
    pub(super) async fn close(&self, spec: &Spec, fence: u64) -> Result<OpOutcome, TargetError> {
        if let Some(balancer) = &self.balancer {
            // It has a page of its own, which it shows when the last unit is drained.
            let detail = format!("{} shows its own page", balancer.caps().name);
            return Ok(OpOutcome::Done { detail });
        }
        let _alone = self.switching.lock().await;
        let text = format!("{} is stopped\n", spec.route());
        self.switch()?.close(&spec.route(), text, fence).await?;
        Ok(OpOutcome::Done { detail: String::new() })
    }

    /// Confirms, under the fence, that nothing is routed to `unit`.
    pub(super) async fn confirm_out(
        &self,
        route: &str,
        unit: &UnitId,
        fence: u64,
    ) -> Result<(), TargetError> {
        match &self.switch {
            Some(switch) => switch.confirm_out(route, unit, fence).await,
            None => Ok(()),
        }
    }

    /// Removes a route, unless it leads to somebody else's units.
    pub(super) async fn remove(
        &self,
        route: &str,
        ours: impl Fn(&UnitId) -> bool,
    ) -> Result<(), TargetError> {
        match &self.switch {
            Some(switch) => switch.remove_by_hand(route, ours).await.map(drop),
            None => Ok(()),
        }
    }

    fn switch(&self) -> Result<&ProxySwitch, TargetError> {
        self.switch.as_ref().ok_or_else(|| TargetError::Refused {
            message: "`expose` needs a proxy, and the target has none".to_owned(),
        })
    }
}
