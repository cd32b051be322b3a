//! Deployments that wait for a person, whatever dies meanwhile.

use std::time::Duration;

use crate::harness::git::Repository;
use crate::harness::lab::Lab;
use crate::harness::process::{Process, signal, wait_for};
use crate::harness::pty::Pty;
use crate::harness::server::{Proxy, Server, ServerParts};
use crate::harness::shop::{DEPLOY, DOCKERFILE, Shop};

/// What is held is held by the record: its process may die.
#[test]
fn what_is_held_waits_for_a_person_also_when_its_process_is_dead() {
    let shop = Shop::open();
    let text = std::fs::read_to_string(shop.folder.join(".shipline.yml")).expect("it is there");
    let holding = text.replace("batch: 2", "batch: 1, on-failure: hold");
    shop.repository.write(".shipline.yml", &holding);
    shop.release("v1");
    let before = shop.serving();
    let nothing = shop.shipline(&["decide", "demo", "continue"]).expect(2);
    assert!(nothing.stderr.contains("waits for a decision"), "{}", nothing.stderr);
    std::fs::remove_file(shop.folder.join("www/health")).expect("it is there");
    shop.commit("v2", false);

    let begin = |log: &str| {
        let mut command = shop.lab.shipline();
        command.current_dir(&shop.folder).args(["run", "--allow-side-effects"]);
        let mut process = Process::start(&mut command, &shop.lab.path().join(log));
        let id = wait_for("a decision to be asked for", Duration::from_secs(60), || {
            process.assert_alive();
            let history = shop.json(&["history", "demo", "--limit", "1"]);
            let is_held = !history[0]["held_until"].is_null();
            is_held.then(|| history[0]["short"].as_str().expect("an id").to_owned())
        });
        (process, id)
    };
    let (mut process, id) = begin("first.log");
    let status = shop.shipline(&["status", "demo"]).expect(0).stdout;
    assert!(status.contains(&format!("held: deploy {id} goes back at")), "{status}");
    assert_eq!((shop.answer().as_str(), shop.serving()), ("v1", before.clone()));
    // Who fails can be looked at.
    let unit = shop.json(&["status", "demo"])["units"].clone();
    let sick = unit.as_array().expect("units").iter().find(|unit| unit["admitted"] == false);
    let sick = sick.expect("it is kept")["unit"].as_str().expect("a name").to_owned();
    let seen = shop.shipline(&["exec", "demo", &sick, "--", "ls", "/www"]).expect(0).stdout;
    assert!(seen.contains("sick"), "{seen}");
    let decided =
        shop.shipline(&["decide", "demo", "rollback", "--reason", "it is sick"]).expect(0);
    assert!(decided.stdout.contains(&format!("deployment {id} ")), "{}", decided.stdout);
    assert_eq!(process.wait(Duration::from_secs(60)), Some(1), "{}", process.text());
    assert!(process.text().contains("somebody chose to go back"), "{}", process.text());
    assert_eq!((shop.answer().as_str(), shop.serving()), ("v1", before.clone()));

    // Killed while it is held: nobody else changes the environment, and whoever decides
    // carries it on.
    let (mut process, id) = begin("second.log");
    signal(process.pid(), "KILL");
    process.wait(Duration::from_secs(10));
    let refused = shop.shipline(&["restart", "demo", "--lock-wait", "60s"]).expect(2);
    assert!(
        refused.stdout.contains(&format!("deployment {id} waits for a decision until")),
        "{}",
        refused.stdout
    );
    assert!(refused.stderr.contains("`shipline decide demo continue`"), "{}", refused.stderr);
    let ended = shop.shipline(&["decide", "demo", "rollback"]).expect(0).stdout;
    assert!(ended.contains(&format!("deployment {id} ended rolled-back")), "{ended}");
    assert_eq!((shop.answer().as_str(), shop.serving()), ("v1", before));
    shop.shipline(&["status", "demo", "--check"]).expect(0);
    assert_eq!(shop.shipline(&["decide", "demo", "continue"]).code, 2, "it is over");
    shop.shipline(&["restart", "demo"]).expect(0);

    // Whoever sits before it is asked there.
    let mut command = shop.lab.shipline();
    command.current_dir(&shop.folder).args(["run", "--allow-side-effects"]);
    let mut terminal = Pty::start(&command, 120, 40);
    terminal.wait_for("the question", |screen| screen.contains("continue or rollback"));
    terminal.write("perhaps\r");
    terminal.wait_for("the question again", |screen| {
        screen.matches("continue or rollback").count() >= 2
    });
    terminal.write("r\r");
    assert_eq!(terminal.wait(), 1, "{}", terminal.everything());
    let seen = terminal.everything();
    assert!(seen.contains("somebody chose to go back"), "{seen}");
    assert_eq!(shop.answer(), "v1");
    shop.shipline(&["status", "demo", "--check"]).expect(0);
}

