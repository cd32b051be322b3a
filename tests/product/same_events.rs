//! A laptop and a server run the same pipeline to the same events.

use std::time::Duration;

use serde_json::Value;

use crate::harness::git::Repository;
use crate::harness::lab::Lab;
use crate::harness::server::{Server, ServerParts};
use crate::local_run::split;

/// One stage after another, so that the order of events is one only; the last
/// but one fails, so that every kind of end is there.
const PIPELINE: &str = "name: app\nimage: debian:12\nstages:\n  one: echo 1\n  \
    skipped: { when: { branch: nowhere }, run: 'true' }\n  image: { build: { file: Dockerfile } }\n  \
    two: { needs: [one, image], run: [echo 2, exit 4] }\n  three: { needs: [two], run: echo 3 }\n";

#[test]
fn events_of_a_laptop_and_of_a_server_are_equal_but_for_times_and_ids() {
    let lab = Lab::new();
    let parts = ServerParts {
        registry: None,
        mail: None,
        proxy: None,
        project: "app",
        environment: "test",
    };
    let server = Server::start(&lab, &parts);
    let repository = Repository::create(&lab.folder("git"));
    repository.write(".shipline.yml", PIPELINE);
    repository.write("Dockerfile", "FROM busybox:1\n");
    let bare = repository.bare.display().to_string();
    server.client(&lab, &["project", "create", "app", "--git", &bare, "--poll", "1s"]).expect(0);
    let sha = repository.commit_and_push("first");
    let row = server.wait_for_run(&lab, &sha, Duration::from_secs(90));

    let id = row["run"].as_str().expect("a run has an id");
    let of_server = events_of(&server, id);
    let ran = lab.run(&repository.tree, &["run", "--event", "push", "--format", "json"]).expect(1);
    let lines = ran.lines();
    let of_laptop: Vec<Value> = split(&lines).0.into_iter().cloned().collect();

    for (laptop, server) in of_laptop.iter().zip(&of_server) {
        assert_eq!(timeless(laptop), timeless(server));
    }
    assert_eq!(of_laptop.len(), of_server.len());
}

fn events_of(server: &Server, id: &str) -> Vec<Value> {
    let output = std::process::Command::new("curl")
        .args([
            "--silent",
            "--fail",
            "--header",
            &format!("Authorization: Bearer {}", server.token()),
        ])
        .arg(format!("{}/api/v1/runs/{id}/events", server.url()))
        .output()
        .expect("curl can be started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| serde_json::from_str(line).expect("an event is JSON")).collect()
}

/// The event without what differs from one run to the next.
fn timeless(event: &Value) -> Value {
    let mut event = event.clone();
    let fields = event.as_object_mut().expect("an event is an object");
    for field in ["at", "run", "duration_ms", "deadline", "by", "name"] {
        fields.remove(field);
    }
    // The id of an image has the time and the instance of its build in it.
    if let Some(outputs) = fields.get_mut("outputs").and_then(Value::as_object_mut) {
        outputs.remove("image");
    }
    event
}
