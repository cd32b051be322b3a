//! The contract of [`Backend`] as tests, for every implementation: each is
//! given a backend, and an image whose `sh` has `echo`, `sleep`, `trap` and `exit`.

mod given;
mod images;
mod joining;

use std::collections::BTreeMap;
use std::time::Duration;

use event::{OutputStream, RunId};
use futures_util::StreamExt;
use pipeline::{Ready, ReadyProbe, Resources, Shell};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Adopted, AttemptSpec, Backend, BackendError, CacheSpec, CheckSpec, Chunk, Coming, Exit,
    FileEntry, Handle, Kept, LayerId, Piece, Released, RunContext, ServiceEnd, ServiceError,
    ServiceFailure, ServiceReady, ServiceSpec, Services, View,
};
use crate::Workspace;

pub(crate) use given::{
    a_cache_over_a_file_is_refused, limits_are_told_with_the_end,
    outputs_come_back_as_they_were_written, secrets_are_of_their_attempt_alone,
};
pub(crate) use images::images_are_built_and_pushed;
pub(crate) use joining::parallel_layers_are_joined_or_refused;

/// Longer than any engine needs for anything here.
const PATIENCE: Duration = Duration::from_secs(120);

/// The layer of the `index`th stage of `run`.
pub(crate) const fn layer(run: &RunContext, index: u32) -> LayerId {
    LayerId { run: run.run, index, attempt: 1 }
}

/// A run to test with, that nobody else has.
pub(crate) fn context(instance: &str) -> RunContext {
    RunContext {
        run: RunId::new(Uuid::now_v7()),
        instance: instance.to_owned(),
        project: "contract".to_owned(),
        keep_layers: false,
        durable: false,
        trusted: true,
        cache_limit: 1 << 30,
        coming: Coming::default(),
    }
}

