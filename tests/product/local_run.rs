//! `shipline run` and `plan` on a laptop.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::harness::git::Repository;
use crate::harness::lab::{Lab, docker, objects};
use crate::harness::process::{Process, wait_for};

/// A repository with this pipeline and one commit.
pub fn repository(lab: &Lab, pipeline: &str) -> PathBuf {
    let repository = Repository::create(&lab.folder("git"));
    repository.write(".shipline.yml", pipeline);
    repository.write("README", "hello\n");
    repository.commit("first");
    repository.tree
}

/// The events of `run --format json`, and the frames between them.
pub fn split(lines: &[Value]) -> (Vec<&Value>, Vec<&Value>) {
    lines.iter().partition(|line| line.get("seq").is_some())
}

/// The text of a stage's output, of both its streams.
pub fn output_of(lines: &[Value], stage: &str) -> String {
    split(lines)
        .1
        .into_iter()
        .filter(|frame| frame["stage"] == stage && frame["stream"] != "engine")
        .filter_map(|frame| frame["text"].as_str())
        .collect()
}

pub fn result_of(lines: &[Value], stage: &str) -> String {
    let kinds =
        [("stage.finished", ""), ("stage.skipped", "skipped"), ("stage.blocked", "blocked")];
    lines
        .iter()
        .filter(|line| line["stage"] == stage)
        .find_map(|line| {
            let (_, word) = kinds.iter().find(|(kind, _)| line["kind"] == *kind)?;
            Some(if word.is_empty() {
                line["result"].as_str()?.to_owned()
            } else {
                (*word).to_owned()
            })
        })
        .unwrap_or_else(|| panic!("stage `{stage}` has no end"))
}

#[track_caller]
pub fn assert_gapless(lines: &[Value]) {
    let (events, _) = split(lines);
    let seqs: Vec<u64> = events.iter().filter_map(|event| event["seq"].as_u64()).collect();
    let expected: Vec<u64> = (1..=events.len() as u64).collect();
    assert_eq!(seqs, expected);
    assert_eq!(events.last().expect("a run has events")["kind"], "run.finished");
}

#[test]
fn a_target_that_only_a_server_knows_is_needed_by_no_run_without_side_effects() {
    let lab = Lab::new();
    let image = format!("registry.example/app@sha256:{}", "0a".repeat(32));
    let folder = repository(
        &lab,
        &format!(
            "image: debian:12\nenvironments:\n  test: {{ tier: test, target: house }}\n\
             stages:\n  deploy: {{ deploy: {{ environment: test, image: \"{image}\" }} }}\n"
        ),
    );
    let lines = lab.run(&folder, &["run", "--format", "json"]).expect(0).lines();
    assert_eq!(result_of(&lines, "deploy"), "skipped");
    let refused = lab.run(&folder, &["run", "--allow-side-effects"]).expect(2);
    assert!(refused.stderr.contains("names a target of a server"), "{}", refused.stderr);
    let rows = lab.run(&folder, &["runs", "--format", "json"]).expect(0).json();
    assert_eq!(rows.as_array().map(Vec::len), Some(1), "what is refused is not written down");
}

#[test]
fn stages_see_what_the_stages_they_need_wrote() {
    let lab = Lab::new();
    let folder = repository(
        &lab,
        "image: debian:12\nstages:\n  write: echo made > made.txt\n  \
         read: { needs: [write], run: [cat made.txt README, rm README] }\n  \
         apart: { needs: [], run: 'test ! -e made.txt' }\n  \
         after: { needs: [read], run: 'test ! -e README && cat made.txt' }\n",
    );
    let ran = lab.run(&folder, &["run", "--format", "json"]).expect(0);
    let lines = ran.lines();
    assert_gapless(&lines);
    assert_eq!(output_of(&lines, "read"), "made\nhello\n");
    assert_eq!(output_of(&lines, "after"), "made\n");
    for stage in ["checkout", "write", "read", "apart", "after"] {
        assert_eq!(result_of(&lines, stage), "passed", "{stage}");
    }
    assert!(!folder.join("made.txt").exists(), "nothing is written back");
}

