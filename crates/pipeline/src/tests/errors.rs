//! What is said of a wrong file: at least one failing and one passing case per code.

use super::*;

/// Checks the whole of what is said about a file, on a push to `main`.
#[track_caller]
pub(super) fn says(text: &str, expected: &str) {
    let found = lines(&found_in(&flush(text), &Bundled, &on_main()));
    assert_eq!(found, flush(expected).trim_end(), "\n{found}\n");
}

#[track_caller]
pub(super) fn is_fine(text: &str) {
    says(text, "");
}

#[test]
fn e001_a_slip_of_syntax_has_a_place_and_often_a_help() {
    says(
        r##"
        image: debian:12
        stages:
          a: echo done: yes
        "##,
        r##"
        E001 3:15 this is not YAML: a second `: ` on one line | a text with `: ` in it stands in quotes
        "##,
    );
    says(
        r##"
        image: debian:12
        stages:
        	a: make
        "##,
        r##"
        E001 3:1 a tab (`→`) cannot indent YAML | replace it with spaces
        "##,
    );
}

#[test]
fn e002_everything_given_twice_is_told() {
    says(
        r##"
        image: debian:12
        image: debian:13
        stages: { a: make, a: make test }
        "##,
        r##"
        E002 2:1 key `image` is given twice | given again; the first is in line 1
        E002 3:20 key `a` is given twice | given again; the first is in line 3
        "##,
    );
}

#[test]
fn e003_limits_and_names_that_cannot_be_seen() {
    says(
        r##"
        image: debian:12
        stages: { "a\u202eb": make }
        "##,
        r##"
        E003 2:11 this name holds U+202E, which cannot be seen: 1 such character, the limit is 0
        E016 2:11 a stage cannot be named `a\u{202e}b` | write for example `a-b`
        "##,
    );
}

#[test]
fn e004_the_file_is_a_map_and_so_are_its_stages() {
    says(
        r##"
        - a
        - b
        "##,
        r##"
        E004 1:1 a pipeline is a map, and this is a list | a smallest pipeline is / image: debian:12 / stages: /   build: make
        "##,
    );
    says(
        r##"
        image: debian:12
        stages:
          - name: build it
            script: make
        "##,
        r##"
        E004 2:1 `stages` is a map from names to stages, not a list | write / stages: /   build-it: /     run: make
        "##,
    );
    says(
        r##"
        image: debian:12
        stages: [build, test]
        "##,
        r##"
        E004 2:1 `stages` is a map from names to stages, not a list | write / stages: /   build: make
        "##,
    );
}

#[test]
fn e006_a_newer_version_names_what_reads_it() {
    says(
        r##"
        version: 3
        image: debian:12
        stages: { build: make }
        "##,
        r##"
        E006 1:10 this file is written in version 3 of the language | this Shipline reads version 1 | use Shipline 3.0 or later
        "##,
    );
    is_fine(
        r##"
        version: 1
        image: debian:12
        stages: { build: make }
        "##,
    );
}

#[test]
fn e007_tags_are_refused() {
    says(
        r##"
        image: !!str debian:12
        stages: { build: !run make }
        "##,
        r##"
        E007 1:8 `!!str` is a YAML tag, and tags are not used | remove it
        E007 2:18 `!run` is a YAML tag, and tags are not used | remove it
        "##,
    );
}

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
        E011 4:38 `tags` does not belong in stage `a` | belongs to `build` or `push`
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
        E012 5:3 stage `a` takes a map, a command or a list of commands, not a number | for example `run: make`
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
        E015 2:20 `depth` takes a number of commits from 1 to 1000000, or `full`: `0` | for the whole history write `full`
        E012 3:9 `notify` takes a map, not text
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
        E015 2:10 `timeout` takes a duration: `20 minutes` | units are `d`, `h`, `m`, `s` and `ms`; for example `90s` or `1h30m`
        E015 3:24 `branch` is no pattern: `{a` | unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?); for example `release/*`
        E015 3:30 `branch` is no pattern: `` | a pattern cannot be empty; for example `release/*`
        E015 4:24 `to` is no mail address: `a` | for example `team@corp.example`, or the word `committer`
        E015 4:29 `to` is no mail address: `a b@c` | ` `; for example `team@corp.example`, or the word `committer`
        E015 4:36 `to` is no mail address: `a@b\nBcc: x@y` | `\n`; for example `team@corp.example`, or the word `committer`
        E015 4:58 `on` is no event of a notification: `sometimes` | events are `failed`, `broken`, `fixed`, `always`, `deployed`, `rolled-back`, `approval`
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
        E015 1:39 `tier` is no tier: `production` | tiers are `dev`, `test`, `preprod` and `prod`
        E015 9:17 `replicas` is a number from 1 to 10000: `0` | out of range
        E015 10:23 `port` is a port from 1 to 65535: `70000` | not a port; for example 8080
        E015 10:36 `host` is no host name: `a b` | for example `orders.corp.example`, or `*` for every host
        E015 10:49 `path` is a path: `x` | write `/x`
        E015 11:26 `http` is a path: `/a b` | cannot be in a path; write it as `%XX`
        E015 11:40 `timeout` takes a duration: `1h1h` | units are `d`, `h`, `m`, `s` and `ms`; for example `90s` or `1h30m`
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
fn e018_sources_of_templates_that_this_version_cannot_read() {
    says(
        r##"
        template: ./ci/java.yml
        "##,
        r##"
        E018 1:11 templates from Git and from paths are part of the language, but this version reads only bundled ones; found `./ci/java.yml`
        "##,
    );
}

