//! Watching without a server: the same looks, and repairs in this process.

use std::time::Duration;

use deploy::{Deployed, Deployment, Limits, Policy, Request};
use serde_json::Value;
use server::Watcher;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{LocalEnvironments, json_of, whoami};
use crate::error::{CommandError, Context as _};
use crate::recovery;

impl LocalEnvironments {
    /// Whoever watches an environment; with `ensure`, or where the file says so, what has
    /// died is to be brought back.
    pub(crate) async fn watcher(
        &self,
        name: &str,
        every: Duration,
        ensure: bool,
    ) -> Result<Watcher, CommandError> {
        let target = self.target(name).await?;
        let ensure = ensure || self.environment(name)?.ensure;
        // What a dead process has left would be in the way for ever.
        recovery::recover_deployments(&self.home, &self.store).await?;
        Ok(Watcher::new(self.store.clone(), self.key(name), target, every, ensure))
    }

    /// Carries out a repair to its end.
    pub(crate) async fn repair(
        &self,
        name: &str,
        deployment: Deployment,
        cancel: &CancellationToken,
    ) -> Result<Deployed, CommandError> {
        let target = self.target_with_logins(name).await?;
        let request = Request {
            deployment,
            holder: format!("{} (process {})", whoami(), std::process::id()),
            policy: Policy::default(),
            runner: None,
        };
        // Whoever has the lock meanwhile changes what there is to repair.
        let limits = Limits { lock_wait: Duration::ZERO, ..Limits::default() };
        let (progress, mut lines) = mpsc::channel(64);
        let work = deploy::deploy_within(request, limits, target, self.ledger(), progress, cancel);
        let listen = async { while lines.recv().await.is_some() {} };
        let (deployed, ()) = tokio::join!(work, listen);
        deployed.environment("the repair came to no end")
    }

    /// Incidents of an environment, the newest first.
    pub(crate) async fn incidents(&self, name: &str, limit: u32) -> Result<Value, CommandError> {
        self.environment(name)?;
        let rows = self.store.incidents(&self.key(name), limit).await;
        json_of(&rows.environment("cannot read the incidents")?)
    }
}
