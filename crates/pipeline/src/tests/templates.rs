//! A file over a template.

use super::*;
use crate::Work;

const SERVICE: &str = "
params:
  image: { type: string, required: true, pattern: '^[a-z/]+$', description: Where it goes }
  jdk: { type: enum, values: [17, 21], default: 21 }
  tests: { type: list, of: string, default: [unit] }
  labels: { type: map, default: {} }
  limit: { type: duration, default: 20m }
  host: { type: string }
policy: { image: [timeout, when], '*': any }
image: maven:3
stages:
  compile: { image: 'maven:3-${{ params.jdk }}', timeout: '${{ params.limit }}', run: mvn package, env: { A: a, B: b } }
  test: { needs: [compile], run: '${{ params.tests }}' }
  image: { needs: [test], build: { args: '${{ params.labels }}', tags: ['${{ params.image }}:${{ git.sha_short }}', 'x:1'] } }
  deploy:
    needs: [image]
    timeout: 5m
    deploy: { environment: demo, image: image, expose: { port: 80, host: '${{ params.host }}' } }
environments: { demo: { target: house } }
";

const FILES: TestFiles<'_> = TestFiles(&[
    ("service", "1", SERVICE),
    ("service", "1.4", SERVICE),
    (
        "team",
        "1",
        "template: service@1.4\nparams: { image: { type: string, required: true } }\nwith: { image: 'team/${{ params.image }}', jdk: 17 }\npolicy: { deploy: locked }\nstages: { test: { env: { TEAM: a } } }",
    ),
]);

fn with(rest: &str) -> (Option<Pipeline>, Diagnostics) {
    checked(&format!("template: service@1\n{}", flush(rest)), &FILES)
}

fn plan_with(rest: &str) -> Plan {
    let (pipeline, found) = with(rest);
    plan(&pipeline.unwrap_or_else(|| panic!("{found}")), &on_main()).unwrap()
}

fn said(rest: &str) -> String {
    lines(&with(rest).1)
}

fn run(plan: &Plan, stage: &str) -> crate::RunWork {
    match &plan.stage(stage).unwrap().work {
        Work::Run(run) => (**run).clone(),
        other => panic!("{other:?}"),
    }
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.stages.iter().map(|stage| stage.name.as_str()).collect()
}

fn needs<'p>(plan: &'p Plan, stage: &str) -> Vec<&'p str> {
    plan.stage(stage).unwrap().needs.iter().map(|edge| edge.stage.as_str()).collect()
}

#[test]
fn parameters_keep_their_types_and_absent_ones_take_their_keys_along() {
    let plan = plan_with(
        "with: { image: a/b, jdk: 17, tests: [unit, slow], labels: { A: 1 }, limit: 90s }",
    );
    assert_eq!(run(&plan, "compile").image, "maven:3-17");
    assert_eq!(run(&plan, "test").run, ["unit", "slow"]);
    assert_eq!(plan.stage("compile").unwrap().timeout.to_string(), "1m30s");
    let Work::Build(build) = &plan.stage("image").unwrap().work else { panic!("no build") };
    assert_eq!(build.tags, ["a/b:01234567", "x:1"]);
    assert_eq!(build.args, BTreeMap::from([("A".to_owned(), "1".to_owned())]));
    let Work::Deploy(deploy) = &plan.stage("deploy").unwrap().work else { panic!("no deploy") };
    assert_eq!(deploy.expose.as_ref().unwrap().host, "*");
}

#[test]
fn a_map_goes_with_the_last_of_its_keys() {
    let template = "
params: { junit: { type: string } }
stages: { test: { image: debian:12, reports: { junit: '${{ params.junit }}' }, run: make test } }
";
    let files = TestFiles(&[("t", "1", template)]);
    let junit = |with: &str| {
        let (pipeline, found) = checked(&format!("template: t@1\nwith: {with}"), &files);
        let plan = plan(&pipeline.unwrap_or_else(|| panic!("{found}")), &on_main()).unwrap();
        run(&plan, "test").reports.map(|reports| reports.junit)
    };
    assert_eq!(junit("{}"), None);
    assert_eq!(junit("{ junit: '*.xml' }"), Some(vec!["*.xml".to_owned()]));
}

