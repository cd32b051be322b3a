//! `when`: what holds for which event, and the reason that is told for it.

use super::*;
use crate::{Decision, PullRequest};

/// What a `when` gives for an event: `run` or `skip`, and the reason.
fn decided(when: &str, context: &Context) -> String {
    let text = format!("image: debian:12\nstages:\n  a:\n    when: {when}\n    run: make\n");
    let plan = planned(&text, context);
    let stage = plan.stage("a").unwrap();
    let state = match stage.state {
        Decision::Run => "run",
        Decision::Skip => "skip",
    };
    format!("{state}: {}", stage.reason)
}

fn says(text: &str, expected: &str) {
    let found = lines(&found_in(&flush(text), &Bundled, &on_main()));
    assert_eq!(found, flush(expected), "\n{text}");
}

fn event(event: TriggerEvent) -> Context {
    Context { event, ..on_main() }
}

fn tagged(tag: &str) -> Context {
    let mut context = event(TriggerEvent::Tag);
    (context.git.branch, context.git.tag) = (None, Some(tag.to_owned()));
    context
}

fn changed(paths: &[&str]) -> Context {
    let changed = Some(paths.iter().map(|path| (*path).to_owned()).collect());
    Context { changed, ..on_main() }
}

#[test]
fn a_branch_is_matched_by_name_or_glob() {
    let when = "{ branch: [main, 'release/*'] }";
    assert_eq!(decided(when, &on_main()), "run: branch `main` matches `main`, `release/*`");
    assert_eq!(
        decided(when, &on_branch("topic")),
        "skip: branch `topic` matches no pattern of `main`, `release/*`"
    );
    assert_eq!(
        decided(when, &tagged("v1")),
        "skip: there is no branch that could match `main`, `release/*`"
    );
}

#[test]
fn for_a_pull_request_the_branch_is_the_one_it_goes_to() {
    let mut context = event(TriggerEvent::PullRequest);
    context.git.branch = Some("topic".to_owned());
    context.pull_request =
        Some(PullRequest { target_branch: "main".to_owned(), ..PullRequest::default() });
    assert_eq!(decided("{ branch: main }", &context), "run: target branch `main` matches `main`");
    assert_eq!(
        decided("{ branch: topic }", &context),
        "skip: target branch `main` matches no pattern of `topic`"
    );
}

#[test]
fn a_tag_is_matched_and_must_be_there() {
    assert_eq!(decided("{ tag: 'v*' }", &tagged("v1.2")), "run: tag `v1.2` matches `v*`");
    assert_eq!(
        decided("{ tag: ['v*', '!v1.*'] }", &tagged("v1.2")),
        "skip: tag `v1.2` matches no pattern of `v*`, `!v1.*`"
    );
    assert_eq!(decided("{ tag: 'v*' }", &on_main()), "skip: there is no tag that could match `v*`");
}

#[test]
fn an_event_is_one_of_those_named() {
    assert_eq!(decided("{ event: push }", &on_main()), "run: the event is `push`");
    assert_eq!(
        decided("{ event: [tag, manual] }", &on_main()),
        "skip: the event is `push`, not `tag` or `manual`"
    );
    for name in ["push", "tag", "pull-request", "schedule", "manual", "gerrit", "svn", "trigger"] {
        let text = format!(
            "image: debian:12\nstages: {{ a: {{ when: {{ event: {name} }}, run: make }} }}"
        );
        assert_eq!(lines(&found_in(&text, &Bundled, &on_main())), "");
    }
}

#[test]
fn a_changed_file_matches_and_an_unknown_set_counts_as_changed() {
    let when = "{ changed: ['src/**', pom.xml] }";
    assert_eq!(
        decided(when, &changed(&["README.md", "src/a/b.c"])),
        "run: `src/a/b.c` changed, which matches `src/**`, `pom.xml`"
    );
    assert_eq!(
        decided(when, &changed(&["README.md", "docs/a.md"])),
        "skip: none of 2 changed files matches `src/**`, `pom.xml`"
    );
    assert_eq!(
        decided(when, &changed(&["README.md"])),
        "skip: the one changed file matches no pattern of `src/**`, `pom.xml`"
    );
    assert_eq!(decided(when, &changed(&[])), "skip: no file changed");
    assert_eq!(
        decided(when, &on_main()),
        "run: which files changed is not known, so `src/**`, `pom.xml` counts as changed"
    );
}

