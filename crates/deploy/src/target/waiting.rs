//! Which stopped units have waited for a way back long enough.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::{ObservedUnit, UnitId, UnitState};

/// A unit, and what its target knows of how long it waits.
pub(super) struct Waiting {
    /// How long a unit that it replaced is kept.
    pub(super) keep_warm: Duration,
    /// When it was stopped.
    pub(super) since: Option<DateTime<Utc>>,
    pub(super) seen: ObservedUnit,
}

/// Judges by the unit that serves the slot now: the deployment that made it said how
/// long the former one is of use.
pub(super) fn expired(units: &[Waiting], now: DateTime<Utc>) -> Vec<UnitId> {
    let is_over = |unit: &&Waiting| {
        let seen = &unit.seen;
        let serves = |other: &&Waiting| {
            other.seen.slot == seen.slot
                && other.seen.admitted
                && other.seen.state == UnitState::Running
                && other.seen.age() > seen.age()
        };
        let kept = units.iter().filter(serves).map(|other| other.keep_warm).min();
        let waited = unit.since.and_then(|since| (now - since).to_std().ok());
        !seen.admitted
            && seen.state == UnitState::Exited
            && kept.zip(waited).is_some_and(|(kept, waited)| waited >= kept)
    };
    units.iter().filter(is_over).map(|unit| unit.seen.unit.clone()).collect()
}

#[cfg(test)]
mod tests {
    use event::{DeploymentId, ReleaseId};
    use uuid::Uuid;

    use super::*;

    fn unit(name: &str, fence: u64, admitted: bool, keep_warm: u64, stopped: i64) -> Waiting {
        let state = if admitted { UnitState::Running } else { UnitState::Exited };
        let seen = ObservedUnit {
            unit: UnitId(name.to_owned()),
            slot: 0,
            release: ReleaseId::new(Uuid::from_u128(1)),
            deployment: DeploymentId::new(Uuid::from_u128(1)),
            spec: String::new(),
            state,
            admitted,
            address: None,
            image: String::new(),
            fence,
        };
        let since = (!admitted).then(|| DateTime::from_timestamp(stopped, 0).unwrap());
        Waiting { keep_warm: Duration::from_secs(keep_warm), since, seen }
    }

    fn names(units: &[Waiting], now: i64) -> Vec<String> {
        let expired = expired(units, DateTime::from_timestamp(now, 0).unwrap());
        expired.into_iter().map(|unit| unit.0).collect()
    }

    #[test]
    fn a_unit_waits_as_long_as_the_one_that_serves_says() {
        let units = [unit("old", 1, false, 1, 100), unit("new", 2, true, 60, 0)];
        assert_eq!(names(&units, 159), [""; 0]);
        assert_eq!(names(&units, 160), ["old"]);
        let kept_for_nothing = [unit("old", 1, false, 1, 100), unit("new", 2, true, 0, 0)];
        assert_eq!(names(&kept_for_nothing, 100), ["old"]);
    }

    #[test]
    fn where_nobody_serves_all_wait() {
        let stopped = [unit("old", 1, false, 1, 100), unit("new", 2, false, 1, 100)];
        assert_eq!(names(&stopped, 10_000), [""; 0]);
        // One that came later is no former one, whatever it waits for.
        let later = [unit("serving", 1, true, 1, 0), unit("later", 2, false, 1, 100)];
        assert_eq!(names(&later, 10_000), [""; 0]);
    }
}
