//! `on`: what starts a run, what it is given, and what is said of mistakes.

use serde_json::{Value as Json, json};

use super::errors::{is_fine, says};
use super::*;
use crate::{PullRequest, Start, triggers};

const REST: &str = "name: orders\nimage: debian:12\nstages: { build: make }\n";

fn pipeline(on: &str) -> Pipeline {
    let text = format!("{}\n{REST}", flush(on));
    let (pipeline, diagnostics) = checked(&text, &Bundled);
    assert!(diagnostics.is_empty(), "{diagnostics}");
    pipeline.unwrap()
}

/// `starts: reason`, `held: reason`, or why nothing starts.
fn answer(pipeline: &Pipeline, context: &Context) -> String {
    match triggers(pipeline, context) {
        Ok(Start { held: false, reason }) => format!("starts: {reason}"),
        Ok(Start { held: true, reason }) => format!("held: {reason}"),
        Err(reason) => reason,
    }
}

fn event(event: TriggerEvent) -> Context {
    Context { event, ..on_main() }
}

fn tag(name: &str) -> Context {
    let mut context = event(TriggerEvent::Tag);
    (context.git.branch, context.git.tag) = (None, Some(name.to_owned()));
    context
}

fn request(target: &str, action: &str) -> Context {
    let pull_request = PullRequest {
        number: 7,
        target_branch: target.to_owned(),
        action: action.to_owned(),
        ..PullRequest::default()
    };
    Context { pull_request: Some(pull_request), ..event(TriggerEvent::PullRequest) }
}

fn changed(mut context: Context, paths: &[&str]) -> Context {
    context.changed = Some(paths.iter().map(|path| (*path).to_owned()).collect());
    context
}

#[test]
fn a_name_alone_is_a_trigger_without_filters() {
    for on in ["on: [push, tag, manual]", "on: { push: , tag: , manual: }"] {
        let pipeline = pipeline(on);
        assert_eq!(answer(&pipeline, &on_main()), "starts: trigger `push` has no filter");
        assert_eq!(answer(&pipeline, &tag("x")), "starts: trigger `tag` has no filter");
        assert_eq!(
            answer(&pipeline, &request("main", "opened")),
            "pipeline `orders` has no trigger `pull-request`"
        );
    }
    assert_eq!(answer(&pipeline("on: tag"), &tag("x")), "starts: trigger `tag` has no filter");
}

#[test]
fn without_on_pushes_pull_requests_and_people_start_runs() {
    let pipeline = pipeline("");
    assert_eq!(answer(&pipeline, &on_branch("x")), "starts: trigger `push` has no filter");
    assert_eq!(
        answer(&pipeline, &request("main", "updated")),
        "starts: the pull request was `updated`"
    );
    let manual = event(TriggerEvent::Manual);
    assert_eq!(answer(&pipeline, &manual), "starts: trigger `manual` has no filter");
    for kind in [TriggerEvent::Schedule, TriggerEvent::Gerrit, TriggerEvent::Svn] {
        assert_eq!(
            answer(&pipeline, &event(kind)),
            format!("pipeline `orders` has no trigger `{}`", kind.name())
        );
    }
    assert_eq!(answer(&pipeline, &tag("v1")), "pipeline `orders` has no trigger `tag`");
}

#[test]
fn a_push_is_filtered_by_branch_and_by_what_changed() {
    let pipeline = pipeline(
        "on: { push: { branch: [main, 'release/*'], changed: ['src/**', '!src/doc/**'] } }",
    );
    assert_eq!(
        answer(&pipeline, &changed(on_branch("release/1"), &["a", "src/b"])),
        "starts: branch `release/1` matches `main`, `release/*`; `src/b` changed and matches `src/**`, `!src/doc/**`"
    );
    assert_eq!(
        answer(&pipeline, &changed(on_main(), &["a", "src/doc/b"])),
        "none of the 2 changed files matches `changed` of the push filter of pipeline `orders`"
    );
    assert_eq!(
        answer(&pipeline, &on_branch("topic")),
        "branch `topic` matches no push filter of pipeline `orders`"
    );
}

#[test]
fn a_filter_of_changes_holds_when_nobody_knows_what_changed() {
    let pipeline = pipeline("on: { push: { changed: 'src/**' } }");
    assert_eq!(
        answer(&pipeline, &on_main()),
        "starts: what changed is not known, so `changed` holds"
    );
}

