//! `make demo`: the main job of Shipline, for real, before your eyes.
//!
//! A registry, a mail server, the proxy and the server are started; a commit of
//! a small C service is noticed, compiled, tested, built into an image, pushed
//! and rolled out; a second one replaces it under load; a third never gets
//! healthy and is taken back; then the first release is restored by hand. Exits
//! with 0 only if every step did what it should and no request was lost.

#[path = "../harness/mod.rs"]
mod harness;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness::git::Repository;
use harness::lab::{Lab, repository_root};
use harness::load::Load;
use harness::mail::MailServer;
use harness::registry::ImageRegistry;
use harness::server::{Proxy, Server, ServerParts};
use serde_json::Value;

const PROJECT: &str = "hello";
const ENVIRONMENT: &str = "demo";
const REQUESTS_PER_SECOND: u32 = 100;
const RUN_LIMIT: Duration = Duration::from_secs(240);

fn main() {
    let folder = folder();
    clean(&folder);
    if std::env::args().any(|argument| argument == "--clean") {
        println!("removed {}", folder.display());
        return;
    }
    let began = Instant::now();
    let lab = Lab::at(&folder);
    let demo = Demo::start(&lab);
    let report = demo.play();
    demo.leave_running();
    println!("\nall of it held, in {}", seconds(began.elapsed()));
    report.print();
    println!("\nlook further:");
    println!(
        "  curl http://{}/                      the service, behind the proxy",
        report.service
    );
    println!(
        "  export SHIPLINE_SERVER={} SHIPLINE_TOKEN=$(cat {})",
        report.server,
        report.token.display()
    );
    println!("  target/debug/shipline runs");
    println!("  target/debug/shipline status {ENVIRONMENT} --project {PROJECT}");
    println!("  {}   the mails", folder.join("mail/mail").display());
    println!("  make demo-clean                        removes all of it");
}

/// In the build directory: it is ours, and `git clean` knows it.
fn folder() -> PathBuf {
    let own = std::env::current_exe().expect("a process knows its own file");
    let target = own.ancestors().nth(3).expect("an example lies in target/PROFILE/examples");
    target.join("demo")
}

/// Ends what an earlier demo left running and removes what it made.
fn clean(folder: &Path) {
    if !folder.exists() {
        return;
    }
    harness::process::end_recorded(&folder.join("pids"));
    let data = folder.join("server/data");
    if data.exists() {
        let lab = Lab::at(folder);
        let mut command = lab.shipline();
        command.args(["clean", "--deployed", "--data"]).arg(&data);
        harness::lab::Ran::of(&mut command).expect(0);
    }
    std::fs::remove_dir_all(folder).expect("the folder of the demo can be removed");
}

struct Demo<'a> {
    lab: &'a Lab,
    registry: ImageRegistry,
    mail: MailServer,
    proxy: Proxy,
    server: Server,
    repository: Repository,
}

struct Report {
    service: String,
    server: String,
    token: PathBuf,
    runs: Vec<(String, Value)>,
    requests: Vec<(String, u64, u64)>,
    slowest: Duration,
    rollback: Duration,
    subjects: Vec<String>,
}

impl<'a> Demo<'a> {
    fn start(lab: &'a Lab) -> Self {
        step(
            "starting a registry (TLS, password), a mail server (STARTTLS, AUTH), the proxy and the server",
        );
        let registry = ImageRegistry::start(&lab.folder("registry"));
        let mail = MailServer::start(&lab.folder("mail"));
        let proxy = Proxy::start(lab);
        let server = Server::start(
            lab,
            &ServerParts {
                registry: Some(&registry),
                mail: Some(&mail),
                proxy: Some(&proxy),
                project: PROJECT,
                environment: ENVIRONMENT,
            },
        );
        println!(
            "   registry {}   mail 127.0.0.1:{}   proxy http://{}   server {}",
            registry.host(),
            mail.port,
            proxy.address,
            server.url()
        );
        let repository = Repository::create(&lab.folder("git"));
        Self { lab, registry, mail, proxy, server, repository }
    }

    fn play(&self) -> Report {
        step("a repository with a small HTTP service in C and a pipeline of twelve lines");
        self.repository.copy(&repository_root().join("tests/demo/service"));
        self.repository.write(".shipline.yml", &self.pipeline());
        self.lab.lock(&self.repository.tree);
        println!("{}", indented(&self.pipeline()));
        let bare = self.repository.bare.display().to_string();
        self.server
            .client(self.lab, &["project", "create", PROJECT, "--git", &bare, "--poll", "1s"])
            .expect(0);

        step("first commit: the server notices it by polling and deploys three replicas");
        let first = self.repository.commit_and_push("hello 1.0.0");
        let first_run = self.finish("1.0.0", &first, "passed");
        self.assert_version("1.0.0");

        step(&format!(
            "load from now on: {REQUESTS_PER_SECOND} requests a second, no retries; second commit"
        ));
        let load = Load::start(self.proxy.address, REQUESTS_PER_SECOND, Duration::from_secs(900));
        self.version("1.0.0", "2.0.0");
        let second = self.repository.commit_and_push("hello 2.0.0");
        let second_run = self.finish("2.0.0", &second, "passed");
        self.assert_version("2.0.0");
        let mut requests = vec![self.no_request_lost("rollout of 2.0.0", &load, 0)];

        step("third commit: it compiles, its tests pass, and it never gets healthy");
        self.version("2.0.0", "3.0.0");
        self.repository.replace("src/version.h", "#define HEALTHY 1", "#define HEALTHY 0");
        let third = self.repository.commit_and_push("hello 3.0.0, which is never healthy");
        let third_run = self.finish("3.0.0", &third, "failed");
        self.assert_version("2.0.0");
        let sent = load.so_far().sent;
        requests.push(self.no_request_lost(
            "bad release, rolled back by itself",
            &load,
            requests[0].1,
        ));
        let mail = self.mail.wait_for_subject("rolled back", Duration::from_secs(30));
        println!("   mail: {}", mail.subject());

        step("shipline rollback to the first release");
        let version = format!("main-{}", &first[..8]);
        let began = Instant::now();
        let ran = self
            .server
            .client(
                self.lab,
                &["rollback", ENVIRONMENT, &version, "--project", PROJECT, "--reason", "demo"],
            )
            .expect(0);
        let rollback = began.elapsed();
        println!("{}", indented(&ran.stdout));
        self.assert_version("1.0.0");
        requests.push(self.no_request_lost("rollback by hand", &load, sent));
        let total = load.stop();
        assert_eq!(total.failed, 0, "requests failed: {:?}", total.failures);

        Report {
            service: self.proxy.address.to_string(),
            server: self.server.url(),
            token: self.server.data.join("admin.token"),
            runs: vec![
                ("1.0.0".to_owned(), first_run),
                ("2.0.0".to_owned(), second_run),
                ("3.0.0".to_owned(), third_run),
            ],
            requests,
            slowest: total.slowest,
            rollback,
            subjects: self.mail.mails().iter().map(harness::mail::Mail::subject).collect(),
        }
    }

