//! `services`.

use super::*;

#[test]
fn services_have_short_and_long_forms() {
    gives(
        r#"
        image: debian:12
        stages:
          a:
            run: make
            services:
              redis: redis:7
              db:
                image: postgres:16
                env: { POSTGRES_PASSWORD: test }
                command: [postgres, -c, fsync=off, --port, 5433]
                resources: { cpu: 0.5, memory: 512Mi }
                ready: { tcp: 5433, timeout: 90s }
              web: { image: "nginx:1.29", command: nginx -g 'daemon off;', ready: { http: /health, port: 80 } }
              slow: { image: "oracle:23", ready: { timeout: 5m } }
              shell: { image: "busybox:1", ready: { cmd: test -e /ready } }
              list: { image: "busybox:1", ready: { cmd: [test, -e, /ready] } }
              auto: { image: "redis:7", ready: { tcp: auto } }
        "#,
        "a",
        &["services"],
        r##"
        services: {"auto":{"env":{},"image":"redis:7","ready":{"probe":{"tcp":null},"timeout":"1m"}},"db":{"command":["postgres","-c","fsync=off","--port","5433"],"env":{"POSTGRES_PASSWORD":"test"},"image":"postgres:16","ready":{"probe":{"tcp":5433},"timeout":"1m30s"},"resources":{"cpu":0.5,"memory":536870912}},"list":{"env":{},"image":"busybox:1","ready":{"probe":{"command":["test","-e","/ready"]},"timeout":"1m"}},"redis":{"env":{},"image":"redis:7","ready":{"timeout":"1m"}},"shell":{"env":{},"image":"busybox:1","ready":{"probe":{"command":["sh","-c","test -e /ready"]},"timeout":"1m"}},"slow":{"env":{},"image":"oracle:23","ready":{"timeout":"5m"}},"web":{"command":["sh","-c","nginx -g 'daemon off;'"],"env":{},"image":"nginx:1.29","ready":{"probe":{"http":{"path":"/health","port":80}},"timeout":"1m"}}}
        "##,
    );
    says(
        "
        image: debian:12
        stages:
          a:
            run: make
            services:
              My_DB: postgres:16
              localhost: redis:7
              a: { ready: { tcp: auto } }
              b: 7
              c: { image: 'Redis:7', command: [], ports: ['80:80'], healthcheck: {} }
              d: { image: redis:7, ready: { tcp: 1, http: /, port: 80 } }
              e: { image: redis:7, ready: { http: health } }
              f: { image: redis:7, ready: { tcp: 6379, port: 6379 } }
              g: { image: redis:7, ready: {} }
              h: { image: redis:7, ready: { port: 80, timeout: 0s } }
              i: { image: redis:7, ready: { tcp: redis, timeout: 20 } }
              j: { image: redis:7, ready: { cmd: '', port: 1 }, privileged: true }
              k: { image: redis:7, ready: { http: /, port: 70000 }, volumes: ['/:/host'] }
          b: { run: make, services: redis:7 }
        ",
        r##"
        E016 6:7 a service cannot be named `My_DB` | write for example `my-db`
        E016 7:7 a service cannot be named `localhost`, which is the stage itself | choose another name
        E014 8:7 service `a` of stage `a` has no `image` | add for example `image: redis:7`
        E012 9:10 service `b` of stage `a` takes an image or a map, not a number | for example `redis:7` or `{ image: redis:7 }`
        E015 10:20 `image` is no image reference: `Redis:7` | an image name is in lower case
        E012 10:39 `command` has no command | add one, or remove `command`
        E010 10:43 unknown key `ports` in service `c` of stage `a` | not in the language, on purpose: no port of the host is published; the stage reaches the service by its name, and waits for a port with `ready`
        E010 10:61 unknown key `healthcheck` in service `c` of stage `a` | did you mean `ready`?
        E013 11:45 `ready` of service `d` of stage `a` has `tcp` and `http` | keep one
        E014 12:35 `ready` of service `e` of stage `a` has no `port` | add the port of `http`, for example `port: 8080`
        E015 12:43 `http` is a path, not `health` | write `/health`
        E013 13:48 `ready` of service `f` of stage `a` has `tcp`, which is a port, and `port` | remove it
        E014 14:35 `ready` of service `g` of stage `a` does not say what to ask | add one of `cmd`, `tcp` and `http`
        E013 15:37 `ready` of service `h` of stage `a` has a `port` and no `http` | write `tcp` in its place, or add `http`
        E015 15:56 `timeout` takes a duration longer than zero, not `0s` | for example `20m`
        E012 16:42 `tcp` takes a port or `auto`, not text | for example 5432; `auto` is the first port that the image exposes
        E012 16:58 `timeout` takes a duration, and a number alone has no unit | write `20m` or `20s`
        E012 17:42 `cmd` has no command | add one, or remove `cmd`
        E013 17:46 `ready` of service `j` of stage `a` has a `port` and no `http` | remove it
        E010 17:57 unknown key `privileged` in service `j` of stage `a` | not in the language, on purpose: nothing runs privileged; images are built with `build`
        E015 18:52 `port` is a port from 1 to 65535, not `70000` | not a port; for example 8080
        E010 18:61 unknown key `volumes` in service `k` of stage `a` | not in the language, on purpose: nothing of the host is mounted; `cache` keeps directories, and volumes of a deployed service stand in `deploy`
        E012 19:29 `services` takes a map, not text | a map from names to images, for example `{ redis: redis:7 }`
        "##,
    );
}