#[test]
fn nothing_takes_a_default_away_with_its_key() {
    let plan = plan_with("with: { image: a/b, limit: ~ }");
    assert_eq!(plan.stage("compile").unwrap().timeout.to_string(), "1h");
    assert!(said("with: { image: ~ }").starts_with("E034"), "{}", said("with: { image: ~ }"));
}

#[test]
fn a_value_of_a_parameter_stays_one_value() {
    let plan = plan_with(
        "
        with:
          image: a
          tests: ['x: y # z', \"build\\n    privileged: true\", no]
        ",
    );
    assert_eq!(run(&plan, "test").run, ["x: y # z", "build\n    privileged: true", "no"]);
}

#[test]
fn an_expression_in_with_is_evaluated_and_marks_what_it_touches() {
    let plan = plan_with("with: { image: a, tests: ['test ${{ git.sha_short }}'] }");
    assert_eq!(run(&plan, "test").run, ["test 01234567"]);
    assert_eq!(
        said("with: { image: a, tests: ['test ${{ git.branch }}'] }"),
        "E043 2:37 `git.branch` is text that others choose, and this is a command | would become part of the script | write \"$SHIPLINE_GIT_BRANCH\", which holds the same text safely"
    );
    assert!(said("with: { image: '${{ stages.a }}' }").starts_with("E045 2:21"));
}

#[test]
fn scalars_and_lists_replace_and_maps_merge() {
    let plan = plan_with(
        "
        with: { image: a }
        stages:
          compile: { env: { B: own, C: c }, run: [make], image: debian:12 }
          test: ./test
        ",
    );
    let compile = run(&plan, "compile");
    assert_eq!((compile.image.as_str(), compile.run), ("debian:12", vec!["make".to_owned()]));
    let env: Vec<_> = compile.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(env, ["A=a", "B=own", "C=c"]);
    assert_eq!(run(&plan, "test").run, ["./test"]);
}

#[test]
fn commands_go_before_and_after_those_of_the_template() {
    let plan = plan_with(
        "
        with: { image: a, tests: [unit, slow] }
        stages: { test: { run-before: prepare, run-after: [clean, report] } }
        ",
    );
    assert_eq!(run(&plan, "test").run, ["prepare", "unit", "slow", "clean", "report"]);
    assert_eq!(
        said("with: { image: a }\nstages: { deploy: { run-before: x } }"),
        "E011 3:21 `run-before` extends the `run` of a template, and `deploy` has none"
    );
}

#[test]
fn commands_go_around_a_run_that_is_replaced_wherever_they_stand() {
    for stage in [
        "{ run-before: prepare, run: own, run-after: clean }",
        "{ run-after: clean, run: own, run-before: prepare }",
    ] {
        let plan = plan_with(&format!("with: {{ image: a }}\nstages: {{ test: {stage} }}"));
        assert_eq!(run(&plan, "test").run, ["prepare", "own", "clean"], "{stage}");
    }
}

#[test]
fn stages_with_nothing_below_change_nothing() {
    let plan = plan_with("with: { image: a }\nstages:\n");
    assert_eq!(names(&plan), ["checkout", "compile", "test", "image", "deploy"]);
    assert!(said("with: { image: a }\nstages: [a]").starts_with("E004 3:1 "));
}

#[test]
fn removed_stages_that_wait_for_all_above_leave_what_is_left_of_them() {
    let template =
        "image: debian:12\nstages: { a: a, b: b, c: c, d: d, e: { needs: [d], run: e } }";
    let files = TestFiles(&[("t", "1", template)]);
    let of = |text: &str| {
        let (pipeline, found) = checked(&format!("template: t@1\nstages: {text}"), &files);
        plan(&pipeline.unwrap_or_else(|| panic!("{found}")), &on_main()).unwrap()
    };
    assert_eq!(needs(&of("{ d: off }"), "e"), ["a", "b", "c"]);
    assert_eq!(needs(&of("{ d: off, b: off }"), "e"), ["a", "c"]);
    assert_eq!(needs(&of("{ d: off, c: off, b: off, a: off }"), "e"), ["checkout"]);
}

#[test]
fn a_removed_stage_leaves_its_needs_to_those_that_needed_it() {
    let plan = plan_with("with: { image: a }\nstages: { test: off }");
    assert_eq!(names(&plan), ["checkout", "compile", "image", "deploy"]);
    assert_eq!(needs(&plan, "image"), ["compile"]);
    assert_eq!(
        said("with: { image: a }\nstages: { compile: off, new: { run: make, needs: [compile] } }"),
        "E020 3:51 stage `new` needs `compile`, which is removed | `off` at 3:11"
    );
    let found = said("with: { image: a }\nstages: { tst: off }");
    assert_eq!(
        found,
        "E036 3:11 template `service@1.4` has no stage `tst` that could be removed | did you mean `test`?"
    );
}

#[test]
fn a_new_stage_is_spliced_in_or_stands_below_all() {
    let plan = plan_with(
        "
        with: { image: a }
        stages:
          scan: { after: compile, before: [image], run: scan }
          early: { before: compile, run: early }
          last: last
        ",
    );
    assert_eq!(
        names(&plan),
        ["checkout", "early", "compile", "test", "scan", "image", "deploy", "last"]
    );
    assert_eq!(needs(&plan, "scan"), ["compile"]);
    assert_eq!(needs(&plan, "image"), ["test", "scan"]);
    assert_eq!(needs(&plan, "compile"), ["early"]);
    assert_eq!(needs(&plan, "last"), ["deploy"]);
    assert_eq!(
        said(
            "with: { image: a }\nstages: { x: { run: x, after: [compil], needs: [test] }, compile: { after: test } }"
        ),
        "E013 3:24 stage `x` has `after` and `needs`, which say the same | keep one\n\
         E011 3:69 `after` places a new stage, and `compile` is one of the template"
    );
    assert_eq!(
        said("with: { image: a }\nstages: { x: { run: x, before: imgae } }"),
        "E020 3:32 stage `x` stands before `imgae`, which is not a stage | did you mean `image`?"
    );
}

#[test]
fn the_action_of_a_stage_can_be_replaced() {
    let plan = plan_with("with: { image: a }\nstages: { test: { build: { file: Test } } }");
    assert!(
        matches!(&plan.stage("test").unwrap().work, Work::Build(build) if build.file == "Test")
    );
}

#[test]
fn a_policy_names_what_may_change() {
    assert_eq!(
        said("with: { image: a }\nstages: { image: { build: { file: x }, timeout: 1m } }"),
        "E035 3:20 template `service@1.4` does not let `build` of stage `image` be changed | may be changed: `timeout`, `when`"
    );
    assert_eq!(
        said("with: { image: a }\nstages: { image: off }"),
        "E035 3:11 template `service@1.4` does not let stage `image` be removed | may be changed: `timeout`, `when`"
    );
}

#[test]
fn a_template_over_a_template_passes_parameters_and_locks_down() {
    let (pipeline, found) = checked("template: team@1\nwith: { image: orders }\n", &FILES);
    let plan = plan(&pipeline.unwrap_or_else(|| panic!("{found}")), &on_main()).unwrap();
    let Work::Build(build) = &plan.stage("image").unwrap().work else { panic!("no build") };
    assert_eq!(build.tags[0], "team/orders:01234567");
    assert_eq!(run(&plan, "compile").image, "maven:3-17");
    assert_eq!(run(&plan, "test").env["TEAM"], "a");
    let codes = |text: &str| -> Vec<&'static str> {
        checked(text, &FILES).1.iter().map(|found| found.code.name()).collect()
    };
    assert_eq!(
        codes("template: team@1\nwith: { image: x }\nstages: { deploy: { timeout: 1m } }"),
        ["E035"]
    );
    assert_eq!(
        codes("template: team@1\nwith: { image: x }\nstages: { image: { build: {} } }"),
        ["E035"]
    );
}

