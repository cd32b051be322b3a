//! The lease of an environment as a file of the root, beside that of the proxy.
//!
//! It is changed under the lock of the environment's fence, so two engines never have it
//! at once. It ends by the clock of the machine; where that is set back, an engine may
//! find it ended too early, and the fence is what is left to keep them apart.

use std::fs;

use chrono::{DateTime, TimeDelta, Utc};
use event::DeploymentId;
use serde::{Deserialize, Serialize};

use super::record::{Root, replace};
use super::{ProcessTarget, blocking, failed};
use crate::{EnvironmentKey, LeaseAnswer, LeaseAsk, LeaseHolder, TargetError};

/// `leases/PROJECT/ENVIRONMENT`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct LeaseFile {
    deployment: DeploymentId,
    holder: String,
    fence: u64,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
}

impl LeaseFile {
    fn of(ask: &LeaseAsk, fence: u64, now: DateTime<Utc>) -> Self {
        let (deployment, holder) = (ask.deployment, ask.holder.clone());
        Self { deployment, holder, fence, since: now, until: now + ttl(ask) }
    }

    /// One that ends later than any engine may ask for is of a clock that was set back.
    fn is_live(&self, ask: &LeaseAsk, now: DateTime<Utc>) -> bool {
        self.until > now && self.until <= now + ttl(ask)
    }
}

fn ttl(ask: &LeaseAsk) -> TimeDelta {
    TimeDelta::from_std(ask.ttl).unwrap_or(TimeDelta::MAX)
}

impl ProcessTarget {
    /// Takes the lease at the proxy, if there is one, and at the root: two roots may have
    /// one proxy, and engines of one root need not name the same.
    pub(super) async fn take_lease(
        &self,
        key: &EnvironmentKey,
        ask: &LeaseAsk,
    ) -> Result<LeaseAnswer, TargetError> {
        let (root, of) = (self.root.clone(), key.clone());
        let seen = blocking(move || Ok(root.lock_environment(&of)?.1)).await?;
        let ask = LeaseAsk { above: ask.above.max(seen), ..ask.clone() };
        let at_proxy = match self.traffic.lease(key, &ask).await? {
            LeaseAnswer::Held(by) => return Ok(LeaseAnswer::Held(by)),
            LeaseAnswer::Taken { fence } => Some(fence),
            LeaseAnswer::Unkept => None,
        };
        let (root, of) = (self.root.clone(), key.clone());
        let fence = at_proxy.unwrap_or(ask.above + 1);
        let taken = blocking(move || root.take_lease(&of, &ask, fence, Utc::now())).await;
        if let Some(fence) = at_proxy
            && !matches!(taken, Ok(LeaseAnswer::Taken { .. }))
        {
            self.traffic.release(key, fence).await?;
        }
        taken
    }

    pub(super) async fn renew_lease(
        &self,
        key: &EnvironmentKey,
        fence: u64,
        ask: &LeaseAsk,
    ) -> Result<(), TargetError> {
        let (root, of, asked) = (self.root.clone(), key.clone(), ask.clone());
        blocking(move || root.renew_lease(&of, &asked, fence, Utc::now())).await?;
        self.traffic.renew(key, fence, ask).await
    }

    pub(super) async fn release_lease(
        &self,
        key: &EnvironmentKey,
        fence: u64,
        ask: &LeaseAsk,
    ) -> Result<(), TargetError> {
        let (root, of, asked) = (self.root.clone(), key.clone(), ask.clone());
        let at_root = blocking(move || root.release_lease(&of, &asked, fence)).await;
        self.traffic.release(key, fence).await?;
        at_root
    }
}

impl Root {
    fn take_lease(
        &self,
        key: &EnvironmentKey,
        ask: &LeaseAsk,
        fence: u64,
        now: DateTime<Utc>,
    ) -> Result<LeaseAnswer, TargetError> {
        let (mut file, in_force) = self.lock_environment(key)?;
        // Looked at before the fence is raised: a holder must not lose what it holds.
        if let Some(held) = self.read_lease(key)?
            && held.deployment != ask.deployment
            && held.is_live(ask, now)
        {
            let by = LeaseHolder { holder: held.holder, since: Some(held.since) };
            return Ok(LeaseAnswer::Held(by));
        }
        // Also refuses where somebody was here and left since the fence was looked at.
        self.raise_fence(key, &mut file, in_force, fence)?;
        self.write_lease(key, &LeaseFile::of(ask, fence, now))?;
        Ok(LeaseAnswer::Taken { fence })
    }

