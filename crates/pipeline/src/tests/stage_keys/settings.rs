//! Failure, retry, time, resources, runners, groups.

use super::*;

#[test]
fn limits_of_a_container_are_cores_bytes_and_processes() {
    gives(
        "
        stages:
          a: { image: debian:12, run: make, resources: { cpu: 2, memory: 8Gi, pids: 1000 } }
        ",
        "a",
        &["resources"],
        r##"
        resources: {"cpu":2.0,"memory":8589934592,"pids":1000}
        "##,
    );
    says(
        "
        image: debian:12
        stages:
          a: { run: make, resources: { cpu: 500m, memory: 512, pids: 0 } }
          b: { run: make, resources: { cpu: 0, memory: 512MB, pids: 1.5 } }
          c: { run: make, resources: { cpu: -1, memory: 1Mi, pids: 5000000 } }
          d: { run: make, resources: { cpu: .inf, memory: 1.5Gi, pids: many } }
          e: { run: make, resources: { cpu: '2', memory: 1e99, pids: '100' } }
          f: { run: make, resources: 4Gi }
          g: { run: make, resources: { cpu: half, memory: [1], gpu: 1 } }
        ",
        r##"
        E012 3:37 `cpu` takes a number of cores, not text | write `0.5`
        E012 3:51 `memory` takes a size, and a number alone has no unit | write `512Mi` or `512Gi`
        E015 3:62 `pids` takes a number of processes from 1 to 4194304, not `0` | out of range
        E015 4:37 `cpu` takes a number of cores from 0.01 to 1024, not `0` | out of range; for example `2` or `0.5`
        E015 4:48 `memory` takes a size, not `512MB` | write `512M`
        E012 4:61 `pids` takes a whole number | write for example `2`
        E015 5:37 `cpu` takes a number of cores from 0.01 to 1024, not `-1` | out of range; for example `2` or `0.5`
        E015 5:49 `memory` takes at least 6Mi, not `1Mi` | too little; for example `512Mi`
        E015 5:60 `pids` takes a number of processes from 1 to 4194304, not `5000000` | out of range
        E015 6:37 `cpu` takes a number of cores from 0.01 to 1024, not `.inf` | out of range; for example `2` or `0.5`
        E015 6:51 `memory` takes a size, not `1.5Gi` | write `1536Mi`
        E012 6:64 `pids` takes a whole number, not text
        E012 7:37 `cpu` takes a number of cores, not text | write `2`, without quotes
        E015 7:50 `memory` takes a size, not `1e99` | for example `512Mi`
        E012 7:62 `pids` takes a whole number, not text | write `100`
        E012 8:30 `resources` takes a map, not text | write `{ cpu: 2, memory: 4Gi }`
        E012 9:37 `cpu` takes a number of cores, not text | for example `2` or `0.5`
        E012 9:51 `memory` takes a size, not a list | for example `512Mi` or `4Gi`
        E010 9:56 unknown key `gpu` in `resources` | did you mean `cpu`?
        "##,
    );
}

#[test]
fn runners_are_chosen_by_labels() {
    gives(
        "
        image: debian:12
        stages: { a: { run: make, runner: [arm64, gpu.a100] } }
        ",
        "a",
        &["runner"],
        r##"
        runner: ["arm64","gpu.a100"]
        "##,
    );
    says(
        "
        image: debian:12
        stages:
          a: { run: make, runner: arm64 }
          b: { run: make, runner: ['big machine', 7] }
        ",
        r##"
        E012 3:27 `runner` takes a list, not text | write `[arm64]`
        E015 4:28 `runner` is no label of a runner: `big machine` | a label has letters, digits, `.`, `-` and `_`; for example `arm64`
        E012 4:43 `runner` takes text, not a number | write "7"
        "##,
    );
}

