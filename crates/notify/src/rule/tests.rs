use event::{DeploymentState, RunResult, StageResult};
use serde_json::{Value, json};

use super::*;
use crate::samples::{RUN, Story, context, deploy_stage, rule, run_stage};
use crate::{Commit, Deployment, Unit};

fn to(message: &Message) -> Vec<&str> {
    message.to.iter().map(Address::as_str).collect()
}

/// A run of `compile` and `deploy` that ended so; without a deployment's end,
/// `deploy` never began.
fn run(result: RunResult, deployed: Option<&str>, notify: &Value) -> (RunState, Event) {
    let stages = [run_stage("compile"), deploy_stage("deploy")];
    let story = Story::new("main", &stages, notify);
    let story = match (result, deployed) {
        (RunResult::Failed, None) => story.ran("compile", StageResult::Failed, Some(2), 12),
        (RunResult::InfraError, None) => story.ran("compile", StageResult::InfraError, None, 12),
        _ => story.ran("compile", StageResult::Passed, None, 12),
    };
    let story = match deployed {
        Some("deployed") => story.deployed("deploy", StageResult::Passed, "deployed", ""),
        Some(state) => story.deployed("deploy", StageResult::Failed, state, "the gate failed"),
        None => story,
    };
    story.end(result, 192)
}

#[test]
fn each_event_of_a_rule_holds_for_its_runs_and_the_subject_names_the_worst_fact() {
    use RunResult::{Cancelled, Failed, InfraError, Passed, Skipped, Warning};
    let all = ["failed", "broken", "fixed", "always", "deployed", "rolled-back"];
    /// Result, the one before, the end of the deployment; subject and events.
    type Case =
        (RunResult, Option<RunResult>, Option<&'static str>, &'static str, &'static [&'static str]);
    let table: [Case; 20] = [
        (Passed, None, None, "passed", &["always"]),
        (Passed, Some(Passed), None, "passed", &["always"]),
        (Passed, Some(Warning), None, "passed", &["always"]),
        (Passed, Some(Failed), None, "fixed", &["fixed", "always"]),
        (Passed, Some(InfraError), None, "fixed", &["fixed", "always"]),
        (Warning, Some(Passed), None, "passed with warnings", &["always"]),
        (Warning, Some(Failed), None, "fixed", &["fixed", "always"]),
        (Skipped, Some(Failed), None, "skipped", &["always"]),
        (Cancelled, Some(Failed), None, "cancelled", &["always"]),
        (Cancelled, Some(Passed), None, "cancelled", &["always"]),
        (Failed, None, None, "failed", &["failed", "always"]),
        (Failed, Some(Failed), None, "failed", &["failed", "always"]),
        (Failed, Some(Passed), None, "broken", &["failed", "broken", "always"]),
        (InfraError, Some(Passed), None, "infra-error", &["failed", "broken", "always"]),
        (InfraError, Some(Failed), None, "infra-error", &["failed", "always"]),
        (Passed, Some(Passed), Some("deployed"), "deployed", &["always", "deployed"]),
        (Passed, Some(Failed), Some("deployed"), "fixed", &["fixed", "always", "deployed"]),
        (
            Failed,
            Some(Passed),
            Some("rolled-back"),
            "rolled back",
            &["failed", "broken", "always", "rolled-back"],
        ),
        (Failed, Some(Failed), Some("stuck"), "stuck", &["failed", "always", "rolled-back"]),
        (Failed, Some(Passed), Some("failed"), "broken", &["failed", "broken", "always"]),
    ];
    for (result, previous, deployed, fact, expected) in table {
        let context = MailContext { previous, ..context() };
        let case = format!("{result} after {previous:?}, deployment {deployed:?}");
        let mut held = Vec::new();
        for on in all {
            let (state, event) =
                run(result, deployed, &json!([rule(&["team@example.net"], &[on])]));
            match &messages(&state, &event, &context)[..] {
                [] => {}
                [mail] => {
                    assert_eq!(
                        mail.subject,
                        format!("[orders] {fact}: main #214 (3m 12s)"),
                        "{case}"
                    );
                    held.push(on);
                }
                more => panic!("{case}: {} mails", more.len()),
            }
        }
        assert_eq!(held, expected, "{case}");
    }
}

