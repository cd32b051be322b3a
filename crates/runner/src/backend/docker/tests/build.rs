//! Images on a real engine, to a real registry.

use std::process::Command;
use std::time::{Duration, Instant};

use bollard::query_parameters::BuilderVersion;
use pipeline::BuildWork;
use sha2::Digest;
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, RegistryServer, heard};
use crate::Registry;
use crate::backend::docker::DockerBackend;
use crate::backend::docker::build::build_with;
use crate::backend::{Backend, BackendError, BuildSpec, Built, PushSpec, Pushed};

pub(super) fn work(context: &str, file: &str) -> BuildWork {
    BuildWork {
        context: context.to_owned(),
        file: file.to_owned(),
        args: [("WHO".to_owned(), "world".to_owned())].into(),
        ..BuildWork::default()
    }
}

impl Bench {
    pub(super) fn spec(&self, index: u32, work: BuildWork) -> BuildSpec {
        BuildSpec {
            stage: format!("b{index}"),
            attempt: 1,
            name: format!("shipline-{}-b{index}-1", self.run.run.short()),
            work,
            layer: self.layer(index),
            lower: vec![self.layer(0)],
            merge: None,
            registries: Vec::new(),
            secrets: Vec::new(),
        }
    }

    pub(super) async fn build(
        &self,
        index: u32,
        work: BuildWork,
    ) -> (Result<Built, BackendError>, String) {
        let spec = self.spec(index, work);
        let cancel = CancellationToken::new();
        heard(async |output| self.backend.build(&self.run, &spec, &output, &cancel).await).await
    }

    pub(super) async fn push(
        &self,
        image: &str,
        tags: &[&str],
        registry: &Registry,
    ) -> (Result<Pushed, BackendError>, String) {
        let spec = PushSpec {
            stage: "publish".to_owned(),
            attempt: 1,
            image: image.to_owned(),
            tags: tags.iter().map(|tag| format!("{}/team/app:{tag}", registry.host)).collect(),
            credential: Some("harbor".to_owned()),
            registry: registry.clone(),
            scan: None,
        };
        let cancel = CancellationToken::new();
        heard(async |output| self.backend.push(&self.run, &spec, &output, &cancel).await).await
    }
}

pub(super) fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn an_image_nobody_named_goes_and_a_named_one_stays() {
    let bench =
        Bench::with(&[("Dockerfile", "FROM busybox:1\nARG WHO\nRUN echo $WHO >/file\n")]).await;
    let nameless = bench.build(1, work(".", "Dockerfile")).await.0.unwrap().id;
    let tag = format!("shipline-test-{}:1", bench.run.run.short());
    let args = [("WHO".to_owned(), "named".to_owned())].into();
    let named = BuildWork { tags: vec![tag.clone()], args, ..work(".", "Dockerfile") };
    let named = bench.build(2, named).await.0.unwrap().id;
    assert_ne!(nameless, named);
    let removed = bench.backend.remove_images(&bench.run.instance).await.unwrap();
    let left = docker(&["images", "--no-trunc", "--quiet", &tag]);
    docker(&["rmi", &tag]);
    assert_eq!(left.trim(), named);
    assert_eq!(removed, 1);
    assert_eq!(docker(&["images", "--all", "--no-trunc", "--quiet"]).matches(&nameless).count(), 0);
}

