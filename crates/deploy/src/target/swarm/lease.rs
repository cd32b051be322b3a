//! The lease of an environment as a config object of the swarm, whose labels change only
//! if nobody else has changed them since they were read.
//!
//! It ends by the clocks of the engines; where one is set back, a lease may end too early,
//! and the fence is what is left to keep them apart.

use std::collections::HashMap;

use bollard::models::ConfigSpec;
use bollard::query_parameters::UpdateConfigOptionsBuilder;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use sha2::{Digest, Sha256};

use super::SwarmTarget;
use super::change::infrastructure;
use crate::target::docker::CALL;
use crate::target::docker::call::call;
use crate::target::docker::unit::{DEPLOYMENT, ENVIRONMENT, FENCE, KIND, PROJECT};
use crate::{EnvironmentKey, LeaseAnswer, LeaseAsk, LeaseHolder, TargetError};

const HOLDER: &str = "shipline.holder";
const SINCE: &str = "shipline.since";
const UNTIL: &str = "shipline.until";
/// Somebody else may be faster each time.
const TRIES: u32 = 5;

/// What the swarm has of a lease.
struct Kept {
    id: String,
    version: u64,
    spec: ConfigSpec,
}

impl Kept {
    fn label(&self, name: &str) -> Option<&str> {
        self.spec.labels.as_ref()?.get(name).map(String::as_str)
    }

    fn fence(&self) -> u64 {
        self.label(FENCE).and_then(|fence| fence.parse().ok()).unwrap_or(0)
    }

    fn moment(&self, name: &str) -> Option<DateTime<Utc>> {
        let moment = DateTime::parse_from_rfc3339(self.label(name)?).ok()?;
        Some(moment.with_timezone(&Utc))
    }

    /// One that ends later than any engine may ask for is of a clock that was set back.
    fn is_live(&self, ask: &LeaseAsk, now: DateTime<Utc>) -> bool {
        self.moment(UNTIL).is_some_and(|until| until > now && until <= now + ttl(ask))
    }
}

fn ttl(ask: &LeaseAsk) -> TimeDelta {
    TimeDelta::from_std(ask.ttl).unwrap_or(TimeDelta::MAX)
}

