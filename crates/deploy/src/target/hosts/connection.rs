//! One connection to a host, over which all calls go at once.
//!
//! The machine's own SSH client is used, and with it the user's configuration, agent
//! and jump hosts. A host whose key is not known is never connected to. A connection
//! that was lost is made again by the next call.

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use openssh::{ControlPersist, ForwardType, KnownHosts, Session, SessionBuilder, Socket};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio_util::task::AbortOnDropHandle;

use super::trouble::{Trouble, meaning, trouble_of};
use super::{HostAccess, HostsAccess, quoted};
use crate::target::docker::words;

const SCRIPT: &str = include_str!("host.sh");
const CONNECT: Duration = Duration::from_secs(10);
const ALIVE: Duration = Duration::from_secs(15);
/// How long a connection that nobody uses stays, also after a crash of the engine.
const IDLE_SECONDS: usize = 120;
/// What the SSH client ends with when it is not the command's own code.
const OF_CLIENT: i32 = 255;

/// What a call gives to the host.
pub(crate) enum Input {
    Nothing,
    Text(Vec<u8>),
    File(PathBuf),
}

/// How a call ended on the host.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A host, and the connection to it.
pub(crate) struct Host {
    /// Its place in the target.
    pub(super) slot: u32,
    pub(crate) access: HostAccess,
    identity: Option<PathBuf>,
    known_hosts: Option<PathBuf>,
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
}

impl Host {
    pub(crate) fn new(slot: u32, access: HostAccess, all: &HostsAccess) -> Self {
        Self {
            slot,
            access,
            identity: all.identity.clone(),
            known_hosts: all.known_hosts.clone(),
            session: tokio::sync::Mutex::new(None),
        }
    }

    /// The list of known hosts that is asked.
    pub(super) fn known_hosts(&self) -> Option<PathBuf> {
        let home = || std::env::home_dir().map(|home| home.join(".ssh/known_hosts"));
        self.known_hosts.clone().or_else(home)
    }

    /// Runs a verb of the script in the folder `root`, and returns what it said. No call
    /// takes longer than `deadline`, whatever becomes of the network.
    pub(super) async fn call(
        &self,
        root: &Path,
        verb: &str,
        arguments: &[&str],
        input: &Input,
        deadline: Duration,
    ) -> Result<String, Trouble> {
        let root = root.to_string_lossy();
        let said = self.run(verb, &script(&root, verb, arguments), input, deadline).await?;
        match trouble_of(said.code, &said.err) {
            None => Ok(said.out),
            Some(trouble) => Err(trouble),
        }
    }

    /// Runs a command there, which people know as `what`; how it ends is for the caller
    /// to judge.
    pub(crate) async fn run(
        &self,
        what: &str,
        words: &[&str],
        input: &Input,
        deadline: Duration,
    ) -> Result<Said, Trouble> {
        let calling = async {
            let mut lost = false;
            loop {
                let session = self.session().await?;
                let said = self.said(&session, words, input).await?;
                if said.code != OF_CLIENT || session.check().await.is_ok() {
                    return Ok(said);
                }
                self.forget(&session).await;
                // Twice is once, so that a connection which had ended unseen is no failure.
                if std::mem::replace(&mut lost, true) {
                    return Err(Trouble::Lost(said.err.trim().to_owned()));
                }
            }
        };
        match tokio::time::timeout(deadline, calling).await {
            Ok(said) => said,
            Err(_) => Err(Trouble::Late { what: what.to_owned(), deadline }),
        }
    }

