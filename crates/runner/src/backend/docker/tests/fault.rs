//! The daemon going away while a stage runs: a relay before its socket stands for it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::bench::Bench;
use crate::backend::docker::DockerBackend;
use crate::backend::{Backend, BackendError, Exit};

const SOCKET: &str = "/var/run/docker.sock";

/// Passes connections on to the engine until they are cut.
struct Relay {
    directory: tempfile::TempDir,
    connections: Arc<Mutex<JoinSet<()>>>,
    /// Whoever connects is turned away.
    down: Arc<AtomicBool>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Relay {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("docker.sock")).unwrap();
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let down = Arc::new(AtomicBool::new(false));
        let (own, turned_away) = (Arc::clone(&connections), Arc::clone(&down));
        let accepting = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                if turned_away.load(Ordering::Acquire) {
                    continue;
                }
                own.lock().unwrap().spawn(async move {
                    let mut engine = UnixStream::connect(SOCKET).await.unwrap();
                    drop(tokio::io::copy_bidirectional(&mut client, &mut engine).await);
                });
            }
        });
        Self { directory, connections, down, accepting }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    async fn backend(&self) -> DockerBackend {
        DockerBackend::connect(Some(&format!("unix://{}", self.path().display()))).await.unwrap()
    }

    fn cut(&self) {
        self.connections.lock().unwrap().abort_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Runs a stage that would pass, lets `fault` happen once it is up, and returns its exit.
async fn exit_after(fault: impl AsyncFnOnce(&Relay, &str)) -> Exit {
    let bench = Bench::with(&[]).await;
    let relay = Relay::start();
    let backend = relay.backend().await;
    let attempt = bench.attempt(1, &["echo up; sleep 600"]);
    let handle = backend.start(&bench.run, &attempt, &CancellationToken::new()).await.unwrap();
    let mut output = handle.output();
    let up = async {
        let mut text = String::new();
        while !text.contains("up\n") {
            text.push_str(&String::from_utf8_lossy(&output.next().await.unwrap().unwrap().bytes));
        }
        fault(&relay, &attempt.name).await;
        while output.next().await.is_some() {}
    };
    let (exit, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(60), handle.wait()), up);
    let running = Command::new("docker")
        .args(["inspect", "--format", "{{.State.Running}}", &attempt.name])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(running.stdout).unwrap(), "false\n", "after `wait` nothing runs");
    exit.expect("the end is noticed").unwrap()
}

#[tokio::test]
async fn a_stage_that_was_half_heard_is_lost_and_stopped() {
    let exit = exit_after(async |relay, _| relay.cut()).await;
    assert_eq!(exit.lost.as_deref(), Some("the connection to the docker daemon broke"));
}

#[tokio::test]
async fn a_stage_that_died_with_the_daemon_is_lost() {
    let exit = exit_after(async |relay, name| {
        relay.down.store(true, Ordering::Release);
        relay.cut();
        // A daemon without live-restore kills what ran when it comes back.
        Command::new("docker").args(["kill", name]).output().unwrap();
        relay.down.store(false, Ordering::Release);
    })
    .await;
    assert_eq!(exit.lost.as_deref(), Some("the docker daemon was restarted"));
}

#[tokio::test]
async fn a_stage_killed_from_outside_has_failed_and_is_not_lost() {
    let exit = exit_after(async |_, name| {
        Command::new("docker").args(["kill", name]).output().unwrap();
    })
    .await;
    assert_eq!((exit.code, exit.oom_killed, exit.lost), (137, false, None));
}

