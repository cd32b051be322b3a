//! The lease of an environment on its hosts, beside that of the proxy.
//!
//! Every host that answers carries it: all or none. They are looked at first, so that to
//! ask changes nothing where somebody has it; then the first one in the order of the
//! target decides between those who ask at once, and the others follow together. A host
//! that is away carries none and blocks nobody: whether it may be away is for preflight.
//!
//! A host counts the age of a lease by how long it has been up, which nobody sets.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use event::DeploymentId;
use futures_util::future::join_all;

use super::connection::{Host, Input};
use super::trouble::Trouble;
use super::{HostsTarget, infrastructure};
use crate::{EnvironmentKey, LeaseAnswer, LeaseAsk, LeaseHolder, TargetError};

/// A first call, with the time to connect to a host that does not answer.
const LOOK: Duration = Duration::from_secs(12);
/// A call on a connection that is there. Whoever is slower carries it from the next
/// renewal on.
const TAKE: Duration = Duration::from_secs(8);
/// Shorter than the beat of renewals.
const RENEW: Duration = Duration::from_secs(4);

/// What a host says of its lease.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    /// The largest fence it has seen.
    fence: u64,
    held: Option<(DeploymentId, LeaseHolder)>,
}

impl Told {
    fn read(said: &str) -> Self {
        let mut told = Self::default();
        for (word, rest) in said.lines().filter_map(|line| line.split_once('\t')) {
            match word {
                "fence" => told.fence = rest.parse().unwrap_or_default(),
                "held" => {
                    let (deployment, by) = rest.split_once('\t').unwrap_or((rest, ""));
                    told.held = deployment.parse().ok().map(|deployment| (deployment, holder(by)));
                }
                _ => {}
            }
        }
        told
    }

    /// Who keeps `deployment` waiting.
    fn against(self, deployment: DeploymentId) -> Option<LeaseHolder> {
        self.held.filter(|(held, _)| *held != deployment).map(|(_, holder)| holder)
    }
}

/// Reads `SINCE HOLDER`, as the host was told it.
fn holder(by: &str) -> LeaseHolder {
    let (since, holder) = by.split_once(' ').unwrap_or(("", by));
    let since = since.parse().ok().and_then(|since| DateTime::from_timestamp(since, 0));
    LeaseHolder { holder: holder.to_owned(), since }
}

/// Why not all hosts carry a lease that was asked for.
enum Refusal {
    Held(LeaseHolder),
    Fenced(String),
}

impl HostsTarget {
    /// Takes the lease at the proxy, if there is one, and on the hosts: two targets may
    /// have one proxy and other hosts, and engines of one target need not name the same.
    pub(super) async fn take_lease(
        &self,
        key: &EnvironmentKey,
        ask: &LeaseAsk,
    ) -> Result<LeaseAnswer, TargetError> {
        let mut above = ask.above;
        let mut answering = Vec::new();
        let mut away = None;
        for (host, said) in each(&self.hosts, key, "leased", &[], LOOK).await {
            match said {
                Ok(said) => {
                    let told = Told::read(&said);
                    above = above.max(told.fence);
                    if let Some(by) = told.against(ask.deployment) {
                        return Ok(LeaseAnswer::Held(by));
                    }
                    answering.push(Arc::clone(host));
                }
                Err(trouble) if trouble.is_away() => {
                    tracing::debug!(host = host.access.name, "no lease: {}", trouble.cause());
                    away = away.or_else(|| Some(trouble.error(&host.access.name)));
                }
                // What a host lacks is found by preflight, with everything else there is.
                Err(trouble) => {
                    tracing::debug!(host = host.access.name, "no lease: {}", trouble.cause());
                }
            }
        }
        let asked = LeaseAsk { above, ..ask.clone() };
        let at_proxy = match self.traffic.lease(key, &asked).await? {
            LeaseAnswer::Held(by) => return Ok(LeaseAnswer::Held(by)),
            LeaseAnswer::Taken { fence } => Some(fence),
            LeaseAnswer::Unkept => None,
        };
        let fence = at_proxy.unwrap_or(above + 1);
        let on_hosts = take(&answering, key, ask, fence).await;
        let refused = match on_hosts {
            Ok(carrying) if carrying > 0 || at_proxy.is_some() => {
                return Ok(LeaseAnswer::Taken { fence });
            }
            // Nobody could be kept out.
            Ok(_) => return away.map_or(Ok(LeaseAnswer::Unkept), Err),
            Err(refused) => refused,
        };
        if let Some(fence) = at_proxy {
            self.traffic.release(key, fence).await?;
        }
        match refused {
            Refusal::Held(by) => Ok(LeaseAnswer::Held(by)),
            Refusal::Fenced(by) => Err(TargetError::Fenced(by)),
        }
    }

