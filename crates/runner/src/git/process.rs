//! One call of `git`: its environment, its limits, and what went wrong.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::name::{NameError, Protocol, RemoteUrl};

/// Why `git` did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("git is not installed (Debian: apt-get install git)")]
    NotInstalled,
    #[error("git cannot be run")]
    Start(#[source] io::Error),
    #[error("`git {verb}` took longer than {} s", limit.as_secs())]
    TimedOut { verb: String, limit: Duration },
    #[error("`git {verb}` answered with more than {limit} bytes")]
    TooLong { verb: String, limit: usize },
    #[error("`git {verb}` failed: {message}")]
    Failed { verb: String, code: Option<i32>, message: String },
    #[error("`git {verb}` answered something unexpected")]
    Unexpected { verb: String },
    #[error("commit {sha} is gone")]
    Gone { sha: String },
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Who we are to a remote.
#[derive(Clone)]
pub enum Credential {
    /// A user and a password or token, over https.
    Password { username: String, password: String },
    /// The file of a private key, over ssh.
    Key { file: PathBuf },
    /// The person at this machine: what their Git knows of the remote, credential
    /// helpers and replaced addresses included. Never on a server.
    Person,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Password { username, .. } => {
                f.debug_struct("Password").field("username", username).finish_non_exhaustive()
            }
            Self::Key { file } => f.debug_struct("Key").field("file", file).finish(),
            Self::Person => f.write_str("Person"),
        }
    }
}

/// For calls that read what is here.
pub(super) const LOCAL: Duration = Duration::from_secs(60);
/// For calls that speak to a remote.
pub(super) const REMOTE: Duration = Duration::from_secs(600);
/// Enough for the refs and paths of a large repository.
pub(super) const LISTING: usize = 64 << 20;
/// What is kept of what git says about a failure.
const STDERR_LIMIT: usize = 16 << 10;

/// What would lead git elsewhere than we say; set, for example, inside a hook.
const INHERITED: [&str; 22] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_PROXY_COMMAND",
    "GIT_ASKPASS",
    "SSH_ASKPASS",
    "GIT_EXTERNAL_DIFF",
    "GIT_TEMPLATE_DIR",
    "GIT_TRACE",
    "GIT_TRACE2",
    "GIT_ATTR_SOURCE",
    "GIT_DEFAULT_HASH",
];

/// Configuration that no repository and no host can override.
const CONFIGURATION: [&str; 8] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "protocol.allow=never",
    "safe.bareRepository=explicit",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
];

/// A call in preparation.
pub(super) struct Git<'a> {
    command: Command,
    verb: String,
    input: Option<(&'a RemoteUrl, Option<&'a Credential>)>,
    time: Duration,
    limit: usize,
}

impl<'a> Git<'a> {
    /// In a bare repository.
    pub(super) fn bare(directory: &Path) -> Self {
        let mut git = Self::new();
        let mut argument = OsString::from("--git-dir=");
        argument.push(directory);
        git.command.arg(argument);
        git
    }

    /// In a working tree.
    pub(super) fn tree(directory: &Path) -> Self {
        let mut git = Self::new();
        git.command.arg("-C").arg(directory);
        git
    }

    pub(super) fn new() -> Self {
        let mut command = Command::new("git");
        for setting in CONFIGURATION {
            command.args(["-c", setting]);
        }
        Self { command, verb: String::new(), input: None, time: LOCAL, limit: 1 << 20 }
    }

