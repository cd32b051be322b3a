//! Of keys and their values: E010 to E017.

use super::*;

#[test]
fn e010_an_unknown_key_gets_a_suggestion_from_distance_and_from_other_systems() {
    says(
        r##"
        image: debian:12
        colour: red
        imge: x
        jobs: {}
        x-anchors: { colour: 1 }
        stages: { build: make }
        "##,
        r##"
        E010 2:1 unknown key `colour` at the top level
        E010 3:1 unknown key `imge` at the top level | did you mean `image`?
        E010 4:1 unknown key `jobs` at the top level | did you mean `stages`?
        "##,
    );
    says(
        r##"
        image: debian:12
        stages:
          a: { script: make }
          b: { run: make, depends_on: [a], variables: {}, only: main, finally: x }
          c: { build: { dockerfile: x } }
        "##,
        r##"
        E010 3:8 unknown key `script` in stage `a` | did you mean `run`?
        E010 4:19 unknown key `depends_on` in stage `b` | did you mean `needs`?
        E010 4:36 unknown key `variables` in stage `b` | did you mean `env`?
        E010 4:51 unknown key `only` in stage `b` | did you mean `when`?
        E010 4:63 unknown key `finally` in stage `b` | did you mean `run-on: always`?
        E010 5:17 unknown key `dockerfile` in `build` of stage `c` | did you mean `file`?
        "##,
    );
}

#[test]
fn e011_a_key_at_the_wrong_place_is_sent_home() {
    says(
        r##"
        image: debian:12
        run: make
        stages:
          a: { run: make, environment: demo, tags: [x] }
          b: { build: { needs: [a] } }
          c: { build: {}, image: debian:12 }
          d: { run: make, after: a, run-before: x }
          e: off
        with: { a: 1 }
        "##,
        r##"
        E011 2:1 `run` does not belong at the top level | belongs to a stage
        E011 4:19 `environment` does not belong in stage `a` | belongs to `deploy`; or did you mean `env`?
        E011 4:38 `tags` does not belong in stage `a` | belongs to `build` or `push`; or did you mean `runner`?
        E011 5:17 `needs` does not belong in `build` of stage `b` | belongs to the stage itself
        E011 6:19 `image` does not belong to the `build` of stage `c` | belongs to `run`
        E011 7:19 `after` places a stage among those of a template, and there is none | write `needs`
        E011 7:29 `run-before` extends the `run` of a template, and `d` is none of its stages | write the commands into `run`
        E011 8:6 `off` removes a stage of a template, and `e` is none | remove the line, or write what to run
        E011 9:1 `with` belongs to a `template` | this file names no template
        "##,
    );
}

#[test]
fn e012_a_wrong_type_is_shown_corrected() {
    says(
        r##"
        image: 12
        env: { A: [x], B: null, C: 1.10, D: yes }
        timeout: 20
        stages:
          a: 3
          b: { run: [make, true, 1.10], needs: a }
          c: { run: make, needs: [{ stage: a, must: walk }] }
          d: { run: make, when: main }
          e: { build: { tags: x } }
          f: { run: [] }
        "##,
        r##"
        E012 1:8 `image` takes text, not a number | write "12"
        E012 2:11 `env.A` takes text, a number or true or false, not a list
        E012 2:19 `env.B` takes text, not nothing | write "" for an empty value
        E012 3:10 `timeout` takes a duration, and a number alone has no unit | write `20m` or `20s`
        E012 5:3 stage `a` takes a map, a command or a list of commands, not a number | for example `a: make`
        E012 6:20 `run` takes text, not true or false | write "true"
        E012 6:26 `run` takes text, not a number | is read as the number 1.1; write "1.10"
        E012 6:40 `needs` takes a list of stages, not text | write `[a]`
        E012 7:45 `must` takes the word `run` | write `run`
        E012 8:25 `when` takes a map, a list of maps or `off`, not text | for example `{ branch: main }`
        E012 9:23 `tags` takes a list, not text | write `[x]`
        E012 10:13 `run` has no command | for example `run: make`
        "##,
    );
    says(
        r##"
        on: 3
        checkout: { depth: 0 }
        notify: x
        image: debian:12
        stages: { build: make }
        "##,
        r##"
        E012 1:5 `on` takes a map or a list, not a number | for example `[push, manual]`
        E015 2:20 `depth` takes a number of commits from 1 to 1000000, or `full`, not `0` | for the whole history write `full`
        E012 3:9 `notify` takes a map, not text | for example `notify: { mail: { to: [committer] } }`
        "##,
    );
    is_fine(
        r##"
        on: [push, manual]
        checkout: { depth: full }
        image: debian:12
        timeout: 1h30m
        env: { A: 1.10, B: true, C: "" }
        stages: { build: [make, make test] }
        "##,
    );
}

