//! Words of other systems, and those that are absent on purpose.

use super::*;

#[test]
fn what_is_no_part_of_the_language_on_purpose_says_so() {
    says(
        "
        image: debian:12
        stages:
          a: { run: make, privileged: true, network: host, cap-add: [SYS_ADMIN], devices: [/dev/kvm], volumes: ['/:/host'] }
          b: { run: make, uses: actions/checkout@v4, stage: test, fail-fast: true, input: Sure?, detach: true, permissions: read }
        ",
        r##"
        E010 3:19 unknown key `privileged` in stage `a` | not in the language, on purpose: nothing runs privileged; images are built with `build`
        E010 3:37 unknown key `network` in stage `a` | not in the language, on purpose: a stage has a network of its own, with its `services`
        E010 3:52 unknown key `cap-add` in stage `a` | not in the language, on purpose: what a container may do is not for a file to say
        E010 3:74 unknown key `devices` in stage `a` | not in the language, on purpose: no device of the host is passed on; name a machine with `runner`
        E010 3:95 unknown key `volumes` in stage `a` | not in the language, on purpose: nothing of the host is mounted; `cache` keeps directories, and volumes of a deployed service stand in `deploy`
        E010 4:19 unknown key `uses` in stage `b` | there are no plugins: write the commands, with an `image` that has the tool
        E010 4:46 unknown key `stage` in stage `b` | stages run in the order of the file; `needs` says what one waits for instead
        E010 4:59 unknown key `fail-fast` in stage `b` | a failed stage stops no other; `concurrency` limits how many run at once
        E010 4:76 unknown key `input` in stage `b` | a question to people is `approve`; files that a stage reads are `inputs`
        E010 4:90 unknown key `detach` in stage `b` | what runs beside a stage stands in its `services`
        E010 4:104 unknown key `permissions` in stage `b` | a stage gets what it names under `secrets`, and nothing else
        "##,
    );
}

#[test]
fn words_of_other_systems_are_translated_where_they_are_written() {
    says(
        "
        options: { timeout: 1m }
        workflow: {}
        clone: {}
        jobs: {}
        image: debian:12
        stages:
          a: { sh: make, runs-on: arm64, continue-on-error: true, working-directory: web, timeout-minutes: 5 }
          b: { commands: make, depends_on: [a], environment: { A: b }, failure: ignore, labels: {} }
          c: { run: make, artifacts: { files: [a], expire_in: 7d }, cache: { key: a, path: b, restore-keys: [c] } }
          d: { run: make, when: { branches: main, changes: [a], expression: 'true' }, retry: { attempts: 2, delay: 1s } }
          e: { run: make, services: { db: { image: 'postgres:16', variables: {}, entrypoint: [a], healthcheck: {} } } }
          f: { run: make, resources: { cpus: 2, mem_limit: 1Gi, pids_limit: 10 }, concurrency: { group: a, cancel-in-progress: true } }
          g: { run: make, agent: any, tools: {}, post: {}, junit: a, name: b, rules: [], credentials: [A] }
        ",
        r##"
        E010 1:1 unknown key `options` at the top level | did you mean `defaults`?
        E010 2:1 unknown key `workflow` at the top level | did you mean `on`?
        E010 3:1 unknown key `clone` at the top level | did you mean `checkout`?
        E010 4:1 unknown key `jobs` at the top level | did you mean `stages`?
        E010 7:8 unknown key `sh` in stage `a` | did you mean `run`?
        E010 7:18 unknown key `runs-on` in stage `a` | did you mean `runner`?
        E010 7:34 unknown key `continue-on-error` in stage `a` | did you mean `allow-failure`?
        E010 7:59 unknown key `working-directory` in stage `a` | did you mean `workdir`?
        E010 7:83 unknown key `timeout-minutes` in stage `a` | did you mean `timeout`?
        E010 8:8 unknown key `commands` in stage `b` | did you mean `run`?
        E010 8:24 unknown key `depends_on` in stage `b` | did you mean `needs`?
        E011 8:41 `environment` does not belong in stage `b` | belongs to `deploy`; or did you mean `env`?
        E010 8:64 unknown key `failure` in stage `b` | did you mean `allow-failure`?
        E010 8:81 unknown key `labels` in stage `b` | did you mean `runner`?
        E010 9:32 unknown key `files` in `artifacts` of stage `c` | did you mean `paths`?
        E010 9:44 unknown key `expire_in` in `artifacts` of stage `c` | did you mean `expire`?
        E010 9:78 unknown key `path` in `cache` of stage `c` | did you mean `paths`?
        E010 9:87 unknown key `restore-keys` in `cache` of stage `c` | did you mean `restore`?
        E010 10:27 unknown key `branches` in `when` | did you mean `branch`?
        E010 10:43 unknown key `changes` in `when` | did you mean `changed`?
        E010 10:57 unknown key `expression` in `when` | did you mean `if`?
        E010 10:88 unknown key `attempts` in `retry` of stage `d` | did you mean `max`?
        E010 10:101 unknown key `delay` in `retry` of stage `d` | did you mean `backoff`?
        E010 11:59 unknown key `variables` in service `db` of stage `e` | did you mean `env`?
        E010 11:74 unknown key `entrypoint` in service `db` of stage `e` | did you mean `command`?
        E010 11:91 unknown key `healthcheck` in service `db` of stage `e` | did you mean `ready`?
        E010 12:32 unknown key `cpus` in `resources` | did you mean `cpu`?
        E010 12:41 unknown key `mem_limit` in `resources` | did you mean `memory`?
        E010 12:57 unknown key `pids_limit` in `resources` | did you mean `pids`?
        E010 12:100 unknown key `cancel-in-progress` in `concurrency` | did you mean `on-new`?
        E010 13:19 unknown key `agent` in stage `g` | did you mean `image`?
        E010 13:31 unknown key `tools` in stage `g` | did you mean `image`?
        E010 13:42 unknown key `post` in stage `g` | did you mean `run-on: always`?
        E010 13:52 unknown key `junit` in stage `g` | did you mean `reports`?
        E011 13:62 `name` does not belong in stage `g` | belongs to the top level of the file; or did you mean `description`?
        E010 13:71 unknown key `rules` in stage `g` | did you mean `when`?
        E010 13:82 unknown key `credentials` in stage `g` | did you mean `secrets`?
        "##,
    );
}