/// A server does everything else meanwhile, and takes up the wait when it starts again.
#[test]
fn a_server_that_was_killed_waits_on_for_a_decision() {
    let lab = Lab::new();
    let proxy = Proxy::start(&lab);
    let parts = ServerParts {
        registry: None,
        mail: None,
        proxy: Some(&proxy),
        project: "shop",
        environment: "demo",
    };
    let mut server = Server::start(&lab, &parts);
    let repository = Repository::create(&lab.folder("git"));
    let deploy = DEPLOY.replace("batch: 2", "batch: 1, on-failure: hold");
    let pipeline =
        format!("name: shop\nstages:\n  image: {{ build: {{ file: Dockerfile }} }}\n{deploy}");
    repository.write(".shipline.yml", &pipeline);
    let bare = repository.bare.display().to_string();
    server.client(&lab, &["project", "create", "shop", "--git", &bare, "--poll", "1s"]).expect(0);
    let push = |version: &str, health: &str| {
        repository.write("Dockerfile", DOCKERFILE);
        repository.write("www/index.html", &format!("{version}\n"));
        repository.write("www/health", health);
        repository.commit_and_push(version)
    };
    let shop = |server: &Server, arguments: &[&str]| {
        server.client(&lab, &[arguments, &["--project", "shop"]].concat())
    };
    let sha = push("v1", "ok\n");
    let row = server.wait_for_run(&lab, &sha, Duration::from_secs(120));
    assert_eq!(row["result"], "passed", "{row:#}\n{}", server.log());

    repository.write("Dockerfile", &DOCKERFILE.replace("${PORT:-8080}", "8081"));
    repository.commit_and_push("v2 listens elsewhere");
    let held = |server: &Server| {
        let history = shop(server, &["history", "demo", "--format", "json"]).expect(0).json();
        let mut all = history.as_array().expect("a list").iter();
        let held = all.find(|deployment| !deployment["held_until"].is_null())?;
        Some(held["short"].as_str().expect("an id").to_owned())
    };
    let id = wait_for("a decision to be asked for", Duration::from_secs(120), || held(&server));
    server.kill();
    server.up(&lab);
    assert_eq!(held(&server), Some(id.clone()), "{}", server.log());

    let third = push("v3", "ok\n");
    wait_for("the next run to begin", Duration::from_secs(60), || {
        let runs = shop(&server, &["runs", "--format", "json"]).expect(0).json();
        let mut runs = runs.as_array().expect("a list").iter();
        runs.any(|run| run["sha"] == third.as_str() && run["state"] == "running").then_some(())
    });
    assert_eq!(held(&server), Some(id.clone()), "it holds nothing up, and waits");
    let decided = shop(&server, &["decide", "demo", "rollback"]).expect(0).stdout;
    assert!(decided.contains(&format!("deployment {id} goes back")), "{decided}");
    let ended = shop(&server, &["status", "--deployment", &id, "--wait"]).expect(4).stdout;
    assert!(ended.contains("; caught before admit"), "{ended}");
    // What waited for the lock goes on.
    let row = server.wait_for_run(&lab, &third, Duration::from_secs(120));
    assert_eq!(row["result"], "passed", "{row:#}\n{}", server.log());
}
