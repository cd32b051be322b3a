//! Everything around the stages: the rules of a file, and the keys at its top.

use super::errors::{is_fine, says};
use super::*;
use crate::{ActionKind, Channel, Diagnostic, MailEvent, Notice, Style, Submodules, Work};

fn found_at_top(top: &str) -> String {
    let text = format!("{}\nimage: debian:12\nstages: {{ build: make }}\n", flush(top));
    lines(&found_in(&text, &Bundled, &on_main()))
}

fn plan_with(top: &str) -> Plan {
    planned(&format!("{}\nimage: debian:12\nstages: {{ build: make }}\n", flush(top)), &on_main())
}

#[test]
fn a_byte_order_mark_comments_and_one_document_mark_are_accepted() {
    is_fine("\u{feff}---\n# a comment\nimage: debian:12 # another\nstages: { a: make }\n...\n");
    let source = SourceFile::from_bytes(".shipline.yml", b"\xef\xbb\xbfimage: debian\n".to_vec());
    assert_eq!(source.unwrap().text(), "image: debian\n");
    let refused = SourceFile::from_bytes(".shipline.yml", b"a: \xff\n".to_vec()).unwrap_err();
    assert_eq!(
        lines(&refused),
        "E003 1:4 the file is not UTF-8: byte 3 is 0xFF | save the file as UTF-8"
    );
}

#[test]
fn on_off_yes_and_no_are_words() {
    let plan = planned(
        "on: [push]\nimage: debian:12\nenv: { A: on, B: off, C: yes, D: no, E: y }\nstages: { build: make }",
        &on_main(),
    );
    let Work::Run(run) = &plan.stage("build").unwrap().work else { panic!("no run") };
    assert_eq!(run.env.values().collect::<Vec<_>>(), ["on", "off", "yes", "no", "y"]);
}

#[test]
fn x_keys_are_free_at_the_top_level_and_nowhere_else() {
    says(
        r##"
        x-common: &common { timeout: 5m }
        x-other: [anything, { at: all }]
        image: debian:12
        checkout: { x-depth: 1 }
        stages:
          a: { <<: *common, run: make, x-note: why }
        "##,
        r##"
        E010 4:13 unknown key `x-depth` in `checkout` | did you mean `depth`?
        E010 6:32 unknown key `x-note` in stage `a`
        "##,
    );
}

#[test]
fn what_an_alias_brought_is_told_with_both_places() {
    let text = "x-slow: &slow { timeout: 20, retries: 3 }\nx-image: &image Debian:12\nstages:\n  a: { <<: *slow, run: make, image: *image }\n";
    let found = found_in(text, &Bundled, &on_main());
    assert_eq!(
        found.render(Style::Plain),
        "error[E012]: `timeout` takes a duration, and a number alone has no unit\n --> .shipline.yml:1:26\n  |\n1 | x-slow: &slow { timeout: 20, retries: 3 }\n  |                          ^^ write `20m` or `20s`\n...\n4 |   a: { <<: *slow, run: make, image: *image }\n  |            ----- used here\n\nerror[E010]: unknown key `retries` in stage `a`\n --> .shipline.yml:1:30\n  |\n1 | x-slow: &slow { timeout: 20, retries: 3 }\n  |                              ^^^^^^^ did you mean `retry`?\n  |\n  = allowed here: after, allow-failure, approve, artifacts, before, build, cache, cancel-grace,\n    concurrency, deploy, description, env, image, inputs, matrix, merge, needs, outputs, pull,\n    push, reports, resources, retry, run, run-after, run-before, run-on, runner, secrets,\n    services, shell, timeout, trigger, user, when, workdir\n\nerror[E015]: `image` is no image reference: `Debian:12`\n --> .shipline.yml:2:17\n  |\n2 | x-image: &image Debian:12\n  |                 ^ an image name is in lower case\n3 | stages:\n4 |   a: { <<: *slow, run: make, image: *image }\n  |                                     ------ used here\n"
    );
}

#[test]
fn a_value_knows_where_it_stands_through_anchors_and_merges() {
    let plan = planned(
        "x-slow: &slow { timeout: 20m }\nx-image: &image debian:12\nstages:\n  a: { <<: *slow, run: make, image: *image }\n",
        &on_main(),
    );
    let origins = &plan.stage("a").unwrap().origins;
    let place = |key: &str| (origins[key].line, origins[key].column);
    assert_eq!((place("timeout"), place("image")), ((1, 26), (2, 17)));
}

