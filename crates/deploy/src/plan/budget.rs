//! The failure budget: how many units may fail over a whole deployment.
//!
//! It counts distinct units over all batches. A budget per batch would hide that
//! every batch fails a little, until too many units are out of traffic.

use std::collections::{BTreeMap, BTreeSet};

use crate::UnitId;

/// A unit that failed on the way forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedUnit {
    pub slot: u32,
    pub reason: String,
}

/// Which units have failed, and how many may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    tolerate: usize,
    failed: BTreeMap<UnitId, FailedUnit>,
}

impl Budget {
    pub fn new(tolerate: u32) -> Self {
        Self { tolerate: tolerate as usize, failed: BTreeMap::new() }
    }

    /// Counts a failed unit; one that failed before counts once.
    pub fn fail(&mut self, unit: UnitId, failed: FailedUnit) {
        self.failed.entry(unit).or_insert(failed);
    }

    /// Returns how many more may fail.
    pub fn left(&self) -> usize {
        self.tolerate.saturating_sub(self.failed.len())
    }

    pub fn is_exceeded(&self) -> bool {
        self.failed.len() > self.tolerate
    }

    /// Tolerates all that has failed so far, because somebody chose to go on.
    pub fn grant(&mut self) {
        self.grant_up_to(self.failed.len());
    }

    /// Tolerates so many failed units, at least.
    pub fn grant_up_to(&mut self, failed: usize) {
        self.tolerate = self.tolerate.max(failed);
    }

    /// Returns the slots that were given up.
    pub fn slots(&self) -> BTreeSet<u32> {
        self.failed.values().map(|failed| failed.slot).collect()
    }

    pub fn units(&self) -> impl Iterator<Item = &UnitId> {
        self.failed.keys()
    }

    /// Says which slots were given up and why; `None` if none was.
    pub fn report(&self) -> Option<String> {
        let said = |failed: &FailedUnit| format!("slot {}: {}", failed.slot, failed.reason);
        let said: Vec<_> = self.failed.values().map(said).collect();
        (!said.is_empty()).then(|| format!("given up, as tolerated: {}", said.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(budget: &mut Budget, slot: u32) {
        let failed = FailedUnit { slot, reason: "it hurts".to_owned() };
        budget.fail(UnitId(format!("web-{slot}")), failed);
    }

    #[test]
    fn distinct_units_count_over_the_whole_deployment() {
        let mut budget = Budget::new(2);
        assert_eq!((budget.left(), budget.report()), (2, None));
        for slot in [0, 0, 4] {
            fail(&mut budget, slot);
        }
        assert_eq!((budget.left(), budget.is_exceeded()), (0, false));
        fail(&mut budget, 2);
        assert!(budget.is_exceeded());
        budget.grant();
        assert!(!budget.is_exceeded());
        assert_eq!(budget.slots().into_iter().collect::<Vec<_>>(), [0, 2, 4]);
        fail(&mut budget, 1);
        assert!(budget.is_exceeded());
    }
}
