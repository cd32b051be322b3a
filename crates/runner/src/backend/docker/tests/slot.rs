//! Networks made ahead: fresh for every stage, like the engine's own, and never in the way.

use std::process::Command;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::bench::{Bench, IMAGE};
use crate::backend::{Backend, Coming, contract};

const CHAIN: Coming = Coming { stages: 20, sure: 20, at_once: 1 };
const FAN: Coming = Coming { stages: 20, sure: 20, at_once: 2 };

/// Waits until so many networks are ready.
async fn ready(bench: &Bench, count: usize) {
    let begun = Instant::now();
    while bench.backend.slots.free(bench.run.run) < count {
        assert!(begun.elapsed() < Duration::from_secs(60), "no network is made");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Names of containers of the bench's run, of a kind.
fn containers(bench: &Bench, kind: &str) -> Vec<String> {
    let filters =
        [format!("label=shipline.run={}", bench.run.run), format!("label=shipline.kind={kind}")];
    let mut listing = Command::new("docker");
    listing.args(["ps", "--all", "--format", "{{.Names}}"]);
    for filter in &filters {
        listing.args(["--filter", filter]);
    }
    let listed = listing.output().unwrap().stdout;
    String::from_utf8(listed).unwrap().split_whitespace().map(str::to_owned).collect()
}

/// Tells all of the network that the engine gives.
const LOOK: &str = "for file in ipv4/ip_unprivileged_port_start ipv4/ping_group_range \
    ipv6/conf/all/disable_ipv6 ipv6/conf/lo/disable_ipv6 ipv6/conf/eth0/disable_ipv6; do \
    cat /proc/sys/net/$file; done; ip -o link show lo | sed 's/qdisc.*//'; ip route | sed 's/src.*//'; \
    ip -o addr | sed -e 's/[0-9]*:/:/' -e 's,\\(inet [0-9]*\\.[0-9]*\\)\\.[0-9.]*,\\1,'; cat /etc/resolv.conf; \
    sed \"s/.*$(hostname)/ME/\" /etc/hosts; stat -c '%a %u %g' /etc/hosts /etc/resolv.conf /etc/hostname";

#[tokio::test]
async fn every_stage_is_in_a_network_that_nobody_was_in_before() {
    let bench = Bench::expecting(CHAIN, &[]).await;
    ready(&bench, 1).await;
    let leave = [
        "readlink /proc/self/ns/net",
        "hostname",
        "nc -l -p 7777 -e true & sleep 0.2; netstat -ltn | grep -c :7777",
        "echo 10.9.9.9 evil >>/etc/hosts; echo nameserver 10.9.9.9 >/etc/resolv.conf",
        "chmod 666 /etc/hosts; chown 7:8 /etc/resolv.conf; rm -f /etc/hostname || echo mounted",
    ];
    let first = bench.stage(1, &[0], &leave).await;
    assert_eq!(first.exit.code, 0, "{}", first.all());
    let first = first.stdout();
    let first: Vec<&str> = first.lines().collect();
    assert_eq!(first[2..], ["1", "mounted"], "the stage listens and wrote");
    ready(&bench, 1).await;
    let look = [
        "readlink /proc/self/ns/net",
        "hostname",
        "netstat -ltn | grep -c :7777 || true",
        "grep -c evil /etc/hosts /etc/resolv.conf || true",
        "stat -c '%a %u' /etc/hosts /etc/resolv.conf",
    ];
    let second = bench.stage(2, &[1, 0], &look).await.stdout();
    let second: Vec<&str> = second.lines().collect();
    assert!(first[0].starts_with("net:["), "{first:?}");
    assert_ne!(first[0], second[0], "the namespace is a fresh one");
    assert_eq!(first[1], second[1], "the sandbox is the same");
    let clean = ["0", "/etc/hosts:0", "/etc/resolv.conf:0", "644 0", "644 0"];
    assert_eq!(second[2..], clean);
    assert_eq!(containers(&bench, "sandbox").len(), 1);
}

#[tokio::test]
async fn a_network_made_ahead_is_like_the_one_of_the_engine() {
    let bench = Bench::expecting(CHAIN, &[]).await;
    let own = Bench::stage(&bench, 1, &[0], &["true"]).await;
    assert_eq!(own.exit.code, 0);
    ready(&bench, 1).await;
    // A server of the machine, reached through the gateway.
    let server = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let answering = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = server.accept().unwrap();
            std::io::Write::write_all(&mut stream, b"reached\n").unwrap();
        }
    });
    let reach =
        format!("nc $(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p') {port} </dev/null");
    let listen = "echo local | nc -l -p 81 & sleep 0.2; nc localhost 81 </dev/null";
    let commands = [LOOK, reach.as_str(), listen];
    let ahead = bench.stage(2, &[0], &commands).await;
    let sandboxes = containers(&bench, "sandbox");
    bench.backend.slots.close(bench.run.run);
    let direct = bench.stage(3, &[0], &commands).await;
    assert_eq!(ahead.exit.code, 0, "{}", ahead.all());
    assert_eq!(ahead.stdout(), direct.stdout());
    assert!(ahead.stdout().ends_with("reached\nlocal\n"), "{}", ahead.stdout());
    assert_eq!(sandboxes.len(), 1);
    answering.join().unwrap();
}

