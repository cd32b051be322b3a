//! Releases put onto hosts over SSH: `sshd` and nginx of this machine, each pair of which
//! is a host of its own.

use std::time::Instant;

use serde_json::Value;

use crate::harness::git::Repository;
use crate::harness::guide::follow_where;
use crate::harness::hosts::{Hosts, Visitor};
use crate::harness::lab::{Lab, Ran, repository_root};
use crate::harness::server::Proxy;
use crate::harness::site::Site;

/// How often was asked, and how often in vain.
fn counts(visitor: Visitor) -> (u64, u64) {
    let report = visitor.go_home();
    (report.sent, report.failed)
}

/// How the deploy stage of a run ended.
pub fn end_of(ran: &Ran) -> (String, String) {
    end_in(ran.lines())
}

/// The same, of the lines of a run.
pub fn end_in(lines: Vec<Value>) -> (String, String) {
    let mut ended = lines
        .into_iter()
        .filter(|line| line["kind"] == "attempt.finished" && line["stage"] == "deploy");
    let outputs = ended.next().map(|line| line["outputs"].clone()).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&outputs["state"]), text(&outputs["reason"]))
}

#[test]
fn a_site_is_rolled_over_three_hosts_and_back_without_losing_a_request() {
    let site = Site::open(3);
    site.pipeline(&site.plain(), "batches: [1, 100%]");
    site.release("one", true);
    site.repository.commit("first");
    site.run().expect(0);
    site.assert_serve("one");

    let visitor = Visitor::of(site.proxy.address);
    site.release("two", true);
    let ran = site.run().expect(0);
    assert!(ran.stdout.contains("of 9 files linked"), "{}", ran.stdout);
    site.assert_serve("two");

    site.release("three", false);
    let (state, reason) = end_of(&site.run().expect(1));
    assert_eq!(state, "rolled-back", "{reason}");
    assert!(reason.contains("host 127.0.1.1: ") && reason.contains("→ 404"), "{reason}");
    site.assert_serve("two");

    let back = site.ask(&["rollback", "demo", "--format", "json"]).expect(0).json();
    assert_eq!(back["state"], "succeeded", "{back:#}");
    site.assert_serve("one");
    let (asked, lost) = counts(visitor);
    assert!(asked > 100, "{asked} requests");
    assert_eq!(lost, 0, "of {asked} requests");
    assert_eq!(site.routed(), 3);
}

#[test]
fn of_ten_hosts_the_seventh_fails_one_dies_and_all_go_back_in_haste() {
    let mut site = Site::open(10);
    let hosts = site.grouped();
    let at_once = "batches: [100%], max-unavailable: 100%";
    site.pipeline(&hosts, at_once);
    site.release("one", true);
    site.repository.commit("first");
    let first = site.run().expect(0);
    let groups = ["batch 1 of 3: preprod", "batch 2 of 3: north", "batch 3 of 3: south"];
    assert!(groups.iter().all(|line| first.stdout.contains(line)), "{}", first.stdout);
    site.assert_serve("one");

    // On host 7 alone the release is not well: those before it go back, those after it
    // never see it.
    let visitor = Visitor::of(site.proxy.address);
    site.pipeline(
        &hosts,
        "batches: [1, 100%], max-unavailable: 4, groups: [preprod, north, south]",
    );
    site.release("two", true);
    site.repository.write("site/breaks-7", "");
    let ran = site.run().expect(1);
    let (state, reason) = end_of(&ran);
    assert_eq!(state, "rolled-back", "{reason}");
    assert!(reason.contains("host 127.0.1.7: ") && reason.contains("→ 503"), "{reason}");
    site.assert_serve("one");
    for number in 1..=10 {
        // Of the unit that serves; the other one is gone.
        let switched = if number <= 7 { 2 } else { 1 };
        assert_eq!(site.switches(number), switched, "host {number}");
    }
    let (asked, lost) = counts(visitor);
    assert!(asked > 50, "{asked} requests");
    assert_eq!(lost, 0, "of {asked} requests");

    // A host that is dead is left out within the budget, listed, and brought up by itself.
    std::fs::remove_file(site.repository.tree.join("site/breaks-7")).expect("it is there");
    site.release("three", true);
    site.hosts.die(4);
    site.pipeline(&hosts, at_once);
    let (state, reason) = end_of(&site.run().expect(1));
    assert!(state != "deployed" && reason.contains("host 127.0.1.4: it cannot be"), "{reason}");
    site.pipeline(&hosts, &format!("{at_once}, tolerate: 1"));
    let (state, reason) = end_of(&site.run().expect(0));
    assert_eq!(state, "deployed", "{reason}");
    assert!(reason.contains("given up, as tolerated: slot 3: "), "{reason}");
    assert!(reason.contains("host 127.0.1.4: "), "{reason}");
    assert_eq!((site.hosts.answer(4), site.routed()), ("release one\n".to_owned(), 9));
    site.hosts.revive(4);
    let one = ["deploy", "demo", "--only", "127.0.1.4", "--format", "json"];
    let one = site.ask(&one).expect(0).json();
    assert_eq!(one["state"], "succeeded", "{one:#}");
    site.assert_serve("three");
    assert_eq!(site.routed(), 10);
    let north = ["restart", "demo", "--only", "group=east", "--format", "json"];
    let refused = site.ask(&north).expect(2);
    assert!(refused.stderr.contains("there are: north, preprod, south"), "{}", refused.stderr);

    // The way back in haste.
    let began = Instant::now();
    let back = ["rollback", "demo", "--emergency", "--reason", "test", "--format", "json"];
    let back = site.ask(&back).expect(0).json();
    eprintln!("ten hosts went back in haste in {:.1} s", began.elapsed().as_secs_f64());
    assert_eq!(back["state"], "succeeded", "{back:#}");
    site.assert_serve("one");
    assert_eq!(site.routed(), 10);
}

#[test]
fn the_guide_to_hosts_can_be_followed() {
    let lab = Lab::new();
    let proxy = Proxy::start(&lab);
    let hosts = Hosts::open(&lab, 3);
    let tree = Repository::create(&lab.folder("git")).tree;
    // Nobody is known yet.
    let known = lab.path().join("known").display().to_string();
    let web = hosts.web.to_string();
    let mut called = Vec::new();
    for number in 0..3 {
        called.push((format!("deploy@web-{number}"), hosts.address(number + 1)));
        called.push((
            format!("http://web-{number}:80"),
            format!("http://127.0.1.{}:{web}", number + 1),
        ));
        called.push((format!("web-{number}"), format!("127.0.1.{}", number + 1)));
    }
    for (key, value) in [
        ("port: 80", format!("port: {web}")),
        ("/srv/orders", hosts.path.display().to_string()),
        ("/etc/shipline/id_ed25519", hosts.key("client")),
        ("/etc/shipline/known_hosts", known),
        ("/run/shipline/proxy.sock", proxy.control.display().to_string()),
    ] {
        called.push((key.to_owned(), value));
    }
    let called: Vec<_> = called.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
    let guide = repository_root().join("docs/hosts.md");
    let commands = follow_where(&lab, &tree, &guide, &[], &called);
    assert!(commands >= 10, "only {commands} commands were found");
}
