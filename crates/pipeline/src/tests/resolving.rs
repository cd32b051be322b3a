//! Values that are known only when their stage starts: a plan waits for them, and
//! then they stand where a written value would.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::{Finished, PlannedStage, RunFacts, Unresolved, Work, resolve, settle};

fn run_facts() -> RunFacts {
    RunFacts {
        number: 7,
        id: "019ca8".to_owned(),
        url: "https://ci.corp.example/7".to_owned(),
        attempt: 2,
        started: "2026-03-01T08:00:00Z".to_owned(),
    }
}

/// `first` has passed and put out what the tests read.
fn finished() -> BTreeMap<String, Finished> {
    let outputs = json!({
        "text": "a-text", "five": 5, "yes": true, "port": 8081, "duration": "90s", "size": "64Mi",
        "image": "debian:13", "path": "some/path", "url": "/up", "word": "always", "percent": "25%",
        "address": "https://orders.corp.example/up", "cores": 1.5, "root": "/srv/orders",
        "volume": "uploads:/srv/uploads", "ports": "8080:80", "recreate": "recreate", "list": [1, "b"],
    });
    let outputs = outputs.as_object().unwrap().clone().into_iter().collect();
    BTreeMap::from([("first".to_owned(), Finished { result: "passed".to_owned(), outputs })])
}

fn resolved(plan: &Plan, stage: &str) -> Result<PlannedStage, Unresolved> {
    let stage = plan.stage(stage).unwrap();
    resolve(plan, stage, &finished(), &run_facts(), &|globs| Ok(format!("hash of {globs:?}")))
}

/// The keys of a stage, with `<name>` where a value stands.
const STAGES: &[(&str, &str)] = &[
    (
        "run",
        "
        run: make
        env: { A: <five>, B: 'x-<text>' }
        artifacts: { paths: [<path>], name: <text>, expire: <duration> }
        cache: { key: <text>, restore: [<text>], paths: [~/.m2] }
        concurrency: { group: <text> }
        ",
    ),
    (
        "build",
        "
        env: { A: <five> }
        build: { context: <path>, file: <path>, target: <text>, args: { A: <yes>, B: <text> }, tags: ['a:<five>', <image>], platform: linux/arm64 }
        ",
    ),
    ("push", "push: { image: image, registry: demo, tags: ['r.example/a:1', 'r.example/a:<five>'] }"),
    ("push", "push: { image: <image>, registry: demo, tags: ['r.example/a:1'] }"),
    (
        "deploy",
        "
        timeout: 1m
        env: { V: <text> }
        deploy:
          environment: demo
          image: <image>
          allow-mutable-tag: <yes>
          replicas: <five>
          expose: { port: <port>, host: a.example, path: <url> }
          health: { http: <url>, interval: <duration>, timeout: <duration>, successes: <five>, start-period: <duration>, deadline: 1h }
          command: [serve, 'n<five>']
          resources: { cpu: <cores>, memory: <size>, pids: <five> }
          volumes: [<volume>]
          stop-timeout: <duration>
          keep-warm: <duration>
          env: { A: <five> }
          strategy: { batch: <five>, parallel: <five>, bake: <duration>, drain: <duration>, tolerate: <five>, max-surge: <percent>, max-unavailable: <five> }
          canary: { steps: [{ weight: <five>, bake: <duration>, metrics: [{ query: <text>, max: <percent> }] }] }
          verify: [{ http: <address>, timeout: <duration> }]
        ",
    ),
    (
        "deploy",
        "
        timeout: 1m
        deploy: { environment: demo, image: image, health: { tcp: <port> }, strategy: { batches: [1, <percent>, 100%] } }
        ",
    ),
    (
        "deploy",
        "
        timeout: 1m
        deploy: { environment: demo, image: image, health: { cmd: [ask, 'n<five>'] }, ports: [<ports>], strategy: { order: stop-first } }
        ",
    ),
    ("approve", "approve: { by: [ada, ben, cid, dan, eve], count: <five>, message: 'Deploy <text>?' }"),
    (
        "trigger",
        "trigger: { pipeline: other, params: { a: <five>, b: <list>, c: [<text>] }, wait: <yes> }",
    ),
];

