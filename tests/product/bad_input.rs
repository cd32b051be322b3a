//! Mistakes in a pipeline file: a diagnostic with code and place, exit 2, and nothing started.

use std::path::Path;

use crate::harness::lab::{Lab, Ran};

/// A pipeline file as it stands alone in a directory.
fn write(lab: &Lab, text: &str) -> std::path::PathBuf {
    let folder = lab.folder("repository");
    std::fs::write(folder.join(".shipline.yml"), text).expect("a file can be written");
    folder
}

/// `check` and `run` refuse `text` with `code` at `place`, and `run` starts nothing.
#[track_caller]
fn refused(text: &str, code: &str, place: &str, help: &str) {
    let lab = Lab::new();
    let folder = write(&lab, text);
    for command in ["check", "plan", "run"] {
        let ran = lab.run(&folder, &[command]).expect(2);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains(&format!("error[{code}]")), "{command} says:\n{said}");
        assert!(said.contains(&format!(".shipline.yml:{place}")), "{command} says:\n{said}");
        assert!(said.contains(help), "{command} does not say `{help}`:\n{said}");
    }
    nothing_started(&lab, &folder);
}

#[track_caller]
fn nothing_started(lab: &Lab, folder: &Path) {
    let runs = lab.run(folder, &["runs", "--format", "json"]).expect(0).json();
    assert_eq!(runs, serde_json::json!([]));
}

#[test]
fn a_misspelt_key_is_named_with_the_right_one() {
    refused(
        "image: debian:12\nstages:\n  build: make\n  test:\n    neds: [build]\n    run: make test\n",
        "E010",
        "5:5",
        "did you mean `needs`?",
    );
}

#[test]
fn an_unknown_need_is_named_with_the_stages_there_are() {
    refused(
        "image: debian:12\nstages:\n  build: make\n  test: { needs: [biuld], run: make test }\n",
        "E020",
        "4:19",
        "build",
    );
}

#[test]
fn a_cycle_is_shown_as_a_closed_path() {
    refused(
        "image: debian:12\nstages:\n  a: { needs: [b], run: 'true' }\n  b: { needs: [a], run: 'true' }\n",
        "E021",
        "3:",
        "a (3:",
    );
}

#[test]
fn a_run_without_any_image_says_where_one_could_stand() {
    refused("stages:\n  build: make\n", "E014", "2:", "image");
}

#[test]
fn an_unclosed_bracket_is_found() {
    refused(
        "image: debian:12\nstages:\n  build:\n    needs: [a, b\n    run: make\n",
        "E001",
        "",
        "",
    );
}

#[test]
fn an_empty_file_is_no_pipeline() {
    refused("", "E003", "1:1", "");
}

#[test]
fn check_prints_diagnostics_as_json() {
    let lab = Lab::new();
    let folder =
        write(&lab, "image: debian:12\nstages:\n  deploy:\n    neds: [test]\n    run: make\n");
    let found = lab.run(&folder, &["check", "--format", "json"]).expect(2).json();
    let first = &found[0];
    assert_eq!(
        serde_json::json!({
            "code": first["code"], "severity": first["severity"], "file": first["file"],
            "line": first["line"], "column": first["column"],
            "end_line": first["end_line"], "end_column": first["end_column"],
        }),
        serde_json::json!({
            "code": "E010", "severity": "error", "file": ".shipline.yml",
            "line": 4, "column": 5, "end_line": 4, "end_column": 9,
        })
    );
    assert_eq!(first["message"], "unknown key `neds` in stage `deploy`");
    assert_eq!(first["help"], "did you mean `needs`?");
}

#[test]
fn a_good_file_is_an_empty_array() {
    let lab = Lab::new();
    let folder = write(&lab, "image: debian:12\nstages:\n  build: make\n");
    assert_eq!(
        lab.run(&folder, &["check", "--format", "json"]).expect(0).json(),
        serde_json::json!([])
    );
}

#[test]
fn a_directory_without_a_pipeline_says_what_was_looked_for() {
    let lab = Lab::new();
    let folder = lab.folder("nothing");
    let ran: Ran = lab.run(&folder, &["check"]).expect(2);
    assert!(
        ran.stderr.contains("error[E005]") && ran.stderr.contains(".shipline.yml"),
        "{}",
        ran.stderr
    );
}

#[test]
fn an_unknown_argument_exits_with_2() {
    let lab = Lab::new();
    lab.run(lab.path(), &["run", "--fast"]).expect(2);
}

#[test]
fn explain_tells_a_code() {
    let lab = Lab::new();
    let ran = lab.run(lab.path(), &["explain", "E010"]).expect(0);
    assert!(ran.stdout.contains("E010"), "{}", ran.stdout);
    lab.run(lab.path(), &["explain", "E999"]).expect(2);
}

#[test]
fn a_missing_commit_is_blamed_for_what_it_breaks_and_for_nothing_else() {
    let lab = Lab::new();
    let tagged = "stages:\n  image: { build: { tags: [\"a:${{ git.sha_short }}\"] } }\n";
    let deployed = "stages:\n  image: { build: {} }\n  d: { timeout: 5m, deploy: { environment: dmo, image: image } }\nenvironments: { demo: { target: house } }\n";
    for (text, code, blamed) in [(tagged, "E015", true), (deployed, "E062", false)] {
        let folder = write(&lab, text);
        let said = lab.run(&folder, &["plan"]).expect(2).stderr;
        assert!(said.contains(&format!("error[{code}]")), "{said}");
        assert_eq!(said.contains("this directory has no commit"), blamed, "{said}");
    }
}

#[test]
fn every_code_that_a_stage_can_fail_with_is_explained() {
    let lab = Lab::new();
    for code in ["E010", "E065", "E090", "E091", "E092", "E093", "E095", "E098", "E099"] {
        let explained = lab.run(lab.path(), &["explain", code]).expect(0).stdout;
        assert!(explained.starts_with(&format!("{code}: ")), "{explained}");
    }
    let unknown = lab.run(lab.path(), &["explain", "E777"]).expect(2).stderr;
    assert!(unknown.contains("`E777` is no code of Shipline"), "{unknown}");
}

#[test]
fn a_directory_without_environments_or_that_is_not_there_is_told_in_words() {
    let lab = Lab::new();
    let folder = write(&lab, "image: debian:12\nstages:\n  build: make\n");
    assert_eq!(lab.run(&folder, &["status"]).expect(0).stdout, "there is no environment\n");
    let said = lab.run(&folder, &["rollback", "demo"]).expect(2).stderr;
    assert!(said.contains("define one under `environments`"), "{said}");
    let said = lab.run(&folder, &["-C", "nowhere", "check"]).expect(2).stderr;
    assert!(said.starts_with("error: cannot enter nowhere: "), "{said}");
}