#[test]
fn e006_and_the_other_ways_to_get_the_version_wrong() {
    let said = |version: &str| found_at_top(&format!("version: {version}"));
    assert_eq!(said("1"), "");
    assert_eq!(
        said("2"),
        "E006 1:10 this file is written in version 2 of the language | this Shipline reads version 1 | use Shipline 2.0 or later"
    );
    assert_eq!(said("0"), "E015 1:10 the first version of the language is 1 | write `1`");
    assert_eq!(said("1.0"), "E012 1:10 `version` takes a whole number, not `1.0` | write `1`");
    assert_eq!(said("'1'"), "E012 1:10 `version` takes a whole number, not text | write `1`");
    assert_eq!(said("[1]"), "E012 1:10 `version` takes a whole number, not a list | write `1`");
    assert_eq!(said(""), "E012 1:8 `version` takes a whole number, not nothing | write `1`");
}

#[test]
fn e016_a_pipeline_has_a_name_that_fits_into_addresses() {
    assert_eq!(found_at_top("name: orders-2.api"), "");
    assert_eq!(
        found_at_top("name: orders/api"),
        "E016 1:7 a pipeline cannot be named `orders/api` | write for example `orders-api`"
    );
    assert_eq!(found_at_top("name: 12"), "E012 1:7 `name` takes text, not a number | write \"12\"");
    assert_eq!(
        found_at_top("name: \"a\\u202eb\""),
        "E016 1:7 a pipeline cannot be named `a\\u{202e}b` | write for example `a-b`"
    );
    assert_eq!(
        found_at_top("name: \"${{ git.branch }}\""),
        "E045 1:8 expressions are not available in `name` | write the value itself"
    );
}

#[test]
fn e016_a_file_of_the_folder_lends_its_name() {
    let said = |file: &str, top: &str| {
        let text = format!("{top}image: debian:12\nstages: {{ build: make }}\n");
        let (document, mut diagnostics) = parse(&SourceFile::new(file, text));
        diagnostics.extend(check(&document, &Bundled).1);
        lines(&diagnostics).replace(file, "FILE")
    };
    assert_eq!(said(".shipline/release-2.yml", ""), "");
    assert_eq!(said(".shipline/nightly build.yml", "name: nightly\n"), "");
    assert_eq!(said("some folder/my file.yml", ""), "");
    assert_eq!(
        said(".shipline/nightly build.yml", ""),
        "E016 FILE:1:1 the pipeline is named after its file, and `nightly build` cannot be a name | add `name: nightly-build`, or rename the file to `nightly-build.yml`"
    );
}