#[test]
fn only_the_end_of_a_run_mails() {
    let notify = json!([rule(&["team@example.net"], &["always"])]);
    let story = || Story::new("main", &[run_stage("compile")], &notify);
    let (state, _) =
        story().ran("compile", StageResult::Failed, Some(2), 1).end(RunResult::Failed, 1);
    let started = EventKind::RunStarted { by: "here".into() };
    let (_, mut event) = story().end(RunResult::Failed, 1);
    event.kind = started;
    assert_eq!(messages(&state, &event, &context()), []);
}

#[test]
fn a_run_without_rules_mails_nobody() {
    let (state, event) = run(RunResult::Failed, None, &json!([]));
    assert_eq!(messages(&state, &event, &context()), []);
}

#[test]
fn rules_with_the_same_recipients_are_one_mail_and_nobody_gets_two() {
    let notify = json!([
        rule(&["b@example.net", "a@example.net"], &["failed"]),
        rule(&["a@example.net", "b@example.net"], &["always"]),
        rule(&["b@example.net", "c@example.net"], &["broken"]),
        rule(&["d@example.net"], &["fixed"]),
    ]);
    let (state, event) = run(RunResult::Failed, None, &notify);
    let context = MailContext { previous: Some(RunResult::Passed), ..context() };
    let mails = messages(&state, &event, &context);
    let audiences: Vec<_> = mails.iter().map(to).collect();
    assert_eq!(audiences, [vec!["a@example.net", "b@example.net"], vec!["c@example.net"]]);
    let seq = event.seq;
    let ids: Vec<_> = mails.iter().map(|mail| mail.message_id.clone()).collect();
    let instance = &context.instance;
    assert_eq!(ids, [format!("<{RUN}.{seq}@{instance}>"), format!("<{RUN}.{seq}.2@{instance}>")]);
    assert_eq!(mails[0].references, mails[1].references);
    assert_ne!(mails[0].dedupe_key, mails[1].dedupe_key);
    assert_eq!(messages(&state, &event, &context), mails, "the same again, ids and all");
}

#[test]
fn the_committer_is_who_the_forge_says_and_otherwise_the_others_hear_of_it_and_why() {
    let notify = json!([rule(&["committer", "team@example.net"], &["always"])]);
    let (state, event) = run(RunResult::Passed, None, &notify);

    let known = MailContext { committer: Some("jdoe@example.net".into()), ..context() };
    let mails = messages(&state, &event, &known);
    assert_eq!(to(&mails[0]), ["jdoe@example.net", "team@example.net"]);
    assert_eq!(notes(&state, &known), Vec::<String>::new());

    let mails = messages(&state, &event, &context());
    assert_eq!(to(&mails[0]), ["team@example.net"]);
    let note = "`committer` got no mail: without a forge that names the pusher there is no address \
                to trust";
    assert_eq!(notes(&state, &context()), [note]);
    assert!(mails[0].text.contains(&format!("Note: {note}.")), "{}", mails[0].text);

    let alone = json!([rule(&["committer"], &["always"])]);
    let (state, event) = run(RunResult::Passed, None, &alone);
    assert_eq!(messages(&state, &event, &context()), []);
}

#[test]
fn what_is_no_address_gets_no_mail_and_is_noted() {
    let hostile = "a@b>\r\nRCPT TO:<x@y>";
    let notify = json!([rule(&[hostile, "team@example.net"], &["always"])]);
    let (state, event) = run(RunResult::Passed, None, &notify);
    let mails = messages(&state, &event, &context());
    assert_eq!(to(&mails[0]), ["team@example.net"]);
    assert_eq!(notes(&state, &context()), [r"`a@b>\r\nRCPT TO:<x@y>` is not a mail address"]);
}

#[test]
fn mails_of_a_branch_hang_together_and_other_branches_apart() {
    let notify = json!([rule(&["team@example.net"], &["always"])]);
    let thread = |branch: &str, project: &str| {
        let (state, event) =
            Story::new(branch, &[run_stage("compile")], &notify).end(RunResult::Passed, 1);
        let context = MailContext { project: project.into(), ..context() };
        messages(&state, &event, &context)[0].references.clone().expect("a thread")
    };
    assert_eq!(thread("main", "orders"), thread("main", "orders"));
    assert_ne!(thread("main", "orders"), thread("feature", "orders"));
    assert_ne!(thread("main", "orders"), thread("main", "other"));
    let id = thread("a\r\nBcc: x@y \u{202e}", "orders");
    let inner = id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).expect("brackets");
    assert!(
        inner.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-@".contains(&byte)),
        "{id}"
    );
}

