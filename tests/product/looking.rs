//! Looking at what a stage did, after its run: its files, what it changed, a shell there.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use crate::harness::lab::{Lab, Ran};
use crate::local_run::repository;

const PIPELINE: &str = "image: busybox:1
stages:
  compile:
    run: |
      echo x >built; mv src lib; rm README; chmod +x keep; touch same; mkdir -p a/b
      echo ' with spaces ' >'a/b/a name'
  flaky:
    env: { WHO: me }
    run: [mkdir -p deep/er, cd deep/er, 'echo $SHIPLINE_ATTEMPT >n', 'exit $SHIPLINE_ATTEMPT']
    workdir: lib
    user: \"1000:1000\"
    retry: { max: 1, on: [{ exit: [1] }] }
  image: { build: { file: Dockerfile } }
";

/// A failed run with layers worth looking at.
fn lab() -> (Lab, std::path::PathBuf) {
    failed_run(Lab::new())
}

fn failed_run(lab: Lab) -> (Lab, std::path::PathBuf) {
    let folder = repository(&lab, PIPELINE);
    let write = |path: &str, text: &str| {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    for (path, text) in [("src/one", "1\n"), ("src/two", "2\n"), ("keep", "k\n"), ("same", "s\n")] {
        write(path, text);
    }
    lab.run(&folder, &["run"]).expect(1);
    (lab, folder)
}

/// Runs a shell that reads `input`.
fn shell(lab: &Lab, folder: &Path, arguments: &[&str], input: &str) -> Ran {
    let mut command = lab.shipline();
    command.current_dir(folder).arg("shell").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("started");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("written");
    child.wait_with_output().expect("ended").into()
}

#[test]
fn diff_tells_what_a_stage_changed_and_how_two_attempts_differ() {
    let (lab, folder) = lab();
    diffs(&lab, &folder);
}

#[test]
fn copied_workspaces_are_looked_at_like_overlays() {
    let (lab, folder) = failed_run(Lab::copying());
    let said = shell(&lab, &folder, &["compile"], "cat built 'a/b/a name' lib/one\n");
    assert!(said.stdout.contains("x\n with spaces \n1\n"), "{} {}", said.stdout, said.stderr);
    diffs(&lab, &folder);

    let (lab, folder) = failed_run(Lab::copying());
    let again = lab.run(&folder, &["rerun", "--plain"]).expect(1).stdout;
    assert!(again.contains("compile  = unchanged"), "{again}");
}

fn diffs(lab: &Lab, folder: &Path) {
    let diff =
        |arguments: &[&str]| lab.run(folder, &[&["diff"][..], arguments].concat()).expect(0).stdout;
    assert_eq!(
        diff(&["compile"]),
        "D README  6 B\nA a/\nA a/b/\nA a/b/a name  14 B\nA built  2 B\nM keep  2 B\nA lib/\n\
         A lib/one  2 B\nA lib/two  2 B\nD src/\nD src/one  2 B\nD src/two  2 B\n\
         7 added, 1 modified, 4 deleted\n"
    );
    assert!(diff(&["flaky", "1", "2"]).starts_with("M lib/deep/er/n  2 B\n0 added, 1 modified"));
    let run = lab.run(folder, &["runs", "--format", "json"]).json()[0]["short"].clone();
    let run = run.as_str().expect("an id").to_owned();
    assert_eq!(diff(&[&run, "flaky", "2", "2"]), "nothing differs\n");
    let json = lab.run(folder, &["diff", &run, "flaky", "--format", "json"]).expect(0).json();
    let paths: Vec<&str> =
        json.as_array().expect("a list").iter().filter_map(|one| one["path"].as_str()).collect();
    assert_eq!(paths, ["lib/deep", "lib/deep/er", "lib/deep/er/n"]);

    for (arguments, says) in [
        (&["nosuch"][..], "its stages are checkout, compile, flaky, image"),
        (&["image"], "stage `image` did not run, so it changed nothing"),
        (&["flaky", "1", "3"], "stage `flaky` has 2 attempts, and no attempt 3"),
        (&["flaky", "one", "2"], "`one` is no number of an attempt"),
        (&["00000000", "flaky"], "no run `00000000` is known"),
    ] {
        let told = lab.run(folder, &[&["diff"][..], arguments].concat()).expect(2).stderr;
        assert!(told.contains(says), "{told}");
    }
    assert_eq!(lab.run(folder, &["clean"]).code, 0);
    let gone = lab.run(folder, &["diff", "compile"]).expect(2).stderr;
    assert!(gone.contains("what `compile` left in run"), "{gone}");
}

#[test]
fn a_shell_stands_where_the_stage_stood_and_changes_nothing() {
    let (lab, folder) = lab();
    let looked = shell(
        &lab,
        &folder,
        &["flaky"],
        "pwd; id -u; echo $WHO $SHIPLINE_STAGE; cat deep/er/n; echo more >>deep/er/n; echo bad >&2; exit 4\n",
    );
    assert_eq!(looked.code, 4, "{looked:?}");
    assert_eq!(looked.stdout, "/workspace/lib\n1000\nme flaky\n2\n");
    assert_eq!(looked.stderr, "bad\n");
    let again = shell(&lab, &folder, &["flaky", "--", "cat", "deep/er/n"], "");
    assert_eq!((again.code, again.stdout.as_str()), (0, "2\n"), "what was changed is gone");

    let missing = shell(&lab, &folder, &["flaky", "--", "nosuch"], "");
    assert_eq!(missing.code, 2);
    assert!(missing.stderr.contains("`nosuch` is not in image `busybox:1`"), "{}", missing.stderr);
    let none = shell(&lab, &folder, &["image"], "");
    assert!(none.stderr.contains("stage `image` has no container to look into"), "{none:?}");
    let instance = crate::harness::lab::docker(&[
        "ps",
        "--all",
        "--filter",
        "name=-shell",
        "--format",
        "{{.Names}}",
    ]);
    assert_eq!(instance, "", "nothing of them is left");
}
