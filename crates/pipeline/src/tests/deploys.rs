//! `deploy` and `environments`: what they read, what they refuse, what the plan holds.

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
fn said_in(environment: &str, deploy: &str) -> String {
    lines(&found_in(&pipeline(environment, deploy), &Bundled, &on_main()))
}

fn pipeline(environment: &str, deploy: &str) -> String {
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

/// What is said about the keys of one environment, in line 2 from column 11.
#[track_caller]
fn environment_says(keys: &str, expected: &str) {
    let text = format!(
        "environments:\n  demo: {{ {keys} }}\n  test: {{ target: house }}\nimage: debian:12\nstages: {{ build: make }}\n"
    );
    let found = lines(&found_in(&text, &Bundled, &on_main()));
    assert_eq!(found, flush(expected).trim_end(), "\n{found}\n");
}

/// What is said about a file that has only environments.
#[track_caller]
fn file_says(environments: &str, expected: &str) {
    let text = format!("{}\nimage: debian:12\nstages: {{ build: make }}", flush(environments));
    let found = lines(&found_in(&text, &Bundled, &on_main()));
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
        E015 10:18 `networks` takes names of networks to join: `host` | a unit keeps a network of its own, and joins those of the engine; for example `backend`
        E015 10:24 `networks` takes names of networks to join: `container:db` | a unit keeps a network of its own, and joins those of the engine; for example `backend`
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
        E015 9:22 `path` is a path from the root: `srv` | it begins with `/` and has no `..`
        E015 9:37 `artifact` takes paths within the workspace: `/etc/*` | a path within the workspace does not begin with `/` or `~` and has no `..`; for example `target/*.jar`
        E015 9:53 `reload` is no way to take over a release: `phpfpm` | did you mean `php-fpm`? ways are `php-fpm`, `tomcat`, `systemd`, `node`, `none`
        E015 9:70 `groups` is no name: `a b` | a name begins with a letter or digit and has at most 64 letters, digits, `.`, `-` and `_`
        E013 10:7 `deploy` of stage `deploy` has `kubernetes` and `hosts` | keep the one that fits the environment
        E015 10:32 `namespace` is no name of Kubernetes: `Shop` | at most 63 small letters, digits and `-`; for example `orders`
        E015 10:49 `set-image` is no name of Kubernetes: `a_b` | at most 63 small letters, digits and `-`; for example `orders`
        E015 10:66 `manifests` takes paths within the workspace: `../*.yml` | a path within the workspace does not begin with `/` or `~` and has no `..`; for example `target/*.jar`
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
        E015 9:36 `interval` takes a duration above zero: `0s` | for example `1s`
        E015 9:49 `timeout` takes a duration above zero: `0s` | for example `1s`
        E015 9:63 `deadline` takes a duration above zero: `0s` | for example `1s`
        E015 9:78 `successes` is a number from 1 to 10000: `0` | out of range
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
        E015 9:26 `batch` is a number of units from 1 to 10000, or a share from 1% to 100%: `0` | out of range
        E015 9:40 `max-surge` is a number of units from 0 to 10000, or a share from 0% to 100%: `101%` | out of range
        E015 9:63 `max-unavailable` is a number of units from 0 to 10000, or a share from 0% to 100%: `-1` | out of range
        E015 9:77 `parallel` is a number from 1 to 10000: `0` | out of range
        E012 9:90 `tolerate` takes a whole number, not text
        "##,
    );
    says(
        "strategy: { batches: [0%, half, 1.5, 200%] }",
        r##"
        E015 9:29 `batches` is a number of units from 1 to 10000, or a share from 1% to 100%: `0%` | out of range
        E015 9:33 `batches` is a number of units from 1 to 10000, or a share from 1% to 100%: `half` | for example `2` or `25%`
        E015 9:39 `batches` is a number of units from 1 to 10000, or a share from 1% to 100%: `1.5` | for example `2` or `25%`
        E015 9:44 `batches` is a number of units from 1 to 10000, or a share from 1% to 100%: `200%` | out of range
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
        E015 9:75 `rollback-deadline` takes a duration above zero: `0s` | for example `1s`
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
        E015 9:83 `weight` is a number from 0 to 100: `101` | out of range
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
        E015 9:66 `min-requests` is a number from 1 to 1000000000: `0` | out of range
        "##,
    );
    says(
        "canary: { steps: [{ weight: 1, metrics: [{ query: a }, { max: 1 }, { query: '', max: x }, { query: a, max: 1, min: 2 }] }] }",
        r##"
        E014 9:48 a metric of step 1 of `canary` of stage `deploy` has no limit | add `max` or `min`, for example `max: 1%`
        E014 9:62 a metric of step 1 of `canary` of stage `deploy` has no `query` | what is measured? for example `query: error_rate`
        E015 9:83 `query` asks nothing | for example `error_rate`
        E015 9:92 `max` is a number or a share in percent: `x` | for example `400`, `0.5` or `1%`
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
        E015 9:34 `timeout` takes a duration above zero: `0s` | for example `1s`
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

#[test]
fn a_target_is_a_name_or_exactly_one_place() {
    for (target, expected) in [
        ("house", serde_json::json!("house")),
        (
            "{ docker: { host: 'unix:///d.sock', proxy: /p.sock } }",
            serde_json::json!({ "docker": { "host": "unix:///d.sock", "proxy": "/p.sock" } }),
        ),
        (
            "{ swarm: { host: 'ssh://a@b' } }",
            serde_json::json!({ "swarm": { "host": "ssh://a@b" } }),
        ),
        (
            "{ kubernetes: { context: kind, namespace: shop } }",
            serde_json::json!({ "kubernetes": { "context": "kind", "namespace": "shop" } }),
        ),
        ("{ kubernetes: {} }", serde_json::json!({ "kubernetes": {} })),
        (
            "{ process: { root: /srv/shop } }",
            serde_json::json!({ "process": { "root": "/srv/shop" } }),
        ),
    ] {
        // Pushed, since a swarm or a cluster fetches from a registry.
        let text =
            pipeline(&format!("{{ target: {target} }}"), "environment: demo\n      image: push");
        let push = "  push: { push: { image: image, registry: r, tags: ['r.example/a:1'] } }";
        let text = text.replacen("  deploy:", &format!("{push}\n  deploy:"), 1);
        let plan = planned(&text, &on_main());
        assert_eq!(serde_json::to_value(&plan.environments["demo"].target).unwrap(), expected);
    }
    environment_says(
        "target: { docker: { host: 'unix:///d' }, hosts: { hosts: [a] } }",
        r##"
        E013 2:52 `target` of environment `demo` is 2 places: `docker`, `hosts` | keep one, and make another environment of the other
        "##,
    );
    environment_says(
        "target: {}",
        r##"
        E014 2:19 `target` of environment `demo` is empty
        "##,
    );
    environment_says(
        "target: 'a b'",
        r##"
        E015 2:19 `target` is no name: `a b` | a name begins with a letter or digit and has at most 64 letters, digits, `.`, `-` and `_`
        "##,
    );
    environment_says(
        "target: { docker: { host: /var/run/docker.sock, proxy: p.sock } }",
        r##"
        E015 2:37 `host` is no address of an engine: `/var/run/docker.sock` | for example `unix:///var/run/docker.sock`, `tcp://build.corp.example:2376` or `ssh://deploy@host`
        E015 2:66 `proxy` is a path from the root: `p.sock` | it begins with `/` and has no `..`
        "##,
    );
    environment_says(
        "target: { swarm: {} }",
        r##"
        E014 2:28 `swarm` of `target` of environment `demo` has no `host` | the address of the engine
        "##,
    );
    environment_says(
        "target: { process: { root: srv } }",
        r##"
        E015 2:38 `root` is a path from the root: `srv` | it begins with `/` and has no `..`
        "##,
    );
    environment_says(
        "target: { process: { proxy: /p } }",
        r##"
        E014 2:30 `process` of `target` of environment `demo` has no `root` | the folder of its units, for example `root: /srv/shipline`
        "##,
    );
    environment_says(
        "target: { hosts: { hosts: [a@b@c, '-o', 'a:99999'], user: 'a b', path: srv } }",
        r##"
        E015 2:38 `hosts` is no host: `a@b@c` | for example `web-1.corp.example`, or with user and port `deploy@web-1:22`
        E015 2:45 `hosts` is no host: `-o` | for example `web-1.corp.example`, or with user and port `deploy@web-1:22`
        E015 2:51 `hosts` is no host: `a:99999` | for example `web-1.corp.example`, or with user and port `deploy@web-1:22`
        E015 2:69 `user` is no name: `a b` | a name begins with a letter or digit and has at most 64 letters, digits, `.`, `-` and `_`
        E015 2:82 `path` is a path from the root: `srv` | it begins with `/` and has no `..`
        "##,
    );
    environment_says(
        "target: { hosts: { hosts: [] } }",
        r##"
        E012 2:37 `hosts` of `target` of environment `demo` has no host | for example `[web-1.corp.example]`
        "##,
    );
    environment_says(
        "target: { hosts: {} }",
        r##"
        E014 2:28 `hosts` of `target` of environment `demo` names no `hosts` | for example `hosts: [web-1.corp.example]`
        "##,
    );
    environment_says(
        "target: { kubernetes: { namespace: A } }",
        r##"
        E015 2:46 `namespace` is no name of Kubernetes: `A` | at most 63 small letters, digits and `-`; for example `orders`
        "##,
    );
    environment_says(
        "tagret: house",
        r##"
        E010 2:11 unknown key `tagret` in environment `demo` | did you mean `target`?
        "##,
    );
}

#[test]
fn gates_are_kept_as_they_are_written() {
    let environment = "{ target: house, tier: preprod, promote: auto, reservations: true, \
                       shadow-of: demo2, only: { label: region=north }, freeze: [holidays], \
                       requires: [{ passed: demo2, max-age: 7d }, { approvals: 2, of: managers }, { bake: 30m }], \
                       windows: ['Mon-Thu 10:00-17:00 Asia/Shanghai'] }, demo2: { target: house }";
    let plan = planned(&pipeline(environment, "environment: demo\n      image: image"), &on_main());
    assert_eq!(
        serde_json::to_value(&plan.environments["demo"].gates).unwrap(),
        serde_json::json!({
            "promote": "auto",
            "reservations": true,
            "shadow-of": "demo2",
            "only": { "label": "region=north" },
            "freeze": ["holidays"],
            "requires": [
                { "passed": "demo2", "max-age": "7d" },
                { "approvals": 2, "of": "managers" },
                { "bake": "30m" },
            ],
            "windows": ["Mon-Thu 10:00-17:00 Asia/Shanghai"],
        })
    );
}

#[test]
fn gates_are_checked_for_their_form() {
    environment_says(
        "target: a, promote: always, reservations: yes",
        r##"
        E015 2:31 `promote` is no way of promotion: `always` | ways are `auto`, `manual`
        E012 2:53 `reservations` takes true or false, not text | `yes` is text here; write `true`
        "##,
    );
    environment_says(
        "target: a, only: { group: a, label: b=c }",
        r##"
        E013 2:40 `only` of environment `demo` has `group` and `label` | keep one
        "##,
    );
    environment_says(
        "target: a, only: {}",
        r##"
        E014 2:28 `only` of environment `demo` chooses nothing | add `group` or `label`, for example `{ group: preprod }` or `{ label: region=north }`
        "##,
    );
    environment_says(
        "target: a, only: { label: north }",
        r##"
        E015 2:37 `label` is no label: `north` | for example `region=north`
        "##,
    );
    environment_says(
        "target: a, requires: { passed: test }",
        r##"
        E012 2:32 `requires` takes a list, not a map
        "##,
    );
    environment_says(
        "target: a, requires: [{}, { passed: test, bake: 1m }, { bake: 1m, of: x }, { approvals: 0, max-age: 1d }]",
        r##"
        E014 2:33 a gate of `requires` of environment `demo` requires nothing | add `passed`, `approvals` or `bake`
        E013 2:53 a gate of `requires` of environment `demo` requires several things: `passed`, `bake` | write each as a gate of its own
        E011 2:77 `of` belongs to `approvals`, and this gate of `requires` of environment `demo` has none | add `approvals`, or remove it
        E015 2:99 `approvals` is a number from 1 to 10000: `0` | out of range
        E011 2:102 `max-age` belongs to `passed`, and this gate of `requires` of environment `demo` has none | add `passed`, or remove it
        "##,
    );
    environment_says(
        "target: a, freeze: ['a b']",
        r##"
        E015 2:31 `freeze` is no name: `a b` | a name begins with a letter or digit and has at most 64 letters, digits, `.`, `-` and `_`
        "##,
    );
}

#[test]
fn a_window_has_days_hours_and_a_zone() {
    environment_says(
        "target: a, windows: ['Mon,Wed 08:00-24:00 UTC', 'Sat 00:00-06:30 America/New_York']",
        "",
    );
    environment_says(
        "target: a, windows: [Mon-Thu, 'Mo 1:00-2:00 UTC', 'Thu-Mon 01:00-02:00 UTC', 'Mon 1-2 UTC', 'Mon 17:00-09:00 UTC', 'Mon 10:00-25:00 UTC', 'Mon 10:00-11:00 CET']",
        r##"
        E015 2:32 `windows` is no window: `Mon-Thu` | days, hours and a time zone, each after one space; for example `Mon-Thu 10:00-17:00 Asia/Shanghai`
        E015 2:42 `windows` is no window: `Mo 1:00-2:00 UTC` | days are `Mon` to `Sun`, as `Mon-Thu` or `Mon,Wed`; for example `Mon-Thu 10:00-17:00 Asia/Shanghai`
        E015 2:62 `windows` is no window: `Thu-Mon 01:00-02:00 UTC` | days are `Mon` to `Sun`, as `Mon-Thu` or `Mon,Wed`; for example `Mon-Thu 10:00-17:00 Asia/Shanghai`
        E015 2:93 `windows` is no window: `Mon 1-2 UTC` | hours are `HH:MM-HH:MM`, up to `24:00`; for example `Mon-Thu 10:00-17:00 Asia/Shanghai`
        E015 2:108 `windows` is no window: `Mon 17:00-09:00 UTC` | it ends before it begins; a window over midnight is two
        E015 2:131 `windows` is no window: `Mon 10:00-25:00 UTC` | hours are `HH:MM-HH:MM`, up to `24:00`; for example `Mon-Thu 10:00-17:00 Asia/Shanghai`
        E015 2:166 `windows` is no window: `Mon 10:00-11:00 CET` | a time zone is `UTC` or `Area/City`; for example `Asia/Shanghai`
        "##,
    );
}

#[test]
fn environments_promote_to_each_other_without_a_circle() {
    file_says(
        "
        environments:
          test: { target: a }
          prod: { target: a, shadow-of: tets, requires: [{ passed: elsewhere }, { passed: test }] }
        ",
        r##"
        E062 3:33 environment `prod` is the shadow of `tets`, which is not an environment | did you mean `test`?
        E062 3:60 environment `prod` requires that a release passed `elsewhere`, which is not an environment | define it beside this one
        "##,
    );
    file_says(
        "
        environments:
          test: { target: a, requires: [{ passed: prod }] }
          gray: { target: a, requires: [{ passed: test }] }
          prod: { target: a, requires: [{ passed: gray }] }
        ",
        r##"
        E021 3:43 each of these environments wants a release to have passed another | so no release could ever come here
        "##,
    );
    file_says(
        "environments: { a: { target: x, shadow-of: a } }",
        r##"
        E021 1:44 each of these environments takes its configuration from another | so none of them has one
        "##,
    );
}

#[test]
fn a_shadow_is_passed_on_the_way_to_what_it_shadows() {
    file_says(
        "
        environments:
          dev: { tier: dev, target: docker-dev, allow: [dev, 'feature/*'], promote: auto }
          test: { tier: test, target: k8s-test, allow: [dev, trunk], promote: manual, reservations: true }
          hidden:
            tier: preprod
            target: hosts-prod
            shadow-of: prod
            only: { group: preprod }
            allow: [releases, 'v*']
            requires: [{ passed: test }]
          gray: { tier: prod, target: hosts-prod, only: { label: region=north }, requires: [{ passed: hidden }, { approvals: 1 }] }
          prod:
            tier: prod
            target: hosts-prod
            requires: [{ passed: gray }, { bake: 30m }, { approvals: 2, of: release-managers }]
            windows: ['Mon-Thu 10:00-17:00 Asia/Shanghai']
            freeze: [national-holidays]
            strategy: { batches: [1, 25%, 100%], on-failure: rollback }
        ",
        "",
    );
}

#[test]
fn a_file_cannot_unprotect_an_environment() {
    environment_says(
        "target: a, tier: prod, protected: false",
        r##"
        E013 2:34 environment `demo` has the tier `prod`, which is always protected, and `protected: false` | remove it: a file cannot unprotect an environment
        "##,
    );
    environment_says(
        "target: a, tier: preprod, protected: false",
        r##"
        E013 2:37 environment `demo` has the tier `preprod`, which is always protected, and `protected: false` | remove it: a file cannot unprotect an environment
        "##,
    );
    environment_says("target: a, tier: prod, protected: true", "");
    environment_says("target: a, tier: test, protected: false", "");
    environment_says(
        "target: a, tier: prod, protected: no",
        r##"
        E012 2:45 `protected` takes true or false, not text | `no` is text here; write `false`
        "##,
    );
}

#[test]
fn e063_a_protected_environment_is_defined_on_the_server() {
    let on_server = |environment: &str| {
        let mut context = on_main();
        context.place = Place::Server { environments: BTreeMap::new() };
        let text = pipeline(environment, "environment: demo\n      image: image");
        lines(&found_in(&text, &Bundled, &context))
    };
    let protected = "E063 7:20 stage `deploy` deploys to the protected environment `demo`, which the server does not define | define it on the server; the file alone cannot | the definition in the file counts for local runs, on the word of the person who starts them";
    assert_eq!(on_server("{ target: a, tier: prod }"), protected);
    assert_eq!(on_server("{ target: a, tier: preprod }"), protected);
    assert_eq!(on_server("{ target: a, protected: true }"), protected);
    assert_eq!(
        on_server("{ target: a }"),
        "E062 7:20 stage `deploy` deploys to `demo`, which the server does not define for this project | define it on the server, too"
    );
    // Locally it is the person who starts the run that answers for it.
    assert_eq!(said_in("{ target: a, tier: prod }", "environment: demo\n      image: image"), "");
}

#[test]
fn e060_an_environment_allows_branches_and_tags() {
    let found = |context: &Context| {
        let text = pipeline(
            "{ target: house, allow: [main, 'v*', '!v0*'] }",
            "environment: demo\n      image: image",
        );
        lines(&found_in(&text, &Bundled, context))
    };
    let refused = |who: &str| {
        format!(
            "E060 7:20 stage `deploy` deploys to `demo`, and {who} may not | allowed: `main`, `v*`, `!v0*` | start the run from one of these, or give the stage a `when` that skips it elsewhere"
        )
    };
    let tagged = |tag: &str| {
        let mut context = on_main();
        context.event = TriggerEvent::Tag;
        context.git.branch = None;
        context.git.tag = Some(tag.to_owned());
        context
    };
    assert_eq!(found(&on_main()), "");
    assert_eq!(found(&tagged("v1.2")), "");
    assert_eq!(found(&tagged("v0.9")), refused("tag `v0.9`"));
    assert_eq!(found(&on_branch("feature/x")), refused("branch `feature/x`"));
    let mut nameless = on_main();
    nameless.git.branch = None;
    assert_eq!(found(&nameless), refused("a commit without branch and tag"));
    // Whoever forks a repository can call a branch `main`, too.
    let mut foreign = on_main();
    foreign.event = TriggerEvent::PullRequest;
    foreign.trusted = false;
    assert_eq!(found(&foreign), refused("a pull request of somebody who may not push"));
    environment_says(
        "target: a, allow: []",
        r##"
        E012 2:29 `allow` of environment `demo` allows no branch and no tag | for example `[main, "v*"]`; without `allow`, all may
        "##,
    );
    environment_says(
        "target: a, allow: ['{a']",
        r##"
        E015 2:30 `allow` is no pattern: `{a` | unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?); for example `release/*`
        "##,
    );
}

#[test]
fn e060_says_who_allows_what() {
    let in_file = "{ target: house, allow: main }";
    let text = pipeline(in_file, "environment: demo\n      image: image");
    let mut context = on_branch("x");
    let found = found_in(&text, &Bundled, &context);
    let related: Vec<_> = found.iter().flat_map(|found| &found.related).collect();
    assert_eq!(related.len(), 1);
    assert_eq!(related[0].message, "`allow` of environment `demo` says so");
    assert_eq!(related[0].place.to_string(), ".shipline.yml:1:47");

    let of_server = Environment { allow: vec!["main".to_owned()], ..environment(None) };
    context.place =
        Place::Server { environments: BTreeMap::from([("demo".to_owned(), of_server)]) };
    let found = found_in(&text, &Bundled, &context);
    let notes: Vec<_> = found.iter().flat_map(|found| &found.notes).collect();
    assert_eq!(
        notes,
        ["`allow` of environment `demo` says so, in the configuration of the server"]
    );
}

#[test]
fn keys_fit_a_target_that_is_written_out() {
    let docker = "{ target: { docker: { host: 'unix:///d' } } }";
    let kubernetes = "{ target: { kubernetes: {} } }";
    let deploy = "environment: demo\n      image: image";
    assert_eq!(
        said_in(docker, &format!("{deploy}\n      kubernetes: {{ set-image: web }}")),
        "E013 9:19 stage `deploy` deploys to `demo`, whose target is `docker`, and `kubernetes` is for another kind of target | remove it, or name another environment"
    );
    assert_eq!(
        said_in(kubernetes, deploy),
        "E013 8:14 stage `deploy` deploys the image of `image`, which is on the machine that built it, to a `kubernetes` target, which fetches images from a registry | push it in a stage, and name that stage"
    );
    assert_eq!(said_in(docker, deploy), "");
}

#[test]
fn an_environment_reads_expressions_that_are_known_with_the_plan() {
    let environment = "{ target: house, url: \"https://${{ slug(git.branch) }}.corp.example\", \
                       tier: \"${{ git.branch == 'main' ? 'test' : 'dev' }}\", \
                       env: { BRANCH: \"${{ git.branch }}\" } }";
    let plan = planned(&pipeline(environment, "environment: demo\n      image: image"), &on_main());
    let demo = &plan.environments["demo"];
    assert_eq!(demo.url.as_deref(), Some("https://main.corp.example"));
    assert_eq!(demo.tier, crate::Tier::Test);
    let stage = plan.stage("deploy").unwrap();
    let Work::Deploy(deploy) = &stage.work else { panic!("no deploy") };
    assert_eq!(deploy.env["BRANCH"], "main");

    environment_says(
        "target: house, url: orders",
        r##"
        E015 2:31 `url` is no address: `orders` | it begins with `https://` or `http://`; for example `https://orders.corp.example/health`
        "##,
    );
}