#[tokio::test]
async fn an_image_is_built_from_the_workspace_and_pushed() {
    let bench = Bench::with(&[
        (
            "Dockerfile",
            "FROM busybox:1\nARG WHO\nCOPY . /app\nRUN echo hello $WHO; ls /app >/list\n",
        ),
        (".dockerignore", "*.o\n!keep.o\n"),
        ("main.c", ""),
        ("main.o", ""),
        ("keep.o", ""),
    ])
    .await;
    let mut tagged = work(".", "Dockerfile");
    // Something that no build before had: the builder remembers those.
    tagged.args.insert("WHO".to_owned(), bench.run.instance.clone());
    let again = BuildWork { tags: Vec::new(), ..tagged.clone() };
    tagged.tags = vec![format!("{}:1.0", bench.run.instance)];
    let (built, said) = bench.build(1, tagged).await;
    let id = built.unwrap().id;
    assert!(id.starts_with("sha256:"), "{id}");
    assert!(
        said.contains("RUN echo hello")
            && said.contains(&format!("hello {}\n", bench.run.instance)),
        "{said}"
    );
    let of_tag =
        docker(&["inspect", "--format", "{{.Id}}", &format!("{}:1.0", bench.run.instance)]);
    assert_eq!(of_tag.trim(), id);
    let listed = docker(&[
        "run",
        "--rm",
        "--network=none",
        &id,
        "sh",
        "-c",
        "cat /list; stat -c %a /app/main.c",
    ]);
    assert_eq!(listed, "Dockerfile\nkeep.o\nmain.c\n644\n");

    let (again, said) = bench.build(2, again).await;
    assert_eq!(again.unwrap().id, id, "what has not changed is the same image: {said}");

    let server = RegistryServer::start();
    let (pushed, said) = bench.push(&id, &["1.0", "latest"], &server.registry).await;
    let pushed = pushed.unwrap();
    assert_eq!(pushed.reference, format!("{}/team/app@{}", server.registry.host, pushed.digest));
    assert!(said.contains("layers, ") && said.contains(&pushed.digest), "{said}");
    let (again, _) = bench.push(&id, &["1.0"], &server.registry).await;
    assert_eq!(again.unwrap(), pushed, "pushing again changes nothing");

    let mut wrong = server.registry.clone();
    wrong.password = "wrong".to_owned();
    let (refused, _) = bench.push(&id, &["1.0"], &wrong).await;
    let Err(BackendError::User { code, message }) = refused else {
        panic!("the password is wrong")
    };
    assert_eq!(code, Some("E090"));
    assert!(message.contains(&wrong.host) && message.contains("`harbor`"), "{message}");

    let mut untrusted = server.registry.clone();
    untrusted.ca_file = None;
    let (unproved, _) = bench.push(&id, &["1.0"], &untrusted).await;
    let Err(BackendError::Infrastructure { part: "registry", message }) = unproved else {
        panic!("nobody vouches for the registry");
    };
    assert!(message.contains("`ca-file`"), "{message}");

    // The image can be pulled by what was told.
    docker(&["rmi", "--force", &pushed.reference]);
    let mut attempt = bench.attempt(5, &["cat /list"]);
    attempt.image = pushed.reference.clone();
    attempt.registry = Some(server.registry.clone());
    let ran = bench.run_attempt(&attempt).await.unwrap();
    assert_eq!(ran.stdout(), "Dockerfile\nkeep.o\nmain.c\n");
    assert_eq!(ran.image_digest, Some(pushed.reference));

    server.stop();
    let cancel = CancellationToken::new();
    let spec = PushSpec {
        stage: "publish".to_owned(),
        attempt: 1,
        image: id.clone(),
        tags: vec![format!("{}/team/app:1.0", server.registry.host)],
        credential: None,
        registry: server.registry.clone(),
        scan: None,
    };
    let begun = Instant::now();
    let pushing =
        heard(async |output| bench.backend.push(&bench.run, &spec, &output, &cancel).await);
    let stopping = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        cancel.cancel();
    };
    let ((down, said), ()) = tokio::join!(pushing, stopping);
    assert!(matches!(down, Err(BackendError::Cancelled)), "a registry that is down is tried again");
    assert!(said.contains("; trying again"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(3), "a cancel is heard at once");
    for reference in
        docker(&["inspect", "--format", "{{join .RepoTags \" \"}}", &id]).split_whitespace()
    {
        docker(&["rmi", reference]);
    }
}

