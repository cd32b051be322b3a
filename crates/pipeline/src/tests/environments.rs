//! `environments`: targets, gates, and which branches and tags they allow.

use super::deploys::{pipeline, said_in};
use super::*;
use crate::{Only, Work};

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

#[test]
fn a_target_is_a_name_or_exactly_one_place() {
    for (target, expected) in [
        ("house", serde_json::json!("house")),
        (
            "{ docker: { host: 'unix:///d.sock', proxy: /p.sock } }",
            serde_json::json!({ "docker": { "host": "unix:///d.sock", "proxy": "/p.sock" } }),
        ),
        (
            "{ docker: { host: 'tcp://a:2376', certificates: /c } }",
            serde_json::json!({ "docker": { "host": "tcp://a:2376", "certificates": "/c" } }),
        ),
        (
            "{ docker: { host: 'ssh://a@b', identity: /i, known-hosts: /k } }",
            serde_json::json!({
                "docker": { "host": "ssh://a@b", "identity": "/i", "known-hosts": "/k" }
            }),
        ),
        (
            "{ hosts: { hosts: [a], switch: { haproxy: { socket: /h.sock, backend: web, ssh: lb@lb-1 } } } }",
            serde_json::json!({
                "hosts": {
                    "hosts": ["a"],
                    "switch": { "haproxy": { "socket": "/h.sock", "backend": "web", "ssh": "lb@lb-1" } },
                },
            }),
        ),
        (
            "{ docker: { host: 'unix:///d', switch: { nginx: { file: /n.conf, test: 'nginx -t' } } } }",
            serde_json::json!({
                "docker": {
                    "host": "unix:///d",
                    "switch": { "nginx": { "file": "/n.conf", "test": "nginx -t" } },
                },
            }),
        ),
        (
            "{ process: { root: /srv, switch: { hook: { command: balancer, timeout: 5s } } } }",
            serde_json::json!({
                "process": {
                    "root": "/srv",
                    "switch": { "hook": { "command": "balancer", "timeout": "5s" } },
                },
            }),
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
        E015 2:66 `proxy` is a path from the root, not `p.sock` | it begins with `/` and has no `..`
        "##,
    );
    environment_says(
        "target: { hosts: { hosts: [a], proxy: /p, switch: { haproxy: { socket: s, backend: web } } } }",
        r##"
        E013 2:53 `hosts` of `target` of environment `demo` has a `proxy` and a `switch` | keep the one that requests come through
        E015 2:82 `socket` is no socket: `s` | a path or a host with its port; for example `/run/haproxy/admin.sock` or `lb-1.corp.example:9999`
        "##,
    );
    environment_says(
        "target: { hosts: { hosts: [a], switch: { haproxy: { socket: 'lb:9999' }, nginx: {} } } }",
        r##"
        E013 2:84 `switch` of `hosts` of `target` of environment `demo` is 2 switches: `haproxy`, `nginx` | keep the one that requests come through
        "##,
    );
    environment_says(
        "target: { hosts: { hosts: [a], switch: { haproxy: { socket: 'lb:9999' } } } }",
        r##"
        E014 2:61 `haproxy` of `switch` of `hosts` of `target` of environment `demo` has no `backend` | the one with the servers, for example `backend: web`
        "##,
    );
    environment_says(
        "target: { docker: { host: 'unix:///d', switch: { haproxy: { socket: /s, backend: web } } } }",
        r##"
        E010 2:60 unknown key `haproxy` in `switch` of `docker` of `target` of environment `demo` | its servers have the addresses of its configuration, and a unit here has another one each time it is made: use `nginx`, `traefik`, a `hook` or `proxy`, or deploy to `hosts`
        "##,
    );
    environment_says(
        "target: { process: { root: /r, switch: { hook: { command: a, url: 'http://b' } } } }",
        r##"
        E013 2:58 `hook` of `switch` of `process` of `target` of environment `demo` is a `command` and a `url` | for example `command: /usr/local/bin/balancer`
        "##,
    );
    environment_says(
        "target: { process: { root: /r, switch: { hook: {} } } }",
        r##"
        E014 2:58 `hook` of `switch` of `process` of `target` of environment `demo` has neither `command` nor `url` | for example `command: /usr/local/bin/balancer`
        "##,
    );
    environment_says(
        "target: { process: { root: /r, switch: { nginx: {} } } }",
        r##"
        E014 2:59 `nginx` of `switch` of `process` of `target` of environment `demo` has no `file` | for example `file: /etc/nginx/shipline/web.conf`
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
        E015 2:38 `root` is a path from the root, not `srv` | it begins with `/` and has no `..`
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
        E015 2:82 `path` is a path from the root, not `srv` | it begins with `/` and has no `..`
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
            "freeze": ["holidays"],
            "requires": [
                { "passed": "demo2", "max-age": "7d" },
                { "approvals": 2, "of": "managers" },
                { "bake": "30m" },
            ],
            "windows": ["Mon-Thu 10:00-17:00 Asia/Shanghai"],
        })
    );
    assert_eq!(plan.environments["demo"].only, Some(Only::Label("region=north".to_owned())));
}

