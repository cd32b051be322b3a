//! Looks every 50 ms at whom the proxy routes to, and whether the invariants hold.
//!
//! - I1: admitted units that live and are well ≥ replicas − `max-unavailable`;
//! - I2: nobody routes to a unit that is not well yet; that none was asked before its gate
//!   had passed, the units themselves tell at the end;
//! - I5: admitted units of a release that nobody has called good ≤ what the batches allow;
//! - I11: slots that nobody serves ≤ `max-unavailable` + `tolerate`, which with a target
//!   for each slot is I1 again, and is counted here by slots.
//!
//! A unit counts as dead if it was so before the proxy was asked, and one that came to the
//! address of another is not taken for it, so that a slow look accuses nobody.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use proxy::control::{Client, RouteStatus};
use tokio_util::sync::CancellationToken;

use super::witness::{Unit, Witness};
use crate::harness::background::Background;

const EACH: Duration = Duration::from_millis(50);
/// More are counted and not described.
const DESCRIBED: usize = 20;

/// What must hold while it looks.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub replicas: usize,
    pub max_unavailable: usize,
    /// Units that get bad after they were admitted: no engine keeps them from it.
    pub bad: usize,
}

#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub looks: u64,
    /// Between two looks, at most.
    pub longest_gap: Duration,
    pub violations: u64,
    /// The first ones, with when and what was to be seen.
    pub described: Vec<String>,
    /// The most units of each version that were admitted at a time.
    pub most: BTreeMap<String, usize>,
    /// How many units of each version were admitted, whenever that changed.
    pub changes: Vec<(DateTime<Utc>, BTreeMap<String, usize>)>,
    /// Requests that a drain ended.
    pub cut: u64,
}

impl Seen {
    /// When traffic was last changed.
    pub fn last_change(&self) -> Option<DateTime<Utc>> {
        // The first one is how it was found.
        self.changes.get(1..).and_then(|changes| changes.last()).map(|(at, _)| *at)
    }
}

pub struct Sampler {
    seen: Arc<Mutex<Seen>>,
    looking: Background,
}

impl Sampler {
    pub fn start(control: PathBuf, route: &str, rules: Rules, witness: Arc<Witness>) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let looking = Background::start({
            let (seen, route) = (Arc::clone(&seen), route.to_owned());
            move |stop: CancellationToken| async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = look_on(&control, &route, rules, &witness, &seen) => {}
                }
            }
        });
        Self { seen, looking }
    }

    pub fn so_far(&self) -> Seen {
        self.seen.lock().expect("no look panics").clone()
    }

    pub fn stop(mut self) -> Seen {
        self.looking.end();
        self.so_far()
    }
}

async fn look_on(
    control: &std::path::Path,
    route: &str,
    rules: Rules,
    witness: &Witness,
    seen: &Mutex<Seen>,
) {
    let client = Client::new(control);
    let mut ticks = tokio::time::interval(EACH);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (begun, mut last) = (Instant::now(), Instant::now());
    let mut cut_before = None;
    loop {
        ticks.tick().await;
        let asked = Instant::now();
        let answer = client.routes().await;
        let mut seen = seen.lock().expect("no look panics");
        seen.looks += 1;
        seen.longest_gap = seen.longest_gap.max(asked - last);
        last = asked;
        let wrong = match &answer {
            Err(error) => vec![format!("the proxy does not tell its routes: {error}")],
            Ok(routes) => match routes.routes.get(route) {
                None => vec![format!("I1: there is no route `{route}`")],
                Some(status) => {
                    let cut = cut(status);
                    seen.cut = cut - *cut_before.get_or_insert(cut);
                    count(status, witness, asked, &mut seen);
                    wrong_with(status, rules, witness, asked)
                }
            },
        };
        for wrong in wrong {
            seen.violations += 1;
            if seen.described.len() < DESCRIBED {
                seen.described
                    .push(format!("after {:.3} s: {wrong}", begun.elapsed().as_secs_f64()));
            }
        }
    }
}

fn cut(status: &RouteStatus) -> u64 {
    status.releases.values().filter_map(|release| release.status.get("cut")).sum()
}

fn unit_of(address: &str, witness: &Witness, asked: Instant) -> Option<Unit> {
    witness.unit_meant(address.parse().ok()?, asked)
}

fn count(status: &RouteStatus, witness: &Witness, asked: Instant, seen: &mut Seen) {
    let mut now: BTreeMap<String, usize> = BTreeMap::new();
    for target in &status.targets {
        let unit = unit_of(&target.target.address, witness, asked);
        *now.entry(unit.map(|unit| unit.version).unwrap_or_default()).or_default() += 1;
    }
    for (version, count) in &now {
        let most = seen.most.entry(version.clone()).or_default();
        *most = (*most).max(*count);
    }
    if seen.changes.last().is_none_or(|(_, before)| *before != now) {
        seen.changes.push((Utc::now(), now));
    }
}

fn wrong_with(
    status: &RouteStatus,
    rules: Rules,
    witness: &Witness,
    asked: Instant,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut serving = 0;
    let mut state = Vec::new();
    for target in &status.targets {
        let name = &target.target.unit;
        match unit_of(&target.target.address, witness, asked) {
            None => wrong.push(format!("I2: {name} is routed to, and nobody knows it")),
            Some(unit) if unit.well.is_none() && unit.gone.is_none() => {
                wrong.push(format!("I2: {name} is routed to, and is not well yet"));
            }
            Some(unit) if unit.failed_before(asked) => state.push(format!("{name} fails")),
            Some(unit) => {
                serving += 1;
                state.push(format!("{name} serves {}", unit.version));
            }
        }
    }
    let least = rules.replicas.saturating_sub(rules.max_unavailable + rules.bad);
    if serving < least {
        let state = state.join(", ");
        wrong.push(format!("I1, I11: {serving} units serve, {least} have to: {state}"));
    }
    wrong
}