#[test]
fn a_failed_stage_blocks_what_needs_it_and_stops_nothing_else() {
    let lab = Lab::new();
    let folder = repository(
        &lab,
        "image: debian:12\nstages:\n  bad: exit 7\n  good: { needs: [], run: 'true' }\n  last: { needs: [bad], run: 'true' }\n",
    );
    let ran = lab.run(&folder, &["run", "--format", "json"]).expect(1);
    let lines = ran.lines();
    assert_gapless(&lines);
    let attempt = lines
        .iter()
        .find(|line| line["kind"] == "attempt.finished" && line["stage"] == "bad")
        .expect("the attempt has an end");
    assert_eq!((&attempt["result"], &attempt["exit"]), (&"failed".into(), &7.into()));
    assert_eq!(result_of(&lines, "good"), "passed");
    assert_eq!(result_of(&lines, "last"), "blocked");
    assert_eq!(lines.last().expect("there is a last line")["result"], "failed");
}

#[test]
fn after_a_run_nothing_of_it_is_on_the_engine() {
    let lab = Lab::new();
    let folder = repository(&lab, "image: debian:12\nstages:\n  one: 'true'\n  two: 'false'\n");
    let before = containers_volumes();
    lab.run(&folder, &["run"]).expect(1);
    let left: Vec<String> =
        containers_volumes().into_iter().filter(|name| !before.contains(name)).collect();
    // Tests of other files run beside this one: look at ours only.
    let ids = lab.run(&folder, &["runs", "--format", "json"]).expect(0).json();
    let short = ids[0]["short"].as_str().expect("a run has a short id").to_owned();
    let ours: Vec<&String> = left.iter().filter(|name| name.contains(&short)).collect();
    assert!(ours.is_empty(), "{ours:?}");
}

/// But for volumes that say they stay.
fn containers_volumes() -> Vec<String> {
    let mut names = docker(&["ps", "--all", "--format", "{{.Names}}"]);
    names.push_str(&docker(&["volume", "ls", "--format", "{{.Name}} {{.Labels}}"]));
    let names = names.lines().filter(|line| !line.contains("shipline.keep="));
    names.map(str::to_owned).collect()
}

#[test]
fn side_effects_are_withheld_unless_they_are_allowed() {
    let lab = Lab::new();
    let folder = repository(
        &lab,
        "stages:\n  image: { build: { file: Dockerfile } }\n  \
         push: { push: { image: image, registry: harbor, tags: ['registry.example.net/a/b:1'] } }\n",
    );
    std::fs::write(folder.join("Dockerfile"), "FROM busybox:1\nCOPY README /README\n")
        .expect("a file can be written");
    let ran = lab.run(&folder, &["run", "--format", "json"]).expect(0);
    let lines = ran.lines();
    assert_eq!(result_of(&lines, "image"), "passed");
    assert_eq!(result_of(&lines, "push"), "skipped");
    assert!(ran.stdout.contains("--allow-side-effects"), "{}", ran.stdout);
}

