//! Those who have no state in common and deploy the same environment: they meet at its
//! target, one after the other.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::git::Repository;
use crate::harness::lab::{Lab, Ran};
use crate::harness::process::{Process, wait_for};
use crate::harness::server::{Proxy, Server, ServerParts};
use crate::harness::shop::DOCKERFILE;
use crate::harness::site::Site;

/// Long enough for a machine that has much to do.
const LONG: Duration = Duration::from_secs(120);

/// It is watched for long enough to be met in the middle of its work.
const DEPLOY: &str = "  deploy:\n    timeout: 5m\n    deploy:\n      environment: demo\n      image: image\n      \
     expose: { port: 8080 }\n      health: { http: /health, port: 8080, interval: 100ms, successes: 1, deadline: 20s }\n      \
     strategy: { drain: 1s, bake: 4s }\n";

fn pipeline(environments: &str) -> String {
    format!(
        "name: shop\n{environments}stages:\n  image: {{ build: {{ file: Dockerfile }} }}\n{DEPLOY}"
    )
}

fn repository(folder: &Path, pipeline: &str) -> Repository {
    let repository = Repository::create(folder);
    repository.write(".shipline.yml", pipeline);
    repository.write("Dockerfile", DOCKERFILE);
    repository.write("www/index.html", "hello\n");
    repository.write("www/health", "ok\n");
    repository
}

/// What the proxy says at a path of its control socket.
fn asked(proxy: &Proxy, path: &str) -> Value {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--max-time", "5", "--unix-socket"]).arg(&proxy.control);
    Ran::of(curl.arg(format!("http://proxy{path}"))).expect(0).json()
}

fn fence(proxy: &Proxy) -> u64 {
    let routes = asked(proxy, "/v1/routes");
    routes["routes"]["shop-demo"]["fence"].as_u64().expect("it is routed to")
}

fn wait_until_held_by(proxy: &Proxy, person: &str) {
    wait_for("the lease to be taken", LONG, || {
        let lease = &asked(proxy, "/v1/leases")["leases"]["shop/demo"];
        lease["holder"].as_str()?.starts_with(person).then_some(())
    });
}

/// Somebody at a machine of theirs.
struct Workstation<'a> {
    lab: &'a Lab,
    person: &'static str,
    folder: &'a Path,
}

impl Workstation<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.lab.shipline();
        command
            .current_dir(self.folder)
            .env("USER", self.person)
            .env("SHIPLINE_HOME", self.lab.folder(self.person))
            .args(arguments);
        command
    }

    fn shipline(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }
}

impl Drop for Workstation<'_> {
    fn drop(&mut self) {
        let mut arguments = vec!["clean", "--all", "--caches"];
        let root = self.lab.path().join("units").display().to_string();
        if Path::new(&root).exists() {
            arguments.extend(["--deployed", "--root", &root]);
        }
        let cleaned = self.shipline(&arguments);
        assert!(std::thread::panicking() || cleaned.code == 0, "{}", cleaned.stderr);
    }
}

#[test]
fn two_workstations_change_an_environment_one_after_the_other_and_hear_of_each_other() {
    let lab = Lab::new();
    let proxy = Proxy::start(&lab);
    let environments = format!(
        "environments:\n  demo: {{ tier: dev, target: {{ process: {{ root: '{}', proxy: '{}' }} }} }}\n",
        lab.folder("units").display(),
        proxy.control.display()
    );
    let repository = repository(&lab.folder("git"), &pipeline(&environments));
    repository.commit("first");
    let at = |person| Workstation { lab: &lab, person, folder: &repository.tree };
    let (ann, bob) = (at("ann"), at("bob"));
    // Neither knows the fences of the other, and the target takes both.
    ann.shipline(&["run", "--allow-side-effects"]).expect(0);
    let first = fence(&proxy);
    bob.shipline(&["run", "--allow-side-effects"]).expect(0);
    let second = fence(&proxy);
    assert!(second > first, "{second} after {first}");

    let restart = &mut ann.command(&["restart", "demo"]);
    let mut restarting = Process::start(restart, &lab.path().join("ann.log"));
    wait_until_held_by(&proxy, "ann@");
    let refused = bob.shipline(&["restart", "demo", "--lock-wait", "1s"]).expect(3).stdout;
    assert!(refused.contains("environment `demo` is held by ann@"), "{refused}");
    assert!(refused.contains(") since 20") && refused.contains(", at its target"), "{refused}");
    let waited = bob.shipline(&["restart", "demo"]).expect(0).stdout;
    assert_eq!(restarting.wait(LONG), Some(0), "{}", restarting.text());
    let third = fence(&proxy);
    assert!(third > second, "{third} after {second}");
    // A machine that has much to do may have let ann finish before bob asked.
    if let Some(line) = waited.lines().find(|line| line.contains("waiting")) {
        assert!(line.contains("waiting: environment `demo` is held by ann@"), "{line}");
    }
    assert_eq!(asked(&proxy, "/v1/leases")["leases"], serde_json::json!({}));
    // What is cleared away is one's own: bob's is behind the route now.
    ann.shipline(&["clean", "--deployed"]).expect(0);
    assert_eq!(fence(&proxy), third);
}

