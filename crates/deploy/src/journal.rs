//! The journal of ops: intent before acting, result after.
//!
//! The journal says what was meant; only observation says what is. Recovery
//! therefore never reads it, people do.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use event::{DeploymentId, EventKind, OpState};

use crate::{Ledger, LedgerError, Op};

/// Ops of one life of a deployment. A deployment that is taken up again after a
/// crash numbers its ops from the next multiple, so that numbers stay unique
/// without a look at what the former life wrote.
const OPS_PER_LIFE: u64 = 100_000;

pub(crate) struct Journal<'a> {
    ledger: &'a dyn Ledger,
    deployment: DeploymentId,
    next: AtomicU32,
}

/// An op whose intent is durable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intent(u32);

impl<'a> Journal<'a> {
    /// `life` counts the locks the deployment held before this one.
    pub(crate) fn new(ledger: &'a dyn Ledger, deployment: DeploymentId, life: u64) -> Self {
        let first = u32::try_from(life.saturating_mul(OPS_PER_LIFE)).unwrap_or(u32::MAX / 2);
        Self { ledger, deployment, next: AtomicU32::new(first) }
    }

    /// Writes down that `ops` are about to be done.
    pub(crate) async fn intend<'o>(
        &self,
        ops: impl IntoIterator<Item = &'o Op>,
        batch: Option<u32>,
        undo: bool,
    ) -> Result<Vec<Intent>, LedgerError> {
        let mut intents = Vec::new();
        let mut events = Vec::new();
        for op in ops {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            intents.push(Intent(number));
            events.push(EventKind::OpIntended {
                op: number,
                action: op.action.name().to_owned(),
                unit: op.unit.0.clone(),
                batch,
                undo,
            });
        }
        self.ledger.append(self.deployment, events).await?;
        Ok(intents)
    }

    /// Writes down what was learned beside the ops.
    pub(crate) async fn write(&self, events: Vec<EventKind>) -> Result<(), LedgerError> {
        match events.is_empty() {
            true => Ok(()),
            false => self.ledger.append(self.deployment, events).await,
        }
    }

    pub(crate) async fn finished(
        &self,
        intent: Intent,
        op: &Op,
        state: OpState,
        detail: String,
        took: Duration,
    ) -> Result<(), LedgerError> {
        let event = EventKind::OpFinished {
            op: intent.0,
            action: op.action.name().to_owned(),
            unit: op.unit.0.clone(),
            state,
            detail: (!detail.is_empty()).then_some(detail),
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        };
        self.ledger.append(self.deployment, vec![event]).await
    }
}
