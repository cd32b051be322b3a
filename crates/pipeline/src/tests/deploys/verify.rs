//! `verify` of a deploy, and the suites it names.

use super::*;

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
            "{ run: smoke-test, image: 'debian:12' }",
            serde_json::json!([{ "image": "debian:12", "run": ["smoke-test"] }]),
        ),
        (
            "[smoke, { run: [a, b], image: 'debian:12', per: unit }]",
            serde_json::json!([
                { "suite": "smoke" },
                { "image": "debian:12", "run": ["a", "b"], "per": "unit" },
            ]),
        ),
        (
            "{ http: /health, status: [200, 204], body: up, json: { /state: up, /n: 1 }, latency: 500ms }",
            serde_json::json!([{
                "http": "/health", "status": [200, 204], "body": "up",
                "json": { "/state": "up", "/n": 1 }, "latency": "500ms",
            }]),
        ),
        ("{ http: /old, status: 301 }", serde_json::json!([{ "http": "/old", "status": [301] }])),
    ] {
        plans(&format!("verify: {written}"), &serde_json::json!({ "verify": expected }));
    }
    says(
        "verify: { http: health }",
        r##"
        E015 9:23 `http` is no address and no path: `health` | an address is asked through the switch, as `https://orders.corp.example/health`; a path of each unit, as `/health`
        "##,
    );
    says(
        "verify: [{ http: /a, status: 700, json: { state.x: 1 }, per: unit }, { http: /a, status: [], json: [] }]",
        r##"
        E015 9:36 `status` is a status from 100 to 599, not `700` | for example 204
        E015 9:49 `state.x` is no JSON pointer | write `/state/x`
        E013 9:63 `verify` of stage `deploy` asks an address, so `per` says nothing: a path is asked of each unit, an address once | remove it, or write `run` in place of `http`
        E012 9:96 `status` is an empty list, and no answer would be good | for example `[200, 204]`
        E012 9:106 `json` takes a map, not a list | for example `{ /checks/0/state: up }`
        "##,
    );
    says(
        "verify: { run: x, image: 'a:1', body: up, per: all }",
        r##"
        E013 9:39 `verify` of stage `deploy` runs commands, so `body` has no answer to look at | remove it, or write `http` in place of `run`
        E015 9:54 `per` is no choice of what a check is made for: `all` | choices are `batch`, `unit`
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
        E012 9:27 `run` has no command | for example `curl -fsS $SHIPLINE_URL/health`
        E015 9:47 `verify` is no name: `a b` | a name begins with a letter or digit and has at most 64 letters, digits, `.`, `-` and `_`
        "##,
    );
    says(
        "verify: []",
        r##"
        E012 9:15 `verify` of stage `deploy` has no check | for example `[{ http: /health }]`
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
fn suites_are_checked_where_they_stand_and_named_where_they_are_used() {
    says(
        "verify: [smoke, lod]",
        r##"
        E067 9:23 `verify` of stage `deploy` names the suite `lod`, and there is none | did you mean `load`? | define it at the top level, for example / suites: /   lod: [{ http: /health }]
        "##,
    );
    let text = flush(
        "
        environments: { demo: { target: house } }
        suites:
          smoke:
            - { http: /health, json: { /state: up } }
            - { run: smoke-test, image: 'a:1', per: unit, timeout: 1m }
          load: { http: 'https://a.example' }
        stages:
          image: { build: {} }
          deploy: { timeout: 5m, deploy: { environment: demo, image: image, verify: smoke } }
        ",
    );
    let plan = planned(&text, &on_main());
    assert_eq!(
        serde_json::to_value(&plan.suites).unwrap(),
        serde_json::json!({
            "load": [{ "http": "https://a.example" }],
            "smoke": [
                { "http": "/health", "json": { "/state": "up" } },
                { "image": "a:1", "run": ["smoke-test"], "per": "unit", "timeout": "1m" },
            ],
        })
    );
    let read: crate::Plan = serde_json::from_value(serde_json::to_value(&plan).unwrap()).unwrap();
    assert_eq!(read, plan);

    let wrong = flush(
        "
        suites:
          a b: { http: /health }
          none: []
          nested: [smoke]
          open: { http: 'https://${{ git.branch }}.example' }
          both: [{ http: /a, run: b }]
        stages: { a: { image: 'a:1', run: make } }
        ",
    );
    let found = lines(&found_in(&wrong, &Bundled, &on_main()));
    let codes: Vec<&str> = found.lines().map(|line| &line[..4]).collect();
    assert_eq!(codes, ["E016", "E012", "E012", "E045", "E013"], "{found}");
    assert!(found.contains("suite `nested`"), "{found}");
}

#[test]
fn a_file_replaces_a_suite_of_its_template_and_an_unknown_one_names_both() {
    let files = TestFiles(&[(
        "shop",
        "1",
        "suites: { smoke: [{ http: /a }, { http: /b }], load: { http: /c } }\n\
         environments: { demo: { target: house } }\n\
         stages:\n  image: { build: {} }\n  \
         deploy: { timeout: 5m, deploy: { environment: demo, image: image, verify: [smoke, load] } }\n",
    )]);
    let text = "template: shop@1\nsuites: { smoke: [{ http: /mine }] }\n";
    let (pipeline, found) = checked(text, &files);
    let suites = &pipeline.unwrap_or_else(|| panic!("{found}")).suites;
    assert_eq!((suites["smoke"].len(), suites["load"].len()), (1, 1));
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
