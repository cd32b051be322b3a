//! Shipline's proxy as the switch, over its control socket.
//!
//! Everything said here carries the fence of the lease and may be said twice, so
//! a call that got no answer is made again. A route is bound to the lease of its
//! environment: whoever lost that can change nothing, also before its next holder
//! changes anything.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use proxy::control::{
    Client, ClientError, DrainRequest, Drained, LeaseRequest, Page, RouteMatch, RouteOptions,
    RouteSpec, RouteStatus, Target,
};

use crate::{EnvironmentKey, LeaseAnswer, LeaseAsk, LeaseHolder, TargetError, UnitId};

/// The status of a route that somebody stopped.
const CLOSED: u16 = 503;
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(300);

/// Whoever listens at every address is reached at that of the loopback interface.
fn reached(mut address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(all) if all.ip().is_unspecified() => {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        SocketAddr::V6(all) if all.ip().is_unspecified() => {
            address.set_ip(Ipv6Addr::LOCALHOST.into());
        }
        SocketAddr::V4(_) | SocketAddr::V6(_) => {}
    }
    address
}

/// Whose requests a route takes, and which lease it is bound to.
pub(crate) struct Wanted {
    pub(crate) matches: Vec<RouteMatch>,
    lease: String,
}

impl Wanted {
    pub(crate) fn new(matches: Vec<RouteMatch>, key: &EnvironmentKey) -> Self {
        Self { matches, lease: lease_name(key) }
    }
}

pub(crate) struct ProxySwitch {
    client: Client,
}

