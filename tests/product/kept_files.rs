//! What outlives a stage and its run: caches, reports, artifacts.

use crate::harness::lab::Lab;
use crate::local_run::{assert_gapless, output_of, repository, split};
use serde_json::Value;

fn events<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    split(lines).0.into_iter().filter(|event| event["kind"] == kind).collect()
}

#[test]
fn a_cache_is_there_in_the_next_run_and_until_its_files_change() {
    let lab = Lab::new();
    let folder = repository(
        &lab,
        "image: debian:12\nstages:\n  deps:\n    run: |\n      cat ~/.deps/what 2>/dev/null || echo nothing\n      cat lock >~/.deps/what\n    cache: { key: \"deps-${{ hash('lock') }}\", restore: [deps-], paths: [~/.deps] }\n",
    );
    let run = |lock: &str| {
        std::fs::write(folder.join("lock"), lock).expect("written");
        let lines = lab.run(&folder, &["run", "--format", "json"]).expect(0).lines();
        assert_gapless(&lines);
        let saved = events(&lines, "cache.saved").len();
        let from = events(&lines, "cache.restored").first().map(|event| event["from"].is_string());
        (output_of(&lines, "deps"), from, saved)
    };
    assert_eq!(run("one\n"), ("nothing\n".to_owned(), None, 1));
    assert_eq!(run("one\n"), ("one\n".to_owned(), Some(false), 1));
    assert_eq!(run("two\n"), ("one\n".to_owned(), Some(true), 1));
    let shown = lab.run(&folder, &["run", "--plain"]).expect(0).stdout;
    assert!(shown.contains("cache restored from `deps-"), "{shown}");
    assert!(shown.contains("cache saved as `deps-"), "{shown}");
    lab.run(&folder, &["clean"]).expect(0);
    assert_eq!(run("two\n").0, "two\n", "caches stay");
    lab.run(&folder, &["clean", "--caches"]).expect(0);
    assert_eq!(run("two\n").0, "nothing\n");
    lab.run(&folder, &["clean", "--caches"]).expect(0);
}

#[test]
fn tests_that_failed_are_named_and_a_pattern_without_reports_fails_its_stage() {
    let lab = Lab::new();
    let report = "<testsuite name='T'><testcase name='adds'><failure message='1 is not 2'/></testcase><testcase name='ok'/></testsuite>";
    let folder = repository(
        &lab,
        &format!(
            "image: debian:12\nstages:\n  unit:\n    run: |\n      mkdir -p target/reports\n      echo \"{report}\" >target/reports/TEST-T.xml\n      exit 1\n    reports: {{ junit: '**/TEST-*.xml' }}\n  none:\n    needs: []\n    run: mkdir -p out && touch out/T.txt\n    reports: {{ junit: 'out/*.xml' }}\n"
        ),
    );
    let ran = lab.run(&folder, &["run", "--plain"]).expect(1);
    for line in ["unit     | 2 tests, 1 failed", "failed tests of unit\n  T adds: 1 is not 2\n"] {
        assert!(ran.stdout.contains(line), "{}", ran.stdout);
    }
    let reason = "`out/*.xml` of `reports.junit` matches no file; `out/` has `T.txt`";
    assert!(ran.stdout.contains(reason) && ran.stdout.contains("none [E097]"), "{}", ran.stdout);
    let lines = lab.run(&folder, &["run", "--format", "json"]).expect(1).lines();
    assert_gapless(&lines);
    let read = events(&lines, "report.read");
    assert_eq!((&read[0]["stage"], &read[0]["tests"]), (&"unit".into(), &2.into()));
    assert_eq!(read[0]["failing"][0]["name"], "adds");
    assert_eq!(read.len(), 1);
}
