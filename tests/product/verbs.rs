//! What people do to an environment: deploy, scale, restart, stop, start, go back, lock,
//! look. One service, one sequence: each step begins with what the one before has left.

use std::time::Duration;

use crate::harness::git::Repository;
use crate::harness::lab::{Lab, Ran, docker};
use crate::harness::process::{Process, signal, wait_for};
use crate::harness::server::{Proxy, Server, ServerParts};
use crate::harness::shop::{DEPLOY, DOCKERFILE, Shop};

#[test]
fn what_runs_is_deployed_scaled_restarted_stopped_started_and_taken_back() {
    let shop = Shop::open();
    shop.commit("v0", true);
    let nothing = shop.shipline(&["deploy", "demo"]).expect(2);
    assert!(nothing.stderr.contains("no release of `shop` was built yet"), "{}", nothing.stderr);
    let v1 = shop.release("v1");
    let v2 = shop.release("v2");
    assert_eq!((shop.answer().as_str(), shop.serving().len()), ("v2", 2));

    // A release that was built before, first as it would be.
    let preview = shop.json(&["deploy", "demo", &v1, "--dry-run"]);
    let batches = preview["batches"].as_array().expect("batches");
    assert_eq!((&preview["version"], batches.len()), (&v1.as_str().into(), 1), "{preview:#}");
    let steps = shop.shipline(&["deploy", "demo", &v1, "--dry-run"]).expect(0).stdout;
    assert!(steps.contains("batch 1/1   create  shop-demo-0-"), "{steps}");
    assert!(steps.ends_with("nothing was changed\n"), "{steps}");
    assert_eq!(shop.answer(), "v2");
    let deployed = shop.shipline(&["deploy", "demo", &v1, "--reason", "v2 is ugly"]).expect(0);
    assert!(deployed.stdout.contains("shop_demo_main-"), "{}", deployed.stdout);
    assert!(
        deployed.stdout.contains(&format!("demo runs {v1} on 2 of 2 units; ")),
        "{}",
        deployed.stdout
    );
    assert_eq!(shop.answer(), "v1");
    let before = shop.serving();
    shop.shipline(&["deploy", "demo", "--ref", &v1]).expect(0);
    assert_eq!(shop.serving(), before, "what runs already is left alone");

    // What is scaled stays scaled, also across a deployment.
    shop.shipline(&["scale", "demo", "3"]).expect(0);
    assert_eq!(shop.serving().len(), 3);
    shop.shipline(&["deploy", "demo", &v2]).expect(0);
    assert_eq!((shop.answer().as_str(), shop.serving().len()), ("v2", 3));
    assert_eq!(shop.shipline(&["scale", "demo", "0"]).code, 2);

    let before = shop.serving();
    let restarted = shop.json(&["restart", "demo"]);
    assert_eq!((&restarted["kind"], &restarted["exit"]), (&"restart".into(), &0.into()));
    assert!(shop.serving().iter().all(|unit| !before.contains(unit)), "{before:?}");
    assert_eq!(shop.serving().len(), 3);

    // What is stopped stays stopped.
    let stopped = shop.shipline(&["stop", "demo"]).expect(0);
    assert!(stopped.stdout.contains("demo is stopped"), "{}", stopped.stdout);
    assert!(shop.serving().is_empty());
    shop.shipline(&["status", "demo", "--check"]).expect(0);
    let refused = shop.shipline(&["deploy", "demo"]).expect(1);
    assert!(refused.stdout.contains("was stopped on purpose"), "{}", refused.stdout);
    shop.shipline(&["start", "demo"]).expect(0);
    assert_eq!((shop.answer().as_str(), shop.serving().len()), ("v2", 3));

    // Where there is a way back, and where not.
    let listed = shop.json(&["rollback", "demo", "--list"]);
    let of = |version: &str| {
        let mut releases = listed.as_array().expect("releases").iter();
        releases.find(|release| release["version"] == version).expect("it is listed").clone()
    };
    assert_eq!(of(&v1)["can_roll_back"], true, "{listed:#}");
    assert_eq!(of(&v2)["because"], "it runs now", "{listed:#}");
    shop.shipline(&["rollback", "demo", "--reason", "wrong prices"]).expect(0);
    assert_eq!((shop.answer().as_str(), shop.serving().len()), ("v1", 3));

    let history = shop.json(&["history", "demo"]);
    let kinds: Vec<&str> =
        history.as_array().expect("a list").iter().filter_map(|it| it["kind"].as_str()).collect();
    assert_eq!(kinds[..5], ["rollback", "start", "deploy", "stop", "restart"], "{history:#}");
    let last = &history[0];
    assert_eq!((&last["reason"], &last["by"]), (&"wrong prices".into(), &"ada".into()));
    let id = last["short"].as_str().expect("an id");
    let again = shop.shipline(&["status", "--deployment", id, "--wait"]).expect(0);
    assert!(again.stdout.contains("demo runs"), "{}", again.stdout);
}

