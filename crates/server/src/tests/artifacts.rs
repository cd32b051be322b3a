//! Artifacts of runs: listed, handed out so that no browser runs them, removed in time.

use axum::http::{Request, StatusCode, header};
use chrono::{TimeDelta, Utc};
use runner::backend::fake::{FakeBackend, Script};

use super::Lab;
use crate::outbox::Post;
use crate::retention::remove_expired;

const PIPELINE: &str = "image: busybox:1\nstages:\n  make: { run: make, artifacts: { paths: [dist/**], name: app, expire: 2d } }\n";

#[tokio::test]
async fn what_a_run_published_is_listed_handed_out_and_expires() {
    let script = Script::exit(0).writing("dist/index.html", "<script>alert(1)</script>");
    let mut lab = Lab::with(FakeBackend::default().with("make", script), Post::default()).await;
    let repository = lab.orders().await;
    repository.commit_and_push(&[(".shipline.yml", PIPELINE)]);
    lab.start();
    lab.look("orders").await;
    let run = lab.run().await;
    let id = run["run"].as_str().expect("an id").to_owned();
    lab.finish(&id).await;

    let listed = lab.get(&format!("/api/v1/runs/{id}/artifacts")).await.json();
    let artifact = &listed[0];
    assert_eq!((&artifact["name"], &artifact["stage"]), (&"app".into(), &"make".into()));
    let sha256 = artifact["sha256"].as_str().expect("a hash").to_owned();
    for name in ["app", &sha256] {
        let request = Request::get(format!("/api/v1/runs/{id}/artifacts/{name}"))
            .header(header::AUTHORIZATION, format!("Bearer {}", lab.token))
            .body(axum::body::Body::empty())
            .expect("a request");
        let response = lab.raw(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
        assert_eq!(header("content-type"), "application/zstd");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert!(header("content-security-policy").starts_with("sandbox; default-src 'none'"));
        assert_eq!(header("content-disposition"), "attachment; filename*=UTF-8''app.tar.zst");
        assert_eq!(header("content-length"), artifact["size"].to_string());
    }
    let other = lab.get(&format!("/api/v1/runs/{id}/artifacts/..%2F..%2Fstate.db")).await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);

    let archive =
        runner::artifact_path(&lab.app.data.artifacts(id.parse().expect("an id")), &sha256);
    remove_expired(&lab.app, Utc::now() + TimeDelta::hours(47)).await.expect("looked");
    assert!(archive.is_file());
    remove_expired(&lab.app, Utc::now() + TimeDelta::hours(49)).await.expect("removed");
    assert!(!archive.exists());
    let gone = lab.get(&format!("/api/v1/runs/{id}/artifacts/app")).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    lab.stop().await;
}