    /// Allows the protocol of `url`, and proves who we are to its host only.
    pub(super) fn remote(mut self, url: &'a RemoteUrl, credential: Option<&'a Credential>) -> Self {
        let name = match url.protocol() {
            Protocol::Https => "https",
            Protocol::Ssh => "ssh",
            Protocol::File => "file",
        };
        self.command.args(["-c", &format!("protocol.{name}.allow=always")]);
        if matches!(credential, Some(Credential::Person)) {
            // Their configuration may say that they reach one by the other.
            let allowed = ["protocol.https.allow=always", "protocol.ssh.allow=always"];
            self.command.args(allowed.iter().flat_map(|setting| ["-c", setting]));
        } else {
            // A redirect could lead to a host that nobody checked.
            let closed = ["credential.helper=", "http.followRedirects=false"];
            self.command.args(closed.iter().flat_map(|setting| ["-c", setting]));
        }
        self.input = Some((url, credential));
        self.time = REMOTE;
        self
    }

    pub(super) fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    /// Runs `git VERB ARGUMENTS` and returns what it printed.
    pub(super) async fn run<S: AsRef<OsStr>>(
        mut self,
        verb: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Vec<u8>, GitError> {
        verb.clone_into(&mut self.verb);
        self.command.arg(verb).args(arguments);
        self.environment();
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = self.command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => GitError::NotInstalled,
            _ => GitError::Start(error),
        })?;
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");

        let (verb, limit, time) = (self.verb, self.limit, self.time);
        let too_long = || GitError::TooLong { verb: verb.clone(), limit };
        let work = async {
            let output = async { read(stdout, limit).await?.ok_or_else(too_long) };
            let (output, complaint) = tokio::try_join!(output, read_and_cut(stderr))?;
            let status = child.wait().await.map_err(GitError::Start)?;
            Ok::<_, GitError>((output, complaint, status))
        };
        let (output, complaint, status) = match tokio::time::timeout(time, work).await {
            Ok(done) => done?,
            Err(_) => return Err(GitError::TimedOut { verb, limit: time }),
        };
        if status.success() {
            return Ok(output);
        }
        let complaint = String::from_utf8_lossy(&complaint);
        let message = complaint.trim().to_owned();
        Err(GitError::Failed { verb, code: status.code(), message })
    }

    fn environment(&mut self) {
        for name in INHERITED {
            self.command.env_remove(name);
        }
        self.command.envs([
            ("LC_ALL", "C"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_LITERAL_PATHSPECS", "1"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"),
        ]);
        match self.input {
            // By the environment, since arguments can be read by every user of the machine.
            Some((url, Some(Credential::Password { username, password }))) => {
                let basic = STANDARD.encode(format!("{username}:{password}"));
                self.command.envs([
                    ("GIT_CONFIG_COUNT", "1".to_owned()),
                    ("GIT_CONFIG_KEY_0", format!("http.{}/.extraHeader", url.origin())),
                    ("GIT_CONFIG_VALUE_0", format!("Authorization: Basic {basic}")),
                ]);
            }
            Some((_, Some(Credential::Key { file }))) => {
                let quoted = file.to_string_lossy().replace('\'', r"'\''");
                let ssh = format!("ssh -o BatchMode=yes -o IdentitiesOnly=yes -i '{quoted}'");
                self.command.env("GIT_SSH_COMMAND", ssh);
            }
            Some((_, Some(Credential::Person))) => {
                for name in ["GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_GLOBAL"] {
                    self.command.env_remove(name);
                }
            }
            _ => {}
        }
    }
}

/// Reads to the end; `None` when that is more than `limit`.
async fn read(from: impl AsyncRead + Unpin, limit: usize) -> Result<Option<Vec<u8>>, GitError> {
    let mut bytes = Vec::new();
    let count = from.take(limit as u64 + 1).read_to_end(&mut bytes).await;
    Ok((count.map_err(GitError::Start)? <= limit).then_some(bytes))
}

/// Reads to the end and keeps the beginning: a full pipe would stop git.
async fn read_and_cut(mut from: impl AsyncRead + Unpin) -> Result<Vec<u8>, GitError> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match from.read(&mut piece).await.map_err(GitError::Start)? {
            0 => return Ok(bytes),
            count => {
                let room = STDERR_LIMIT.saturating_sub(bytes.len());
                bytes.extend(&piece[..count.min(room)]);
            }
        }
    }
}