    fn pipeline(&self) -> String {
        format!(
            "template: c-service@1\nwith:\n  image: {host}/team/hello\n  registry: harbor\n  environment: {ENVIRONMENT}\n  \
             replicas: 3\n  port: 8080\n  health-path: /health\nstages:\n  deploy:\n    \
             deploy: {{ health: {{ deadline: 8s }}, strategy: {{ drain: 5s, bake: 1s }} }}\n\
             notify: {{ mail: {{ to: [team@example.net], on: [always] }} }}\n",
            host = self.registry.host()
        )
    }

    fn version(&self, from: &str, to: &str) {
        self.repository.replace("src/version.h", &format!("\"{from}\""), &format!("\"{to}\""));
    }

    /// Waits for the run of a commit, shows its stages, and demands its result.
    fn finish(&self, version: &str, sha: &str, result: &str) -> Value {
        let row = self.server.wait_for_run(self.lab, sha, RUN_LIMIT);
        let id = row["run"].as_str().expect("a run has an id").to_owned();
        let run = self.server.client(self.lab, &["runs", &id, "--format", "json"]).expect(0).json();
        for stage in run["stages"].as_array().expect("a run has stages") {
            println!(
                "   {:<12} {:<10} {}",
                stage["name"].as_str().unwrap_or_default(),
                stage["result"].as_str().unwrap_or_default(),
                seconds(Duration::from_millis(stage["duration_ms"].as_u64().unwrap_or_default()))
            );
        }
        assert_eq!(row["result"], result, "the run of {version}: {run:#}\n{}", self.server.log());
        run
    }

    fn assert_version(&self, version: &str) {
        let output = std::process::Command::new("curl")
            .args([
                "--silent",
                "--fail",
                "--max-time",
                "5",
                &format!("http://{}/", self.proxy.address),
            ])
            .output()
            .expect("curl can be started");
        let answer: Value =
            serde_json::from_slice(&output.stdout).expect("the service answers with JSON");
        assert_eq!(answer["version"], version, "the service answers {answer}");
        println!("   the service answers {answer}");
    }

    fn no_request_lost(&self, what: &str, load: &Load, before: u64) -> (String, u64, u64) {
        let report = load.so_far();
        println!(
            "   {} requests so far, {} failed {:?}",
            report.sent, report.failed, report.versions
        );
        assert_eq!(
            report.failed,
            0,
            "{what}: requests failed: {:?}\n{}",
            report.failures,
            self.proxy.log()
        );
        (what.to_owned(), report.sent - before, report.failed)
    }

    /// Keeps the services for a look; their pids are in a file for `--clean`.
    fn leave_running(self) {
        let pids = self.lab.path().join("pids");
        self.registry.leave(&pids);
        self.mail.leave(&pids);
        self.proxy.leave(&pids);
        self.server.leave(&pids);
    }
}

impl Report {
    fn print(&self) {
        println!("\nstages, in seconds");
        let names: Vec<&str> = self.runs[0].1["stages"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|stage| stage["name"].as_str())
            .collect();
        println!(
            "  {:<10} {}",
            "release",
            names.iter().map(|name| format!("{name:>10}")).collect::<String>()
        );
        for (version, run) in &self.runs {
            let cells: String = names
                .iter()
                .map(|name| {
                    let stage = run["stages"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .find(|stage| stage["name"] == *name);
                    let duration =
                        stage.and_then(|stage| stage["duration_ms"].as_u64()).unwrap_or_default();
                    format!("{:>10}", seconds(Duration::from_millis(duration)))
                })
                .collect();
            println!("  {version:<10} {cells}   {}", run["result"].as_str().unwrap_or_default());
        }
        println!("\nrequests");
        for (what, sent, failed) in &self.requests {
            println!("  {what:<36} {sent:>7} sent {failed:>3} failed");
        }
        println!(
            "  slowest answer {}, rollback by hand {}",
            seconds(self.slowest),
            seconds(self.rollback)
        );
        println!("\nmails");
        for subject in &self.subjects {
            println!("  {subject}");
        }
    }
}

fn step(what: &str) {
    println!("\n== {what}");
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("   {line}\n")).collect::<String>().trim_end().to_owned()
}

fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}