#[test]
fn e003_a_limit_is_told_with_the_number_found() {
    let said = |text: &str| lines(&checked(text, &Bundled).1);
    let nested = |levels: usize| format!("x-deep: {}1{}\n", "[".repeat(levels), "]".repeat(levels));
    let rest = "image: debian:12\nstages: { build: make }\n";
    // The file itself is the first level.
    assert_eq!(said(&(nested(63) + rest)), "");
    assert_eq!(
        said(&(nested(64) + rest)),
        "E003 1:72 the file is nested 65 levels deep, the limit is 64"
    );
    let many = |count: usize| format!("x-many: [{}]\n{rest}", "1,".repeat(count));
    assert_eq!(said(&many(99_000)), "");
    assert_eq!(
        said(&many(100_000)),
        "E003 1:200004 the file has 100009 values after aliases are expanded, the limit is 100000"
    );
    // 1 + 10 values, ten times in ten lists.
    let ten = |name: &str, of: &str| format!("x-{name}: &{name} [{}]\n", [of; 10].join(", "));
    let bomb =
        ten("a", "1") + &ten("b", "*a") + &ten("c", "*b") + &ten("d", "*c") + &ten("e", "*d");
    assert_eq!(
        said(&(bomb + rest)),
        "E003 5:38 the file has 123467 values after aliases are expanded, the limit is 100000"
    );
    let aliases = format!("x-a: &a 1\nx-b: [{}]\n{rest}", "*a, ".repeat(5_001));
    assert_eq!(said(&aliases), "E003 2:20007 the file has 5001 aliases, the limit is 5000");
    let long = format!("x-a: &a {}\nx-b: [*a, *a, *a, *a, *a]\n{rest}", "x".repeat(1_000_000));
    assert_eq!(
        said(&long),
        "E003 2:19 the texts have 6000035 bytes after aliases are expanded, the limit is 4194304"
    );
    assert_eq!(
        said(&format!("x-a: {}\n{rest}", "x".repeat(1 << 20))),
        "E003 1:1 the file is too large: 1048623 bytes, the limit is 1048576"
    );
    assert_eq!(
        said("image: a\n---\nimage: b\n---\nimage: c\n"),
        "E003 2:1 the file holds 3 documents, the limit is 1 | write each pipeline as a file of its own: .shipline/NAME.yml"
    );
    assert_eq!(
        said("# nothing\n"),
        "E003 1:1 the file is empty: 0 stages, at least 1 is needed | a smallest pipeline is / image: debian:12 / stages: /   build: make"
    );
    assert_eq!(
        said("x-a: &a [*a]\n"),
        "E014 1:1 there are no `stages` | add `stages`, for example / stages: /   build: make\nE003 1:10 an alias contains itself: 1 cyclic alias, the limit is 0"
    );
    assert_eq!(
        said("image: \"a\u{7}\"\n"),
        "E003 1:10 the file holds a control character (U+0007), which YAML does not allow | remove it, or write it as an escape in double quotes, for example \"\\x1b\""
    );
}

#[test]
fn the_checkout_is_described_whole() {
    let checkout = |top: &str| plan_with(top).stages[0].work.clone();
    let builtin = Work::Checkout {
        depth: Some(1),
        submodules: Submodules::No,
        lfs: false,
        paths: Vec::new(),
    };
    assert_eq!(checkout(""), builtin);
    assert_eq!(checkout("checkout: {}"), builtin);
    assert_eq!(
        checkout(
            "checkout: { depth: full, submodules: recursive, lfs: true, paths: [src, '!src/doc'] }"
        ),
        Work::Checkout {
            depth: None,
            submodules: Submodules::Recursive,
            lfs: true,
            paths: vec!["src".to_owned(), "!src/doc".to_owned()],
        }
    );
    assert_eq!(
        checkout("checkout: { depth: 50, submodules: true, paths: src }"),
        Work::Checkout {
            depth: Some(50),
            submodules: Submodules::Yes,
            lfs: false,
            paths: vec!["src".to_owned()],
        }
    );
    assert_eq!(plan_with("checkout: off").stages[0].work.action(), ActionKind::Run);
    says(
        r##"
        checkout: { depth: 0, submodules: deep, lfs: yes, paths: ['{a'], clean: true }
        image: debian:12
        stages: { build: make }
        "##,
        r##"
        E015 1:20 `depth` takes a number of commits from 1 to 1000000, or `full`, not `0` | for the whole history write `full`
        E015 1:35 `submodules` takes true, false or `recursive`, not `deep` | for example `true`
        E012 1:46 `lfs` takes true or false, not text | `yes` is text here; write `true`
        E015 1:59 `paths` is no pattern: `{a` | `{` is not closed; for example `release/*`
        E010 1:66 unknown key `clean` in `checkout`
        "##,
    );
    assert_eq!(
        found_at_top("checkout: false"),
        "E012 1:11 `checkout` takes a map or `off`, not true or false | write `off`"
    );
    assert_eq!(
        found_at_top("checkout: { depth: [1], submodules: recursiv, paths: [] }"),
        "E012 1:20 `depth` takes a number of commits, or `full`, not a list | for example `1`\nE015 1:37 `submodules` takes true, false or `recursive`, not `recursiv` | did you mean `recursive`?\nE012 1:54 `paths` is an empty list, and nothing would be checked out | remove the key for everything; without any files write `checkout: off`"
    );
    assert_eq!(
        found_at_top("checkout: { depth: all, submodules: no }"),
        "E015 1:20 `depth` takes a number of commits from 1 to 1000000, or `full`, not `all` | for example `1`\nE015 1:37 `submodules` takes true, false or `recursive`, not `no` | `no` is text here; write `false`"
    );
}