#[tokio::test]
async fn a_build_that_fails_is_the_users_with_its_last_lines() {
    let bench = Bench::with(&[
        ("Dockerfile", "FROM busybox:1\nRUN echo something is wrong; exit 3\n"),
        ("bad/Dockerfile", "FROMM busybox:1\n"),
        ("copy/Dockerfile", "FROM busybox:1\nCOPY nothing /\n"),
        ("docker/app.Dockerfile", "FROM busybox:1\nCOPY main.c /\n"),
        ("app/main.c", "int"),
    ])
    .await;
    let refused = async |index, context: &str, file: &str| match bench
        .build(index, work(context, file))
        .await
        .0
    {
        Err(BackendError::User { message, .. }) => message,
        other => panic!("{context} {file}: {other:?}"),
    };
    let message = refused(1, ".", "Dockerfile").await;
    assert!(message.starts_with("Dockerfile:2: "), "{message}");
    assert!(message.contains("exit code: 3"), "{message}");
    assert!(message.ends_with("\n  something is wrong"), "{message}");
    assert!(refused(2, "bad", "Dockerfile").await.contains("FROMM"));
    assert!(refused(3, "copy", "Dockerfile").await.contains("nothing"));
    let there = "the workspace has `Dockerfile`, `app/`, `bad/`, `copy/`, `docker/`";
    for (index, context, file, expected) in [
        (4, ".", "missing", format!("`missing` of `build.file` is not in the workspace; {there}")),
        (
            5,
            "app",
            "docker/Dockerfile",
            "`docker/Dockerfile` of `build.file` is neither in `app/` nor in the workspace; \
             `app/` has `main.c`"
                .to_owned(),
        ),
        (
            6,
            "none",
            "Dockerfile",
            format!("`none` of `build.context` is no directory of the workspace; {there}"),
        ),
        (
            8,
            "../..",
            "Dockerfile",
            "`../..` of `build.context` leads out of the workspace".to_owned(),
        ),
    ] {
        let (refused, _) = bench.build(index, work(context, file)).await;
        let Err(BackendError::User { code, message }) = refused else { panic!("{refused:?}") };
        assert_eq!((code, message), (Some("E097"), expected));
    }
    let (built, said) = bench.build(7, work("app", "docker/app.Dockerfile")).await;
    assert!(built.is_ok(), "a Dockerfile beside the context is found from the top: {said}");

    bench.backend.clean(&bench.run).await.unwrap();
    assert_eq!(bench.objects().await, [""; 0]);
}

#[tokio::test]
async fn an_engine_without_buildkit_builds_too() {
    let files = [("Dockerfile", "FROM busybox:1\nARG WHO\nRUN echo classic $WHO\n")];
    let bench = Bench::with(&files).await;
    let mut work = work(".", "Dockerfile");
    work.args.insert("WHO".to_owned(), bench.run.instance.clone());
    let spec = bench.spec(1, work);
    let cancel = CancellationToken::new();
    let (built, said) = heard(async |output| {
        let DockerBackend { engine, layers, .. } = &bench.backend;
        let version = BuilderVersion::BuilderV1;
        build_with(version, engine, layers, &bench.run, &spec, &output, &cancel).await
    })
    .await;
    assert!(built.unwrap().id.starts_with("sha256:"));
    assert!(said.contains(&format!("classic {}", bench.run.instance)), "{said}");
}

#[tokio::test]
async fn a_build_has_its_target_its_variables_and_its_platform() {
    let dockerfile = "FROM busybox:1 AS app\nARG WHO\nARG TZ\nRUN echo app for $WHO in $TZ\n\
                      FROM scratch AS bare\nCOPY Dockerfile /\n\
                      FROM app\nRUN echo never; exit 1\n";
    let bench = Bench::with(&[("Dockerfile", dockerfile)]).await;
    let mut app = work(".", "Dockerfile");
    app.target = Some("app".to_owned());
    // Of two values the argument counts; the name of the instance keeps the cache away.
    app.env = [("WHO".to_owned(), "nobody".to_owned()), ("TZ".to_owned(), "UTC".to_owned())].into();
    app.args.insert("WHO".to_owned(), bench.run.instance.clone());
    let (built, said) = bench.build(1, app).await;
    built.unwrap();
    assert!(said.contains(&format!("app for {} in UTC", bench.run.instance)), "{said}");

    let mut bare = work(".", "Dockerfile");
    bare.target = Some("bare".to_owned());
    bare.platform = Some("linux/arm64".to_owned());
    let (built, said) = bench.build(2, bare).await;
    let id = built.unwrap_or_else(|error| panic!("{error}: {said}")).id;
    let shown = docker(&["inspect", "--format", "{{.Os}}/{{.Architecture}}", &id]);
    assert_eq!(shown, "linux/arm64\n");
}