/// Prepares `run` and fills its base layer from `workspace`.
pub(crate) async fn begin(backend: &dyn Backend, run: &RunContext, workspace: &Workspace) {
    backend.prepare(run).await.unwrap();
    backend.prepare(run).await.expect("`prepare` is idempotent");
    let known = backend.base(workspace).await.unwrap();
    assert_eq!(backend.base(workspace).await.unwrap(), known, "nothing has changed");
    let (output, mut said) = mpsc::channel(64);
    let cancel = CancellationToken::new();
    let checkout = async {
        backend.checkout(run, layer(run, 0), workspace, None, &output, &cancel).await.unwrap();
        drop(output);
    };
    tokio::join!(checkout, async { while said.recv().await.is_some() {} });
    backend.seal(run, layer(run, 0)).await.unwrap();
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
        layer: layer(run, index),
        lower: vec![layer(run, 0)],
        merge: None,
        caches: Vec::new(),
        secrets: Vec::new(),
        services: Vec::new(),
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
        lower: vec![first.layer, layer(run, 0)],
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

/// Layers that a run keeps are what another one can stand on.
pub(crate) async fn kept_layers_are_stood_on(backend: &dyn Backend, run: &RunContext, image: &str) {
    let first = RunContext { keep_layers: true, ..context(&run.instance) };
    begin(backend, &first, &Workspace::Tree(tempfile::tempdir().unwrap().path().into())).await;
    let made = attempt(&first, 1, image, &["echo made >made"]);
    assert_eq!(run_to_end(backend, &first, &made).await.2.code, 0);
    backend.seal(&first, made.layer).await.unwrap();
    backend.clean(&first).await.unwrap();

    let second = context(&run.instance);
    backend.prepare(&second).await.unwrap();
    let lower = vec![made.layer, layer(&first, 0)];
    let look = AttemptSpec { lower, ..attempt(&second, 1, image, &["cat made", "echo own >own"]) };
    let (stdout, _, exit) = run_to_end(backend, &second, &look).await;
    assert_eq!((stdout.as_str(), exit.code), ("made\n", 0));
    backend.seal(&second, look.layer).await.unwrap();
    let lower = vec![look.layer, made.layer, layer(&first, 0)];
    let both = AttemptSpec { lower, ..attempt(&second, 2, image, &["cat made", "cat own"]) };
    assert_eq!(run_to_end(backend, &second, &both).await.0, "made\nown\n");
    backend.clean(&second).await.unwrap();
    let forget = RunContext { keep_layers: false, ..first };
    backend.clean(&forget).await.unwrap();
}

/// An attempt with a service `db` that runs `script`, asked by `probe`.
fn served(
    run: &RunContext,
    (index, image): (u32, &str),
    (script, probe): (&str, &str),
    commands: &[&str],
) -> AttemptSpec {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let service = ServiceSpec {
        name: "db".to_owned(),
        image: image.to_owned(),
        registry: None,
        env: BTreeMap::new(),
        command: words(&["sh", "-c", script]),
        resources: Resources::default(),
        ready: Ready {
            probe: Some(ReadyProbe::Command(words(&[probe]))),
            timeout: pipeline::Duration::from_secs(3),
        },
    };
    AttemptSpec { services: vec![service], ..attempt(run, index, image, commands) }
}

async fn serve(
    backend: &dyn Backend,
    run: &RunContext,
    attempt: &AttemptSpec,
) -> (Box<dyn Services>, Result<(), ServiceFailure>, Vec<ServiceReady>) {
    let services = backend.serve(run, attempt, &CancellationToken::new()).await.unwrap();
    let (told, mut heard) = mpsc::channel(4);
    let ready = timeout(PATIENCE, services.ready(&told)).await.expect("it has a deadline");
    drop(told);
    let mut ready_ones = Vec::new();
    while let Some(ready) = heard.recv().await {
        ready_ones.push(ready);
    }
    (services, ready.map_err(failure), ready_ones)
}

fn failure(error: ServiceError) -> ServiceFailure {
    match error {
        ServiceError::Failed(failure) => failure,
        ServiceError::Backend(error) => panic!("{error}"),
    }
}

/// Services are told when they are ready, run beside their stage, and leave their output.
pub(crate) async fn services_run_beside_their_stage(
    backend: &dyn Backend,
    run: &RunContext,
    image: &str,
) {
    let attempt = served(run, (51, image), ("echo serving\nsleep 600", "true"), &["echo done"]);
    let (services, ready, told) = serve(backend, run, &attempt).await;
    ready.unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].name, "db");
    assert!(told[0].image_digest.contains("sha256:"), "{}", told[0].image_digest);
    let (stdout, _, exit) = run_to_end(backend, run, &attempt).await;
    assert_eq!((stdout.as_str(), exit.code), ("done\n", 0));
    assert!(services.gone().await.is_none());
    let mut output = services.output("db");
    let mut text = Vec::new();
    while let Some(chunk) = output.next().await {
        text.extend_from_slice(&chunk.unwrap().bytes);
    }
    assert_eq!(String::from_utf8(text).unwrap(), "serving\n");
    services.stop();
}