#[tokio::test]
async fn stages_beside_each_other_are_in_networks_of_their_own() {
    let bench = Bench::expecting(FAN, &[]).await;
    // The first one that begins has the second network made.
    ready(&bench, 1).await;
    assert_eq!(bench.stage(1, &[0], &["true"]).await.exit.code, 0);
    ready(&bench, 2).await;
    // Each listens on a port of its own and looks for that of the other.
    let commands = |own: u32, other: u32| {
        format!(
            "nc -l -p {own} </dev/null & sleep 1; readlink /proc/self/ns/net; \
             nc -w 1 localhost {other} </dev/null && echo heard; true"
        )
    };
    let (first, second) = (commands(7001, 7002), commands(7002, 7001));
    let (first, second) = tokio::join!(
        async { bench.run_attempt(&bench.attempt(2, &[&first])).await.unwrap().stdout() },
        async { bench.run_attempt(&bench.attempt(3, &[&second])).await.unwrap().stdout() },
    );
    assert_eq!(containers(&bench, "sandbox").len(), 2);
    assert!(first.starts_with("net:[") && !first.contains("heard"), "{first}");
    assert!(second.starts_with("net:[") && !second.contains("heard"), "{second}");
    assert_ne!(first, second);
}

#[tokio::test]
async fn without_its_sandbox_a_stage_has_a_network_all_the_same() {
    let bench = Bench::expecting(CHAIN, &[]).await;
    ready(&bench, 1).await;
    for sandbox in containers(&bench, "sandbox") {
        let removed = Command::new("docker").args(["rm", "--force", &sandbox]).output().unwrap();
        assert!(removed.status.success());
    }
    let ran = bench.stage(1, &[0], &["ip -o addr show eth0 | wc -l"]).await;
    assert_eq!((ran.exit.code, ran.stdout().as_str()), (0, "1\n"));
}

#[tokio::test]
async fn a_stage_that_finds_itself_in_another_network_is_not_told_its_commands_there() {
    let bench = Bench::expecting(CHAIN, &[]).await;
    ready(&bench, 1).await;
    bench.backend.slots.confuse(bench.run.run);
    let attempt = bench.attempt(1, &["hostname"]);
    let ran = bench.run_attempt(&attempt).await.unwrap();
    // What is sealed is removed behind; this one is not.
    let inspect = ["inspect", "--format", "{{.HostConfig.NetworkMode}} {{.Config.Hostname}}"];
    let inspected = Command::new("docker").args(inspect).arg(&attempt.name).output().unwrap();
    let inspected = String::from_utf8(inspected.stdout).unwrap();
    assert_eq!(inspected.trim(), format!("default {}", ran.stdout().trim()));
    assert_eq!(bench.backend.slots.free(bench.run.run), 0, "nobody else comes there");
}

#[tokio::test]
async fn the_contract_is_kept_on_networks_made_ahead_and_nothing_is_left() {
    let bench = Bench::expecting(FAN, &[("a", "1")]).await;
    ready(&bench, 1).await;
    contract::output_and_exit_are_the_commands(&bench.backend, &bench.run, IMAGE).await;
    contract::a_listening_attempt_ends_at_once(&bench.backend, &bench.run, IMAGE).await;
    contract::a_stubborn_attempt_is_killed(&bench.backend, &bench.run, IMAGE).await;
    contract::services_run_beside_their_stage(&bench.backend, &bench.run, IMAGE).await;
    // One that is on its network when all is removed.
    let attempt = bench.attempt(30, &["sleep 600"]);
    let _handle =
        bench.backend.start(&bench.run, &attempt, &CancellationToken::new()).await.unwrap();
    assert!(!containers(&bench, "sandbox").is_empty());
    bench.backend.clean(&bench.run).await.unwrap();
    assert_eq!(bench.objects().await, [""; 0]);
}

#[tokio::test]
async fn a_run_of_few_stages_makes_no_network() {
    let few = Coming { stages: 2, sure: 2, at_once: 2 };
    let bench = Bench::expecting(few, &[]).await;
    assert_eq!(bench.stage(1, &[0], &["true"]).await.exit.code, 0);
    assert_eq!(containers(&bench, "sandbox"), [""; 0]);
}
