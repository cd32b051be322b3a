//! Deployments whose suites run in containers: what they let through, what they take back,
//! and what is left when the engine dies meanwhile.

use std::time::Duration;

use event::DeploymentState;
use serde_json::Value;

use crate::deploy_lab::place::{ENVIRONMENT, Kind, Place, Shape};
use crate::harness::git::Repository;
use crate::harness::lab::{Lab, Ran, docker, objects};
use crate::harness::process::wait_for;
use crate::harness::server::{Proxy, Server, ServerParts};

/// The answer of the unit, and of whoever the switch chooses, must not be bad.
const SMOKE: &str = "suites:\n  smoke:\n    - { http: /health, status: 200, latency: 10s }\n    \
    - { image: 'busybox:1', per: unit, run: ['wget -qO answer $SHIPLINE_UNIT_URL/', 'cat answer; echo', \
      'if grep -q bad answer; then exit 7; fi'] }\n    \
    - { image: 'busybox:1', run: 'wget -qO- $SHIPLINE_URL/ | grep -q version; test -n \"$TOKEN\"' }\n  \
    load:\n    - { http: /health }\n";

fn shape() -> Shape {
    Shape { replicas: 2, ..Shape::default() }
}

/// Writes the pipeline of a version, verified by the suite `smoke` of `suites`.
fn write(place: &Place, version: &str, suites: &str) {
    place.write(&place.folder, version, &[], &shape());
    let file = place.folder.join(".shipline.yml");
    let text = std::fs::read_to_string(&file).expect("it was written");
    let text = text.replacen("      strategy:", "      verify: [smoke]\n      strategy:", 1);
    let text = text.replacen("    timeout: 10m\n", "    timeout: 10m\n    env: { TOKEN: x }\n", 1);
    std::fs::write(file, format!("{text}{suites}")).expect("a file can be written");
}

fn run(place: &Place, version: &str) -> Ran {
    write(place, version, SMOKE);
    place.run()
}

fn verb(place: &Place, arguments: &[&str]) -> Ran {
    place.lab.run(&place.folder, arguments)
}

fn verdict(ran: &Ran) -> Value {
    let lines = ran.lines();
    let of_deploy = |line: &&Value| line["kind"] == "attempt.finished" && line["stage"] == "deploy";
    lines.iter().find(of_deploy).unwrap_or_else(|| panic!("no end in {}", ran.stdout)).clone()
}

fn left(place: &Place) -> Vec<String> {
    let objects = objects(&place.lab.instance());
    objects.into_iter().filter(|object| object.contains("check")).collect()
}

fn a_suite_decides(kind: Kind) {
    let place = Place::open(kind);
    run(&place, "1").expect(0);
    assert_eq!(place.serving(), ["1", "1"]);

    let bad = verdict(&run(&place, "bad").expect(1));
    assert_eq!((&bad["code"], &bad["outputs"]["state"]), (&"E098".into(), &"rolled-back".into()));
    let reason = bad["reason"].as_str().expect("a reason");
    assert!(reason.contains("smoke 1/2: the check in `busybox:1` ended with 7"), "{reason}");
    assert!(reason.contains("\"bad\""), "the last line is told: {reason}");
    assert_eq!(place.serving(), ["1", "1"]);
    let made = place.witness.units().iter().filter(|unit| unit.version == "bad").count();
    assert_eq!(made, 1, "the other unit was not touched");

    // The same by hand.
    write(&place, "bad", SMOKE);
    let by_hand = verb(&place, &["deploy", ENVIRONMENT]).expect(4);
    assert!(by_hand.stdout.contains("smoke 1/2: the check in `busybox:1`"), "{}", by_hand.stdout);
    assert!(by_hand.stdout.contains("  | "), "what it wrote is shown: {}", by_hand.stdout);
    write(&place, "2", SMOKE);
    let preview = verb(&place, &["deploy", ENVIRONMENT, "--dry-run"]).expect(0).stdout;
    assert!(preview.contains("verify      smoke (3 checks), after each batch\n"), "{preview}");
    let good = verb(&place, &["deploy", ENVIRONMENT, "--verify", "load"]).expect(0).stdout;
    assert!(good.contains("smoke 2/2, load 1/1"), "{good}");
    assert!(good.contains("smoke 1/1"), "{good}");
    assert_eq!(place.serving(), ["2", "2"]);

    let unknown = verb(&place, &["deploy", ENVIRONMENT, "--verify", "lod"]).expect(2);
    let said = "there is no suite `lod`; there are: load, smoke";
    assert!(unknown.stderr.contains(said), "{}", unknown.stderr);

    // A rollback is checked like what it brings back was.
    let back = place.rollback().expect(0).json();
    assert_eq!(back["state"], "succeeded", "{back:#}");
    assert_eq!(place.serving(), ["1", "1"]);
    assert_eq!(left(&place), [""; 0]);
}

#[test]
fn a_suite_in_a_container_decides_about_containers() {
    a_suite_decides(Kind::Docker);
}

#[test]
fn a_suite_in_a_container_decides_about_processes() {
    a_suite_decides(Kind::Process);
}