#[test]
fn a_deployment_that_only_its_record_knows_counts() {
    let notify = json!([rule(&["team@example.net"], &["rolled-back"])]);
    let (state, event) = run(RunResult::Failed, None, &notify);
    let mut context = context();
    assert_eq!(messages(&state, &event, &context), []);
    context.deployments = vec![rolled_back()];
    assert_eq!(
        messages(&state, &event, &context)[0].subject,
        "[orders] rolled back: main #214 (3m 12s)"
    );
}

fn rolled_back() -> Deployment {
    let unit = |slot: u32| Unit {
        name: format!("orders-test-{slot}"),
        version: "main-89abcdef".into(),
        state: "running".into(),
    };
    Deployment {
        stage: "deploy".into(),
        environment: "test".into(),
        version: "main-01234567".into(),
        state: DeploymentState::RolledBack,
        reason: Some("orders-test-0 unhealthy: GET /health answered 500, 3 times".into()),
        units: vec![unit(0), unit(1)],
    }
}

/// Compares a mail with `expected/NAME.{txt,html}`.
fn check(name: &str, mail: &Message, text: &str, html: &str) {
    let told = format!("Subject: {}\n\n{}", mail.subject, mail.text);
    assert_eq!(told, text, "the text of {name} differs; it is now:\n{told}");
    assert_eq!(mail.html, html, "the html of {name} differs; it is now:\n{}", mail.html);
}

macro_rules! check {
    ($name:literal, $mail:expr) => {
        check(
            $name,
            $mail,
            include_str!(concat!("expected/", $name, ".txt")),
            include_str!(concat!("expected/", $name, ".html")),
        )
    };
}

#[test]
fn a_mail_of_a_broken_branch_tells_what_failed_with_its_last_lines() {
    let notify = json!([rule(&["committer", "team@example.net"], &["broken", "fixed"])]);
    let stages = [run_stage("compile"), run_stage("unit-test"), run_stage("package")];
    let blocked = EventKind::StageBlocked {
        stage: "package".into(),
        reason: "needs `unit-test`, which failed".into(),
    };
    let (state, event) = Story::new("main", &stages, &notify)
        .ran("compile", StageResult::Passed, None, 62)
        .ran("unit-test", StageResult::Failed, Some(2), 123)
        .with(blocked)
        .end(RunResult::Failed, 192);
    let mut context = MailContext { previous: Some(RunResult::Passed), ..context() };
    let lines =
        (1..=40).map(|number| format!("\u{1b}[32mok {number}\u{1b}[0m - x < {number} && y\r"));
    context.logs.insert("unit-test".into(), lines.collect());
    context.commits = vec![Commit {
        sha: "0123456789abcdef0123456789abcdef01234567".into(),
        author: "J. Doe <script>".into(),
        subject: "orders: count & sort".into(),
    }];
    check!("broken", &messages(&state, &event, &context)[0]);
}

#[test]
fn a_mail_of_a_rollback_tells_what_is_where() {
    let notify = json!([rule(&["team@example.net"], &["always"])]);
    let reason = "rolled-back: orders-test-0 unhealthy: GET /health answered 500, 3 times";
    let (state, event) =
        Story::new("main", &[run_stage("compile"), deploy_stage("deploy")], &notify)
            .ran("compile", StageResult::Passed, None, 12)
            .deployed("deploy", StageResult::Failed, "rolled-back", reason)
            .end(RunResult::Failed, 41);
    let mut context = context();
    context.deployments = vec![rolled_back()];
    check!("rolled-back", &messages(&state, &event, &context)[0]);
}

#[test]
fn a_mail_of_a_passed_run_is_short() {
    let notify = json!([rule(&["team@example.net"], &["always"])]);
    let (state, event) = Story::new("main", &[run_stage("compile")], &notify)
        .ran("compile", StageResult::Passed, None, 12)
        .end(RunResult::Passed, 12);
    let context = MailContext { run_url: None, ..context() };
    check!("passed", &messages(&state, &event, &context)[0]);
}

