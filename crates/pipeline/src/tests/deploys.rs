//! `deploy`: what it reads, what it refuses, what the plan holds.

mod canary;
mod health;
mod strategy;
mod verify;

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
         deploy:\n    timeout: 5m\n    deploy:\n      {deploy}\n\
         suites: {{ smoke: {{ http: /health }}, load: [{{ http: /load }}] }}\n"
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
