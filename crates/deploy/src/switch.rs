//! The traffic switch: what routes requests to units.
//!
//! Shipline's own proxy ([`ProxySwitch`]) knows units by name, keeps leases and refuses
//! old fences itself. A balancer of somebody else is behind [`Switch`]: it knows servers
//! by their addresses, and promises what it can ([`SwitchCaps`]).

mod caps;
mod file;
mod haproxy;
mod hook;
mod nginx;
mod proxy;
mod reach;
#[cfg(test)]
pub(crate) mod stub;
#[cfg(test)]
pub(crate) mod tests;
mod traefik;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use pipeline::SwitchSpec;
use tokio::time::Instant;

pub use self::caps::SwitchCaps;
pub(crate) use self::proxy::{ProxySwitch, Wanted};
use crate::{Check, EnvironmentKey, Finding, OpOutcome, TargetError, UnitId};

/// How often a balancer is asked whether a server is up, or idle.
const LOOK: Duration = Duration::from_millis(200);
/// Until a balancer must say that a server is up. An op has longer.
const UP: Duration = Duration::from_secs(45);
/// The share of requests that a unit in traffic gets, in percent.
pub(crate) const FULL: u32 = 100;

/// A balancer of somebody else, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchAccess {
    pub spec: SwitchSpec,
    /// The private key for one behind SSH; without it, those of the SSH client's own
    /// configuration and agent.
    pub identity: Option<PathBuf>,
    /// Hosts whose keys are known; without it, those of the user who runs this.
    pub known_hosts: Option<PathBuf>,
}

impl SwitchAccess {
    /// Nothing is connected to before it is needed.
    pub(crate) fn open(&self) -> Arc<dyn Switch> {
        match &self.spec {
            SwitchSpec::Haproxy(spec) => Arc::new(haproxy::Haproxy::new(spec, self)),
            SwitchSpec::Nginx(spec) => Arc::new(nginx::Nginx::new(spec, self)),
            SwitchSpec::Traefik(spec) => Arc::new(traefik::Traefik::new(spec, self)),
            SwitchSpec::Hook(spec) => Arc::new(hook::Hook::new(spec, self)),
        }
    }
}

/// Takes back what a balancer was told of an environment, as far as it is written down
/// somewhere. Returns whether there was anything.
pub async fn forget(access: &SwitchAccess, key: &EnvironmentKey) -> Result<bool, TargetError> {
    access.open().forget(key).await
}

/// A unit as a balancer knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) unit: UnitId,
    /// Where it answers.
    pub(crate) address: SocketAddr,
    /// What people call the place: the name of a host.
    pub(crate) name: String,
}

/// On whose behalf something is changed.
pub(crate) struct Order<'a> {
    pub(crate) key: &'a EnvironmentKey,
    pub(crate) fence: u64,
    /// Whether that is still the largest fence, as the place of the units knows it: asked
    /// before each change of a balancer that knows no fences.
    pub(crate) held: &'a (dyn Fn() -> BoxFuture<'a, Result<(), TargetError>> + Send + Sync),
}

/// Of units whose fences were looked at when the op began, and of balancers that compare
/// them by themselves.
pub(crate) fn trusted<'a>() -> BoxFuture<'a, Result<(), TargetError>> {
    Box::pin(async { Ok(()) })
}

/// Whether a balancer sends requests to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Up {
    Yes,
    /// Why not.
    No(String),
    /// It tells nobody.
    Unknown,
}

/// How the requests that a server had in flight ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// All but those that did not in time, which were cut.
    Counted { cut: u64, took: Duration },
    /// Nobody counts them: they had this long.
    Waited(Duration),
    /// Somebody else says that they did.
    Said,
}

impl Idle {
    /// As the outcome of a drain.
    pub(crate) fn outcome(&self) -> OpOutcome {
        let done = |detail: String| OpOutcome::Done { detail };
        match self {
            Self::Counted { cut, took } => OpOutcome::Drained {
                cut: *cut,
                took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            },
            Self::Waited(time) => {
                done(format!("waited {:.1} s, nobody counts what is in flight", time.as_secs_f64()))
            }
            Self::Said => done("the hook says it is drained".to_owned()),
        }
    }
}