#[test]
fn a_tag_is_filtered_by_its_name_in_every_form() {
    for on in [
        "on: { tag: 'v*' }",
        "on: { tag: v* }",
        "on: { tag: [x, 'v*'] }",
        "on: { tag: { name: 'v*' } }",
    ] {
        let pipeline = pipeline(on);
        assert!(answer(&pipeline, &tag("v1.2")).starts_with("starts: tag `v1.2` matches"), "{on}");
        assert_eq!(
            answer(&pipeline, &tag("1.2")),
            "tag `1.2` matches no tag filter of pipeline `orders`"
        );
    }
}

#[test]
fn a_pull_request_is_filtered_by_its_target_by_changes_and_by_what_happened() {
    let pipeline = pipeline(
        "on: { pull-request: { branch: main, changed: 'src/**', types: [opened, labeled] } }",
    );
    assert_eq!(
        answer(&pipeline, &changed(request("main", "labeled"), &["src/a"])),
        "starts: the pull request was `labeled`; target branch `main` matches `main`; `src/a` changed and matches `src/**`"
    );
    assert_eq!(
        answer(&pipeline, &request("main", "updated")),
        "the pull request was `updated`, and pipeline `orders` starts on `opened`, `labeled`"
    );
    assert_eq!(
        answer(&pipeline, &request("release/1", "opened")),
        "target branch `release/1` matches no pull-request filter of pipeline `orders`"
    );
    // What is not said of a simulated event is no reason against it.
    assert_eq!(
        answer(&self::pipeline("on: pull-request"), &event(TriggerEvent::PullRequest)),
        "starts: trigger `pull-request` has no filter"
    );
}

#[test]
fn a_schedule_belongs_to_one_branch() {
    let pipeline = pipeline(
        "
        on:
          schedule:
            - { cron: '0 3 * * 1-5', timezone: Asia/Shanghai }
            - { cron: '0 5 * * SUN', branch: release/1, auto: false }
        ",
    );
    let schedule = event(TriggerEvent::Schedule);
    assert_eq!(answer(&pipeline, &schedule), "starts: schedule `0 3 * * 1-5` (Asia/Shanghai)");
    let on = |branch: &str| Context { event: TriggerEvent::Schedule, ..on_branch(branch) };
    assert_eq!(answer(&pipeline, &on("release/1")), "held: schedule `0 5 * * SUN` (UTC)");
    assert_eq!(
        answer(&pipeline, &on("topic")),
        "no schedule of pipeline `orders` is for branch `topic`"
    );
}

#[test]
fn schedules_are_there_for_whoever_has_a_clock() {
    let pipeline = pipeline(
        "
        on:
          manual: { params: { size: { type: int, default: 1 } } }
          schedule: { cron: '30 3 * * *', timezone: Europe/Berlin, branch: main, params: { size: 3 } }
        ",
    );
    let [schedule] = pipeline.schedules() else { panic!("one schedule") };
    assert_eq!(
        *schedule,
        crate::Schedule {
            auto: true,
            cron: "30 3 * * *".to_owned(),
            timezone: "Europe/Berlin".to_owned(),
            branch: Some("main".to_owned()),
            params: BTreeMap::from([("size".to_owned(), json!(3))]),
        }
    );
    let after = "2026-07-01T00:00:00Z".parse().unwrap();
    assert_eq!(schedule.next(after).unwrap().to_rfc3339(), "2026-07-01T01:30:00+00:00");
}

#[test]
fn gerrit_and_svn_are_checked_and_filtered_and_nobody_hears_of_them_yet() {
    let pipeline = pipeline(
        "
        on:
          gerrit: { branch: main, comment: '^recheck$' }
          svn: { paths: ['trunk/**'], poll: 5m }
        ",
    );
    assert_eq!(pipeline.unheard(), [TriggerEvent::Gerrit, TriggerEvent::Svn]);
    let gerrit = |action| Context { event: TriggerEvent::Gerrit, ..request("main", action) };
    assert_eq!(
        answer(&pipeline, &gerrit("comment")),
        "starts: the change was `comment`; target branch `main` matches `main`; the comment is not known, so `comment` holds"
    );
    assert_eq!(
        answer(&pipeline, &gerrit("change-merged")),
        "the change was `change-merged`, and pipeline `orders` starts on `patchset-created`, `comment`"
    );
    let svn = event(TriggerEvent::Svn);
    assert_eq!(
        answer(&pipeline, &changed(svn.clone(), &["trunk/a"])),
        "starts: `trunk/a` changed and matches `trunk/**`; the repository is asked every 5m"
    );
    assert_eq!(
        answer(&pipeline, &changed(svn, &["branches/a"])),
        "none of the 1 changed files matches `paths` of the svn filter of pipeline `orders`"
    );
}

