//! Mistakes of people who come from another system: what they are told, whole.

use super::errors::{is_fine, says};
use super::*;

#[test]
fn habits_of_github_are_answered_in_our_words() {
    says(
        r##"
        on:
          push: { branches: [main], tags: ["v*"] }
          pull_request: { types: [synchronize] }
          workflow_dispatch: {}
        image: node:22
        stages:
          a:
            steps:
              - run: make
          b: { run: [{ uses: x/y@v4 }, { name: Build, run: make }] }
          c: { run: make, if: github.ref == 'main' }
          d: { run: make, when: "git.branch == 'main'" }
          e: { run: make, when: { if: success() } }
          f: { run: make, secrets: inherit }
          g: { run: make, env: { A: "${{ github.sha }}", B: "${{ needs.a.outputs.x }}", C: "${{ vars.X }}" } }
          h: { run: make, cache: { key: "${{ hashFiles('a') }}", paths: [x] } }
        "##,
        r##"
        E010 2:11 unknown key `branches` in `on.push` | did you mean `branch`?
        E010 2:29 unknown key `tags` in `on.push` | a pushed tag is a trigger of its own, beside `push`: `tag: { name: v* }`
        E010 3:3 unknown key `pull_request` in `on` | did you mean `pull-request`?
        E010 4:3 unknown key `workflow_dispatch` in `on` | did you mean `manual`?
        E010 8:5 unknown key `steps` in stage `a` | did you mean `run`?
        E012 10:14 a command in `run` is one text, not a map | for example `make test`
        E012 10:32 a command in `run` is one text, not a map | write the command alone: `make`
        E010 11:19 unknown key `if` in stage `c` | did you mean `when`?
        E012 12:25 `when` takes a map, a list of maps or `off`, not text | write `{ if: "git.branch == 'main'" }`
        E041 13:31 unknown function `success` | a stage runs only after success anyway
        E012 14:28 `secrets` takes a list, not text | name each secret, for example `[NPM_TOKEN]`
        E041 15:34 unknown name `github.sha` | did you mean `git.sha`?
        E041 15:58 unknown name `needs.a.outputs.x` | did you mean `stages.a.outputs.x`?
        E041 15:89 unknown name `vars.X` | did you mean `env.X`?
        E041 16:38 unknown function `hashFiles` | did you mean `hash`?
        "##,
    );
}

#[test]
fn habits_of_gitlab_are_answered_in_our_words() {
    says(
        r##"
        stages: [build, test]
        build-job:
          stage: build
          script: make
        "##,
        r##"
        E004 1:1 `stages` is a map from names to stages, not a list | write / stages: /   build: make
        E010 2:1 unknown key `build-job` at the top level | a stage stands under `stages`, indented
        "##,
    );
}

#[test]
fn the_keys_of_gitlab_are_answered_in_our_words() {
    says(
        r##"
        image: debian:12
        stages:
          a: { run: make, tags: [docker] }
          b: { run: make, when: on_success }
          c: { run: make, when: on_failure }
          d: { run: make, when: manual }
          e: { run: make, when: { event: merge_request } }
          f: { run: make, when: { if: '$CI_COMMIT_BRANCH == "main"' } }
          g: { run: make, needs: [{ job: a }, { stage: b, optional: true }] }
          h: { run: make, artifacts: { paths: [x], expire: 1 week } }
          i: { run: make, image: "$CI_REGISTRY_IMAGE:1" }
          j: { run: make, image: { name: debian } }
          k: { run: make, needs: { stage: a } }
          l: { run: make, run-on: failed }
        "##,
        r##"
        E011 3:19 `tags` does not belong in stage `a` | belongs to `build` or `push`; or did you mean `runner`?
        E012 4:25 `when` takes a map, a list of maps or `off`, not text | remove the line: a stage runs after success
        E012 5:25 `when` takes a map, a list of maps or `off`, not text | write the key `run-on: failure`
        E012 6:25 `when` takes a map, a list of maps or `off`, not text | a stage with `approve` above this one asks people; when a run is started by hand write `{ event: manual }`
        E015 7:34 `event` is no event: `merge_request` | did you mean `pull-request`? events are `push`, `tag`, `pull-request`, `schedule`, `manual`, `gerrit`, `svn`, `trigger`
        E040 8:32 this is not an expression: `$` means nothing here | names stand without `$`, for example `git.branch`
        E010 9:29 unknown key `job` in `needs` of stage `g` | did you mean `stage`?
        E010 9:51 unknown key `optional` in `needs` of stage `g` | a stage that is skipped holds up nobody; with `must: run` it would
        E015 10:52 `expire` takes a duration, not `1 week` | write `7d`
        E015 11:27 `image` is no image reference: `$CI_REGISTRY_IMAGE:1` | a shell's variables are not read here; an expression is `${{ git.sha }}`
        E012 12:26 `image` takes text, not a map | write it alone, for example `debian:12`
        E012 13:26 `needs` takes a list of stages, not a map | write `[{ stage: a }]`
        E015 14:27 `run-on` is no outcome to run after: `failed` | did you mean `failure`? outcomes are `success`, `failure`, `always`
        "##,
    );
}

