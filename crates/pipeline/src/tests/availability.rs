//! The table of language.md §6: every place of an expression, and every name.

use super::*;

/// A name, and an expression of text that reads it.
const NAMES: &[(&str, &str)] = &[
    ("git", "git.sha"),
    ("event", "event.name"),
    ("params", "params.target"),
    ("pipeline", "pipeline.name"),
    ("project", "project.name"),
    ("env", "env.V"),
    ("run", "run.id"),
    ("matrix", "matrix.m"),
    ("stages", "stages.image.outputs.image"),
    ("hash", "hash('a')"),
];

/// Which names a kind of place has.
const EVENT: &[&str] = &["git", "event", "params"];
const PIPELINE: &[&str] = &["git", "event", "params", "pipeline", "project"];
const ENVIRONMENT: &[&str] = &["git", "event", "params", "pipeline", "project", "env", "matrix"];
const PLAN: &[&str] = &["git", "event", "params", "pipeline", "project", "env", "matrix", "run"];
const VALUE: &[&str] =
    &["git", "event", "params", "pipeline", "project", "env", "matrix", "run", "stages"];
const DEFAULTS: &[&str] =
    &["git", "event", "params", "pipeline", "project", "matrix", "run", "stages"];
const CACHE: &[&str] =
    &["git", "event", "params", "pipeline", "project", "env", "matrix", "run", "stages", "hash"];

/// A place, with `@` where the expression stands, and the names it has.
/// What begins with `top` stands beside `stages`.
const PLACES: &[(&str, &[&str])] = &[
    ("top concurrency: { group: '@' }", PIPELINE),
    (
        "top environments: { demo: { target: house }, other: { target: house, env: { A: '@' } } }",
        PIPELINE,
    ),
    ("top notify: { mail: { to: ['@'] } }", PIPELINE),
    ("top defaults: { env: { A: '@' } }", DEFAULTS),
    ("top name: '@'", &[]),
    ("run: make\n    matrix: { m: ['@'] }", PIPELINE),
    ("run: make\n    when: { if: '@' }", VALUE),
    ("run: make\n    image: '@'", PLAN),
    ("run: make\n    services: { db: '@' }", PLAN),
    ("run: make\n    services: { db: { image: 'a:1', env: { A: '@' } } }", PLAN),
    ("run: make\n    resources: { memory: '@' }", PLAN),
    ("run: make\n    runner: ['@']", PLAN),
    ("run: make\n    timeout: '@'", PLAN),
    ("run: make\n    env: { A: '@' }", VALUE),
    ("run: make\n    artifacts: { paths: [a], name: '@' }", VALUE),
    ("run: make\n    concurrency: { group: '@' }", VALUE),
    ("run: make\n    cache: { key: '@', paths: [a] }", CACHE),
    ("run: make\n    cache: { key: a, restore: ['@'], paths: [a] }", CACHE),
    ("run: make '@'", VALUE),
    ("run: ['@']", VALUE),
    ("run: make\n    shell: [sh, '@']", VALUE),
    ("run: make\n    inputs: ['@']", &[]),
    ("run: make\n    secrets: ['@']", &[]),
    ("run: make\n    needs: ['@']", &[]),
    ("build: { args: { A: '@' } }", VALUE),
    ("push: { image: image, registry: demo, tags: ['@'] }", VALUE),
    ("timeout: 1m\n    deploy: { environment: demo, image: image, env: { A: '@' } }", VALUE),
    ("timeout: 1m\n    deploy: { environment: '@', image: image }", ENVIRONMENT),
    ("approve: { by: [ada], message: '@' }", VALUE),
    ("trigger: { pipeline: other, ref: '@' }", VALUE),
];

fn text(place: &str, expression: &str) -> String {
    // `if` takes the expression bare, and wants true or false.
    let expression = match place.contains("if:") {
        true => format!("{expression} != \"\""),
        false => format!("${{{{ {expression} }}}}"),
    };
    // `make '@'` is a plain scalar, whose quotes are its own.
    let quoted = match place.contains("make '@'") {
        true => format!("'{expression}'"),
        false => format!("'{}'", expression.replace('\'', "''")),
    };
    let place = place.replace("'@'", &quoted);
    let (top, stage) = match place.strip_prefix("top ") {
        Some(top) => (top, "run: make"),
        None => ("name: orders", place.as_str()),
    };
    let environments = if top.starts_with("environments") {
        ""
    } else {
        "environments: { demo: { target: house } }\n"
    };
    let image = if stage.contains("run:") && !stage.contains("image:") || stage.contains("services")
    {
        "    image: debian:12\n"
    } else {
        ""
    };
    let image = if stage.contains("image: '${{") { "" } else { image };
    let matrix = match stage {
        stage
            if stage.contains("matrix:")
                || stage.starts_with("approve")
                || stage.starts_with("trigger") =>
        {
            ""
        }
        _ => "    matrix: { m: [a] }\n",
    };
    let needs = if stage.contains("needs") { "" } else { "    needs: [image]\n" };
    let env = if top.contains("defaults") { "" } else { "env: { V: v }\n" };
    format!(
        "on: {{ manual: {{ params: {{ target: {{ type: enum, values: [a] }} }} }} }}\n{env}{environments}{top}\n\
         stages:\n  image: {{ build: {{}} }}\n  a:\n{needs}{image}{matrix}    {stage}\n"
    )
}

