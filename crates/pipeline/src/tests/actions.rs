//! The actions that are not `run` and not `deploy`: build, push, approve, trigger.

use serde_json::json;

use super::errors::{is_fine, says};
use super::*;

/// The work of a stage as the plan writes it.
fn work(stage: &str) -> serde_json::Value {
    let text =
        format!("stages:\n  image: {{ build: {{}} }}\n  it: {{ needs: [image], {stage} }}\n");
    let plan = planned(&text, &on_main());
    serde_json::to_value(&plan.stage("it").unwrap().work).unwrap()
}

#[test]
fn a_build_has_its_defaults_and_every_key() {
    assert_eq!(
        work("build: {}"),
        json!({ "action": "build", "context": ".", "file": "Dockerfile", "args": {}, "tags": [] })
    );
    assert_eq!(
        work(
            "build: { context: app, file: app/Dockerfile, target: runtime, args: { A: 1, B: '${{ git.sha_short }}' }, tags: ['a:1'], platform: linux/arm64 }, env: { C: c }"
        ),
        json!({
            "action": "build", "context": "app", "file": "app/Dockerfile", "target": "runtime",
            "args": { "A": "1", "B": "01234567" }, "env": { "C": "c" }, "tags": ["a:1"],
            "platform": "linux/arm64",
        })
    );
}

#[test]
fn a_push_names_a_credential_and_may_ask_for_a_verdict() {
    assert_eq!(
        work(
            "push: { image: image, registry: harbor, tags: ['h/a:1', 'h/a:${{ git.sha_short }}'], scan: { max-severity: high } }"
        ),
        json!({
            "action": "push", "image": { "stage": "image" }, "registry": "harbor",
            "tags": ["h/a:1", "h/a:01234567"],
            "scan": { "max-severity": "high", "timeout": "5m", "on-unscannable": "fail" },
        })
    );
    assert_eq!(
        work(
            "push: { image: 'debian:12', registry: harbor, tags: ['h/a:1'], scan: { max-severity: none, timeout: 90s, on-unscannable: pass } }"
        )["scan"],
        json!({ "max-severity": "none", "timeout": "1m30s", "on-unscannable": "pass" })
    );
}

#[test]
fn what_is_wrong_with_a_build_or_push_is_told() {
    says(
        r##"
        stages:
          a: { build: { platform: arm64, target: 3, tags: "a:1", args: [x] } }
          b: { build: { platform: "linux/amd64,linux/arm64" } }
          c: { push: { image: a, registry: harbor.corp.example/team, tags: [], scan: {} } }
          d: { push: { image: a, registry: harbor, tags: ["h/A:1"], scan: { max-severity: severe, on-unscannable: ignore, timeout: 5 } } }
          e: { push: { image: a, registry: harbor, tags: ["h/a:1"], scan: high } }
        "##,
        r##"
        E015 2:27 `platform` is no platform: `arm64` | write `linux/arm64`
        E012 2:42 `target` takes text, not a number | write "3"
        E012 2:51 `tags` takes a list, not text | write `["a:1"]`
        E012 2:64 `args` takes a map, not a list | for example `{ NAME: value }`
        E015 3:27 `platform` is no platform: `linux/amd64,linux/arm64` | one platform, for example `linux/arm64`; a `matrix` builds several
        E015 4:36 `registry` is no name of a registry's credential: `harbor.corp.example/team` | this looks like an address; write the name of the entry `[registries.NAME]`
        E014 4:68 `push` of stage `c` has no tag | add one, for example `host/repository:tag`
        E014 4:78 `scan` of `push` of stage `c` has no `max-severity` | add the worst that may pass, for example `max-severity: high`
        E015 5:54 `tags` is no image reference: `h/A:1` | an image name is in lower case
        E015 5:83 `max-severity` is no severity: `severe` | severities are `none`, `low`, `medium`, `high`, `critical`
        E015 5:107 `on-unscannable` is no answer to an image that cannot be scanned: `ignore` | answers are `fail`, `pass`
        E012 5:124 `timeout` takes a duration, and a number alone has no unit | write `5m` or `5s`
        E012 6:67 `scan` of `push` of stage `e` takes a map, not text | write `scan: { max-severity: high }`
        "##,
    );
}

#[test]
fn an_approval_asks_people_and_may_ask_for_values() {
    assert_eq!(
        work("approve: { by: ada }"),
        json!({ "action": "approve", "by": ["ada"], "count": 1 })
    );
    assert_eq!(
        work(
            "approve: { by: [ada, bob, 'group:release'], count: 5, message: 'Deploy ${{ git.sha_short }}?', fields: { ticket: { type: string, pattern: '^T-', required: true }, size: { type: int, max: 9, default: 3 } } }"
        ),
        json!({
            "action": "approve", "by": ["ada", "bob", "group:release"], "count": 5,
            "message": "Deploy 01234567?",
            "fields": {
                "ticket": { "type": "string", "pattern": "^T-", "required": true },
                "size": { "type": "int", "max": 9, "default": 3 },
            },
        })
    );
    let timeout = |stage: &str| {
        let text = format!("timeout: 5m\nstages: {{ it: {{ {stage} }} }}");
        planned(&text, &on_main()).stage("it").unwrap().timeout.to_string()
    };
    assert_eq!(timeout("approve: { by: ada }"), "1d");
    assert_eq!(timeout("approve: { by: ada, timeout: 2h }"), "2h");
    assert_eq!(timeout("timeout: 30d, approve: { by: ada }"), "30d");
}

