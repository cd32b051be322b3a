//! `deploy`: what it reads, what it refuses, what the plan holds.

use super::*;
use crate::{DeployWork, OriginKind, Work};

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What is said about the keys of one deploy, beside `environment` and `image`.
/// Its lines begin with line 7, column 7.
fn said(keys: &str) -> String {
    said_in(
        "{ target: house }",
        &format!("environment: demo\n      image: image\n{}", indented(keys)),
    )
}

/// What is said about an environment in line 1 and the deploy in line 6, column 7.
pub(super) fn said_in(environment: &str, deploy: &str) -> String {
    lines(&found_in(&pipeline(environment, deploy), &Bundled, &on_main()))
}

pub(super) fn pipeline(environment: &str, deploy: &str) -> String {
    format!(
        "environments: {{ demo: {environment} }}\nstages:\n  image: {{ build: {{}} }}\n  \
         deploy:\n    timeout: 5m\n    deploy:\n      {deploy}\n"
    )
}

fn indented(keys: &str) -> String {
    flush(keys).trim_end().lines().map(|line| format!("      {line}\n")).collect()
}

#[track_caller]
fn says(keys: &str, expected: &str) {
    let found = said(keys);
    assert_eq!(found, flush(expected).trim_end(), "\n{found}\n");
}

/// The planned deploy, with the origins of its values.
fn deployed(environment: &str, deploy: &str) -> (DeployWork, BTreeMap<String, OriginKind>) {
    let plan = planned(&pipeline(environment, deploy), &on_main());
    let stage = plan.stage("deploy").unwrap();
    let origins = stage.origins.iter().map(|(path, origin)| (path.clone(), origin.by)).collect();
    match &stage.work {
        Work::Deploy(deploy) => ((**deploy).clone(), origins),
        other => panic!("{other:?}"),
    }
}

/// The JSON of the deploy without what is there anyway.
fn json_of(keys: &str) -> serde_json::Value {
    let deploy = format!("environment: demo\n      image: image\n{}", indented(keys));
    let (deploy, _) = deployed("{ target: house }", &deploy);
    let mut json = serde_json::to_value(&deploy).unwrap();
    let map = json.as_object_mut().unwrap();
    for key in ["environment", "image", "replicas", "env"] {
        map.remove(key);
    }
    let builtin = serde_json::to_value(crate::Strategy::default()).unwrap();
    if map.get("strategy") == Some(&builtin) {
        map.remove("strategy");
    }
    json
}

#[track_caller]
fn plans(keys: &str, expected: &serde_json::Value) {
    assert_eq!(&json_of(keys), expected, "{keys}");
}

#[test]
fn a_service_is_described_by_its_own_keys() {
    plans(
        "
        command: [serve, --port, '80']
        resources: { cpu: 0.5, memory: 256Mi }
        volumes: ['uploads:/srv/uploads']
        networks: [backend]
        stop-timeout: 1m
        keep-warm: 1h
        ",
        &serde_json::json!({
            "command": ["serve", "--port", "80"],
            "service-resources": { "cpu": 0.5, "memory": 268_435_456 },
            "volumes": ["uploads:/srv/uploads"],
            "networks": ["backend"],
            "stop-timeout": "1m",
            "keep-warm": "1h",
        }),
    );
    plans(
        "command: serve --port $PORT",
        &serde_json::json!({ "command": ["sh", "-c", "serve --port $PORT"] }),
    );
    // What is built in is not repeated in every plan.
    plans("stop-timeout: 30s\nkeep-warm: 10m", &serde_json::json!({}));
}

