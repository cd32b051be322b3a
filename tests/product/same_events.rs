//! A laptop and a server plan the same pipeline alike and run it to the same events.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::harness::git::Repository;
use crate::harness::lab::{Lab, docker};
use crate::harness::process::wait_for;
use crate::harness::server::{Server, ServerParts};
use crate::local_run::{assert_gapless, split};

/// One stage after another, so that the order of events is one only; the last
/// but one fails, so that every kind of end is there.
const CHAIN: &str = "name: chain\nimage: debian:12\nstages:\n  one: echo 1\n  \
    skipped: { when: { branch: nowhere }, run: 'true' }\n  image: { build: { file: own/Dockerfile } }\n  \
    two: { needs: [one, image], run: [echo 2, exit 4] }\n  three: { needs: [two], run: echo 3 }\n";

/// What else stages can have, side by side.
const WHOLE: &str = r#"
name: whole
image: busybox:1
stages:
  version:
    outputs: { number: int }
    artifacts: [version]
    run: [echo number=42 >>$SHIPLINE_OUTPUT, echo 42 >version]
  unit:
    needs: [version]
    matrix: { db: [one, two] }
    env: { NUMBER: "${{ stages.version.outputs.number + 1 }}" }
    cache: { key: "kept-${{ matrix.db }}", paths: [/kept] }
    reports: { junit: report.xml }
    merge: [report.xml]
    run:
      - echo "$NUMBER" >/kept/number
      - echo "<testsuite><testcase name='$SHIPLINE_MATRIX_DB' time='0.1'/></testsuite>" >report.xml
  web:
    needs: [version]
    services:
      web: { image: busybox:1, command: [sh, -c, nc -ll -p 80 -e echo served], ready: { tcp: 80 } }
    run: nc -w 3 web 80 </dev/null
  lint: { needs: [version], allow-failure: [3], run: exit 3 }
  again:
    needs: [version]
    retry: { max: 1, on: [{ exit: [75] }], backoff: 1s }
    run: test "$SHIPLINE_ATTEMPT" = 2 || exit 75
  broken: { needs: [unit, web, lint, again], merge: [report.xml], run: exit 4 }
  after: { needs: [broken], run: echo never }
  report: { needs: [broken], run-on: failure, run: echo somebody should look }
  teardown: { needs: [report], run-on: always, run: cat version }
"#;

/// A template of the library; what leaves the machine is left out on both.
fn template(image: &str) -> String {
    format!(
        r#"
name: service
template: c-service@1
with:
  image: {image}
  registry: demo
  environment: test
  build-image: debian:12
  compile: mkdir -p build && echo program >build/orders
  test: echo "<testsuite><testcase name='adds' time='0.1'/></testsuite>" >report.xml
  reports: [report.xml]
stages:
  push: {{ when: off }}
  deploy: {{ when: off }}
"#
    )
}

/// The pipelines, and how each ends.
const PIPELINES: [(&str, i32); 3] = [("chain", 1), ("whole", 1), ("service", 0)];