#[test]
fn a_lock_names_its_owner_drift_is_seen_and_a_bad_image_goes_back() {
    let shop = Shop::open();
    shop.release("v1");

    let locked = shop.shipline(&["lock", "demo", "--reason", "QA has it", "--for", "2h"]).expect(0);
    assert!(locked.stdout.contains("demo is locked by ada until"), "{}", locked.stdout);
    let refused = shop.shipline(&["restart", "demo"]).expect(3);
    assert!(
        refused.stdout.contains("`demo` is locked by ada until")
            && refused.stdout.contains("QA has it"),
        "{}",
        refused.stdout
    );
    let mut other = shop.lab.shipline();
    other.current_dir(&shop.folder).env("USER", "bob").args(["unlock", "demo"]);
    let others = Ran::of(&mut other).expect(2);
    assert!(others.stderr.contains("locked by ada: QA has it"), "{}", others.stderr);
    shop.shipline(&["unlock", "demo"]).expect(0);

    // What units write, and a look into one of them.
    let lines = shop.shipline(&["logs", "--env", "demo"]).expect(0).stdout;
    assert_eq!(lines.matches(" | serving\n").count(), 2, "{lines}");
    let one = shop.shipline(&["logs", "--env", "demo", "1", "--since", "1h"]).expect(0).stdout;
    assert_eq!(one, "serving\n");
    let read = shop.shipline(&["exec", "demo", "1", "--", "cat", "/www/index.html"]).expect(0);
    assert_eq!(read.stdout, "v1\n");
    let code = shop.shipline(&["exec", "demo", "--", "sh", "-c", "echo oh >&2; exit 7"]).expect(7);
    assert_eq!(code.stderr.lines().last(), Some("oh"), "{}", code.stderr);

    // A unit is removed by hand: it is missed, and comes back.
    let units = shop.serving();
    docker(&["rm", "--force", &units[1]]);
    let drift = shop.shipline(&["status", "demo", "--check"]).expect(1);
    assert!(drift.stdout.contains("drift: slot 1: no unit serves it"), "{}", drift.stdout);
    shop.shipline(&["restart", "demo"]).expect(0);
    shop.shipline(&["status", "demo", "--check"]).expect(0);

    // An image that nobody built here, and that is no good.
    std::fs::remove_file(shop.folder.join("www/health")).expect("it is there");
    shop.commit("v2", false);
    let path = shop.folder.display().to_string();
    let image = docker(&["build", "--quiet", &path]);
    let image = image.trim();
    let before = shop.serving();
    let bad = shop.shipline(&["deploy", "demo", "--image", image]).expect(4);
    assert!(bad.stdout.contains("✗ gate"), "{}", bad.stdout);
    assert!(bad.stdout.contains("rolling back"), "{}", bad.stdout);
    assert!(bad.stdout.contains("rolled back: demo runs main-"), "{}", bad.stdout);
    assert!(bad.stdout.ends_with("; caught before admit\n"), "{}", bad.stdout);
    assert_eq!((shop.answer().as_str(), shop.serving()), ("v1", before));
    let mutable = shop.shipline(&["deploy", "demo", "--image", "busybox:1"]).expect(2);
    assert!(mutable.stderr.contains("can change after it was deployed"), "{}", mutable.stderr);

    // Ctrl-C takes back what it finds.
    let mut command = shop.lab.shipline();
    command.current_dir(&shop.folder).args(["deploy", "demo", "--image", image]);
    let mut process = Process::start(&mut command, &shop.lab.path().join("deploy.log"));
    wait_for("the first unit", Duration::from_secs(20), || {
        process.assert_alive();
        process.text().contains("· start").then_some(())
    });
    signal(process.pid(), "INT");
    let code = process.wait(Duration::from_secs(30));
    assert!(matches!(code, Some(1 | 4)), "{code:?}: {}", process.text());
    assert!(process.text().contains("cancelled"), "{}", process.text());
    assert_eq!(shop.answer(), "v1");
    docker(&["image", "rm", "--force", image]);
}

