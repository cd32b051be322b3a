//! Of deploys, and what is warned of before them.

use super::*;

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
