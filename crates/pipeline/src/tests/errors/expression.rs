//! Of expressions: E040 to E046.

use super::*;

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