/// A tree with symbolic links, as a build would meet them.
async fn bench_with_links(files: &[(&str, &str)], links: &[(&str, &str)]) -> Bench {
    let folder = super::bench::tree(files);
    for (path, target) in links {
        std::os::unix::fs::symlink(target, folder.path().join(path)).unwrap();
    }
    let bench = Bench::empty().await;
    bench.backend.prepare(&bench.run).await.unwrap();
    let workspace = crate::Workspace::Tree(folder.path().to_owned());
    bench.check_out(bench.layer(0), &workspace).await.unwrap();
    bench
}

#[tokio::test]
async fn a_dockerfile_that_is_a_link_is_followed_within_the_workspace_only() {
    let bench = bench_with_links(
        &[
            ("docker/real", "FROM busybox:1\nCOPY main.c /\n"),
            ("app/main.c", "int"),
            ("app/.dockerignore", "*\n!main.c\n"),
        ],
        &[("app/Dockerfile", "../docker/real"), ("app/out", "/etc/passwd"), ("app/round", "round")],
    )
    .await;
    let (built, said) = bench.build(1, work("app", "Dockerfile")).await;
    assert!(built.is_ok(), "{built:?}\n{said}");
    for (index, file) in [(2, "out"), (3, "round")] {
        let refused = bench.build(index, work("app", file)).await.0.unwrap_err();
        let expected =
            format!("`{file}` of `build.file` is neither in `app/` nor in the workspace; ");
        assert!(refused.to_string().starts_with(&expected), "{refused}");
    }
}

#[tokio::test]
async fn rules_of_a_dockerfile_go_before_those_of_the_context() {
    let list = "FROM busybox:1\nARG WHO\nCOPY . /ctx\nRUN cd /ctx && find . -type f | sort | tr '\\n' ' '\n";
    let bench = Bench::with(&[
        ("Dockerfile", list),
        ("other.Dockerfile", list),
        ("other.Dockerfile.dockerignore", "**/*.o\n!keep/*.o\n*ockerfile*\n"),
        (".dockerignore", "*\n!src\n"),
        ("src/a.c", ""),
        ("src/a.o", ""),
        ("keep/b.o", ""),
        ("notes", ""),
    ])
    .await;
    let listed = async |index, file: &str| {
        let mut work = work(".", file);
        work.args.insert("WHO".to_owned(), bench.run.instance.clone());
        let (built, said) = bench.build(index, work).await;
        built.unwrap_or_else(|error| panic!("{error}\n{said}"));
        let line = said.lines().find(|line| line.starts_with("./")).unwrap();
        line.split(" #").next().unwrap().trim_end().to_owned()
    };
    // BuildKit has the Dockerfile from the context, so it is always part of it.
    assert_eq!(listed(1, "Dockerfile").await, "./Dockerfile ./src/a.c ./src/a.o");
    assert_eq!(
        listed(2, "other.Dockerfile").await,
        "./.dockerignore ./keep/b.o ./notes ./other.Dockerfile ./src/a.c"
    );
}