#[test]
fn every_name_is_available_exactly_where_the_language_says() {
    for (place, available) in PLACES {
        for (name, expression) in NAMES {
            // Stages without a matrix have no cells.
            if *name == "matrix" && (place.starts_with("approve") || place.starts_with("trigger")) {
                continue;
            }
            if *name == "env" && place.contains("defaults") {
                continue;
            }
            let text = text(place, expression);
            let (_, found) = checked(&text, &Bundled);
            let codes: Vec<_> = found.iter().map(|found| found.code.name()).collect();
            let refused = codes.iter().any(|code| matches!(*code, "E041" | "E043" | "E045"));
            assert_eq!(!refused, available.contains(name), "{name} in {place}\n{text}\n{found}");
            if refused {
                assert!(codes.contains(&"E045"), "{name} in {place}\n{text}\n{found}");
            }
        }
    }
}

#[test]
fn with_reads_the_event_alone() {
    let files = TestFiles(&[(
        "t",
        "1",
        "params: { p: { type: string, required: true } }\nimage: debian:12\nstages: { image: { build: {} }, a: { run: make, env: { A: \"${{ params.p }}\" } } }",
    )]);
    for (name, expression) in NAMES {
        let expression = expression.replace('\'', "''");
        let text = format!(
            "on: {{ manual: {{ params: {{ target: {{ type: enum, values: [a] }} }} }} }}\ntemplate: t@1\nwith: {{ p: '${{{{ {expression} }}}}' }}"
        );
        let (_, found) = checked(&text, &files);
        let codes: Vec<_> = found.iter().map(|found| found.code.name()).collect();
        let expected: &[&str] = if EVENT.contains(name) { &[] } else { &["E045"] };
        assert_eq!(codes, expected, "{name}: {found}");
    }
}

#[test]
fn outputs_of_commands_are_no_part_of_commands_and_those_of_the_engine_are() {
    let found = |outputs: &str, read: &str| {
        let text = format!(
            "image: debian:12\nstages:\n  first: {{ run: make, outputs: {outputs} }}\n  image: {{ build: {{}} }}\n  a:\n    run: make ${{{{ {read} }}}}\n"
        );
        let (_, found) = checked(&text, &Bundled);
        found.iter().map(|found| found.code.name()).collect::<Vec<_>>().join(" ")
    };
    for (outputs, read, expected) in [
        ("[version]", "stages.first.outputs.version", "E043"),
        ("{ version: string }", "stages.first.outputs.version", "E043"),
        ("{ version: json }", "stages.first.outputs.version.major", "E043"),
        ("{ version: int }", "stages.first.outputs.version", ""),
        ("{ version: bool }", "stages.first.outputs['version']", ""),
        ("[version]", "stages.first.result", ""),
        ("[version]", "stages.image.outputs.image", ""),
        ("[version]", "slug(stages.first.outputs.version)", ""),
        ("[version]", "semver(stages.first.outputs.version).major", ""),
        ("[version]", "semver(stages.first.outputs.version).pre", "E043"),
        ("[version]", "default(stages.first.outputs.version, '1')", "E043"),
    ] {
        assert_eq!(found(outputs, read), expected, "{read} of {outputs}");
    }
}

#[test]
fn a_variable_that_reads_a_stage_is_available_where_that_stage_is() {
    let text = "image: debian:12\nenv: { BUILT: 'x-${{ stages.ask.outputs.by }}', OWN: '${{ env.BUILT }}' }\nstages:\n  ask: { approve: { by: [ada] } }\n  \
                a: { run: make, timeout: '${{ env.BUILT }}', env: { A: '${{ env.BUILT }}', B: '${{ env.BIULT }}', C: '${{ matrix.x }}' } }\n";
    let (_, found) = checked(text, &Bundled);
    assert_eq!(
        lines(&found),
        "E045 2:59 `env.BUILT` is not available here | `env` is available in the keys of stages, but not in the axes of a `matrix`, and not in the `env` of the pipeline itself\n\
         E045 5:33 `env.BUILT` reads `stages.ask.outputs.by`, which is not available here | `stages` is available in `when.if`, `env`, `build`, `push`, `deploy`, `approve`, `trigger`, `artifacts`, `cache` and `concurrency` of a stage\n\
         E041 5:86 unknown name `env.BIULT` | did you mean `env.BUILT`? | `env` has the variables of the pipeline and of `defaults`; those of a stage are for its commands\n\
         E045 5:109 `matrix.x` is not available here | stage `a` has no `matrix` | `matrix` is available in the keys of a stage that has one, but not in its axes"
    );
}