#[test]
fn a_mail_of_a_cancelled_run_says_why() {
    let notify = json!([rule(&["team@example.net"], &["always"])]);
    let cancel = EventKind::CancelRequested { reason: "a newer commit".into(), by: "jdoe".into() };
    let (state, event) = Story::new("main", &[run_stage("compile")], &notify)
        .with(cancel)
        .ran("compile", StageResult::Cancelled, None, 1)
        .end(RunResult::Cancelled, 2);
    let mail = &messages(&state, &event, &context())[0];
    assert_eq!(mail.subject, "[orders] cancelled: main #214 (2s)");
    assert!(mail.text.contains("\nCancelled: a newer commit.\n"), "{}", mail.text);
}

#[test]
fn a_mail_of_ten_thousand_failures_is_still_a_mail() {
    let notify = json!([rule(&["team@example.net"], &["always"])]);
    let names: Vec<String> = (0..10_000).map(|number| format!("stage-{number}")).collect();
    let stages: Vec<Value> = names.iter().map(|name| run_stage(name)).collect();
    let mut story = Story::new("main", &stages, &notify);
    let mut context = context();
    for name in &names {
        story = story.ran(name, StageResult::Failed, Some(1), 1);
    }
    for name in &names[..20] {
        context.logs.insert(name.clone(), vec!["x".repeat(10_000); 100]);
    }
    let (state, event) = story.end(RunResult::Failed, 1);
    let mail = &messages(&state, &event, &context)[0];
    assert!(mail.text.len() < 400_000, "{} bytes", mail.text.len());
    assert!(mail.html.len() < 400_000, "{} bytes", mail.html.len());
    assert!(mail.text.contains("\n  and 9900 more\n"));
    assert!(mail.text.contains("\nand 9990 more stages that did not end well\n"));
}

#[test]
fn foreign_text_stays_in_its_place() {
    let hostile = "x\r\nBcc: thief@example.net\r\n\r\n<script>alert(1)</script>{{run}}\u{202e}";
    let notify = json!([rule(&["team@example.net"], &["always"])]);
    let (state, event) = Story::new(hostile, &[run_stage(hostile)], &notify)
        .ran(hostile, StageResult::Failed, Some(1), 1)
        .end(RunResult::Failed, 1);
    let mut context = MailContext { project: hostile.into(), ..context() };
    context.logs.insert(hostile.into(), vec![hostile.into(), ".".into()]);
    context.commits =
        vec![Commit { sha: hostile.into(), author: hostile.into(), subject: hostile.into() }];
    context.deployments = vec![Deployment {
        environment: hostile.into(),
        reason: Some(hostile.into()),
        ..rolled_back()
    }];
    let mail = &messages(&state, &event, &context)[0];
    assert!(!mail.subject.contains(['\r', '\n', '\u{202e}']), "{:?}", mail.subject);
    assert!(mail.subject.chars().count() < 400, "{}", mail.subject.len());
    for part in [&mail.text, &mail.html] {
        assert!(!part.contains(['\r', '\u{202e}']), "{part}");
        assert!(!part.lines().any(|line| line.trim_start().starts_with("Bcc:")), "{part}");
        assert!(part.contains("{{run}}"), "a template in foreign text is text: {part}");
    }
    assert!(!mail.html.contains("<script"), "{}", mail.html);

    // Of a hundred thousand characters a subject shows what fits.
    let long = "b".repeat(100_000);
    let (state, event) =
        Story::new(&long, &[run_stage("compile")], &notify).end(RunResult::Passed, 1);
    let mail = &messages(&state, &event, &context)[0];
    assert!(mail.subject.chars().count() < 400, "{}", mail.subject.len());
}

#[test]
fn a_message_survives_the_outbox() {
    let notify = json!([rule(&["team@example.net"], &["always"])]);
    let (state, event) = run(RunResult::Passed, None, &notify);
    let mail = &messages(&state, &event, &context())[0];
    let payload = serde_json::to_value(mail).expect("a payload");
    assert_eq!(payload["to"], json!(["team@example.net"]));
    assert_eq!(&serde_json::from_value::<Message>(payload).expect("a message"), mail);
}
