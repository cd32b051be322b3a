//! Faults around a deployment: each gives its sentence, leaves serving what served, and shows
//! unit by unit what runs.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::deploy_lab::observer::Observer;
use crate::deploy_lab::place::{Kind, Place, Shape};
use crate::deploy_lab::sampler::Rules;
use crate::faults::configure;
use crate::harness::lab::Ran;
use crate::harness::load::Mix;
use crate::harness::process::Process;
use crate::harness::registry::{ImageRegistry, PASSWORD};

fn shape() -> Shape {
    Shape { replicas: 2, ..Shape::default() }
}

fn serving() -> Place {
    let place = Place::open(Kind::Docker);
    place.deploy("1", &[], &shape()).expect(0);
    place
}

/// Under load; not one request may fail, and no invariant be broken.
fn undisturbed(place: &Place, work: impl FnOnce()) {
    let rules = Rules { replicas: 2, max_unavailable: 0, bad: 0 };
    let observer = Observer::begin(place, 50, Mix::brief(), rules);
    work();
    let outcome = observer.end();
    assert_eq!(outcome.report.failed, 0, "{:?}", outcome.report.failures);
    assert_eq!(outcome.broken, [""; 0]);
}

/// What the run says of its stage `deploy`.
fn verdict(ran: &Ran) -> Value {
    let lines = ran.lines();
    let verdict = lines
        .iter()
        .find(|line| line["kind"] == "attempt.finished" && line["stage"] == "deploy")
        .unwrap_or_else(|| panic!("the deploy has no end in {}", ran.stdout));
    verdict.clone()
}

#[track_caller]
fn assert_says(verdict: &Value, words: &[&str]) {
    let reason = verdict["reason"].as_str().unwrap_or_default();
    for word in words {
        assert!(reason.contains(word), "`{word}` is not in: {verdict:#}");
    }
}

#[test]
fn an_image_that_is_not_there_and_a_registry_that_is_down_change_nothing() {
    let place = serving();
    let images = ImageRegistry::start(&place.lab.folder("registry"));
    configure(&place.lab, &images, PASSWORD);
    let digest = "0".repeat(64);
    let image = format!("{}/team/none@sha256:{digest}", images.host());
    let shape = Shape { image: Some(image.clone()), ..shape() };
    undisturbed(&place, || {
        let missing = verdict(&place.deploy("2", &[], &shape).expect(1));
        assert_says(&missing, &[&image]);
        images.down();
        let down = verdict(&place.deploy("2", &[], &shape).expect(3));
        assert_eq!(down["result"], "infra-error", "{down:#}");
        assert_says(&down, &[&images.host()]);
        assert_eq!(place.serving(), ["1", "1"]);
    });
}

#[test]
fn a_unit_that_hangs_in_its_start_is_given_up_and_one_that_ignores_term_is_killed() {
    let place = serving();
    undisturbed(&place, || {
        let brief = Shape { deadline: Duration::from_secs(3), ..shape() };
        let hangs = verdict(&place.deploy("2", &[("START_DELAY", "60s")], &brief).expect(1));
        assert_eq!(hangs["outputs"]["state"], "rolled-back", "{hangs:#}");
        assert_says(&hangs, &["is unhealthy"]);
        assert_eq!(place.serving(), ["1", "1"]);

        place.deploy("3", &[("IGNORE_TERM", "1")], &shape()).expect(0);
        place.deploy("4", &[], &shape()).expect(0);
        assert_eq!(place.serving(), ["4", "4"]);
        let units = place.witness.units();
        let stubborn: Vec<_> = units.iter().filter(|unit| unit.version == "3").collect();
        assert_eq!(stubborn.len(), 2);
        for unit in stubborn {
            let (term, gone) = (unit.term.expect("it was told"), unit.gone.expect("it is gone"));
            assert!(gone - term > Duration::from_secs(5), "it had its time: {:?}", gone - term);
        }
    });
}

#[test]
fn a_locked_database_is_waited_for() {
    let place = serving();
    place.write(&place.folder, "2", &[], &shape());
    undisturbed(&place, || {
        let database = place.lab.home().join("state.db");
        let script = "import sqlite3, sys, time\n\
                      c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=10)\n\
                      c.execute('begin immediate'); print('locked', flush=True); time.sleep(4)\n";
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-c", script]).arg(&database);
        // Held while units are made.
        let mut run = place.begin(&place.folder, "run.log", &[]);
        std::thread::sleep(Duration::from_secs(2));
        let mut lock = Process::start(&mut python, &place.lab.path().join("lock.log"));
        let code = run.wait(Duration::from_secs(120));
        assert!(lock.text().contains("locked"), "{}", lock.text());
        lock.wait(Duration::from_secs(10));
        assert_eq!(code, Some(0), "{}", run.text());
        assert_eq!(place.serving(), ["2", "2"]);
    });
}

#[test]
fn without_the_proxy_nothing_is_changed_and_what_to_start_is_said() {
    let mut place = serving();
    let units = place.witness.units().len();
    place.proxy.kill();
    let gone = verdict(&place.deploy("2", &[], &shape()).expect(3));
    assert_says(&gone, &["proxy", &place.proxy.control.display().to_string()]);
    assert_eq!(place.witness.units().len(), units, "no unit was started");
    // It serves what it served, from its state.
    place.proxy.up(&place.lab);
    assert_eq!(place.serving(), ["1", "1"]);
    undisturbed(&place, || {
        place.deploy("2", &[], &shape()).expect(0);
        assert_eq!(place.serving(), ["2", "2"]);
    });
}
