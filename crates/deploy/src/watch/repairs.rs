//! Whether to repair now, later, or no more: told from the history and what is known.

use chrono::{DateTime, TimeDelta, Utc};
use event::{DeploymentKind, IncidentKind};

use super::{Known, WATCHER};
use crate::{DeploymentRecord, DriftKind, Observed, Standing, drift_of};

/// How often a repair is tried, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepairPace {
    /// So many repairs …
    pub tries: u32,
    /// … within this time.
    pub window: TimeDelta,
    /// After the first one; it doubles with each.
    pub pause: TimeDelta,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Nothing is broken that could be brought back.
    Nothing,
    Wait(DateTime<Utc>),
    Now {
        attempt: u32,
        reason: String,
    },
    /// All tries were made: these places are left to people.
    GiveUp {
        places: Vec<String>,
        tries: u32,
    },
}

/// Decides about what stands; `history` is newest first. Only what is known to be gone or
/// dead, and was so at this look, is repaired: what is unhealthy, or runs something else,
/// somebody has to see first. What was stopped on purpose is left alone.
pub fn repair(
    standing: Standing<'_>,
    history: &[DeploymentRecord],
    known: &[Known],
    seen: &Observed,
    pace: &RepairPace,
    at: DateTime<Utc>,
) -> Repair {
    let stands = standing.record.deployment.id;
    let is_gone = |slot: u32| {
        let now = drift_of(history, seen).into_iter().find(|drift| drift.slot == slot);
        now.is_some_and(|now| matches!(now.kind, DriftKind::Dead | DriftKind::Missing))
    };
    let broken: Vec<&Known> = known
        .iter()
        .filter(|known| known.deployment == stands && !known.given_up)
        .filter(|known| matches!(known.incident.kind, IncidentKind::Dead | IncidentKind::Missing))
        .filter(|known| known.incident.slot.is_some_and(is_gone))
        .collect();
    let Some(first) = broken.first() else { return Repair::Nothing };
    if standing.is_stopped() {
        return Repair::Nothing;
    }
    let is_try = |record: &&DeploymentRecord| {
        let deployment = &record.deployment;
        deployment.kind == DeploymentKind::Repair
            && deployment.by == WATCHER
            // Who never held the lock has tried nothing.
            && record.fence > 0
            && at - record.requested_at < pace.window
    };
    let mut tries = history.iter().filter(is_try);
    let last = tries.next();
    let count =
        u32::try_from(tries.count()).unwrap_or(u32::MAX).saturating_add(u32::from(last.is_some()));
    if count >= pace.tries {
        let places = broken.iter().map(|known| known.incident.place.clone()).collect();
        return Repair::GiveUp { places, tries: count };
    }
    if let Some(last) = last {
        let ended = last.finished_at.unwrap_or(last.requested_at);
        let doubled = 1_i32.checked_shl(count - 1).unwrap_or(i32::MAX);
        let due = ended + pace.pause * doubled;
        if at < due {
            return Repair::Wait(due);
        }
    }
    let incident = &first.incident;
    let unit = incident.unit.as_deref().map(|unit| format!(" {unit}")).unwrap_or_default();
    let slot = incident.slot.map(|slot| format!("slot {slot}")).unwrap_or_default();
    let more = match broken.len() {
        1 => String::new(),
        more => format!(", and {} more", more - 1),
    };
    let attempt = count + 1;
    let reason = format!("{slot}{unit}: {}{more}; try {attempt} of {}", incident.cause, pace.tries);
    Repair::Now { attempt, reason }
}
