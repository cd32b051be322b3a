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

use super::{
    AttemptSpec, Backend, CacheSpec, Exit, FileEntry, Handle, Kept, LayerId, Piece, RunContext,
    View,
};
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
        trusted: true,
        cache_limit: 1 << 30,
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
        caches: Vec::new(),
        secrets: Vec::new(),
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

/// An attempt with one cache, of a directory in the workspace and one in the home.
fn caching(
    run: &RunContext,
    index: u32,
    image: &str,
    (key, restore): (&str, &[&str]),
    commands: &[&str],
) -> AttemptSpec {
    let restore = restore.iter().map(|prefix| (*prefix).to_owned()).collect();
    let paths = vec!["~/.deps".to_owned(), "/workspace/made".to_owned()];
    let cache = CacheSpec { key: key.to_owned(), restore, paths };
    AttemptSpec { caches: vec![cache], ..attempt(run, index, image, commands) }
}

/// Runs `attempt`, keeps its cache, and returns what it printed, the key of what the
/// cache began as, and what became of it.
async fn run_and_keep(
    backend: &dyn Backend,
    run: &RunContext,
    attempt: &AttemptSpec,
) -> (String, Option<String>, Kept) {
    let handle = backend.start(run, attempt, &CancellationToken::new()).await.unwrap();
    let (output, exit) = tokio::join!(collect(handle.as_ref()), timeout(PATIENCE, handle.wait()));
    assert_eq!(exit.expect("the attempt ends").unwrap().code, 0, "{}", output.1);
    let restored = handle.restored().first().cloned().flatten();
    let kept = backend.keep(run, attempt, 0, restored.as_ref()).await.unwrap();
    (output.0, restored.map(|found| found.key), kept)
}

/// A cache is restored from its key, else from the newest that a prefix finds; what it
/// was restored from stays as it is, and the layer has nothing of it.
pub(crate) async fn caches_are_kept_and_restored(
    backend: &dyn Backend,
    run: &RunContext,
    image: &str,
) {
    let saved = |kept| matches!(kept, Kept::Saved { bytes } if bytes > 0);
    let fill = ["echo one >~/.deps/a", "echo two >made/b", "echo three >c"];
    let first = caching(run, 21, image, ("k-1", &[]), &fill);
    let (_, from, kept) = run_and_keep(backend, run, &first).await;
    assert_eq!((from, saved(kept)), (None, true));
    backend.seal(run, first.layer).await.unwrap();

    let plain = AttemptSpec {
        lower: vec![first.layer, CHECKOUT],
        ..attempt(run, 22, image, &["cat c", "cat made/b"])
    };
    let (stdout, _, exit) = run_to_end(backend, run, &plain).await;
    assert_eq!((stdout.as_str(), exit.code), ("three\n", 1), "a cache is no part of the layer");

    let change = ["cat ~/.deps/a", "cat made/b", "echo other >~/.deps/a"];
    let second = caching(run, 23, image, ("k-2", &["x-", "k-"]), &change);
    let (stdout, from, kept) = run_and_keep(backend, run, &second).await;
    assert_eq!((stdout.as_str(), from.as_deref()), ("one\ntwo\n", Some("k-1")));
    assert!(saved(kept));

    let look = ["cat ~/.deps/a", "cat made/b"];
    for (index, key, contents) in [(24, "k-1", "one"), (25, "k-2", "other")] {
        let third = caching(run, index, image, (key, &["k-"]), &look);
        let (stdout, from, kept) = run_and_keep(backend, run, &third).await;
        assert_eq!((stdout, from.as_deref()), (format!("{contents}\ntwo\n"), Some(key)));
        assert_eq!(kept, Kept::Unchanged);
    }
    let newest = caching(run, 26, image, ("k-3", &["k-"]), &look);
    let small = RunContext { cache_limit: 1, ..run.clone() };
    let (stdout, from, kept) = run_and_keep(backend, &small, &newest).await;
    assert_eq!((stdout.as_str(), from.as_deref()), ("other\ntwo\n", Some("k-2")));
    assert!(matches!(kept, Kept::TooLarge { bytes } if bytes > 1));

    // Two at once: each writes its own, and what is kept is a whole one of them.
    let both = [(27, "left"), (28, "right")].map(|(index, word)| {
        let write = [format!("echo {word} >~/.deps/a"), format!("echo {word} >made/b")];
        let write: Vec<&str> = write.iter().map(String::as_str).collect();
        caching(run, index, image, ("k-1", &[]), &write)
    });
    let (left, right) =
        tokio::join!(run_and_keep(backend, run, &both[0]), run_and_keep(backend, run, &both[1]),);
    assert!(saved(left.2) && saved(right.2));
    let last = caching(run, 29, image, ("k-1", &[]), &look);
    let (stdout, ..) = run_and_keep(backend, run, &last).await;
    assert!(matches!(stdout.as_str(), "left\nleft\n" | "right\nright\n"), "{stdout}");
}

