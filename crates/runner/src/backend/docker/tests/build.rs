//! Images on a real engine, to a real registry.

use std::process::Command;
use std::time::{Duration, Instant};

use bollard::query_parameters::BuilderVersion;
use pipeline::BuildWork;
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, CHECKOUT, RegistryServer, heard};
use crate::Registry;
use crate::backend::docker::DockerBackend;
use crate::backend::docker::build::build_with;
use crate::backend::{Backend, BackendError, BuildSpec, Built, LayerId, PushSpec, Pushed};

fn work(context: &str, file: &str) -> BuildWork {
    BuildWork {
        context: context.to_owned(),
        file: file.to_owned(),
        args: [("WHO".to_owned(), "world".to_owned())].into(),
        ..BuildWork::default()
    }
}

impl Bench {
    fn spec(&self, index: u32, work: BuildWork) -> BuildSpec {
        BuildSpec {
            stage: format!("b{index}"),
            attempt: 1,
            name: format!("shipline-{}-b{index}-1", self.run.run.short()),
            work,
            layer: LayerId { index, attempt: 1 },
            lower: vec![CHECKOUT],
            registries: Vec::new(),
        }
    }

    async fn build(&self, index: u32, work: BuildWork) -> (Result<Built, BackendError>, String) {
        let spec = self.spec(index, work);
        let cancel = CancellationToken::new();
        heard(async |output| self.backend.build(&self.run, &spec, &output, &cancel).await).await
    }

    async fn push(
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
        };
        let cancel = CancellationToken::new();
        heard(async |output| self.backend.push(&self.run, &spec, &output, &cancel).await).await
    }
}

fn docker(arguments: &[&str]) -> String {
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
    assert!(message.contains("exit code: 3"), "{message}");
    assert!(message.ends_with("\n  something is wrong"), "{message}");
    assert!(refused(2, "bad", "Dockerfile").await.contains("FROMM"));
    assert!(refused(3, "copy", "Dockerfile").await.contains("nothing"));
    assert_eq!(refused(4, ".", "missing").await, "there is no `missing` in the workspace");
    assert_eq!(
        refused(5, "none", "Dockerfile").await,
        "there is no directory `none` in the workspace"
    );
    assert_eq!(
        refused(6, "../..", "Dockerfile").await,
        "the build context `../..` is not inside the workspace"
    );
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