#[test]
fn parameters_are_checked_against_their_declaration() {
    assert_eq!(
        said("with: { jdk: 18, tests: x, labels: [a], limit: 20, imgae: x }"),
        "E034 2:14 parameter `jdk` of `service@1.4` cannot be `18` | it is one of `17`, `21`\n\
         E034 2:25 parameter `tests` of `service@1.4` cannot be `x` | it is a list, not text\n\
         E034 2:36 parameter `labels` of `service@1.4` cannot be a list | it is a map, not a list\n\
         E034 2:48 parameter `limit` of `service@1.4` cannot be `20` | it is a duration, not a number\n\
         E032 2:52 template `service@1.4` has no parameter `imgae` | did you mean `image`?"
    );
    assert_eq!(
        said("with: { image: A B, tests: [1] }"),
        "E034 2:16 parameter `image` of `service@1.4` cannot be `A B` | it matches `^[a-z/]+$`\n\
         E034 2:28 parameter `tests` of `service@1.4` cannot be a list | it is a list of string"
    );
}

#[test]
fn a_template_is_found_by_name_and_version() {
    for (template, expected) in [
        ("servce@1", "E030 1:11 there is no template `servce` | did you mean `service`?"),
        (
            "service",
            "E031 1:11 template `service` is named without a version | write `service@1.4`",
        ),
        ("service@2", "E031 1:11 template `service` has no version `2` | write `service@1.4`"),
        (
            "'${{ git.sha }}'",
            "E045 1:11 expressions are not available in `template` | for example `c-service@1`",
        ),
        ("[a]", "E012 1:11 `template` takes a text, not a list | for example `c-service@1`"),
    ] {
        assert_eq!(lines(&checked(&format!("template: {template}"), &FILES).1), expected);
    }
}