#[test]
fn failures_are_allowed_as_a_whole_or_by_exit_code() {
    let text = "
        image: debian:12
        stages:
          all: { run: make, allow-failure: true }
          none: { run: make, allow-failure: false }
          one: { run: make, allow-failure: 1 }
          some: { run: make, allow-failure: [3, 1, 3] }
        ";
    gives(
        text,
        "all",
        &["allow-failure"],
        r##"
        allow-failure: "any"
        "##,
    );
    gives(text, "none", &["allow-failure"], "");
    gives(
        text,
        "one",
        &["allow-failure"],
        r##"
        allow-failure: {"exit-codes":[1]}
        "##,
    );
    gives(
        text,
        "some",
        &["allow-failure"],
        r##"
        allow-failure: {"exit-codes":[1,3]}
        "##,
    );
    says(
        "
        image: debian:12
        stages:
          a: { run: make, allow-failure: yes }
          b: { run: make, allow-failure: [] }
          c: { run: make, allow-failure: [0, 256, one] }
          d: { run: make, allow-failure: { exit: 1 } }
          e: { run: make, allow-failure: '${{ git.branch }}' }
        ",
        r##"
        E012 3:34 `allow-failure` takes `true` or exit codes, not text | write `true`, or for example `[1]`
        E012 4:34 `allow-failure` has no exit code | for example `[1]`
        E015 5:35 `allow-failure` takes exit codes of failures, from 1 to 255, not `0` | out of range
        E015 5:38 `allow-failure` takes exit codes of failures, from 1 to 255, not `256` | out of range
        E012 5:43 `allow-failure` takes a whole number, not text
        E012 6:34 `allow-failure` takes `true` or exit codes, not a map | write `true`, or for example `[1]`
        E045 7:35 expressions are not available in `allow-failure` | write the value itself
        "##,
    );
}

#[test]
fn what_is_tried_again_is_said_cause_by_cause() {
    gives(
        "
        image: debian:12
        stages:
          a: { run: make, retry: { max: 2, on: [timeout, resource-limit, { exit: [75, 1] }], backoff: 1s } }
        ",
        "a",
        &["retry"],
        r##"
        retry: {"backoff":"1s","max":2,"on":["timeout","resource-limit",{"exit":[1,75]}]}
        "##,
    );
    gives(
        "
        image: debian:12
        stages: { a: { run: make, retry: { on: { exit: 75 } } } }
        ",
        "a",
        &["retry"],
        r##"
        retry: {"backoff":"5s","max":1,"on":[{"exit":[75]}]}
        "##,
    );
    says(
        "
        image: debian:12
        stages:
          a: { run: make, retry: 2 }
          b: { run: make, retry: { max: 11, on: [timeot, always], backoff: 5 } }
          c: { run: make, retry: { max: -1, on: [{ exit: [0] }, {}, 75] } }
          d: { run: make, retry: { max: two, on: { exit: [] }, when: x } }
        ",
        r##"
        E012 3:26 `retry` of stage `a` takes a map, not a number | write `{ max: 2 }`
        E015 4:33 `max` takes a number of extra attempts from 0 to 10, not `11` | out of range
        E015 4:42 `timeot` is nothing after which a stage is tried again | did you mean `timeout`? causes are `infrastructure`, `timeout`, `resource-limit`, and `{ exit: [75] }` for exit codes
        E015 4:50 `always` is nothing after which a stage is tried again | causes are `infrastructure`, `timeout`, `resource-limit`, and `{ exit: [75] }` for exit codes
        E012 4:68 `backoff` takes a duration, and a number alone has no unit | write `5m` or `5s`
        E015 5:33 `max` takes a number of extra attempts from 0 to 10, not `-1` | out of range
        E015 5:51 `exit` takes exit codes of failures, from 1 to 255, not `0` | out of range
        E014 5:57 `on` of `retry` of stage `c` has no `exit` | for example `{ exit: [75] }`
        E012 5:61 `on` takes text, not a number | write "75"
        E012 6:33 `max` takes a whole number, not text
        E012 6:50 `exit` has no exit code | for example `[1]`
        E010 6:56 unknown key `when` in `retry` of stage `d` | did you mean `on`?
        "##,
    );
}

