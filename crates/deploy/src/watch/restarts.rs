//! Units that end and begin again and again.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{Life, Patience};
use crate::{Observed, UnitId, UnitState};

/// What is remembered of each unit in traffic.
#[derive(Clone, Debug, Default)]
pub(super) struct Restarts {
    units: BTreeMap<UnitId, Course>,
}

#[derive(Clone, Debug)]
struct Course {
    life: Option<Life>,
    well: bool,
    /// When it was seen to have begun again, once per time.
    restarts: Vec<DateTime<Utc>>,
    /// When it was seen to be no longer well.
    turns: Vec<DateTime<Utc>>,
}

impl Restarts {
    /// Takes note of a look, and returns the units that are in a loop, with the cause.
    pub(super) fn look(
        &mut self,
        seen: &Observed,
        lives: &BTreeMap<UnitId, Life>,
        patience: &Patience,
        at: DateTime<Utc>,
    ) -> BTreeMap<UnitId, String> {
        self.units.retain(|unit, _| seen.unit(unit).is_some_and(|seen| seen.admitted));
        let mut loops = BTreeMap::new();
        for unit in seen.units.iter().filter(|unit| unit.admitted) {
            let life = lives.get(&unit.unit);
            let complains = life.is_some_and(|life| life.complaint.is_some());
            let well = unit.state == UnitState::Running && !complains;
            let first = || Course { life: None, well, restarts: Vec::new(), turns: Vec::new() };
            let course = self.units.entry(unit.unit.clone()).or_insert_with(first);
            course.take(life, well, patience, at);
            let enough = |times: &[DateTime<Utc>]| times.len() >= patience.restarts as usize;
            let minutes = patience.window.num_minutes();
            // The words stay as long as it goes on: the number of times is in its life.
            if enough(&course.restarts) {
                let cause = format!(
                    "it ends and is started again, {} times or more within {minutes} minutes",
                    patience.restarts
                );
                loops.insert(unit.unit.clone(), cause);
            } else if enough(&course.turns) {
                let cause = format!(
                    "its health comes and goes, {} times or more within {minutes} minutes",
                    patience.restarts
                );
                loops.insert(unit.unit.clone(), cause);
            }
        }
        loops
    }
}

impl Course {
    fn take(&mut self, life: Option<&Life>, well: bool, patience: &Patience, at: DateTime<Utc>) {
        let fresh = |time: &DateTime<Utc>| at - *time < patience.window;
        self.restarts.retain(fresh);
        self.turns.retain(fresh);
        if let (Some(before), Some(now)) = (&self.life, life) {
            let counted = now.restarts.saturating_sub(before.restarts);
            let times = counted.max(u64::from(now.beginning != before.beginning));
            // More of them say no more.
            let times =
                usize::try_from(times).unwrap_or(usize::MAX).min(patience.restarts as usize);
            self.restarts.extend(std::iter::repeat_n(at, times));
        }
        if self.well && !well {
            self.turns.push(at);
        }
        let most = patience.restarts as usize;
        for times in [&mut self.restarts, &mut self.turns] {
            times.drain(..times.len().saturating_sub(most));
        }
        self.well = well;
        if life.is_some() {
            self.life = life.cloned();
        }
    }
}