#[test]
fn an_image_of_a_suite_that_is_not_there_changes_nothing() {
    let place = Place::open(Kind::Process);
    run(&place, "1").expect(0);
    let suites = SMOKE.replace("busybox:1", "localhost:1/nobody/nothing:1");
    write(&place, "2", &suites);
    let units = place.witness.units().len();
    let ran = place.run();
    assert_ne!(ran.code, 0);
    let reason = verdict(&ran)["reason"].as_str().expect("a reason").to_owned();
    let said = "the image `localhost:1/nobody/nothing:1` of a check cannot be had";
    assert!(reason.contains(said), "{reason}");
    assert_eq!(place.witness.units().len(), units, "no unit was started");
    assert_eq!(place.serving(), ["1", "1"]);
}

#[test]
fn a_suite_whose_engine_is_killed_is_run_again_by_the_next() {
    let place = Place::open(Kind::Process);
    run(&place, "1").expect(0);
    let instance = place.lab.instance();
    let slow =
        "suites:\n  smoke: { image: 'busybox:1', run: [echo begun, sleep 8], timeout: 2m }\n";
    write(&place, "2", slow);
    let mut engine = place.begin(&place.folder, "run.log", &[]);
    let check = wait_for("the check", Duration::from_secs(120), || {
        left(&place).into_iter().find_map(|it| it.strip_prefix("container ").map(str::to_owned))
    });
    engine.kill();
    assert!(docker(&["ps", "--all", "--format", "{{.Names}}"]).contains(&check));

    // Whatever command comes next ends it, and goes on where it was.
    let next = verb(&place, &["deploy", ENVIRONMENT]);
    assert_eq!(next.code, 0, "{}\n{}", next.stdout, next.stderr);
    let told = place.told();
    assert!(told.iter().all(|told| told.state() == Some(DeploymentState::Succeeded)));
    assert_eq!(place.serving(), ["2", "2"]);
    assert!(!docker(&["ps", "--all", "--format", "{{.Names}}"]).contains(&check));
    assert_eq!(objects(&instance).iter().filter(|it| it.contains("check")).count(), 0);
}

const SERVED: &str = "name: shop\n\
    suites:\n  smoke: { image: 'busybox:1', run: 'wget -qO- $SHIPLINE_URL/ | grep shop' }\n  \
    prices: { image: 'busybox:1', per: unit, run: 'wget -qO- $SHIPLINE_UNIT_URL/ | grep \"prices are 1\"' }\n\
    stages:\n  image: { build: { file: Dockerfile } }\n  deploy:\n    timeout: 5m\n    deploy:\n      \
    environment: demo\n      image: image\n      replicas: 2\n      expose: { port: 8080 }\n      verify: [smoke]\n      \
    health: { http: /, port: 8080, interval: 100ms, successes: 2, deadline: 10s }\n      strategy: { drain: 2s, batch: 2 }\n";

#[test]
fn a_server_knows_the_suites_of_what_its_runs_deployed() {
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
    repository.write(".shipline.yml", SERVED);
    repository.write(
        "Dockerfile",
        "FROM busybox:1\nCOPY www /www\n\
         CMD [\"sh\", \"-c\", \"trap 'exit 0' TERM; httpd -f -p 8080 -h /www & wait\"]\n",
    );
    let bare = repository.bare.display().to_string();
    let client = |arguments: &[&str]| server.client(&lab, arguments);
    let shop = |arguments: &[&str]| client(&[arguments, &["--project", "shop"]].concat());
    client(&["project", "create", "shop", "--git", &bare, "--poll", "1s"]).expect(0);
    let mut versions = Vec::new();
    for page in ["shop: prices are 0", "shop: prices are 1"] {
        repository.write("www/index.html", &format!("{page}\n"));
        let sha = repository.commit_and_push(page);
        let row = server.wait_for_run(&lab, &sha, Duration::from_secs(180));
        assert_eq!(row["result"], "passed", "{row:#}\n{}", server.log());
        versions.push(format!("main-{}", &sha[..8]));
    }
    // Nobody's run: the configuration that stands, and what it knows besides.
    let bad = shop(&["deploy", "demo", &versions[0], "--verify", "prices"]).expect(4).stdout;
    assert!(bad.contains("prices 0/1: the check in `busybox:1` ended with 1"), "{bad}");
    let again = shop(&["deploy", "demo", &versions[0]]).expect(0).stdout;
    assert!(again.contains("smoke 1/1"), "{again}");
    shop(&["deploy", "demo", &versions[1], "--verify", "prices"]).expect(0);
    // It was asked for once.
    let preview = shop(&["deploy", "demo", &versions[0], "--dry-run"]).expect(0).stdout;
    assert!(preview.contains("verify      smoke (1 check), after each batch"), "{preview}");
    let unknown = shop(&["deploy", "demo", "--verify", "price"]);
    assert_eq!(unknown.code, 2, "{}", unknown.stderr);
    let said = "there is no suite `price`; there are: prices, smoke";
    assert!(unknown.stderr.contains(said), "{}", unknown.stderr);
}
