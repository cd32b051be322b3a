use pipeline::PlannedStage;
use serde_json::{Value, json};

use super::*;
use crate::testing::{plan, stage_of};

/// Merges `with` into `value`, map by map.
fn merge(value: &mut Value, with: Value) {
    match (value, with) {
        (Value::Object(value), Value::Object(with)) => {
            for (key, with) in with {
                merge(value.entry(key).or_insert(Value::Null), with);
            }
        }
        (value, with) => *value = with,
    }
}

/// A stage that does `action` and has `keys` besides.
fn stage(action: &str, keys: Value) -> PlannedStage {
    let mut work = match action {
        "checkout" => json!({"depth": 1}),
        "run" => json!({"image": "busybox:1", "run": ["make"]}),
        "build" => json!({"context": ".", "file": "Dockerfile"}),
        "push" => json!({"image": {"stage": "image"}, "registry": "harbor", "tags": ["h/a:1"]}),
        "deploy" => json!({"environment": "test", "image": {"stage": "image"}, "replicas": 1}),
        "approve" => json!({"by": ["jo"], "count": 1}),
        "trigger" => json!({"pipeline": "docs", "wait": true}),
        other => panic!("no action: {other}"),
    };
    merge(&mut work, json!({"action": action}));
    merge(&mut work, keys);
    stage_of("x", &[], work)
}

/// What is said of a stage, key and sentence.
fn said(stage: PlannedStage) -> Vec<String> {
    let mut plan = plan(vec![stage]);
    let docker = json!({"target": {"docker": {"host": "unix:///d.sock"}}});
    plan.environments.insert("test".to_owned(), serde_json::from_value(docker).unwrap());
    let found = unsupported(&plan, SideEffects::Allowed);
    found.into_iter().map(|found| format!("{}: {}", found.key, found.sentence)).collect()
}

fn written(line: usize) -> Value {
    json!({"file": ".shipline.yml", "line": line, "column": 5, "by": "file"})
}

/// Every key of a stage that is not run, with a plan that has it.
fn refused() -> Vec<(&'static str, &'static str, Value)> {
    let strategy = |keys: Value| {
        let mut strategy = json!({"batch": 1, "bake": "0s", "drain": "30s"});
        merge(&mut strategy, keys);
        json!({"strategy": strategy})
    };
    let service = json!({"db": {"image": "mysql:8", "ready": {"timeout": "60s"}}});
    let concurrency = json!({"group": "a", "limit": 1, "on-new": "queue"});
    let health = json!({"cmd": ["true"], "interval": "1s", "timeout": "1s", "successes": 1,
        "failures": 1, "start-period": "0s", "deadline": "60s"});
    vec![
        ("checkout", "checkout.submodules", json!({"submodules": "recursive"})),
        ("checkout", "checkout.lfs", json!({"lfs": true})),
        ("checkout", "checkout.paths", json!({"paths": ["web/**"]})),
        ("run", "services", json!({"services": service})),
        ("run", "runner", json!({"runner": ["arm64"]})),
        ("run", "inputs", json!({"inputs": ["src/**"]})),
        ("run", "merge", json!({"merge": "last"})),
        ("run", "concurrency", json!({"concurrency": concurrency})),
        ("build", "resources", json!({"resources": {"cpu": 1.0}})),
        (
            "push",
            "push.scan",
            json!({"scan": {"max-severity": "high", "timeout": "5m",
            "on-unscannable": "fail"}}),
        ),
        ("approve", "approve", json!({})),
        ("trigger", "trigger", json!({})),
        ("deploy", "deploy.ports", json!({"ports": ["80:80"]})),
        ("deploy", "deploy.command", json!({"command": ["serve"]})),
        ("deploy", "deploy.resources", json!({"service-resources": {"pids": 9}})),
        ("deploy", "deploy.volumes", json!({"volumes": ["data:/data"]})),
        ("deploy", "deploy.networks", json!({"networks": ["back"]})),
        ("deploy", "deploy.stop-timeout", json!({"stop-timeout": "1m"})),
        ("deploy", "deploy.health.cmd", json!({"health": health})),
        ("deploy", "deploy.canary", json!({"canary": {"steps": []}})),
        ("deploy", "deploy.verify", json!({"verify": [{"suite": "smoke"}]})),
        (
            "deploy",
            "deploy.keep-warm",
            json!({"keep-warm": "10m",
            "origins": {"deploy.keep-warm": written(9)}}),
        ),
        ("deploy", "deploy.allow-mutable-tag", json!({"allow-mutable-tag": true})),
        ("deploy", "deploy.kubernetes", json!({"kubernetes": {}})),
        ("deploy", "deploy.hosts", json!({"hosts": {}})),
        ("deploy", "deploy.strategy.kind", strategy(json!({"kind": "recreate"}))),
        ("deploy", "deploy.strategy.order", strategy(json!({"order": "stop-first"}))),
        ("deploy", "deploy.strategy.batches", strategy(json!({"batches": [1]}))),
        ("deploy", "deploy.strategy.groups", strategy(json!({"groups": ["north"]}))),
        ("deploy", "deploy.strategy.parallel", strategy(json!({"parallel": 1}))),
        ("deploy", "deploy.strategy.max-unavailable", strategy(json!({"max-unavailable": 1}))),
        ("deploy", "deploy.strategy.max-surge", strategy(json!({"max-surge": "10%"}))),
        ("deploy", "deploy.strategy.tolerate", strategy(json!({"tolerate": 1}))),
        ("deploy", "deploy.strategy.drain-websockets", strategy(json!({"drain-websockets": "1m"}))),
        ("deploy", "deploy.strategy.on-failure", strategy(json!({"on-failure": "hold"}))),
        (
            "deploy",
            "deploy.strategy.rollback-deadline",
            strategy(json!({"rollback-deadline": "1m"})),
        ),
    ]
}