/// A service that is not ready in time, or ends, is told with its last lines.
pub(crate) async fn a_service_that_fails_is_told(
    backend: &dyn Backend,
    run: &RunContext,
    image: &str,
) {
    let early = served(run, (52, image), ("echo broken\nexit 3", "false"), &["true"]);
    let (services, ready, told) = serve(backend, run, &early).await;
    let failed = ready.unwrap_err();
    assert_eq!((failed.service.as_str(), told.len()), ("db", 0));
    assert!(matches!(failed.end, ServiceEnd::Exited { code: 3, probe: Some(_), .. }), "{failed}");
    assert_eq!(failed.last_lines, ["broken"]);
    services.stop();

    let never = served(run, (53, image), ("echo up\nsleep 600", "false"), &["true"]);
    let begun = Instant::now();
    let (services, ready, _) = serve(backend, run, &never).await;
    let failed = ready.unwrap_err();
    assert!(begun.elapsed() >= Duration::from_secs(3));
    assert!(matches!(failed.end, ServiceEnd::NotReady { .. }), "{failed}");
    assert_eq!(failed.last_lines, ["up"]);
    services.stop();

    let later = served(run, (54, image), ("sleep 3\necho bye\nexit 0", "true"), &["sleep 600"]);
    let (services, ready, _) = serve(backend, run, &later).await;
    ready.unwrap();
    let handle = backend.start(run, &later, &CancellationToken::new()).await.unwrap();
    let ended = timeout(PATIENCE, services.ended()).await.expect("the end is noticed");
    let failed = failure(ended);
    assert!(matches!(failed.end, ServiceEnd::Exited { code: 0, probe: None, .. }), "{failed}");
    assert_eq!(failure(services.gone().await.unwrap()).last_lines, ["bye"]);
    let (_, stopped, exit) =
        tokio::join!(collect(handle.as_ref()), handle.stop(Duration::ZERO), handle.wait());
    stopped.unwrap();
    assert_ne!(exit.unwrap().code, 0);
    services.stop();
}

