//! `shipline init`: a repository without a pipeline has one that holds.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::git::Repository;
use crate::harness::lab::{Lab, Ran, repository_root};

/// The small projects of the templates, and a few that are none of theirs.
fn projects() -> Vec<(String, Vec<(&'static str, &'static str)>)> {
    let mut projects: Vec<_> = std::fs::read_dir(repository_root().join("tests/templates"))
        .expect("the projects are there")
        .map(|entry| entry.expect("read").file_name().into_string().expect("a name"))
        .map(|name| (name, Vec::new()))
        .collect();
    projects.sort();
    projects.push((
        "node-service".to_owned(),
        vec![("package.json", "{\"scripts\":{\"start\":\"node app.js\"}}"), ("app.js", "")],
    ));
    projects.push((
        "maven-service".to_owned(),
        vec![("pom.xml", "<project/>"), ("web/package.json", "{}")],
    ));
    projects
}

fn filled(lab: &Lab, name: &str, files: &[(&str, &str)]) -> Repository {
    let folder = lab.folder(&format!("git-{name}-{}", files.len()));
    let repository = Repository::create(&folder);
    if files.is_empty() {
        repository.copy(&repository_root().join("tests/templates").join(name));
        std::fs::remove_file(repository.tree.join(".shipline.yml")).expect("the project has one");
    }
    for (path, text) in files {
        repository.write(path, text);
    }
    repository.commit("without a pipeline");
    repository
}

#[test]
fn init_check_and_plan_succeed_on_repositories_of_every_kind() {
    let lab = Lab::new();
    let projects = projects();
    assert!(projects.len() >= 12, "{projects:?}");
    for (name, files) in projects {
        let repository = filled(&lab, &name, &files);
        let ran = lab.run(&repository.tree, &["init", "--yes"]).expect(0);
        assert!(ran.stdout.contains(&format!("so this is for {name}@1")), "{name}: {}", ran.stdout);
        let text = std::fs::read_to_string(repository.tree.join(".shipline.yml")).expect("written");
        assert!(
            text.starts_with("# yaml-language-server: $schema=.shipline/schema.json\n"),
            "{text}"
        );
        lab.run(&repository.tree, &["check", "--strict"]).expect(0);
        let plan = lab.run(&repository.tree, &["plan", "--event", "push", "--format", "json"]);
        assert_eq!(plan.expect(0).json()["templates"][0], format!("{name}@1"));
        let schema = std::fs::read_to_string(repository.tree.join(".shipline/schema.json"));
        assert!(schema.expect("written").contains("\"$schema\""));
        // What is there is not written over.
        let again = lab.run(&repository.tree, &["init", "--yes"]).expect(2);
        assert!(again.stderr.contains("`.shipline.yml` is there already"), "{}", again.stderr);
    }
}

#[test]
fn init_then_run_builds_and_tests_a_service() {
    let lab = Lab::new();
    // Maven and Gradle find their plugins in no registry that tests may ask.
    for name in [
        "c-service",
        "cmake-service",
        "docker-service",
        "go-service",
        "node-service",
        "php-service",
        "python-service",
        "rust-service",
        "static-site",
    ] {
        let repository = filled(&lab, name, &[]);
        lab.run(&repository.tree, &["init", "--yes"]).expect(0);
        repository.commit("a pipeline");
        let lines = lab.run(&repository.tree, &["run", "--format", "json"]).expect(0).lines();
        let result = |stage: &str| {
            let ended = lines.iter().find(|line| {
                (line["kind"] == "stage.finished" || line["kind"] == "stage.skipped")
                    && line["stage"] == stage
            });
            ended.unwrap_or_else(|| panic!("{name}: `{stage}` did not end")).clone()
        };
        let own = ["compile", "unit-test", "package"];
        let own = if name == "docker-service" { [].as_slice() } else { own.as_slice() };
        for stage in own.iter().chain(&["image"]) {
            assert_eq!(result(stage)["result"], "passed", "{name}: {:#}", result(stage));
        }
        for stage in ["push", "deploy"] {
            assert_eq!(result(stage)["kind"], "stage.skipped", "{name}: {:#}", result(stage));
        }
    }
}

