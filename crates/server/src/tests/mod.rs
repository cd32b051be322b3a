//! The server as a whole, with a real Git, a real store and everything else faked:
//! requests go to the router, loops are those of [`crate::serve()`].

mod access;
mod artifacts;
mod context;
mod following;
mod hooks;
mod life;
mod pushes;
mod rollbacks;
mod templates;
mod test_cases;
mod verbs;
mod watching;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use deploy::Target;
use deploy::testing::MemoryTarget;
use http_body_util::BodyExt as _;
use runner::Registries;
use runner::backend::fake::FakeBackend;
use serde_json::{Value, json};
use store::Store;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::app::{App, Outside};
use crate::config::Config;
use crate::outbox::Post;
use crate::serve::LoopError;
use crate::{deployments, outbox, queue, router, triggers};

/// `orders` may deploy to `test`; `other` has an environment that is not granted.
const CONFIG: &str = r#"
[targets.memory]
docker = { host = "unix:///nonexistent" }
projects = ["orders"]

[projects.orders.environments.test]
target = "memory"

[projects.other.environments.test]
target = "memory"

[projects.bound]
templates = ["docker-service@1"]
"#;

const HELLO: &str = "image: busybox:1\nstages:\n  hello: echo hello\n";

/// A server in a directory of its own.
pub(crate) struct Lab {
    pub(crate) app: Arc<App>,
    pub(crate) target: Arc<MemoryTarget>,
    drain: CancellationToken,
    loops: JoinSet<Result<(), LoopError>>,
    token: String,
    folder: Arc<tempfile::TempDir>,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::with(FakeBackend::default(), Post::default()).await
    }

    pub(crate) async fn with(backend: FakeBackend, post: Post) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a directory"));
        Self::at(folder, backend, post, Arc::new(MemoryTarget::default())).await
    }

    async fn at(
        folder: Arc<tempfile::TempDir>,
        backend: FakeBackend,
        post: Post,
        target: Arc<MemoryTarget>,
    ) -> Self {
        let config =
            crate::config::load(CONFIG, &folder.path().join("server.toml")).expect("valid");
        let config = Config { drain_timeout: Duration::from_secs(20), ..config };
        let data = crate::data::reopen(&config.data);
        let store = Store::open(&data.database()).await.expect("a store");
        let token = data.token();
        target.gate_takes(Duration::ZERO);
        let outside = Outside {
            backend: Arc::new(backend),
            registries: Registries::default(),
            targets: [("memory".to_owned(), Arc::clone(&target) as Arc<dyn Target>)].into(),
            post,
        };
        let app = App::assemble(config, data, store, outside).expect("an app");
        let token = std::fs::read_to_string(token).expect("a token").trim().to_owned();
        Self {
            app: Arc::new(app),
            target,
            drain: CancellationToken::new(),
            loops: JoinSet::new(),
            token,
            folder,
        }
    }

    /// Starts the loops that do the work.
    pub(crate) fn start(&mut self) {
        let (app, drain) = (&self.app, &self.drain);
        self.loops.spawn(deployments::run(Arc::clone(app), drain.clone()));
        self.loops.spawn(queue::run(Arc::clone(app), drain.clone()));
        self.loops.spawn(triggers::run(Arc::clone(app), drain.clone()));
        self.loops.spawn(outbox::run(Arc::clone(app)));
    }

    /// Ends the loops as a stop of the server does.
    pub(crate) async fn stop(&mut self) {
        self.drain.cancel();
        self.app.closing.cancel();
        while let Some(ended) = self.loops.join_next().await {
            ended.expect("no panic").expect("no error");
        }
    }

    /// Kills the server, and starts another on what it left.
    pub(crate) async fn crash(self, backend: FakeBackend) -> Self {
        let Self { app, target, mut loops, folder, .. } = self;
        loops.shutdown().await;
        let app = Arc::into_inner(app).expect("nobody else holds the app");
        app.store.close().await;
        drop(app);
        Self::at(folder, backend, Post::default(), target).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request.body(body).expect("a request")).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, Some(body)).await
    }

    /// Sends a request as it is, without a token.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        answer(router::router(Arc::clone(&self.app)), request).await
    }

    /// Sends a request as it is, and returns the answer with its headers.
    pub(crate) async fn raw(&self, request: Request<Body>) -> Response {
        let router = router::router(Arc::clone(&self.app));
        router.oneshot(request).await.expect("a router always answers")
    }

    /// Makes the project `orders` on a new repository, polled only when woken.
    pub(crate) async fn orders(&self) -> Repository {
        self.project("orders", json!({})).await
    }

    pub(crate) async fn project(&self, name: &str, more: Value) -> Repository {
        let repository = Repository::create(&self.folder.path().join(name));
        let mut body = json!({ "name": name, "git": repository.bare, "poll": "1h" });
        body.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        let made = self.post("/api/v1/projects", body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        repository
    }

    /// Looks at the repository of a project now, as the loop does.
    pub(crate) async fn look(&self, project: &str) {
        let project = self.app.store.project(project).await.expect("read").expect("a project");
        triggers::visit_now(&self.app, &project).await.expect("a look");
    }

    /// Waits for the end of a run, and returns its events.
    pub(crate) async fn finish(&self, run: &str) -> Vec<Value> {
        let path = format!("/api/v1/runs/{run}/events?follow=true");
        let events = tokio::time::timeout(Duration::from_secs(30), self.get(&path));
        let events = events.await.expect("an end");
        let events = events.lines();
        let last = events.last().map(|event| event["kind"].clone());
        assert_eq!(last, Some(json!("run.finished")), "{events:?}");
        events
    }

    /// The only run there is.
    pub(crate) async fn run(&self) -> Value {
        let runs = self.get("/api/v1/runs").await.json();
        let [run] = runs.as_array().expect("a list").as_slice() else {
            panic!("not one run: {runs:#}")
        };
        run.clone()
    }

    /// The newest trigger.
    pub(crate) async fn trigger(&self) -> Value {
        self.get("/api/v1/triggers").await.json()[0].clone()
    }
}