#[test]
fn timeouts_are_longer_than_nothing() {
    gives(
        "
        image: debian:12
        stages:
          a: { run: make, timeout: 1h30m, cancel-grace: 0s }
        ",
        "a",
        &["timeout", "cancel-grace"],
        r##"
        timeout: "1h30m"
        cancel-grace: "0s"
        "##,
    );
    says(
        "
        image: debian:12
        timeout: 0s
        stages:
          a: { run: make, timeout: -1 }
          b: { run: make, timeout: 0 }
          c: { run: make, timeout: 1e99 }
          d: { run: make, timeout: 0m, cancel-grace: 5 }
          e: { run: make, timeout: 1.5, cancel-grace: -1 }
          f: { run: make, timeout: 20, cancel-grace: 0 }
          g: { run: make, timeout: soon }
        ",
        r##"
        E015 2:10 `timeout` takes a duration longer than zero, not `0s` | for example `20m`
        E015 4:28 `timeout` takes a duration, not `-1` | a duration is not negative; for example `20m`
        E015 5:28 `timeout` takes a duration longer than zero, not `0` | for example `20m`
        E015 6:28 `timeout` takes a duration, not `1e99` | for example `20m`
        E015 7:28 `timeout` takes a duration longer than zero, not `0m` | for example `20m`
        E012 7:46 `cancel-grace` takes a duration, and a number alone has no unit | write `5m` or `5s`
        E012 8:28 `timeout` takes a duration, and a number alone has no unit | write `1m30s` for minutes, `1s500ms` for seconds
        E015 8:47 `cancel-grace` takes a duration, not `-1` | a duration is not negative; for example `20m`
        E012 9:28 `timeout` takes a duration, and a number alone has no unit | write `20m` or `20s`
        E012 9:46 `cancel-grace` takes a duration, and a number alone has no unit | write `0s`
        E015 10:28 `timeout` takes a duration, not `soon` | units are `d`, `h`, `m`, `s` and `ms`; for example `90s` or `1h30m`
        "##,
    );
}

#[test]
fn concurrency_names_a_group() {
    gives(
        "
        image: debian:12
        stages:
          a: { run: make, concurrency: { group: \"db-${{ git.branch }}\", limit: 2, on-new: cancel-running } }
        ",
        "a",
        &["concurrency"],
        r##"
        concurrency: {"group":"db-main","limit":2,"on-new":"cancel-running"}
        "##,
    );
    gives(
        "
        image: debian:12
        stages: { a: { run: make, concurrency: { group: db } } }
        ",
        "a",
        &["concurrency"],
        r##"
        concurrency: {"group":"db","limit":1,"on-new":"queue"}
        "##,
    );
    says(
        "
        image: debian:12
        stages:
          a: { run: make, concurrency: db }
          b: { run: make, concurrency: { limit: 0 } }
          c: { run: make, concurrency: { group: '', limit: 0, on-new: cancel } }
        ",
        r##"
        E012 3:32 `concurrency` takes a map, not text | write `{ group: db }`
        E014 4:32 `concurrency` has no `group` | name what runs one at a time, for example `group: deploy`
        E015 4:41 `limit` is a number from 1 to 10000, not `0` | out of range
        E015 5:41 `group` takes one line of text, not `` | write at least one character and at most 512
        E015 5:52 `limit` is a number from 1 to 10000, not `0` | out of range
        E015 5:63 `on-new` is no answer to a new run: `cancel` | answers are `queue`, `cancel-running`
        "##,
    );
}

#[test]
fn people_are_waited_for_a_day_and_at_most_30() {
    let text = "
        timeout: 1m
        stages:
          a: { approve: { by: [ada] } }
          b: { approve: { by: [ada], timeout: 30d } }
          c: { approve: { by: [ada] }, timeout: 1h }
        ";
    gives(text, "a", &["timeout"], r#"timeout: "1d""#);
    gives(text, "b", &["timeout"], r#"timeout: "30d""#);
    gives(text, "c", &["timeout"], r#"timeout: "1h""#);
    says(
        "
        stages:
          a: { approve: { by: [ada] }, timeout: 31d }
          b: { approve: { by: [ada], timeout: 31d } }
          c: { approve: { by: [ada], timeout: 1h }, timeout: 1h }
          d: { approve: { by: [ada], timeout: 0s } }
        ",
        "
        E015 2:41 `timeout` of an approval is at most 30d: `31d` | too long; for example `7d`
        E015 3:39 `timeout` of an approval is at most 30d: `31d` | too long; for example `7d`
        E013 4:30 `timeout` is given in `approve` and beside it | they are the same; keep one
        E015 5:39 `timeout` takes a duration longer than zero, not `0s` | for example `20m`
        ",
    );
}
