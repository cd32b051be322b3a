//! Load and looks, and what both say in the end.

use std::path::PathBuf;
use std::time::Duration;

use super::place::{GATE, Place, ROUTE};
use super::sampler::{Rules, Sampler, Seen};
use crate::harness::load::{Load, Mix, Report, Settings};

/// A load that nobody stops ends after this long.
const LIMIT: Duration = Duration::from_secs(3 * 60 * 60);

pub struct Observer<'a> {
    place: &'a Place,
    load: Load,
    sampler: Sampler,
    units_before: usize,
}

/// What was to be seen of the service from outside.
pub struct Outcome {
    pub report: Report,
    pub seen: Seen,
    /// Broken invariants, in words.
    pub broken: Vec<String>,
}

impl<'a> Observer<'a> {
    /// From now on; something must be deployed.
    pub fn begin(place: &'a Place, per_second: u32, mix: Mix, rules: Rules) -> Self {
        Self::logging(place, per_second, mix, rules, None)
    }

    /// Each request gets its line in `log`.
    pub fn logging(
        place: &'a Place,
        per_second: u32,
        mix: Mix,
        rules: Rules,
        log: Option<PathBuf>,
    ) -> Self {
        place.witness.take_posts();
        let units_before = place.witness.units().len();
        let address = place.proxy.address;
        let control = place.proxy.control.clone();
        let sampler = Sampler::start(control, ROUTE, rules, place.witness.clone());
        let load = Load::mixed(Settings { address, per_second, limit: LIMIT, mix, log });
        Self { place, load, sampler, units_before }
    }

    pub fn so_far(&self) -> Report {
        self.load.so_far()
    }

    pub fn end(self) -> Outcome {
        // The load first: what it still waits for is looked at, too.
        let report = self.load.stop();
        let seen = self.sampler.stop();
        let mut broken = seen.described.clone();
        if seen.violations > broken.len() as u64 {
            broken.push(format!("{} violations in all", seen.violations));
        }
        broken.extend(not_once(&report, &self.place.witness.take_posts()));
        for unit in &self.place.witness.units()[self.units_before..] {
            if unit.first.is_some_and(|well| well < GATE) {
                broken.push(format!(
                    "I2: a unit of version {} was asked when it had been well {} times, not {GATE}",
                    unit.version,
                    unit.first.unwrap_or_default()
                ));
            }
        }
        Outcome { report, seen, broken }
    }
}

/// Ids that were not done exactly once: of a failure nobody knows whether it was done.
fn not_once(report: &Report, posts: &std::collections::HashMap<u64, u32>) -> Vec<String> {
    let times = |id: &u64| posts.get(id).copied().unwrap_or(0);
    let lost = report.posted.iter().filter(|id| times(id) == 0).count();
    let twice = posts.values().filter(|times| **times > 1).count();
    let mut wrong = Vec::new();
    if lost > 0 {
        wrong.push(format!("I3: {lost} requests of class post were answered and never done"));
    }
    if twice > 0 {
        wrong.push(format!("I3: {twice} requests of class post were done more than once"));
    }
    wrong
}
