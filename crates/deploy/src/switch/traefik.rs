//! Traefik as the switch, by a file of its file provider with one weighted service.
//!
//! Traefik reads the file when it changes. It tells nobody here what is in flight, nor
//! whether it has read the file already: what a unit still has gets the time of `drain`.

mod dynamic;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use pipeline::TraefikSpec;

use self::dynamic::Services;
use super::file::{BalancerFile, Title};
use super::{Idle, Member, Order, Switch, SwitchAccess, SwitchCaps, Up, found};
use crate::{EnvironmentKey, Finding, TargetError, UnitId};

pub(super) struct Traefik {
    file: BalancerFile,
}

impl Traefik {
    pub(super) fn new(spec: &TraefikSpec, access: &SwitchAccess) -> Self {
        let ssh = spec.ssh.as_deref();
        Self { file: BalancerFile::new("traefik", &spec.file, ["", ""], ssh, access) }
    }

    async fn services(&self, key: &EnvironmentKey) -> Result<Services, TargetError> {
        let text = self.file.read().await?.unwrap_or_default();
        self.read(&text, key)
    }

    fn read(&self, text: &str, key: &EnvironmentKey) -> Result<Services, TargetError> {
        let path = &self.file.path;
        match Title::read(text) {
            Some(title) => title.is_of(key, path)?,
            None if text.trim().is_empty() => {}
            None => {
                let message =
                    format!("{path} is somebody else's: name one that Shipline may write");
                return Err(TargetError::Refused { message });
            }
        }
        Ok(Services::read(text))
    }

    async fn change(
        &self,
        order: &Order<'_>,
        change: impl Fn(&mut Services) + Send + Sync,
    ) -> Result<(), TargetError> {
        (order.held)().await?;
        let changed = |former: Option<&str>| {
            let mut services = self.read(former.unwrap_or_default(), order.key)?;
            change(&mut services);
            Ok(services.text(&Title::of(order.key, order.fence), order.key))
        };
        self.file.change(order.fence, changed).await
    }
}

#[async_trait]
impl Switch for Traefik {
    fn caps(&self) -> SwitchCaps {
        SwitchCaps::TRAEFIK
    }

    async fn check(
        &self,
        _members: &[Member],
        key: &EnvironmentKey,
    ) -> Result<Vec<Finding>, TargetError> {
        match self.services(key).await {
            Ok(_) => Ok(Vec::new()),
            Err(error) => Ok(vec![found(error)?]),
        }
    }

    async fn admitted(
        &self,
        members: &[Member],
        key: &EnvironmentKey,
    ) -> Result<BTreeSet<UnitId>, TargetError> {
        if members.is_empty() {
            return Ok(BTreeSet::new());
        }
        let services = self.services(key).await?;
        let serves = members.iter().filter(|member| services.serves(member));
        Ok(serves.map(|member| member.unit.clone()).collect())
    }

    async fn leads_to(&self, member: &Member, key: &EnvironmentKey) -> Result<bool, TargetError> {
        Ok(self.services(key).await?.lead_to(member))
    }

    async fn drain(&self, member: &Member, order: &Order<'_>) -> Result<(), TargetError> {
        self.change(order, |services| services.take_out(member)).await
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
        self.change(order, |services| services.bring_in(member, replaces)).await
    }

    /// Nobody is in the file who is no unit.
    async fn give_back(&self, _member: &Member, _order: &Order<'_>) -> Result<(), TargetError> {
        Ok(())
    }

    async fn is_up(&self, _member: &Member) -> Result<Up, TargetError> {
        Ok(Up::Unknown)
    }

    async fn set_weights(
        &self,
        shares: &[(&Member, u32)],
        order: &Order<'_>,
    ) -> Result<(), TargetError> {
        self.change(order, |services| {
            for (member, percent) in shares {
                services.weigh(member, *percent);
            }
        })
        .await
    }

    async fn forget(&self, key: &EnvironmentKey) -> Result<bool, TargetError> {
        let Some(title) = self.file.read().await?.as_deref().and_then(Title::read) else {
            return Ok(false);
        };
        title.is_of(key, &self.file.path)?;
        self.file.remove().await.map(|()| true)
    }
}