#[test]
fn plan_has_the_documented_shape_and_needs_no_engine() {
    let lab = Lab::new();
    let folder = repository(
        &lab,
        "name: orders\nimage: debian:12\nstages:\n  compile: make\n  release: { when: { branch: main }, run: make release }\n",
    );
    let mut command = lab.shipline();
    command
        .current_dir(&folder)
        .args(["plan", "--branch", "topic", "--format", "json"])
        .env("DOCKER_HOST", "unix:///nonexistent.sock");
    let plan = crate::harness::lab::Ran::of(&mut command).expect(0).json();
    assert_eq!(plan["format"], 1);
    assert_eq!(plan["pipeline"], "orders");
    assert_eq!(plan["file"], ".shipline.yml");
    assert_eq!(plan["branch"], "topic");
    assert_eq!(plan["trusted"], true);
    assert_eq!(plan["diagnostics"], serde_json::json!([]));
    let names: Vec<&str> = plan["stages"]
        .as_array()
        .expect("stages")
        .iter()
        .filter_map(|stage| stage["name"].as_str())
        .collect();
    assert_eq!(names, ["checkout", "compile", "release"]);
    let compile = &plan["stages"][1];
    assert_eq!(compile["action"], "run");
    assert_eq!(compile["image"], "debian:12");
    assert_eq!(
        compile["needs"],
        serde_json::json!([{"stage": "checkout", "by": "order", "must": null}])
    );
    assert_eq!((&compile["state"], &compile["reason"]), (&"run".into(), &"no condition".into()));
    assert_eq!(compile["origins"]["image"]["line"], 2);
    let release = &plan["stages"][2];
    assert_eq!(release["state"], "skip");
    assert!(release["reason"].as_str().is_some_and(|reason| reason.contains("topic")), "{release}");
    let again = lab.run(&folder, &["plan", "--branch", "topic", "--format", "json"]).expect(0);
    let once_more = lab.run(&folder, &["plan", "--branch", "topic", "--format", "json"]).expect(0);
    assert_eq!(again.stdout, once_more.stdout, "the same input gives the same bytes");
}

#[test]
fn logs_show_a_recorded_run() {
    let lab = Lab::new();
    let folder =
        repository(&lab, "image: debian:12\nstages:\n  say: printf 'no newline at the end'\n");
    lab.run(&folder, &["run"]).expect(0);
    let runs = lab.run(&folder, &["runs", "--format", "json"]).expect(0).json();
    let id = runs[0]["short"].as_str().expect("a run has a short id");
    let shown = lab.run(&folder, &["logs", id, "say"]).expect(0);
    assert!(shown.stdout.contains("no newline at the end"), "{}", shown.stdout);
    lab.run(&folder, &["logs", "00000000"]).expect(2);
}

#[test]
fn objects_are_found_by_label() {
    // The other tests rely on this being able to see something.
    let lab = Lab::new();
    let name = format!("shipline-decoy-{}", std::process::id());
    let label = format!("shipline.instance=decoy-{}", std::process::id());
    crate::harness::lab::docker(&["volume", "create", "--label", &label, &name]);
    let found = objects(&format!("decoy-{}", std::process::id()));
    crate::harness::lab::docker(&["volume", "rm", &name]);
    assert_eq!(found.len(), 1, "{found:?}");
    drop(lab);
}

#[test]
fn logs_follow_shows_what_later_stages_say_too() {
    let lab = Lab::new();
    let folder = repository(
        &lab,
        "image: busybox:1\nstages:\n  first: echo began; sleep 3\n  last: echo the end\n",
    );
    let mut command = lab.shipline();
    command.current_dir(&folder).arg("run");
    let mut running = Process::start(&mut command, &lab.path().join("run.log"));
    wait_for("the first stage to say something", Duration::from_secs(30), || {
        running.text().contains("| began").then_some(())
    });
    let runs = lab.run(&folder, &["runs", "--format", "json"]).expect(0).json();
    let run = runs[0]["short"].as_str().expect("a run has a short id").to_owned();
    let followed = lab.run(&folder, &["logs", "-f", &run]).expect(0).stdout;
    assert_eq!(running.wait(Duration::from_secs(30)), Some(0), "{}", running.text());
    let said = followed.split_once("== first\n").map(|(_, said)| said);
    let expected = "$ echo began; sleep 3\nbegan\n== last\n$ echo the end\nthe end\n";
    assert_eq!(said, Some(expected), "{followed}");
}

#[test]
fn man_pages_are_written_into_a_new_folder() {
    let lab = Lab::new();
    lab.run(lab.path(), &["man", "new/man1"]).expect(0);
    let page = std::fs::read_to_string(lab.path().join("new/man1/shipline-run.1"));
    assert!(page.is_ok_and(|page| page.contains("allow\\-side\\-effects")));
}
