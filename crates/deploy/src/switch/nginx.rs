//! nginx as the switch, by a file with the servers of one upstream, which it includes.
//!
//! The open-source edition has no way to drain at run time: a server is marked `down`,
//! nginx reloads, and what its old workers still have gets the time of `drain`. A file
//! that was there before is taken over line by line; what is no server in it stays.

mod upstream;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use pipeline::NginxSpec;

use self::upstream::Upstream;
use super::file::{BalancerFile, Title};
use super::{Idle, Member, Order, Switch, SwitchAccess, SwitchCaps, Up, found};
use crate::{Check, EnvironmentKey, Finding, TargetError, UnitId};

const TEST: &str = "nginx -t";
const RELOAD: &str = "nginx -s reload";

pub(super) struct Nginx {
    file: BalancerFile,
}

impl Nginx {
    pub(super) fn new(spec: &NginxSpec, access: &SwitchAccess) -> Self {
        let test = spec.test.as_deref().unwrap_or(TEST);
        let reload = spec.reload.as_deref().unwrap_or(RELOAD);
        let ssh = spec.ssh.as_deref();
        Self { file: BalancerFile::new("nginx", &spec.file, [test, reload], ssh, access) }
    }

    async fn change(
        &self,
        order: &Order<'_>,
        change: impl Fn(&mut Upstream) + Send + Sync,
    ) -> Result<(), TargetError> {
        (order.held)().await?;
        let (key, path) = (order.key, &self.file.path);
        let changed = |former: Option<&str>| {
            let former = former.unwrap_or_default();
            if let Some(title) = Title::read(former) {
                title.is_of(key, path)?;
            }
            let mut upstream = Upstream::read(former);
            change(&mut upstream);
            Ok(upstream.text(&Title::of(key, order.fence)))
        };
        self.file.change(order.fence, changed).await
    }
}

#[async_trait]
impl Switch for Nginx {
    fn caps(&self) -> SwitchCaps {
        SwitchCaps::NGINX
    }

    async fn check(
        &self,
        members: &[Member],
        key: &EnvironmentKey,
    ) -> Result<Vec<Finding>, TargetError> {
        let text = match self.file.read().await {
            Ok(text) => text,
            Err(error) => return Ok(vec![found(error)?]),
        };
        let Some(text) = text else {
            let path = &self.file.path;
            return Ok(vec![Check::Switch.finding(
                format!("nginx: there is no {path}, which its upstream is to include"),
                format!(
                    "include it there, and begin it with the servers of now, or with `{}`",
                    upstream::NOBODY
                ),
            )]);
        };
        if let Some(title) = Title::read(&text)
            && let Err(error) = title.is_of(key, &self.file.path)
        {
            return Ok(vec![found(error)?]);
        }
        let upstream = Upstream::read(&text);
        let mut findings = Vec::new();
        if let Err(error) = self.file.test().await {
            findings.push(found(error)?);
        }
        let unknown: Vec<_> = members
            .iter()
            .filter(|member| !upstream.knows(member))
            .map(|it| it.name.clone())
            .collect();
        if !unknown.is_empty() && Title::read(&text).is_none() && !upstream.is_nobody() {
            findings.push(Check::Switch.warning(
                format!("nginx: {} has no server for {}", self.file.path, unknown.join(", ")),
                "look whether addresses there are those of the hosts: a line for each is added",
            ));
        }
        Ok(findings)
    }

    async fn admitted(
        &self,
        members: &[Member],
        _key: &EnvironmentKey,
    ) -> Result<BTreeSet<UnitId>, TargetError> {
        if members.is_empty() {
            return Ok(BTreeSet::new());
        }
        let upstream = Upstream::read(&self.file.read().await?.unwrap_or_default());
        let serves = members.iter().filter(|member| upstream.serves(member));
        Ok(serves.map(|member| member.unit.clone()).collect())
    }

    async fn leads_to(&self, member: &Member, _key: &EnvironmentKey) -> Result<bool, TargetError> {
        let text = self.file.read().await?.unwrap_or_default();
        Ok(Upstream::read(&text).leads_to(member))
    }

    async fn drain(&self, member: &Member, order: &Order<'_>) -> Result<(), TargetError> {
        self.change(order, |upstream| upstream.take_down(member)).await
    }

    async fn wait_idle(
        &self,
        _member: &Member,
        timeout: Duration,
        _order: &Order<'_>,
    ) -> Result<Idle, TargetError> {
        tokio::time::sleep(timeout).await;
        Ok(Idle::Waited(timeout))
    }

    async fn undrain(
        &self,
        member: &Member,
        replaces: Option<&UnitId>,
        order: &Order<'_>,
    ) -> Result<(), TargetError> {
        self.change(order, |upstream| upstream.bring_up(member, replaces)).await
    }

    async fn give_back(&self, member: &Member, order: &Order<'_>) -> Result<(), TargetError> {
        self.change(order, |upstream| upstream.give_back(member)).await
    }

    async fn is_up(&self, _member: &Member) -> Result<Up, TargetError> {
        Ok(Up::Unknown)
    }

    async fn set_weights(
        &self,
        shares: &[(&Member, u32)],
        order: &Order<'_>,
    ) -> Result<(), TargetError> {
        self.change(order, |upstream| {
            for (member, percent) in shares {
                upstream.weigh(member, *percent);
            }
        })
        .await
    }

    async fn forget(&self, key: &EnvironmentKey) -> Result<bool, TargetError> {
        let Some(title) = self.file.read().await?.as_deref().and_then(Title::read) else {
            return Ok(false);
        };
        title.is_of(key, &self.file.path)?;
        let forgotten = |former: Option<&str>| {
            let mut upstream = Upstream::read(former.unwrap_or_default());
            upstream.forget();
            Ok(upstream.text(&title))
        };
        self.file.change(title.fence, forgotten).await.map(|()| true)
    }
}