#[test]
fn what_is_wrong_with_an_approval_is_told() {
    says(
        r##"
        stages:
          a: { approve: {} }
          b: { approve: { by: [] } }
          c: { approve: { by: [ada, ada], count: 2 } }
          d: { approve: { by: [ada lovelace, "group:", "team:x"], count: 0 } }
          e: { timeout: 1h, approve: { by: ada, timeout: 2h } }
          f: { approve: { by: ada, timeout: 31d, fields: { by: { type: string }, x: { type: text } } } }
          g: { approve: { by: ada, fields: [x], message: 3 } }
          h: { approve: ada }
        "##,
        r##"
        E014 2:8 `approve` of stage `a` has no `by` | add who may approve, for example `by: [ada, "group:release"]`
        E014 3:23 `by` of `approve` of stage `b` is an empty list, and nobody could approve | for example `by: [ada, "group:release"]`
        E015 4:42 `count` is 2, and `by` names only 1 person | name more people in `by`, or a `group:NAME`
        E015 5:27 `by` is no user and no group: `ada lovelace` | for example `ada` or `group:release`
        E015 5:38 `by` names nobody: `group:` | for example `ada` or `group:release`
        E015 5:53 `by` is no user and no group: `team:x` | for example `ada` or `group:release`
        E015 5:66 `count` is a number from 1 to 10000, not `0` | out of range
        E013 6:41 `timeout` is given in `approve` and beside it | they are the same; keep one
        E015 7:37 `timeout` of an approval is at most 30d: `31d` | too long; for example `7d`
        E016 7:52 a field of stage `f` cannot be named `by` | the output `by` says who approved; choose another name
        E034 7:85 field `x` of stage `f` has the unknown type `text` | did you mean `string`? types are `string`, `int`, `bool`, `enum`, `list`, `map`, `duration`, `size`
        E012 8:36 `fields` takes a map, not a list | for example `{ target: { type: string } }`
        E012 8:50 `message` takes text, not a number | write "3"
        E012 9:17 `approve` of stage `h` takes a map, not text | write `approve: { by: [ada] }`
        "##,
    );
    is_fine(
        r##"
        stages:
          a: { approve: { by: ["group:release"], count: 9 } }
          b: { approve: { by: [ada, bob], count: 2 } }
        "##,
    );
}

#[test]
fn a_trigger_starts_another_pipeline_with_values_of_any_type() {
    assert_eq!(
        work("trigger: { pipeline: smoke }"),
        json!({ "action": "trigger", "pipeline": "smoke", "wait": true })
    );
    assert_eq!(
        work(
            "trigger: { pipeline: shop/smoke, ref: '${{ git.branch }}', wait: false, params: { count: 3, fast: true, sha: '${{ git.sha_short }}', hosts: [a, '${{ git.branch }}'], map: { a: 1.5 } } }"
        ),
        json!({
            "action": "trigger", "pipeline": "shop/smoke", "ref": "main", "wait": false,
            "params": {
                "count": 3, "fast": true, "sha": "01234567", "hosts": ["a", "main"],
                "map": { "a": 1.5 },
            },
        })
    );
}

#[test]
fn what_is_wrong_with_a_trigger_is_told() {
    says(
        r##"
        stages:
          a: { trigger: {} }
          b: { trigger: { pipeline: a/b/c, ref: "main *", params: [x], wait: yes, branch: main } }
          c: { trigger: { pipeline: smoke, params: { sha: "${{ git.shaa }}" } } }
          d: { trigger: smoke }
        "##,
        r##"
        E014 2:8 `trigger` of stage `a` has no `pipeline` | add the pipeline to start, for example `pipeline: release`
        E015 3:29 `pipeline` is no name of a pipeline: `a/b/c` | for example `release`, or `orders/release` in project `orders`
        E015 3:46 `ref` is no branch, tag or commit: `main *` | for example `main` or `v1.4.0`
        E012 3:59 `params` takes a map, not a list | for example `{ target: staging }`
        E012 3:70 `wait` takes true or false, not text | `yes` is text here; write `true`
        E010 3:75 unknown key `branch` in `trigger` of stage `b`
        E041 4:56 unknown name `git.shaa` | did you mean `git.sha`?
        E012 5:17 `trigger` of stage `d` takes a map, not text | write `trigger: { pipeline: smoke }`
        "##,
    );
}