#[test]
fn e020_an_unknown_stage_gets_a_suggestion() {
    says(
        r##"
        image: debian:12
        stages:
          build: make
          test: { run: make test, needs: [biuld] }
          image: { build: {} }
          push: { push: { image: imgae, registry: x, tags: ["a:1"] } }
          again: { push: { image: push, registry: x, tags: ["a:1"] } }
          deploy: { timeout: 1m, deploy: { environment: x, image: test } }
        "##,
        r##"
        E020 4:35 stage `test` needs `biuld`, which is not a stage | did you mean `build`?
        E020 6:26 stage `push` uses the image of `imgae`, which is not a stage | did you mean `image`? | name a `build` stage; an image of a registry has a tag or a path, for example `imgae:1.0`
        E020 7:27 stage `again` pushes the image of `push`, which is no `build` stage | name a `build` stage
        E020 8:59 stage `deploy` deploys the image of `test`, which makes none | name a `build` or `push` stage
        "##,
    );
    says(
        r##"
        checkout: off
        image: debian:12
        stages: { build: { run: make, needs: [checkout] } }
        "##,
        r##"
        E020 3:39 stage `build` needs `checkout`, which is removed | `off` at 1:11
        "##,
    );
    is_fine(
        r##"
        image: debian:12
        stages: { build: { run: make, needs: [checkout] } }
        "##,
    );
}

#[test]
fn e021_a_circle_is_shown_closed_with_the_line_of_each_edge() {
    says(
        r##"
        image: debian:12
        stages:
          build:
            needs: [image]
            run: make
          test:
            needs: [build]
            run: make test
          image:
            needs: [test]
            run: make image
        "##,
        r##"
        E021 4:13 stages wait for each other | remove one edge, for example `image` from the needs of `build` at 4:13
        "##,
    );
    says(
        r##"
        image: debian:12
        stages:
          a: { run: make, needs: [a] }
          b: { push: { image: b, registry: x, tags: ["a:1"] } }
        "##,
        r##"
        E021 3:27 stage `a` needs itself | remove it
        E021 4:23 stage `b` uses its own image | name the stage that makes the image
        "##,
    );
    says(
        r##"
        image: debian:12
        stages:
          first: { run: make, needs: [last] }
          last: make
        "##,
        r##"
        E021 3:31 stages wait for each other | remove one edge, for example `last` from the needs of `first` at 3:31
        "##,
    );
    says(
        r##"
        stages:
          push: { push: { image: image, registry: x, tags: ["a:1"] } }
          image: { build: {} }
        "##,
        r##"
        E021 2:26 stages wait for each other | move `push` below `image`, whose image it uses at 2:26
        "##,
    );
    is_fine(
        r##"
        image: debian:12
        stages:
          first: { run: make, needs: [last] }
          last: { run: make, needs: [] }
        "##,
    );
}

#[test]
fn e040_an_expression_that_does_not_parse_has_its_caret_inside() {
    says(
        r##"
        image: debian:12
        stages:
          a: { run: make, env: { A: "${{ git.sha", B: "${{ }}", C: "x ${{ git.sha + }}", D: "${{ git..sha }}" } }
          b:
            run: |
              echo start
              echo ${{ git.sha sha }}
        "##,
        r##"
        E040 3:30 this expression has no end | `}}` is missing
        E040 3:48 the expression is empty
        E040 3:76 this is not an expression: it ends too early
        E040 3:94 this is not an expression: unexpected `..`
        E040 7:24 this is not an expression: unexpected `sha`
        "##,
    );
}

