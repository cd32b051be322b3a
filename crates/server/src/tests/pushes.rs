//! From a push to a run: what starts one, what does not, and what is said then.

use axum::http::StatusCode;
use runner::backend::fake::{FakeBackend, Script};
use serde_json::json;

use super::{HELLO, Lab};
use crate::outbox::Post;

#[tokio::test]
async fn a_push_becomes_a_run_with_events_and_output() {
    let mut lab = Lab::new().await;
    let repository = lab.orders().await;
    let sha = repository.commit_and_push(&[(".shipline.yml", HELLO)]);
    lab.look("orders").await;

    let run = lab.run().await;
    assert_eq!(
        (&run["project"], &run["pipeline"], &run["number"], &run["branch"], &run["sha"]),
        (&json!("orders"), &json!("orders"), &json!(1), &json!("main"), &json!(sha))
    );
    assert_eq!(
        (&run["event"], &run["state"], &run["result"]),
        (&json!("push"), &json!("queued"), &json!(null))
    );
    let trigger = lab.trigger().await;
    assert_eq!(
        (&trigger["source"], &trigger["verdict"], &trigger["ref"], &trigger["run"]),
        (&json!("poll"), &json!("started"), &json!("refs/heads/main"), &run["run"])
    );

    lab.start();
    let id = run["run"].as_str().expect("an id");
    let events = lab.finish(id).await;
    let seqs: Vec<_> = events.iter().map(|event| event["seq"].as_u64()).collect();
    assert_eq!(seqs, (1..=events.len() as u64).map(Some).collect::<Vec<_>>());

    let detail = lab.get(&format!("/api/v1/runs/{id}")).await.json();
    assert_eq!((&detail["state"], &detail["result"]), (&json!("finished"), &json!("passed")));
    let stages: Vec<_> = detail["stages"]
        .as_array()
        .expect("stages")
        .iter()
        .map(|stage| (stage["name"].as_str(), stage["action"].as_str(), stage["result"].as_str()))
        .collect();
    let expected = [("checkout", "checkout"), ("hello", "run")];
    assert_eq!(stages, expected.map(|(name, action)| (Some(name), Some(action), Some("passed"))));

    let log = lab.get(&format!("/api/v1/runs/{id}/stages/hello/log")).await.lines();
    let text: String = log.iter().filter_map(|frame| frame["text"].as_str()).collect();
    assert!(text.contains("hello\n"), "{log:?}");
    lab.stop().await;
}

