//! What outlives a stage and its run: caches, reports, artifacts.

use crate::harness::lab::Lab;
use crate::local_run::{assert_gapless, output_of, repository, split};
use serde_json::Value;

pub fn events<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
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

#[test]
fn artifacts_of_a_local_run_are_files_of_whoever_ran_it_and_no_part_of_the_next() {
    let lab = Lab::new();
    let folder = repository(
        &lab,
        "image: debian:12\nstages:\n  make:\n    run: |\n      test ! -e .shipline/out/app\n      mkdir -p dist && echo 1 >dist/a && echo 2 >dist/b && ln -s a dist/c && chmod +x dist/b\n    artifacts: { paths: ['dist/**', '!dist/b*'], name: app }\n  fail:\n    needs: []\n    run: [mkdir logs, echo oops >logs/x, exit 4]\n    artifacts: { paths: [logs/**], on: failure }\n    allow-failure: true\n  none: { needs: [], run: 'true', artifacts: ['dist/*.jar'] }\n",
    );
    for _ in 0..2 {
        let ran = lab.run(&folder, &["run", "--plain"]).expect(1);
        let shown = &ran.stdout;
        assert!(shown.contains("artifact `app` stored, 1 file, "), "{shown}");
        assert!(shown.contains("1 symbolic link is left out"), "{shown}");
        assert!(shown.contains("artifacts in .shipline/out: app, fail\n"), "{shown}");
        assert!(shown.contains("`dist/*.jar` of `artifacts` matches no file;"), "{shown}");
        assert!(shown.contains("none [E097]"), "{shown}");
    }
    let out = folder.join(".shipline/out");
    let read = |path: &str| std::fs::read_to_string(out.join(path)).expect("written");
    assert_eq!((read("app/dist/a"), read("fail/logs/x")), ("1\n".to_owned(), "oops\n".to_owned()));
    assert!(!out.join("app/dist/b").exists() && !out.join("app/dist/c").exists());
    let lines = lab.run(&folder, &["run", "--format", "json"]).expect(1).lines();
    assert_gapless(&lines);
    let stored = events(&lines, "artifact.stored");
    assert_eq!(stored.len(), 2);
    let sha256 = stored[0]["sha256"].as_str().expect("a hash");
    assert_eq!((sha256.len(), stored[0]["files"].as_u64()), (64, Some(1)));
}

#[test]
fn a_secret_of_a_local_run_reaches_its_stage_and_no_record_of_it() {
    let lab = Lab::new();
    let folder = repository(
        &lab,
        "image: debian:12\nstages:\n  use:\n    run: |\n      test ${#TOKEN} = 11\n      echo \"token $TOKEN\" && echo -n $TOKEN | base64\n      wc -l </run/secrets/KEY\n    secrets: [TOKEN, { name: KEY, file: true }]\n  none: { needs: [], run: 'test -z \"$TOKEN\" && test ! -e /run/secrets/KEY' }\n",
    );
    std::fs::create_dir_all(folder.join(".shipline")).expect("made");
    std::fs::write(
        folder.join(".shipline/secrets.env"),
        "TOKEN=swordfish-1\nKEY=\"-----BEGIN\\nabcdefghij\\n\"\n",
    )
    .expect("written");
    let refused = lab.run(&folder, &["run"]).expect(2);
    assert!(refused.stderr.contains("Git does not ignore it"), "{}", refused.stderr);
    std::fs::write(folder.join(".gitignore"), ".shipline/secrets.env\n").expect("written");
    let ran = lab.run(&folder, &["run", "--format", "json"]).expect(0);
    assert_eq!(output_of(&ran.lines(), "use"), "token ***\n***E=\n2\n");
    assert!(!ran.stdout.contains("swordfish") && !ran.stdout.contains("abcdefghij"));
    let database = std::fs::read(lab.home().join("state.db")).expect("read");
    assert!(!database.windows(9).any(|bytes| bytes == b"swordfish"));
}
