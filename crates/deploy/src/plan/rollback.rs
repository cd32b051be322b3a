//! The way back: every touched slot to the unit that served it before.
//!
//! It is planned from an observation, not from the list of ops that were done,
//! so that going back after a failure and going back after a crash are one path.

use std::collections::BTreeSet;

use event::{DeploymentId, ReleaseId};
use serde::{Deserialize, Serialize};

use crate::{Observed, ObservedUnit, Op, OpAction, UnitId, UnitState};

/// What was there before a deployment touched it. It is written down with the
/// plan, so that it is known for certain also after a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The unit that served each slot, in the order of slots.
    pub serving: Vec<ObservedUnit>,
    /// The others: warm ones, and what interrupted deployments left.
    pub others: Vec<ObservedUnit>,
    /// The fence it was seen under: whoever has changed the environment under a larger
    /// one has made it out of date.
    #[serde(default)]
    pub fence: u64,
}

impl Before {
    /// Reads it off an observation made under `fence`, before the deployment.
    pub fn of(seen: &Observed, fence: u64) -> Self {
        let serves = |unit: &ObservedUnit| {
            seen.current(unit.slot).is_some_and(|current| current.unit == unit.unit)
        };
        let (serving, others) = seen.units.iter().cloned().partition(serves);
        Self { serving, others, fence }
    }

    /// Returns the unit that served a slot.
    pub fn of_slot(&self, slot: u32) -> Option<&ObservedUnit> {
        self.serving.iter().find(|unit| unit.slot == slot)
    }

    /// Returns the release that ran, that of the lowest slot.
    pub fn release(&self) -> Option<ReleaseId> {
        self.serving.first().map(|unit| unit.release)
    }

    /// Whether a unit is another than the one that served its slot.
    pub(crate) fn is_new(&self, unit: &ObservedUnit) -> bool {
        self.of_slot(unit.slot).is_none_or(|previous| previous.unit != unit.unit)
    }

    /// Whether a unit is there by `deployment`: made by it, or woken from waiting.
    fn is_touched(&self, unit: &ObservedUnit, deployment: DeploymentId) -> bool {
        let served = self.serving.iter().any(|before| before.unit == unit.unit);
        !served && (unit.deployment == deployment || self.is_woken(unit))
    }

    /// Whether a unit waited, stopped, and does no longer.
    fn is_woken(&self, unit: &ObservedUnit) -> bool {
        let waited = |before: &&ObservedUnit| {
            before.unit == unit.unit && !before.admitted && before.state == UnitState::Exited
        };
        let awake = unit.admitted || unit.state != UnitState::Exited;
        awake && self.others.iter().any(|before| waited(&before))
    }

    /// Says what differs from it after going back; empty when nothing does.
    pub fn differences(&self, seen: &Observed, deployment: DeploymentId) -> Vec<String> {
        self.differences_of(&seen.units, deployment)
    }

    /// As [`Before::differences`], of all units there are.
    pub(crate) fn differences_of(
        &self,
        units: &[ObservedUnit],
        deployment: DeploymentId,
    ) -> Vec<String> {
        let mut differences = Vec::new();
        for previous in &self.serving {
            let slot = previous.slot;
            let now = units.iter().find(|unit| unit.unit == previous.unit);
            let was_running = previous.state == UnitState::Running;
            match now {
                None => differences.push(format!("slot {slot}: {} is gone", previous.unit)),
                Some(now) if !now.admitted => {
                    differences.push(format!("slot {slot}: {} gets no traffic", previous.unit));
                }
                Some(now) if now.state != UnitState::Running && was_running => {
                    differences.push(format!("slot {slot}: {} does not run", previous.unit));
                }
                Some(_) => {}
            }
        }
        let ours = units.iter().filter(|unit| self.is_touched(unit, deployment));
        differences
            .extend(ours.map(|unit| format!("slot {}: {} is still there", unit.slot, unit.unit)));
        differences
    }
}