#[tokio::test]
async fn a_run_is_found_by_id_by_its_last_digits_and_by_number() {
    let lab = Lab::new().await;
    let repository = lab.orders().await;
    repository.commit_and_push(&[(".shipline.yml", HELLO)]);
    lab.look("orders").await;
    let run = lab.run().await;
    for path in [
        format!("/api/v1/runs/{}", run["run"].as_str().expect("an id")),
        format!("/api/v1/runs/{}", run["short"].as_str().expect("a short id")),
        "/api/v1/runs/1?project=orders".to_owned(),
    ] {
        assert_eq!(lab.get(&path).await.json()["run"], run["run"], "{path}");
    }
    for path in
        ["/api/v1/runs/2?project=orders", "/api/v1/runs/00000000", "/api/v1/runs/1?project=web"]
    {
        assert_eq!(lab.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn the_first_look_records_the_heads_and_starts_nothing() {
    let lab = Lab::new().await;
    let repository = super::Repository::create(&lab.folder.path().join("old"));
    let sha = repository.commit_and_push(&[(".shipline.yml", HELLO)]);
    let body = json!({ "name": "orders", "git": repository.bare, "poll": "1h" });
    assert_eq!(lab.post("/api/v1/projects", body).await.status, StatusCode::CREATED);
    lab.look("orders").await;
    assert_eq!(lab.get("/api/v1/runs").await.json(), json!([]));
    assert_eq!(lab.get("/api/v1/triggers").await.json(), json!([]));

    let asked = json!({ "name": "again", "git": repository.bare, "poll": "1h", "run": true });
    let made = lab.post("/api/v1/projects", asked).await.json();
    let run = lab.run().await;
    assert_eq!(
        (&made["run"], &run["sha"], &run["event"]),
        (&run["run"], &json!(sha), &json!("manual"))
    );
}

#[tokio::test]
async fn of_one_push_only_the_last_commit_runs_and_a_look_without_news_does_nothing() {
    let lab = Lab::new().await;
    let repository = lab.orders().await;
    repository.commit(&[(".shipline.yml", HELLO)]);
    let last = repository.commit_and_push(&[("a", "1")]);
    lab.look("orders").await;
    lab.look("orders").await;
    assert_eq!(lab.run().await["sha"], json!(last));
}

#[tokio::test]
async fn what_starts_nothing_leaves_a_reason() {
    let lab = Lab::new().await;
    let repository = lab.orders().await;
    repository.commit_and_push(&[("README", "nothing to run")]);
    lab.look("orders").await;
    let trigger = lab.trigger().await;
    assert_eq!(trigger["verdict"], "ignored");
    let reason = trigger["reason"].as_str().expect("a reason");
    assert!(reason.ends_with("has neither `.shipline.yml` nor `.shipline/*.yml`"), "{reason}");

    repository.commit_and_push(&[(
        ".shipline.yml",
        &format!("on: {{ push: {{ branch: release }} }}\n{HELLO}"),
    )]);
    lab.look("orders").await;
    let trigger = lab.trigger().await;
    assert_eq!(
        (&trigger["verdict"], &trigger["reason"]),
        (
            &json!("ignored"),
            &json!("ignored: branch `main` matches no push filter of pipeline `orders`")
        )
    );

    repository.git(&["push", "--quiet", "origin", "HEAD:refs/heads/gone"]);
    repository.git(&["push", "--quiet", "origin", "--delete", "gone"]);
    lab.look("orders").await;
    assert_eq!(lab.get("/api/v1/runs").await.json(), json!([]));
}

#[tokio::test]
async fn an_invalid_file_is_recorded_with_everything_there_is_to_say_about_it() {
    let lab = Lab::new().await;
    let repository = lab.orders().await;
    repository.commit_and_push(&[(
        ".shipline.yml",
        "image: busybox:1\nstages:\n  a: { run: x, neds: [b] }\n",
    )]);
    lab.look("orders").await;
    let trigger = lab.trigger().await;
    assert_eq!(trigger["verdict"], "failed");
    let reason = trigger["reason"].as_str().expect("diagnostics");
    assert!(reason.contains("error[E010]") && reason.contains("did you mean `needs`?"), "{reason}");
    assert!(reason.contains(".shipline.yml:3:16"), "{reason}");
    assert_eq!(lab.get("/api/v1/runs").await.json(), json!([]));
}

#[tokio::test]
async fn each_file_of_the_folder_is_a_pipeline_and_both_layouts_are_an_error() {
    let lab = Lab::new().await;
    let repository = lab.orders().await;
    repository.commit_and_push(&[
        (".shipline/build.yml", HELLO),
        (".shipline/nightly.yml", HELLO),
        (".shipline/x.txt", ""),
    ]);
    lab.look("orders").await;
    let runs = lab.get("/api/v1/runs?project=orders").await.json();
    let mut pipelines: Vec<_> =
        runs.as_array().expect("runs").iter().map(|run| run["pipeline"].clone()).collect();
    pipelines.sort_by_key(ToString::to_string);
    assert_eq!(pipelines, [json!("build"), json!("nightly")]);

    repository.commit_and_push(&[(".shipline.yml", HELLO)]);
    lab.look("orders").await;
    let trigger = lab.trigger().await;
    assert_eq!(trigger["verdict"], "failed");
    assert!(
        trigger["reason"].as_str().is_some_and(|reason| reason.contains("error[E005]")),
        "{trigger:#}"
    );
}

#[tokio::test]
async fn a_person_starts_a_branch_and_hears_why_not() {
    let lab = Lab::new().await;
    let repository = lab.orders().await;
    let sha = repository.commit_and_push(&[(".shipline.yml", HELLO)]);
    let answer = lab.post("/api/v1/projects/orders/runs", json!({})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    let run = lab.run().await;
    let started = answer.json();
    assert_eq!((&started["run"], &started["number"]), (&run["run"], &json!(1)));
    assert_eq!(
        (&run["sha"], &run["event"], &run["by"]),
        (&json!(sha), &json!("manual"), &json!("admin"))
    );

    for (reference, expected) in [
        ("no-such-branch", "has no branch or tag `no-such-branch`"),
        ("--upload-pack=x", "is not a ref"),
        ("refs/notes/x", "neither a branch nor a tag"),
    ] {
        let answer = lab.post("/api/v1/projects/orders/runs", json!({ "ref": reference })).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(answer.text.contains(expected), "{}", answer.text);
    }
    let answer = lab.post("/api/v1/projects/nobody/runs", json!({})).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_name_that_is_no_branch_may_be_that_of_a_tag() {
    let lab = Lab::new().await;
    let repository = lab.orders().await;
    let tagged = repository.commit_and_push(&[(".shipline.yml", HELLO)]);
    repository.git(&["tag", "v1"]);
    repository.git(&["push", "--quiet", "origin", "v1"]);
    repository.commit_and_push(&[("a", "1")]);
    let answer = lab.post("/api/v1/projects/orders/runs", json!({ "ref": "v1" })).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    let run = lab.run().await;
    assert_eq!(
        (&run["sha"], &run["tag"], &run["branch"]),
        // Its commit is on the default branch.
        (&json!(tagged), &json!("v1"), &json!("main"))
    );
}

#[tokio::test]
async fn a_file_that_is_too_large_to_read_keeps_no_other_trigger_waiting() {
    let lab = Lab::new().await;
    let repository = lab.orders().await;
    repository.commit_and_push(&[(".shipline.yml", &"#".repeat(5 << 20))]);
    repository.git(&["checkout", "--quiet", "-b", "next"]);
    let next = repository.commit_and_push(&[(".shipline.yml", HELLO)]);
    lab.look("orders").await;
    assert_eq!(lab.run().await["sha"], json!(next));
    let triggers = lab.get("/api/v1/triggers").await.json();
    let triggers = triggers.as_array().expect("a list");
    let failed = triggers.iter().find(|trigger| trigger["ref"] == "refs/heads/main");
    let failed = failed.expect("recorded");
    assert_eq!(failed["verdict"], "failed");
    let reason = failed["reason"].as_str().expect("a reason");
    assert!(reason.contains("more than 4194304 bytes"), "{reason}");
}

#[tokio::test]
async fn a_branch_that_is_set_back_by_force_runs_again() {
    let lab = Lab::new().await;
    let repository = lab.orders().await;
    let first = repository.commit_and_push(&[(".shipline.yml", HELLO)]);
    lab.look("orders").await;
    let second = repository.commit_and_push(&[("a", "1")]);
    lab.look("orders").await;
    repository.git(&["reset", "--quiet", "--hard", &first]);
    repository.push();
    lab.look("orders").await;
    let runs = lab.get("/api/v1/runs").await.json();
    let shas: Vec<_> =
        runs.as_array().expect("runs").iter().map(|run| run["sha"].clone()).collect();
    assert_eq!(shas, [json!(first), json!(second), json!(first)]);
}

#[tokio::test]
async fn a_repository_that_cannot_be_listed_makes_no_project() {
    let lab = Lab::new().await;
    for (git, status) in [
        ("/nonexistent/orders.git", StatusCode::UNPROCESSABLE_ENTITY),
        ("ext::sh -c touch% x", StatusCode::UNPROCESSABLE_ENTITY),
        ("file:///etc", StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let answer = lab.post("/api/v1/projects", json!({ "name": "orders", "git": git })).await;
        assert_eq!(answer.status, status, "{}", answer.text);
    }
    assert_eq!(lab.get("/api/v1/projects").await.json(), json!([]));
    lab.orders().await;
    let again = json!({ "name": "orders", "git": lab.folder.path().join("orders/origin.git") });
    assert_eq!(lab.post("/api/v1/projects", again).await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_target_that_is_not_granted_fails_the_run_before_it_begins() {
    let mut lab =
        Lab::with(FakeBackend::default().with("hello", Script::exit(0)), Post::default()).await;
    let repository = lab.project("other", json!({})).await;
    let pipeline = "image: busybox:1\nstages:\n  hello: echo hello\n  image: { build: { } }\n  \
                    deploy: { deploy: { environment: test, image: image } }\n";
    repository.commit_and_push(&[(".shipline.yml", pipeline)]);
    lab.look("other").await;
    let run = lab.run().await;
    lab.start();
    let id = run["run"].as_str().expect("an id");
    lab.finish(id).await;
    let detail = lab.get(&format!("/api/v1/runs/{id}")).await.json();
    let stage = |name: &str| {
        let stages = detail["stages"].as_array().expect("stages");
        stages.iter().find(|stage| stage["name"] == name).expect("the stage").clone()
    };
    assert_eq!(
        (&detail["result"], &stage("hello")["result"]),
        (&json!("failed"), &json!("blocked"))
    );
    let reason = stage("deploy")["reason"].as_str().expect("a reason").to_owned();
    assert!(reason.starts_with("error[E062]: target `memory`"), "{reason}");
    lab.stop().await;
}

#[tokio::test]
async fn a_commit_that_was_forced_away_starts_nothing() {
    let lab = Lab::new().await;
    let repository = lab.orders().await;
    let first = repository.commit_and_push(&[(".shipline.yml", HELLO)]);
    lab.look("orders").await;
    let second = repository.commit_and_push(&[("a", "1")]);
    // Asked while `second` was there, decided when it no longer is.
    let project = lab.app.store.project("orders").await.expect("read").expect("a project");
    let heads = crate::triggers::look(&project).await.expect("listed");
    assert_eq!(heads["refs/heads/main"], second);
    lab.app.store.record_heads("orders", &heads, chrono::Utc::now()).await.expect("recorded");
    repository.git(&["reset", "--quiet", "--hard", &first]);
    repository.push();
    lab.look("orders").await;
    let triggers = lab.get("/api/v1/triggers").await.json();
    let of_second = triggers
        .as_array()
        .expect("a list")
        .iter()
        .find(|trigger| trigger["sha"] == second.as_str());
    let of_second = of_second.expect("recorded");
    assert_eq!(of_second["verdict"], "failed", "{triggers:#}");
    assert_eq!(of_second["reason"], json!(format!("commit {second} is gone")));
}
