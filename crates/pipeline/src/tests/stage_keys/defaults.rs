//! `defaults`, and where a value came from.

use super::*;

#[test]
fn defaults_count_for_every_stage_that_can_use_them() {
    let text = "
        defaults:
          image: debian:12
          env: { A: a, B: b }
          timeout: 20m
          retry: { max: 3, backoff: 1s }
          resources: { cpu: 4, memory: 8Gi }
          cancel-grace: 30s
          shell: bash
          runner: [arm64]
          services: { redis: redis:7 }
        stages:
          a: make
          own:
            image: debian:13
            env: { B: own }
            timeout: 1m
            retry: { on: timeout }
            resources: { memory: 1Gi, pids: 9 }
            cancel-grace: 1s
            shell: sh
            runner: []
            services: { db: postgres:16 }
            run: make
          built: { build: {} }
          pushed: { push: { image: built, registry: harbor, tags: ['host/a:1'] } }
        ";
    let keys = &[
        "image",
        "env",
        "timeout",
        "retry",
        "resources",
        "cancel-grace",
        "shell",
        "runner",
        "services",
    ];
    gives(
        text,
        "a",
        keys,
        r##"
        image: "debian:12"
        env: {"A":"a","B":"b"}
        timeout: "20m"
        retry: {"backoff":"1s","max":3,"on":["infrastructure"]}
        resources: {"cpu":4.0,"memory":8589934592}
        cancel-grace: "30s"
        shell: "bash"
        runner: ["arm64"]
        services: {"redis":{"env":{},"image":"redis:7","ready":{"timeout":"1m"}}}
        "##,
    );
    gives(
        text,
        "own",
        keys,
        r##"
        image: "debian:13"
        env: {"A":"a","B":"own"}
        timeout: "1m"
        retry: {"backoff":"1s","max":3,"on":["timeout"]}
        resources: {"cpu":4.0,"memory":1073741824,"pids":9}
        cancel-grace: "1s"
        services: {"db":{"env":{},"image":"postgres:16","ready":{"timeout":"1m"}}}
        "##,
    );
    gives(
        text,
        "built",
        keys,
        r##"
        env: {"A":"a","B":"b"}
        timeout: "20m"
        retry: {"backoff":"1s","max":3,"on":["infrastructure"]}
        resources: {"cpu":4.0,"memory":8589934592}
        cancel-grace: "30s"
        runner: ["arm64"]
        "##,
    );
    gives(
        text,
        "pushed",
        keys,
        r##"
        image: {"stage":"built"}
        timeout: "20m"
        retry: {"backoff":"1s","max":3,"on":["infrastructure"]}
        "##,
    );
}

#[test]
fn a_wrong_default_is_told_once_where_it_stands() {
    says(
        "
        defaults:
          image: Debian:12
          env: { SHIPLINE_A: a }
          timeout: 20
          retry: { max: many }
          resources: { memory: 8 }
          cancel-grace: long
          shell: zsh
          runner: arm64
          services: { Redis: redis:7, db: {} }
          user: root
        stages: { a: make, b: make }
        ",
        r##"
        E015 2:10 `image` is no image reference: `Debian:12` | an image name is in lower case
        E017 3:10 `SHIPLINE_A` cannot be set: names that begin with `SHIPLINE_` are Shipline's | write for example `A`
        E012 4:12 `timeout` takes a duration, and a number alone has no unit | write `20m` or `20s`
        E012 5:17 `max` takes a whole number, not text
        E012 6:24 `memory` takes a size, and a number alone has no unit | write `8Mi` or `8Gi`
        E015 7:17 `cancel-grace` takes a duration, not `long` | units are `d`, `h`, `m`, `s` and `ms`; for example `90s` or `1h30m`
        E015 8:10 `shell` is no shell: `zsh` | shells are `sh` and `bash`; another program is a list: `[zsh]`
        E012 9:11 `runner` takes a list, not text | write `[arm64]`
        E016 10:15 a service cannot be named `Redis` | write for example `redis`
        E014 10:31 service `db` of `defaults` has no `image` | add for example `image: redis:7`
        E011 11:3 `user` does not belong in `defaults` | belongs to a stage
        "##,
    );
}

#[test]
fn the_origins_of_keys_tell_the_line_of_each() {
    let text = "
        image: debian:12
        defaults: { resources: { cpu: 2 } }
        stages:
          a:
            run: make
            resources:
              memory: 1Gi
            retry: { max: 2 }
            cache:
              key: a
              paths: [a]
            services: { db: { image: 'postgres:16', env: { A: b } } }
        ";
    let plan = planned(&flush(text), &on_main());
    let origins = &plan.stage("a").unwrap().origins;
    let told: Vec<_> = origins
        .iter()
        .map(|(path, origin)| format!("{path} {}:{} {:?}", origin.line, origin.column, origin.by))
        .collect();
    assert_eq!(
        told.join("\n"),
        "cache 10:7 File\n\
         cache.0.key 10:12 File\n\
         cache.0.paths 11:15 File\n\
         image 1:8 Defaults\n\
         resources.cpu 2:31 Defaults\n\
         resources.memory 7:15 File\n\
         retry.max 8:19 File\n\
         run 5:10 File\n\
         services.db.env.A 12:55 File\n\
         services.db.image 12:30 File\n\
         timeout 0:0 Builtin"
    );
}

#[test]
fn a_default_that_a_stage_overrides_is_not_read() {
    let text = |env: &str| {
        format!(
            "image: debian:12\nenv: {{ TAG: \"v${{{{ git.tag }}}}\" }}\nstages:\n  a: {{ run: make, env: {{ {env} }} }}"
        )
    };
    says(&text("TAG: none"), "");
    says(
        &text("OTHER: none"),
        "E042 2:15 `git.tag` has no value for this event | expected text, found nothing",
    );
}
