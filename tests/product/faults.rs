//! Faults around a local run: whose they are is said, and what to do.

use std::path::Path;

use crate::harness::lab::{Lab, Ran};
use crate::harness::registry::{ImageRegistry, USER};
use crate::local_run::{assert_gapless, repository, result_of};

#[test]
fn without_docker_one_line_says_how_to_get_it() {
    let lab = Lab::new();
    let folder = repository(&lab, "image: debian:12\nstages:\n  build: make\n");
    let mut command = lab.shipline();
    command.current_dir(&folder).arg("run").env("DOCKER_HOST", "unix:///nonexistent/docker.sock");
    let ran = Ran::of(&mut command).expect(3);
    let said: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(said.len(), 1, "{}", ran.stderr);
    assert!(
        said[0].contains("/nonexistent/docker.sock") && said[0].contains("docker.io"),
        "{}",
        said[0]
    );
}

#[test]
fn an_image_that_does_not_exist_is_the_users_fault_and_named() {
    let lab = Lab::new();
    let images = ImageRegistry::start(&lab.folder("registry"));
    let image = format!("{}/no/such:1", images.host());
    configure(&lab, &images, crate::harness::registry::PASSWORD);
    let folder = repository(&lab, &format!("image: {image}\nstages:\n  build: make\n"));
    let ran = lab.run(&folder, &["run", "--format", "json"]).expect(1);
    let lines = ran.lines();
    assert_gapless(&lines);
    let attempt = attempt_of(&lines, "build");
    assert_eq!(
        (&attempt["result"], &attempt["code"]),
        (&"failed".into(), &"E090".into()),
        "{attempt}"
    );
    assert!(attempt["reason"].as_str().is_some_and(|reason| reason.contains(&image)), "{attempt}");
}

#[test]
fn a_registry_that_refuses_the_password_is_named_with_its_credential() {
    let lab = Lab::new();
    let images = ImageRegistry::start(&lab.folder("registry"));
    configure(&lab, &images, "wrong-password");
    let ran = push(&lab, &images);
    let attempt = attempt_of(&ran.expect(1).lines(), "push");
    assert_eq!(
        (&attempt["result"], &attempt["code"]),
        (&"failed".into(), &"E090".into()),
        "{attempt}"
    );
    let reason = attempt["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("harbor") && reason.contains(&images.host()), "{reason}");
    assert!(!attempt.to_string().contains("wrong-password"));
}

#[test]
fn a_registry_that_is_down_is_infrastructure() {
    let lab = Lab::new();
    let images = ImageRegistry::start(&lab.folder("registry"));
    configure(&lab, &images, crate::harness::registry::PASSWORD);
    images.down();
    let ran = push(&lab, &images).expect(3);
    let lines = ran.lines();
    assert_gapless(&lines);
    let attempt = attempt_of(&lines, "push");
    assert_eq!(
        (&attempt["result"], &attempt["code"]),
        (&"infra-error".into(), &"E099".into()),
        "{attempt}"
    );
    assert_eq!(lines.last().expect("a last line")["result"], "infra-error");
}

#[test]
fn a_push_is_believed_only_with_the_digest_the_registry_reports() {
    let lab = Lab::new();
    let images = ImageRegistry::start(&lab.folder("registry"));
    configure(&lab, &images, crate::harness::registry::PASSWORD);
    let lines = push(&lab, &images).expect(0).lines();
    assert_eq!(result_of(&lines, "push"), "passed");
    let finished = lines
        .iter()
        .find(|line| line["kind"] == "stage.finished" && line["stage"] == "push")
        .expect("the stage has an end");
    let digest = finished["outputs"]["digest"].as_str().expect("a push has a digest");
    assert_eq!(
        finished["outputs"]["ref"],
        format!("{}/team/hello@{digest}", images.host()).as_str()
    );
    let manifest = images.get(&format!("/v2/team/hello/manifests/{digest}"));
    assert!(manifest.contains("schemaVersion"), "{manifest}");
    assert!(images.get("/v2/team/hello/tags/list").contains("\"1\""));
    assert!(
        !lines.iter().any(|line| line.to_string().contains(crate::harness::registry::PASSWORD))
    );
}

/// A repository whose image is built and pushed.
fn push(lab: &Lab, images: &ImageRegistry) -> Ran {
    let folder = repository(
        lab,
        &format!(
            "stages:\n  image: {{ build: {{ file: Dockerfile }} }}\n  \
             push: {{ push: {{ image: image, registry: harbor, tags: ['{}/team/hello:1'] }} }}\n",
            images.host()
        ),
    );
    std::fs::write(folder.join("Dockerfile"), "FROM busybox:1\nCOPY README /README\n")
        .expect("a file can be written");
    lab.run(&folder, &["run", "--allow-side-effects", "--format", "json"])
}

/// `~/.config/shipline/config.toml` of the lab.
pub fn configure(lab: &Lab, images: &ImageRegistry, password: &str) {
    let folder = lab.folder("config/shipline");
    write_secret(&folder.join("harbor"), password);
    let text = format!(
        "[registries.harbor]\nhost = \"{}\"\nusername = \"{USER}\"\npassword-file = \"harbor\"\nca-file = \"{}\"\n",
        images.host(),
        images.ca_file().display()
    );
    std::fs::write(folder.join("config.toml"), text).expect("a file can be written");
}

fn write_secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).expect("a file can be written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .expect("a mode can be set");
}

fn attempt_of(lines: &[serde_json::Value], stage: &str) -> serde_json::Value {
    lines
        .iter()
        .find(|line| line["kind"] == "attempt.finished" && line["stage"] == stage)
        .unwrap_or_else(|| panic!("`{stage}` has no finished attempt in {lines:#?}"))
        .clone()
}