/// A pipeline whose stage `second` holds a value of `first` wherever `<name>` stands.
fn pipeline_of(stage: &str, value: impl Fn(&str) -> String) -> String {
    let mut keys = String::new();
    let mut rest = stage;
    while let Some((before, after)) = rest.split_once('<') {
        let (name, after) = after.split_once('>').unwrap();
        keys.push_str(before);
        keys.push_str(&value(name));
        rest = after;
    }
    keys.push_str(rest);
    let keys = flush(&keys);
    let keys: String = keys.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "environments: {{ demo: {{ target: house }} }}\nstages:\n  image: {{ build: {{}} }}\n  first:\n    image: debian:12\n    run: make\n    \
         outputs: {{ text: string, five: int, yes: bool, port: int, duration: string, size: string, image: string, path: string, url: string, word: string, percent: string, address: string, cores: json, root: string, volume: string, ports: string, recreate: string, list: json }}\n  \
         second:\n    needs: [first, image]\n{keys}"
    )
}

#[test]
fn a_value_that_was_waited_for_stands_where_a_written_one_would() {
    let outputs = finished().remove("first").unwrap().outputs;
    for (action, stage) in STAGES {
        let image = if *action == "run" { "image: debian:12\n" } else { "" };
        let written = pipeline_of(stage, |name| match &outputs[name] {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let waiting =
            pipeline_of(stage, |name| format!("\"${{{{ stages.first.outputs.{name} }}}}\""));
        // Inside other text there are quotes already.
        let waiting = waiting.lines().map(unquoted_inside).collect::<Vec<_>>().join("\n");
        let (written, waiting) = (
            planned(&format!("{image}{written}"), &on_main()),
            planned(&format!("{image}{waiting}"), &on_main()),
        );
        let expected = written.stage("second").unwrap();
        assert!(!waiting.stage("second").unwrap().pending.is_empty(), "{stage}");
        let mut resolved =
            resolved(&waiting, "second").unwrap_or_else(|error| panic!("{stage}: {error}"));
        resolved.origins.clone_from(&expected.origins);
        resolved.needs.clone_from(&expected.needs);
        assert_eq!(&resolved, expected, "{stage}");
        let json = serde_json::to_string(&resolved).unwrap();
        assert!(!json.contains("${{"), "{json}");
    }
}

/// `'a:"${{ x }}"'` becomes `'a:${{ x }}'`.
fn unquoted_inside(line: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    let mut rest = line;
    while let Some(at) = rest.find(['\'', '"']) {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        match after.as_bytes()[0] {
            b'\'' => {
                quoted = !quoted;
                out.push('\'');
            }
            _ if quoted => {}
            _ => out.push('"'),
        }
        rest = &after[1..];
    }
    out.push_str(rest);
    out
}

/// The variable `A` of stage `second`, once `first` has passed.
fn variable(env: &str, expression: &str) -> String {
    let text = format!(
        "image: debian:12\non: {{ manual: {{ params: {{ target: {{ type: string, default: prod }} }} }} }}\n{env}\nstages:\n  first:\n    run: make\n    \
         outputs: {{ text: string, five: int, yes: bool, list: json }}\n  second:\n    needs: [first]\n    run: make\n    matrix: {{ db: ['mysql:8'] }}\n    env: {{ A: {} }}\n",
        serde_json::to_string(expression).unwrap()
    );
    let mut context = on_main();
    context.event = crate::TriggerEvent::Manual;
    context.params = BTreeMap::from([("target".to_owned(), "prod".into())]);
    context.changed = Some(vec!["src/main.rs".to_owned()]);
    let plan = planned(&text, &context);
    // A run keeps its plan as text.
    let plan: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
    match resolved(&plan, "second[db=mysql:8]") {
        Ok(stage) => match stage.work {
            Work::Run(run) => run.env["A"].clone(),
            other => panic!("{other:?}"),
        },
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_a_stage_reads_when_it_starts_is_all_there() {
    let env =
        "env: { PLAIN: v, BUILD: 'b-${{ run.number }}', CELL: '${{ default(matrix.db, \"-\") }}' }";
    for (expression, expected) in [
        ("${{ run.number }} ${{ run.attempt }} ${{ run.id }}", "7 2 019ca8"),
        ("${{ run.url }} ${{ run.started }}", "https://ci.corp.example/7 2026-03-01T08:00:00Z"),
        ("${{ stages.first.result }} ${{ stages.first.outputs.five + 1 }}", "passed 6"),
        ("${{ stages.first.outputs.list[1] }}", "b"),
        ("${{ default(stages.first.outputs.text, 'x') }}", "a-text"),
        (
            "${{ run.number }} ${{ git.sha_short }} ${{ event.name }} ${{ pipeline.name }}",
            "7 01234567 manual orders",
        ),
        ("${{ run.number }} ${{ params.target }} ${{ matrix.db }}", "7 prod mysql:8"),
        ("${{ env.BUILD }} ${{ env.PLAIN }} ${{ env.CELL }}", "b-7 v mysql:8"),
        ("${{ run.number }} ${{ changed('src/**') }} ${{ changed('docs/**') }}", "7 true false"),
    ] {
        assert_eq!(variable(env, expression), expected, "{expression}");
    }
}

#[test]
fn what_has_no_value_when_a_stage_starts_is_told_with_its_place() {
    assert_eq!(
        variable("", "${{ stages.first.outputs.text + string(1 / (run.number - 7)) }}"),
        "error[E042]: `stages.first.outputs.text + string(1 / (run.number - 7))` cannot be evaluated: there is no division by zero\n  \
         --> .shipline.yml:12:15"
    );
    let text = "
        image: debian:12
        stages:
          first: { run: make, outputs: { five: int, text: string } }
          second: { needs: [first], run: make, env: { A: \"${{ stages.first.outputs.five }}\" }, artifacts: { paths: [a], name: \"${{ stages.first.outputs.text }}\" } }
        ";
    let plan = planned(&flush(text), &on_main());
    let stage = plan.stage("second").unwrap();
    let said = |five: serde_json::Value, text: &str| {
        let outputs = BTreeMap::from([("five".to_owned(), five), ("text".to_owned(), text.into())]);
        let first = Finished { result: "passed".to_owned(), outputs };
        let finished = BTreeMap::from([("first".to_owned(), first)]);
        resolve(&plan, stage, &finished, &run_facts(), &|_| Err(String::new()))
            .map_or_else(|error| error.message, |_| "fine".to_owned())
    };
    assert_eq!(said(5.into(), "dist"), "fine");
    assert_eq!(
        said("$(evil)".into(), "dist"),
        "`stages.first.outputs.text` cannot be evaluated: output `five` of stage `first` is not a whole number"
    );
    assert_eq!(said(5.into(), "a/b"), "`name` is no name of an artifact: `a/b`");
    let long = "x".repeat(200 << 10);
    assert!(said(5.into(), &long).starts_with("`name` "), "{long:.80}");
    let nobody = resolve(&plan, stage, &BTreeMap::new(), &run_facts(), &|_| Err(String::new()));
    assert_eq!(nobody.unwrap_err().message, "`stages.first.outputs.text` has no value here");
}

#[test]
fn hash_asks_the_workspace_when_the_stage_starts() {
    let text = flush(
        "
        image: debian:12
        stages:
          second: { run: make, cache: { key: \"m-${{ hash('**/pom.xml', 'a') }}\", paths: [~/.m2] } }
        ",
    );
    let plan = planned(&text, &on_main());
    let stage = plan.stage("second").unwrap();
    assert_eq!(stage.cache[0].key, "m-${{ hash('**/pom.xml', 'a') }}");
    let asked = |globs: &[String]| Ok(globs.join("|"));
    let resolved = resolve(&plan, stage, &BTreeMap::new(), &run_facts(), &asked).unwrap();
    assert_eq!(resolved.cache[0].key, "m-**/pom.xml|a");
    let nothing = |_: &[String]| Err("no file matches `**/pom.xml`".to_owned());
    let error = resolve(&plan, stage, &BTreeMap::new(), &run_facts(), &nothing).unwrap_err();
    assert_eq!(
        error.to_string(),
        "error[E042]: `hash('**/pom.xml', 'a')` cannot be evaluated: no file matches `**/pom.xml`\n  --> .shipline.yml:3:38"
    );
}

#[test]
fn an_own_variable_stands_above_a_default_that_waits() {
    let text = flush(
        "
        image: debian:12
        env: { A: 'n-${{ run.number }}', B: 'n-${{ run.number }}' }
        stages:
          second: { run: make, env: { A: own } }
        ",
    );
    let plan = planned(&text, &on_main());
    let Work::Run(run) = resolved(&plan, "second").unwrap().work else { panic!("no run") };
    assert_eq!((run.env["A"].as_str(), run.env["B"].as_str()), ("own", "n-7"));
}

#[test]
fn a_deferred_condition_is_settled_with_what_it_saw() {
    let text = flush(
        "
        image: debian:12
        stages:
          first: { run: make, outputs: { five: int } }
          second:
            needs: [first]
            run: make
            when: [{ branch: main, if: \"stages.first.outputs.five > 4 && stages.first.result == 'passed'\" }]
        ",
    );
    let plan = planned(&text, &on_main());
    let stage = plan.stage("second").unwrap();
    let settled = |five: i64| {
        let outputs = BTreeMap::from([("five".to_owned(), five.into())]);
        let first = Finished { result: "passed".to_owned(), outputs };
        let finished = BTreeMap::from([("first".to_owned(), first)]);
        let condition = settle(&plan, stage, &finished, &run_facts()).unwrap();
        let test = condition.any[0].all.last().unwrap().clone();
        (test.holds, test.saw, test.reason)
    };
    let words = |value: &str, five: &str| {
        let saw =
            format!("`stages.first.outputs.five` is `{five}`, `stages.first.result` is `passed`");
        let reason = format!(
            "`stages.first.outputs.five > 4 && stages.first.result == 'pas…` is {value}: {saw}"
        );
        (saw, reason)
    };
    let (saw, reason) = words("true", "5");
    assert_eq!(settled(5), (Some(true), saw, reason));
    let (saw, reason) = words("false", "3");
    assert_eq!(settled(3), (Some(false), saw, reason));
    assert_eq!(
        settle(&plan, plan.stage("first").unwrap(), &BTreeMap::new(), &run_facts())
            .unwrap()
            .any
            .len(),
        1
    );
}

#[test]
fn a_stage_with_cells_has_the_worst_of_their_results() {
    let text = flush(
        "
        image: debian:12
        stages:
          first: { run: make, matrix: { db: [a, b] }, outputs: [x] }
          second: { needs: [first], run: make, run-on: always, env: { A: \"${{ stages.first.result }} ${{ default(stages.first.cells['db=a'].outputs.x, '-') }}\" } }
        ",
    );
    let plan = planned(&text, &on_main());
    let finished = |result: &str| {
        let outputs = BTreeMap::from([("x".to_owned(), "1".into())]);
        Finished { result: result.to_owned(), outputs }
    };
    let cells = BTreeMap::from([
        ("first[db=a]".to_owned(), finished("passed")),
        ("first[db=b]".to_owned(), finished("failed")),
    ]);
    let stage = plan.stage("second").unwrap();
    let resolved = resolve(&plan, stage, &cells, &run_facts(), &|_| Err(String::new())).unwrap();
    let Work::Run(run) = resolved.work else { panic!("no run") };
    assert_eq!(run.env["A"], "failed 1");
}
