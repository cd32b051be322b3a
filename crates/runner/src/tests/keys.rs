//! Keys of a stage, from the plan to what the backend is asked for.

use std::collections::BTreeMap;

use event::EventKind;
use pipeline::{AllowFailure, OutputType, PlannedStage, Resources, RunWork, Shell, Work};
use serde_json::json;

use super::Lab;
use crate::backend::fake::{FakeBackend, Script};
use crate::backend::{AttemptSpec, LayerId};
use crate::testing::{self, plan_of, stage, stage_of, stage_running};
use crate::{SideEffects, unsupported};

/// What a stage with these keys is started with.
async fn started(keys: serde_json::Value) -> AttemptSpec {
    let mut work = json!({"action": "run", "image": "busybox:1", "run": ["make"]});
    work.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let mut lab = Lab::new(vec![stage_of("a", &[], work)]);
    lab.run().await.unwrap();
    lab.backend.specs().remove(0)
}

#[tokio::test(start_paused = true)]
async fn a_stage_is_started_as_its_keys_say() {
    let plain = started(json!({})).await;
    assert_eq!((plain.pull, plain.shell, plain.user), (false, Shell::Sh, None));
    assert_eq!((plain.workdir.as_str(), plain.resources), ("/workspace", Resources::default()));

    let spec = started(json!({
        "pull": true, "shell": "bash", "user": "1000:1000", "workdir": "web",
        "resources": {"cpu": 0.5, "memory": 67_108_864, "pids": 32},
    }))
    .await;
    assert_eq!(
        (spec.pull, spec.shell, spec.user.as_deref()),
        (true, Shell::Bash, Some("1000:1000"))
    );
    assert_eq!(spec.workdir, "/workspace/web");
    let resources = Resources { cpu: Some(0.5), memory: Some(64 << 20), pids: Some(32) };
    assert_eq!(spec.resources, resources);
    assert_eq!(started(json!({"workdir": "/tmp"})).await.workdir, "/tmp");
}

#[tokio::test(start_paused = true)]
async fn what_an_allowed_failure_wrote_is_there_for_those_that_need_it() {
    let mut lint = stage_running("lint", &[], &["exit 1"]);
    lint.allow_failure = Some(AllowFailure::ExitCodes(vec![1]));
    let mut lab = Lab::new(vec![lint, stage("test", &["lint"])]);
    assert_eq!(lab.told().await, "lint warning: exit 1\ntest passed\nrun warning");
    assert_eq!(
        lab.backend.specs()[1].lower,
        [LayerId { run: testing::run_id(), index: 0, attempt: 1 }]
    );
}

fn with_outputs(declared: &[(&str, OutputType)]) -> PlannedStage {
    let outputs = declared.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
    let work = RunWork {
        image: "busybox:1".to_owned(),
        run: vec!["make".to_owned()],
        outputs,
        ..RunWork::default()
    };
    PlannedStage::new("a", Work::Run(Box::new(work)))
}

