//! Values that are known only when their stage starts: a plan waits for them, and
//! then they stand where a written value would.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::{Finished, PlannedStage, RunFacts, Unresolved, resolve};

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
          command: [serve, <text>]
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
