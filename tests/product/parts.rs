//! Parts of a pipeline, on the files that a former run left.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::harness::lab::{Lab, docker};
use crate::harness::process::wait_for;
use crate::local_run::{assert_gapless, output_of, repository, result_of, split};

const PIPELINE: &str = "image: busybox:1
stages:
  compile: cat /proc/sys/kernel/random/uuid >built; cp source compiled
  test:
    needs: [compile]
    matrix: { db: [mysql, pg] }
    run: echo ${SHIPLINE_MATRIX_DB} tests $(cat compiled) of $(cat built)
  lint: { needs: [compile], run: test -e ok }
  pack: { needs: [test, lint], run: cat built compiled }
  publish: { needs: [pack], when: { branch: release }, run: echo published }
  teardown: { run-on: always, run: echo torn down }
";

fn lab() -> (Lab, std::path::PathBuf) {
    let lab = Lab::new();
    let folder = repository(&lab, PIPELINE);
    std::fs::write(folder.join("source"), "one\n").expect("written");
    (lab, folder)
}

fn run(lab: &Lab, folder: &Path, arguments: &[&str], code: i32) -> Vec<Value> {
    let all = [arguments, &["--format", "json"]].concat();
    let lines = lab.run(folder, &all).expect(code).lines();
    assert_gapless(&lines);
    lines
}