    fn renew_lease(
        &self,
        key: &EnvironmentKey,
        ask: &LeaseAsk,
        fence: u64,
        now: DateTime<Utc>,
    ) -> Result<(), TargetError> {
        let _alone = self.lock_fence(key, fence)?;
        let held = self.read_lease(key)?.filter(|held| held.deployment == ask.deployment);
        let Some(held) = held else {
            let message = format!("{} knows nothing of this lock", self.path().display());
            return Err(TargetError::Fenced(message));
        };
        self.write_lease(key, &LeaseFile { until: now + ttl(ask), ..held })
    }

    fn release_lease(
        &self,
        key: &EnvironmentKey,
        ask: &LeaseAsk,
        fence: u64,
    ) -> Result<(), TargetError> {
        let (_alone, _) = self.lock_environment(key)?;
        let held = self.read_lease(key)?;
        let ours =
            held.is_some_and(|held| held.deployment == ask.deployment && held.fence == fence);
        let path = self.lease_of(key);
        match ours.then(|| fs::remove_file(&path)) {
            Some(Err(error)) => Err(failed("remove", &path, &error)),
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// Returns what the file says; one that says nothing in our words is nobody's.
    fn read_lease(&self, key: &EnvironmentKey) -> Result<Option<LeaseFile>, TargetError> {
        let path = self.lease_of(key);
        match fs::read(&path) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path, &error)),
        }
    }

    fn write_lease(&self, key: &EnvironmentKey, lease: &LeaseFile) -> Result<(), TargetError> {
        let path = self.lease_of(key);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| failed("make", folder, &error))?;
        }
        replace(&path, &serde_json::to_vec(lease).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key() -> EnvironmentKey {
        EnvironmentKey { project: "web".to_owned(), environment: "prod".to_owned() }
    }

    fn ask(number: u128, holder: &str) -> LeaseAsk {
        LeaseAsk {
            deployment: DeploymentId::new(uuid::Uuid::from_u128(number)),
            holder: holder.to_owned(),
            ttl: Duration::from_secs(30),
            above: 0,
        }
    }

    fn after(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::seconds(seconds)
    }

    fn held(answer: Result<LeaseAnswer, TargetError>) -> String {
        match answer {
            Ok(LeaseAnswer::Held(by)) => by.to_string(),
            Ok(LeaseAnswer::Taken { fence }) => format!("taken with {fence}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_lease_of_a_dead_engine_ends_after_its_time_and_its_fence_counts_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path().to_path_buf());
        let (ann, bob) = (ask(1, "ann@one"), ask(2, "bob@two"));
        assert_eq!(held(root.take_lease(&key(), &ann, 4, after(0))), "taken with 4");
        root.renew_lease(&key(), &ann, 4, after(5)).unwrap();
        let still = held(root.take_lease(&key(), &bob, 5, after(34)));
        assert_eq!(still, "ann@one since 2024-10-04 00:00 UTC");
        // To ask is not to take: the holder keeps its fence.
        root.renew_lease(&key(), &ann, 4, after(34)).unwrap();
        assert_eq!(held(root.take_lease(&key(), &bob, 5, after(65))), "taken with 5");
        let late = root.renew_lease(&key(), &ann, 4, after(66));
        assert!(matches!(late, Err(TargetError::Fenced(_))), "{late:?}");
        assert!(matches!(root.lock_fence(&key(), 4), Err(TargetError::Fenced(_))));
        root.release_lease(&key(), &ann, 4).unwrap();
        assert!(held(root.take_lease(&key(), &ann, 6, after(67))).starts_with("bob@two since"));
        root.release_lease(&key(), &bob, 5).unwrap();
        assert_eq!(held(root.take_lease(&key(), &ann, 6, after(67))), "taken with 6");
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_lease_last_longer() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path().to_path_buf());
        let (ann, bob) = (ask(1, "ann@one"), ask(2, "bob@two"));
        root.take_lease(&key(), &ann, 1, after(3_600)).unwrap();
        assert_eq!(held(root.take_lease(&key(), &bob, 2, after(0))), "taken with 2");
        let late = root.renew_lease(&key(), &ann, 1, after(1));
        assert!(matches!(late, Err(TargetError::Fenced(_))), "{late:?}");
    }

    #[test]
    fn an_engine_that_was_overtaken_between_two_looks_takes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path().to_path_buf());
        let bob = ask(2, "bob@two");
        root.take_lease(&key(), &bob, 7, after(0)).unwrap();
        root.release_lease(&key(), &bob, 7).unwrap();
        let taken = root.take_lease(&key(), &ask(1, "ann@one"), 6, after(1));
        assert!(matches!(taken, Err(TargetError::Fenced(_))), "{taken:?}");
    }
}
