//! Ten hosts over SSH: rolled in groups under load, and gone back in haste.

use std::time::{Duration, Instant};

use super::Scale;
use crate::deploy_lab::table::{Goal, Row};
use crate::harness::hosts::Visitor;
use crate::harness::load::Report;
use crate::harness::site::Site;

const HOSTS: usize = 10;
const VISITORS: usize = 6;
const HASTE: Duration = Duration::from_secs(5);
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

/// Back to the release before, on all hosts at once.
pub fn haste() -> Row {
    let site = serving();
    site.release("two", true);
    site.run().expect(0);
    let visitor = Visitor::of(site.proxy.address);
    let began = Instant::now();
    let ran = site.ask(&["rollback", "demo", "--emergency", "--reason", "lab"]);
    let took = began.elapsed();
    let report = visitor.go_home();
    site.assert_serve("one");
    let mut row = Row::reported("emergency rollback of 10 hosts", "hosts", report)
        .restores(Some(took))
        .goal(Goal::within("restored", Some(took), HASTE))
        .goal(Goal::new("exit 0", ran.code == 0, format!("exit {}", ran.code)));
    if ran.code != 0 {
        row.notes.push(format!("{}{}", ran.stdout, ran.stderr));
    }
    row
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