/// A balancer in front of units.
///
/// Contract:
/// - `drain`, `undrain` and `set_weights` return when the balancer has taken it in; twice
///   is once. They change nothing of servers that they do not name.
/// - `wait_idle` follows `drain`, and drains again what a restart of the balancer has
///   forgotten, for as long as it waits.
/// - Before each change of one that compares no fences, [`Order::held`] is asked; one that
///   does refuses with [`TargetError::Fenced`].
/// - What cannot be reached is an error that says where and what to do.
#[async_trait]
pub(crate) trait Switch: Send + Sync {
    fn caps(&self) -> SwitchCaps;

    /// Says what stands in the way of a deployment that is about to reach `members`.
    async fn check(
        &self,
        members: &[Member],
        key: &EnvironmentKey,
    ) -> Result<Vec<Finding>, TargetError>;

    /// Returns those of `members` that are not out of traffic; one that is merely not well
    /// is in it.
    async fn admitted(
        &self,
        members: &[Member],
        key: &EnvironmentKey,
    ) -> Result<BTreeSet<UnitId>, TargetError>;

    /// Whether requests may go to a unit's address, whoever answers there.
    async fn leads_to(&self, member: &Member, key: &EnvironmentKey) -> Result<bool, TargetError>;

    /// Stops new requests to the server at a unit's address, whose ever it is.
    async fn drain(&self, member: &Member, order: &Order<'_>) -> Result<(), TargetError>;

    /// Waits for the requests in flight, which are cut after `timeout`.
    async fn wait_idle(
        &self,
        member: &Member,
        timeout: Duration,
        order: &Order<'_>,
    ) -> Result<Idle, TargetError>;

    /// Lets requests go to a unit again, and in the same moment no longer to `replaces`
    /// where that is another server.
    async fn undrain(
        &self,
        member: &Member,
        replaces: Option<&UnitId>,
        order: &Order<'_>,
    ) -> Result<(), TargetError>;

    /// Lets requests go again to whoever answered at an address before there were units.
    async fn give_back(&self, member: &Member, order: &Order<'_>) -> Result<(), TargetError> {
        self.undrain(member, None, order).await
    }

    async fn is_up(&self, member: &Member) -> Result<Up, TargetError>;

    /// Gives units their shares, in percent of what each had from the beginning.
    async fn set_weights(
        &self,
        shares: &[(&Member, u32)],
        order: &Order<'_>,
    ) -> Result<(), TargetError>;

    /// Takes back what was written down of an environment.
    async fn forget(&self, key: &EnvironmentKey) -> Result<bool, TargetError>;

    /// Brings a unit into traffic with its full share, and waits until the balancer says
    /// that it is up; why it does not is the inner error.
    async fn admit(
        &self,
        member: &Member,
        replaces: Option<&UnitId>,
        order: &Order<'_>,
    ) -> Result<Result<(), String>, TargetError> {
        self.undrain(member, replaces, order).await?;
        if self.caps().weights {
            self.set_weights(&[(member, FULL)], order).await?;
        }
        let deadline = Instant::now() + UP;
        loop {
            let why = match self.is_up(member).await? {
                Up::Yes | Up::Unknown => return Ok(Ok(())),
                Up::No(why) => why,
            };
            if Instant::now() >= deadline {
                return Ok(Err(format!("{why}, for {} s", UP.as_secs())));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// An error of a balancer, with what to do about it.
fn broken(switch: &str, cause: impl Into<String>, fix: &str) -> TargetError {
    let message = format!("{}; {fix}", cause.into());
    TargetError::Infrastructure { part: switch.to_owned(), message }
}

/// The same as what a check found.
fn found(error: TargetError) -> Result<Finding, TargetError> {
    match error {
        TargetError::Infrastructure { part, message } => {
            let (cause, fix) = message.rsplit_once("; ").unwrap_or((&*message, "look at it"));
            Ok(Check::Switch.finding(format!("{part}: {cause}"), fix))
        }
        TargetError::Refused { message } => {
            Ok(Check::Switch.finding(message, "look at the configuration of the switch"))
        }
        error @ TargetError::Fenced(_) => Err(error),
    }
}
