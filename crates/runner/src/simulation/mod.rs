//! Whole runs in a world of faults, played in no time: a seed makes the plan, what its stages
//! do, what fails, and where the process dies and is started again. Everything after is the
//! runner's own code, and an [`Auditor`](crate::testing::auditor::Auditor) looks at what came
//! of it.
//!
//! `SEED=7 make simulate` plays one seed and tells all of it, `SEEDS=100000 make simulate`
//! many.

mod engine;
mod mutation;
mod play;
mod random;
mod scenario;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use self::mutation::Mutation;
use self::play::{Played, play};
use self::scenario::Scenario;

/// What `cargo test` plays.
const SEEDS: u64 = 1000;
/// Of so many seeds one is played twice.
const TWICE: u64 = 20;
/// At a time.
const THREADS: usize = 2;

/// Seeds that found something, in runs that are durable or not, with what it was; they are
/// played for ever.
const FOUND: [(u64, bool, &str); 4] = [
    (28, false, "a stage stood on the layer of an allowed failure that had never begun"),
    (81, false, "a container ran on when waiting for it broke off, beside the next attempt"),
    (497, true, "a stage of a group was cancelled before anybody had looked how it had ended"),
    (149, false, "an engine that was away for a moment was not told again to stop a container"),
];

/// Why a seed fails, if it does.
fn failure(seed: u64, mutation: Option<Mutation>) -> Option<String> {
    failure_of(seed, Scenario::of(seed).durable, mutation)
}

fn failure_of(seed: u64, durable: bool, mutation: Option<Mutation>) -> Option<String> {
    let scenario = Scenario { durable, ..Scenario::of(seed) };
    let played = play(&scenario, mutation);
    if !played.broken.is_empty() {
        return Some(report(seed, &smallest(&scenario, mutation)));
    }
    if seed.is_multiple_of(TWICE) && journal(&play(&scenario, mutation)) != journal(&played) {
        return Some(format!("seed {seed}: two plays of it leave different journals"));
    }
    None
}

fn journal(played: &Played) -> (String, &[String]) {
    let events = serde_json::to_string(&played.events).expect("events are JSON");
    (events, &played.timeline)
}

type Change = Box<dyn Fn(&mut Scenario)>;

/// Leaves out deaths, stages at the end, and faults, as long as it still fails.
fn smallest(scenario: &Scenario, mutation: Option<Mutation>) -> (Scenario, Played) {
    let mut best = scenario.clone();
    let mut played = play(&best, mutation);
    let mut tries: Vec<Change> = vec![
        Box::new(|scenario| scenario.fault_percent = 0),
        Box::new(|scenario| scenario.cancel = None),
        Box::new(|scenario| scenario.deaths.clear()),
        Box::new(|scenario| scenario.deaths.truncate(1)),
    ];
    for index in (1..scenario.plan.stages.len()).rev() {
        let name = scenario.plan.stages[index].name.clone();
        tries.push(Box::new(move |scenario| {
            let stages = &mut scenario.plan.stages;
            let of =
                stages.iter().find(|stage| stage.name == name).map(|stage| stage.stage.clone());
            let is_needed = stages
                .iter()
                .flat_map(|stage| &stage.needs)
                .any(|need| Some(&need.stage) == of.as_ref());
            if !is_needed {
                stages.retain(|stage| stage.name != name);
            }
        }));
    }
    for shrink in tries {
        let mut smaller = best.clone();
        shrink(&mut smaller);
        let again = play(&smaller, mutation);
        if !again.broken.is_empty() {
            (best, played) = (smaller, again);
        }
    }
    (best, played)
}

fn report(seed: u64, (scenario, played): &(Scenario, Played)) -> String {
    let plan = serde_json::to_string_pretty(&scenario.plan).expect("a plan is JSON");
    let mut text = format!("seed {seed} fails; the smallest plan and faults found:\n{plan}\n");
    text.push_str(&format!(
        "durable {}, deaths {:?}, cancel {:?}, faults {} %, {} at a time, {} lives\n",
        scenario.durable,
        scenario.deaths,
        scenario.cancel,
        scenario.fault_percent,
        scenario.concurrency,
        played.lives
    ));
    for line in &played.timeline {
        text.push_str(&format!("{line}\n"));
    }
    for broken in &played.broken {
        text.push_str(&format!("BROKEN: {broken}\n"));
    }
    text.push_str(&format!("seed {seed}: play it again with `SEED={seed} make simulate`\n"));
    text
}

/// Plays seeds until one fails, and returns the report of that with the lowest number.
fn first_failure(from: u64, count: u64, mutation: Option<Mutation>, tell: bool) -> Option<String> {
    let (next, failed) = (AtomicU64::new(from), Mutex::new(None::<(u64, String)>));
    let lock = || failed.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count || lock().is_some() {
                        return;
                    }
                    if let Some(report) = failure(seed, mutation) {
                        let mut failed = lock();
                        if failed.as_ref().is_none_or(|(lowest, _)| seed < *lowest) {
                            *failed = Some((seed, report));
                        }
                    }
                    if tell && seed.is_multiple_of(1000) {
                        println!("{} of {count} seeds", seed - from);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map(|(_, report)| report)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn a_thousand_runs_in_a_world_of_faults_lose_nothing() {
    if let Some(report) = first_failure(0, SEEDS, None, false) {
        panic!("{report}");
    }
}

#[test]
fn what_seeds_once_found_is_not_there_any_more() {
    for (seed, durable, what) in FOUND {
        if let Some(report) = failure_of(seed, durable, None) {
            panic!("{what}: {report}");
        }
    }
}

#[test]
fn every_kind_of_mistake_is_found_within_a_thousand_seeds() {
    for mutation in mutation::ALL {
        let found =
            (0..SEEDS).find(|seed| !play(&Scenario::of(*seed), Some(mutation)).broken.is_empty());
        let seed = found.unwrap_or_else(|| panic!("{mutation:?} is not found"));
        println!("{mutation:?} is found by seed {seed}");
    }
}

/// `make simulate`.
#[test]
#[ignore = "as long as one likes"]
fn simulate() {
    if let Some(seed) = number("SEED") {
        let scenario = Scenario::of(seed);
        let played = play(&scenario, None);
        println!("{}", report(seed, &(scenario, played)).replace(" fails; the smallest", ":"));
        assert!(failure(seed, None).is_none(), "seed {seed} fails");
        return;
    }
    let (from, count) = (number("FROM").unwrap_or(0), number("SEEDS").unwrap_or(100_000));
    if let Some(report) = first_failure(from, count, None, true) {
        panic!("{report}");
    }
    println!("{count} seeds from {from} on: nothing was lost");
}
