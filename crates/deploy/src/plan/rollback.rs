//! The way back: every touched slot to the unit that served it before.
//!
//! It is planned from an observation, not from the list of ops that were done,
//! so that going back after a failure and going back after a crash are one path.

use std::collections::BTreeMap;

use event::{DeploymentId, ReleaseId};

use crate::{Observed, ObservedUnit, Op, OpAction, Spec, UnitId, UnitState};

/// The unit that served each slot before a deployment touched it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Before {
    pub slots: BTreeMap<u32, ObservedUnit>,
}

impl Before {
    /// Reads it off an observation made before the deployment.
    pub fn of(seen: &Observed) -> Self {
        let slots = seen
            .units
            .iter()
            .filter_map(|unit| seen.current(unit.slot))
            .map(|unit| (unit.slot, unit.clone()))
            .collect();
        Self { slots }
    }

    /// Infers it from an observation made after `deployment` was interrupted.
    ///
    /// Where a unit of the deployment serves, the one it replaced is the latest
    /// of the others: it is kept until the deployment has succeeded. A slot
    /// beyond the wanted number that nobody serves was being given up.
    pub fn inferred(spec: &Spec, seen: &Observed, deployment: DeploymentId) -> Self {
        let mut before = Self::default();
        for slot in seen.units.iter().map(|unit| unit.slot) {
            let of_slot = || seen.units.iter().filter(move |unit| unit.slot == slot);
            let others = || of_slot().filter(|unit| unit.deployment != deployment);
            let admitted = others().filter(|unit| unit.admitted).max_by_key(|unit| unit.age());
            let taken_over = of_slot().any(|unit| unit.admitted && unit.deployment == deployment);
            let given_up = slot >= spec.replicas && of_slot().all(|unit| !unit.admitted);
            let previous = match admitted {
                Some(unit) => Some(unit),
                None if taken_over || given_up => others().max_by_key(|unit| unit.age()),
                None => None,
            };
            if let Some(unit) = previous {
                before.slots.insert(slot, unit.clone());
            }
        }
        before
    }

    /// Returns the release that ran, that of the lowest slot.
    pub fn release(&self) -> Option<ReleaseId> {
        self.slots.values().next().map(|unit| unit.release)
    }

    /// Says in which slots `seen` differs; nothing means that all is as before.
    pub fn differences(&self, seen: &Observed, deployment: DeploymentId) -> Vec<String> {
        let mut differences = Vec::new();
        for (slot, previous) in &self.slots {
            let now = seen.unit(&previous.unit);
            let was_running = previous.admitted && previous.state == UnitState::Running;
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
        let ours = seen.units.iter().filter(|unit| unit.deployment == deployment);
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
    /// An op on the unit of the failed deployment, applied with that one's specification.
    Retire(Op),
    /// The compensation of an op of the failed deployment.
    Undo(Op),
}

impl Step {
    pub const fn op(&self) -> &Op {
        match self {
            Self::Forward(op) | Self::Retire(op) | Self::Undo(op) => op,
        }
    }
}

/// Plans the way back from `seen`, the slot changed last first. Slots that are as
/// before have no entry.
pub fn restore(before: &Before, seen: &Observed, deployment: DeploymentId) -> Vec<Restore> {
    let touched = seen.units.iter().map(|unit| unit.slot).chain(before.slots.keys().copied());
    let slots: std::collections::BTreeSet<u32> = touched.collect();
    slots
        .into_iter()
        .rev()
        .map(|slot| {
            let previous = before.slots.get(&slot);
            Restore {
                slot,
                previous: previous.cloned(),
                steps: steps(slot, previous, seen, deployment),
            }
        })
        .filter(|restore| !restore.steps.is_empty())
        .collect()
}

fn steps(
    slot: u32,
    previous: Option<&ObservedUnit>,
    seen: &Observed,
    deployment: DeploymentId,
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
        .filter(|unit| unit.slot == slot && unit.deployment == deployment)
        .collect();
    let serving = ours.iter().find(|unit| unit.admitted);
    let mut steps = Vec::new();
    if let Some(previous) = previous {
        let now = seen.unit(&previous.unit);
        let admitted = now.is_some_and(|now| now.admitted);
        let running = now.is_some_and(|now| now.state == UnitState::Running);
        // One that was broken before the deployment is left as it was.
        let broken_before = previous.admitted && previous.state != UnitState::Running;
        if serving.is_some() || !admitted || (!running && !broken_before) {
            if !running {
                steps.push(Step::Forward(op(OpAction::Start, &previous.unit, None)));
            }
            let replaces = serving.map(|unit| &unit.unit);
            steps.push(Step::Forward(op(OpAction::Gate, &previous.unit, replaces)));
            steps.push(Step::Forward(op(OpAction::Admit, &previous.unit, replaces)));
        }
    }
    for unit in ours {
        if unit.admitted {
            steps.push(Step::Retire(op(OpAction::Drain, &unit.unit, None)));
        }
        steps.push(Step::Undo(op(OpAction::Create, &unit.unit, None)));
    }
    steps
}
