//! How far a life of a deployment got: what its end may be called depends on it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::{OpAction, UnitId};

/// What has happened so far. All of it is also to be seen, or written down: a life that
/// takes up another reads it off that.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    batch_begun: AtomicBool,
    admit_begun: AtomicBool,
    traffic_begun: AtomicBool,
    cut: AtomicU64,
    /// Units of the batch that is under way: not verified and not watched yet.
    unproven: Mutex<BTreeSet<UnitId>>,
}

impl Marks {
    pub(crate) fn begin_batch(&self) {
        self.batch_begun.store(true, Ordering::Relaxed);
    }

    /// Remembers how far a former life got.
    pub(crate) fn take_up(&self, batch_begun: bool, admitted: bool) {
        self.batch_begun.store(batch_begun, Ordering::Relaxed);
        self.admit_begun.store(admitted, Ordering::Relaxed);
        self.traffic_begun.store(batch_begun, Ordering::Relaxed);
    }

    /// Remembers which units a batch brings up; none when it is proven.
    pub(crate) fn unproven(&self, units: BTreeSet<UnitId>) {
        *self.unproven.lock().unwrap_or_else(PoisonError::into_inner) = units;
    }

    pub(crate) fn take_unproven(&self) -> BTreeSet<UnitId> {
        std::mem::take(&mut *self.unproven.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn batch_begun(&self) -> bool {
        self.batch_begun.load(Ordering::Relaxed)
    }

    pub(crate) fn admit_begun(&self) -> bool {
        self.admit_begun.load(Ordering::Relaxed)
    }

    /// Whether traffic was changed at all; from then on to cancel is to roll back.
    pub(crate) fn traffic_begun(&self) -> bool {
        self.traffic_begun.load(Ordering::Relaxed)
    }

    /// Remembers that an op on the way forward is about to begin.
    pub(crate) fn begin(&self, action: OpAction) {
        if action == OpAction::Admit {
            self.admit_begun.store(true, Ordering::Relaxed);
        }
        if matches!(action, OpAction::Admit | OpAction::Close | OpAction::Drain) {
            self.traffic_begun.store(true, Ordering::Relaxed);
        }
    }

    /// Counts requests that did not end within their drain.
    pub(crate) fn count_cut(&self, requests: u64) {
        self.cut.fetch_add(requests, Ordering::Relaxed);
    }

    pub(crate) fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }
}