#[test]
fn a_mistake_of_the_template_itself_names_the_file_that_uses_it() {
    let files = TestFiles(&[("bad", "1", "image: debian:12\nstages: { a: { rnu: make } }")]);
    let found = checked("template: bad@1", &files).1;
    let first = found.iter().next().unwrap();
    assert_eq!(first.place.as_ref().unwrap().to_string(), "bad@1/template.yml:2:16");
    assert_eq!(first.related[0].place.to_string(), ".shipline.yml:1:11");
    assert_eq!(first.related[0].message, "the template is named here");
}

#[test]
fn the_bundled_templates_have_the_stages_they_promise() {
    for name in Bundled::all().into_keys() {
        let text = format!(
            "template: {name}@1\nwith: {{ image: r.example/a, registry: r, environment: demo }}\nenvironments: {{ demo: {{ target: house }} }}"
        );
        let plan = planned(&text, &on_main());
        let own: &[&str] = match name.as_str() {
            // The Dockerfile compiles and tests.
            "docker-service" => &[],
            _ => &["compile", "unit-test", "package"],
        };
        assert_eq!(names(&plan), [&["checkout"], own, &["image", "push", "deploy"]].concat());
    }
}

#[test]
fn a_template_can_be_a_file_of_the_commit() {
    let files = TestFiles(&[
        ("./ci/java.yml", "", "template: ./ci/base.yml\nstages: { b: make b }"),
        ("./ci/base.yml", "", "image: debian:12\nstages: { a: make a }"),
    ]);
    let (pipeline, found) = checked("template: ./ci/java.yml", &files);
    let plan = plan(&pipeline.unwrap_or_else(|| panic!("{found}")), &on_main()).unwrap();
    assert_eq!(names(&plan), ["checkout", "a", "b"]);
    assert_eq!(plan.stage("b").unwrap().origins["run"].file, "./ci/java.yml");
    assert_eq!(
        lines(&checked("template: ./ci/jaav.yml", &files).1),
        "E030 1:13 there is no template `ci/jaav.yml` | did you mean `./ci/java.yml`?"
    );
}