#[test]
fn auto_false_holds_a_run_and_a_trigger_has_the_last_word() {
    let held = |on: &str, context: &Context| {
        let pipeline = pipeline(on);
        let plan = plan(&pipeline, context).unwrap();
        let start = triggers(&pipeline, context);
        assert_eq!(plan.auto, start.is_ok_and(|start| !start.held), "plan and record agree");
        !plan.auto
    };
    let manual = event(TriggerEvent::Manual);
    assert!(!held("", &on_main()));
    assert!(held("auto: false", &on_main()));
    assert!(held("auto: false\non: push", &on_main()));
    assert!(held("on: { push: { auto: false }, tag: }", &on_main()));
    assert!(!held("on: { push: { auto: false }, tag: }", &tag("x")));
    assert!(!held("auto: false\non: { push: { auto: true }, tag: }", &on_main()));
    // Somebody who starts a run need not start it twice, unless the file says so.
    assert!(!held("auto: false", &manual));
    assert!(held("on: { manual: { auto: false } }", &manual));
    assert!(held("auto: false", &event(TriggerEvent::Trigger)));
}

#[test]
fn what_is_wrong_with_triggers_is_told_with_what_to_write() {
    says(
        r##"
        on:
          push: main
          tag: { nam: x, name: [] }
          pull-request: { types: [opend, closed], branch: '{a' }
          schedule: '0 3 * * *'
          manual: true
          merge: {}
          svn: { poll: 1s, paths: 3 }
          gerrit: { events: [merged], comment: '(a' }
        image: debian:12
        stages: { build: make }
        "##,
        r##"
        E012 2:9 `on.push` takes a map, not text | write `push: { branch: main }`
        E010 3:10 unknown key `nam` in `on.tag` | did you mean `name`?
        E012 3:24 `name` is an empty list, and nothing could ever match | for example `["v*"]`
        E015 4:27 `types` is no type of a pull request event: `opend` | did you mean `opened`? types are `opened`, `updated`, `labeled`, `closed`
        E015 4:51 `branch` is no pattern: `{a` | `{` is not closed; for example `release/*`
        E012 5:13 `on.schedule` takes a map or a list of maps, not text | write `{ cron: "0 3 * * *" }`
        E012 6:11 `on.manual` takes a map, not true or false | write `manual:` alone, or `manual: { params: { … } }`
        E010 7:3 unknown key `merge` in `on`
        E015 8:16 `poll` is at least 10s | for example `60s`
        E012 8:27 `paths` takes text, not a number | write "3"
        E015 9:22 `events` is no event of Gerrit: `merged` | events are `patchset-created`, `change-merged`, `comment`
        E011 9:31 `comment` tests comments, and `events` has no `comment` | add `comment` to `events`, or remove this
        E015 9:41 `comment` is no regular expression: `(a` | unclosed group; for example `^v[0-9]+$`
        "##,
    );
    says(
        r##"
        on: { push: false, tag: , schedule: , gerrit: { events: change-merged, comment: a } }
        image: debian:12
        stages: { build: make }
        "##,
        r##"
        E012 1:13 `on.push` takes a map, not true or false | remove the line: a trigger that is not there starts nothing
        E014 1:27 `on.schedule` says no time | for example `{ cron: "0 3 * * *", timezone: Asia/Shanghai }`
        E011 1:72 `comment` tests comments, and `events` has no `comment` | add `comment` to `events`, or remove this
        "##,
    );
    says(
        r##"
        on: [push, nightly, 3, "${{ git.branch }}", push]
        auto: "no"
        image: debian:12
        stages: { build: make }
        "##,
        r##"
        E010 1:12 unknown key `nightly` in `on`
        E012 1:21 `on` takes text, not a number | write "3"
        E045 1:25 expressions are not available in `on` | write the value itself
        E002 1:45 trigger `push` is given twice | remove one of the two
        E012 2:7 `auto` takes true or false, not text | `no` is text here; write `false`
        "##,
    );
}

