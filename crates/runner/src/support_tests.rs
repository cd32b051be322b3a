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
    let found = unsupported(&plan, SideEffects::Allowed, false);
    found.into_iter().map(|found| format!("{}: {}", found.key, found.sentence)).collect()
}

fn written(line: usize) -> Value {
    json!({"file": ".shipline.yml", "line": line, "column": 5, "by": "file"})
}

/// Every key of a stage that is not run, with a plan that has it.
fn refused() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("checkout", "checkout.submodules", json!({"submodules": "recursive"})),
        ("checkout", "checkout.lfs", json!({"lfs": true})),
        ("checkout", "checkout.paths", json!({"paths": ["web/**"]})),
        ("approve", "approve", json!({})),
        ("trigger", "trigger", json!({})),
        ("deploy", "deploy.canary", json!({"canary": {"steps": []}})),
        ("deploy", "deploy.kubernetes", json!({"kubernetes": {}})),
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
fn a_folder_of_hosts_is_that_of_their_target() {
    let stage = || stage("deploy", json!({"hosts": {"path": "/srv/x"}}));
    let sentence = "deploy.hosts.path: stage `x` names the folder of its releases, which is the \
                    target's: what is deployed is looked at without a stage";
    assert_eq!(said(stage()), [sentence]);
    let of = |path: &str| {
        let mut plan = plan(vec![stage()]);
        let hosts = json!({"target": {"hosts": {"hosts": ["web-1"], "path": path}}});
        plan.environments.insert("test".to_owned(), serde_json::from_value(hosts).unwrap());
        unsupported(&plan, SideEffects::Allowed, false).len()
    };
    assert_eq!((of("/srv/x"), of("/srv/y")), (0, 1));
}

#[test]
fn a_release_is_an_image_or_files() {
    let both = stage("deploy", json!({"hosts": {"artifact": ["dist/**"]}}));
    let sentence = "deploy.hosts.artifact: stage `x` deploys an `image` and files of the workspace, \
                    and a release is one of both";
    assert_eq!(said(both), [sentence]);
}

#[test]
fn what_can_be_run_is_not_refused() {
    let service = json!({"db": {"image": "mysql:8", "ready": {"timeout": "60s"}}});
    let run = json!({
        "concurrency": {"group": "a", "limit": 1, "on-new": "queue"},
        "services": service,
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
        "tags": ["app:1"], "platform": "linux/arm64",
        "secrets": [{"name": "TOKEN", "present": true}]});
    let deploy = json!({
        "expose": {"port": 80, "host": "*", "path": "/"}, "env": {"A": "b"},
        "strategy": {"batch": 2, "batches": [1, "25%"], "parallel": 1, "max-unavailable": 1,
            "max-surge": "10%", "order": "stop-first", "kind": "recreate", "bake": "5s",
            "drain": "5s", "on-failure": "hold", "rollback-deadline": "1m", "tolerate": 1,
            "drain-websockets": "1m"},
        "verify": [{"http": "https://shop.example/health", "timeout": "5s"}, {"suite": "smoke"},
            {"image": "debian:12", "run": ["smoke-test"], "per": "unit"}],
        "health": {"http": {"path": "/", "port": 80}, "interval": "1s", "timeout": "1s",
            "successes": 1, "failures": 1, "start-period": "0s", "deadline": "60s"},
        "ports": ["80:80"], "command": ["serve"], "service-resources": {"pids": 9},
        "volumes": ["data:/data"], "networks": ["back"], "stop-timeout": "1m",
        "allow-mutable-tag": true, "keep-warm": "1m",
    });
    let asked_by_command = json!({
        "health": {"cmd": ["true"], "interval": "1s", "timeout": "1s", "successes": 1,
            "failures": 1, "start-period": "0s", "deadline": "60s"},
    });
    for (action, keys) in [
        ("checkout", json!({"depth": null})),
        ("run", run),
        ("build", build),
        (
            "push",
            json!({"scan": {"max-severity": "high", "timeout": "5m",
            "on-unscannable": "fail"}}),
        ),
        ("deploy", deploy),
        ("deploy", asked_by_command),
    ] {
        assert_eq!(said(stage(action, keys)), [""; 0], "{action}");
    }
}

