//! A run of a server, repeated on a laptop.

use std::time::Duration;

use crate::harness::git::Repository;
use crate::harness::lab::Lab;
use crate::harness::server::{Server, ServerParts};
use crate::local_run::{assert_gapless, output_of, result_of};

const PIPELINE: &str = "name: app
image: busybox:1
on:
  push: {}
stages:
  one: { run: [cat word, echo $SHIPLINE_EVENT $SHIPLINE_GIT_BRANCH] }
  two: { run: test -e ok }
";

#[test]
fn a_run_of_a_server_is_repeated_with_its_plan_and_its_commit() {
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
    repository.write("word", "then\n");
    let bare = repository.bare.display().to_string();
    server.client(&lab, &["project", "create", "app", "--git", &bare, "--poll", "1s"]).expect(0);
    let sha = repository.commit_and_push("first");
    let row = server.wait_for_run(&lab, &sha, Duration::from_secs(90));
    assert_eq!(row["result"], "failed");

    // Meanwhile the directory has gone on.
    repository.write("word", "now\n");
    repository.write("ok", "");
    repository.write(".shipline.yml", "image: busybox:1\nstages: { other: 'true' }\n");
    let url = format!("{}/runs/{}", server.url(), row["run"].as_str().expect("an id"));
    let reproduce = |url: &str, token: Option<String>| {
        let mut command = lab.shipline();
        command.current_dir(&repository.tree).args(["run", "--reproduce", url, "--format", "json"]);
        token.map(|token| command.env("SHIPLINE_TOKEN", token));
        crate::harness::lab::Ran::of(&mut command)
    };
    let ran = reproduce(&url, Some(server.token())).expect(1);
    let lines = ran.lines();
    assert_gapless(&lines);
    assert_eq!(output_of(&lines, "one"), "then\npush main\n");
    assert_eq!(result_of(&lines, "two"), "failed", "the file came later");
    assert_eq!(lines[0]["plan"]["sha"], sha);
    assert!(ran.stderr.contains("`one` runs on `busybox:1` as it is here"), "{}", ran.stderr);

    let no_token = reproduce(&url, None).expect(2).stderr;
    assert!(no_token.contains("needs a token"), "{no_token}");
    let nonsense = reproduce("https://ci.example.net/3f9a0c1d", Some(server.token()));
    assert!(nonsense.expect(2).stderr.contains("is no address of a run"));
    let elsewhere = lab.folder("elsewhere");
    let mut command = lab.shipline();
    command.current_dir(&elsewhere).args(["run", "--reproduce", &url]);
    command.env("SHIPLINE_TOKEN", server.token());
    let missing = crate::harness::lab::Ran::of(&mut command).expect(2).stderr;
    assert!(missing.contains("is not in the repository here"), "{missing}");
}