#[test]
fn volumes_are_named_and_networks_are_those_of_the_engine() {
    says(
        "
        volumes: [/etc:/etc, '~/data:/data', './a:/b', uploads, 'a:b', 'a:/x:ro', 'a:/', 'one:/x', 'two:/x']
        networks: [host, 'container:db', 'a b']
        ",
        r##"
        E015 9:17 `volumes` takes no folder of the host: `/etc:/etc` | name a volume instead: a folder of the host is another one on the next host, and opens that host to the service; for example `uploads:/srv/uploads`
        E015 9:29 `volumes` takes no folder of the host: `~/data:/data` | name a volume instead: a folder of the host is another one on the next host, and opens that host to the service; for example `uploads:/srv/uploads`
        E015 9:45 `volumes` takes no folder of the host: `./a:/b` | name a volume instead: a folder of the host is another one on the next host, and opens that host to the service; for example `uploads:/srv/uploads`
        E015 9:54 `volumes` is `name:/path`: `uploads` | for example `uploads:/srv/uploads`
        E015 9:66 `volumes` is `name:/path`: `a:b` | the path begins with `/` and names a folder; for example `uploads:/srv/uploads`
        E015 9:75 `volumes` is `name:/path`: `a:/x:ro` | nothing follows the path
        E015 9:84 `volumes` is `name:/path`: `a:/` | the path begins with `/` and names a folder; for example `uploads:/srv/uploads`
        E013 9:98 `volumes` mounts two volumes at `/x` | choose another path
        E015 10:18 `networks` takes names of networks to join, not `host` | a unit keeps a network of its own, and joins those of the engine; for example `backend`
        E015 10:24 `networks` takes names of networks to join, not `container:db` | a unit keeps a network of its own, and joins those of the engine; for example `backend`
        E015 10:40 `networks` is no name: `a b` | a name begins with a letter or digit and has at most 64 letters, digits, `.`, `-` and `_`
        "##,
    );
}

#[test]
fn an_image_has_a_digest_comes_from_a_stage_or_is_allowed_to_move() {
    let deploy = |image: &str| format!("environment: demo\n      image: {image}");
    let found = |image: &str| said_in("{ target: house }", &deploy(image));
    let moves = "E015 8:14 `image` of a deploy names what cannot change, and the tag of `redis:7` can be moved \
                 | name its digest: `…@sha256:…` | or deploy the image of a `push` or `build` stage, by the \
                 name of the stage / or let the tag be looked up when the stage starts: allow-mutable-tag: true";
    assert_eq!(found("redis:7"), moves);
    assert_eq!(found("redis:7\n      allow-mutable-tag: false"), moves);
    // Known with the plan, so it is said with the plan.
    assert_eq!(found("\"${{ 'redis:7' }}\""), moves);
    assert_eq!(found("redis:7\n      allow-mutable-tag: true"), "");
    assert_eq!(found(&format!("redis:7@{DIGEST}")), "");
    assert_eq!(found("image"), "");
    let (planned, _) =
        deployed("{ target: house }", &deploy("redis:7\n      allow-mutable-tag: true"));
    assert!(planned.allow_mutable_tag);
}

#[test]
fn an_image_is_needed_unless_files_or_manifests_are_the_release() {
    let found = |keys: &str| {
        said_in("{ target: house }", &format!("environment: demo\n{}", indented(keys)))
    };
    assert_eq!(
        found(""),
        "E014 6:5 `deploy` of stage `deploy` has no `image` | add `image: NAME_OF_A_STAGE` | only a deploy with `hosts` or `kubernetes` can do without, where files or manifests are the release"
    );
    assert_eq!(found("kubernetes: { manifests: k8s/*.yml }"), "");
    assert_eq!(found("hosts: { artifact: [dist/**, '!dist/*.map'] }"), "");
    assert_eq!(
        found("kubernetes: {}"),
        "E014 8:19 `kubernetes` of stage `deploy` has neither `manifests` nor an image to set | add for example `manifests: [deploy/*.yml]`"
    );
    assert_eq!(
        found("kubernetes: { set-image: web }"),
        "E014 8:21 `kubernetes` of stage `deploy` sets an image, and the deploy names none | add `image` to `deploy`, beside `kubernetes`"
    );
    assert_eq!(
        found("hosts: { path: /srv/web }"),
        "E014 8:14 `hosts` of stage `deploy` does not say what the release is made of | add for example `artifact: [dist/**]`"
    );
}