/// Each stage with how it ended, the checkout left out.
fn ends(lines: &[Value]) -> String {
    let kinds = ["stage.finished", "stage.skipped", "stage.blocked"];
    let events = split(lines).0.into_iter();
    let ends = events.filter(|event| kinds.iter().any(|kind| event["kind"] == *kind));
    let mut names: Vec<&str> = ends.filter_map(|event| event["stage"].as_str()).collect();
    names.sort_unstable();
    names.retain(|name| *name != "checkout");
    let told = names.iter().map(|name| format!("{name} {}", result_of(lines, name)));
    told.filter(|told| !told.ends_with(" skipped")).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_part_runs_alone_and_what_follows_on_the_files_of_the_last_run() {
    let (lab, folder) = lab();
    let nothing = lab.run(&folder, &["run", "--from", "pack"]).expect(2).stderr;
    assert!(nothing.contains("nothing has run in this directory yet"), "{nothing}");

    let first = run(&lab, &folder, &["run", "test", "--matrix", "db=pg"], 0);
    assert_eq!(ends(&first), "compile passed, test[db=pg] passed");
    let failed = run(&lab, &folder, &["run"], 1);
    let built = output_of(&failed, "test[db=pg]");
    assert_eq!(
        ends(&failed),
        "compile passed, lint failed, pack blocked, publish blocked, teardown passed, \
         test[db=mysql] passed, test[db=pg] passed"
    );

    // The files of the last run, although the directory has others by now.
    std::fs::write(folder.join("source"), "two\n").expect("written");
    let only = run(&lab, &folder, &["run", "--only", "test[db=pg]"], 0);
    assert_eq!(output_of(&only, "test[db=pg]"), built);
    assert_eq!(ends(&only), "compile unchanged, test[db=pg] passed");
    let again = run(&lab, &folder, &["run", "--from", "test", "--until", "test"], 0);
    assert_eq!(output_of(&again, "test[db=pg]"), built);
    let unmet = lab.run(&folder, &["run", "--from", "pack"]).expect(2).stderr;
    assert!(
        unmet.contains("stage `lint` is needed, and ended `skipped` in the last run here"),
        "{unmet}"
    );
    assert!(unmet.contains("`shipline run lint` runs it and what it needs"), "{unmet}");

    // What was not asked for is not blocked by what failed.
    let lint = run(&lab, &folder, &["run", "lint"], 1);
    assert_eq!(ends(&lint), "compile passed, lint failed");
    let slip = lab.run(&folder, &["run", "pakc"]).expect(2).stderr;
    assert!(slip.contains("no stage `pakc`") && slip.contains("did you mean `pack`?"), "{slip}");
    for arguments in [["--only", "pack", "pack"], ["--matrix", "db", "pack"]] {
        lab.run(&folder, &[&["run"][..], &arguments].concat()).expect(2);
    }
}

#[test]
fn a_rerun_goes_on_where_the_last_run_did_not_pass() {
    let (lab, folder) = lab();
    let failed = run(&lab, &folder, &["run"], 1);
    let built = output_of(&failed, "test[db=pg]");
    std::fs::write(folder.join("ok"), "").expect("written");
    std::fs::write(folder.join("source"), "two\n").expect("written");
    let same = run(&lab, &folder, &["rerun"], 1);
    assert_eq!(
        ends(&same),
        "compile unchanged, lint failed, pack blocked, publish blocked, teardown passed, \
         test[db=mysql] unchanged, test[db=pg] unchanged"
    );
    assert_eq!(result_of(&same, "checkout"), "unchanged", "its files are those of that run");

    // A rerun of a rerun stands on the first run still.
    run(&lab, &folder, &["rerun"], 1);
    let shown = lab.run(&folder, &["rerun", "--plain"]).expect(1).stdout;
    assert!(shown.contains("compile        = unchanged  0.0s  taken from run "), "{shown}");
    let volumes = docker(&["volume", "ls", "-q", "--filter", "label=shipline.kind=layer"]);
    let only = run(&lab, &folder, &["run", "--only", "test[db=pg]"], 0);
    assert_eq!(output_of(&only, "test[db=pg]"), built, "{volumes}");

    run(&lab, &folder, &["run"], 0);
    let passed = lab.run(&folder, &["rerun"]).expect(0).stdout;
    assert!(passed.contains("ended `passed`: there is nothing to run again"), "{passed}");
    lab.run(&folder, &["clean"]).expect(0);
    let gone = lab.run(&folder, &["run", "--from", "pack"]).expect(2).stderr;
    assert!(gone.contains("is not on the engine any more"), "{gone}");
}

#[test]
fn a_stage_that_is_named_is_not_skipped_and_the_run_says_so() {
    let (lab, folder) = lab();
    std::fs::write(folder.join("ok"), "").expect("written");
    let lines = run(&lab, &folder, &["run", "publish"], 0);
    assert_eq!(output_of(&lines, "publish"), "published\n");
    let plan = &lines[0]["plan"]["stages"];
    let publish = plan.as_array().into_iter().flatten().find(|stage| stage["name"] == "publish");
    assert_eq!(
        publish.expect("planned")["reason"],
        "forced although branch `main` matches no pattern of `release`"
    );
    let shown = lab.run(&folder, &["run", "publish", "--plain"]).expect(0).stdout;
    assert!(shown.contains("forced although branch `main`"), "{shown}");
}

#[test]
fn only_the_files_of_the_last_run_of_a_directory_stay() {
    let (lab, folder) = lab();
    std::fs::write(folder.join("ok"), "").expect("written");
    let kept = || {
        let kept = docker(&["volume", "ls", "-q", "--filter", "label=shipline.keep=layer"]);
        let runs = lab.run(&folder, &["runs", "--format", "json"]).json();
        let rows = runs.as_array().expect("rows").iter();
        let counts = rows.map(|row| {
            let short = row["short"].as_str().expect("short");
            kept.lines().filter(|name| name.starts_with(&format!("sl-{short}-"))).count()
        });
        counts.collect::<Vec<_>>()
    };
    run(&lab, &folder, &["run"], 0);
    let all = kept();
    // checkout, compile, two tests, lint, pack, teardown; a stage that the engine failed and
    // that was tried again would have one more.
    let why = || docker(&["volume", "ls", "-q", "--filter", "label=shipline.keep=layer"]);
    assert_eq!(all, [7], "{}", why());
    run(&lab, &folder, &["run"], 0);
    assert_eq!(kept(), [7, 0], "{}", why());
    run(&lab, &folder, &["run", "--only", "pack"], 0);
    // pack made one of its own; the five it stands on are those of the run before.
    assert_eq!(kept(), [1, 5, 0]);
    lab.run(&folder, &["clean"]).expect(0);
    assert_eq!(kept(), [0, 0, 0]);
}

#[test]
fn cleaning_up_is_of_one_directory_unless_all_are_meant() {
    let lab = Lab::new();
    let pipeline = "image: busybox:1\nstages:\n  make: echo made >made\n  last: cat made\n";
    let folder = repository(&lab, pipeline);
    let other = lab.path().join("other");
    let copied = std::process::Command::new("cp").arg("-r").arg(&folder).arg(&other).status();
    assert!(copied.expect("cp runs").success());
    for folder in [&folder, &other] {
        run(&lab, folder, &["run"], 0);
    }
    lab.run(&folder, &["clean"]).expect(0);
    run(&lab, &other, &["run", "--only", "last"], 0);
    let gone = lab.run(&folder, &["run", "--only", "last"]).expect(2);
    assert!(gone.stderr.contains("is not on the engine any more"), "{}", gone.stderr);
    lab.run(&folder, &["clean", "--all"]).expect(0);
    lab.run(&other, &["run", "--only", "last"]).expect(2);
}

#[test]
fn cleaning_up_leaves_alone_what_a_run_under_way_stands_on() {
    let lab = Lab::new();
    let pipeline =
        "image: busybox:1\nstages:\n  make: echo made >made\n  wait: 'sleep 8'\n  last: cat made\n";
    let folder = repository(&lab, pipeline);
    run(&lab, &folder, &["run"], 0);
    let mut command = lab.shipline();
    command.current_dir(&folder).args(["run", "--from", "wait", "--format", "json"]);
    let running = command.stdout(std::process::Stdio::piped()).spawn().expect("started");
    wait_for("the second run to begin", Duration::from_secs(60), || {
        let runs = lab.run(&folder, &["runs", "--format", "json"]).json();
        (runs[0]["number"] == 2 && runs[0]["state"] == "running").then_some(())
    });
    lab.run(&folder, &["clean"]).expect(0);
    let ended = running.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!(ended.status.code(), Some(0), "{said}");
    assert!(said.contains("\"text\":\"made\\n\""), "{said}");
}