#[test]
fn a_server_and_a_workstation_that_share_a_proxy_take_turns() {
    let lab = Lab::new();
    let proxy = Proxy::start(&lab);
    let parts = ServerParts {
        registry: None,
        mail: None,
        proxy: Some(&proxy),
        project: "shop",
        environment: "demo",
    };
    let server = Server::start(&lab, &parts);
    let theirs = repository(&lab.folder("server-git"), &pipeline(""));
    let bare = theirs.bare.display().to_string();
    server.client(&lab, &["project", "create", "shop", "--git", &bare, "--poll", "1s"]).expect(0);
    let sha = theirs.commit_and_push("first");
    let row = server.wait_for_run(&lab, &sha, LONG);
    assert_eq!(row["result"], "passed", "{row:#}\n{}", server.log());
    let first = fence(&proxy);

    let environments = format!(
        "environments:\n  demo: {{ tier: dev, target: {{ docker: {{ host: 'unix:///var/run/docker.sock', proxy: '{}' }} }} }}\n",
        proxy.control.display()
    );
    let ours = repository(&lab.folder("git"), &pipeline(&environments));
    ours.commit("first");
    let shipline = |arguments: &[&str]| lab.run(&ours.tree, arguments);
    shipline(&["run", "--allow-side-effects"]).expect(0);
    let second = fence(&proxy);
    assert!(second > first, "{second} after {first}");

    let restart = ["restart", "demo", "--project", "shop", "--detach"];
    let begun = server.client(&lab, &restart).expect(0).stdout;
    wait_until_held_by(&proxy, "admin@");
    let refused = shipline(&["restart", "demo", "--lock-wait", "1s"]).expect(3).stdout;
    assert!(refused.contains("environment `demo` is held by admin@"), "{refused}");
    shipline(&["restart", "demo"]).expect(0);
    let follow = ["status", "--deployment", begun.trim(), "--wait", "--project", "shop"];
    server.client(&lab, &follow).expect(0);
    assert!(fence(&proxy) > second);
}

#[test]
fn two_workstations_change_hosts_one_after_the_other_and_a_dead_one_holds_nobody_up_for_long() {
    let site = Site::open(2);
    // Without a proxy and without routes the hosts alone keep two apart.
    let target = format!(
        "hosts: {{ hosts: [{}], path: '{}', identity: '{}', known-hosts: '{}' }}",
        site.plain().join(", "),
        site.hosts.path.display(),
        site.hosts.key("client"),
        site.hosts.key("known"),
    );
    let stage = site.stage("demo", 2, "batch: 1, bake: 4s");
    let stage: String = stage
        .lines()
        .filter(|line| !line.contains("expose:"))
        .map(|line| format!("{line}\n"))
        .collect();
    site.repository.write(
        ".shipline.yml",
        &format!(
            "name: site\nenvironments:\n  demo: {{ tier: dev, target: {{ {target} }} }}\n{stage}"
        ),
    );
    site.release("of nobody", true);
    site.repository.commit("first");
    let at = |person| Workstation { lab: &site.lab, person, folder: &site.repository.tree };
    let (ann, bob) = (at("ann"), at("bob"));
    let run = ["run", "--allow-side-effects"];
    let holder = |number: usize| {
        let lease = std::fs::read_to_string(site.hosts.root(number).join(".shipline/lease"));
        lease.ok()?.lines().last().map(str::to_owned)
    };
    let held_by_ann = || {
        let held = (1..=2).all(|number| holder(number).is_some_and(|it| it.contains(" ann@")));
        held.then_some(())
    };
    site.release("of bob", true);
    bob.shipline(&run).expect(0);
    site.release("of ann", true);
    let mut running = Process::start(&mut ann.command(&run), &site.lab.path().join("ann.log"));
    wait_for("the lease on both hosts", LONG, held_by_ann);
    let refused = bob.shipline(&["restart", "demo", "--lock-wait", "1s"]).expect(3).stdout;
    assert!(refused.contains("environment `demo` is held by ann@"), "{refused}");
    assert!(refused.contains(") since 20") && refused.contains(", at its target"), "{refused}");
    assert_eq!(running.wait(LONG), Some(0), "{}", running.text());
    assert_eq!((holder(1), holder(2)), (None, None));
    for number in 1..=2 {
        assert_eq!(site.hosts.answer(number), "release of ann\n");
    }

    // One that dies in the middle of its work keeps others waiting until its lease ends.
    site.release("of ann again", true);
    let mut dying = Process::start(&mut ann.command(&run), &site.lab.path().join("dying.log"));
    wait_for("the lease on both hosts", LONG, held_by_ann);
    let began = || site.hosts.answer(1) == "release of ann again\n";
    wait_for("the first host", LONG, || began().then_some(()));
    dying.kill();
    let killed = Instant::now();
    site.release("of bob again", true);
    let waited = bob.shipline(&run).expect(0).stdout;
    assert!(waited.contains("waiting: environment `demo` is held by ann@"), "{waited}");
    assert!(killed.elapsed() > Duration::from_secs(20), "{:?}", killed.elapsed());
    for number in 1..=2 {
        assert_eq!(site.hosts.answer(number), "release of bob again\n");
    }
    assert_eq!((holder(1), holder(2)), (None, None));
}
