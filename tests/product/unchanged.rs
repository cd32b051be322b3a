//! Stages with `inputs`: a former pass stands for them until something changes.

use std::path::Path;

use serde_json::Value;

use crate::harness::lab::Lab;
use crate::local_run::{assert_gapless, output_of, repository, result_of};

const PIPELINE: &str = "image: busybox:1
stages:
  compile:
    inputs: [\"src/**\"]
    env: { MODE: WORD }
    run:
      - cat /proc/sys/kernel/random/uuid >built
      - echo \"id=$(cat built)\" >>\"$SHIPLINE_OUTPUT\"
    outputs: [id]
    artifacts: [built]
  test:
    inputs: [built]
    env: { ID: \"${{ stages.compile.outputs.id }}\" }
    run: [echo tested $ID, mkdir -p r, \"echo \\\"<testsuite name='T'><testcase name='ok'/></testsuite>\\\" >r/t.xml\"]
    reports: { junit: r/*.xml }
  image: { inputs: [Dockerfile], build: { file: Dockerfile } }
  look: cat built
";

fn run(lab: &Lab, folder: &Path, more: &[&str]) -> Vec<Value> {
    let arguments = [&["run", "--format", "json"], more].concat();
    let lines = lab.run(folder, &arguments).expect(0).lines();
    assert_gapless(&lines);
    lines
}

fn ends(lines: &[Value]) -> String {
    ["compile", "test", "image"].map(|stage| result_of(lines, stage)).join(" ")
}

fn built(folder: &Path) -> String {
    std::fs::read_to_string(folder.join(".shipline/out/compile/built")).expect("published")
}

#[test]
fn a_stage_whose_inputs_are_those_of_a_pass_is_unchanged_and_leaves_the_same() {
    let lab = Lab::new();
    let folder = repository(&lab, &PIPELINE.replace("WORD", "one"));
    let write = |path: &str, text: &str| {
        std::fs::create_dir_all(folder.join("src")).expect("made");
        std::fs::write(folder.join(path), text).expect("written");
    };
    write("src/a", "1\n");
    write("Dockerfile", "FROM busybox:1\nRUN echo built >/built\n");
    let first = run(&lab, &folder, &[]);
    assert_eq!(ends(&first), "passed passed passed");
    let published = built(&folder);
    assert_eq!(output_of(&first, "look"), published);

    std::fs::remove_dir_all(folder.join(".shipline")).expect("removed");
    write("README", "other\n");
    let second = run(&lab, &folder, &[]);
    assert_eq!(ends(&second), "unchanged unchanged unchanged");
    assert_eq!(
        (built(&folder), output_of(&second, "look")),
        (published.clone(), published.clone())
    );
    let event = |kind: &str, stage: &str| {
        second.iter().find(|line| line["kind"] == kind && line["stage"] == stage).expect("an event")
    };
    assert_eq!(event("stage.finished", "compile")["outputs"]["id"], published.trim());
    assert_eq!(event("stage.finished", "compile")["reused"]["run"], first[0]["run"]);
    assert_eq!(event("report.read", "test")["tests"], 1);
    let images = [&first, &second].map(|lines| {
        let end =
            lines.iter().find(|line| line["kind"] == "stage.finished" && line["stage"] == "image");
        end.expect("an end")["outputs"]["image"].clone()
    });
    assert_eq!(images[0], images[1]);
    let shown = lab.run(&folder, &["run", "--plain"]).expect(0).stdout;
    assert!(
        shown.contains("= unchanged  ") && shown.contains("its inputs are those of run"),
        "{shown}"
    );

    // Other files, other variables, no wish to, and nothing left: it runs.
    write("src/b", "2\n");
    let third = run(&lab, &folder, &[]);
    assert_eq!(ends(&third), "passed passed unchanged");
    assert_ne!(built(&folder), published);
    assert_eq!(ends(&run(&lab, &folder, &["--no-reuse"])), "passed passed passed");
    assert_eq!(ends(&run(&lab, &folder, &[])), "unchanged unchanged unchanged");
    write(".shipline.yml", &PIPELINE.replace("WORD", "two"));
    assert_eq!(ends(&run(&lab, &folder, &[])), "passed passed unchanged");
    assert_eq!(ends(&run(&lab, &folder, &["--untrusted"])), "passed passed passed");
    lab.run(&folder, &["clean"]).expect(0);
    assert_eq!(ends(&run(&lab, &folder, &[])), "passed passed passed", "nothing is left to reuse");
}

const LOOKING: &str = "image: busybox:1
stages:
  compile:
    inputs: [\"src/**\"]
    run: cat /proc/sys/kernel/random/uuid >built
  look: { needs: [compile], run: [ls -lR src, cat src/*, cat README built] }
  second: { needs: [compile], inputs: [built], run: 'true' }
";

#[test]
fn a_checkout_that_brings_the_same_is_unchanged_and_no_other_is() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    let lab = Lab::new();
    let folder = repository(&lab, LOOKING);
    let path = |name: &str| folder.join(name);
    std::fs::create_dir(path("src")).expect("made");
    std::fs::write(path("src/a"), "1\n").expect("written");
    let ends = || {
        let lines = run(&lab, &folder, &[]);
        let ends = ["checkout", "compile", "second"].map(|stage| result_of(&lines, stage));
        (ends.join(" "), output_of(&lines, "look"))
    };
    let (first, looked) = ends();
    assert_eq!(first, "passed passed passed");
    let all = "unchanged unchanged unchanged".to_owned();
    assert_eq!(ends(), (all.clone(), looked.clone()));

    let (around, inside) = ("passed unchanged unchanged", "passed passed passed");
    let write = |name: &str, text: &str| std::fs::write(path(name), text).expect("written");
    let changes: [(&str, &dyn Fn()); 9] = [
        (around, &|| write("README", "other\n")),
        (around, &|| write("new", "file\n")),
        (inside, &|| write("src/a", "2\n")),
        (inside, &|| write("src/b", "3\n")),
        (inside, &|| std::fs::rename(path("src/b"), path("src/c")).expect("renamed")),
        (inside, &|| {
            let executable = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(path("src/c"), executable).expect("changed");
        }),
        (inside, &|| symlink("a", path("src/link")).expect("linked")),
        (inside, &|| {
            std::fs::remove_file(path("src/link")).expect("removed");
            symlink("c", path("src/link")).expect("linked");
        }),
        (inside, &|| std::fs::remove_file(path("src/c")).expect("removed")),
    ];
    let mut before = looked;
    for (number, (expected, change)) in changes.iter().enumerate() {
        if number == 8 {
            // A link to what is gone cannot be read.
            std::fs::remove_file(path("src/link")).expect("removed");
        }
        change();
        let (ended, looked) = ends();
        assert_eq!(ended, *expected, "change {number}");
        // Whoever stands on the files sees them as they are now.
        assert!(number == 1 || looked != before, "change {number}");
        assert_eq!(ends(), (all.clone(), looked.clone()), "after change {number}");
        before = looked;
    }

    // A run whose checkout stands for another can be stood on.
    let only = lab.run(&folder, &["run", "--only", "look", "--plain"]).expect(0).stdout;
    assert!(only.contains("look     | other"), "{only}");
    let shell = ["shell", "second", "--", "cat", "README"];
    assert_eq!(lab.run(&folder, &shell).expect(0).stdout, "other\n");
    assert!(lab.run(&folder, &["diff", "compile"]).expect(0).stdout.contains("A built"));
    let forced = run(&lab, &folder, &["--no-reuse"]);
    assert_eq!(result_of(&forced, "checkout"), "passed");
}

#[test]
fn inputs_that_match_nothing_reuse_nothing_and_say_so() {
    let lab = Lab::new();
    let pipeline = "image: busybox:1\nstages:\n  a: { inputs: [\"scr/**\"], run: echo ran }\n";
    let folder = repository(&lab, pipeline);
    for _ in 0..2 {
        let shown = lab.run(&folder, &["run", "--plain"]).expect(0).stdout;
        let said = "no file matches `scr/**`";
        assert!(
            shown.contains(said) && shown.contains("so no former result is looked for"),
            "{shown}"
        );
        assert!(shown.contains("a        | ran"), "{shown}");
    }
}
