//! What a server does when something around it, or itself, dies.

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::harness::git::Repository;
use crate::harness::lab::{Lab, docker, objects};
use crate::harness::mail::MailServer;
use crate::harness::process::wait_for;
use crate::harness::server::{Server, ServerParts};

const QUICK: &str = "image: debian:12\nstages:\n  quick: 'true'\nnotify: { mail: { to: [team@example.net], on: [always] } }\n";

fn parts<'a>(mail: Option<&'a MailServer>) -> ServerParts<'a> {
    ServerParts { registry: None, mail, proxy: None, project: "app", environment: "test" }
}

fn project(lab: &Lab, server: &Server, pipeline: &str, more: &[&str]) -> Repository {
    let repository = Repository::create(&lab.folder("git"));
    repository.write(".shipline.yml", pipeline);
    let bare = repository.bare.display().to_string();
    let mut arguments = vec!["project", "create", "app", "--git", &bare];
    arguments.extend(more);
    server.client(lab, &arguments).expect(0);
    repository
}

#[test]
fn a_mail_waits_in_the_outbox_while_the_mail_server_is_down() {
    let lab = Lab::new();
    let mut mail = MailServer::prepare(&lab.folder("mail"));
    let server = Server::start(&lab, &parts(Some(&mail)));
    let repository = project(&lab, &server, QUICK, &["--poll", "1s"]);
    let sha = repository.commit_and_push("first");
    let row = server.wait_for_run(&lab, &sha, Duration::from_secs(60));
    assert_eq!(row["result"], "passed", "no run waits for a mail\n{}", server.log());
    assert!(mail.mails().is_empty());
    mail.up();
    let mail = mail.wait_for_subject("main #1", Duration::from_secs(90));
    assert!(mail.0.contains("Message-ID:"), "{}", mail.0);
}

const KILLED: &str = r#"image: debian:12
stages:
  long:
    needs: []
    timeout: 1m
    run:
      - echo begun; cat /proc/sys/kernel/random/uuid >made
      - sleep 12
      - cat made; head -c 300000 /dev/urandom | base64 | tee sent | wc -c
      - cat sent; sha256sum <sent
  bad:
    needs: []
    run: [sleep 4; echo late, exit 7]
    allow-failure: [7]
  slow:
    needs: []
    timeout: 10s
    allow-failure: true
    run: [sleep 60]
  after:
    needs: [long]
    run: [sha256sum <sent; cat made]
"#;

#[test]
fn a_server_killed_during_a_run_goes_on_with_it_and_runs_nothing_twice() {
    let lab = Lab::new();
    let mut server = Server::start(&lab, &parts(None));
    let repository = project(&lab, &server, KILLED, &["--poll", "1s"]);
    let sha = repository.commit_and_push("first");
    let id = wait_for("the stages to run", Duration::from_secs(60), || {
        let rows = server.client(&lab, &["runs", "--format", "json"]).expect(0).json();
        let id = rows.as_array()?.iter().find(|row| row["sha"] == sha.as_str())?["short"]
            .as_str()?
            .to_owned();
        let running = docker(&["ps", "--format", "{{.Names}}"]);
        let all = ["long", "bad", "slow"];
        all.iter().all(|name| running.contains(&format!("shipline-{id}-{name}"))).then_some(id)
    });
    server.kill();
    server.up(&lab);
    std::thread::sleep(Duration::from_secs(1));
    server.kill();
    // Meanwhile a stage ends, and nobody is there.
    std::thread::sleep(Duration::from_secs(4));
    server.up(&lab);
    let row = server.wait_for_run(&lab, &sha, Duration::from_secs(90));
    assert_eq!(row["result"], "warning", "{row:#}\n{}", server.log());
    let run = server.client(&lab, &["runs", &id, "--format", "json"]).expect(0).json();
    let stages = run["stages"].as_array().expect("stages");
    for stage in stages {
        assert_eq!(stage["attempts"], 1, "nothing ran twice: {stage:#}");
        let reason = stage["reason"].as_str().unwrap_or_default();
        match stage["name"].as_str().expect("a name") {
            "bad" => assert_eq!(reason, "exit 7"),
            "slow" => assert!(reason.starts_with("timed out after 10s"), "{stage:#}"),
            _ => assert_eq!(stage["result"], "passed", "{stage:#}"),
        }
    }
    let log = |stage: &str| server.client(&lab, &["logs", &id, stage]).expect(0).stdout;
    let long = log("long");
    assert_eq!(long.matches("begun\n").count(), 1, "{}", &long[..200]);
    let sum = long.lines().last().expect("a sum");
    let after = log("after");
    assert!(after.contains(sum), "{sum} is not in {after}");
    assert!(log("bad").contains("late\n"));
    assert!(!docker(&["ps", "--all", "--format", "{{.Names}}"]).contains(&id));
    assert!(!docker(&["volume", "ls", "--format", "{{.Name}}"]).contains(&id));
    // The server goes on: the next commit runs.
    repository.write(".shipline.yml", "image: debian:12\nstages:\n  quick: 'true'\n");
    let next = repository.commit_and_push("second");
    assert_eq!(server.wait_for_run(&lab, &next, Duration::from_secs(60))["result"], "passed");
}