#[test]
fn a_pipeline_of_jenkins_is_told_once_that_it_is_called_stages() {
    says(
        r##"
        pipeline:
          agent: any
        "##,
        r##"
        E010 1:1 unknown key `pipeline` at the top level | did you mean `stages`?
        "##,
    );
}

#[test]
fn a_colon_that_makes_a_map_of_a_command_is_shown_in_quotes() {
    says(
        r##"
        image: debian:12
        stages:
          a:
            run:
              - echo "Step: build"
              - echo it's: ok
          b:
            run: [make, [make, test]]
          c:
            run: { name: Build, command: make }
        "##,
        r##"
        E012 5:9 a command in `run` is one text, not a map | `: ` made a map of it; write `'echo "Step: build"'`
        E012 6:9 a command in `run` is one text, not a map | `: ` made a map of it; write `'echo it''s: ok'`
        E012 8:17 a command in `run` is one text, not a list | write `make test`
        E012 10:10 `run` takes a command or a list of commands, not a map | write `run: make`
        "##,
    );
}

#[test]
fn durations_in_words_are_shown_with_our_units() {
    says(
        r##"
        image: debian:12
        stages:
          a: { run: make, timeout: 30 minutes }
          b: { run: make, timeout: 1h 30m }
          c: { run: make, timeout: 30min }
          d: { run: make, timeout: 1.5h }
          e: { run: make, timeout: "00:30:00" }
          f: { run: make, resources: { limits: { cpu: 2 } } }
        "##,
        r##"
        E015 3:28 `timeout` takes a duration, not `30 minutes` | write `30m`
        E015 4:28 `timeout` takes a duration, not `1h 30m` | write `1h30m`
        E015 5:28 `timeout` takes a duration, not `30min` | write `30m`
        E015 6:28 `timeout` takes a duration, not `1.5h` | write `1h30m`
        E015 7:28 `timeout` takes a duration, not `00:30:00` | units are `d`, `h`, `m`, `s` and `ms`; for example `90s` or `1h30m`
        E010 8:32 unknown key `limits` in `resources` | write `cpu`, `memory` and `pids` here: each is a limit
        "##,
    );
}