#[test]
fn the_environment_is_that_of_the_stage_or_of_any_the_run_deploys_to() {
    let text = |when: &str| {
        flush(&format!(
            "
            environments: {{ staging: {{ target: house }}, prod: {{ target: house }} }}
            image: debian:12
            stages:
              image: {{ build: {{}} }}
              ask: {{ run: make, when: {{ environment: prod }} }}
              deploy:
                {when}
                timeout: 1m
                deploy: {{ environment: \"${{{{ git.branch == 'main' ? 'prod' : 'staging' }}}}\", image: image }}
              smoke: {{ run: make, when: {{ environment: 'st*' }} }}
            "
        ))
    };
    let reasons = |text: &str, context: &Context| {
        let plan = planned(text, context);
        let skipped = |stage: &crate::PlannedStage| match stage.state {
            Decision::Run => format!("{}: {}", stage.name, stage.reason),
            Decision::Skip => format!("{} skipped: {}", stage.name, stage.reason),
        };
        plan.stages.iter().skip(2).map(skipped).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(
        reasons(&text("description: x"), &on_main()),
        "ask: the run deploys to `prod`\n\
         deploy: no condition\n\
         smoke skipped: the run deploys to `prod`, which matches no pattern of `st*`"
    );
    assert_eq!(
        reasons(&text("when: { environment: prod }"), &on_branch("x")),
        "ask skipped: the run deploys nowhere, and so not to `prod`\n\
         deploy skipped: the stage deploys to `staging`, which matches no pattern of `prod`\n\
         smoke skipped: the run deploys nowhere, and so not to `st*`"
    );
}

#[test]
fn a_map_is_and_a_list_is_or() {
    let both = "{ branch: main, event: push }";
    assert_eq!(
        decided(both, &on_main()),
        "run: branch `main` matches `main`, and the event is `push`"
    );
    assert_eq!(
        decided(both, &event(TriggerEvent::Manual)),
        "skip: the event is `manual`, not `push`"
    );
    let either = "[{ branch: dev }, { event: [tag, manual] }]";
    assert_eq!(
        decided(either, &on_main()),
        "skip: branch `main` matches no pattern of `dev`; the event is `push`, not `tag` or `manual`"
    );
    assert_eq!(decided(either, &event(TriggerEvent::Manual)), "run: the event is `manual`");
    assert_eq!(decided("off", &on_main()), "skip: `when` is off");
    assert_eq!(decided("{}", &on_main()), "run: no condition");
}

#[test]
fn an_expression_decides_bare_or_in_braces() {
    for when in [
        "{ if: \"git.branch == 'main'\" }",
        "{ if: \"${{ git.branch == 'main' }}\" }",
        "{ if: git.branch == 'main' }",
    ] {
        assert_eq!(decided(when, &on_main()), "run: `git.branch == 'main'` is true", "{when}");
        assert_eq!(
            decided(when, &on_branch("x")),
            "skip: `git.branch == 'main'` is false",
            "{when}"
        );
    }
    assert_eq!(decided("{ if: true }", &on_main()), "run: `if` is true");
}

#[test]
fn an_expression_that_gives_no_truth_is_an_error_where_it_decides() {
    let text =
        |when: &str| format!("image: debian:12\nstages:\n  a:\n    when: {when}\n    run: make\n");
    says(
        &text("{ if: git.branch }"),
        "E042 4:17 `if` takes true or false, not text | the expression gives text",
    );
    // Which kind of value it is, is not known before there is one.
    says(
        &text("{ if: '[git.tag][0]' }"),
        "E042 4:17 the expression of `if` has no value for this event",
    );
    // Beside a test that fails, or an alternative that holds, its value is not needed.
    assert_eq!(
        decided("{ event: tag, if: '[git.tag][0]' }", &on_main()),
        "skip: the event is `push`, not `tag`"
    );
    assert_eq!(
        decided("[{ if: '[git.tag][0]' }, { event: push }]", &on_main()),
        "run: the event is `push`"
    );
}

#[test]
fn what_is_wrong_with_a_condition_is_told_all_at_once() {
    says(
        "
        image: debian:12
        stages:
          a: { run: make, when: main }
          b: { run: make, when: { event: pushed } }
          c: { run: make, when: { branch: '{a' } }
          d: { run: make, when: { brunch: main } }
          e: { run: make, when: { params: target } }
          f: { run: make, when: { if: [] } }
          g: { run: make, when: { if: 'a ${{ git.sha }}' } }
          h: { run: make, when: { if: 'git.sha ==' } }
          i: { run: make, when: false }
        ",
        "
        E012 3:25 `when` takes a map, a list of maps or `off`, not text | for example `{ branch: main }`
        E015 4:34 `event` is no event: `pushed` | did you mean `push`? events are `push`, `tag`, `pull-request`, `schedule`, `manual`, `gerrit`, `svn`, `trigger`
        E015 5:35 `branch` is no pattern: `{a` | `{` is not closed; for example `release/*`
        E010 6:27 unknown key `brunch` in `when` | did you mean `branch`?
        E012 7:35 `params` in `when` takes a map, not text | for example `{ target: prod }`
        E012 8:31 `if` takes an expression, not a list | for example `git.branch == 'main'`
        E012 9:31 `if` takes one expression, and this is a text with one in it | for example `git.branch == 'main'`
        E040 10:42 this is not an expression: it ends too early
        E012 11:25 `when` takes a map, a list of maps or `off`, not true or false | write `off`",
    );
}

#[test]
fn every_test_is_recorded_with_what_it_wanted_and_saw() {
    let text = "image: debian:12\nstages:\n  a:\n    when: [{ branch: dev, event: [push, tag] }, { if: \"git.sha != ''\" }]\n    run: make\n";
    let plan = planned(text, &on_main());
    let condition = plan.stage("a").unwrap().condition.clone().unwrap();
    let line = |test: &crate::Test| {
        format!(
            "{} wants {}, saw {}, {:?}, {}:{}",
            test.key, test.wants, test.saw, test.holds, test.origin.line, test.origin.column
        )
    };
    let any: Vec<Vec<String>> =
        condition.any.iter().map(|all| all.all.iter().map(line).collect()).collect();
    assert_eq!(
        any,
        [
            vec![
                "branch wants dev, saw main, Some(false), 4:22",
                "event wants push, tag, saw push, Some(true), 4:34"
            ],
            vec!["if wants git.sha != '', saw true, Some(true), 4:55"],
        ]
    );
}

#[test]
fn a_stage_that_can_never_run_is_warned_of() {
    says(
        "
        image: debian:12
        stages:
          a: { run: make, when: { event: push, tag: 'v*' } }
          b: { run: make, when: [] }
          c: { run: make, when: { branch: [] } }
          d: { run: make, when: { if: false } }
          e: { run: make, when: { branch: [main, '!main'] } }
          f: { run: make, when: [{ event: [] }, { if: 'false' }] }
          g: { run: make, when: { if: false } } # shipline: allow W023
          h: { run: make, when: off }
          i: { run: make, when: [{ if: false }, { branch: main }] }
          j: { run: make, when: { event: [push, tag], tag: 'v*' } }
        ",
        "
        W023 3:45 stage `a` can never run: its condition is always false | there is no tag when the event is `push` | change the condition, or switch the stage off in words: when: off
        W023 4:25 stage `b` can never run: its condition is always false | the list has no condition that could hold | change the condition, or switch the stage off in words: when: off
        W023 5:35 stage `c` can never run: its condition is always false | `branch` lists no pattern | change the condition, or switch the stage off in words: when: off
        W023 6:31 stage `d` can never run: its condition is always false | `if` is always false | change the condition, or switch the stage off in words: when: off
        W023 7:35 stage `e` can never run: its condition is always false | `branch` excludes everything it names | change the condition, or switch the stage off in words: when: off
        W023 8:35 stage `f` can never run: its condition is always false | `event` lists no event | change the condition, or switch the stage off in words: when: off",
    );
}

#[test]
fn conditions_that_exclude_each_other_are_warned_of_where_both_must_run() {
    let text = |one: &str, other: &str| {
        format!(
            "image: debian:12\nstages:\n  a:\n    when: {one}\n    run: make\n  b:\n    needs: [{{ stage: a, must: run }}]\n    when: {other}\n    run: make\n"
        )
    };
    let help = "give both the same condition, or take the `must: run` away";
    says(
        &text("{ branch: main }", "{ branch: dev }"),
        &format!(
            "W022 8:21 stage `b` can never run: `a` must run before it, and their conditions exclude each other | `b` runs only when `branch` is `dev` | {help}"
        ),
    );
    says(
        &text("{ event: push }", "{ tag: 'v*' }"),
        &format!(
            "W022 8:18 stage `b` can never run: `a` must run before it, and their conditions exclude each other | `b` runs only when there is a tag | {help}"
        ),
    );
    for (one, other) in [
        ("{ branch: main }", "{ branch: 'm*' }"),
        ("{ branch: [main, dev] }", "{ branch: dev }"),
        ("{ branch: main }", "[{ branch: dev }, { event: tag }]"),
        ("{ branch: main }", "{ branch: dev } # shipline: allow W022"),
        ("{ event: [push, manual] }", "{ tag: 'v*' }"),
    ] {
        says(&text(one, other), "");
    }
    let (_, found) = checked(&text("{ branch: main }", "{ branch: dev }"), &Bundled);
    assert!(found.to_string().contains("`a` runs only when `branch` is `main`"), "{found}");
}

#[test]
fn a_parameter_has_one_of_the_values_named() {
    let decided = |when: &str, params: &[(&str, serde_json::Value)]| {
        let text = format!(
            "on: {{ push: , manual: {{ params: {{ target: {{ type: enum, values: [staging, prod] }}, dry-run: {{ type: bool, default: false }}, units: {{ type: int }} }} }} }}\nimage: debian:12\nstages:\n  a:\n    when: {when}\n    run: make\n"
        );
        let mut context = event(TriggerEvent::Manual);
        context.params =
            params.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let plan = planned(&text, &context);
        let stage = plan.stage("a").unwrap();
        let state = if stage.state == Decision::Run { "run" } else { "skip" };
        format!("{state}: {}", stage.reason)
    };
    let when = "{ params: { target: [prod, staging] } }";
    assert_eq!(decided(when, &[("target", "prod".into())]), "run: parameter `target` is `prod`");
    assert_eq!(
        decided("{ params: { target: prod } }", &[("target", "staging".into())]),
        "skip: parameter `target` is `staging`, not `prod`"
    );
    assert_eq!(
        decided(when, &[]),
        "skip: parameter `target` has no value, and must be `prod` or `staging`"
    );
    assert_eq!(
        decided("{ params: { dry-run: false, units: 3 } }", &[("units", 3.into())]),
        "run: parameter `dry-run` is `false`, and parameter `units` is `3`"
    );
    says(
        "
        on: { manual: { params: { target: { type: string } } } }
        image: debian:12
        stages: { a: { run: make, when: { params: { traget: prod } } } }
        ",
        "E041 3:45 unknown name `params.traget` | did you mean `params.target`?",
    );
}

#[test]
fn what_lies_on_the_way_to_a_deploy_and_may_be_skipped_is_warned_of() {
    let text = |gate: &str, deploy: &str| {
        format!(
            "environments: {{ demo: {{ target: house }} }}\nimage: debian:12\nstages:\n  image: {{ build: {{}} }}\n  gate: {{ run: make, when: {{ branch: dev }}{gate} }}\n  deploy: {{ timeout: 1m{deploy}, deploy: {{ environment: demo, image: image }} }}\n"
        )
    };
    says(
        &text("", ""),
        "W024 6:3 stage `deploy` deploys also when `gate` was skipped | add to the needs of `deploy`: { stage: gate, must: run }; or write on its line: # shipline: allow W024",
    );
    // Where its failure is allowed, or it waits for one, it keeps nothing from running.
    says(
        &text(", allow-failure: true", ""),
        "W070 5:60 stage `deploy` deploys although `gate` may have failed in any way | name the exit codes that are fine, for example `allow-failure: [1]`",
    );
    says(&text(", run-on: failure", ""), "");
    says(&text("", ", run-on: always"), "");
    says(&text("", ", when: { branch: dev }"), "");
    says(&text("", ", needs: [image, { stage: gate, must: run }]"), "");
}

#[test]
fn e042_an_if_that_can_never_be_true_or_false_is_told_by_the_check() {
    for (expression, kind) in [
        ("git.tag", "text"),
        ("stages.a.result", "text"),
        ("1 + 1", "a number"),
        ("[git.sha]", "a list"),
    ] {
        let text = format!(
            "image: debian:12\nstages:\n  a: make\n  b: {{ run: make, when: {{ if: \"{expression}\" }} }}\n"
        );
        let (_, found) = checked(&text, &Bundled);
        assert_eq!(
            lines(&found),
            format!("E042 4:31 `if` takes true or false, not {kind} | the expression gives {kind}")
        );
    }
}
