//! Pipelines with templates: those of the commit, as its lock has them.

use pipeline::{Lock, SourceFile, parse};
use runner::template::{RemoteError, TemplateSources, Tree, update};
use serde_json::json;

use super::Lab;

const DOCKER: &str = "template: docker-service@1\nwith: { image: r.example/team/orders, registry: r, environment: test }\n\
    stages: { push: off, deploy: off, image: { build: { file: Containerfile } } }\n";

/// The lock that `shipline template update` writes for a file.
async fn lock(text: &str) -> String {
    let folder = tempfile::tempdir().expect("a directory");
    let refuse = |_: &str| Err(RemoteError::Forbidden("nobody is asked".to_owned()));
    let sources = TemplateSources {
        tree: Tree::Directory(folder.path()),
        store: &folder.path().join("store"),
        offline: true,
        remote: &refuse,
    };
    let document = parse(&SourceFile::new(".shipline.yml", text)).0;
    let mut lock = Lock::default();
    update(&document, &Lock::default(), &mut lock, &sources).await.expect("locked");
    lock.to_text()
}

/// What became of a push of these files: its verdict, and why.
async fn pushed(lab: &Lab, files: &[(&str, &str)]) -> (String, String) {
    let repository = lab.orders().await;
    repository.commit_and_push(files);
    lab.look("orders").await;
    let trigger = lab.trigger().await;
    let text = |key: &str| trigger[key].as_str().unwrap_or_default().to_owned();
    (text("verdict"), text("reason"))
}

#[tokio::test]
async fn a_template_that_the_commit_locks_starts_a_run() {
    let lab = Lab::new().await;
    let lock = lock(DOCKER).await;
    let (verdict, reason) =
        pushed(&lab, &[(".shipline.yml", DOCKER), (".shipline.lock", &lock)]).await;
    assert_eq!(verdict, "started", "{reason}");
}

#[tokio::test]
async fn a_template_that_is_not_locked_starts_nothing() {
    let lab = Lab::new().await;
    let (verdict, reason) = pushed(&lab, &[(".shipline.yml", DOCKER)]).await;
    assert_eq!(verdict, "failed");
    assert!(
        reason.contains("error[E037]") && reason.contains("shipline template update"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_template_of_the_commit_needs_no_lock() {
    let lab = Lab::new().await;
    let files = [
        (".shipline.yml", "template: ./ci/base.yml\n"),
        ("ci/base.yml", "image: debian:12\nstages: { hello: echo hello }\n"),
    ];
    let (verdict, reason) = pushed(&lab, &files).await;
    assert_eq!(verdict, "started", "{reason}");
    assert_eq!(lab.run().await["project"], json!("orders"));
}

#[tokio::test]
async fn a_host_that_nobody_allowed_is_not_asked() {
    let lab = Lab::new().await;
    let reference = "https://10.0.0.1/ci/templates.git//java@1";
    let lock = format!(
        "version: 1\ntemplates:\n  \"{reference}\":\n    version: \"1.0\"\n    commit: \"{}\"\n    sha256: \"{}\"\n",
        "a".repeat(40),
        "b".repeat(64)
    );
    let pipeline = format!("template: {reference}\n");
    let files = [(".shipline.yml", pipeline.as_str()), (".shipline.lock", &lock)];
    let (verdict, reason) = pushed(&lab, &files).await;
    assert_eq!(verdict, "failed");
    assert!(
        reason.contains("error[E039]") && reason.contains("fetches no templates from `10.0.0.1`"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_project_that_is_bound_to_a_template_runs_nothing_else() {
    let lab = Lab::new().await;
    let repository = lab.project("bound", json!({})).await;
    repository.commit_and_push(&[(".shipline.yml", super::HELLO)]);
    lab.look("bound").await;
    let trigger = lab.trigger().await;
    let reason = trigger["reason"].as_str().expect("a reason");
    assert_eq!(trigger["verdict"], "failed", "{reason}");
    assert!(
        reason.contains("error[E060]: the pipeline uses no template")
            && reason.contains("required: `docker-service@1`")
            && reason.contains("set by `templates` of [projects.bound]"),
        "{reason}"
    );
    let lock = lock(DOCKER).await;
    repository.commit_and_push(&[(".shipline.yml", DOCKER), (".shipline.lock", &lock)]);
    lab.look("bound").await;
    assert_eq!(lab.run().await["project"], json!("bound"));
}