    /// Lets a socket of this machine lead to one there.
    pub(crate) async fn forward(&self, here: &Path, there: Socket<'_>) -> Result<(), Trouble> {
        let session = self.session().await?;
        let here = Socket::UnixSocket { path: here.into() };
        let forwarding = session.request_port_forward(ForwardType::Local, here, there);
        match tokio::time::timeout(CONNECT, forwarding).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.forget(&session).await;
                Err(Trouble::Lost(words(&error)))
            }
            Err(_) => Err(Trouble::Late { what: "forward".to_owned(), deadline: CONNECT }),
        }
    }

    /// The client's command for a verb, for whoever reads along while it runs.
    pub(super) async fn command(
        &self,
        root: &Path,
        verb: &str,
        arguments: &[&str],
        terminal: bool,
    ) -> Result<Command, Trouble> {
        let connecting = tokio::time::timeout(2 * CONNECT, self.session());
        let late = |_| Trouble::Late { what: "connect".to_owned(), deadline: 2 * CONNECT };
        let session = connecting.await.map_err(late)??;
        let root = root.to_string_lossy();
        Ok(client(&session, &script(&root, verb, arguments), terminal))
    }

    /// Returns the connection, made anew where it was lost.
    async fn session(&self) -> Result<Arc<Session>, Trouble> {
        let mut session = self.session.lock().await;
        if let Some(there) = &*session
            && there.control_socket().exists()
        {
            return Ok(Arc::clone(there));
        }
        let mut builder = SessionBuilder::default();
        builder
            .known_hosts_check(KnownHosts::Strict)
            .connect_timeout(CONNECT)
            .server_alive_interval(ALIVE);
        if let Some(idle) = NonZeroUsize::new(IDLE_SECONDS) {
            builder.control_persist(ControlPersist::IdleFor(idle));
        }
        for (file, what) in [(&self.identity, "key"), (&self.known_hosts, "list of known hosts")] {
            if let Some(path) = file
                && let Err(error) = File::open(path)
            {
                let why = format!("the {what} {} cannot be read: {error}", path.display());
                return Err(Trouble::Setup(why));
            }
        }
        if let Some(identity) = &self.identity {
            builder.keyfile(identity);
        }
        if let Some(known_hosts) = &self.known_hosts {
            builder.user_known_hosts_file(known_hosts);
        }
        let made = builder.connect(format!("ssh://{}", self.access.address)).await;
        let made = made.map_err(|error| meaning(&words(&error)))?;
        Ok(Arc::clone(session.insert(Arc::new(made))))
    }

    async fn forget(&self, lost: &Arc<Session>) {
        let mut session = self.session.lock().await;
        if session.as_ref().is_some_and(|session| Arc::ptr_eq(session, lost)) {
            *session = None;
        }
    }

    async fn said(
        &self,
        session: &Session,
        words: &[&str],
        input: &Input,
    ) -> Result<Said, Trouble> {
        let local = |error: std::io::Error| Trouble::Setup(format!("`ssh`: {error}"));
        let mut command = client(session, words, false);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(match input {
            Input::Nothing => Stdio::null(),
            Input::Text(_) => Stdio::piped(),
            Input::File(path) => File::open(path).map_err(local)?.into(),
        });
        let mut child = command.spawn().map_err(local)?;
        let writing = match (input, child.stdin.take()) {
            (Input::Text(text), Some(mut stdin)) => {
                let text = text.clone();
                Some(AbortOnDropHandle::new(tokio::spawn(async move {
                    // One that does not read to the end says why by itself.
                    let _ = stdin.write_all(&text).await;
                })))
            }
            _ => None,
        };
        let output = child.wait_with_output().await.map_err(local)?;
        drop(writing);
        Ok(Said {
            // A client that was killed has lost its connection.
            code: output.status.code().unwrap_or(OF_CLIENT),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// The words that run a verb of the script.
fn script<'w>(root: &'w str, verb: &'w str, arguments: &[&'w str]) -> Vec<&'w str> {
    let words = ["sh", "-c", SCRIPT, "shipline", verb, root];
    words.iter().chain(arguments).copied().collect()
}

/// A command of the client over the connection of `session`, which never makes another:
/// port 9 is nobody's.
fn client(session: &Session, words: &[&str], terminal: bool) -> Command {
    let line: Vec<_> = words.iter().map(|word| quoted(word)).collect();
    let mut command = Command::new("ssh");
    command
        .arg("-S")
        .arg(session.control_socket())
        .args(["-o", "BatchMode=yes", "-p", "9"])
        .arg(if terminal { "-tt" } else { "-T" })
        .args(["none", "--"])
        .arg(line.join(" "))
        .kill_on_drop(true);
    command
}