#[test]
fn secrets_of_deploy_stages_are_refused() {
    let secrets = stage("deploy", json!({"secrets": [{"name": "TOKEN", "present": true}]}));
    assert_eq!(
        said(secrets),
        [
            "secrets: stage `x` uses `secrets`, which this version gives to `run` and `build` stages only"
        ]
    );
}

#[test]
fn a_deploy_stage_joins_no_files() {
    for merge in [json!("last"), json!({"paths": ["target/**"]})] {
        let deploy = stage("deploy", json!({"merge": merge, "origins": {"merge": written(3)}}));
        let found = unsupported(&plan(vec![deploy]), SideEffects::Allowed, false);
        let told = found[0].to_string();
        assert!(
            told.starts_with(
                "error[E018]: stage `x` uses `merge`, and a `deploy` stage has no files that could \
                 be joined\n  --> .shipline.yml:3:"
            ) && told.contains("it belongs to the `build` stage"),
            "{told}"
        );
        let run = stage("run", json!({ "merge": merge }));
        assert_eq!(said(run), [""; 0]);
    }
}

#[test]
fn limits_of_a_build_are_refused_with_what_helps() {
    let limited = stage("build", json!({"resources": {"cpu": 1.0, "memory": 1024}}));
    let found = unsupported(&plan(vec![limited]), SideEffects::Allowed, false);
    assert_eq!(found.len(), 1);
    let told = found[0].to_string();
    assert!(
        told.starts_with(
            "error[E018]: stage `x` uses `resources`, and the engine's BuildKit gives builds no limits"
        ) && told.contains("`run` stage, whose `resources` hold"),
        "{told}"
    );
}

#[test]
fn a_cache_of_a_build_is_told_where_it_belongs() {
    let cached = stage("build", json!({"cache": [{"key": "a", "paths": ["/root/.m2"]}]}));
    let found = unsupported(&plan(vec![cached]), SideEffects::Allowed, false);
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
    let found = unsupported(&planned, SideEffects::Allowed, false);
    assert_eq!(
        found[0].sentence,
        "stage `x` deploys to `test`, whose target is `kubernetes`: this version deploys to `docker`, `hosts` and `process`"
    );
    planned.environments.clear();
    let told = unsupported(&planned, SideEffects::Allowed, false)[0].to_string();
    assert!(
        told.starts_with(
            "error[E062]: stage `x` deploys to `test`, which the file does not define: a deploy from here needs its target"
        ),
        "{told}"
    );
    assert!(unsupported(&planned, SideEffects::Withheld, false).is_empty());
    let gated = json!({"target": {"docker": {"host": "unix:///d.sock"}}, "gates": {"freeze": []}});
    planned.environments.insert("test".to_owned(), serde_json::from_value(gated).unwrap());
    assert_eq!(
        unsupported(&planned, SideEffects::Allowed, false)[0].sentence,
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
    planned.notices =
        serde_json::from_value(json!([{"channel": "wecom", "url": "CHAT", "on": ["failed"]}]))
            .unwrap();
    let found = unsupported(&planned, SideEffects::Allowed, false);
    let said: Vec<&str> = found.iter().map(|found| found.sentence.as_str()).collect();
    assert_eq!(said, ["the pipeline uses `notify.wecom`, which this version cannot run yet",]);
}

#[test]
fn a_skipped_stage_asks_for_nothing_and_neither_does_one_that_is_withheld() {
    let mut skipped = stage("approve", json!({}));
    skipped.state = pipeline::Decision::Skip;
    assert_eq!(said(skipped), [""; 0]);
    let withheld = plan(vec![stage("trigger", json!({})), stage("deploy", json!({}))]);
    assert_eq!(unsupported(&withheld, SideEffects::Withheld, false), []);
    assert!(unsupported(&withheld, SideEffects::Allowed, false).len() >= 2);
}

#[test]
fn a_refusal_names_the_place_and_tells_the_cells_of_a_stage_once() {
    let cells = ["x[os=a]", "x[os=b]"].map(|name| {
        let keys = json!({"name": name, "origins": {"trigger.pipeline": written(12), "trigger.wait": written(13)}});
        stage("trigger", keys)
    });
    let found = unsupported(&plan(cells.into()), SideEffects::Allowed, false);
    let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["error[E018]: stage `x` uses `trigger`, which this version cannot run yet\n  \
          --> .shipline.yml:12:5\n   \
          = help: remove it for now, or use a version of Shipline that has it"]
    );
}