/// Lets a router answer one request, whole.
async fn answer(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.expect("a router always answers");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    let kind = parts.headers.get(header::CONTENT_TYPE);
    Answer {
        status: parts.status,
        kind: kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned(),
        text: String::from_utf8_lossy(&body).into_owned(),
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) kind: String,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        let line = |line| serde_json::from_str(line).expect("a value per line");
        self.text.lines().map(line).collect()
    }
}

/// A repository to push to, and a tree to push from.
pub(crate) struct Repository {
    pub(crate) bare: PathBuf,
    tree: PathBuf,
}

impl Repository {
    fn create(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let repository = Self { bare: folder.join("origin.git"), tree: folder.join("tree") };
        git(folder, &["init", "--quiet", "--bare", "--initial-branch=main", "origin.git"]);
        git(folder, &["init", "--quiet", "--initial-branch=main", "tree"]);
        let origin = repository.bare.display().to_string();
        repository.git(&["remote", "add", "origin", &origin]);
        repository
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        git(&self.tree, arguments)
    }

    /// Commits `files` and returns the full id.
    pub(crate) fn commit(&self, files: &[(&str, &str)]) -> String {
        for (path, text) in files {
            let path = self.tree.join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", "a change"]);
        self.git(&["rev-parse", "HEAD"])
    }

    pub(crate) fn push(&self) {
        self.git(&["push", "--quiet", "--force", "origin", "HEAD"]);
    }

    pub(crate) fn commit_and_push(&self, files: &[(&str, &str)]) -> String {
        let sha = self.commit(files);
        self.push();
        sha
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(folder)
        .args([
            "-c",
            "user.name=Ada",
            "-c",
            "user.email=ada@example.net",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("git starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {complaint}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