impl ProxySwitch {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { client: Client::new(socket) }
    }

    pub(crate) async fn route(&self, name: &str) -> Result<Option<RouteStatus>, TargetError> {
        let mut routes = self.ask(|| self.client.routes()).await?;
        Ok(routes.routes.remove(name))
    }

    /// Returns an address at which requests are taken without TLS.
    pub(crate) async fn entrance(&self) -> Result<Option<SocketAddr>, TargetError> {
        let routes = self.ask(|| self.client.routes()).await?;
        Ok(routes.listen.first().copied().map(reached))
    }

    /// Returns the route other than `name` that has the requests of `wanted`
    /// already; two routes for the same ones cannot be.
    pub(crate) async fn taken_by(
        &self,
        name: &str,
        wanted: &RouteMatch,
    ) -> Result<Option<String>, TargetError> {
        let routes = self.ask(|| self.client.routes()).await?.routes;
        let same = |other: &RouteMatch| {
            other.host.eq_ignore_ascii_case(&wanted.host)
                && other.path.trim_end_matches('/') == wanted.path.trim_end_matches('/')
        };
        let taken = routes
            .into_iter()
            .find(|(other, route)| other != name && route.matches.iter().any(same));
        Ok(taken.map(|(other, _)| other))
    }

    /// Returns the units a route leads to.
    pub(crate) async fn admitted(&self, name: &str) -> Result<BTreeSet<UnitId>, TargetError> {
        let route = self.route(name).await?;
        let targets = route.into_iter().flat_map(|route| route.targets);
        Ok(targets.map(|target| UnitId(target.target.unit)).collect())
    }

    /// Takes the lease of an environment. A proxy that is not there keeps none, and lets
    /// nobody change a route either.
    pub(crate) async fn lease(
        &self,
        key: &EnvironmentKey,
        ask: &LeaseAsk,
    ) -> Result<LeaseAnswer, TargetError> {
        let request = request(ask, None);
        match self.ask_as_it_is(|| self.lease_of(key, &request)).await {
            Ok(lease) => Ok(LeaseAnswer::Taken { fence: lease.fence }),
            Err(ClientError::Held { lease, .. }) => Ok(LeaseAnswer::Held(LeaseHolder {
                since: moment(lease.since_ms),
                holder: lease.holder,
            })),
            Err(error @ ClientError::Unreachable { .. }) => {
                tracing::debug!("no lease at the proxy: {error}");
                Ok(LeaseAnswer::Unkept)
            }
            Err(error) => Err(said_no(&error)),
        }
    }

    pub(crate) async fn renew(
        &self,
        key: &EnvironmentKey,
        fence: u64,
        ask: &LeaseAsk,
    ) -> Result<(), TargetError> {
        let request = request(ask, Some(fence));
        match self.ask_as_it_is(|| self.lease_of(key, &request)).await {
            Ok(_) => Ok(()),
            // Somebody else has it, or a proxy that knows nothing of it.
            Err(error @ (ClientError::Held { .. } | ClientError::Refused { status: 404, .. })) => {
                Err(TargetError::Fenced(error.to_string()))
            }
            Err(error) => Err(said_no(&error)),
        }
    }

    pub(crate) async fn release(
        &self,
        key: &EnvironmentKey,
        fence: u64,
    ) -> Result<(), TargetError> {
        let EnvironmentKey { project, environment } = key;
        let released =
            self.ask_as_it_is(|| self.client.release_lease(project, environment, fence)).await;
        match released {
            // It ended by itself, or somebody else has it since.
            Ok(()) | Err(ClientError::Fenced { .. } | ClientError::Refused { status: 404, .. }) => {
                Ok(())
            }
            Err(error) => Err(said_no(&error)),
        }
    }

    /// Refuses a fence smaller than that of whoever has the lease now.
    pub(crate) async fn guard(&self, key: &EnvironmentKey, fence: u64) -> Result<(), TargetError> {
        match self.ask_as_it_is(|| self.client.leases()).await {
            Ok(held) => {
                let name = lease_name(key);
                fenced(held.leases.get(&name).map_or(0, |lease| lease.fence), fence)
            }
            // Who has something to ask of the proxy will hear of that.
            Err(ClientError::Unreachable { .. }) => Ok(()),
            Err(error) => Err(said_no(&error)),
        }
    }

    async fn lease_of(
        &self,
        key: &EnvironmentKey,
        request: &LeaseRequest,
    ) -> Result<proxy::control::Lease, ClientError> {
        self.client.lease(&key.project, &key.environment, request).await
    }

    /// Routes to `unit`, and no longer to `replaces`, in one swap. Of the other
    /// targets those stay that `keep` accepts.
    pub(crate) async fn admit(
        &self,
        name: &str,
        wanted: Wanted,
        unit: Target,
        replaces: Option<&UnitId>,
        keep: impl Fn(&UnitId) -> bool,
        fence: u64,
    ) -> Result<(), TargetError> {
        let route = self.route(name).await?;
        let options = RouteOptions {
            lease: Some(wanted.lease),
            ..route.as_ref().map(|route| route.options.clone()).unwrap_or_default()
        };
        let mut targets: Vec<Target> = route
            .into_iter()
            .flat_map(|route| route.targets)
            .map(|target| target.target)
            .filter(|target| target.unit != unit.unit)
            .filter(|target| replaces.is_none_or(|replaced| replaced.0 != target.unit))
            .filter(|target| keep(&UnitId(target.unit.clone())))
            .collect();
        targets.push(unit);
        targets.sort_by(|a, b| a.unit.cmp(&b.unit));
        self.put(name, RouteSpec { fence, matches: wanted.matches, targets, options }).await
    }

    /// Takes `unit` out of a route if it is in it.
    pub(crate) async fn withdraw(
        &self,
        name: &str,
        unit: &UnitId,
        fence: u64,
    ) -> Result<(), TargetError> {
        let Some(route) = self.route(name).await? else { return Ok(()) };
        let is_in = route.targets.iter().any(|target| target.target.unit == unit.0);
        if !is_in {
            return fenced(route.fence, fence);
        }
        let targets = route
            .targets
            .into_iter()
            .map(|target| target.target)
            .filter(|target| target.unit != unit.0)
            .collect();
        let options = route.options;
        self.put(name, RouteSpec { fence, matches: route.matches, targets, options }).await
    }

    /// Takes all units out of a route in one swap; until one is admitted again, requests
    /// are answered with 503 and `text`.
    pub(crate) async fn close(
        &self,
        name: &str,
        text: String,
        fence: u64,
    ) -> Result<(), TargetError> {
        let Some(route) = self.route(name).await? else { return Ok(()) };
        let page = Page { fence, status: CLOSED, text };
        self.ask(|| self.client.put_page(name, &page)).await?;
        let RouteStatus { matches, options, .. } = route;
        self.put(name, RouteSpec { fence, matches, targets: Vec::new(), options }).await
    }

    /// Waits until a unit that left a route is idle; after `timeout` the rest is cut,
    /// and after `websockets` what is no request any more.
    pub(crate) async fn drain(
        &self,
        name: &str,
        unit: &UnitId,
        timeout: Duration,
        websockets: Duration,
    ) -> Result<Drained, TargetError> {
        if self.route(name).await?.is_none() {
            return Ok(Drained { cut: 0, took_ms: 0 });
        }
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let request = DrainRequest {
            unit: unit.0.clone(),
            timeout_ms: milliseconds(timeout),
            websockets_timeout_ms: Some(milliseconds(websockets)),
        };
        self.ask(|| self.client.drain(name, &request)).await
    }

    /// Removes a route that leads nowhere and has no page to show.
    pub(crate) async fn remove_if_empty(&self, name: &str, fence: u64) -> Result<(), TargetError> {
        match self.route(name).await? {
            Some(RouteStatus { targets, draining, page: false, .. })
                if targets.is_empty() && draining.is_empty() =>
            {
                self.remove(name, fence).await
            }
            _ => Ok(()),
        }
    }

    pub(crate) async fn remove(&self, name: &str, fence: u64) -> Result<(), TargetError> {
        self.ask(|| self.client.delete_route(name, fence)).await
    }

    /// Removes a route whatever its fence, which that of its lease may exceed, unless it
    /// leads to a unit that is not `ours`. Returns whether there was one to remove.
    pub(crate) async fn remove_by_hand(
        &self,
        name: &str,
        ours: impl Fn(&UnitId) -> bool,
    ) -> Result<bool, TargetError> {
        let Some(route) = self.route(name).await? else { return Ok(false) };
        let mut units = route.targets.into_iter().map(|target| UnitId(target.target.unit));
        if !units.all(|unit| ours(&unit)) {
            return Ok(false);
        }
        match self.ask_as_it_is(|| self.client.delete_route(name, route.fence)).await {
            Err(ClientError::Fenced { fence, .. }) => self.remove(name, fence).await?,
            removed => removed.map_err(|error| said_no(&error))?,
        }
        Ok(true)
    }

    /// Confirms, under the fence, that nothing is routed to `unit`.
    pub(crate) async fn confirm_out(
        &self,
        name: &str,
        unit: &UnitId,
        fence: u64,
    ) -> Result<(), TargetError> {
        let Some(route) = self.route(name).await? else { return Ok(()) };
        fenced(route.fence, fence)?;
        if route.targets.iter().any(|target| target.target.unit == unit.0) {
            let message = format!("{unit} still gets traffic");
            return Err(TargetError::Infrastructure { part: "proxy".to_owned(), message });
        }
        Ok(())
    }

    async fn put(&self, name: &str, route: RouteSpec) -> Result<(), TargetError> {
        self.ask(|| self.client.put_route(name, &route)).await.map(drop)
    }

    async fn ask<T, F>(&self, ask: impl Fn() -> F) -> Result<T, TargetError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        self.ask_as_it_is(ask).await.map_err(|error| said_no(&error))
    }

    async fn ask_as_it_is<T, F>(&self, ask: impl Fn() -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            match ask().await {
                Err(ClientError::Unreachable { .. }) if tries < TRIES => {
                    tokio::time::sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    }
}

fn lease_name(key: &EnvironmentKey) -> String {
    format!("{}/{}", key.project, key.environment)
}

/// Asks for a lease, or with `fence` for more time.
fn request(ask: &LeaseAsk, fence: Option<u64>) -> LeaseRequest {
    LeaseRequest {
        holder: ask.holder.clone(),
        key: Some(ask.deployment.to_string()),
        ttl_ms: u64::try_from(ask.ttl.as_millis()).unwrap_or(u64::MAX),
        reason: String::new(),
        fence,
        above: ask.above,
    }
}

fn moment(since_ms: u64) -> Option<DateTime<Utc>> {
    let since = i64::try_from(since_ms).ok().filter(|since| *since > 0)?;
    DateTime::from_timestamp_millis(since)
}

fn fenced(in_force: u64, fence: u64) -> Result<(), TargetError> {
    if in_force > fence {
        let message = format!("the proxy has seen fence {in_force}, this engine holds {fence}");
        return Err(TargetError::Fenced(message));
    }
    Ok(())
}

fn said_no(error: &ClientError) -> TargetError {
    let because = std::error::Error::source(error).map(|source| format!(": {source}"));
    let message = format!("{error}{}", because.unwrap_or_default());
    match error {
        ClientError::Fenced { .. } => TargetError::Fenced(message),
        // What a pipeline file says, such as a host another route has taken.
        ClientError::Refused { status: 400..=499, .. } => TargetError::Refused { message },
        _ => TargetError::Infrastructure { part: "proxy".to_owned(), message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switch::stub::StubProxy;

    fn unit(name: &str) -> Target {
        Target {
            unit: name.to_owned(),
            address: "10.214.0.2:8080".to_owned(),
            release: "r1".to_owned(),
            weight: 100,
        }
    }

    fn id(name: &str) -> UnitId {
        UnitId(name.to_owned())
    }

    fn key() -> EnvironmentKey {
        EnvironmentKey { project: "web".to_owned(), environment: "prod".to_owned() }
    }

    fn everything() -> Wanted {
        let all = RouteMatch { host: "*".to_owned(), path: "/".to_owned() };
        Wanted::new(vec![all], &key())
    }

    async fn switch_with(units: &[&str]) -> (StubProxy, ProxySwitch) {
        let proxy = StubProxy::start();
        let switch = ProxySwitch::new(proxy.socket());
        for name in units {
            switch.admit("web", everything(), unit(name), None, |_| true, 5).await.unwrap();
        }
        proxy.take_asked();
        (proxy, switch)
    }

    #[tokio::test]
    async fn to_admit_swaps_one_unit_and_keeps_those_that_are_known() {
        let (proxy, switch) = switch_with(&["a", "b", "gone"]).await;
        let keep = |unit: &UnitId| unit.0 != "gone";
        switch.admit("web", everything(), unit("c"), Some(&id("a")), keep, 5).await.unwrap();
        assert_eq!(proxy.take_asked(), ["put b c"]);
        switch.admit("web", everything(), unit("c"), Some(&id("a")), keep, 5).await.unwrap();
        assert_eq!(proxy.take_asked(), ["put b c"], "twice is as once");
        assert_eq!(switch.admitted("web").await.unwrap(), [id("b"), id("c")].into());
        assert_eq!(switch.admitted("other").await.unwrap(), [].into());
    }

    #[tokio::test]
    async fn to_withdraw_takes_out_only_what_is_in() {
        let (proxy, switch) = switch_with(&["a", "b"]).await;
        switch.withdraw("web", &id("a"), 5).await.unwrap();
        switch.withdraw("web", &id("a"), 5).await.unwrap();
        switch.withdraw("other", &id("a"), 5).await.unwrap();
        assert_eq!(proxy.take_asked(), ["put b"]);
        proxy.cut(2);
        let drained = switch
            .drain("web", &id("a"), Duration::from_secs(3), Duration::from_secs(9))
            .await
            .unwrap();
        assert_eq!(drained.cut, 2);
        assert_eq!(proxy.take_asked(), ["drain a for 3000 ms, WebSockets for 9000 ms"]);
    }

    #[tokio::test]
    async fn a_route_is_removed_when_it_leads_nowhere() {
        let (proxy, switch) = switch_with(&["a"]).await;
        switch.remove_if_empty("web", 5).await.unwrap();
        switch.withdraw("web", &id("a"), 5).await.unwrap();
        switch.remove_if_empty("web", 5).await.unwrap();
        switch.remove_if_empty("web", 5).await.unwrap();
        assert_eq!(proxy.take_asked(), ["put ", "delete"]);
        assert_eq!(proxy.targets("web"), None);
    }

    #[tokio::test]
    async fn a_route_that_leads_to_units_of_another_is_not_removed_by_hand() {
        let (proxy, switch) = switch_with(&["a", "b"]).await;
        let ask = LeaseAsk {
            deployment: event::DeploymentId::new(uuid::Uuid::from_u128(1)),
            holder: "bob@two".to_owned(),
            ttl: Duration::from_secs(30),
            above: 90,
        };
        // Somebody holds it under a fence that nothing of the route shows.
        switch.lease(&key(), &ask).await.unwrap();
        assert!(!switch.remove_by_hand("web", |unit| unit.0 == "a").await.unwrap());
        assert_eq!(proxy.targets("web").map(|targets| targets.len()), Some(2));
        assert!(switch.remove_by_hand("web", |_| true).await.unwrap());
        assert_eq!(proxy.targets("web"), None);
        assert!(!switch.remove_by_hand("web", |_| true).await.unwrap(), "twice is as once");
    }

    #[tokio::test]
    async fn an_engine_with_a_smaller_fence_changes_nothing() {
        let (proxy, switch) = switch_with(&["a"]).await;
        let admitted = switch.admit("web", everything(), unit("b"), None, |_| true, 4).await;
        assert!(matches!(admitted, Err(TargetError::Fenced(_))), "{admitted:?}");
        for name in ["a", "b"] {
            let withdrawn = switch.withdraw("web", &id(name), 4).await;
            assert!(matches!(withdrawn, Err(TargetError::Fenced(_))), "{withdrawn:?}");
        }
        let confirmed = switch.confirm_out("web", &id("b"), 4).await;
        assert!(matches!(confirmed, Err(TargetError::Fenced(_))), "{confirmed:?}");
        assert_eq!(proxy.take_asked(), [""; 0]);
    }

    #[tokio::test]
    async fn only_a_unit_out_of_traffic_may_be_stopped() {
        let (_proxy, switch) = switch_with(&["a"]).await;
        switch.confirm_out("web", &id("b"), 5).await.unwrap();
        switch.confirm_out("none", &id("a"), 5).await.unwrap();
        let confirmed = switch.confirm_out("web", &id("a"), 5).await.unwrap_err();
        assert_eq!(confirmed.to_string(), "proxy: a still gets traffic");
    }

    #[tokio::test]
    async fn a_route_that_has_the_requests_already_is_named() {
        let (_proxy, switch) = switch_with(&["a"]).await;
        let wanted = RouteMatch { host: "*".to_owned(), path: String::new() };
        assert_eq!(switch.taken_by("web", &wanted).await.unwrap(), None);
        assert_eq!(switch.taken_by("shop", &wanted).await.unwrap().as_deref(), Some("web"));
        let other = RouteMatch { host: "*".to_owned(), path: "/shop".to_owned() };
        assert_eq!(switch.taken_by("shop", &other).await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_that_is_not_there_is_infrastructure() {
        let switch = ProxySwitch::new("/nonexistent/proxy.sock".into());
        let error = switch.route("web").await.unwrap_err();
        assert!(matches!(&error, TargetError::Infrastructure { part, .. } if part == "proxy"));
        assert!(
            error
                .to_string()
                .starts_with("proxy: cannot reach the proxy at /nonexistent/proxy.sock: ")
        );
    }
}
