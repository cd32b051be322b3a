//! What we leave out of a context, beside what the real command line of Docker does: it
//! sends its contexts to a server of ours.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::bench::tree;
use crate::backend::docker::dockerignore::DockerIgnore;

const FILES: [&str; 22] = [
    "Dockerfile",
    "Makefile",
    "README.md",
    "a.log",
    "a+b.txt",
    "{a,b}.txt",
    "a.txt",
    "b.txt",
    "(x).txt",
    "src/main.c",
    "src/main.o",
    "src/lib/deep/x.c",
    "src/lib/deep/x.o",
    "src/lib/README.md",
    "node_modules/left/index.js",
    "web/node_modules/left/index.js",
    "web/dist/app.js",
    "web/.env",
    ".env",
    ".git/config",
    "foobar/x",
    "foo/bar/x",
];

const RULES: [&str; 22] = [
    "",
    "# all\n\n  \n",
    "node_modules\n.git",
    "**/node_modules",
    "/web/dist/\n./src/lib",
    "*.log\n*.md\n!README.md",
    "**/*.o",
    "*/*.o",
    "src/**",
    "src/**/*.o\n!src/main.o",
    "*\n!src\n!Makefile",
    "*\n!src/lib\nsrc/lib/deep/*.o",
    "**\n!src/main.c",
    "web/**/*.js",
    "?.txt",
    "[ab].txt",
    "[^a].txt",
    "{a,b}.txt",
    "a+b.txt\n(x).txt",
    "\\{a*",
    "src/../Makefile\nfoo**",
    "**/.env\n!web/.env\n  Makefile  ",
];

/// Answers as an engine that takes every context, and hands each on.
async fn engine(contexts: mpsc::Sender<Bytes>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let contexts = contexts.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let contexts = contexts.clone();
                async move {
                    let is_build = request.uri().path().ends_with("/build");
                    let body = request.into_body().collect().await?.to_bytes();
                    if is_build {
                        contexts.send(body).await.unwrap();
                    }
                    let answer = Response::builder().header("Api-Version", "1.41");
                    Ok::<_, hyper::Error>(answer.body(Full::<Bytes>::from("{}\n")).unwrap())
                }
            });
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(TokioIo::new(connection), service));
        }
    });
    port
}

/// The files of a context as the command line sends it, but those that it always does.
fn sent(archive: impl Read) -> BTreeSet<String> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.header().entry_type().is_file());
    let names = files.map(|entry| entry.path().unwrap().to_string_lossy().into_owned());
    names.filter(|name| !["Dockerfile", ".dockerignore"].contains(&name.as_str())).collect()
}

async fn command_line(port: u16, context: &Path) {
    let context = context.to_owned();
    let ran = tokio::task::spawn_blocking(move || {
        Command::new("docker")
            .args(["--host", &format!("tcp://127.0.0.1:{port}"), "build", "--quiet", "."])
            .env("DOCKER_BUILDKIT", "0")
            .current_dir(context)
            .output()
            .unwrap()
    });
    let ran = ran.await.unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_of_a_context_is_what_the_command_line_of_docker_leaves_out() {
    let (contexts, mut received) = mpsc::channel(1);
    let port = engine(contexts).await;
    let folder = tree(&FILES.map(|file| (file, "x")));
    for rules in RULES {
        std::fs::write(folder.path().join(".dockerignore"), rules).unwrap();
        command_line(port, folder.path()).await;
        let theirs = sent(&received.recv().await.unwrap()[..]);
        let ignore = DockerIgnore::parse(rules).unwrap();
        let files = FILES.into_iter().filter(|file| *file != "Dockerfile");
        let ours: BTreeSet<String> =
            files.filter(|file| !ignore.leaves_out(file)).map(str::to_owned).collect();
        assert_eq!(ours, theirs, "with {rules:?}");
    }
}