#[test]
fn e015_a_line_of_cron_has_its_caret_at_the_wrong_field() {
    says(
        r##"
        on:
          schedule:
            - { cron: "0 24 * * *" }
            - { cron: "0 3 * * MOO", timezone: Shanghai }
            - { cron: "61 3 * *" }
            - { cron: "@daily", timezone: Asia/Shangai }
            - { cron: "0 0 31 2 *", timezone: CEST, branch: "release/*" }
            - { cron: "*/0 * * * *" }
            - { timezone: UTC }
            - { cron: 5 }
        image: debian:12
        stages: { build: make }
        "##,
        r##"
        E015 3:18 `cron` is no line of cron: `0 24 * * *` | no hour: it is 0 to 23; a list `1,3`, a range `1-5`, a step `*/5` and `*` are fine
        E015 4:24 `cron` is no line of cron: `0 3 * * MOO` | no day of the week: it is 0 to 7, or `SUN` to `SAT`; a list `1,3`, a range `1-5`, a step `*/5` and `*` are fine
        E015 4:40 `timezone` is no time zone: `Shanghai` | did you mean `Asia/Shanghai`?
        E015 5:15 `cron` takes a line of cron with 5 fields, not `61 3 * *` | this has 4; write minute, hour, day of the month, month and day of the week, for example `0 3 * * 1-5`, which is 03:00 from Monday to Friday
        E015 6:15 `cron` takes a line of cron with 5 fields, not `@daily` | this has 1; write minute, hour, day of the month, month and day of the week, for example `0 3 * * 1-5`, which is 03:00 from Monday to Friday
        E015 6:35 `timezone` is no time zone: `Asia/Shangai` | did you mean `Asia/Shanghai`?
        E015 7:15 `cron` is a time that never comes: `0 0 31 2 *` | for example `0 3 * * 1-5`, which is 03:00 from Monday to Friday
        E015 7:39 `timezone` is no time zone: `CEST` | did you mean `CET`?
        E015 7:62 `branch` is no name of a branch: `release/*` | a schedule runs on one branch; write its name, or one schedule for each
        E015 8:16 `cron` is no line of cron: `*/0 * * * *` | no minute: it is 0 to 59; a list `1,3`, a range `1-5`, a step `*/5` and `*` are fine
        E014 9:7 `on.schedule` has no `cron` | add the time, for example `cron: "0 3 * * 1-5"`
        E012 10:15 `cron` takes text, not a number | write "5"
        "##,
    );
    is_fine(
        r##"
        on:
          schedule:
            - { cron: "*/15 8-18 1,15 * MON-FRI", timezone: America/Argentina/Buenos_Aires }
            - { cron: "0 0 29 2 *", timezone: UTC }
            - { cron: "0  3 * * 7" }
        image: debian:12
        stages: { build: make }
        "##,
    );
}

const PARAMS: &str = "
on:
  push:
  manual:
    params:
      target: { type: enum, values: [staging, prod, 3], default: staging, description: Where to }
      count: { type: int, min: 1, max: 5 }
      fast: { type: bool, default: false }
      version: { type: string, pattern: '^v[0-9]+$' }
      hosts: { type: list, default: [] }
      ports: { type: list, of: int }
      labels: { type: map }
      wait: { type: duration, min: 10s, max: 1h }
      heap: { type: size, max: 4Gi }
image: debian:12
stages: { build: make }
";

fn given(params: Json) -> Context {
    let Json::Object(params) = params else { panic!("a map") };
    Context { params: params.into_iter().collect(), ..event(TriggerEvent::Manual) }
}

fn params_of(plan: &Plan) -> Json {
    Json::Object(plan.params.clone().into_iter().collect())
}

#[test]
fn parameters_have_their_defaults_in_every_event_and_what_is_given_beside_them() {
    let defaults = json!({ "target": "staging", "fast": false, "hosts": [] });
    assert_eq!(params_of(&planned(PARAMS, &on_main())), defaults);
    let typed = json!({
        "target": "prod", "count": 5, "fast": true, "version": "v1", "hosts": ["a", "b"],
        "ports": [80, 443], "labels": { "a": "b" }, "wait": "90s", "heap": "512Mi",
    });
    assert_eq!(params_of(&planned(PARAMS, &given(typed.clone()))), typed);
}

