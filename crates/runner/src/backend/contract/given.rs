//! What an attempt is given, and what it gives back.

use pipeline::Resources;
use tokio_util::sync::CancellationToken;

use super::super::{AttemptSpec, Backend, BackendError, CacheSpec, RunContext, SecretSpec};
use super::{attempt, layer, run_to_end};

/// A secret is a variable or a file, of its attempt alone.
pub(crate) async fn secrets_are_of_their_attempt_alone(
    backend: &dyn Backend,
    run: &RunContext,
    image: &str,
) {
    let secret = |name: &str, value: &str, env: Option<&str>| SecretSpec {
        name: name.to_owned(),
        value: value.to_owned(),
        env: env.map(str::to_owned),
    };
    let secrets = vec![secret("KEY", "a key\n", None), secret("TOKEN", "a token", Some("TOKEN"))];
    let look = ["cat /run/secrets/KEY", "echo $TOKEN"];
    let with = AttemptSpec { secrets, ..attempt(run, 61, image, &look) };
    let (stdout, _, exit) = run_to_end(backend, run, &with).await;
    assert_eq!((stdout.as_str(), exit.code), ("a key\na token\n", 0));
    backend.seal(run, with.layer).await.unwrap();

    let lower = vec![with.layer, layer(run, 0)];
    let without = AttemptSpec { lower, ..attempt(run, 62, image, &look) };
    assert_eq!(run_to_end(backend, run, &without).await.2.code, 1, "its layer has none of it");
}

/// What is written to `$SHIPLINE_OUTPUT` comes back as it is, of whoever failed, too.
pub(crate) async fn outputs_come_back_as_they_were_written(
    backend: &dyn Backend,
    run: &RunContext,
    image: &str,
) {
    let write = ["echo v=7 >>$SHIPLINE_OUTPUT", "echo w=a=b >>$SHIPLINE_OUTPUT", "exit 3"];
    let (_, _, exit) = run_to_end(backend, run, &attempt(run, 63, image, &write)).await;
    assert_eq!((exit.code, exit.outputs.as_slice()), (3, &b"v=7\nw=a=b\n"[..]));
    let (_, _, exit) = run_to_end(backend, run, &attempt(run, 64, image, &["true"])).await;
    assert_eq!((exit.code, exit.outputs.as_slice()), (0, &b""[..]));
}

/// Limits hold and are told; more cores than there are is no mistake.
pub(crate) async fn limits_are_told_with_the_end(
    backend: &dyn Backend,
    run: &RunContext,
    image: &str,
) {
    let resources = Resources { cpu: Some(1000.0), memory: Some(64 << 20), pids: Some(33) };
    let limited = AttemptSpec { resources, ..attempt(run, 65, image, &["true"]) };
    let (_, _, exit) = run_to_end(backend, run, &limited).await;
    assert_eq!(exit.code, 0);
    assert_eq!((exit.usage.memory.limit, exit.usage.pids.limit), (Some(64 << 20), Some(33)));
}

/// A cache is a directory: over a file it is the user's mistake, and not the engine's.
pub(crate) async fn a_cache_over_a_file_is_refused(
    backend: &dyn Backend,
    run: &RunContext,
    image: &str,
) {
    let file = attempt(run, 66, image, &["echo a >file"]);
    assert_eq!(run_to_end(backend, run, &file).await.2.code, 0);
    backend.seal(run, file.layer).await.unwrap();
    let paths = vec!["/workspace/file".to_owned()];
    let cache = CacheSpec { key: "over".to_owned(), restore: Vec::new(), paths };
    let over = AttemptSpec {
        lower: vec![file.layer, layer(run, 0)],
        caches: vec![cache],
        ..attempt(run, 67, image, &["true"])
    };
    let started = backend.start(run, &over, &CancellationToken::new()).await;
    let Err(BackendError::User { code, message }) = started.map(drop) else {
        panic!("there is a file");
    };
    assert_eq!(code, Some("E091"));
    assert!(message.starts_with("the cache `/workspace/file` lies over a file of the workspace"));
}
