//! What a build may ask for while it runs: secrets and logins.

use bollard::query_parameters::BuilderVersion;
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, RegistryServer, heard};
use super::build::{docker, work};
use crate::backend::docker::DockerBackend;
use crate::backend::docker::build::build_with;
use crate::backend::{Backend, BackendError, BuildSpec, SecretSpec};

fn secret(name: &str, value: &str, env: Option<&str>) -> SecretSpec {
    SecretSpec { name: name.to_owned(), value: value.to_owned(), env: env.map(str::to_owned) }
}

/// Builds the Dockerfile of `bench` with `secrets`; `WHO` keeps the builder's cache away.
fn spec(bench: &Bench, secrets: Vec<SecretSpec>) -> BuildSpec {
    let mut work = work(".", "Dockerfile");
    work.args.insert("WHO".to_owned(), bench.run.instance.clone());
    BuildSpec { secrets, ..bench.spec(1, work) }
}

async fn build(bench: &Bench, spec: &BuildSpec) -> (Result<String, BackendError>, String) {
    let cancel = CancellationToken::new();
    let mut again = true;
    loop {
        let built = async |output| bench.backend.build(&bench.run, spec, &output, &cancel).await;
        let (built, said) = heard(built).await;
        match built {
            // The engine broke its answer off; the runner tries again, too.
            Err(BackendError::Infrastructure { .. }) if again => again = false,
            built => return (built.map(|built| built.id), said),
        }
    }
}

#[tokio::test]
async fn secrets_of_a_build_are_mounts_and_in_nothing_that_is_left() {
    let dockerfile = "FROM busybox:1\nARG WHO\n\
        RUN --mount=type=secret,id=NPM_TOKEN echo \"$WHO token $(cat /run/secrets/NPM_TOKEN)\"\n\
        RUN --mount=type=secret,id=KEY,target=/root/key,mode=0400 \
          echo \"$(grep -c . /root/key) lines, $(stat -c %a /root/key)\" && grep /root/key /proc/mounts\n\
        RUN test ! -s /run/secrets/NPM_TOKEN && test ! -s /root/key\n";
    let bench = Bench::with(&[("Dockerfile", dockerfile)]).await;
    let token = format!("swordfish-{}", bench.run.instance);
    let key = format!("first-{0}\nsecond-{0}\n", bench.run.instance);
    let secrets = vec![secret("NPM", &token, Some("NPM_TOKEN")), secret("KEY", &key, None)];
    let (built, said) = build(&bench, &spec(&bench, secrets)).await;
    let id = built.unwrap_or_else(|error| panic!("{error}\n{said}"));
    // What is printed is masked where it becomes a frame, not here.
    assert!(said.contains(&format!("{} token {token}", bench.run.instance)), "{said}");
    assert!(said.contains("2 lines, 400") && said.contains("tmpfs"), "{said}");

    let shown = docker(&["history", "--no-trunc", &id]) + &docker(&["inspect", &id]);
    let saved = std::process::Command::new("docker").args(["save", &id]).output().unwrap().stdout;
    assert!(saved.len() > 1_000_000, "all layers are there");
    let lines = ["first", "second"].map(|line| format!("{line}-{}", bench.run.instance));
    for value in [&token, &lines[0], &lines[1]] {
        assert!(!shown.contains(value.as_str()), "{value} is in {shown}");
        let layers = saved.windows(value.len()).any(|window| window == value.as_bytes());
        assert!(!layers, "{value} is in a layer");
    }
    let shown = docker(&["ps", "--all", "--no-trunc"]);
    assert!(!shown.contains(&token));
}

#[tokio::test]
async fn a_secret_the_stage_does_not_name_is_not_there_and_a_required_one_is_an_error() {
    let dockerfile = "FROM busybox:1\nARG WHO\n\
        RUN --mount=type=secret,id=OTHER test ! -e /run/secrets/OTHER && echo none $WHO\n\
        RUN --mount=type=secret,id=NPM_TOKEN,required=true echo $WHO >/dev/null\n";
    let bench = Bench::with(&[("Dockerfile", dockerfile)]).await;
    let secrets = vec![secret("NPM_TOKEN", "swordfish", Some("NPM_TOKEN"))];
    let (built, said) = build(&bench, &spec(&bench, secrets)).await;
    built.unwrap_or_else(|error| panic!("{error}\n{said}"));
    assert!(said.contains(&format!("none {}", bench.run.instance)), "{said}");
    assert_eq!(said.matches("asks for the secret `OTHER`").count(), 1, "{said}");

    let mut without = spec(&bench, Vec::new());
    without.work.args.insert("WHO".to_owned(), format!("{}-again", bench.run.instance));
    let (refused, said) = build(&bench, &without).await;
    let Err(BackendError::User { code: Some("E050"), message }) = refused else {
        panic!("{refused:?}\n{said}");
    };
    assert!(
        message.starts_with("the Dockerfile requires the secret `NPM_TOKEN`, which the stage does not give it: add `secrets: [NPM_TOKEN]`"),
        "{message}"
    );
}

#[tokio::test]
async fn an_engine_without_buildkit_builds_nothing_with_secrets() {
    let bench = Bench::with(&[("Dockerfile", "FROM busybox:1\nRUN true\n")]).await;
    let spec = spec(&bench, vec![secret("TOKEN", "swordfish", Some("TOKEN"))]);
    let cancel = CancellationToken::new();
    let (refused, _) = heard(async |output| {
        let DockerBackend { engine, layers, .. } = &bench.backend;
        let version = BuilderVersion::BuilderV1;
        build_with(version, engine, layers, &bench.run, &spec, &output, &cancel).await
    })
    .await;
    let Err(BackendError::Infrastructure { part: "docker", message }) = refused else {
        panic!("the classic builder has no mounts: {refused:?}");
    };
    assert!(message.starts_with("this engine builds without BuildKit"), "{message}");
}

#[tokio::test]
async fn a_base_image_of_a_private_registry_is_got_with_its_login() {
    let server = RegistryServer::start_plain();
    let host = server.registry.host.clone();
    let bench = Bench::with(&[
        ("base/Dockerfile", "FROM busybox:1\nARG WHO\nRUN echo $WHO >/base\n"),
        ("Dockerfile", &format!("FROM {host}/team/app:base\nARG WHO\nRUN cat /base\n")),
    ])
    .await;
    let mut base = work("base", "Dockerfile");
    base.args.insert("WHO".to_owned(), bench.run.instance.clone());
    let base = bench.build(2, base).await.0.unwrap().id;
    bench.push(&base, &["base"], &server.registry).await.0.unwrap();
    docker(&["rmi", "--force", &format!("{host}/team/app:base")]);

    let mut with_login = spec(&bench, Vec::new());
    with_login.registries = vec![server.registry.clone()];
    let (built, said) = build(&bench, &with_login).await;
    built.unwrap_or_else(|error| panic!("{error}\n{said}"));
    assert!(said.contains(&bench.run.instance), "{said}");

    let mut anonymous = spec(&bench, Vec::new());
    anonymous.work.args.insert("WHO".to_owned(), format!("{}-again", bench.run.instance));
    let (refused, said) = build(&bench, &anonymous).await;
    assert!(
        matches!(&refused, Err(BackendError::User { code: Some("E090"), .. })),
        "{refused:?}\n{said}"
    );
}