#[test]
fn e013_an_action_is_one_and_what_says_the_same_is_said_once() {
    says(
        r##"
        image: debian:12
        defaults: { image: debian:12 }
        stages:
          a: { run: make, build: {} }
          b: { description: nothing }
        "##,
        r##"
        E013 2:13 `image` is given at the top level and in `defaults` | they are the same; keep one
        E013 4:19 stage `a` has 2 actions: `run`, `build` | a stage has exactly one action
        E013 5:3 stage `b` has no action | add what it does, for example `run: make`
        "##,
    );
}

#[test]
fn e014_what_is_missing_is_told_with_its_places() {
    says(
        r##"
        stages:
          a: make
        "##,
        r##"
        E014 2:3 stage `a` has a `run`, but no `image` to run it in | set it in one of these places / `image` of stage `a`, for this stage / `image` at the top level, or `defaults.image`, for every stage
        "##,
    );
    says(
        r##"
        stages:
          a: { push: {} }
          b: { timeout: 1m, deploy: {} }
        "##,
        r##"
        E014 2:8 `push` of stage `a` has no `image` | add `image: NAME_OF_A_BUILD_STAGE`
        E014 2:8 `push` of stage `a` has no `registry` | add `registry: NAME_OF_A_CREDENTIAL`
        E014 2:8 `push` of stage `a` has no `tags` | add `tags: ["host/repository:tag"]`
        E014 3:21 `deploy` of stage `b` has no `environment` | add `environment: demo`
        E014 3:21 `deploy` of stage `b` has no `image` | add `image: NAME_OF_A_STAGE` | only a deploy with `hosts` or `kubernetes` can do without, where files or manifests are the release
        "##,
    );
    says(
        r##"
        image: debian:12
        "##,
        r##"
        E014 1:1 there are no `stages` | add `stages`, for example / stages: /   build: make
        "##,
    );
    says(
        r##"
        image: debian:12
        stages: {}
        "##,
        r##"
        E014 2:1 `stages` has no stage | add one, for example / stages: /   build: make
        "##,
    );
    says(
        r##"
        environments: { a: {}, b: { target: { docker: {} } } }
        notify: { mail: { on: failed } }
        image: debian:12
        stages:
          a: { run: make, needs: [{ must: run }] }
          i: { build: {} }
          b: { timeout: 1m, deploy: { environment: x, image: i, expose: {}, health: {} } }
          c: { timeout: 1m, deploy: { environment: x, image: i, health: { http: / } } }
        "##,
        r##"
        E014 1:17 environment `a` has no `target` | where does it run?
        E014 1:47 `docker` of `target` of environment `b` has no `host` | the address of the engine
        E014 2:17 `notify.mail` has no `to` | for example `to: [committer, team@corp.example]`
        E014 5:27 this need names no `stage` | for example `{ stage: image, must: run }`
        E014 7:65 `expose` of stage `b` has no `port` | add the port the service listens at, for example `port: 8080`
        E014 7:77 `health` of stage `b` does not say what to ask | add `http`, `tcp` or `cmd`
        E014 8:73 `health` of stage `c` has no `port` | add it here, or `expose.port`
        "##,
    );
}

