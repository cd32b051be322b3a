//! What was seen of hosts: remembered as far as it never changes, and shared by those who
//! ask at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::future::join_all;

use super::HostsTarget;
use super::connection::Host;
use super::trouble::Trouble;
use super::unit::UnitView;
use crate::{EnvironmentKey, TargetError, UnitId};

#[derive(Default)]
pub(super) struct Sight {
    /// By slot.
    units: Mutex<BTreeMap<u32, Vec<UnitView>>>,
    latest: tokio::sync::Mutex<Option<Arc<Look>>>,
}

/// All hosts, as they were seen at once.
pub(super) struct Look {
    began: Instant,
    key: EnvironmentKey,
    fence: Option<u64>,
    /// By slot, then name.
    pub(super) units: Vec<UnitView>,
    failed: Vec<(u32, Trouble)>,
}

impl Look {
    /// Refuses a host that did not answer.
    pub(super) fn answers(&self, host: &Host) -> Result<(), TargetError> {
        let failed = self.failed.iter().find(|(slot, _)| *slot == host.slot);
        failed.map_or(Ok(()), |(_, trouble)| Err(trouble.error(&host.access.name)))
    }
}

impl Sight {
    /// Remembers the units of a host.
    pub(super) fn of_host(&self, slot: u32, units: &[UnitView]) {
        // Whether it gets traffic is to be asked of the switch, or of the host.
        let known = units.iter().cloned().map(|mut unit| {
            unit.seen.admitted = false;
            unit
        });
        let mut all = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(slot, known.collect());
    }

    /// A unit as it was seen last: what it is made of is so for good, its state may have
    /// changed since.
    fn unit(&self, slot: u32, unit: &UnitId) -> Option<UnitView> {
        let all = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&slot)?.iter().find(|known| known.seen.unit == *unit).cloned()
    }
}

impl HostsTarget {
    /// A unit as it was seen last. Behind a balancer nothing is taken from memory: what it
    /// is told depends on what a host serves now.
    pub(super) fn remembered(&self, slot: u32, unit: &UnitId) -> Option<UnitView> {
        self.traffic.balancer().is_none().then(|| self.sight.unit(slot, unit))?
    }

    /// Looks at all hosts at once, with a fence on behalf of whoever is about to change
    /// something. That one of them refuses it is an error.
    pub(super) async fn look(
        &self,
        key: &EnvironmentKey,
        fence: Option<u64>,
    ) -> Result<Look, TargetError> {
        let began = Instant::now();
        let views = join_all(self.hosts.iter().map(|host| host.look(&key.project, fence))).await;
        let mut look =
            Look { began, key: key.clone(), fence, units: Vec::new(), failed: Vec::new() };
        for (host, view) in self.hosts.iter().zip(views) {
            match view {
                Ok(view) => look.units.extend(self.of_host(host, key, &view).await),
                Err(trouble @ Trouble::Fenced(_)) => return Err(trouble.error(&host.access.name)),
                Err(trouble) => {
                    tracing::warn!(host = host.access.name, "{}", trouble.cause());
                    look.failed.push((host.slot, trouble));
                }
            }
        }
        look.units.sort_by(|a, b| (a.seen.slot, &a.seen.unit).cmp(&(b.seen.slot, &b.seen.unit)));
        Ok(look)
    }

    /// Looks at all hosts, unless somebody did since then, under the same fence.
    pub(super) async fn look_since(
        &self,
        asked: Instant,
        key: &EnvironmentKey,
        fence: u64,
    ) -> Result<Arc<Look>, TargetError> {
        let mut latest = self.sight.latest.lock().await;
        let serves = |look: &&Arc<Look>| {
            look.began >= asked && look.key == *key && look.fence == Some(fence)
        };
        if let Some(look) = latest.as_ref().filter(serves) {
            return Ok(Arc::clone(look));
        }
        Ok(Arc::clone(latest.insert(Arc::new(self.look(key, Some(fence)).await?))))
    }

    /// Returns the units of an environment, by slot, then name.
    pub(super) async fn units(&self, key: &EnvironmentKey) -> Result<Vec<UnitView>, TargetError> {
        Ok(self.seen(key).await?.0)
    }

    /// Returns the units of an environment, and the slots of hosts that cannot be looked at,
    /// which are left out as long as one can.
    pub(super) async fn seen(
        &self,
        key: &EnvironmentKey,
    ) -> Result<(Vec<UnitView>, BTreeSet<u32>), TargetError> {
        let Look { mut units, failed, .. } = self.look(key, None).await?;
        if failed.len() == self.hosts.len()
            && let Some((host, (_, trouble))) = self.hosts.iter().zip(&failed).next()
        {
            return Err(trouble.error(&host.access.name));
        }
        self.mark_routed(&mut units, key).await?;
        Ok((units, failed.into_iter().map(|(slot, _)| slot).collect()))
    }
}
