//! Images from a laptop: a build with a secret, a login that a credential helper keeps,
//! a push that Harbor's scanner judges.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::git::Repository;
use crate::harness::lab::{Lab, Ran};
use crate::harness::registry::{Harbor, PASSWORD, ROBOT};
use crate::kept_files::events;
use crate::local_run::{output_of, split};

/// What comes after a step that no other test has: else the builder remembers it.
const INSTALL: &str = "\
    RUN --mount=type=secret,id=NPM_TOKEN echo \"installs with $(cat /run/secrets/NPM_TOKEN)\"\n";

/// A repository whose image goes to `harbor`, and Docker's login there in a helper.
struct Laptop {
    /// Goes first: what it needs to end is in the lab.
    harbor: Harbor,
    lab: Lab,
    tree: PathBuf,
    helpers: PathBuf,
}

impl Laptop {
    fn new(world: &Value, scan: &str) -> Self {
        let lab = Lab::new();
        let harbor = Harbor::start(&lab.folder("harbor"), world);
        let repository = Repository::create(&lab.folder("git"));
        let host = harbor.host();
        repository
            .write("Dockerfile", &format!("FROM busybox:1\nRUN echo {host} >/host\n{INSTALL}"));
        repository.write(".gitignore", ".shipline/secrets.env\n");
        repository.write(".shipline/secrets.env", "NPM_TOKEN=swordfish-1\n");
        repository.write(
            ".shipline.yml",
            &format!(
                "stages:\n  image:\n    build: {{ file: Dockerfile }}\n    secrets: [NPM_TOKEN]\n  \
                 publish:\n    push:\n      image: image\n      registry: harbor\n      \
                 tags: [\"{host}/team/group/app:1.0\"]\n      scan: {scan}\n"
            ),
        );
        repository.commit("first");
        let helpers = lab.folder("helpers");
        helper(&helpers, &format!("{{\"Username\":\"{ROBOT}\",\"Secret\":\"{PASSWORD}\"}}"), 0);
        let docker = json!({"credHelpers": {(host): "shipline-test"}});
        std::fs::write(lab.folder("docker").join("config.json"), docker.to_string())
            .expect("written");
        Self { harbor, lab, tree: repository.tree, helpers }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = self.lab.shipline();
        command
            .current_dir(&self.tree)
            .env("PATH", format!("{}:{path}", self.helpers.display()))
            // As if the machine trusted the authority.
            .env("SSL_CERT_FILE", self.harbor.ca_file())
            .arg("run")
            .args(arguments);
        Ran::of(&mut command)
    }

    /// What the helper was asked for.
    fn asked(&self) -> String {
        std::fs::read_to_string(self.helpers.join("asked")).unwrap_or_default()
    }
}

/// All that a stage's output has, also what the engine says.
fn said(lines: &[Value], stage: &str) -> String {
    let frames = split(lines).1.into_iter().filter(|frame| frame["stage"] == stage);
    frames.filter_map(|frame| frame["text"].as_str()).collect()
}

/// Writes a credential helper that notes what it is asked for and answers `answer`.
fn helper(folder: &Path, answer: &str, code: i32) {
    std::fs::write(folder.join("answer"), answer).expect("written");
    let script = format!(
        "#!/bin/sh\ncd '{}'\n{{ echo \"$1\"; cat; echo; }} >>asked\ncat answer\nexit {code}\n",
        folder.display()
    );
    let program = folder.join("docker-credential-shipline-test");
    std::fs::write(&program, script).expect("written");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("changed");
}

#[test]
fn an_image_is_built_with_a_secret_and_pushed_with_the_login_of_a_credential_helper() {
    let laptop = Laptop::new(&json!({"found": []}), "{ max-severity: none }");
    let withheld = laptop.run(&["--format", "json"]).expect(0).lines();
    let skipped = events(&withheld, "stage.skipped");
    assert_eq!(skipped[0]["stage"], "publish", "{skipped:?}");
    assert_eq!(laptop.asked(), "", "nobody is asked for a login that is not used");

    let ran = laptop.run(&["--allow-side-effects", "--format", "json"]).expect(0);
    let lines = ran.lines();
    assert_eq!(laptop.asked(), format!("get\n{}\n", laptop.harbor.host()));
    let finished = events(&lines, "stage.finished");
    let publish = finished.iter().find(|stage| stage["stage"] == "publish").expect("it ran");
    let (digest, reference) = (&publish["outputs"]["digest"], &publish["outputs"]["ref"]);
    assert_eq!(
        reference.as_str().expect("a text"),
        format!("{}/team/group/app@{}", laptop.harbor.host(), digest.as_str().expect("a text"))
    );
    let said = said(&lines, "publish");
    assert!(said.contains("found nothing"), "{said}");
    let account = "account=robot%24team%2Bci";
    assert!(laptop.harbor.requests().contains(account), "{}", laptop.harbor.requests());
    assert!(!ran.stdout.contains("swordfish") && !ran.stdout.contains(PASSWORD));
    let built = output_of(&withheld, "image") + &output_of(&lines, "image");
    assert!(built.contains("installs with ***"), "{built}");
}

#[test]
fn a_scan_above_the_limit_fails_the_run_and_names_the_worst() {
    let found = json!([{"id": "CVE-2024-0003", "severity": "Critical", "package": "openssl",
        "version": "3.0.1", "fix_version": "3.0.3"}]);
    let laptop = Laptop::new(&json!({"found": found, "seconds": 1}), "{ max-severity: high }");
    let ran = laptop.run(&["--allow-side-effects", "--plain"]).expect(1);
    for part in [
        "found 1 critical (1 of them fixable); `max-severity` of `push.scan` is `high`",
        "CVE-2024-0003 (critical) in openssl 3.0.1, fixed in 3.0.3",
        "/harbor/projects/2/repositories/group%2Fapp/artifacts-tab/artifacts/sha256:",
    ] {
        assert!(ran.stdout.contains(part), "`{part}` is not in\n{}", ran.stdout);
    }
}

#[test]
fn a_credential_helper_that_fails_is_named_and_one_that_knows_nothing_is_not_believed() {
    let laptop = Laptop::new(&json!({}), "{ max-severity: high }");
    helper(&laptop.helpers, "the key ring is locked", 1);
    let ran = laptop.run(&["--allow-side-effects"]).expect(3);
    assert!(
        ran.stderr.contains(&format!(
            "`docker-credential-shipline-test` gives no login for {}: the key ring is locked",
            laptop.harbor.host()
        )),
        "{}",
        ran.stderr
    );
    helper(&laptop.helpers, "credentials not found in native keychain", 1);
    let ran = laptop.run(&["--allow-side-effects", "--plain"]).expect(1);
    assert!(ran.stdout.contains("registry `harbor` is not configured"), "{}", ran.stdout);
}