/// What an untrusted run keeps is never what a trusted one is given.
pub(crate) async fn an_untrusted_run_reads_the_caches_of_its_project(
    backend: &dyn Backend,
    run: &RunContext,
    image: &str,
) {
    let write = |word: &str| [format!("echo {word} >~/.deps/a")];
    let of = |run: &RunContext, index, commands: &[String]| {
        let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
        caching(run, index, image, ("t-1", &[]), &commands)
    };
    let look = ["cat ~/.deps/a".to_owned()];
    let untrusted = RunContext { trusted: false, ..run.clone() };
    run_and_keep(backend, run, &of(run, 31, &write("ours"))).await;
    let both = [&look[..], &write("theirs")[..]].concat();
    let (stdout, ..) = run_and_keep(backend, &untrusted, &of(&untrusted, 32, &both)).await;
    assert_eq!(stdout, "ours\n");
    let (stdout, ..) = run_and_keep(backend, &untrusted, &of(&untrusted, 33, &look)).await;
    assert_eq!(stdout, "theirs\n");
    let (stdout, ..) = run_and_keep(backend, run, &of(run, 34, &look)).await;
    assert_eq!(stdout, "ours\n");
}

/// The files of a workspace are those an attempt begins with, and then those it left.
pub(crate) async fn a_workspace_is_read_before_and_after(
    backend: &dyn Backend,
    run: &RunContext,
    image: &str,
) {
    let read = async |view: &View| {
        let (to, mut pieces) = mpsc::channel(4);
        let choose = |entries: &[FileEntry]| {
            let entries = entries.iter().enumerate();
            entries.filter(|(_, entry)| entry.path.ends_with(".txt")).map(|(at, _)| at).collect()
        };
        let collect = async {
            let mut told = String::new();
            while let Some(piece) = pieces.recv().await {
                match piece {
                    Piece::File(entry) => told.push_str(&format!("{} ", entry.path)),
                    Piece::Bytes(bytes) => told.push_str(std::str::from_utf8(&bytes).unwrap()),
                }
            }
            told
        };
        let (read, told) = tokio::join!(backend.read(run, view, Box::new(choose), to), collect);
        read.unwrap();
        told
    };
    let attempt = attempt(run, 41, image, &["echo new >z.txt", "echo none >z.c"]);
    let view = attempt.view();
    let before = read(&view).await;
    let (_, _, exit) = run_to_end(backend, run, &attempt).await;
    assert_eq!(exit.code, 0);
    assert_eq!(read(&view).await, format!("{before}z.txt new\n"));
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
    async fn caches_are_kept_and_restored() {
        let (backend, run) = run().await;
        super::caches_are_kept_and_restored(&backend, &run, "busybox:1").await;
        super::an_untrusted_run_reads_the_caches_of_its_project(&backend, &run, "busybox:1").await;
        assert_eq!(backend.violations(), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_workspace_is_read_before_and_after() {
        let (backend, run) = run().await;
        super::a_workspace_is_read_before_and_after(&backend, &run, "busybox:1").await;
    }

    #[tokio::test(start_paused = true)]
    async fn cleaning_up_works_at_any_time() {
        let (backend, run) = run().await;
        super::cleaning_up_works_at_any_time(&backend, &run, "busybox:1").await;
        assert!(backend.running().is_empty());
    }
}