/// Puts a list at `tag` that has the image of `of` for amd64, and for nothing else.
fn put_list(registry: &Registry, tag: &str, of: &str) {
    const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    let login = format!("{}:{}", registry.username, registry.password);
    let url = |tag: &str| format!("http://{}/v2/team/app/manifests/{tag}", registry.host);
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl")
            .args(["--silent", "--fail", "--user", &login])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let manifest = curl(&["--header", &format!("Accept: {MANIFEST}"), &url(of)]);
    let digest = format!("sha256:{}", hex::encode(sha2::Sha256::digest(&manifest)));
    let list = serde_json::json!({"schemaVersion": 2, "mediaType": LIST, "manifests": [{
        "mediaType": MANIFEST, "size": manifest.len(), "digest": digest,
        "platform": {"os": "linux", "architecture": "amd64"}}]});
    let kind = format!("Content-Type: {LIST}");
    curl(&["--request", "PUT", "--header", &kind, "--data", &list.to_string(), &url(tag)]);
}

#[tokio::test]
async fn an_image_for_another_platform_is_told_from_a_broken_build() {
    let server = RegistryServer::start_plain();
    let host = server.registry.host.clone();
    let bench = Bench::with(&[
        ("base/Dockerfile", "FROM busybox:1\nARG WHO\nRUN echo $WHO >/base\n"),
        ("Dockerfile", &format!("FROM {host}/team/app:list\nRUN true\n")),
    ])
    .await;
    let base = bench.build(1, work("base", "Dockerfile")).await.0.unwrap().id;
    bench.push(&base, &["base"], &server.registry).await.0.unwrap();
    docker(&["rmi", "--force", &format!("{host}/team/app:base")]);
    put_list(&server.registry, "list", "base");
    let build = async |index, platform: &str| {
        let work = BuildWork { platform: Some(platform.to_owned()), ..work(".", "Dockerfile") };
        let spec =
            BuildSpec { registries: vec![server.registry.clone()], ..bench.spec(index, work) };
        let cancel = CancellationToken::new();
        heard(async |output| bench.backend.build(&bench.run, &spec, &output, &cancel).await).await
    };
    let (built, said) = build(2, "linux/amd64").await;
    built.unwrap_or_else(|error| panic!("{error}\n{said}"));
    let refused = async |index, platform: &str| match build(index, platform).await {
        (Err(BackendError::User { code, message }), _) => (code, message),
        other => panic!("{other:?}"),
    };
    let (code, message) = refused(3, "linux/s390x").await;
    assert_eq!(code, Some("E090"));
    assert!(message.starts_with("the base image is not there for `linux/s390x`: "), "{message}");
    let (code, message) = refused(4, "nonsense/none/at/all").await;
    assert_eq!(code, None);
    assert!(message.contains("\"nonsense/none/at/all\": cannot parse platform"), "{message}");
}

#[tokio::test]
async fn steps_are_told_with_their_time_or_as_cached_and_long_output_is_bounded() {
    let dockerfile = "FROM busybox:1\nARG WHO\nRUN echo $WHO; sleep 1\n\
                      RUN yes 0123456789012345678901234567890123456789 | head -c 8000000\n";
    let bench = Bench::with(&[("Dockerfile", dockerfile)]).await;
    let mut first = work(".", "Dockerfile");
    first.args.insert("WHO".to_owned(), bench.run.instance.clone());
    let again = first.clone();
    let (built, said) = bench.build(1, first).await;
    built.unwrap_or_else(|error| panic!("{error}"));
    let step = said.lines().find(|line| line.ends_with("; sleep 1")).unwrap();
    let number = step.split(' ').next().unwrap();
    let done = said.lines().find(|line| line.starts_with(&format!("{number} done in "))).unwrap();
    let seconds: f64 = done.trim_end_matches('s').rsplit(' ').next().unwrap().parse().unwrap();
    assert!((1.0..10.0).contains(&seconds), "{done}");
    // The builder itself cuts the output of a step.
    assert!(said.len() < 3_000_000, "{} bytes", said.len());
    assert!(said.contains("[output clipped, log limit"), "it says so");

    let (built, said) = bench.build(2, again).await;
    built.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(said.lines().filter(|line| line.ends_with(" cached")).count(), 2, "{said}");
}