/// How a stage ends that puts out `lines`, and what of it is kept.
async fn put_out(lines: &str, exit: i64) -> String {
    let script = Script::exit(exit).putting_out(lines);
    let backend = FakeBackend::default().with("a", script);
    let mut lab = Lab::new(vec![with_outputs(&[("count", OutputType::Int)])]).on(backend);
    let told = lab.told().await;
    let finished = lab.journal.events().into_iter().find_map(|event| match event.kind {
        EventKind::AttemptFinished { code, outputs, .. } => Some((code, outputs)),
        _ => None,
    });
    let (code, outputs) = finished.unwrap();
    let outputs: BTreeMap<String, String> =
        outputs.into_iter().map(|(name, value)| (name, value.to_string())).collect();
    let told = told.lines().next().unwrap();
    format!("{told} · {} · {outputs:?}", code.unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn outputs_are_kept_in_their_types_and_refused_otherwise() {
    assert_eq!(put_out("count=3\n", 0).await, "a passed ·  · {\"count\": \"3\"}");
    assert_eq!(
        put_out("count=many\n", 0).await,
        "a failed: output `count` is not a whole number: `many` · E096 · {}"
    );
    // Of a stage that failed, what is right counts, and what is wrong is no news.
    assert_eq!(put_out("count=3\n", 2).await, "a failed: exit 2 ·  · {\"count\": \"3\"}");
    assert_eq!(put_out("count=many\n", 2).await, "a failed: exit 2 ·  · {}");
}

/// The stages of a plan of this text.
fn planned(text: &str) -> Vec<PlannedStage> {
    plan_of(text).stages
}

const READS: &str = "\
image: busybox:1
checkout: off
stages:
  make: { run: make, outputs: { version: string } }
  pack: { run: pack, env: { V: \"v${{ stages.make.outputs.version }}\" } }
  fresh: { run: tell, when: { if: \"stages.make.outputs.version == '2'\" } }
";

#[tokio::test(start_paused = true)]
async fn what_another_stage_put_out_is_read_when_the_stage_starts() {
    let run = async |lines: &str| {
        let backend = FakeBackend::default().with("make", Script::exit(0).putting_out(lines));
        let mut lab = Lab::new(planned(READS)).on(backend);
        (lab.told().await, lab.backend.specs())
    };
    let (told, specs) = run("version=2").await;
    assert_eq!(told, "make passed\npack passed\nfresh passed\nrun passed");
    assert_eq!(specs[1].env["V"], "v2");
    let (told, specs) = run("version=1").await;
    assert!(told.contains("\nfresh skipped: "), "{told}");
    assert_eq!(specs.len(), 2);
    // What was not put out cannot be read, and the stage says where it wanted to.
    let (told, specs) = run("").await;
    assert!(told.contains("\npack failed: ") && told.contains("(.shipline.yml:5:"), "{told}");
    assert!(told.ends_with("run failed"), "{told}");
    assert_eq!(specs.len(), 1);
}

#[test]
fn what_is_refused_of_the_whole_run_points_at_its_own_line() {
    let text = "run-timeout: 2h\nconcurrency: { group: a }\nnotify:\n  wecom: { url: CHAT }\n\
                image: busybox:1\nstages: { a: make }\n";
    let found = unsupported(&plan_of(text), SideEffects::Allowed, false);
    let places: Vec<(&str, usize, usize)> = found
        .iter()
        .map(|found| (found.key.as_str(), found.origin.as_ref().unwrap()))
        .map(|(key, origin)| (key, origin.line, origin.column))
        .collect();
    assert_eq!(places, [("notify.wecom", 4, 17)]);
}

const CACHES: &str = "\
image: busybox:1
stages:
  deps:
    run: make
    cache: { key: \"deps-${{ hash('lock/*.txt') }}\", restore: [deps-], paths: [~/.deps, out] }
";

/// What is told of caches, as `kind key from`.
fn told_of_caches(lab: &Lab) -> Vec<String> {
    let events = lab.journal.events().into_iter();
    let told = events.filter_map(|event| match event.kind {
        EventKind::CacheRestored { key, from, .. } => {
            Some(format!("restored {} {}", key, from.unwrap_or_default()))
        }
        EventKind::CacheSaved { key, .. } => Some(format!("saved {key}")),
        _ => None,
    });
    told.collect()
}

#[tokio::test(start_paused = true)]
async fn a_cache_is_found_by_the_files_its_key_names_and_saved_after_a_pass_only() {
    let backend = FakeBackend::default();
    let run = async |lock: &str, exit| {
        let script = Script::exit(exit).writing("~/.deps/a", lock);
        let backend = backend.clone().with_files(&[("lock/a.txt", lock)]).with("deps", script);
        let mut lab = Lab::new(planned(CACHES)).on(backend);
        let told = lab.told().await;
        let key = lab.backend.specs().last().unwrap().caches[0].key.clone();
        (told, key, told_of_caches(&lab))
    };
    let (_, one, told) = run("1", 0).await;
    assert_eq!(one.len(), "deps-".len() + 64);
    assert_eq!(told, [format!("saved {one}")]);
    // It is the contents that count; what is written again is saved again.
    let (_, again, told) = run("1", 0).await;
    assert_eq!((&again, told), (&one, vec![format!("restored {one} "), format!("saved {one}")]));
    let (failed, two, told) = run("2", 1).await;
    assert_ne!(two, one);
    assert_eq!(told, [format!("restored {two} {one}")], "{failed}");
    let (_, _, told) = run("2", 0).await;
    assert_eq!(told, [format!("restored {two} {one}"), format!("saved {two}")]);
}

#[tokio::test(start_paused = true)]
async fn a_hash_of_nothing_fails_its_stage_and_says_what_there_is() {
    let backend = FakeBackend::default().with_files(&[("lock/a.yml", "")]);
    let mut lab = Lab::new(planned(CACHES)).on(backend);
    let told = lab.told().await;
    assert!(
        told.contains("deps failed: ")
            && told.contains("no file matches `lock/*.txt`; `lock/` has `a.yml`")
            && told.contains("(.shipline.yml:5:"),
        "{told}"
    );
}

const REPORTS: &str = "\
image: busybox:1
checkout: off
stages:
  unit:
    run: make test
    reports: { junit: \"reports/*.xml\" }
";

/// How a stage with reports ends, what is told of them, and the tests that are kept.
async fn reported(exit: i64, files: &[(&str, &str)]) -> (String, Option<event::TestTotals>, usize) {
    let script = files
        .iter()
        .fold(Script::exit(exit), |script, (path, contents)| script.writing(path, contents));
    let mut lab = Lab::new(planned(REPORTS)).on(FakeBackend::default().with("unit", script));
    let told = lab.told().await;
    let totals = lab.journal.events().into_iter().find_map(|event| match event.kind {
        EventKind::ReportRead { totals, .. } => Some(totals),
        _ => None,
    });
    (told.lines().next().unwrap().to_owned(), totals, lab.journal.tests().len())
}

const REPORT: &str = "<testsuite name='T'><testcase name='a' time='1.5'/>\
    <testcase name='b'><failure>\n  one is not two\nat T.b</failure></testcase>\
    <testcase name='c'><skipped/></testcase></testsuite>";

#[tokio::test(start_paused = true)]
async fn reports_are_read_whatever_the_stage_comes_to() {
    for (exit, ended) in [(0, "unit passed"), (2, "unit failed: exit 2")] {
        let (told, totals, kept) = reported(exit, &[("reports/a.xml", REPORT)]).await;
        let totals = totals.unwrap();
        assert_eq!((told.as_str(), kept), (ended, 3));
        assert_eq!((totals.files, totals.tests, totals.failed, totals.skipped), (1, 3, 1, 1));
        assert_eq!(totals.duration_ms, 1500);
        let failing = &totals.failing[0];
        assert_eq!((failing.class.as_str(), failing.name.as_str()), ("T", "b"));
        assert_eq!(failing.message.as_deref(), Some("one is not two"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_pattern_without_reports_fails_a_stage_that_passed() {
    let elsewhere = [("reports/a.txt", "")];
    let (told, totals, _) = reported(0, &elsewhere).await;
    assert_eq!(
        told,
        "unit failed: `reports/*.xml` of `reports.junit` matches no file; `reports/` has `a.txt`"
    );
    assert_eq!(totals, None);
    assert_eq!(reported(2, &elsewhere).await.0, "unit failed: exit 2");
}

#[tokio::test(start_paused = true)]
async fn a_broken_report_counts_as_far_as_it_goes() {
    let files =
        [("reports/a.xml", "<testsuite><testcase name='x'/><test"), ("reports/b.xml", REPORT)];
    let (told, totals, kept) = reported(0, &files).await;
    assert_eq!((told.as_str(), kept), ("unit passed", 4));
    assert_eq!(totals.unwrap().files, 2);
}

/// How a stage with artifacts ends that exits with `exit`, and what is stored: name,
/// number of files, and whether the archive is there.
async fn published(artifacts: serde_json::Value, exit: i64) -> (String, Vec<(String, u64, bool)>) {
    let work = json!({"action": "run", "image": "busybox:1", "run": ["make"],
        "artifacts": artifacts});
    let script =
        Script::exit(exit).writing("dist/a", "1").writing("dist/b", "2").writing("log", "l");
    let mut lab =
        Lab::new(vec![stage_of("make", &[], work)]).on(FakeBackend::default().with("make", script));
    let directory = lab.config.as_ref().unwrap().artifacts.clone();
    let told = lab.told().await;
    let stored = lab.journal.events().into_iter().filter_map(|event| match event.kind {
        EventKind::ArtifactStored { name, sha256, files, expires_at, .. } => {
            assert!(expires_at > event.at);
            Some((name, files, crate::artifact_path(&directory, &sha256).is_file()))
        }
        _ => None,
    });
    (told.lines().next().unwrap().to_owned(), stored.collect())
}

#[tokio::test(start_paused = true)]
async fn artifacts_are_stored_when_the_stage_ends_as_they_want() {
    let of = |on: &str| json!({"paths": ["dist/**"], "expire": "1d", "on": on});
    let stored = vec![("make".to_owned(), 2, true)];
    for (on, exit, wanted) in [
        ("success", 0, true),
        ("success", 1, false),
        ("failure", 0, false),
        ("failure", 1, true),
        ("always", 0, true),
        ("always", 1, true),
    ] {
        let (_, found) = published(of(on), exit).await;
        assert_eq!(found, if wanted { stored.clone() } else { Vec::new() }, "{on} {exit}");
    }
    let named = json!({"paths": ["log"], "name": "the-log", "expire": "1d", "on": "success"});
    assert_eq!(published(named, 0).await.1, [("the-log".to_owned(), 1, true)]);
}

#[tokio::test(start_paused = true)]
async fn artifacts_that_are_not_there_fail_a_stage_that_passed() {
    let of = |on: &str| json!({"paths": ["dist/**", "out/*.jar"], "expire": "1d", "on": on});
    let (told, stored) = published(of("always"), 0).await;
    let reason = "`out/*.jar` of `artifacts` matches no file; the workspace has `dist/`, `log`";
    assert_eq!(told, format!("make failed: {reason}"));
    assert_eq!(stored, [("make".to_owned(), 2, true)], "what is there is stored all the same");
    assert_eq!(published(of("always"), 3).await.0, "make failed: exit 3");
}

/// A stage that names two secrets.
fn with_secrets() -> PlannedStage {
    stage_of(
        "a",
        &[],
        json!({"action": "run", "image": "busybox:1", "run": ["make"], "secrets": [
            {"name": "TOKEN", "present": true, "env": "NPM_TOKEN"},
            {"name": "KEY", "present": true, "file": true},
        ]}),
    )
}

fn secrets(values: &[(&str, &str)]) -> crate::Secrets {
    let values = values.iter();
    crate::Secrets(values.map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
}

#[tokio::test(start_paused = true)]
async fn a_stage_gets_the_secrets_it_names_and_nobody_sees_them() {
    let given = secrets(&[("TOKEN", "swordfish-1"), ("KEY", "short"), ("OTHER", "not-for-it")]);
    let script = Script::exit(1).printing("token swordfish-1, c3dvcmRmaXNoLTE=\n");
    let script = script.putting_out("count=swordfish-1\n");
    let mut lab = Lab::new(vec![PlannedStage {
        secrets: with_secrets().secrets,
        ..with_outputs(&[("count", OutputType::String)])
    }])
    .on(FakeBackend::default().with("a", script))
    .configured(|config| config.secrets = given);
    lab.told().await;
    let spec = lab.backend.specs().remove(0);
    let got: Vec<_> = spec
        .secrets
        .iter()
        .map(|secret| (secret.name.as_str(), secret.value.as_str(), secret.env.as_deref()))
        .collect();
    assert_eq!(got, [("TOKEN", "swordfish-1", Some("NPM_TOKEN")), ("KEY", "short", None)]);
    assert!(spec.env.values().all(|value| !value.contains("swordfish")));
    assert!(!format!("{spec:?}").contains("swordfish"));
    let printed = lab.printed("a");
    assert!(printed.contains("token ***, ***"), "{printed}");
    assert!(printed.contains("W052: secret `KEY` is shorter than 8 characters"), "{printed}");
    let events = serde_json::to_string(&lab.journal.events()).unwrap();
    assert!(events.contains("***") && !events.contains("swordfish"), "{events}");
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_not_there_or_not_for_the_run_fails_its_stage() {
    let mut lab = Lab::new(vec![with_secrets()])
        .configured(|config| config.secrets = secrets(&[("TOKEN", "swordfish-1")]));
    let told = lab.told().await;
    assert!(told.starts_with("a failed: secret `KEY` is not there: for local runs, "), "{told}");
    let mut untrusted = crate::testing::plan(vec![with_secrets()]);
    untrusted.trusted = false;
    let mut lab = Lab::after(vec![crate::testing::queued(untrusted)])
        .configured(|config| config.secrets = secrets(&[("TOKEN", "s"), ("KEY", "s")]));
    let told = lab.told().await;
    assert!(told.starts_with("a failed: secrets are not for runs of people who"), "{told}");
    assert_eq!(lab.backend.started(), [""; 0]);
}