#[test]
fn e015_the_caret_points_into_the_value() {
    says(
        r##"
        image: "registry.example/Team/orders:1"
        timeout: 20 minutes
        on: { push: { branch: ["{a", ""] } }
        notify: { mail: { to: [a, "a b@c", "a@b\nBcc: x@y"], on: sometimes } }
        stages: { build: make }
        "##,
        r##"
        E015 1:26 `image` is no image reference: `registry.example/Team/orders:1` | an image name is in lower case
        E015 2:10 `timeout` takes a duration, not `20 minutes` | write `20m`
        E015 3:24 `branch` is no pattern: `{a` | `{` is not closed; for example `release/*`
        E015 3:30 `branch` is no pattern: `` | a pattern cannot be empty; for example `release/*`
        E015 4:24 `to` is no mail address: `a` | for example `team@corp.example`, or the word `committer`
        E015 4:29 `to` is no mail address: `a b@c` | ` ` cannot be in an address; for example `team@corp.example`, or the word `committer`
        E015 4:36 `to` is no mail address: `a@b\nBcc: x@y` | `\n` cannot be in an address; for example `team@corp.example`, or the word `committer`
        E015 4:58 `on` is no event of a notification: `sometimes` | events are `failed`, `broken`, `fixed`, `always`, `deployed`, `rolled-back`, `approval`, `unhealthy`, `drift`
        "##,
    );
    says(
        r##"
        environments: { a: { target: x, tier: production } }
        stages:
          image: { build: {} }
          a:
            timeout: 10m
            deploy:
              environment: a
              image: image
              replicas: 0
              expose: { port: 70000, host: "a b", path: x }
              health: { http: "/a b", timeout: 1h1h }
              strategy: canary
        "##,
        r##"
        E015 1:39 `tier` is no tier: `production` | did you mean `prod`? tiers are `dev`, `test`, `preprod`, `prod`
        E015 9:17 `replicas` is a number from 1 to 10000, not `0` | out of range
        E015 10:23 `port` is a port from 1 to 65535, not `70000` | not a port; for example 8080
        E015 10:36 `host` is no host name: `a b` | for example `orders.corp.example`, or `*` for every host
        E015 10:49 `path` is a path, not `x` | write `/x`
        E015 11:26 `http` is a path, not `/a b` | cannot be in a path; write it as `%XX`
        E015 11:40 `timeout` takes a duration, not `1h1h` | units are `d`, `h`, `m`, `s` and `ms`; for example `90s` or `1h30m`
        E015 12:17 `kind` names no strategy: `canary` | a canary is described by the key `canary`, beside `strategy`
        "##,
    );
}

#[test]
fn e016_names_follow_a_rule_and_checkout_is_taken() {
    says(
        r##"
        name: a/b
        image: debian:12
        env: { 2E: x }
        environments: { "a b": { target: x } }
        stages:
          checkout: make
          2nd: make
        "##,
        r##"
        E016 1:7 a pipeline cannot be named `a/b` | write for example `a-b`
        E016 3:8 `2E` in `env` cannot be the name of a variable | write for example `_2E`
        E016 4:17 an environment cannot be named `a b`
        E016 6:3 `checkout` is the engine's own first stage, and cannot be the name of another | choose another name | how the source is checked out is said by `checkout` at the top level of the file
        E016 7:3 a stage cannot be named `2nd` | write for example `stage-2nd`
        "##,
    );
}

#[test]
fn e017_names_of_shipline_cannot_be_set() {
    says(
        r##"
        image: debian:12
        stages:
          a: { run: make, env: { SHIPLINE_STAGE: x, shipline_stage: y } }
        "##,
        r##"
        E017 3:26 `SHIPLINE_STAGE` cannot be set: names that begin with `SHIPLINE_` are Shipline's | write for example `STAGE`
        "##,
    );
}

#[test]
fn a_build_stays_within_the_workspace() {
    says(
        r##"
        stages:
          a: { build: { context: ../other, file: /etc/passwd } }
          b: { build: { context: services/a, file: services/a/Dockerfile } }
        "##,
        r##"
        E015 2:26 `context` is a path within the workspace, not `../other` | a path within the workspace does not begin with `/` and has no `..`
        E015 2:42 `file` is a path within the workspace, not `/etc/passwd` | a path within the workspace does not begin with `/` and has no `..`
        "##,
    );
}
