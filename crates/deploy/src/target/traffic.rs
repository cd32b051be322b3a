//! Traffic of a target behind Shipline's proxy: the same for all that have one.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use proxy::control::{RouteMatch, Target as RouteTarget};
use tokio::sync::Mutex;

use super::driving::{key_of, route_name};
use crate::switch::{ProxySwitch, Wanted};
use crate::{
    Check, EnvironmentKey, Finding, LeaseAnswer, LeaseAsk, OpOutcome, RouteSeen, Spec, TargetError,
    UnitId,
};

pub(super) struct Traffic {
    switch: Option<ProxySwitch>,
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

impl Traffic {
    pub(super) fn new(proxy_socket: Option<PathBuf>) -> Self {
        Self { switch: proxy_socket.map(ProxySwitch::new), switching: Mutex::new(()) }
    }

    /// Returns the units that `route` leads to; without a proxy, none.
    pub(super) async fn admitted(&self, route: &str) -> Result<BTreeSet<UnitId>, TargetError> {
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
    pub(super) async fn check(&self, spec: &Spec) -> Result<Option<Finding>, TargetError> {
        let Some(expose) = &spec.expose else { return Ok(None) };
        let Some(switch) = &self.switch else {
            return Ok(Some(Check::Proxy.finding(
                "`expose` needs a proxy, and the target has none",
                "start `shipline proxy` and name its control socket in the target",
            )));
        };
        // Any answer says that it is there and speaks our language.
        let other = match switch.taken_by(&spec.route(), &match_of(expose)).await {
            Ok(other) => other,
            Err(TargetError::Infrastructure { message, .. }) => {
                let fix = "start `shipline proxy`, or name the control socket it has";
                return Ok(Some(Check::Proxy.finding(message, fix)));
            }
            Err(error) => return Err(error),
        };
        Ok(other.map(|other| {
            Check::Route.finding(
                format!(
                    "host `{}` path `{}` is routed to `{other}` already",
                    expose.host, expose.path
                ),
                "give one of them a host or path of its own in `expose`",
            )
        }))
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
        let wanted = Wanted::new(vec![match_of(expose)], &key_of(spec));
        self.switch()?.admit(&spec.route(), wanted, unit, replaces, known, fence).await
    }

    /// Takes the unit out of traffic where it is still in it, and waits until no
    /// request is in flight. A route that then leads nowhere is removed.
    pub(super) async fn drain(
        &self,
        unit: &UnitId,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
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
