//! The contract of [`Backend`] as tests, for every implementation: each is
//! given a backend, and an image whose `sh` has `echo`, `sleep`, `trap` and `exit`.

use std::collections::BTreeMap;
use std::time::Duration;

use event::{OutputStream, RunId};
use futures_util::StreamExt;
use pipeline::{Resources, Shell};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{AttemptSpec, Backend, Exit, Handle, LayerId, RunContext};
use crate::Workspace;

/// Longer than any engine needs for anything here.
const PATIENCE: Duration = Duration::from_secs(120);
const CHECKOUT: LayerId = LayerId { index: 0, attempt: 1 };

/// A run to test with, that nobody else has.
pub(crate) fn context(instance: &str) -> RunContext {
    RunContext {
        run: RunId::new(Uuid::now_v7()),
        instance: instance.to_owned(),
        project: "contract".to_owned(),
        keep_layers: false,
    }
}

/// Prepares `run` and fills its base layer from `workspace`.
pub(crate) async fn begin(backend: &dyn Backend, run: &RunContext, workspace: &Workspace) {
    backend.prepare(run).await.unwrap();
    backend.prepare(run).await.expect("`prepare` is idempotent");
    let (output, mut said) = mpsc::channel(64);
    let cancel = CancellationToken::new();
    let checkout = async {
        backend.checkout(run, CHECKOUT, workspace, None, &output, &cancel).await.unwrap();
        drop(output);
    };
    tokio::join!(checkout, async { while said.recv().await.is_some() {} });
    backend.seal(run, CHECKOUT).await.unwrap();
}

/// An attempt of stage `index` that runs `commands` on the checkout.
pub(crate) fn attempt(run: &RunContext, index: u32, image: &str, commands: &[&str]) -> AttemptSpec {
    AttemptSpec {
        stage: format!("s{index}"),
        attempt: 1,
        name: format!("shipline-{}-s{index}-1", run.run.short()),
        image: image.to_owned(),
        registry: None,
        pull: false,
        commands: commands.iter().map(|command| (*command).to_owned()).collect(),
        shell: Shell::Sh,
        user: None,
        workdir: crate::WORKSPACE.to_owned(),
        resources: Resources::default(),
        env: BTreeMap::from([("CI".to_owned(), "true".to_owned())]),
        layer: LayerId { index, attempt: 1 },
        lower: vec![CHECKOUT],
    }
}

/// Starts `attempt`, and returns its stdout, its stderr and its exit.
pub(crate) async fn run_to_end(
    backend: &dyn Backend,
    run: &RunContext,
    attempt: &AttemptSpec,
) -> (String, String, Exit) {
    let handle = backend.start(run, attempt, &CancellationToken::new()).await.unwrap();
    let (output, exit) = tokio::join!(collect(handle.as_ref()), timeout(PATIENCE, handle.wait()));
    let (stdout, stderr) = output;
    (stdout, stderr, exit.expect("the attempt ends").unwrap())
}

async fn collect(handle: &dyn Handle) -> (String, String) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut output = handle.output();
    while let Some(chunk) = output.next().await {
        let chunk = chunk.unwrap();
        match chunk.stream {
            OutputStream::Stdout => stdout.extend_from_slice(&chunk.bytes),
            OutputStream::Stderr => stderr.extend_from_slice(&chunk.bytes),
            OutputStream::Engine => {}
        }
    }
    (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Output is told apart and complete, and the exit code is the command's.
pub(crate) async fn output_and_exit_are_the_commands(
    backend: &dyn Backend,
    run: &RunContext,
    image: &str,
) {
    let attempt = attempt(run, 11, image, &["echo hello", "echo oops >&2", "exit 3"]);
    let (stdout, stderr, exit) = run_to_end(backend, run, &attempt).await;
    assert_eq!((stdout.as_str(), stderr.as_str()), ("hello\n", "oops\n"));
    assert_eq!((exit.code, exit.oom_killed, exit.lost), (3, false, None));
}

/// TERM ends an attempt that listens, well before its grace is over.
pub(crate) async fn a_listening_attempt_ends_at_once(
    backend: &dyn Backend,
    run: &RunContext,
    image: &str,
) {
    let attempt = attempt(run, 12, image, &["echo up", "sleep 600"]);
    let handle = backend.start(run, &attempt, &CancellationToken::new()).await.unwrap();
    let begun = Instant::now();
    let (_, exit, stopped) = tokio::join!(
        collect(handle.as_ref()),
        timeout(PATIENCE, handle.wait()),
        handle.stop(Duration::from_secs(60)),
    );
    stopped.unwrap();
    assert_ne!(exit.expect("the attempt ends").unwrap().code, 0);
    assert!(begun.elapsed() < Duration::from_secs(50), "TERM did not reach the command");
    handle.stop(Duration::ZERO).await.expect("stopping what has ended is no error");
}

/// KILL ends an attempt that does not, when its grace is over.
pub(crate) async fn a_stubborn_attempt_is_killed(
    backend: &dyn Backend,
    run: &RunContext,
    image: &str,
) {
    let attempt = attempt(run, 13, image, &["trap '' TERM", "echo up", "sleep 600"]);
    let handle = backend.start(run, &attempt, &CancellationToken::new()).await.unwrap();
    // The trap stands as soon as something was printed.
    let mut output = handle.output();
    loop {
        let chunk = output.next().await.expect("the attempt prints").unwrap();
        if chunk.stream == OutputStream::Stdout {
            break;
        }
    }
    let begun = Instant::now();
    let (exit, stopped, ()) = tokio::join!(
        timeout(PATIENCE, handle.wait()),
        handle.stop(Duration::from_secs(2)),
        async { while output.next().await.is_some() {} },
    );
    stopped.unwrap();
    assert_eq!(exit.expect("the attempt ends").unwrap().code, 137);
    assert!(begun.elapsed() >= Duration::from_secs(2), "the grace was not given");
}

/// Cleaning up works in the middle of everything, and again.
pub(crate) async fn cleaning_up_works_at_any_time(
    backend: &dyn Backend,
    run: &RunContext,
    image: &str,
) {
    let attempt = attempt(run, 14, image, &["sleep 600"]);
    let handle = backend.start(run, &attempt, &CancellationToken::new()).await.unwrap();
    backend.clean(run).await.unwrap();
    drop(handle);
    backend.clean(run).await.expect("`clean` may be repeated");
    let never = context(&run.instance);
    backend.clean(&never).await.expect("`clean` works for a run that never began");
}

mod fake {
    use super::*;
    use crate::backend::fake::FakeBackend;

    async fn run() -> (FakeBackend, RunContext) {
        let (backend, run) = (FakeBackend::default(), context("test"));
        begin(&backend, &run, &Workspace::Tree(".".into())).await;
        (backend, run)
    }

    #[tokio::test(start_paused = true)]
    async fn output_and_exit_are_the_commands() {
        let (backend, run) = run().await;
        super::output_and_exit_are_the_commands(&backend, &run, "busybox:1").await;
        assert_eq!(backend.violations(), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_listening_attempt_ends_at_once() {
        let (backend, run) = run().await;
        super::a_listening_attempt_ends_at_once(&backend, &run, "busybox:1").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_stubborn_attempt_is_killed() {
        let (backend, run) = run().await;
        super::a_stubborn_attempt_is_killed(&backend, &run, "busybox:1").await;
    }

    #[tokio::test(start_paused = true)]
    async fn cleaning_up_works_at_any_time() {
        let (backend, run) = run().await;
        super::cleaning_up_works_at_any_time(&backend, &run, "busybox:1").await;
        assert!(backend.running().is_empty());
    }
}
