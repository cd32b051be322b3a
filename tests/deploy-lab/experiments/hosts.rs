//! Ten hosts over SSH: rolled in groups under load, well and badly, and gone back in haste;
//! and how much of a large release is sent.

use std::time::{Duration, Instant};

use event::DeploymentState;

use super::Scale;
use crate::deploy_lab::table::{Goal, Row};
use crate::deploy_lab::told::deployments;
use crate::harness::hosts::Visitor;
use crate::harness::load::Report;
use crate::harness::site::Site;

const HOSTS: usize = 10;
const VISITORS: usize = 6;
/// The host that does not bear a release.
const BAD: usize = 7;
const HASTE: Duration = Duration::from_secs(5);
const HASTES: usize = 6;
const PATIENCE: Duration = Duration::from_secs(120);
/// 200 MB.
const FILES: usize = 200;
const FILE: usize = 1_000_000;
const ROLLED: &str =
    "batches: [1, 100%], max-unavailable: 2, groups: [preprod, north, south], bake: 1s";

/// Every deployment is another release, one group after the other.
pub fn rolling(scale: &Scale, least: u64) -> Row {
    let site = serving();
    let visitors: Vec<_> = (0..VISITORS).map(|_| Visitor::of(site.proxy.address)).collect();
    let mut took = Duration::ZERO;
    let mut failed = Vec::new();
    for number in 0..scale.deploys {
        site.release(&format!("of deployment {number}"), true);
        let began = Instant::now();
        let ran = site.run();
        took = took.max(began.elapsed());
        if ran.code != 0 {
            failed.push(format!("{}{}", ran.stdout, ran.stderr));
        }
    }
    let mut report = Report::default();
    for visitor in visitors {
        report.extend(visitor.go_home());
    }
    let what = format!("{} rolling deployments of {HOSTS} hosts in groups", scale.deploys);
    let goals = [Goal::none_failed(&report), Goal::at_least("requests", report.sent, least)];
    let mut row = Row::reported(what, "hosts", report).deploys(took);
    row.goals.extend(goals);
    let count = failed.len();
    row.notes.extend(failed);
    row.goal(Goal::new("all succeed", count == 0, format!("{count} fail")))
}

/// A release that one host does not bear: those before it go back, and those after it
/// never see it.
pub fn seventh() -> Row {
    let site = serving();
    site.release("two", true);
    site.repository.write(&format!("site/breaks-{BAD}"), "");
    let visitor = Visitor::of(site.proxy.address);
    let ran = site.run();
    let report = visitor.go_home();
    let told = deployments(&site.lab.home().join("state.db"), "site", "demo").remove(0);
    let restored = told.restored_after();
    let reason = told.record.outcome.clone().unwrap_or_default();
    let serve_it: Vec<_> = (1..=HOSTS).filter(|number| !serves(&site, *number, "one")).collect();
    let touched: Vec<_> = (BAD + 1..=HOSTS).filter(|number| site.switches(*number) > 1).collect();
    let is_named = reason.contains(&format!("host 127.0.1.{BAD}: "));
    let what = format!("host {BAD} of {HOSTS} fails its gate");
    let goals = [
        Goal::none_failed(&report),
        Goal::new(
            "rolled back",
            told.state() == Some(DeploymentState::RolledBack) && serve_it.is_empty(),
            format!("{:?}, hosts {serve_it:?} serve something else", told.state()),
        ),
        Goal::new(
            "those after it untouched",
            touched.is_empty(),
            format!("hosts {touched:?} were switched"),
        ),
        Goal::new("it is named", is_named, reason),
    ];
    let mut row = Row::reported(what, "hosts", report).deploys(told.took()).restores(restored);
    row.goals.extend(goals);
    if ran.code != 1 {
        row.notes.push(format!("exit {}: {}{}", ran.code, ran.stdout, ran.stderr));
    }
    row
}