#[test]
fn a_signed_webhook_starts_a_run_and_an_unsigned_one_does_not() {
    let lab = Lab::new();
    let server = Server::start(&lab, &parts(None));
    let secret = lab.path().join("hook-secret");
    std::fs::write(&secret, "hooksecret").expect("a file can be written");
    let repository = project(
        &lab,
        &server,
        QUICK,
        &["--poll", "1h", "--hook-secret-file", &secret.display().to_string()],
    );
    let sha = repository.commit_and_push("first");
    let body = format!("{{\"ref\":\"refs/heads/main\",\"sha\":\"{sha}\"}}");
    let now =
        SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs();

    assert_eq!(deliver(&server, &body, now, "wrong"), "401");
    assert_eq!(
        deliver(&server, &body, now - 3600, &signature("hooksecret", now - 3600, &body)),
        "401"
    );
    let rows = server.client(&lab, &["runs", "--format", "json"]).expect(0).json();
    assert_eq!(rows, serde_json::json!([]));

    let signed = signature("hooksecret", now, &body);
    assert_eq!(&deliver(&server, &body, now, &signed)[..2], "20");
    let row = server.wait_for_run(&lab, &sha, Duration::from_secs(60));
    assert_eq!(row["result"], "passed", "{}", server.log());

    // The same delivery again is known and starts nothing.
    assert_eq!(deliver(&server, &body, now, &signed), "200");
    let rows = server.client(&lab, &["runs", "--format", "json"]).expect(0).json();
    assert_eq!(rows.as_array().map(Vec::len), Some(1), "{rows:#}");
}

#[test]
fn every_route_needs_the_token() {
    let lab = Lab::new();
    let server = Server::start(&lab, &parts(None));
    for path in ["/api/v1/projects", "/api/v1/runs", "/api/v1/triggers", "/api/v1/outbox"] {
        assert_eq!(status(&format!("{}{path}", server.url()), &[]), "401", "{path}");
    }
    assert_eq!(status(&format!("{}/healthz", server.url()), &[]), "200");
    let token = std::fs::metadata(server.data.join("admin.token")).expect("the token is a file");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&token.permissions()) & 0o777, 0o600);
}

#[test]
fn a_broken_pipeline_file_is_recorded_with_its_diagnostics_and_runs_nothing() {
    let lab = Lab::new();
    let server = Server::start(&lab, &parts(None));
    let repository = project(
        &lab,
        &server,
        "image: debian:12\nstages:\n  a: { neds: [b], run: x }\n",
        &["--poll", "1s"],
    );
    repository.commit_and_push("first");
    let text = wait_for("the record of the trigger", Duration::from_secs(30), || {
        let output = Command::new("curl")
            .args(["--silent", "--header", &format!("Authorization: Bearer {}", server.token())])
            .arg(format!("{}/api/v1/triggers?project=app", server.url()))
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.contains("E010").then_some(text)
    });
    assert!(text.contains("did you mean `needs`?"), "{text}");
    let rows = server.client(&lab, &["runs", "--format", "json"]).expect(0).json();
    assert_eq!(rows, serde_json::json!([]));
}

#[test]
fn trigger_runs_a_branch_and_waits_for_its_verdict() {
    let lab = Lab::new();
    let server = Server::start(&lab, &parts(None));
    let repository =
        project(&lab, &server, "image: debian:12\nstages:\n  no: exit 3\n", &["--poll", "1h"]);
    repository.commit_and_push("first");
    let ran = server.client(&lab, &["trigger", "app", "--ref", "main", "--wait"]).expect(1);
    assert!(ran.stdout.contains("failed"), "{}{}", ran.stdout, ran.stderr);
    server.client(&lab, &["trigger", "app", "--ref", "no-such-branch"]).expect(2);
    server.client(&lab, &["trigger", "nobody"]).expect(2);
}

#[test]
fn logs_follow_waits_for_stages_that_have_not_begun() {
    let lab = Lab::new();
    let server = Server::start(&lab, &parts(None));
    let pipeline = "image: debian:12\nstages:\n  first: sleep 1\n  last: echo the end\n";
    let repository = project(&lab, &server, pipeline, &["--poll", "1h"]);
    repository.commit_and_push("first");
    let run = server.client(&lab, &["trigger", "app", "--format", "json"]).expect(0).json();
    let run = run["run"].as_str().expect("a run has an id");
    let followed = server.client(&lab, &["logs", "-f", run]).expect(0).stdout;
    assert!(followed.ends_with("== last\n$ echo the end\nthe end\n"), "{followed}");
}

#[test]
fn a_stopped_server_is_named_by_its_clients() {
    let lab = Lab::new();
    let mut command = lab.shipline();
    command.current_dir(lab.path()).args([
        "runs",
        "--server",
        "http://127.0.0.1:1",
        "--token",
        "x",
    ]);
    let ran = crate::harness::lab::Ran::of(&mut command).expect(3);
    assert!(ran.stderr.contains("http://127.0.0.1:1"), "{}", ran.stderr);
    assert_eq!(objects("no-such-instance"), Vec::<String>::new());
}

fn signature(secret: &str, timestamp: u64, body: &str) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(format!("{timestamp}.{body}").as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

fn deliver(server: &Server, body: &str, timestamp: u64, signature: &str) -> String {
    status(
        &format!("{}/hooks/generic/app", server.url()),
        &[
            "--header",
            "Content-Type: application/json",
            "--header",
            &format!("X-Shipline-Timestamp: {timestamp}"),
            "--header",
            &format!("X-Shipline-Signature: sha256={signature}"),
            "--data-binary",
            body,
        ],
    )
}

fn status(url: &str, arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            "--max-time",
            "10",
        ])
        .args(arguments)
        .arg(url)
        .output()
        .expect("curl can be started");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