#[test]
fn what_is_no_template_is_told_where_it_goes_wrong() {
    for (template, expected) in [
        (
            "../../etc/passwd",
            "E015 1:11 `../../etc/passwd` is not a path of a template | paths begin with `./` at the root of the repository, and stay inside it",
        ),
        (
            "./ci/../../secret.yml",
            "E015 1:16 `./ci/../../secret.yml` is not a path of a template | leaves its folder; paths are from the root of the repository",
        ),
        (
            "./%2e%2e/secret.yml",
            "E015 1:13 `./%2e%2e/secret.yml` is not a path of a template | the parts of a path have letters, digits, `.`, `-` and `_`",
        ),
        (
            "https://git.example/t.git@2",
            "E015 1:11 `https://git.example/t.git@2` is not the address of a template: no `//` ends the repository | for example `https://git.example/ci/templates.git//java-service@2.3`",
        ),
        (
            "https://git.example/t.git//java@2",
            "E039 1:11 template `https://git.example/t.git//java@2` cannot be fetched | a template that was fetched once is stored, and read with `--offline`",
        ),
        (
            "unlocked@1",
            "E037 1:11 template `unlocked@1` is not in `.shipline.lock` | `shipline template update` looks for it, and writes its exact version there; commit that file",
        ),
    ] {
        assert_eq!(lines(&checked(&format!("template: {template}"), &FILES).1), expected);
    }
}

#[test]
fn short_and_long_form_of_a_default_are_one_key() {
    let short = "image: debian:11\nenv: { A: short }\nstages: { a: make }";
    let long = "defaults: { image: debian:10, env: { A: long, B: b } }\nstages: { a: make }";
    let files = TestFiles(&[("short", "1", short), ("long", "1", long)]);
    let of = |text: &str| {
        let (pipeline, found) = checked(text, &files);
        let plan = plan(&pipeline.unwrap_or_else(|| panic!("{found}")), &on_main()).unwrap();
        let run = run(&plan, "a");
        (run.image, run.env["A"].clone())
    };
    let own = ("debian:12".to_owned(), "own".to_owned());
    assert_eq!(of("template: short@1\nimage: debian:12\nenv: { A: own }"), own);
    assert_eq!(of("template: short@1\ndefaults: { image: debian:12, env: { A: own } }"), own);
    assert_eq!(of("template: long@1\nimage: debian:12\nenv: { A: own }"), own);
    assert_eq!(of("template: long@1\ndefaults: { image: debian:12, env: { A: own } }"), own);
    // Twice in one file stays the mistake that it is.
    let twice = checked("template: long@1\nimage: a:1\ndefaults: { image: b:1 }", &files).1;
    assert!(lines(&twice).starts_with("E013"), "{twice}");
}

#[test]
fn another_action_takes_along_what_only_the_old_one_had() {
    let plan = plan_with(
        "with: { image: a }\nstages: { compile: { build: { file: Compile } }, test: { image: x:1, run: t } }",
    );
    let compile = plan.stage("compile").unwrap();
    let Work::Build(build) = &compile.work else { panic!("no build") };
    // `image` went with `run`; `env` is for builds, too, and stays.
    assert_eq!((build.file.as_str(), build.env["A"].as_str()), ("Compile", "a"));
    assert_eq!(compile.timeout.to_string(), "20m");
}

