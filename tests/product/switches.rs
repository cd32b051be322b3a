//! Hosts behind a balancer that was there before: HAProxy of this machine.

use crate::harness::git::Repository;
use crate::harness::guide::follow_where;
use crate::harness::haproxy::Haproxy;
use crate::harness::hosts::{Hosts, Visitor};
use crate::harness::lab::{Lab, repository_root};
use crate::harness::site::Site;

/// Gives every host something to serve before its first release.
fn before(hosts: &Hosts, count: usize) {
    for number in 1..=count {
        let root = hosts.root(number);
        std::fs::create_dir_all(root.join("old")).expect("a folder can be made");
        for (name, text) in [("index.html", "by hand\n"), ("health.txt", "well\n")] {
            std::fs::write(root.join("old").join(name), text).expect("a file can be written");
        }
        std::os::unix::fs::symlink("old", root.join("current")).expect("a link can be made");
    }
}

#[test]
fn ten_hosts_behind_one_haproxy_are_rolled_and_go_back_without_losing_a_request() {
    let mut site = Site::open(10);
    before(&site.hosts, 10);
    let haproxy = Haproxy::start(&site.lab, &site.hosts, 10);
    haproxy.serves();
    site.behind(haproxy.entrance(), haproxy.address);
    site.pipeline(&site.plain(), "batches: [1, 30%, 100%], max-unavailable: 2");
    site.release("one", true);
    site.repository.commit("first");

    let visitor = Visitor::of(haproxy.address);
    let first = site.run().expect(0);
    let drained = first.stdout.matches("current, after it was drained").count();
    assert!(drained >= 10, "{drained}: {}", first.stdout);
    site.assert_serve("one");
    site.release("two", true);
    let second = site.run().expect(0);
    assert!(second.stdout.contains("cut 0 in"), "{}", second.stdout);
    site.assert_serve("two");

    // On host 7 alone the release is not well: those before it go back.
    site.release("three", true);
    site.repository.write("site/breaks-7", "");
    site.run().expect(1);
    site.assert_serve("two");
    assert_eq!(site.routed(), 10);

    let back = site.ask(&["rollback", "demo", "--format", "json"]).expect(0).json();
    assert_eq!(back["state"], "succeeded", "{back:#}");
    site.assert_serve("one");
    let report = visitor.go_home();
    assert!(report.sent > 200, "{} requests", report.sent);
    assert_eq!(report.failed, 0, "of {} requests", report.sent);

    let status = site.ask(&["status", "demo"]).expect(0);
    assert!(
        status.stdout.contains("behind haproxy: waits for the last request"),
        "{}",
        status.stdout
    );
    let status = site.ask(&["status", "demo", "--format", "json"]).expect(0).json();
    assert_eq!(status["switch"]["counts"], true, "{status:#}");

    let haste = ["rollback", "demo", "--emergency", "--reason", "test", "--format", "json"];
    let haste = site.ask(&haste).expect(0).json();
    assert_eq!(haste["state"], "succeeded", "{haste:#}");
    assert_eq!(site.routed(), 10);
}

#[test]
fn the_guide_to_switches_can_be_followed() {
    let lab = Lab::new();
    let hosts = Hosts::open(&lab, 2);
    before(&hosts, 2);
    let haproxy = Haproxy::start(&lab, &hosts, 2);
    haproxy.serves();
    let tree = Repository::create(&lab.folder("git")).tree;
    let web = hosts.web.to_string();
    let mut called = Vec::new();
    for number in 1..=2 {
        called.push((format!("deploy@web-{number}"), hosts.address(number)));
        let at = format!("http://127.0.1.{number}:{web}");
        called.push((format!("http://web-{number}:80"), at));
    }
    for (key, value) in [
        ("port: 80", format!("port: {web}")),
        ("/srv/orders", hosts.path.display().to_string()),
        ("/etc/shipline/id_ed25519", hosts.key("client")),
        ("/etc/shipline/known_hosts", hosts.key("known")),
        ("/run/haproxy/admin.sock", haproxy.socket.display().to_string()),
        ("/etc/haproxy/haproxy.cfg", haproxy.config.display().to_string()),
    ] {
        called.push((key.to_owned(), value));
    }
    let called: Vec<_> = called.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
    let guide = repository_root().join("docs/switches.md");
    let commands = follow_where(&lab, &tree, &guide, &[], &called);
    assert!(commands >= 5, "only {commands} commands were found");
}