/// An attempt of a durable run goes on without the process that began it, and another one gets
/// all of it, again and again, until it is released.
pub(crate) async fn a_durable_attempt_is_adopted(
    backend: &dyn Backend,
    other: &dyn Backend,
    run: &RunContext,
    image: &str,
) {
    let run = RunContext { durable: true, ..run.clone() };
    other.prepare(&run).await.unwrap();
    let commands = ["echo one", "sleep 2", "echo two >&2", "exit 5"];
    let attempt = attempt(&run, 61, image, &commands);
    assert!(matches!(other.adopt(&run, &attempt).await.unwrap(), Adopted::Absent));
    let handle = backend.start(&run, &attempt, &CancellationToken::new()).await.unwrap();
    drop(handle);
    for ended in [false, true] {
        let Adopted::Joined(joined) = other.adopt(&run, &attempt).await.unwrap() else {
            panic!("it is there");
        };
        assert_eq!(joined.ended.is_some(), ended);
        let handle = joined.handle;
        let (output, exit) =
            tokio::join!(collect(handle.as_ref()), timeout(PATIENCE, handle.wait()));
        assert_eq!(output, ("one\n".to_owned(), "two\n".to_owned()));
        let exit = exit.expect("the attempt ends").unwrap();
        assert_eq!((exit.code, exit.lost), (5, None));
    }
    let (name, layer) = (attempt.name.clone(), attempt.layer);
    other.seal(&run, layer).await.unwrap();
    assert!(matches!(other.adopt(&run, &attempt).await.unwrap(), Adopted::Joined(_)));
    other.release(&run, &Released { name, layer, services: Vec::new() }).await;
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

/// A check that runs `commands` and reaches `reaches`.
pub(crate) fn check(
    instance: &str,
    image: &str,
    commands: &[&str],
    reaches: Vec<deploy::Reach>,
) -> CheckSpec {
    CheckSpec {
        instance: instance.to_owned(),
        name: format!("shipline-check-{}", Uuid::now_v7().simple()),
        image: image.to_owned(),
        registry: None,
        commands: commands.iter().map(|command| (*command).to_owned()).collect(),
        env: BTreeMap::from([("WORD".to_owned(), "hello".to_owned())]),
        reaches,
    }
}

/// Makes `check`, and returns what it wrote, stdout and stderr, and how it ended.
pub(crate) async fn make(
    backend: &dyn Backend,
    check: &CheckSpec,
    cancel: &CancellationToken,
) -> (String, Result<Exit, BackendError>) {
    let (output, mut said) = mpsc::channel(4);
    let making = async {
        let exit = backend.check(check, &output, cancel).await;
        drop(output);
        exit
    };
    let hearing = async {
        let mut heard = Vec::new();
        while let Some(Chunk { stream, bytes }) = said.recv().await {
            if stream != OutputStream::Engine {
                heard.extend_from_slice(&bytes);
            }
        }
        String::from_utf8(heard).unwrap()
    };
    let (exit, heard) = tokio::join!(timeout(PATIENCE, making), hearing);
    (heard, exit.expect("the check ends"))
}

/// What a check wrote and its exit come back; a cancel ends it.
pub(crate) async fn a_check_is_run_to_its_end(backend: &dyn Backend, instance: &str, image: &str) {
    let cancel = CancellationToken::new();
    let said = check(instance, image, &["echo hello", "exit 3", "echo never"], Vec::new());
    let (heard, exit) = make(backend, &said, &cancel).await;
    assert_eq!((heard.as_str(), exit.unwrap().code), ("hello\n", 3));

    let long = check(instance, image, &["echo begun", "sleep 3600"], Vec::new());
    let (output, mut said) = mpsc::channel(4);
    let making = backend.check(&long, &output, &cancel);
    let cancelling = async {
        while let Some(Chunk { stream, .. }) = said.recv().await {
            if stream == OutputStream::Stdout {
                cancel.cancel();
            }
        }
    };
    let ended = tokio::select! {
        ended = timeout(PATIENCE, making) => ended.expect("it ends"),
        () = cancelling => panic!("its output ended before it"),
    };
    assert!(matches!(ended, Err(BackendError::Cancelled)), "{ended:?}");
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
    async fn kept_layers_are_stood_on() {
        let (backend, run) = run().await;
        super::kept_layers_are_stood_on(&backend, &run, "busybox:1").await;
        assert_eq!(backend.violations(), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn services_are_ready_first_and_told_when_they_fail() {
        let (backend, run) = run().await;
        super::services_run_beside_their_stage(&backend, &run, "busybox:1").await;
        super::a_service_that_fails_is_told(&backend, &run, "busybox:1").await;
        assert_eq!(backend.violations(), [""; 0]);
        assert!(backend.serving().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_attempt_is_given_and_gives_back() {
        let (backend, run) = run().await;
        super::secrets_are_of_their_attempt_alone(&backend, &run, "busybox:1").await;
        super::outputs_come_back_as_they_were_written(&backend, &run, "busybox:1").await;
        super::limits_are_told_with_the_end(&backend, &run, "busybox:1").await;
        super::a_cache_over_a_file_is_refused(&backend, &run, "busybox:1").await;
        assert_eq!(backend.violations(), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn parallel_layers_are_joined_or_refused() {
        let (backend, run) = run().await;
        super::parallel_layers_are_joined_or_refused(&backend, &run, "busybox:1").await;
        assert_eq!(backend.violations(), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn images_are_built_and_pushed() {
        let (backend, run) = run().await;
        let registry = crate::Registry {
            host: "harbor.example.net".to_owned(),
            username: String::new(),
            password: String::new(),
            ca_file: None,
        };
        super::images_are_built_and_pushed(&backend, &run, "busybox:1", &registry).await;
        assert_eq!(backend.violations(), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_durable_attempt_is_adopted() {
        let (backend, run) = run().await;
        let other = backend.clone();
        super::a_durable_attempt_is_adopted(&backend, &other, &run, "busybox:1").await;
        let durable = RunContext { durable: true, ..run.clone() };
        let attempt = attempt(&run, 61, "busybox:1", &[]);
        assert!(matches!(other.adopt(&durable, &attempt).await.unwrap(), Adopted::Absent));
        assert_eq!(backend.violations(), [""; 0]);
        assert!(backend.running().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn cleaning_up_works_at_any_time() {
        let (backend, run) = run().await;
        super::cleaning_up_works_at_any_time(&backend, &run, "busybox:1").await;
        assert!(backend.running().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_is_run_to_its_end() {
        let (backend, run) = run().await;
        super::a_check_is_run_to_its_end(&backend, &run.instance, "busybox:1").await;
        assert_eq!(backend.violations(), [""; 0]);
    }
}
