//! The lease of an environment at its target, which keeps engines apart that have no
//! ledger in common: those of two workstations, or of one and a server.

use std::time::Duration;

use chrono::{DateTime, Utc};
use event::DeploymentId;

/// Who wants the lease of an environment at its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseAsk {
    /// Who asks again for the same deployment has the lease still, under a larger fence:
    /// it is the engine that takes up what a dead one left.
    pub deployment: DeploymentId,
    /// For those who wait: `ann@laptop`.
    pub holder: String,
    pub ttl: Duration,
    /// The fence will be larger than this one.
    pub above: u64,
}

/// What a target says to that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// Nothing there keeps leases: that of the ledger is all there is.
    Unkept,
    /// Taken, with a fence that is larger than all the target has seen.
    Taken {
        fence: u64,
    },
    Held(LeaseHolder),
}

/// Whoever has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseHolder {
    pub holder: String,
    /// `None` where the target does not know.
    pub since: Option<DateTime<Utc>>,
}

impl std::fmt::Display for LeaseHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.holder)?;
        match &self.since {
            Some(since) => write!(f, " since {}", since.format("%Y-%m-%d %H:%M UTC")),
            None => Ok(()),
        }
    }
}