#[test]
fn hosts_have_groups_and_labels_and_an_environment_may_be_some_of_them() {
    let environment = "{ target: { hosts: { hosts: [{ host: 'a@web-0', group: preprod, traffic: false }, \
                       { host: web-1, group: north, labels: region=north }, web-2] } }, \
                       only: { group: north } }";
    let plan = planned(&pipeline(environment, "environment: demo\n      image: image"), &on_main());
    let Environment { target, only, .. } = &plan.environments["demo"];
    let hosts = serde_json::json!([
        { "host": "a@web-0", "group": "preprod", "traffic": false },
        { "host": "web-1", "group": "north", "labels": ["region=north"] },
        "web-2",
    ]);
    assert_eq!(
        serde_json::to_value(target).unwrap(),
        serde_json::json!({ "hosts": { "hosts": hosts } })
    );
    let TargetSpec::Inline(target) = target else { panic!("{target:?}") };
    assert_eq!(
        serde_json::to_value(target.clone().only(only.as_ref())).unwrap(),
        serde_json::json!({ "hosts": { "hosts": [hosts[1].clone()] } })
    );
    environment_says(
        "target: { hosts: { hosts: [{ host: web-1, grup: a, group: 'a b', labels: [north], traffic: 1 }, {}] } }",
        r##"
        E010 2:53 unknown key `grup` in a host of `hosts` of `target` of environment `demo` | did you mean `group`?
        E015 2:69 `group` is no name: `a b` | a name begins with a letter or digit and has at most 64 letters, digits, `.`, `-` and `_`
        E015 2:85 `labels` is no label: `north` | for example `region=north`
        E012 2:102 `traffic` takes true or false, not a number
        E014 2:107 a host of `hosts` of `target` of environment `demo` has no address | for example `host: web-1.corp.example`
        "##,
    );
}

#[test]
fn the_folder_that_a_stage_names_is_that_of_its_environment() {
    let deploy = "environment: demo\n      hosts: { path: /srv/web, artifact: dist/** }";
    let path = |environment: &str| {
        let plan = planned(&pipeline(environment, deploy), &on_main());
        let target = serde_json::to_value(&plan.environments["demo"].target).unwrap();
        target["hosts"]["path"].clone()
    };
    assert_eq!(path("{ target: { hosts: { hosts: web-1 } } }"), "/srv/web");
    assert_eq!(path("{ target: { hosts: { hosts: web-1, path: /srv/web } } }"), "/srv/web");
    assert_eq!(
        said_in("{ target: { hosts: { hosts: web-1, path: /srv/shop } } }", deploy),
        "E013 8:22 stage `deploy` puts the releases of `demo` into `/srv/web`, and they are in `/srv/shop` | an environment has one folder: keep one, or make another environment"
    );
    let two = format!(
        "{deploy}\n  other:\n    timeout: 5m\n    deploy:\n      environment: demo\n      \
         hosts: {{ artifact: dist/** }}"
    );
    let plan = planned(&pipeline("{ target: { hosts: { hosts: web-1 } } }", &two), &on_main());
    let target = serde_json::to_value(&plan.environments["demo"].target).unwrap();
    assert_eq!(target["hosts"]["path"], "/srv/web", "the other stage says nothing");
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
        E015 2:99 `approvals` is a number from 1 to 10000, not `0` | out of range
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
fn what_dies_is_brought_back_only_where_the_environment_says_so() {
    environment_says("target: a, ensure: true", "");
    environment_says(
        "target: a, ensure: yes",
        r##"
        E012 2:30 `ensure` takes true or false, not text | `yes` is text here; write `true`
        "##,
    );
    assert!(!Environment::default().ensure, "bringing back is asked for");
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
        E015 2:30 `allow` is no pattern: `{a` | `{` is not closed; for example `release/*`
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
