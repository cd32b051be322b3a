//! `matrix`: which cells a stage has, what they need, and what is wrong with one.

use super::*;
use crate::{Decision, ImageSource, Work};

/// A pipeline with one stage that has this matrix.
fn one(matrix: &str) -> String {
    format!("image: debian:12\nstages:\n  test:\n    matrix: {matrix}\n    run: make\n")
}

/// The names of the cells.
fn cells(matrix: &str) -> String {
    let plan = planned(&format!("checkout: off\n{}", one(matrix)), &on_main());
    plan.stages.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>().join(" ")
}

fn says(text: &str, expected: &str) {
    let found = lines(&found_in(&flush(text), &Bundled, &on_main()));
    assert_eq!(found, flush(expected), "\n{text}");
}

/// `name <- need by must` of each stage.
fn edges(text: &str) -> String {
    let plan = planned(&flush(text), &on_main());
    let line = |stage: &crate::PlannedStage| {
        let needs = stage.needs.iter().map(|edge| {
            let must = if edge.must_run() { " must" } else { "" };
            format!("{}{must}", edge.stage)
        });
        format!("{} <- {}", stage.name, needs.collect::<Vec<_>>().join(", "))
    };
    plan.stages.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn cells_are_the_product_of_the_axes_and_the_last_axis_turns_fastest() {
    assert_eq!(
        cells("{ os: [a, b], db: ['mysql:8', 'postgres:16'] }"),
        "test[os=a,db=mysql:8] test[os=a,db=postgres:16] test[os=b,db=mysql:8] test[os=b,db=postgres:16]"
    );
    assert_eq!(
        cells("{ go: [1, 2.5, '3.10', true] }"),
        "test[go=1] test[go=2.5] test[go=3.10] test[go=true]"
    );
}

#[test]
fn exclude_removes_what_it_names_even_in_part_and_include_adds_cells() {
    assert_eq!(
        cells("{ os: [a, b], db: [x, y], exclude: [{ os: b }], include: [{ os: c, db: z }] }"),
        "test[os=a,db=x] test[os=a,db=y] test[os=c,db=z]"
    );
    // What was excluded can come back as one cell.
    assert_eq!(
        cells("{ os: [a, b], db: [x, y], exclude: [{ os: b }], include: [{ db: y, os: b }] }"),
        "test[os=a,db=x] test[os=a,db=y] test[os=b,db=y]"
    );
    assert_eq!(
        cells("{ include: [{ os: a, go: 1 }, { go: 2, os: b }] }"),
        "test[os=a,go=1] test[os=b,go=2]"
    );
}

#[test]
fn a_cell_has_its_values_with_their_types() {
    let plan = planned(&one("{ os: [linux], go: [1], fast: [true] }"), &on_main());
    let cell = &plan.stages[1];
    assert_eq!(
        serde_json::to_string(&cell.matrix).unwrap(),
        r#"{"fast":true,"go":1,"os":"linux"}"#
    );
    assert_eq!(
        (cell.name.as_str(), cell.stage.as_str()),
        ("test[os=linux,go=1,fast=true]", "test")
    );
}

#[test]
fn what_is_wrong_with_a_matrix_is_told_all_at_once() {
    says(
        "
        image: debian:12
        stages:
          a: { run: make, matrix: linux }
          b: { run: make, matrix: {} }
          c: { run: make, matrix: { os: linux } }
          d: { run: make, matrix: { os: [] } }
          e: { run: make, matrix: { os: [a, b, a] } }
          f: { run: make, matrix: { 'o s': [a] } }
          g: { run: make, matrix: { os: [[a], {}, ~] } }
          h: { run: make, matrix: { os: [1, '1'] } }
        ",
        "
        E012 3:27 the `matrix` of stage `a` takes a map, not text | for example `{ os: [linux, windows] }`
        E014 4:19 the matrix of stage `b` has no axis | for example `matrix: { os: [linux, windows] }`
        E012 5:33 the axis `os` of stage `c` takes a list of values, not text | write `[linux]`
        E061 6:33 the axis `os` of stage `d` has no values | a stage with no cells would never run
        E002 7:40 the axis `os` of stage `e` has `a` twice | remove one
        E016 8:29 an axis of stage `f` cannot be named `o s` | write for example `o-s`
        E012 9:34 `os` takes texts, numbers, true or false, not a list
        E012 9:39 `os` takes texts, numbers, true or false, not a map
        E012 9:43 `os` takes texts, numbers, true or false, not nothing
        E002 10:37 the axis `os` of stage `h` has `1` twice | remove one",
    );
}

#[test]
fn include_and_exclude_name_axes_and_their_values() {
    says(
        "
        image: debian:12
        stages:
          a: { run: make, matrix: { os: [linux], exclude: [{ so: linux }] } }
          b: { run: make, matrix: { os: [linux, mac], exclude: [{ os: linus }, {}] } }
          c: { run: make, matrix: { os: [linux], db: [x], include: [{ os: mac }] } }
          d: { run: make, matrix: { os: [linux], include: [{ os: linux }] } }
          e: { run: make, matrix: { os: [linux, mac], include: { os: bsd }, exclude: [bsd] } }
          f: { run: make, matrix: { os: [linux, mac], exclude: [{ os: linux }, { os: mac }] } }
        ",
        "
        E010 3:54 `so` in `exclude` is no axis of the matrix of stage `a` | did you mean `os`?
        E014 4:72 this entry of `exclude` names no axis | axes are: os
        E014 5:61 this entry of `include` has no value for `db` | an included cell has a value for every axis
        E002 6:52 stage `d` has the cell `os=linux` already | remove this entry
        E012 7:56 `include` takes a list of maps, not a map | for example `[{ os: VALUE }]`
        E012 7:79 an entry of `exclude` is a map, not text | for example `{ os: VALUE }`
        E061 8:19 the matrix of stage `f` has no cell left | `exclude` removes every one | remove an entry of `exclude`, or the stage",
    );
    says(
        "
        image: debian:12
        stages:
          b: { run: make, matrix: { os: [linux, mac], exclude: [{ os: linus }] } }
        ",
        "E015 3:57 `exclude` names `linus`, which the axis `os` has not | did you mean `linux`?",
    );
}

#[test]
fn a_million_cells_are_refused_by_their_number_alone() {
    let axis = (0..1000).map(|at| at.to_string()).collect::<Vec<_>>().join(", ");
    let text = one(&format!("{{ a: [{axis}], b: [{axis}] }}"));
    let found = found_in(&text, &Bundled, &on_main());
    assert_eq!(
        lines(&found),
        "E061 4:5 the matrix of stage `test` has 1000000 cells, the limit is 10000 for all stages together | shorten an axis, or split the pipeline"
    );
    assert!(found.to_string().contains("1000 values of `a` × 1000 values of `b`"), "{found}");
    // Ten axes of a thousand values: more than any number of the machine's.
    let axes: Vec<String> = (0..20).map(|at| format!("x{at}: *v")).collect();
    let text = format!("x-v: &v [{axis}]\n{}", one(&format!("{{ {} }}", axes.join(", "))));
    let found = lines(&found_in(&text, &Bundled, &on_main()));
    assert!(found.starts_with("E061 5:5 the matrix of stage `test` has "), "{found}");
}

#[test]
fn all_stages_together_have_a_limit() {
    let axis = (0..6000).map(|at| at.to_string()).collect::<Vec<_>>().join(", ");
    let text = format!(
        "image: debian:12\nstages:\n  a: {{ run: make, matrix: {{ a: [{axis}] }} }}\n  b: {{ run: make, matrix: {{ a: [{axis}] }} }}\n"
    );
    let found = found_in(&text, &Bundled, &on_main());
    assert_eq!(
        lines(&found),
        "E061 2:1 with all cells the pipeline has 12000 stages, the limit is 10000 | shorten a matrix, or split the pipeline"
    );
    assert!(found.to_string().contains("`a` has 6000 cells, `b` has 6000 cells"), "{found}");
}

#[test]
fn an_axis_can_be_an_expression_that_gives_a_list() {
    assert_eq!(
        cells("{ os: \"${{ git.branch == 'main' ? ['a', 'b'] : ['a'] }}\", n: [1] }"),
        "test[os=a,n=1] test[os=b,n=1]"
    );
    says(
        &one("{ os: \"${{ git.branch }}\" }"),
        "E042 4:19 the axis `os` of stage `test` takes a list, and its expression gives text | this is text",
    );
    says(
        &one("{ os: \"${{ git.branch == 'main' ? [] : ['a'] }}\" }"),
        "E061 4:19 the axis `os` of stage `test` has no values | a stage with no cells would never run",
    );
    says(
        &one("{ os: \"${{ git.brnch }}\" }"),
        "E041 4:24 unknown name `git.brnch` | did you mean `git.branch`?",
    );
}

#[test]
fn a_stage_that_is_skipped_anyway_needs_no_values_for_its_axes() {
    let text = "
        image: debian:12
        stages:
          test:
            when: { event: tag }
            matrix: { os: \"${{ git.tag == null ? git.branch : [git.tag] }}\" }
            run: make
        ";
    let plan = planned(&flush(text), &on_main());
    let test = plan.stage("test").unwrap();
    assert_eq!(
        (test.state, test.reason.as_str()),
        (Decision::Skip, "the event is `push`, not `tag`")
    );
}

#[test]
fn a_need_on_a_stage_is_a_need_on_every_cell_and_is_written_once() {
    assert_eq!(
        edges(
            "
            image: debian:12
            stages:
              test: { run: make, matrix: { os: [a, b] } }
              more: { run: make, matrix: { os: [a, b] }, needs: [{ stage: test, must: run }] }
              last: make
            "
        ),
        "checkout <- \n\
         test[os=a] <- checkout\n\
         test[os=b] <- checkout\n\
         more[os=a] <- test must\n\
         more[os=b] <- test must\n\
         last <- more"
    );
}

#[test]
fn needs_cannot_name_a_cell() {
    says(
        "
        image: debian:12
        stages:
          test: { run: make, matrix: { os: [a, b] } }
          last: { run: make, needs: ['test[os=a]'] }
        ",
        "E020 4:30 stage `last` needs the cell `test[os=a]` | write `test`, which is every cell of it",
    );
}

#[test]
fn a_cell_takes_the_image_of_the_cell_with_its_values() {
    let text = "
        stages:
          image: { build: {}, matrix: { arch: [arm, x86] } }
          push:
            matrix: { arch: [arm, x86], place: [here, there] }
            push: { image: image, registry: x, tags: ['a:1'] }
        ";
    assert_eq!(
        edges(text),
        "checkout <- \n\
         image[arch=arm] <- checkout\n\
         image[arch=x86] <- checkout\n\
         push[arch=arm,place=here] <- image, image[arch=arm] must\n\
         push[arch=arm,place=there] <- image, image[arch=arm] must\n\
         push[arch=x86,place=here] <- image, image[arch=x86] must\n\
         push[arch=x86,place=there] <- image, image[arch=x86] must"
    );
    let plan = planned(&flush(text), &on_main());
    let Work::Push(push) = &plan.stage("push[arch=x86,place=here]").unwrap().work else {
        panic!("no push");
    };
    assert_eq!(push.image, ImageSource::Stage("image[arch=x86]".to_owned()));
    assert_eq!(
        edges(&text.replace("  push:\n", "  push:\n            needs: []\n"))
            .lines()
            .filter(|line| line.starts_with("push[arch=arm"))
            .collect::<Vec<_>>(),
        [
            "push[arch=arm,place=here] <- image[arch=arm] must",
            "push[arch=arm,place=there] <- image[arch=arm] must"
        ]
    );
}

#[test]
fn an_image_of_a_matrix_needs_to_say_of_which_cell() {
    says(
        "
        stages:
          image: { build: {}, matrix: { arch: [arm, x86], os: [a] } }
          push: { matrix: { arch: [arm] }, push: { image: image, registry: x, tags: ['a:1'] } }
        ",
        "E044 3:51 stage `push` uses the image of `image`, which makes one for each cell of its matrix | which cell is not said: `push` has no axis `os` | give `push` the same axes, so that each of its cells takes the image of its own values: matrix: { arch: […], os: […] }",
    );
    says(
        "
        stages:
          image: { build: {}, matrix: { arch: [arm, x86] } }
          push: { matrix: { arch: [arm, ppc] }, push: { image: image, registry: x, tags: ['a:1'] } }
        ",
        "E044 3:56 the cell `arch=ppc` of stage `push` uses the image of the cell `arch=ppc` of `image`, which there is not | `image` has no cell `arch=ppc`",
    );
}

#[test]
fn a_cell_that_is_skipped_skips_what_must_have_it_and_nothing_else() {
    let text = "
        image: debian:12
        stages:
          image: { build: {}, matrix: { arch: [arm, x86] }, when: { if: \"matrix.arch == 'arm'\" } }
          push: { matrix: { arch: [arm, x86] }, push: { image: image, registry: x, tags: ['a:1'] } }
          soft: make
          hard: { run: make, needs: [{ stage: image, must: run }] }
        ";
    let plan = planned(&flush(text), &on_main());
    let line = |stage: &crate::PlannedStage| format!("{}: {}", stage.name, stage.reason);
    assert_eq!(
        plan.stages
            .iter()
            .filter(|stage| stage.state == Decision::Skip)
            .map(line)
            .collect::<Vec<_>>(),
        [
            "image[arch=x86]: `matrix.arch == 'arm'` is false",
            "push[arch=x86]: `image[arch=x86]` was skipped",
            "hard: `image[arch=x86]` was skipped"
        ]
    );
}

#[test]
fn ten_thousand_cells_that_need_ten_thousand_have_as_many_edges() {
    let axis = (0..100).map(|at| at.to_string()).collect::<Vec<_>>().join(", ");
    let matrix = format!(
        "{{ a: [{axis}], b: [{}] }}",
        (0..49).map(|at| at.to_string()).collect::<Vec<_>>().join(", ")
    );
    let text = format!(
        "image: debian:12\nstages:\n  a: {{ run: make, matrix: {matrix} }}\n  b: {{ run: make, matrix: {matrix} }}\n"
    );
    let plan = planned(&text, &on_main());
    assert_eq!(plan.stages.len(), 9801);
    assert_eq!(plan.stages.iter().map(|stage| stage.needs.len()).sum::<usize>(), 9800);
}