/// The way back of one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    pub slot: u32,
    /// The unit to go back to; `None` where there was none.
    pub previous: Option<ObservedUnit>,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An op on the previous unit, applied with the specification it was made from.
    Forward(Op),
    /// An op on a unit the failed deployment made or woke, applied with that one's
    /// specification.
    Retire(Op),
    /// The compensation of an op of the failed deployment.
    Undo(Op),
}

impl Restore {
    /// Cuts it in two: what takes ours away, and what brings the previous unit back.
    pub(crate) fn halves(self) -> [Self; 2] {
        let Self { slot, previous, steps } = self;
        let (up, down) = steps.into_iter().partition(|step| matches!(step, Step::Forward(_)));
        [Self { slot, previous: previous.clone(), steps: down }, Self { slot, previous, steps: up }]
    }
}

impl Step {
    pub const fn op(&self) -> &Op {
        match self {
            Self::Forward(op) | Self::Retire(op) | Self::Undo(op) => op,
        }
    }
}

/// Plans the way back from `seen`, the highest slot first. Slots that are as
/// before have no entry. Where old units `stop first`, because two of a slot cannot run
/// side by side, ours is gone before the previous one starts.
pub fn restore(
    before: &Before,
    seen: &Observed,
    deployment: DeploymentId,
    stop_first: bool,
) -> Vec<Restore> {
    let touched = seen.units.iter().chain(&before.serving).map(|unit| unit.slot);
    let slots: BTreeSet<u32> = touched.collect();
    slots
        .into_iter()
        .rev()
        .map(|slot| {
            let previous = before.of_slot(slot);
            let steps = steps(slot, before, seen, deployment, stop_first);
            Restore { slot, previous: previous.cloned(), steps }
        })
        .filter(|restore| !restore.steps.is_empty())
        .collect()
}

fn steps(
    slot: u32,
    before: &Before,
    seen: &Observed,
    deployment: DeploymentId,
    stop_first: bool,
) -> Vec<Step> {
    let op = |action, unit: &UnitId, replaces: Option<&UnitId>| Op {
        action,
        unit: unit.clone(),
        slot,
        replaces: replaces.cloned(),
        deployment,
    };
    let ours: Vec<_> = seen
        .units
        .iter()
        .filter(|unit| unit.slot == slot && before.is_touched(unit, deployment))
        .collect();
    let serving = ours.iter().find(|unit| unit.admitted);
    let mut up = Vec::new();
    if let Some(previous) = before.of_slot(slot) {
        let now = seen.unit(&previous.unit);
        let admitted = now.is_some_and(|now| now.admitted);
        let running = now.is_some_and(|now| now.state == UnitState::Running);
        // One that was broken before the deployment is left as it was.
        let broken_before = previous.admitted && previous.state != UnitState::Running;
        if serving.is_some() || !admitted || (!running && !broken_before) {
            if !running {
                up.push(Step::Forward(op(OpAction::Start, &previous.unit, None)));
            }
            let replaces = serving.map(|unit| &unit.unit);
            up.push(Step::Forward(op(OpAction::Gate, &previous.unit, replaces)));
            up.push(Step::Forward(op(OpAction::Admit, &previous.unit, replaces)));
        }
    }
    let mut down = Vec::new();
    for unit in ours {
        if unit.deployment == deployment {
            if unit.admitted {
                down.push(Step::Retire(op(OpAction::Drain, &unit.unit, None)));
            }
            down.push(Step::Undo(op(OpAction::Create, &unit.unit, None)));
        } else {
            // It waited before, and may still have requests that it got meanwhile.
            down.push(Step::Retire(op(OpAction::Drain, &unit.unit, None)));
            down.push(Step::Retire(op(OpAction::Stop, &unit.unit, None)));
        }
    }
    if stop_first {
        down.into_iter().chain(up).collect()
    } else {
        up.into_iter().chain(down).collect()
    }
}