#[test]
fn what_cannot_be_run_is_refused_with_one_sentence_each() {
    for (action, key, keys) in refused() {
        let sentence = format!("{key}: stage `x` uses `{key}`, which this version cannot run yet");
        assert_eq!(said(stage(action, keys)), [sentence], "{action}");
    }
}

#[test]
fn what_can_be_run_is_not_refused() {
    let run = json!({
        "env": {"A": "b"}, "pull": true, "shell": "bash", "user": "1000", "workdir": "web",
        "outputs": {"version": "string"}, "resources": {"cpu": 1.5, "memory": 1024, "pids": 9},
        "cancel-grace": "1m", "run-on": "always", "allow-failure": "any", "timeout": "1m",
        "retry": {"max": 2, "on": ["timeout"], "backoff": "5s"}, "origins": {"retry.max": written(3)},
        "cache": [{"key": "a", "paths": ["/root/.m2"]}],
        "secrets": [{"name": "TOKEN", "present": true}],
        "reports": {"junit": ["**/TEST-*.xml"]},
        "artifacts": {"paths": ["dist/**"], "expire": "30d", "on": "success"},
    });
    let build = json!({"target": "app", "args": {"A": "b"}, "env": {"C": "d"},
        "tags": ["app:1"], "platform": "linux/arm64"});
    let deploy = json!({
        "expose": {"port": 80, "host": "*", "path": "/"}, "env": {"A": "b"},
        "strategy": {"batch": 2, "bake": "5s", "drain": "5s", "kind": "rolling", "on-failure": "rollback"},
        "health": {"http": {"path": "/", "port": 80}, "interval": "1s", "timeout": "1s",
            "successes": 1, "failures": 1, "start-period": "0s", "deadline": "60s"},
    });
    for (action, keys) in [
        ("checkout", json!({"depth": null})),
        ("run", run),
        ("build", build),
        ("push", json!({})),
        ("deploy", deploy),
    ] {
        assert_eq!(said(stage(action, keys)), [""; 0], "{action}");
    }
}

#[test]
fn secrets_of_other_stages_than_run_are_refused() {
    for action in ["build", "deploy"] {
        let secrets = stage(action, json!({"secrets": [{"name": "TOKEN", "present": true}]}));
        assert_eq!(
            said(secrets),
            ["secrets: stage `x` uses `secrets`, which this version gives to `run` stages only"]
        );
    }
}