    /// Extends the lease, also on hosts that did not answer before. It is lost where one
    /// of them is somebody else's by now, and in doubt where nobody answers.
    pub(super) async fn renew_lease(
        &self,
        key: &EnvironmentKey,
        fence: u64,
        ask: &LeaseAsk,
    ) -> Result<(), TargetError> {
        let words = words(ask, fence);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let (at_proxy, on_hosts) = tokio::join!(
            self.traffic.renew(key, fence, ask),
            each(&self.hosts, key, "renew", &words, RENEW)
        );
        at_proxy?;
        let mut renewed = self.hosts.is_empty();
        let mut first = None;
        for (host, said) in on_hosts {
            match said {
                Ok(_) => renewed = true,
                Err(trouble @ Trouble::Fenced(_)) => return Err(trouble.error(&host.access.name)),
                Err(trouble) => drop(first.get_or_insert_with(|| trouble.error(&host.access.name))),
            }
        }
        match first.filter(|_| !renewed) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    pub(super) async fn release_lease(
        &self,
        key: &EnvironmentKey,
        fence: u64,
        ask: &LeaseAsk,
    ) -> Result<(), TargetError> {
        let (at_proxy, on_hosts) =
            tokio::join!(self.traffic.release(key, fence), give_back(&self.hosts, key, ask, fence));
        at_proxy?;
        // On hosts that are away it ends by itself, and nobody asks them meanwhile.
        on_hosts
    }
}

/// Takes the lease on hosts, the first alone, and returns how many carry it; where one
/// refuses, none does.
async fn take(
    hosts: &[Arc<Host>],
    key: &EnvironmentKey,
    ask: &LeaseAsk,
    fence: u64,
) -> Result<usize, Refusal> {
    let words = words(ask, fence);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let mut carrying = Vec::new();
    let mut rest = hosts;
    while let [next, others @ ..] = rest {
        // One that no longer answers leaves it to the next one.
        let alone = if carrying.is_empty() { std::slice::from_ref(next) } else { rest };
        rest = if carrying.is_empty() { others } else { &[] };
        let mut refused = None;
        for (host, said) in each(alone, key, "lease", &words, TAKE).await {
            match said {
                Ok(_) => carrying.push(Arc::clone(host)),
                Err(Trouble::Leased(by)) => refused = Some(Refusal::Held(holder(&by))),
                Err(Trouble::Fenced(by)) => {
                    refused = refused
                        .or(Some(Refusal::Fenced(format!("host {}: {by}", host.access.name))));
                }
                Err(trouble) => {
                    tracing::debug!(host = host.access.name, "no lease: {}", trouble.cause());
                }
            }
        }
        if let Some(refused) = refused {
            if let Err(error) = give_back(&carrying, key, ask, fence).await {
                tracing::warn!("a lease ends by itself: {error}");
            }
            return Err(refused);
        }
    }
    Ok(carrying.len())
}

async fn give_back(
    hosts: &[Arc<Host>],
    key: &EnvironmentKey,
    ask: &LeaseAsk,
    fence: u64,
) -> Result<(), TargetError> {
    let (fence, deployment) = (fence.to_string(), ask.deployment.to_string());
    let mut failed = None;
    for (host, said) in each(hosts, key, "release", &[&fence, &deployment], RENEW).await {
        match said {
            Err(trouble) if !trouble.is_away() => {
                failed = failed.or_else(|| {
                    Some(infrastructure(format!("host {}: {}", host.access.name, trouble.cause())))
                });
            }
            _ => {}
        }
    }
    failed.map_or(Ok(()), Err)
}

/// What a host is told of a lease.
fn words(ask: &LeaseAsk, fence: u64) -> [String; 5] {
    let now: DateTime<Utc> = SystemTime::now().into();
    // One line of text, whatever somebody calls themselves.
    let holder = ask.holder.replace(char::is_control, " ");
    let ttl = ask.ttl.as_secs().max(1).to_string();
    [fence.to_string(), ask.deployment.to_string(), ttl, now.timestamp().to_string(), holder]
}

/// Asks hosts at once.
async fn each<'h>(
    hosts: &'h [Arc<Host>],
    key: &EnvironmentKey,
    verb: &str,
    arguments: &[&str],
    deadline: Duration,
) -> Vec<(&'h Arc<Host>, Result<String, Trouble>)> {
    let asking = hosts.iter().map(|host| async move {
        let root = host.root(&key.project);
        (host, host.call(&root, verb, arguments, &Input::Nothing, deadline).await)
    });
    join_all(asking).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_says_of_its_lease_is_read_as_far_as_it_is_known() {
        let id = "019a2b3c-0000-7000-8000-000000000001";
        let told = Told::read(&format!("fence\t7\nheld\t{id}\t1780000000 ann@one (a b)\nodd\n"));
        assert_eq!(told.fence, 7);
        let by = told.against(DeploymentId::new(uuid::Uuid::nil())).unwrap();
        assert_eq!(by.to_string(), "ann@one (a b) since 2026-05-28 20:26 UTC");
        let own = Told::read(&format!("held\t{id}\t1780000000 ann@one\n"));
        assert_eq!(own.against(id.parse().unwrap()), None);
        assert_eq!(Told::read("fence\tmany\nheld\tnobody\t\n"), Told::default());
    }
}