#[test]
fn a_run_has_a_deadline_and_a_description() {
    assert_eq!(plan_with("").run_timeout.to_string(), "6h");
    assert_eq!(plan_with("run-timeout: 90m").run_timeout.to_string(), "1h30m");
    assert_eq!(
        found_at_top("run-timeout: 2"),
        "E012 1:14 `run-timeout` takes a duration, and a number alone has no unit | write `2m` or `2s`"
    );
    assert_eq!(
        found_at_top("run-timeout: 0s"),
        "E015 1:14 `run-timeout` takes a duration longer than zero, not `0s` | for example `20m`"
    );
    let (pipeline, _) =
        checked("description: Orders\nimage: debian:12\nstages: { a: make }", &Bundled);
    assert_eq!(pipeline.unwrap().description(), Some("Orders"));
}

#[test]
fn channels_hear_of_what_they_name() {
    let plan = plan_with(
        "
        notify:
          - mail: { to: [committer, team@corp.example], on: [failed, approval] }
            slack: { url: TEAM_SLACK }
          - webhook: [{ url: HOOK_A, on: always }, { url: HOOK_B, on: [deployed, rolled-back] }]
            mail: { to: boss@corp.example }
        ",
    );
    let mails: Vec<_> =
        plan.notify.iter().map(|rule| (rule.to.join(","), rule.on.clone())).collect();
    assert_eq!(
        mails,
        [
            (
                "committer,team@corp.example".to_owned(),
                vec![MailEvent::Failed, MailEvent::Approval]
            ),
            ("boss@corp.example".to_owned(), vec![MailEvent::Broken, MailEvent::Fixed]),
        ]
    );
    let notice = |channel, url: &str, on: &[MailEvent]| Notice {
        channel,
        url: url.to_owned(),
        on: on.to_vec(),
    };
    assert_eq!(
        plan.notices,
        [
            notice(Channel::Slack, "TEAM_SLACK", &[MailEvent::Broken, MailEvent::Fixed]),
            notice(Channel::Webhook, "HOOK_A", &[MailEvent::Always]),
            notice(Channel::Webhook, "HOOK_B", &[MailEvent::Deployed, MailEvent::RolledBack]),
        ]
    );
}

#[test]
fn what_is_wrong_with_a_channel_is_told_and_an_address_is_not() {
    says(
        r##"
        notify:
          - mail: { to: [], on: [] }
            wecom: { on: broken }
            feishu: TEAM
            dingtalk: { url: TEAM, on: [brokn] }
            teams: {}
        image: debian:12
        stages: { build: make }
        "##,
        r##"
        E012 2:17 `to` is an empty list, so nobody would hear of anything | for example `to: [committer, team@corp.example]`
        E012 2:25 `on` is an empty list, so nobody would hear of anything | for example `[broken, fixed]`, which is what holds without `on`
        E014 3:12 `notify.wecom` has no `url` | the name of a secret that holds the address
        E012 4:13 `notify.feishu` takes a map, not text | write `{ url: TEAM }`
        E015 5:33 `on` is no event of a notification: `brokn` | did you mean `broken`? events are `failed`, `broken`, `fixed`, `always`, `deployed`, `rolled-back`, `approval`, `unhealthy`, `drift`
        E010 6:5 unknown key `teams` in `notify`
        "##,
    );
    let text = "notify: { slack: { url: \"https://hooks.slack.example/T0/s3cr3t\" }, webhook: https://x.example/s3cr3t }\nimage: debian:12\nstages: { build: make }\n";
    let found = found_in(text, &Bundled, &on_main());
    let shown = found.render(Style::Plain);
    assert_eq!(
        shown,
        "error[E015]: `url` of `notify.slack` is not the name of a secret\n--> .shipline.yml:1:25\n = help: put the address into a secret and write its name: slack: { url: TEAM_CHANNEL }\n\nerror[E012]: `notify.webhook` takes a map, not text\n--> .shipline.yml:1:77\n = help: put the address into a secret and write its name: webhook: { url: TEAM_CHANNEL }\n"
    );
    let json = found.iter().map(Diagnostic::to_json).map(|json| json.to_string());
    assert!(!json.chain([shown]).any(|text| text.contains("s3cr3t")));
}