#[test]
fn plans_and_events_of_a_laptop_and_of_a_server_are_equal_but_for_times_and_ids() {
    let lab = Lab::new();
    let parts = ServerParts {
        registry: None,
        mail: None,
        proxy: None,
        project: "app",
        environment: "test",
    };
    let server = Server::start(&lab, &parts);
    let repository = Repository::create(&lab.folder("git"));
    let own = lab.path().file_name().expect("a name").to_string_lossy().to_lowercase();
    let image = format!("registry.example/{own}/orders");
    repository.write(".shipline/chain.yml", CHAIN);
    repository.write(".shipline/whole.yml", WHOLE);
    repository.write(".shipline/service.yml", &template(&image));
    repository.write(".gitignore", ".shipline/out\n");
    repository.write("own/Dockerfile", "FROM busybox:1\n");
    repository.write("Dockerfile", "FROM busybox:1\nCOPY build/orders /orders\n");
    lab.lock(&repository.tree);
    let bare = repository.bare.display().to_string();
    server.client(&lab, &["project", "create", "app", "--git", &bare, "--poll", "1s"]).expect(0);
    let sha = repository.commit_and_push("first");
    let of_server = runs_of(&lab, &server, &sha);

    for (pipeline, code) in PIPELINES {
        let server = &of_server[pipeline];
        let arguments = ["--pipeline", pipeline, "--event", "push", "--format", "json"];
        let mut plan =
            lab.run(&repository.tree, &[&["plan"], &arguments[..]].concat()).expect(0).json();
        for stage in plan["stages"].as_array_mut().expect("a plan has stages") {
            // It follows from the rest, and no run keeps it.
            stage.as_object_mut().expect("a stage is an object").remove("mounts");
        }
        let kept = server[0]["plan"].clone();
        assert_eq!(of_any_place(plan), of_any_place(kept), "the plan of `{pipeline}`");

        let ran = lab.run(&repository.tree, &[&["run"], &arguments[..]].concat()).expect(code);
        let lines = ran.lines();
        assert_gapless(&lines);
        let laptop: Vec<Value> = split(&lines).0.into_iter().cloned().collect();
        if pipeline == "chain" {
            let timeless = |events: &[Value]| events.iter().map(timeless).collect::<Vec<_>>();
            assert_eq!(timeless(&laptop), timeless(server));
        }
        // Side by side either may be first; of each stage the order is one.
        let (laptop, server) = (by_stage(&laptop), by_stage(server));
        assert_eq!(
            laptop.keys().collect::<Vec<_>>(),
            server.keys().collect::<Vec<_>>(),
            "the stages of `{pipeline}`"
        );
        for (stage, events) in laptop {
            assert_eq!(events, server[&stage], "`{stage}` of `{pipeline}`");
        }
    }
    let whole: Vec<&Value> = of_server["whole"].iter().map(|event| &event["kind"]).collect();
    for kind in ["cache.saved", "artifact.stored", "report.read", "service.ready", "stage.blocked"]
    {
        assert!(
            whole.iter().any(|seen| *seen == kind),
            "nothing was compared of {kind}: {whole:?}"
        );
    }
    docker(&["rmi", "--force", &format!("{image}:{}", &sha[..8])]);
}

/// The events of the runs of a commit, by pipeline, when all of them have ended.
fn runs_of(lab: &Lab, server: &Server, sha: &str) -> BTreeMap<String, Vec<Value>> {
    let rows = wait_for("the runs of the push", Duration::from_secs(240), || {
        let rows = server.client(lab, &["runs", "--format", "json"]).expect(0).json();
        let rows: Vec<Value> =
            rows.as_array()?.iter().filter(|row| row["sha"] == *sha).cloned().collect();
        let all = rows.len() == PIPELINES.len();
        (all && rows.iter().all(|row| row["state"] == "finished")).then_some(rows)
    });
    let text = |row: &Value, field: &str| row[field].as_str().expect("a text").to_owned();
    rows.iter().map(|row| (text(row, "pipeline"), events_of(server, &text(row, "run")))).collect()
}

fn events_of(server: &Server, id: &str) -> Vec<Value> {
    let output = std::process::Command::new("curl")
        .args([
            "--silent",
            "--fail",
            "--header",
            &format!("Authorization: Bearer {}", server.token()),
        ])
        .arg(format!("{}/api/v1/runs/{id}/events", server.url()))
        .output()
        .expect("curl can be started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| serde_json::from_str(line).expect("an event is JSON")).collect()
}

/// The events of each stage; those of the run itself have no name.
fn by_stage(events: &[Value]) -> BTreeMap<String, Vec<Value>> {
    let mut stages: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for event in events {
        let stage = event["stage"].as_str().unwrap_or_default().to_owned();
        let mut event = timeless(event);
        event.as_object_mut().expect("an event is an object").remove("seq");
        stages.entry(stage).or_default().push(event);
    }
    stages
}

/// The plan without environments, which are defined by the server or by the file.
fn of_any_place(mut plan: Value) -> Value {
    plan.as_object_mut().expect("a plan is an object").remove("environments");
    plan
}

/// The event without what differs from one run to the next.
fn timeless(event: &Value) -> Value {
    let mut event = event.clone();
    let fields = event.as_object_mut().expect("an event is an object");
    // What it took of the machine is another amount each time.
    let taken = ["memory_peak", "pids_peak"];
    let times = ["at", "duration_ms", "deadline", "not_before", "expires_at"];
    for field in ["run", "by", "name"].iter().chain(&times).chain(&taken) {
        fields.remove(*field);
    }
    if let Some(plan) = fields.get_mut("plan") {
        *plan = of_any_place(plan.take());
    }
    // An archive has the times of its files in it.
    if fields["kind"] == "artifact.stored" {
        fields.remove("sha256");
        fields.remove("size");
    }
    // The id of an image has the time and the instance of its build in it.
    if let Some(outputs) = fields.get_mut("outputs").and_then(Value::as_object_mut) {
        outputs.remove("image");
    }
    event
}