#[test]
fn some_units_are_changed_in_haste_or_by_reservation() {
    let shop = Shop::open();
    let v1 = shop.release("v1");
    let v2 = shop.release("v2");

    // One unit first: the other is left alone, and what differs is told.
    let before = shop.serving();
    let some = shop.shipline(&["deploy", "demo", &v1, "--only", "0"]).expect(0);
    let said = format!("deploy of slot 0 only, to {v1}; demo runs {v2} on 1 of 2 units; ");
    assert!(some.stdout.contains(&said), "{}", some.stdout);
    assert_eq!(shop.serving()[1], before[1]);
    let drift = shop.shipline(&["status", "demo", "--check"]).expect(1);
    assert!(drift.stdout.contains("drift: slot 0 "), "{}", drift.stdout);
    shop.shipline(&["deploy", "demo", &v2]).expect(0);
    shop.shipline(&["status", "demo", "--check"]).expect(0);
    let before = shop.serving();
    shop.shipline(&["restart", "demo", "--only", &before[1]]).expect(0);
    let after = shop.serving();
    assert_eq!((&after[0], after[1] == before[1]), (&before[0], false));
    shop.shipline(&["stop", "demo", "--only", "1"]).expect(0);
    assert_eq!((shop.answer().as_str(), shop.serving().len()), ("v2", 1));
    let resting = shop.shipline(&["status", "demo", "--check"]).expect(0);
    assert!(resting.stdout.contains("slot 1 stopped on purpose"), "{}", resting.stdout);
    shop.shipline(&["start", "demo", "--only", "1"]).expect(0);
    assert_eq!(shop.serving(), after);
    let none = shop.shipline(&["restart", "demo", "--only", "host=web-1"]).expect(2);
    assert!(none.stderr.contains("selects by host, which units of environment `demo` do not have"));

    // In haste: nothing without a reason, and everything at once.
    let hasty = shop.shipline(&["rollback", "demo", "--emergency"]).expect(2);
    assert!(hasty.stderr.contains("--reason"), "{}", hasty.stderr);
    let steps = ["rollback", "demo", "--emergency", "--reason", "fire"];
    let back = shop.shipline(&steps).expect(0);
    assert!(back.stdout.contains("1 batch,"), "{}", back.stdout);
    assert_eq!((shop.answer().as_str(), shop.serving().len()), ("v1", 2));
    let history = shop.json(&["history", "demo"]);
    assert_eq!(history[0]["emergency"], true, "{history:#}");

    // What the units run goes back, their configuration stays.
    let path = shop.folder.join(".shipline.yml");
    let file = std::fs::read_to_string(&path).expect("it is there");
    let told =
        file.replace("      replicas: 2\n", "      replicas: 2\n      env: { MOOD: good }\n");
    std::fs::write(&path, told).expect("it can be written");
    shop.release("v3");
    shop.shipline(&["rollback", "demo", &v1, "--image-only"]).expect(0);
    assert_eq!(shop.answer(), "v1");
    let mood = shop.shipline(&["exec", "demo", "0", "--", "sh", "-c", "echo $MOOD"]).expect(0);
    assert_eq!(mood.stdout, "good\n");
    let listed = shop.shipline(&["releases", "demo"]).expect(0).stdout;
    assert!(listed.contains("COMMITS") && listed.contains(".."), "{listed}");

    // A reservation: its owner goes on, others are told whose it is.
    let mine = ["lock", "demo", "--mine", "--reason", "new prices", "--for", "2h"];
    let reserved = shop.shipline(&mine).expect(0);
    assert!(reserved.stdout.contains("demo is reserved for ada until"), "{}", reserved.stdout);
    let bob = |arguments: &[&str]| {
        let mut command = shop.lab.shipline();
        Ran::of(command.current_dir(&shop.folder).env("USER", "bob").args(arguments))
    };
    let refused = bob(&["restart", "demo"]).expect(3);
    assert!(refused.stdout.contains("locked by ada until"), "{}", refused.stdout);
    assert!(bob(&["status", "demo"]).stdout.contains("reserved for ada until"));
    shop.shipline(&["restart", "demo", "--only", "0"]).expect(0);
    shop.release("v4");
    let forced = bob(&["unlock", "demo", "--force"]).expect(0);
    assert!(forced.stderr.contains("ada had locked it and is not told"), "{}", forced.stderr);
    bob(&["restart", "demo", "--only", "0"]).expect(0);
}

