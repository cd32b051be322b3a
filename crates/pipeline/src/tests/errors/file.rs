//! Of the file and its YAML: E001 to E007, and the limits.

use super::*;

#[test]
fn e001_a_slip_of_syntax_has_a_place_and_often_a_help() {
    says(
        r##"
        image: debian:12
        stages:
          a: echo done: yes
        "##,
        r##"
        E001 3:15 this is not YAML: a second `: ` on one line | a text with `: ` in it stands in quotes / a: 'echo done: yes'
        "##,
    );
    says(
        r##"
        image: debian:12
        stages:
        	a: make
        "##,
        r##"
        E001 3:1 a tab (`→`) cannot indent YAML | replace it with spaces
        "##,
    );
}

#[test]
fn e002_everything_given_twice_is_told() {
    says(
        r##"
        image: debian:12
        image: debian:13
        stages: { a: make, a: make test }
        "##,
        r##"
        E002 2:1 key `image` is given twice | given again; the first is in line 1
        E002 3:20 key `a` is given twice | given again; the first is in line 3
        "##,
    );
}

#[test]
fn e003_limits_and_names_that_cannot_be_seen() {
    says(
        r##"
        image: debian:12
        stages: { "a\u202eb": make }
        "##,
        r##"
        E003 2:11 this name holds U+202E, which cannot be seen: 1 such character, the limit is 0
        E016 2:11 a stage cannot be named `a\u{202e}b` | write for example `a-b`
        "##,
    );
}

#[test]
fn e004_the_file_is_a_map_and_so_are_its_stages() {
    says(
        r##"
        - a
        - b
        "##,
        r##"
        E004 1:1 a pipeline is a map, and this is a list | a smallest pipeline is / image: debian:12 / stages: /   build: make
        "##,
    );
    says(
        r##"
        image: debian:12
        stages:
          - name: build it
            script: make
        "##,
        r##"
        E004 2:1 `stages` is a map from names to stages, not a list | write / stages: /   build-it: /     run: make
        "##,
    );
    says(
        r##"
        image: debian:12
        stages: [build, test]
        "##,
        r##"
        E004 2:1 `stages` is a map from names to stages, not a list | write / stages: /   build: make
        "##,
    );
}

#[test]
fn e006_a_newer_version_names_what_reads_it() {
    says(
        r##"
        version: 3
        image: debian:12
        stages: { build: make }
        "##,
        r##"
        E006 1:10 this file is written in version 3 of the language | this Shipline reads version 1 | use Shipline 3.0 or later
        "##,
    );
    is_fine(
        r##"
        version: 1
        image: debian:12
        stages: { build: make }
        "##,
    );
}

#[test]
fn e007_tags_are_refused() {
    says(
        r##"
        image: !!str debian:12
        stages: { build: !run make }
        "##,
        r##"
        E007 1:8 `!!str` is a YAML tag, and tags are not used | remove it
        E007 2:18 `!run` is a YAML tag, and tags are not used | remove it
        "##,
    );
}

#[test]
fn limits_of_the_language_are_told_with_the_number_found() {
    let says_of = |text: &str| lines(&found_in(text, &Bundled, &on_main()));
    let stages: String = (0..10_001).map(|at| format!("  s{at}: x\n")).collect();
    assert_eq!(
        says_of(&format!("image: debian:12\nstages:\n{stages}")),
        "E061 2:1 the pipeline has 10001 stages, the limit is 10000"
    );
    let long = "x".repeat((128 << 10) + 1);
    assert_eq!(
        says_of(&format!(
            "image: debian:12\nstages: {{ a: {{ run: {long}, env: {{ A: {long} }} }} }}"
        )),
        "E003 2:16 the `run` of stage `a` is 131073 bytes long, the limit is 131072 | put the script into a file of the repository\n\
         E003 2:131103 `env.A` is 131073 bytes long, the limit is 131072 | put the value into a file of the repository"
    );
}
