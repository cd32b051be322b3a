//! The whole way, on a server: a commit is noticed, built, tested, pushed, rolled
//! out and reported by mail.

use std::time::Duration;

use crate::harness::git::Repository;
use crate::harness::lab::{Lab, docker, repository_root};
use crate::harness::mail::MailServer;
use crate::harness::registry::ImageRegistry;
use crate::harness::server::{Proxy, Server, ServerParts};

#[test]
fn a_commit_becomes_a_running_release() {
    let lab = Lab::new();
    let images = ImageRegistry::start(&lab.folder("registry"));
    let mail = MailServer::start(&lab.folder("mail"));
    let proxy = Proxy::start(&lab);
    let server = Server::start(
        &lab,
        &ServerParts {
            registry: Some(&images),
            mail: Some(&mail),
            proxy: Some(&proxy),
            project: "hello",
            environment: "test",
        },
    );
    let repository = Repository::create(&lab.folder("git"));
    repository.copy(&repository_root().join("tests/demo/service"));
    repository.write(
        ".shipline.yml",
        &format!(
            "template: c-service@1\nwith:\n  image: {}/team/hello\n  registry: harbor\n  environment: test\n  replicas: 2\n  bake: 1s\n  \
             port: 8080\n  health-path: /health\nnotify: {{ mail: {{ to: [team@example.net], on: [always] }} }}\n",
            images.host()
        ),
    );
    lab.lock(&repository.tree);
    let bare = repository.bare.display().to_string();
    server.client(&lab, &["project", "create", "hello", "--git", &bare, "--poll", "1s"]).expect(0);
    let sha = repository.commit_and_push("first");
    let row = server.wait_for_run(&lab, &sha, Duration::from_secs(240));
    assert_eq!(row["result"], "passed", "{row:#}\n{}", server.log());
    assert_eq!(
        (&row["event"], &row["branch"], &row["project"]),
        (&"push".into(), &"main".into(), &"hello".into())
    );

    let id = row["run"].as_str().expect("a run has an id");
    let run = server.client(&lab, &["runs", id, "--format", "json"]).expect(0).json();
    let stages: Vec<(&str, &str)> = run["stages"]
        .as_array()
        .expect("stages")
        .iter()
        .filter_map(|stage| Some((stage["name"].as_str()?, stage["result"].as_str()?)))
        .collect();
    let names = ["checkout", "compile", "unit-test", "package", "image", "push", "deploy"];
    assert_eq!(stages, names.map(|name| (name, "passed")));

    let tests = server.client(&lab, &["logs", id, "unit-test"]).expect(0).stdout;
    assert!(tests.contains("make test"), "{tests}");

    let status = server
        .client(&lab, &["status", "test", "--project", "hello", "--format", "json"])
        .expect(0)
        .json();
    let units = status["units"].as_array().expect("units");
    assert_eq!(units.iter().filter(|unit| unit["admitted"] == true).count(), 2, "{status:#}");
    assert!(images.get("/v2/team/hello/tags/list").contains(&sha[..8]));

    let mail = mail.wait_for_subject("[hello]", Duration::from_secs(30));
    assert!(mail.subject().contains("main #1"), "{}", mail.subject());
    assert!(
        mail.0.contains("team@example.net") && mail.0.contains("Auto-Submitted: auto-generated"),
        "{}",
        mail.0
    );
    assert!(!mail.0.contains(crate::harness::registry::PASSWORD));

    // The container's configuration shows nothing of what a stage was given.
    assert!(!docker(&["ps", "--all", "--format", "{{.Command}}"]).contains("make test"));
}
