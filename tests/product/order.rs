//! Order, skip and failure on a real engine, the refusal of what cannot be run yet,
//! and `why`, which explains all of it.

use std::path::PathBuf;

use crate::harness::lab::{Lab, Ran};

fn write(lab: &Lab, text: &str) -> PathBuf {
    let folder = lab.folder("repository");
    std::fs::write(folder.join(".shipline.yml"), text).expect("a file can be written");
    folder
}

const ORDER: &str = "\
image: busybox:1
stages:
  lint: { run: exit 3, allow-failure: [3] }
  compile: { run: 'echo version=1.2 >>$SHIPLINE_OUTPUT; exit 1', outputs: { version: string } }
  publish: echo never
  report: { needs: [compile], run-on: failure, run: echo something failed }
  teardown: { run-on: always, run: echo cleaning up }
";

/// `NAME RESULT` of each stage in the order they ended, and the run's.
fn results(ran: &Ran) -> Vec<String> {
    let lines = ran.lines();
    let told = lines.iter().filter_map(|event| {
        let word = |field: &str| event[field].as_str().unwrap_or_default();
        match word("kind") {
            "stage.finished" => Some(format!("{} {}", word("stage"), word("result"))),
            "stage.skipped" => Some(format!("{} skipped", word("stage"))),
            "stage.blocked" => Some(format!("{} blocked", word("stage"))),
            "run.finished" => Some(format!("run {}", word("result"))),
            _ => None,
        }
    });
    let mut told: Vec<String> = told.collect();
    told.sort();
    told
}

#[test]
fn a_run_goes_on_as_far_as_the_language_says_and_why_tells_it() {
    let lab = Lab::new();
    let folder = write(&lab, ORDER);
    let ran = lab.run(&folder, &["run", "--format", "json"]).expect(1);
    assert_eq!(
        results(&ran),
        [
            "checkout passed",
            "compile failed",
            "lint warning",
            "publish blocked",
            "report passed",
            "run failed",
            "teardown passed",
        ]
    );
    let run = ran.lines()[0]["run"].as_str().expect("an id").to_owned();
    let short = &run[run.len() - 8..];
    let why = lab.run(&folder, &["why", "publish", "--run", short]).expect(0);
    assert_eq!(
        why.stdout,
        format!(
            "publish blocked: `compile` failed  (run {short} of repository)\n\n\
             needs, none of which may fail\n\
             \x20 compile  failed: exit 1  (order of the file)\n\n\
             first cause\n\
             \x20 publish blocked: `compile` failed\n\
             \x20 <- compile failed: exit 1  .shipline.yml:4:19\n"
        )
    );
    let json = lab.run(&folder, &["why", "lint", "--run", &run, "--format", "json"]).expect(0);
    let json = json.json();
    assert_eq!((&json["state"], &json["attempts"][0]["exit"]), (&"warning".into(), &3.into()));
}

#[test]
fn why_tells_without_a_run_what_would_happen() {
    let lab = Lab::new();
    let file = "image: busybox:1\nstages:\n  docs: { run: make, when: { branch: main } }\n";
    let folder = write(&lab, file);
    let why = lab.run(&folder, &["why", "docs", "--event", "push", "--branch", "next"]).expect(0);
    assert!(why.stdout.starts_with("docs would be skipped: branch `next` "), "{}", why.stdout);
    assert!(why.stdout.contains("  .shipline.yml:3:"), "{}", why.stdout);
    let unknown = lab.run(&folder, &["why", "dosc"]).expect(2);
    assert!(unknown.stderr.contains("its stages are checkout, docs"), "{}", unknown.stderr);
}

#[test]
fn what_cannot_be_run_yet_is_refused_before_anything_starts() {
    let lab = Lab::new();
    let folder = write(
        &lab,
        "image: busybox:1\ncheckout: { lfs: true, paths: [web/**] }\nstages:\n  test: make test\n",
    );
    lab.run(&folder, &["check"]).expect(0);
    let refused = lab.run(&folder, &["run"]).expect(2);
    for key in ["checkout.lfs", "checkout.paths"] {
        let said = format!(
            "error[E018]: stage `checkout` uses `{key}`, which this version cannot run yet\n"
        );
        assert!(refused.stderr.contains(&said), "{}", refused.stderr);
    }
    let runs = lab.run(&folder, &["runs", "--format", "json"]).expect(0).json();
    assert_eq!(runs, serde_json::json!([]));
}