#[test]
fn a_pattern_that_begins_like_an_alias_or_a_tag_is_shown_in_quotes() {
    says(
        r##"
        image: debian:12
        stages:
          a: { run: make, inputs: [**/*.rs] }
          b: { run: make, inputs: [src/**, !src/x] }
          c: { <<: *nothing, run: make }
        "##,
        r##"
        E001 3:28 the alias `**/*.rs` names an anchor that is not above it | a text that begins with `*` stands in quotes: `"**/*.rs"`
        E007 4:36 `!src/x` is a YAML tag, and tags are not used | a text that begins with `!` stands in quotes: `"!src/x"`
        E001 5:12 the alias `*nothing` names an anchor that is not above it | write `&nothing` before the value it means, further up
        "##,
    );
}

#[test]
fn a_quote_inside_a_text_is_not_called_open() {
    says(
        r##"
        image: debian:12
        stages:
          a:
            run: curl -H "Accept: text" localhost
        "##,
        r##"
        E001 4:25 this is not YAML: a second `: ` on one line | a text with `: ` in it stands in quotes / run: 'curl -H "Accept: text" localhost'
        "##,
    );
}

#[test]
fn the_text_of_a_block_stands_further_right() {
    says(
        r##"
        image: debian:12
        stages:
          a:
            run: |
            make
        "##,
        r##"
        E001 5:5 this is not YAML: this line is no `key: value`, or stands too far to the left | the lines of a text after `|` or `>` are indented further than its key
        "##,
    );
}

#[test]
fn a_stage_without_anything_shows_where_its_keys_stand() {
    says(
        r##"
        image: debian:12
        stages:
          a:
          b: make
        "##,
        r##"
        E012 3:3 stage `a` takes a map, a command or a list of commands, not nothing | write `a: make`, or its keys below it | the keys of a stage are indented further than its name
        "##,
    );
}

#[test]
fn signs_of_other_languages_are_translated() {
    says(
        r##"
        image: debian:12
        stages:
          a: { run: make, when: { if: "git.branch = 'main'" } }
          b: { run: make, when: { if: "git.branch == main" } }
          c: { run: make, when: { if: "git.branch == 'a' and git.tag == ''" } }
          d: { run: make, env: { A: "${{ git.sha | upper }}" } }
          e: { run: make, env: { A: "${{ stages.unit-test.result }}" } }
          f: { run: make, cache: { key: "${{ hash }}", paths: [x] } }
        "##,
        r##"
        E040 3:43 this is not an expression: `=` means nothing here | to compare, write `==`
        E041 4:46 unknown name `main` | text stands in quotes: `'main'`
        E040 5:50 this is not an expression: unexpected `and` | write `&&`
        E040 6:42 this is not an expression: `|` means nothing here | for `or` write `||`; a function is called with brackets: `lower(git.branch)`
        E041 7:46 unknown name `test.result` | `-` is a minus here; a name with a dash is read so: `stages["unit-test"]`
        E041 8:38 unknown name `hash` | a function is called with brackets: `hash(…)`
        "##,
    );
}

#[test]
fn stages_without_an_image_lack_one_line() {
    says(
        r##"
        stages:
          a: make
          b: make
        "##,
        r##"
        E014 2:3 2 stages have a `run`, but no `image` to run it in: `a`, `b` | set it in one of these places / `image` at the top level, or `defaults.image`, for every stage / `image` of each of these stages
        "##,
    );
}

#[test]
fn a_parameter_of_a_wrong_name_is_not_missing_too() {
    says(
        r##"
        template: c-service@1
        with: { imag: r.example/a, registry: r, environment: e }
        "##,
        r##"
        E032 2:9 template `c-service@1` has no parameter `imag` | did you mean `image`?
        "##,
    );
}

#[test]
fn parameters_as_a_list_are_one_mistake() {
    says(
        r##"
        template: c-service@1
        with: [a]
        "##,
        r##"
        E012 2:7 `with` takes a map, not a list | a map from names of parameters
        "##,
    );
}

#[test]
fn maps_are_shown_with_the_value_that_stands_there() {
    says(
        r##"
        environments: { demo: { tier: production, target: { docker: { host: "unix:///run/docker.sock" } } } }
        stages:
          a: { build: {} }
          b: { deploy: { environment: demo, image: a, expose: 8080, health: /health } }
          c: { approve: true }
          d: { image: debian:12, run: make, services: { db: { image: postgres:16, ready: 5432 } } }
        notify: a@b.example
        "##,
        r##"
        E015 1:31 `tier` is no tier: `production` | did you mean `prod`? tiers are `dev`, `test`, `preprod`, `prod`
        E012 4:55 `expose` of stage `b` takes a map, not a number | write `expose: { port: 8080 }`
        E012 4:69 `health` of stage `b` takes a map, not text | write `health: { http: /health, port: 8080 }`
        E012 5:17 `approve` of stage `c` takes a map, not true or false | write `approve: { by: ["group:release"] }`
        E012 6:82 `ready` of service `db` of stage `d` takes a map, not a number | write `ready: { tcp: 5432 }`
        E012 7:9 `notify` takes a map, not text | for example `notify: { mail: { to: [committer] } }`
        "##,
    );
}

#[test]
fn what_is_suggested_passes() {
    for stage in [
        "{ run: make, when: { if: \"git.branch == 'main'\" } }",
        "{ run: make, when: { event: manual } }",
        "{ run: make, run-on: failure }",
        "{ run: 'echo \"Step: build\"' }",
        "{ run: ['echo it''s: ok'] }",
        "{ run: make, timeout: 1h30m, image: debian:12 }",
        "{ run: make, inputs: [\"**/*.rs\", \"!src/x\"] }",
        "{ run: make, env: { A: \"${{ git.sha }}\" }, runner: [docker] }",
        "{ run: make, services: { db: { image: postgres:16, ready: { tcp: 5432 } } } }",
        "{ run: make, cache: { key: \"${{ hash('a') }}\", paths: [x] } }",
        "{ approve: { by: [\"group:release\"] } }",
    ] {
        is_fine(&format!("image: debian:12\nstages:\n  a: {stage}\n"));
    }
    is_fine(
        "environments: { demo: { target: { docker: { host: \"unix:///run/docker.sock\" } } } }\n\
         stages:\n  a: { build: {} }\n  b:\n    timeout: 5m\n    deploy:\n      environment: demo\n      \
         image: a\n      expose: { port: 8080 }\n      health: { http: /health, port: 8080 }\n      \
         canary: { steps: [{ weight: 10, bake: 5m }] }\n      verify: { http: \"https://x.example/health\" }\n\
         notify: { mail: { to: [committer] } }\n",
    );
}

#[test]
fn what_an_alias_brings_to_two_stages_is_told_once_with_both_uses() {
    let text = "image: debian:12\nx-base: &base { timeout: 30, runn: x }\nstages:\n  \
                a: { <<: *base, run: make }\n  b: { <<: *base, run: make }\n";
    assert_eq!(
        found_in(text, &Bundled, &on_main()).to_string(),
        r##"error[E012]: `timeout` takes a duration, and a number alone has no unit
 --> .shipline.yml:2:26
  |
2 | x-base: &base { timeout: 30, runn: x }
  |                          ^^ write `30m` or `30s`
3 | stages:
4 |   a: { <<: *base, run: make }
  |            ----- used here
5 |   b: { <<: *base, run: make }
  |            ----- used here

error[E010]: unknown key `runn` in stage `a`
 --> .shipline.yml:2:30
  |
2 | x-base: &base { timeout: 30, runn: x }
  |                              ^^^^ did you mean `run`?
  |
  = allowed here: after, allow-failure, approve, artifacts, before, build, cache, cancel-grace,
    concurrency, deploy, description, env, image, inputs, matrix, merge, needs, outputs, pull,
    push, reports, resources, retry, run, run-after, run-before, run-on, runner, secrets,
    services, shell, timeout, trigger, user, when, workdir
"##
    );
}

#[test]
fn a_long_list_of_keys_is_told_once() {
    let text = "image: debian:12\nstages:\n  a: { run: make, x: 1, y: 2 }\n";
    assert_eq!(
        found_in(text, &Bundled, &on_main()).to_string(),
        r##"error[E010]: unknown key `x` in stage `a`
 --> .shipline.yml:3:19
  |
3 |   a: { run: make, x: 1, y: 2 }
  |                   ^
  |
  = allowed here: after, allow-failure, approve, artifacts, before, build, cache, cancel-grace,
    concurrency, deploy, description, env, image, inputs, matrix, merge, needs, outputs, pull,
    push, reports, resources, retry, run, run-after, run-before, run-on, runner, secrets,
    services, shell, timeout, trigger, user, when, workdir

error[E010]: unknown key `y` in stage `a`
 --> .shipline.yml:3:25
  |
3 |   a: { run: make, x: 1, y: 2 }
  |                         ^
  |
  = allowed here: the same as above
"##
    );
}