#[test]
fn e041_an_unknown_name_gets_a_suggestion_and_what_there_is() {
    says(
        r##"
        image: debian:12
        stages:
          a: { run: make, env: { A: "${{ git.brnch }}", B: "${{ gti.sha }}", C: "${{ secrets.x }}", D: "${{ params.x }}", E: "${{ slgu('x') }}" } }
        "##,
        r##"
        E041 3:34 unknown name `git.brnch` | did you mean `git.branch`?
        E041 3:57 unknown name `gti.sha` | did you mean `git`?
        E041 3:78 unknown name `secrets.x` | secrets are not read by expressions | name the secret under the key `secrets` of the stage
        E041 3:101 unknown name `params.x` | this pipeline has no parameters
        E041 3:123 unknown function `slgu` | did you mean `slug`?
        "##,
    );
}

#[test]
fn e042_a_wrong_type_names_both() {
    says(
        r##"
        image: debian:12
        stages:
          a: { run: make, env: { A: "${{ 1 + 'a' }}", B: "${{ [1] }}", C: "x${{ {'a': 1} }}", D: "${{ slug(1) }}" } }
          b: { run: make, timeout: "${{ 20 }}" }
        "##,
        r##"
        E042 3:36 `1 + 'a'` cannot be evaluated: `+` does not go with a number and text
        E042 3:50 `env.B` takes text, a number or true or false, not a list | the expression gives a list
        E042 3:69 `{'a': 1}` is a map, and this place needs text | expected text, found a map
        E042 3:95 `slug(1)` cannot be evaluated: `slug` takes text, not a number
        E042 4:28 `timeout` takes a duration, and a number alone has no unit | the expression gives a number
        "##,
    );
    says(
        r##"
        image: debian:12
        stages:
          a: { run: make, env: { A: "${{ git.tag }}", B: "v${{ git.tag }}", C: "${{ git.tag + 'x' }}" } }
        "##,
        r##"
        E042 3:29 the expression of `env.A` has no value for this event
        E042 3:52 `git.tag` has no value for this event | expected text, found nothing
        E042 3:73 `git.tag + 'x'` cannot be evaluated: `+` does not go with nothing and text
        "##,
    );
    is_fine(
        r##"
        image: debian:12
        stages:
          a: { run: make, env: { A: "${{ 1 + 2 }}", B: "${{ git.tag == null ? 'none' : git.tag }}" }, timeout: "${{ git.branch == 'main' ? '1h' : '5m' }}" }
        "##,
    );
}

#[test]
fn e043_text_of_others_is_no_command() {
    says(
        r##"
        image: debian:12
        stages:
          a: echo ${{ git.message }}
          b: [make, "echo ${{ 'v' + git.branch }} ${{ git }}"]
        "##,
        r##"
        E043 3:15 `git.message` is text that others choose, and this is a command | would become part of the script | write "$SHIPLINE_GIT_MESSAGE", which holds the same text safely
        E043 4:29 `git.branch` is text that others choose, and this is a command | would become part of the script | write "$SHIPLINE_GIT_BRANCH", which holds the same text safely
        E043 4:47 `git` is text that others choose, and this is a command | would become part of the script | give it to the stage as `env`, and read the variable: env: { VALUE: "${{ git }}" }
        "##,
    );
    is_fine(
        r##"
        image: debian:12
        stages:
          a: "echo ${{ git.sha }} ${{ slug(git.branch) }} ${{ git.branch == 'main' ? 'yes' : 'no' }}"
          b: { run: 'echo "$SHIPLINE_GIT_BRANCH"', env: { BRANCH: "${{ git.branch }}" } }
        "##,
    );
}

#[test]
fn e045_a_name_out_of_place_is_told_where_it_is_available() {
    says(
        r##"
        name: "${{ git.branch }}"
        image: "${{ stages.a.outputs.x }}"
        stages:
          a: { run: make, when: { branch: "${{ git.branch }}" }, needs: ["${{ git.branch }}"] }
        environments: { a: { target: x, env: { A: "${{ env.B }}" } } }
        "##,
        r##"
        E045 1:8 expressions are not available in `name` | write the value itself
        E045 2:13 `stages.a.outputs.x` is not available here | `stages` is available in `when.if`, `env`, `build`, `push`, `deploy`, `approve`, `trigger`, `artifacts`, `cache` and `concurrency` of a stage
        E045 4:36 expressions are not available in `branch` | write the value itself
        E045 4:67 expressions are not available in `needs` | write the value itself
        E045 5:48 `env.B` is not available here | `env` is available in the keys of stages, but not in the axes of a `matrix`, and not in the `env` of the pipeline itself
        "##,
    );
}