#[test]
fn a_command_line_has_texts_which_are_read_as_their_type() {
    let texts = json!({
        "target": "3", "count": "5", "fast": "true", "version": "v1", "hosts": "a, b",
        "ports": "80,443", "labels": "a=b,c=d=e", "wait": "90s", "heap": "512Mi",
    });
    assert_eq!(
        params_of(&planned(PARAMS, &given(texts))),
        json!({
            "target": 3, "count": 5, "fast": true, "version": "v1", "hosts": ["a", "b"],
            "ports": [80, 443], "labels": { "a": "b", "c": "d=e" }, "wait": "90s", "heap": "512Mi",
        })
    );
    let json = json!({ "hosts": "[\"a,b\"]", "ports": "", "labels": "{\"a\": \"b\"}" });
    assert_eq!(
        params_of(&planned(PARAMS, &given(json))),
        json!({
            "target": "staging", "fast": false, "hosts": ["a,b"], "ports": [],
            "labels": { "a": "b" },
        })
    );
}

#[test]
fn e066_what_was_given_and_does_not_fit_is_told_at_the_declaration() {
    let found = lines(&found_in(
        PARAMS,
        &Bundled,
        &given(json!({
            "target": "production", "count": "9", "fast": "yes", "version": "1", "hosts": { "a": 1 },
            "ports": "80,http", "labels": "a", "wait": "2h", "heap": "4", "tagret": "x",
        })),
    ));
    assert_eq!(
        found,
        "E066 4:3 `tagret` was given (`x`), and there is no such parameter | did you mean `target`?\nE066 6:7 parameter `target` cannot be `production` | it is one of `staging`, `prod`, `3`\nE066 7:7 parameter `count` cannot be `9` | it is at most 5\nE066 8:7 parameter `fast` cannot be `yes` | it is true or false, not text\nE066 9:7 parameter `version` cannot be `1` | it matches `^v[0-9]+$`\nE066 10:7 parameter `hosts` cannot be a map | it is a list, not a map\nE066 11:7 parameter `ports` cannot be `80,http` | it is a list of int\nE066 12:7 parameter `labels` cannot be `a` | it is a map, not text\nE066 13:7 parameter `wait` cannot be `2h` | it is at most 1h\nE066 14:7 parameter `heap` cannot be `4` | it is a size, for example `512Mi`"
    );
}

#[test]
fn e066_a_required_parameter_is_asked_of_those_who_can_give_it() {
    let text = "
        on:
          push:
          manual: { params: { target: { type: enum, values: [a, b], required: true, description: Where to } } }
        image: debian:12
        stages: { build: make }
        ";
    let found = |context: &Context| lines(&found_in(&flush(text), &Bundled, context));
    assert_eq!(found(&on_main()), "");
    assert_eq!(found(&given(json!({ "target": "a" }))), "");
    assert_eq!(
        found(&given(json!({}))),
        "E066 3:23 parameter `target` is required, and not given | give one of `a`, `b`"
    );
    let bare = format!("on: manual\n{REST}");
    assert_eq!(
        lines(&found_in(&bare, &Bundled, &given(json!({ "a": 1 })))),
        "E066 1:5 `a` was given (`1`), and this pipeline has no parameters | parameters are declared by `on.manual.params`"
    );
}

#[test]
fn e066_a_schedule_gives_what_a_person_would_be_asked() {
    says(
        r##"
        on:
          schedule:
            - { cron: "0 3 * * *", params: { target: prod, sze: 1 } }
            - { cron: "0 4 * * *", params: { target: production, size: "${{ git.branch }}" } }
            - { cron: "0 5 * * *" }
          manual:
            params:
              target: { type: enum, values: [staging, prod], required: true }
              size: { type: int, default: 1 }
        image: debian:12
        stages: { build: make }
        "##,
        r##"
        E066 3:52 there is no parameter `sze` | did you mean `size`?
        E066 4:46 parameter `target` cannot be `production` | it is one of `staging`, `prod`
        E045 4:64 expressions are not available in `params` of a schedule | write the value itself
        E066 5:7 this schedule gives no value to the parameter `target` | it is required: add one of `staging`, `prod`
        "##,
    );
}

