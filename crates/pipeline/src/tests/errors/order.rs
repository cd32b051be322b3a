//! Of the order of stages: E020 and E021.

use super::*;

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
