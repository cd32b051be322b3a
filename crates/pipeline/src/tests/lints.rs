//! Warnings of the file alone: each with a case that gets it and one that does not.

use super::*;

/// Checks the whole of what is said about a file, on a push to `main`.
#[track_caller]
fn says(text: &str, expected: &str) {
    let found = lines(&found_in(&flush(text), &Bundled, &on_main()));
    assert_eq!(found, flush(expected).trim_end(), "\n{found}\n");
}

#[test]
fn w025_merge_needs_stages_that_run_side_by_side() {
    says(
        r##"
        image: debian:12
        stages:
          a: make
          b: { run: make test, merge: last }
        "##,
        r##"
        W025 4:31 `merge` of stage `b` never applies: the stages above it run one after another, so nothing can conflict | remove it
        "##,
    );
    says(
        r##"
        image: debian:12
        stages:
          a: make
          b: { needs: [], run: make }
          c: { needs: [a, b], run: make test, merge: ["target/**"] }
        "##,
        "",
    );
    says(
        r##"
        image: debian:12
        stages:
          a: { run: make, matrix: { x: [1, 2] } }
          b: { run: make test, merge: last }
        "##,
        "",
    );
}

#[test]
fn w026_inputs_say_everything_the_stage_depends_on() {
    says(
        r##"
        image: debian:12
        stages:
          test:
            inputs: ["src/**"]
            services: { redis: "redis:7" }
            run: ["./ci/test.sh", "python3 ci/report.py", "make"]
        "##,
        r##"
        W026 4:13 stage `test` is skipped when its `inputs` are unchanged, and what its services hold is no part of that | remove `inputs`, or the services
        W026 4:13 stage `test` is skipped when its `inputs` are unchanged, and `ci/report.py`, `ci/test.sh` can change without that | add `ci/report.py`
        "##,
    );
    says(
        r##"
        image: debian:12
        stages:
          test: { inputs: ["src/**", "ci/*"], run: ./ci/test.sh }
        "##,
        "",
    );
}

#[test]
fn w051_a_credential_in_the_file_is_told_and_never_shown() {
    let token = format!("glpat-{}", "a1B2c3D4e5F6g7H8i9J0");
    let text = format!(
        "image: debian:12\nstages:\n  a: {{ run: make, env: {{ KEY: {token} }} }}\n  b: curl -u x https://me:hunter22@corp.example\n"
    );
    let found = found_in(&text, &Bundled, &on_main());
    assert_eq!(
        lines(&found),
        "W051 3:31 the value of `KEY` holds a GitLab token | make it a secret: store it where secrets are \
         kept, name it under `secrets` of the stage, and replace it where it is in use, since whoever reads \
         the repository has it\n\
         W051 4:6 the value of `b` holds an address with a password | make it a secret: store it where \
         secrets are kept, name it under `secrets` of the stage, and replace it where it is in use, since \
         whoever reads the repository has it"
    );
    let shown = format!("{found}{:?}", found.to_json());
    assert!(!shown.contains(&token) && !shown.contains("hunter22"), "{shown}");
    says(
        r##"
        image: debian:12
        stages:
          a: { run: make, env: { POSTGRES_PASSWORD: test, URL: "postgres://app:$PASSWORD@db/orders" } }
        "##,
        "",
    );
}

#[test]
fn w070_an_allowed_failure_before_a_deploy_names_its_exit_codes() {
    let text = |allowed: &str| {
        format!(
            "image: debian:12\n\
             environments: {{ demo: {{ target: {{ docker: {{ host: \"unix:///d.sock\" }} }} }} }}\n\
             stages:\n\
             \x20 image: {{ build: {{}} }}\n\
             \x20 scan: {{ run: make scan, allow-failure: {allowed} }}\n\
             \x20 deploy: {{ deploy: {{ environment: demo, image: image }}, timeout: 10m }}\n"
        )
    };
    says(
        &text("true"),
        "W070 5:42 stage `deploy` deploys although `scan` may have failed in any way | name the exit codes that are fine, for example `allow-failure: [1]`",
    );
    says(&text("[1]"), "");
}

#[test]
fn w072_a_number_that_shows_otherwise_than_it_is_written() {
    says(
        r##"
        image: debian:12
        stages:
          a: { run: make, matrix: { python: [3.9, 3.10, "3.11"], x: [012, 1e3, 0x10, 7] } }
        "##,
        r##"
        W072 3:43 `3.10` is read as the number 3.1 | write "3.10" if the text is meant
        W072 3:62 `012` is read as the number 12 | write "012" if the text is meant
        W072 3:67 `1e3` is read as the number 1000 | write "1e3" if the text is meant
        W072 3:72 `0x10` is read as the number 16 | write "0x10" if the text is meant
        "##,
    );
    // Variables keep their text.
    says(
        r##"
        image: debian:12
        env: { PYTHON: 3.10, MODE: 012 }
        stages: { a: make }
        "##,
        "",
    );
}

#[test]
fn w073_a_download_is_not_piped_into_a_shell() {
    says(
        r##"
        image: debian:12
        stages:
          a: [make, "curl -fsSL https://x.example/i.sh | sh"]
          b: |
            set -e
            wget -qO- https://x.example | bash
          c: { run: "curl -fsSLo i.sh https://x.example && sha256sum -c i.sum && sh i.sh" }
        "##,
        r##"
        W073 3:14 stage `a` runs what it downloads, whatever that is today | download a version, compare its digest, then run it / curl -fsSLo tool.sh https://…/1.2.3/tool.sh / echo "<sha256>  tool.sh" | sha256sum -c / sh tool.sh
        W073 6:5 stage `b` runs what it downloads, whatever that is today | download a version, compare its digest, then run it / curl -fsSLo tool.sh https://…/1.2.3/tool.sh / echo "<sha256>  tool.sh" | sha256sum -c / sh tool.sh
        "##,
    );
}

#[test]
fn a_warning_is_silenced_on_its_line_and_nowhere_else() {
    says(
        r##"
        image: debian  # shipline: allow W070 -- the newest is wanted
        stages:
          a: make
          b: { image: "redis:latest", run: make } # shipline: allow W024
        "##,
        r##"
        W070 4:15 image `redis:latest` has the tag `latest`, which moves | name a version, for example `redis:1.0`
        "##,
    );
    // Errors cannot be silenced.
    says(
        r##"
        image: debian:12
        stages:
          a: { run: make, neds: [] } # shipline: allow E010
        "##,
        r##"
        E010 3:19 unknown key `neds` in stage `a` | did you mean `needs`?
        "##,
    );
}