fn text(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Names of config objects have 64 characters at most.
fn name_of(key: &EnvironmentKey) -> String {
    let of = format!("{}/{}", key.project, key.environment);
    format!("shipline-lease-{}", hex::encode(&Sha256::digest(of.as_bytes())[..12]))
}

impl SwarmTarget {
    /// Takes the lease at the proxy, if there is one, and in the swarm: two swarms may have
    /// one proxy, and engines of one swarm need not name the same.
    pub(super) async fn take_lease(
        &self,
        key: &EnvironmentKey,
        ask: &LeaseAsk,
    ) -> Result<LeaseAnswer, TargetError> {
        let units = self.units(key).await?;
        let of_units = units.iter().map(|unit| unit.seen.fence).max().unwrap_or(0);
        let of_lease = self.kept(key).await?.map_or(0, |kept| kept.fence());
        let ask = LeaseAsk { above: ask.above.max(of_units).max(of_lease), ..ask.clone() };
        let at_proxy = match self.traffic.lease(key, &ask).await? {
            LeaseAnswer::Held(by) => return Ok(LeaseAnswer::Held(by)),
            LeaseAnswer::Taken { fence } => Some(fence),
            LeaseAnswer::Unkept => None,
        };
        let taken = self.take_in_swarm(key, &ask, at_proxy.unwrap_or(ask.above + 1)).await;
        if let Some(fence) = at_proxy
            && !matches!(taken, Ok(LeaseAnswer::Taken { .. }))
        {
            self.traffic.release(key, fence).await?;
        }
        taken
    }

    async fn take_in_swarm(
        &self,
        key: &EnvironmentKey,
        ask: &LeaseAsk,
        fence: u64,
    ) -> Result<LeaseAnswer, TargetError> {
        for _ in 0..TRIES {
            let now = Utc::now();
            let labels = HashMap::from(
                [
                    (KIND, "lease".to_owned()),
                    (PROJECT, key.project.clone()),
                    (ENVIRONMENT, key.environment.clone()),
                    (DEPLOYMENT, ask.deployment.to_string()),
                    (HOLDER, ask.holder.clone()),
                    (FENCE, fence.to_string()),
                    (SINCE, text(now)),
                    (UNTIL, text(now + ttl(ask))),
                ]
                .map(|(name, value)| (name.to_owned(), value)),
            );
            let Some(kept) = self.kept(key).await? else {
                let spec = ConfigSpec {
                    name: Some(name_of(key)),
                    labels: Some(labels),
                    // A config object cannot be empty.
                    data: Some("LQ==".to_owned()),
                    ..Default::default()
                };
                match call(CALL, "make a lease", self.docker().create_config(spec)).await {
                    Ok(_) => return Ok(LeaseAnswer::Taken { fence }),
                    Err(error) if error.status == Some(409) => continue,
                    Err(error) => return Err(error.into()),
                }
            };
            let same = kept.label(DEPLOYMENT) == Some(ask.deployment.to_string().as_str());
            if !same && kept.is_live(ask, now) {
                let holder = kept.label(HOLDER).unwrap_or_default().to_owned();
                return Ok(LeaseAnswer::Held(LeaseHolder { holder, since: kept.moment(SINCE) }));
            }
            if kept.fence() >= fence {
                return Err(fenced(kept.fence(), fence));
            }
            if self.write(&kept, labels).await? {
                return Ok(LeaseAnswer::Taken { fence });
            }
        }
        Err(infrastructure("the lease is taken by others, again and again".to_owned()))
    }

    pub(super) async fn renew_lease(
        &self,
        key: &EnvironmentKey,
        fence: u64,
        ask: &LeaseAsk,
    ) -> Result<(), TargetError> {
        for _ in 0..TRIES {
            let Some(kept) = self.kept(key).await? else { break };
            if kept.fence() != fence {
                return Err(fenced(kept.fence(), fence));
            }
            let mut labels = kept.spec.labels.clone().unwrap_or_default();
            labels.insert(UNTIL.to_owned(), text(Utc::now() + ttl(ask)));
            if self.write(&kept, labels).await? {
                break;
            }
        }
        self.traffic.renew(key, fence, ask).await
    }

    pub(super) async fn release_lease(
        &self,
        key: &EnvironmentKey,
        fence: u64,
        _ask: &LeaseAsk,
    ) -> Result<(), TargetError> {
        let in_swarm = self.end_in_swarm(key, fence).await;
        self.traffic.release(key, fence).await?;
        in_swarm
    }

    /// The object stays, and with it the fence that the next one is larger than.
    async fn end_in_swarm(&self, key: &EnvironmentKey, fence: u64) -> Result<(), TargetError> {
        for _ in 0..TRIES {
            let Some(kept) = self.kept(key).await?.filter(|kept| kept.fence() == fence) else {
                return Ok(());
            };
            let mut labels = kept.spec.labels.clone().unwrap_or_default();
            labels.remove(UNTIL);
            if self.write(&kept, labels).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Refuses a fence smaller than that of whoever took the lease last.
    pub(super) async fn guard_lease(
        &self,
        key: &EnvironmentKey,
        fence: u64,
    ) -> Result<(), TargetError> {
        match self.kept(key).await? {
            Some(kept) if kept.fence() > fence => Err(fenced(kept.fence(), fence)),
            _ => Ok(()),
        }
    }

    pub(super) async fn remove_lease(&self, key: &EnvironmentKey) -> Result<(), TargetError> {
        match call(CALL, "remove a lease", self.docker().delete_config(&name_of(key))).await {
            Ok(()) => Ok(()),
            Err(error) if error.status == Some(404) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn kept(&self, key: &EnvironmentKey) -> Result<Option<Kept>, TargetError> {
        let found = call(CALL, "read a lease", self.docker().inspect_config(&name_of(key))).await;
        match found {
            Ok(config) => Ok(Some(Kept {
                id: config.id.unwrap_or_default(),
                version: config.version.and_then(|version| version.index).unwrap_or(0),
                spec: config.spec.unwrap_or_default(),
            })),
            Err(error) if error.status == Some(404) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns whether nobody else was faster.
    async fn write(
        &self,
        kept: &Kept,
        labels: HashMap<String, String>,
    ) -> Result<bool, TargetError> {
        let spec = ConfigSpec { labels: Some(labels), ..kept.spec.clone() };
        let version = i64::try_from(kept.version).unwrap_or(i64::MAX);
        let options = UpdateConfigOptionsBuilder::new().version(version).build();
        let writing = self.docker().update_config(&kept.id, spec, options);
        match call(CALL, "write a lease", writing).await {
            Ok(()) => Ok(true),
            Err(error) if error.message.contains("out of sequence") => Ok(false),
            Err(error) if error.status == Some(404) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn fenced(newer: u64, fence: u64) -> TargetError {
    TargetError::Fenced(format!(
        "the swarm has a lease under fence {newer}, this engine holds {fence}"
    ))
}