/// Back to the release before, on all hosts at once, again and again. Restored is when
/// each host and the proxy answer with it: what is cleared away afterwards nobody waits for.
pub fn haste() -> Row {
    let site = serving();
    site.release("two", true);
    site.run().expect(0);
    let (mut took, mut ended, mut failed) = (Vec::new(), Duration::ZERO, Vec::new());
    for number in 0..HASTES {
        // Each goes back to what the one before it left.
        let version = if number % 2 == 0 { "one" } else { "two" };
        let began = Instant::now();
        let mut back = site.begin(&["rollback", "demo", "--emergency", "--reason", "lab"]);
        let restored = loop {
            if site.serves(version) {
                break Some(began.elapsed());
            }
            if began.elapsed() > PATIENCE {
                break None;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let code = back.wait(PATIENCE);
        ended = ended.max(began.elapsed());
        if code != Some(0) || restored.is_none() {
            failed.push(format!("exit {code:?}: {}", back.text()));
        }
        took.push(restored.unwrap_or(PATIENCE));
    }
    // Of so few it is the slowest.
    let slowest = took.iter().max().copied();
    let what = format!("{HASTES} emergency rollbacks of {HOSTS} hosts");
    let mut row = Row::reported(what, "hosts", Report::default())
        .deploys(ended)
        .restores(slowest)
        .goal(Goal::within("restored", slowest, HASTE))
        .goal(Goal::new("exit 0", failed.is_empty(), format!("{} failed", failed.len())));
    row.notes.push(format!("restored after {took:?}"));
    row.notes.extend(failed);
    row
}

/// A large release of which little has changed.
pub fn incremental() -> Row {
    let site = Site::open(2);
    site.pipeline(&site.plain(), "batches: [100%], max-unavailable: 100%");
    let mut noise = Noise(1);
    for number in 0..FILES {
        site.repository.write(&format!("site/assets/{number}.bin"), &noise.bytes(FILE));
    }
    site.release("one", true);
    site.repository.commit("first");
    let whole = sent(&site.run().expect(0).stdout);
    for number in [3, 150] {
        site.repository.write(&format!("site/assets/{number}.bin"), &noise.bytes(FILE));
    }
    site.release("two", true);
    let began = Instant::now();
    let part = sent(&site.run().expect(0).stdout);
    let took = began.elapsed();
    site.assert_serve("two");
    let share = part as f64 / whole.max(1) as f64;
    let size = FILES * FILE / 1_000_000;
    let what = format!("{size} MB on 2 hosts, of which 1 % has changed");
    Row::reported(what, "hosts", Report::default())
        .deploys(took)
        .goal(Goal::new(
            "all of it is sent first",
            whole > (2 * FILES * FILE) as u64,
            format!("{whole} bytes"),
        ))
        .goal(Goal::new(
            "then ≤ 5 % of the bytes",
            part > 0 && share <= 0.05,
            format!("{part} of {whole} bytes"),
        ))
}

/// What a run says it has sent to all hosts together.
fn sent(said: &str) -> u64 {
    let before = said.split(" bytes to 2 hosts").next().unwrap_or_default();
    let digits: String = before.chars().rev().take_while(char::is_ascii_digit).collect();
    digits.chars().rev().collect::<String>().parse().unwrap_or(0)
}

/// Bytes that do not pack: as many are sent as there are.
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut next = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0.to_le_bytes()
        };
        (0..count.div_ceil(8)).flat_map(|_| next()).take(count).collect()
    }
}

fn serves(site: &Site, number: usize, version: &str) -> bool {
    site.hosts.answer(number) == format!("release {version}\n")
}

/// Release `one` on all hosts.
fn serving() -> Site {
    let site = Site::open(HOSTS);
    let hosts = site.grouped();
    site.pipeline(&hosts, "batches: [100%], max-unavailable: 100%");
    site.release("one", true);
    site.repository.commit("first");
    site.run().expect(0);
    site.pipeline(&hosts, ROLLED);
    site
}