#[test]
fn e062_an_unknown_environment_gets_a_suggestion() {
    says(
        r##"
        environments: { demo: { target: { docker: { host: "unix:///d.sock" } } } }
        stages:
          image: { build: {} }
          deploy: { timeout: 1m, deploy: { environment: dmeo, image: image } }
        "##,
        r##"
        E062 4:49 stage `deploy` deploys to `dmeo`, which is not an environment | did you mean `demo`? | define it for local runs, for example / environments: /   dmeo: { target: { docker: { host: "unix:///var/run/docker.sock" } } }
        "##,
    );
    is_fine(
        r##"
        environments: { demo: { target: { docker: { host: "unix:///d.sock" } } } }
        stages:
          image: { build: {} }
          deploy: { timeout: 1m, deploy: { environment: "${{ git.branch == 'main' ? 'demo' : 'x' }}", image: image } }
        "##,
    );
}

#[test]
fn w024_a_deploy_that_can_pass_a_skipped_stage_is_warned_of() {
    says(
        r##"
        environments: { demo: { target: { docker: { host: "unix:///d.sock" } } } }
        image: debian:12
        stages:
          image: { build: {} }
          scan: { run: make scan, when: { branch: main } }
          deploy: { timeout: 1m, deploy: { environment: demo, image: image } }
        "##,
        r##"
        W024 6:3 stage `deploy` deploys also when `scan` was skipped | add to the needs of `deploy`: { stage: scan, must: run }; or write on its line: # shipline: allow W024
        "##,
    );
    is_fine(
        r##"
        environments: { demo: { target: { docker: { host: "unix:///d.sock" } } } }
        image: debian:12
        stages:
          image: { build: {} }
          scan: { run: make scan, when: { branch: main } }
          must: { timeout: 1m, needs: [{ stage: scan, must: run }], deploy: { environment: demo, image: image } }
          same: { timeout: 1m, when: { branch: main }, deploy: { environment: demo, image: image } }
          allowed: { timeout: 1m, deploy: { environment: demo, image: image } } # shipline: allow W024 -- on purpose
        "##,
    );
}

#[test]
fn w070_open_ends_are_warned_of_once() {
    says(
        r##"
        environments: { demo: { target: { docker: { host: "unix:///d.sock" } } } }
        image: debian
        stages:
          a: make
          b: make test
          c: { run: make, image: "debian:latest" }
          d: { deploy: { environment: demo, image: "a/b:1", allow-mutable-tag: true } }
        "##,
        r##"
        W070 2:8 image `debian` has no tag, which means `latest` | name a version, for example `debian:1.0`
        W070 6:26 image `debian:latest` has the tag `latest`, which moves | name a version, for example `debian:1.0`
        W070 7:3 stage `d` deploys without a `timeout`, and may take an hour | add for example `timeout: 15m`
        "##,
    );
    is_fine(
        r##"
        image: debian # shipline: allow W070
        stages: { a: make, b: { run: make, image: "debian@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" } }
        "##,
    );
}

#[test]
fn limits_of_the_language_are_told_with_the_number_found() {
    let says_of = |text: &str| lines(&found_in(text, &Bundled, &on_main()));
    let stages: String = (0..10_001).map(|at| format!("  s{at}: x\n")).collect();
    assert_eq!(
        says_of(&format!("image: debian:12\nstages:\n{stages}")),
        "E061 2:1 the pipeline has 10001 stages, the limit is 10000"
    );
    let long = "x".repeat((128 << 10) + 1);
    assert_eq!(
        says_of(&format!(
            "image: debian:12\nstages: {{ a: {{ run: {long}, env: {{ A: {long} }} }} }}"
        )),
        "E003 2:16 the `run` of stage `a` is 131073 bytes long, the limit is 131072 | put the script into a file of the repository\n\
         E003 2:131103 `env.A` is 131073 bytes long, the limit is 131072 | put the value into a file of the repository"
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
        E015 2:26 `context` is a path within the workspace: `../other` | a path within the workspace does not begin with `/` and has no `..`
        E015 2:42 `file` is a path within the workspace: `/etc/passwd` | a path within the workspace does not begin with `/` and has no `..`
        "##,
    );
}