#[test]
fn the_registry_that_a_machine_knows_and_the_name_of_the_remote_are_seen() {
    let lab = Lab::new();
    let config = lab.folder("config/shipline");
    std::fs::write(config.join("password"), "secret").expect("written");
    std::fs::write(
        config.join("config.toml"),
        "[registries.house]\nhost = \"harbor.corp.example\"\nusername = \"me\"\npassword-file = \"password\"\n",
    )
    .expect("written");
    let repository = filled(&lab, "plain", &[("Dockerfile", "FROM busybox:1\nEXPOSE 9000\n")]);
    let remote = "git@git.corp.example:shop/Order-Desk.git";
    git(&repository.tree, &["remote", "set-url", "origin", remote]);
    let ran = lab.run(&repository.tree, &["init", "--format", "json"]).expect(0).json();
    assert_eq!(ran["chosen"]["template"], "docker-service@1");
    assert_eq!(ran["chosen"]["with"][0]["value"], 9000);
    let text = std::fs::read_to_string(repository.tree.join(".shipline.yml")).expect("written");
    assert!(text.contains("  image: harbor.corp.example/shop/order-desk "), "{text}");
    assert!(text.contains("  registry: house ") && text.contains("  port: 9000 "), "{text}");
}

#[test]
fn what_cannot_be_told_is_said_with_what_was_looked_for() {
    let lab = Lab::new();
    let repository = filled(&lab, "nothing", &[("README.md", "nothing")]);
    let ran = lab.run(&repository.tree, &["init"]).expect(2);
    assert!(ran.stderr.contains("nothing here tells what the repository is"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("pom.xml") && ran.stderr.contains("image: debian:12"),
        "{}",
        ran.stderr
    );
    assert!(!repository.tree.join(".shipline").exists());
    let repository = filled(&lab, "two", &[("go.mod", "go 1.19\n"), ("web/index.html", "")]);
    let ran = lab.run(&repository.tree, &["init", "--template", "php-service"]).expect(2);
    assert!(ran.stderr.contains("what fits: go-service@1, static-site@1 in web"), "{}", ran.stderr);
    lab.run(&repository.tree, &["init", "--yes", "--folder", "web", "--no-schema"]).expect(0);
    assert!(!repository.tree.join(".shipline/schema.json").exists());
    let text = std::fs::read_to_string(repository.tree.join(".shipline.yml")).expect("written");
    assert!(text.contains("template: static-site@1") && text.contains("context: web"), "{text}");
}

/// In a pseudo-terminal, which `script` of util-linux makes.
#[test]
fn on_a_terminal_only_what_cannot_be_seen_is_asked() {
    let lab = Lab::new();
    let repository = filled(&lab, "asked", &[("go.mod", "go 1.19\n"), ("Dockerfile", "FROM x")]);
    let binary = crate::harness::lab::binary();
    let mut command = Command::new("script");
    command
        .args([
            "--quiet",
            "--return",
            "--command",
            &format!("{} init", binary.display()),
            "/dev/null",
        ])
        .current_dir(&repository.tree)
        .env("SHIPLINE_HOME", lab.home())
        .env("XDG_CONFIG_HOME", lab.folder("config"))
        .env("DOCKER_CONFIG", lab.folder("docker"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().expect("script can be started");
    let answers = "9\n2\nharbor.corp.example/shop/desk\n\nprod\n";
    let mut stdin = child.stdin.take().expect("stdin is piped");
    std::io::Write::write_all(&mut stdin, answers.as_bytes()).expect("the answers are taken");
    let ran = Ran::from(child.wait_with_output().expect("it ends"));
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    assert!(ran.stdout.contains("a number from 1 to 2"), "{}", ran.stdout);
    assert!(ran.stdout.contains("credential of the registry [harbor]"), "{}", ran.stdout);
    let text = std::fs::read_to_string(repository.tree.join(".shipline.yml")).expect("written");
    for line in
        ["template: docker-service@1", "image: harbor.corp.example/shop/desk", "environment: prod"]
    {
        assert!(text.contains(line), "{text}");
    }
}

fn git(folder: &Path, arguments: &[&str]) {
    let status = Command::new("git").current_dir(folder).args(arguments).status();
    assert!(status.is_ok_and(|status| status.success()), "git {arguments:?} failed");
}
