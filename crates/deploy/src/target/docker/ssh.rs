//! An engine behind SSH: a socket of ours whose every connection is a command on the
//! other machine that speaks with the engine there.
//!
//! The machine's own SSH client is used, and with it the user's configuration,
//! agent and jump hosts. A host whose key is not known is never connected to. The
//! connection to the machine is made once and again when it was lost.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openssh::{KnownHosts, Session, SessionBuilder, Stdio};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::task::AbortOnDropHandle;

use super::access::{EngineAccess, words};

const CONNECT: Duration = Duration::from_secs(15);
const ALIVE: Duration = Duration::from_secs(15);
/// What the other side says when it cannot reach its engine.
const SAID_BYTES: u64 = 4_096;
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Until a connection can be accepted again, when there are too many files.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) struct Tunnel {
    folder: tempfile::TempDir,
    shared: Arc<Shared>,
    _accepting: AbortOnDropHandle<()>,
}

struct Shared {
    access: EngineAccess,
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
    last_failure: Mutex<Option<String>>,
}

impl Tunnel {
    /// Connects to the machine; the error is in words.
    pub(super) async fn open(access: &EngineAccess) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("shipline-ssh-").tempdir();
        let folder = folder.map_err(|error| error.to_string())?;
        let shared = Arc::new(Shared {
            access: access.clone(),
            session: tokio::sync::Mutex::new(None),
            last_failure: Mutex::new(None),
        });
        shared.session().await?;
        let listener = UnixListener::bind(folder.path().join("engine.sock"));
        let listener = listener.map_err(|error| error.to_string())?;
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { folder, shared, _accepting: AbortOnDropHandle::new(accepting) })
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }

    /// Returns how much a folder's file system on the other machine can still take, if
    /// that machine says.
    pub(super) async fn free_bytes(&self, folder: &str) -> Option<u64> {
        let asking = async {
            let session = self.shared.session().await.ok()?;
            let df = session.arc_command("df").args(["-P", "-k", "--", folder]).output().await;
            df.ok().filter(|output| output.status.success())
        };
        let output = tokio::time::timeout(CONNECT, asking).await.ok()??;
        free_of(&String::from_utf8_lossy(&output.stdout))
    }

    /// Why the last connection to the engine ended before it began.
    pub(super) fn last_failure(&self) -> Option<String> {
        self.shared.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Reads `df -P -k`: a title, and a line with the free kibibytes in its fourth column.
fn free_of(told: &str) -> Option<u64> {
    let kibibytes: u64 = told.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(kibibytes.saturating_mul(1024))
}

async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let failure = shared.carry(stream).await.err();
                    *shared.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

impl Shared {
    /// Returns the connection to the machine, made anew where it was lost.
    async fn session(&self) -> Result<Arc<Session>, String> {
        let mut session = self.session.lock().await;
        if let Some(session) = &*session
            && session.check().await.is_ok()
        {
            return Ok(Arc::clone(session));
        }
        let mut builder = SessionBuilder::default();
        builder
            .known_hosts_check(KnownHosts::Strict)
            .connect_timeout(CONNECT)
            .server_alive_interval(ALIVE);
        for (file, what) in
            [(&self.access.identity, "key"), (&self.access.known_hosts, "list of known hosts")]
        {
            if let Some(file) = file {
                readable(file, what)?;
            }
        }
        if let Some(identity) = &self.access.identity {
            builder.keyfile(identity);
        }
        if let Some(known_hosts) = &self.access.known_hosts {
            builder.user_known_hosts_file(known_hosts);
        }
        let made = builder.connect(&self.access.host).await;
        let made = made.map_err(|error| meaning(&words(&error), &self.access))?;
        Ok(Arc::clone(session.insert(Arc::new(made))))
    }

    /// Carries one connection until either side ends it.
    async fn carry(&self, mut stream: UnixStream) -> Result<(), String> {
        let session = self.session().await?;
        let mut child = session
            .arc_command("docker")
            .args(["system", "dial-stdio"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .await
            .map_err(|error| words(&error))?;
        let (Some(mut input), Some(mut output), Some(errors)) =
            (child.stdin().take(), child.stdout().take(), child.stderr().take())
        else {
            return Err("the command has no pipes".to_owned());
        };
        let (mut from_us, mut to_us) = stream.split();
        let there = async {
            let _ = tokio::io::copy(&mut from_us, &mut input).await;
            // The end of our side is the end of a request, not of its answer.
            drop(input);
            std::future::pending::<()>().await;
        };
        let said = tokio::spawn(async move {
            let mut said = Vec::new();
            let _ = errors.take(SAID_BYTES).read_to_end(&mut said).await;
            String::from_utf8_lossy(&said).trim().to_owned()
        });
        let answered = tokio::select! {
            answered = tokio::io::copy(&mut output, &mut to_us) => answered.unwrap_or(0),
            () = there => 0,
        };
        let _ = child.disconnect().await;
        if answered > 0 {
            said.abort();
            return Ok(());
        }
        match tokio::time::timeout(LAST_WORDS, said).await {
            Ok(Ok(said)) if !said.is_empty() => Err(meaning_of_engine(&said)),
            _ => Err("the other machine gave no answer of its engine".to_owned()),
        }
    }
}

fn readable(file: &Path, what: &str) -> Result<(), String> {
    match std::fs::File::open(file) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("the {what} {} cannot be read: {error}", file.display())),
    }
}

/// What the words of the SSH client mean to whoever set it up.
fn meaning(said: &str, access: &EngineAccess) -> String {
    let has = |word: &str| said.contains(word);
    let known_hosts = access.known_hosts.as_deref();
    let list =
        known_hosts.map_or("~/.ssh/known_hosts".to_owned(), |file| file.display().to_string());
    if has("Host key verification failed") || has("host key is known") {
        return format!(
            "the key of that host is not in {list}: compare it, then add it with `ssh-keyscan`"
        );
    }
    if has("Permission denied") {
        let key = match &access.identity {
            Some(identity) => format!("the key {}", identity.display()),
            None => "the keys of the SSH client".to_owned(),
        };
        return format!("permission denied: that host does not take {key}");
    }
    said.to_owned()
}

/// What `docker` there says of its engine.
fn meaning_of_engine(said: &str) -> String {
    if said.contains("permission denied") {
        return "permission denied: the user there may not use its engine".to_owned();
    }
    if said.contains("not found") {
        return "there is no `docker` on that host".to_owned();
    }
    said.lines().last().unwrap_or(said).to_owned()
}