#[test]
fn hosts_and_kubernetes_say_how_a_release_gets_there() {
    plans(
        "kubernetes: { namespace: shop, manifests: [k8s/*.yml], set-image: web }",
        &serde_json::json!({ "kubernetes": { "namespace": "shop", "manifests": ["k8s/*.yml"], "set-image": "web" } }),
    );
    plans(
        "hosts: { path: /srv/web, artifact: dist/**, reload: php-fpm, groups: [north, south] }",
        &serde_json::json!({ "hosts": { "path": "/srv/web", "artifact": ["dist/**"], "reload": "php-fpm", "groups": ["north", "south"] } }),
    );
    says(
        "
        hosts: { path: srv, artifact: /etc/*, reload: phpfpm, groups: ['a b'] }
        kubernetes: { namespace: Shop, set-image: a_b, manifests: ['../*.yml'] }
        ",
        r##"
        E015 9:22 `path` is a path from the root, not `srv` | it begins with `/` and has no `..`
        E015 9:37 `artifact` takes paths within the workspace, not `/etc/*` | a path within the workspace does not begin with `/` or `~` and has no `..`; for example `target/*.jar`
        E015 9:53 `reload` is no way to take over a release: `phpfpm` | did you mean `php-fpm`? ways are `php-fpm`, `tomcat`, `systemd`, `node`, `none`
        E015 9:70 `groups` is no name: `a b` | a name begins with a letter or digit and has at most 64 letters, digits, `.`, `-` and `_`
        E013 10:7 `deploy` of stage `deploy` has `kubernetes` and `hosts` | keep the one that fits the environment
        E015 10:32 `namespace` is no name of Kubernetes: `Shop` | at most 63 small letters, digits and `-`; for example `orders`
        E015 10:49 `set-image` is no name of Kubernetes: `a_b` | at most 63 small letters, digits and `-`; for example `orders`
        E015 10:66 `manifests` takes paths within the workspace, not `../*.yml` | a path within the workspace does not begin with `/` or `~` and has no `..`; for example `target/*.jar`
        "##,
    );
}

#[test]
fn ports_of_a_host_belong_to_one_unit() {
    plans(
        "
        ports: ['8080:80']
        strategy: { order: stop-first }
        ",
        &serde_json::json!({
            "ports": ["8080:80"],
            "strategy": { "order": "stop-first", "batch": 1, "bake": "0s", "drain": "30s" },
        }),
    );
    // All down, then all up, stops first, too.
    assert_eq!(said("ports: ['8080:80']\nstrategy: recreate"), "");
    says(
        "
        ports: ['8080:80']
        replicas: 2
        strategy: rolling
        ",
        r##"
        E013 9:7 stage `deploy` publishes `ports` of the host, and starts new units before old ones stop | two units cannot hold one port of a host | write strategy: { order: stop-first }, or `expose` in place of `ports`
        E013 9:7 stage `deploy` publishes `ports` of the host, and wants 2 replicas | two units cannot hold one port of a host | write `replicas: 1`, or `expose` in place of `ports`
        "##,
    );
    says(
        "ports: ['8080:80']",
        r##"
        E013 9:7 stage `deploy` publishes `ports` of the host, and starts new units before old ones stop | two units cannot hold one port of a host | write strategy: { order: stop-first }, or `expose` in place of `ports`
        "##,
    );
    says(
        "ports: [8080, '80', 'a:b', '0:80', '127.0.0.1:80:80', '81:1', '81:2']",
        r##"
        E015 9:15 `ports` is `host:container`: `8080` | write `"8080:8080"`
        E015 9:21 `ports` is `host:container`: `80` | two ports from 1 to 65535; for example `"8080:80"`
        E015 9:27 `ports` is `host:container`: `a:b` | two ports from 1 to 65535; for example `"8080:80"`
        E015 9:34 `ports` is `host:container`: `0:80` | two ports from 1 to 65535; for example `"8080:80"`
        E015 9:42 `ports` is `host:container`: `127.0.0.1:80:80` | two ports from 1 to 65535; for example `"8080:80"`
        E013 9:69 `ports` gives port 81 of the host away twice | choose another port
        "##,
    );
}

#[test]
fn ports_are_judged_with_what_the_environment_says() {
    let deploy = "environment: demo\n      image: image\n      ports: ['8080:80']";
    let stops = "strategy: { order: stop-first }";
    assert_eq!(said_in(&format!("{{ target: house, {stops} }}"), deploy), "");
    assert_eq!(
        said_in(&format!("{{ target: house, replicas: 2, {stops} }}"), deploy),
        "E013 9:7 stage `deploy` publishes `ports` of the host, and wants 2 replicas | two units cannot hold one port of a host | write `replicas: 1`, or `expose` in place of `ports`"
    );
    let found = found_in(
        &pipeline("{ target: house, replicas: 2, strategy: rolling }", deploy),
        &Bundled,
        &on_main(),
    );
    let places: Vec<_> = found
        .iter()
        .flat_map(|found| &found.related)
        .map(|related| format!("{} {}", related.message, related.place))
        .collect();
    assert_eq!(
        places,
        [
            "the environment says so .shipline.yml:1:63",
            "the environment says so .shipline.yml:1:50",
        ]
    );
}

#[test]
fn health_asks_in_exactly_one_way() {
    for (probe, expected) in [
        (
            "{ http: /health, port: 80 }",
            serde_json::json!({ "http": { "path": "/health", "port": 80 } }),
        ),
        ("{ tcp: 5432 }", serde_json::json!({ "tcp": 5432 })),
        ("{ cmd: ./healthy }", serde_json::json!({ "cmd": ["sh", "-c", "./healthy"] })),
        (
            "{ cmd: [pg_isready, -U, orders] }",
            serde_json::json!({ "cmd": ["pg_isready", "-U", "orders"] }),
        ),
    ] {
        let json = json_of(&format!("health: {probe}"));
        let mut rest = serde_json::json!({
            "interval": "1s", "timeout": "2s", "successes": 3, "failures": 3,
            "start-period": "5s", "deadline": "1m",
        });
        rest.as_object_mut().unwrap().extend(expected.as_object().unwrap().clone());
        assert_eq!(json["health"], rest);
    }
    says(
        "health: { http: /, tcp: 80, cmd: x, port: 80 }",
        r##"
        E013 9:26 `health` of stage `deploy` asks in 3 ways: `http`, `tcp`, `cmd` | keep one
        "##,
    );
    says(
        "health: { tcp: 80, port: 80 }",
        r##"
        E013 9:26 `health` of stage `deploy` has `tcp`, which is a port, and `port` | remove it
        "##,
    );
    says(
        "health: { cmd: x, port: 80 }",
        r##"
        E013 9:25 `health` of stage `deploy` has `cmd`, which needs no port, and `port` | remove it
        "##,
    );
    says(
        "health: { cmd: [] }",
        r##"
        E012 9:22 `cmd` has no command | add one, or remove `cmd`
        "##,
    );
    says(
        "health: { htttp: /health, port: 80 }",
        r##"
        E010 9:17 unknown key `htttp` in `health` of stage `deploy` | did you mean `http`?
        "##,
    );
    says(
        "health: { port: 80 }",
        r##"
        E014 9:15 `health` of stage `deploy` does not say what to ask | add `http`, `tcp` or `cmd`
        "##,
    );
}

#[test]
fn a_health_check_can_succeed_before_its_deadline() {
    says(
        "health: { tcp: 80, interval: 31s }",
        r##"
        E015 9:36 `health` of stage `deploy` can never be reached: 3 answers in a row, one every 31s, take longer than the deadline of 1m | raise `deadline`, or lower `successes` or `interval`
        "##,
    );
    says(
        "health: { tcp: 80, interval: 0s, timeout: 0s, deadline: 0s, successes: 0 }",
        r##"
        E015 9:36 `interval` takes a duration above zero, not `0s` | for example `1s`
        E015 9:49 `timeout` takes a duration above zero, not `0s` | for example `1s`
        E015 9:63 `deadline` takes a duration above zero, not `0s` | for example `1s`
        E015 9:78 `successes` is a number from 1 to 10000, not `0` | out of range
        "##,
    );
    assert_eq!(said("health: { tcp: 80, interval: 30s, deadline: 1m }"), "");
    assert_eq!(said("health: { tcp: 80, interval: 1m, successes: 1 }"), "");
}

#[test]
fn a_health_command_holds_no_text_of_others() {
    says(
        "health: { cmd: \"check ${{ git.branch }}\" }",
        r##"
        E043 9:33 `git.branch` is text that others choose, and this is a command | would become part of the script | write "$SHIPLINE_GIT_BRANCH", which holds the same text safely
        "##,
    );
}

#[test]
fn the_strategy_built_in_is_part_of_the_origins() {
    let (deploy, origins) = deployed(
        "{ target: house }",
        "environment: demo\n      image: image\n      health: { tcp: 1 }",
    );
    assert_eq!(deploy.strategy, crate::Strategy::default());
    let builtin: Vec<&str> = origins
        .iter()
        .filter(|(_, by)| **by == OriginKind::Builtin)
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(
        builtin,
        [
            "deploy.health.deadline",
            "deploy.health.failures",
            "deploy.health.interval",
            "deploy.health.start-period",
            "deploy.health.successes",
            "deploy.health.timeout",
            "deploy.keep-warm",
            "deploy.replicas",
            "deploy.stop-timeout",
            "deploy.strategy.bake",
            "deploy.strategy.batch",
            "deploy.strategy.drain",
            "deploy.strategy.drain-websockets",
            "deploy.strategy.kind",
            "deploy.strategy.on-failure",
            "deploy.strategy.order",
            "deploy.strategy.rollback-deadline",
            "deploy.strategy.tolerate",
        ]
    );
}

#[test]
fn a_strategy_says_in_which_portions_units_are_changed() {
    plans(
        "
        strategy:
          kind: rolling
          order: stop-first
          batches: [1, 25%, 100%]
          groups: [preprod, north]
          parallel: 5
          max-unavailable: 10%
          max-surge: 0
          tolerate: 1
          bake: 1m
          drain: 10s
          drain-websockets: 1m
          on-failure: hold
          rollback-deadline: 2m
        ",
        &serde_json::json!({ "strategy": {
            "order": "stop-first", "batch": 1, "batches": [1, "25%", "100%"],
            "groups": ["preprod", "north"], "parallel": 5, "max-unavailable": "10%",
            "max-surge": 0, "tolerate": 1, "bake": "1m", "drain": "10s",
            "drain-websockets": "1m", "on-failure": "hold", "rollback-deadline": "2m",
        } }),
    );
    plans(
        "strategy: recreate",
        &serde_json::json!({ "strategy": {
            "kind": "recreate", "order": "stop-first", "batch": 1, "bake": "0s", "drain": "30s",
        } }),
    );
    let (deploy, _) = deployed(
        "{ target: house }",
        "environment: demo\n      image: image\n      strategy: { batch: 25% }",
    );
    assert_eq!((deploy.strategy.batch.of(3), deploy.strategy.batch.of(8)), (1, 2));
    let json = serde_json::to_string(&deploy).unwrap();
    assert_eq!(serde_json::from_str::<DeployWork>(&json).unwrap(), deploy);
}

#[test]
fn sizes_are_numbers_or_shares() {
    says(
        "strategy: { batch: 0, max-surge: 101%, max-unavailable: -1, parallel: 0, tolerate: many }",
        r##"
        E015 9:26 `batch` is a number of units from 1 to 10000, or a share from 1% to 100%, not `0` | out of range
        E015 9:40 `max-surge` is a number of units from 0 to 10000, or a share from 0% to 100%, not `101%` | out of range
        E015 9:63 `max-unavailable` is a number of units from 0 to 10000, or a share from 0% to 100%, not `-1` | out of range
        E015 9:77 `parallel` is a number from 1 to 10000, not `0` | out of range
        E012 9:90 `tolerate` takes a whole number, not text
        "##,
    );
    says(
        "strategy: { batches: [0%, half, 1.5, 200%] }",
        r##"
        E015 9:29 `batches` is a number of units from 1 to 10000, or a share from 1% to 100%, not `0%` | out of range
        E015 9:33 `batches` is a number of units from 1 to 10000, or a share from 1% to 100%, not `half` | for example `2` or `25%`
        E015 9:39 `batches` is a number of units from 1 to 10000, or a share from 1% to 100%, not `1.5` | for example `2` or `25%`
        E015 9:44 `batches` is a number of units from 1 to 10000, or a share from 1% to 100%, not `200%` | out of range
        "##,
    );
    says(
        "strategy: { batches: [] }",
        r##"
        E012 9:28 `batches` has no batch | for example `[1, 25%, 100%]`
        "##,
    );
    says(
        "strategy: { order: stopfirst, on-failure: retry, rollback-deadline: 0s }",
        r##"
        E015 9:26 `order` is no order: `stopfirst` | did you mean `stop-first`? orders are `start-first`, `stop-first`
        E015 9:49 `on-failure` is no way to go on after a failure: `retry` | ways are `rollback`, `stop`, `hold`
        E015 9:75 `rollback-deadline` takes a duration above zero, not `0s` | for example `1s`
        "##,
    );
    says(
        "strategy: [rolling]",
        r##"
        E012 9:17 `strategy` of stage `deploy` takes a map, not a list
        "##,
    );
}

#[test]
fn a_strategy_does_not_contradict_itself() {
    says(
        "strategy: { batches: [1, 100%], batch: 1 }",
        r##"
        E013 9:39 `strategy` of stage `deploy` has `batch`, for equal batches, and `batches`, which lists them | keep one
        "##,
    );
    says(
        "strategy: { kind: recreate, order: start-first, batches: [1], bake: 1m }",
        r##"
        E013 9:35 `strategy` of stage `deploy` is `recreate`, which takes all units down before it brings any up, so `order` has nothing to say | remove it, or write `kind: rolling`
        E013 9:55 `strategy` of stage `deploy` is `recreate`, which takes all units down before it brings any up, so `batches` has nothing to say | remove it, or write `kind: rolling`
        "##,
    );
    says(
        "strategy: { max-surge: 0 }",
        r##"
        E013 9:19 `strategy` of stage `deploy` starts each new unit before the old one stops, so it needs at least one unit more, and `max-surge` allows none | write 1 or more, or `order: stop-first`
        "##,
    );
    says(
        "strategy: { order: stop-first, max-unavailable: 0% }",
        r##"
        E013 9:38 `strategy` of stage `deploy` stops each old unit before the new one starts, so at least one is missing, and `max-unavailable` allows none | write 1 or more, or `order: start-first`
        "##,
    );
    says(
        "strategy: recreate\ncanary: { steps: [{ weight: 5 }] }",
        r##"
        E013 10:7 stage `deploy` has a `canary`, and a strategy that takes all units down at once | write `strategy: rolling`
        "##,
    );
    assert_eq!(said("strategy: { order: stop-first, max-surge: 0 }"), "");
    assert_eq!(said("strategy: { order: start-first, max-unavailable: 0 }"), "");
}

#[test]
fn the_environment_has_a_strategy_for_stages_that_name_none() {
    let in_file = "{ target: house, replicas: 3, strategy: { batch: 2, bake: 1m } }";
    let deploy = "environment: demo\n      image: image";
    let (work, origins) = deployed(in_file, deploy);
    assert_eq!((work.replicas, work.strategy.batch.of(3)), (3, 2));
    assert_eq!(origins["deploy.strategy.batch"], OriginKind::File);
    assert_eq!(origins["deploy.strategy.drain"], OriginKind::Builtin);
    assert_eq!(origins["deploy.replicas"], OriginKind::File);

    let (work, origins) = deployed(in_file, &format!("{deploy}\n      strategy: rolling"));
    assert_eq!(work.strategy, crate::Strategy::default());
    assert_eq!(origins["deploy.strategy.batch"], OriginKind::Builtin);

    let mut context = on_main();
    let of_server = Environment {
        strategy: Some(crate::Strategy { tolerate: 2, ..crate::Strategy::default() }),
        ..environment(None)
    };
    context.place =
        Place::Server { environments: BTreeMap::from([("demo".to_owned(), of_server)]) };
    let plan = planned(&pipeline(in_file, deploy), &context);
    let stage = plan.stage("deploy").unwrap();
    let Work::Deploy(work) = &stage.work else { panic!("no deploy") };
    assert_eq!(work.strategy.tolerate, 2);
    assert_eq!(stage.origins["deploy.strategy"].by, OriginKind::Server);
}

#[test]
fn a_canary_moves_in_steps() {
    plans(
        "
        canary:
          steps:
            - { weight: 5, bake: 5m, verify: [smoke] }
            - { weight: 25, metrics: [{ query: error_rate, max: 1% }, { query: p99_ms, max: 400, min: 0.5 }] }
            - { weight: 100 }
          min-requests: 100
          on-inconclusive: extend
        ",
        &serde_json::json!({ "canary": {
            "by": "weight",
            "steps": [
                { "weight": 5, "bake": "5m", "verify": [{ "suite": "smoke" }] },
                { "weight": 25, "metrics": [
                    { "query": "error_rate", "max": "1%" },
                    { "query": "p99_ms", "max": "400", "min": "0.5" },
                ] },
                { "weight": 100 },
            ],
            "min-requests": 100,
            "on-inconclusive": "extend",
        } }),
    );
    plans(
        "canary: { by: label, steps: [{ label: region=north }, { label: region=south }] }",
        &serde_json::json!({ "canary": {
            "by": "label",
            "steps": [{ "label": "region=north" }, { "label": "region=south" }],
            "on-inconclusive": "fail",
        } }),
    );
    assert_eq!(said("canary: { by: header, steps: [{ bake: 10m }] }"), "");
}

#[test]
fn the_steps_of_a_canary_ascend_and_fit_what_it_goes_by() {
    says(
        "canary: {}",
        r##"
        E014 9:15 `canary` of stage `deploy` has no `steps` | how far does it go, and when?
        "##,
    );
    says(
        "canary: { steps: [] }",
        r##"
        E012 9:24 `canary` of stage `deploy` has no step
        "##,
    );
    says(
        "canary: { steps: 5 }",
        r##"
        E012 9:24 `steps` takes a list, not a number
        "##,
    );
    says(
        "canary: { steps: [{ weight: 50 }, { weight: 50 }, { weight: 20 }, { weight: 101 }, { weight: 5% }, {}] }",
        r##"
        E015 9:51 the weights of a canary grow from step to step, and 50 follows 50 | write more than 50, or remove the step
        E015 9:67 the weights of a canary grow from step to step, and 20 follows 50 | write more than 50, or remove the step
        E015 9:83 `weight` is a number from 0 to 100, not `101` | out of range
        E012 9:100 `weight` takes a whole number, not text | a weight is in percent anyway; write `5`
        E014 9:106 step 6 of `canary` of stage `deploy` has no `weight` | add for example `weight: 5`
        "##,
    );
    says(
        "canary: { steps: [{ label: a=b, weight: 1 }] }",
        r##"
        E013 9:27 step 1 of `canary` of stage `deploy` has a `label`, and the canary does not go by labels | write `by: label` into the canary, or remove it
        "##,
    );
    says(
        "canary: { by: label, steps: [{ weight: 1 }, { label: north }] }",
        r##"
        E013 9:38 step 1 of `canary` of stage `deploy` has a `weight`, and the canary goes by labels | write `by: weight` into the canary, or remove it
        E015 9:60 `label` is no label: `north` | for example `region=north`
        "##,
    );
    says(
        "canary: { by: wieght, on-inconclusive: wait, min-requests: 0, steps: [{ weight: 1 }] }",
        r##"
        E015 9:21 `by` is no choice of a canary: `wieght` | did you mean `weight`? choices are `weight`, `header`, `tag`, `label`
        E015 9:46 `on-inconclusive` is no answer to too few requests: `wait` | answers are `extend`, `pass`, `fail`
        E015 9:66 `min-requests` is a number from 1 to 1000000000, not `0` | out of range
        "##,
    );
    says(
        "canary: { steps: [{ weight: 1, metrics: [{ query: a }, { max: 1 }, { query: '', max: x }, { query: a, max: 1, min: 2 }] }] }",
        r##"
        E014 9:48 a metric of step 1 of `canary` of stage `deploy` has no limit | add `max` or `min`, for example `max: 1%`
        E014 9:62 a metric of step 1 of `canary` of stage `deploy` has no `query` | what is measured? for example `query: error_rate`
        E015 9:83 `query` asks nothing | for example `error_rate`
        E015 9:92 `max` is a number or a share in percent, not `x` | for example `400`, `0.5` or `1%`
        E013 9:117 a metric of step 1 of `canary` of stage `deploy` can never hold: `min` is above `max` | exchange the two
        "##,
    );
}

#[test]
fn a_canary_fits_the_strategy_of_the_environment() {
    let deploy = "environment: demo\n      image: image\n      canary: { steps: [{ weight: 5 }] }";
    let recreates = "{ target: house, strategy: recreate }";
    assert_eq!(
        said_in(recreates, deploy),
        "E013 9:15 stage `deploy` has a `canary`, and environment `demo` a strategy that takes all units down at once | write `strategy: rolling` beside it"
    );
    assert_eq!(said_in(recreates, &format!("{deploy}\n      strategy: rolling")), "");
}

#[test]
fn a_mistake_of_an_environment_is_told_once_however_many_stages_use_it() {
    let text = "
        environments: { demo: { target: house, replicas: '${{ git.branch }}' } }
        stages:
          image: { build: {} }
          a: { timeout: 1m, deploy: { environment: demo, image: image } }
          b: { timeout: 1m, deploy: { environment: demo, image: image } }
        ";
    let found = lines(&found_in(&flush(text), &Bundled, &on_main()));
    assert_eq!(
        found,
        "E042 1:50 `replicas` takes a whole number, not text | the expression gives text"
    );
}

#[test]
fn verify_names_suites_or_writes_checks_out() {
    for (written, expected) in [
        ("smoke", serde_json::json!([{ "suite": "smoke" }])),
        ("[smoke, load]", serde_json::json!([{ "suite": "smoke" }, { "suite": "load" }])),
        (
            "{ http: 'https://orders.corp.example/health', timeout: 1m }",
            serde_json::json!([{ "http": "https://orders.corp.example/health", "timeout": "1m" }]),
        ),
        (
            "{ run: ./smoke.sh, image: 'debian:12' }",
            serde_json::json!([{ "image": "debian:12", "run": ["./smoke.sh"] }]),
        ),
        (
            "[smoke, { run: [a, b], image: 'debian:12' }]",
            serde_json::json!([{ "suite": "smoke" }, { "image": "debian:12", "run": ["a", "b"] }]),
        ),
    ] {
        plans(&format!("verify: {written}"), &serde_json::json!({ "verify": expected }));
    }
    says(
        "verify: { http: /health }",
        r##"
        E015 9:23 `http` is no address: `/health` | it begins with `https://` or `http://`; for example `https://orders.corp.example/health`
        "##,
    );
    says(
        "verify: { http: 'https://a.example', run: x, image: 'a:1' }",
        r##"
        E013 9:44 `verify` of stage `deploy` has `http` and `run` | keep one, or write a list of two checks
        "##,
    );
    says(
        "verify: { http: 'https://a.example', image: 'a:1' }",
        r##"
        E013 9:44 `verify` of stage `deploy` asks an address, so `image` has nothing to run | remove it, or write `run` in place of `http`
        "##,
    );
    says(
        "verify: { run: x, timeout: 0s }",
        r##"
        E014 9:17 `verify` of stage `deploy` has a `run`, but no `image` to run it in | add for example `image: debian:12`
        E015 9:34 `timeout` takes a duration above zero, not `0s` | for example `1s`
        "##,
    );
    says(
        "verify: [{}, { run: [], image: 'a:1' }, 'a b']",
        r##"
        E014 9:16 `verify` of stage `deploy` does not say what to check | add `http` or `run`
        E012 9:27 `run` has no command | for example `./smoke.sh`
        E015 9:47 `verify` is no name: `a b` | a name begins with a letter or digit and has at most 64 letters, digits, `.`, `-` and `_`
        "##,
    );
    says(
        "verify: []",
        r##"
        E012 9:15 `verify` of stage `deploy` has no check | for example `[smoke]`
        "##,
    );
    says(
        "verify: { run: 'echo ${{ git.message }}', image: 'a:1' }",
        r##"
        E043 9:32 `git.message` is text that others choose, and this is a command | would become part of the script | write "$SHIPLINE_GIT_MESSAGE", which holds the same text safely
        "##,
    );
}

#[test]
fn commands_of_verify_have_the_variables_of_the_stage_and_the_service_its_own() {
    let text = "
        env: { ALL: all }
        environments: { demo: { target: house, env: { REGION: north } } }
        stages:
          image: { build: {} }
          deploy:
            timeout: 5m
            env: { TOKEN: x }
            deploy: { environment: demo, image: image, env: { LEVEL: info }, verify: { run: make, image: 'a:1' } }
        ";
    let plan = planned(&flush(text), &on_main());
    let Work::Deploy(deploy) = &plan.stage("deploy").unwrap().work else { panic!("no deploy") };
    let listed = |env: &BTreeMap<String, String>| {
        env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(listed(&deploy.env), "LEVEL=info REGION=north");
    assert_eq!(listed(&deploy.verify_env), "ALL=all TOKEN=x");
}