#[test]
fn a_stage_that_a_template_removed_leaves_no_trace_for_the_file_above() {
    let files = TestFiles(&[
        (
            "base",
            "1",
            "image: debian:12\nstages: { a: make a, b: { needs: [a], run: make b }, c: { needs: [b, a], run: make c }, x: { needs: [a], run: x } }",
        ),
        (
            "middle",
            "1",
            "template: base@1\nstages: { b: off, new: { after: a, before: [x], run: new } }",
        ),
    ]);
    let of = |text: &str| checked(text, &files);
    let plan_of = |text: &str| {
        let (pipeline, found) = of(text);
        plan(&pipeline.unwrap_or_else(|| panic!("{found}")), &on_main()).unwrap()
    };
    let plan = plan_of("template: middle@1");
    assert_eq!(names(&plan), ["checkout", "a", "c", "new", "x"]);
    assert_eq!(needs(&plan, "c"), ["a"]);
    // The file removes what the middle one placed its stage before and after.
    let plan = plan_of("template: middle@1\nstages: { x: off, a: off }");
    assert_eq!(names(&plan), ["checkout", "c", "new"]);
    assert_eq!(needs(&plan, "new"), ["checkout"]);
    // The name is free again.
    let plan = plan_of("template: middle@1\nstages: { b: make other }");
    assert_eq!(names(&plan), ["checkout", "a", "c", "new", "x", "b"]);
    assert_eq!(
        lines(&of("template: middle@1\nstages: { d: { needs: [b], run: d } }").1),
        "E020 2:24 stage `d` needs `b`, which is removed | `off` at middle@1/template.yml:2:11"
    );
}

#[test]
fn commands_come_before_and_after_at_every_level() {
    let files = TestFiles(&[
        ("base", "1", "image: debian:12\nstages: { a: [make] }"),
        ("middle", "1", "template: base@1\nstages: { a: { run-before: one, run-after: two } }"),
    ]);
    let (pipeline, found) = checked(
        "template: middle@1\nstages: { a: { run-before: [zero], run-after: three } }",
        &files,
    );
    let plan = plan(&pipeline.unwrap_or_else(|| panic!("{found}")), &on_main()).unwrap();
    assert_eq!(run(&plan, "a").run, ["zero", "one", "make", "two", "three"]);
}

#[test]
fn what_a_policy_closes_stays_closed_to_the_defaults_of_the_file() {
    let files = TestFiles(&[(
        "safe",
        "1",
        "policy: { scan: locked, test: [env] }\ndefaults: { image: scanner:1, env: { A: theirs }, shell: bash }\nstages: { scan: { run: scan, env: { B: b } }, test: test, open: open }",
    )]);
    let (pipeline, found) = checked(
        "template: safe@1\nimage: evil:1\nenv: { A: ours, PATH: /evil }\ntimeout: 1m\ndefaults: { shell: sh, retry: { max: 5 }, services: { db: evil:1 }, resources: { cpu: 7 } }",
        &files,
    );
    let plan = plan(&pipeline.unwrap_or_else(|| panic!("{found}")), &on_main()).unwrap();
    let env = |stage: &str| {
        let env = run(&plan, stage).env;
        env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    let scan = plan.stage("scan").unwrap();
    assert_eq!(run(&plan, "scan").image, "scanner:1");
    assert_eq!(run(&plan, "scan").shell, crate::Shell::Bash);
    assert_eq!(env("scan"), "A=theirs B=b");
    assert!(run(&plan, "scan").services.is_empty() && scan.resources.is_empty());
    assert_eq!((scan.timeout.to_string(), scan.retry.max), ("1h".to_owned(), 1));
    // Of `test` only the variables are open.
    assert_eq!(run(&plan, "test").image, "scanner:1");
    assert_eq!(env("test"), "A=ours PATH=/evil");
    assert_eq!(run(&plan, "open").image, "evil:1");
    assert_eq!(plan.stage("open").unwrap().timeout.to_string(), "1m");
}