/// Passes one connection on, unless it is a request for `path`: that is answered with a
/// fault of the engine itself.
async fn fail_or_pass_on(mut client: UnixStream, path: &'static str) {
    let mut asked = vec![0; 65_536];
    let count = client.read(&mut asked).await.unwrap_or(0);
    let head = String::from_utf8_lossy(&asked[..count]).into_owned();
    let line = head.lines().next().unwrap_or_default();
    if line.starts_with("POST ") && line.contains(path) {
        let body = "{\"message\":\"the disk of the engine is on fire\"}";
        let answer = format!(
            "HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        drop(client.write_all(answer.as_bytes()).await);
        return;
    }
    let mut engine = UnixStream::connect(SOCKET).await.unwrap();
    // What comes behind is not looked at, so nobody may ask twice on one connection.
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let upgrades = head.to_ascii_lowercase().contains("upgrade");
    let asked = if upgrades { &asked[..count] } else { head.as_bytes() };
    if engine.write_all(asked).await.is_ok() {
        drop(tokio::io::copy_bidirectional(&mut client, &mut engine).await);
    }
}

#[tokio::test]
async fn an_engine_that_answers_500_is_infrastructure_and_nothing_is_left() {
    for (path, what) in [
        ("/containers/create", "cannot be made"),
        ("/start", "cannot be started"),
        ("/volumes/create", "volume"),
    ] {
        let bench = Bench::with(&[]).await;
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("docker.sock")).unwrap();
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(fail_or_pass_on(client, path));
            }
        });
        let address = format!("unix://{}/docker.sock", directory.path().display());
        let backend = DockerBackend::connect(Some(&address)).await.unwrap();
        let (attempt, cancel) = (bench.attempt(1, &["true"]), CancellationToken::new());
        let started = backend.start(&bench.run, &attempt, &cancel).await;
        let error = started.err().expect("the engine does not do it");
        assert!(matches!(error, BackendError::Infrastructure { part: "docker", .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains(what) && said.contains("on fire"), "{path}: {said}");
        accepting.abort();
        bench.backend.clean(&bench.run).await.unwrap();
        assert_eq!(bench.objects().await, [""; 0]);
    }
}

/// Holds a request that makes a container back. It is passed on also when its
/// client has gone, as an engine carries out what it was asked.
#[derive(Default)]
struct Held {
    arrived: Notify,
    released: Notify,
    answered: Notify,
}

impl Held {
    async fn pass_on(&self, mut client: UnixStream) {
        let mut engine = UnixStream::connect(SOCKET).await.unwrap();
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        let (mut open, mut held) = (true, false);
        loop {
            tokio::select! {
                read = client.read(&mut up), if open => {
                    let said = &up[..read.unwrap_or(0)];
                    if String::from_utf8_lossy(said).contains("/containers/create") {
                        held = true;
                        self.arrived.notify_one();
                        self.released.notified().await;
                    }
                    open = !said.is_empty();
                    if !open && !held {
                        return;
                    }
                    engine.write_all(said).await.unwrap();
                }
                read = engine.read(&mut down) => {
                    let said = &down[..read.unwrap_or(0)];
                    if std::mem::take(&mut held) {
                        self.answered.notify_one();
                    }
                    if said.is_empty() || client.write_all(said).await.is_err() || !open {
                        return;
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_container_that_was_being_made_at_a_cancel_is_removed_by_the_clean_up() {
    let bench = Bench::with(&[]).await;
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let held = Arc::new(Held::default());
    let passing = Arc::clone(&held);
    let accepting = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            let held = Arc::clone(&passing);
            connections.spawn(async move { held.pass_on(client).await });
        }
    });
    let address = format!("unix://{}", socket.display());
    let backend = DockerBackend::connect(Some(&address)).await.unwrap();
    let (attempt, cancel) = (bench.attempt(1, &["true"]), CancellationToken::new());

    let cancelled_meanwhile = async {
        held.arrived.notified().await;
        cancel.cancel();
    };
    let (started, ()) =
        tokio::join!(backend.start(&bench.run, &attempt, &cancel), cancelled_meanwhile);
    assert!(started.is_err());
    let engine_answers = async {
        // Long enough for a clean-up that does not wait.
        tokio::time::sleep(Duration::from_millis(300)).await;
        held.released.notify_one();
        held.answered.notified().await;
    };
    let (cleaned, ()) = tokio::join!(backend.clean(&bench.run), engine_answers);
    cleaned.unwrap();
    assert_eq!(bench.objects().await, [""; 0]);
    accepting.abort();
}