/// Units that are processes: found and ended by the folder they live in.
#[test]
fn processes_are_deployed_listed_and_cleaned_away() {
    let lab = Lab::new();
    let repository = Repository::create(&lab.folder("git"));
    let root = lab.path().join("processes");
    let pipeline = format!(
        "name: shop\nenvironments:\n  demo: {{ tier: dev, target: {{ process: {{ root: '{}' }} }} }}\n\
         stages:\n  image: {{ build: {{ file: Dockerfile }} }}\n  deploy:\n    timeout: 5m\n    deploy:\n      \
         environment: demo\n      image: image\n      replicas: 2\n      command: [sleep, '1000']\n",
        root.display()
    );
    repository.write(".shipline.yml", &pipeline);
    repository.write("Dockerfile", "FROM busybox:1\n");
    repository.commit("sleep");
    let shipline = |arguments: &[&str]| {
        let mut command = lab.shipline();
        Ran::of(command.current_dir(&repository.tree).args(arguments))
    };
    shipline(&["run", "--allow-side-effects"]).expect(0);
    shipline(&["status", "demo", "--check"]).expect(0);
    shipline(&["restart", "demo", "--only", "1"]).expect(0);
    let folder = root.display().to_string();
    let elsewhere = shipline(&["clean", "--deployed", "--root", "/nonexistent"]).expect(2);
    assert!(elsewhere.stderr.contains("is no folder of a `process` target"));
    let cleaned = shipline(&["clean", "--deployed", "--root", &folder]).expect(0);
    assert!(cleaned.stdout.contains("3 deployed units"), "{}", cleaned.stdout);
    let left = std::fs::read_dir(root.join("units")).expect("the folder stays").count();
    assert_eq!(left, 0);
    let status = shipline(&["status", "demo"]).expect(0);
    assert!(status.stdout.contains("nothing runs here"), "{}", status.stdout);
}

#[test]
fn a_server_is_told_the_same_and_goes_on_without_its_client() {
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
    let repository = Repository::create(&lab.folder("git"));
    let pipeline =
        format!("name: shop\nstages:\n  image: {{ build: {{ file: Dockerfile }} }}\n{DEPLOY}");
    repository.write(".shipline.yml", &pipeline);
    let bare = repository.bare.display().to_string();
    let client = |arguments: &[&str]| server.client(&lab, arguments);
    let shop = |arguments: &[&str]| client(&[arguments, &["--project", "shop"]].concat());
    client(&["project", "create", "shop", "--git", &bare, "--poll", "1s"]).expect(0);
    for version in ["v1", "v2"] {
        repository.write("Dockerfile", DOCKERFILE);
        repository.write("www/index.html", &format!("{version}\n"));
        repository.write("www/health", "ok\n");
        let sha = repository.commit_and_push(version);
        let row = server.wait_for_run(&lab, &sha, Duration::from_secs(120));
        assert_eq!(row["result"], "passed", "{row:#}\n{}", server.log());
    }

    let begun = shop(&["scale", "demo", "3", "--detach"]).expect(0).stdout;
    let followed = shop(&["status", "--deployment", begun.trim(), "--wait"]).expect(0);
    assert!(followed.stdout.contains("on 3 of 3 units"), "{}", followed.stdout);
    let back = shop(&["rollback", "demo", "--format", "json"]).expect(0).json();
    assert_eq!((&back["state"], &back["exit"]), (&"succeeded".into(), &0.into()), "{back:#}");
    let listed = shop(&["releases", "demo"]).expect(0).stdout;
    assert!(listed.contains("yes") && listed.contains("no: it runs now"), "{listed}");
    let preview = shop(&["deploy", "demo", "--dry-run"]).expect(0).stdout;
    assert!(preview.contains("batch 1/"), "{preview}");

    let lines = shop(&["logs", "--env", "demo", "0"]).expect(0).stdout;
    // It may have waited, and been woken.
    assert!(lines.starts_with("serving\n") && !lines.contains(" | "), "{lines}");
    shop(&["lock", "demo", "--reason", "stocktaking", "--for", "1h"]).expect(0);
    let refused = shop(&["stop", "demo"]).expect(3);
    assert!(refused.stdout.contains("stocktaking"), "{}", refused.stdout);
    shop(&["unlock", "demo"]).expect(0);
    shop(&["restart", "demo"]).expect(0);
    let history = shop(&["history", "--format", "json"]).expect(0).json();
    let bad = history[0]["short"].as_str().expect("an id");
    shop(&["history", "--mark", "bad", bad, "--reason", "slow"]).expect(0);
    let marked = shop(&["status", "--deployment", bad, "--format", "json"]).expect(0).json();
    assert_eq!(marked["verdict"], "bad", "{marked:#}");
    assert_eq!(shop(&["cancel", bad]).code, 2, "it has ended");
}