#[test]
fn e034_a_declaration_is_checked_where_it_stands() {
    says(
        r##"
        on:
          manual:
            params:
              a: { default: 1 }
              b: { type: number }
              c: { type: enum }
              d: { type: enum, values: [x, x, 1.10, [y]] }
              e: { type: int, min: 5, max: 1, pattern: x, default: a }
              f: { type: string, min: 1, values: [a], of: int }
              g: { type: string, pattern: "a(" }
              h: { type: list, of: list }
              i: { type: list, of: int, default: [1, a] }
              j: { type: bool, required: true, default: false }
              k: { type: duration, min: 5 }
              l: { type: size, default: 4GB }
              m: { type: string, default: "${{ git.branch }}" }
              n: { typ: string }
              o: string
              "p q": { type: string }
              r: { type: string, default: 1.10 }
        image: debian:12
        stages: { build: make }
        "##,
        r##"
        E034 4:7 parameter `a` has no `type` | types are `string`, `int`, `bool`, `enum`, `list`, `map`, `duration`, `size`
        E034 5:18 parameter `b` has the unknown type `number` | did you mean `int`? types are `string`, `int`, `bool`, `enum`, `list`, `map`, `duration`, `size`
        E014 6:7 parameter `c` is an `enum` without `values` | add them, for example `values: [staging, prod]`
        E034 7:36 value `x` is there twice | remove one
        E012 7:39 `values` takes text and whole numbers | is read as the number 1.1; write "1.10"
        E012 7:45 `values` takes text and whole numbers, not a list
        E034 8:28 parameter `e` has a `min` above its `max` | no value can be both
        E011 8:39 `pattern` does not belong to the type `int` | belongs to `string`
        E034 8:60 parameter `e` cannot be `a` | it is a whole number, not text
        E011 9:26 `min` does not belong to the type `string` | belongs to `int`, `duration` and `size`
        E011 9:34 `values` does not belong to the type `string` | belongs to `enum`
        E011 9:47 `of` does not belong to the type `string` | belongs to `list` and `map`
        E015 10:37 `pattern` is no regular expression: `a(` | unclosed group; for example `^v[0-9]+$`
        E034 11:28 parameter `h` cannot have parts of type `list` | parts are of one of `string`, `int`, `bool`, `enum`, `duration`, `size`
        E034 12:42 parameter `i` cannot be a list | it is a list of int
        E013 13:40 parameter `j` is `required` and has a `default` | with a default it is never missing; keep one
        E012 14:33 `min` takes a duration, and a number alone has no unit | write `5m` or `5s`
        E034 15:33 parameter `l` cannot be `4GB` | it is a size, for example `512Mi`
        E045 16:35 expressions are not available in `default` | write the value itself
        E010 17:12 unknown key `typ` in parameter `n` | did you mean `type`?
        E012 18:10 parameter `o` takes a map, not text | for example `{ type: string }`
        E016 19:7 a parameter cannot be named `p q` | write for example `p-q`
        E034 20:35 parameter `r` cannot be `1.10` | it is a string: write "1.10"
        "##,
    );
}

#[test]
fn a_template_may_bring_triggers_and_their_parameters() {
    const TEMPLATE: &str = "
on:
  manual: { params: { target: { type: enum, values: [staging, prod], default: staging } } }
image: debian:12
stages: { build: make }
";
    let files = TestFiles(&[("team", "1", TEMPLATE)]);
    let text = "template: team@1\nstages: { show: { run: make, env: { TARGET: '${{ params.target }}' } } }\n";
    let said = |params: Json| {
        let (pipeline, found) = checked(text, &files);
        let pipeline = pipeline.unwrap_or_else(|| panic!("{found}"));
        match plan(&pipeline, &given(params)) {
            Ok(plan) => serde_json::to_string(&plan.params).unwrap(),
            Err(found) => found.to_string(),
        }
    };
    assert_eq!(said(json!({})), r#"{"target":"staging"}"#);
    assert_eq!(
        said(json!({ "target": "live" })),
        "error[E066]: parameter `target` cannot be `live`\n --> team@1/template.yml:3:23\n  |\n3 |   manual: { params: { target: { type: enum, values: [staging, prod], default: staging } } }\n  |                       ^^^^^^ it is one of `staging`, `prod`\n"
    );
}

#[test]
fn params_of_expressions_are_the_values_with_their_types() {
    let text = format!(
        "{}\n",
        PARAMS.replace(
            "build: make",
            "build: { run: make, env: { A: '${{ params.count + 1 }}', B: '${{ params.target }}', C: '${{ params.hosts.size() }}' } }"
        )
    );
    let plan = planned(&text, &given(json!({ "count": "4", "hosts": "a,b" })));
    let crate::Work::Run(run) = &plan.stage("build").unwrap().work else { panic!("no run") };
    assert_eq!(run.env.values().collect::<Vec<_>>(), ["5", "staging", "2"]);
}