#[test]
fn a_cache_of_a_build_is_told_where_it_belongs() {
    let cached = stage("build", json!({"cache": [{"key": "a", "paths": ["/root/.m2"]}]}));
    let found = unsupported(&plan(vec![cached]), SideEffects::Allowed);
    let told = found[0].to_string();
    assert!(
        told.starts_with(
            "error[E018]: stage `x` uses `cache`, and nothing can be mounted into a build"
        ) && told.contains("`RUN --mount=type=cache,"),
        "{told}"
    );
}

#[test]
fn a_target_of_another_kind_is_refused_with_the_one_that_works() {
    let mut planned = plan(vec![stage("deploy", json!({}))]);
    let environment = json!({"target": {"kubernetes": {}}});
    planned.environments.insert("test".to_owned(), serde_json::from_value(environment).unwrap());
    let found = unsupported(&planned, SideEffects::Allowed);
    assert_eq!(
        found[0].sentence,
        "stage `x` deploys to `test`, whose target is `kubernetes`: this version deploys to `docker` only"
    );
    planned.environments.clear();
    let told = unsupported(&planned, SideEffects::Allowed)[0].to_string();
    assert!(
        told.starts_with(
            "error[E062]: stage `x` deploys to `test`, which the file does not define: a deploy from here needs its target"
        ),
        "{told}"
    );
    assert!(unsupported(&planned, SideEffects::Withheld).is_empty());
    let gated = json!({"target": {"docker": {"host": "unix:///d.sock"}}, "gates": {"freeze": []}});
    planned.environments.insert("test".to_owned(), serde_json::from_value(gated).unwrap());
    assert_eq!(
        unsupported(&planned, SideEffects::Allowed)[0].sentence,
        "stage `x` deploys to `test`, which has the gate `freeze`: this version asks no gates, and does not pass them unasked"
    );
    let imageless = said(stage("deploy", json!({"image": null})));
    assert_eq!(
        imageless,
        ["deploy.image: stage `x` deploys no `image`, and this version deploys nothing else"]
    );
}

#[test]
fn keys_of_the_whole_run_are_refused_too() {
    let mut planned = plan(Vec::new());
    planned.run_timeout = pipeline::Duration::from_secs(60);
    planned.concurrency =
        serde_json::from_value(json!({"group": "a", "limit": 1, "on-new": "queue"})).unwrap();
    planned.notices =
        serde_json::from_value(json!([{"channel": "wecom", "url": "CHAT", "on": ["failed"]}]))
            .unwrap();
    let found = unsupported(&planned, SideEffects::Allowed);
    let said: Vec<&str> = found.iter().map(|found| found.sentence.as_str()).collect();
    assert_eq!(
        said,
        [
            "the pipeline uses `run-timeout`, which this version cannot run yet",
            "the pipeline uses `concurrency`, which this version cannot run yet",
            "the pipeline uses `notify.wecom`, which this version cannot run yet",
        ]
    );
}

#[test]
fn a_skipped_stage_asks_for_nothing_and_neither_does_one_that_is_withheld() {
    let mut skipped = stage("approve", json!({}));
    skipped.state = pipeline::Decision::Skip;
    assert_eq!(said(skipped), [""; 0]);
    let withheld = plan(vec![
        stage("trigger", json!({})),
        stage(
            "push",
            json!({"scan":
        {"max-severity": "high", "timeout": "5m", "on-unscannable": "fail"}}),
        ),
    ]);
    assert_eq!(unsupported(&withheld, SideEffects::Withheld), []);
    assert_eq!(unsupported(&withheld, SideEffects::Allowed).len(), 2);
}

#[test]
fn a_refusal_names_the_place_and_tells_the_cells_of_a_stage_once() {
    let cells = ["x[os=a]", "x[os=b]"].map(|name| {
        let keys = json!({"name": name, "inputs": ["src/**"],
            "origins": {"inputs.0": written(12), "inputs.1": written(13)}});
        stage("run", keys)
    });
    let found = unsupported(&plan(cells.into()), SideEffects::Allowed);
    let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["error[E018]: stage `x` uses `inputs`, which this version cannot run yet\n  \
          --> .shipline.yml:12:5\n   \
          = help: remove it for now, or use a version of Shipline that has it"]
    );
}
