//! How the machine of a balancer is reached: it is this one, or behind SSH.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use openssh::Socket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::Command;
use tokio::sync::Mutex;

use super::SwitchAccess;
use crate::target::hosts::connection::{Host, Input, Said};
use crate::target::hosts::trouble::Trouble;
use crate::{HostAccess, HostsAccess};

/// What `timeout` ends with when it was one, by TERM or by KILL.
const LATE: [i32; 2] = [124, 137];
/// From TERM to KILL of a command that takes too long, and for the way there and back.
const MARGIN: Duration = Duration::from_secs(5);
/// Until another machine is connected to.
const CONNECT: Duration = Duration::from_secs(15);
/// One question to a socket.
const ASK: Duration = Duration::from_secs(5);
/// Nobody answers more than this.
const ANSWER_BYTES: u64 = 16 << 20;

pub(super) struct Reach {
    over: Option<Over>,
}

/// The other machine.
struct Over {
    host: Host,
    /// Where sockets of it are here, once they are.
    folder: Mutex<Option<tempfile::TempDir>>,
}

/// Why something could not be done there, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) cause: String,
    pub(super) fix: String,
}

impl Failure {
    fn new(cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { cause: cause.into(), fix: fix.into() }
    }

    fn of(trouble: &Trouble, host: &str) -> Self {
        let fix = trouble.fix().unwrap_or("look at that machine");
        Self::new(format!("host {host}: {}", trouble.cause()), fix)
    }
}

impl Reach {
    pub(super) fn new(ssh: Option<&str>, access: &SwitchAccess) -> Self {
        let over = ssh.map(|address| {
            let all = HostsAccess {
                hosts: Vec::new(),
                identity: access.identity.clone(),
                known_hosts: access.known_hosts.clone(),
            };
            let name = address.rsplit('@').next().unwrap_or(address);
            let name = name.split(':').next().unwrap_or(name).to_owned();
            let host = HostAccess {
                name,
                address: address.to_owned(),
                path: None,
                group: None,
                labels: Vec::new(),
                traffic: true,
                env: std::collections::BTreeMap::new(),
            };
            Over { host: Host::new(0, host, &all), folder: Mutex::new(None) }
        });
        Self { over }
    }

    pub(super) const fn is_here(&self) -> bool {
        self.over.is_none()
    }

    /// Runs `sh -c SCRIPT` with arguments; what it began does not outlive `deadline`.
    pub(super) async fn run(
        &self,
        script: &str,
        arguments: &[&str],
        input: Vec<u8>,
        deadline: Duration,
    ) -> Result<Said, Failure> {
        let seconds = format!("{:.3}", deadline.as_secs_f64());
        let mut words = vec!["timeout", "-k", "3", &*seconds, "sh", "-c", script, "shipline"];
        words.extend(arguments);
        let said = match &self.over {
            None => here(&words, &input, deadline + MARGIN).await?,
            Some(over) => {
                let input = if input.is_empty() { Input::Nothing } else { Input::Text(input) };
                let told = over.host.run("command", &words, &input, deadline + 3 * MARGIN).await;
                told.map_err(|trouble| Failure::of(&trouble, &over.host.access.name))?
            }
        };
        if LATE.contains(&said.code) {
            return Err(late(deadline));
        }
        Ok(said)
    }

    /// Says something to the socket at `address`, a path or `HOST:PORT`, and returns all
    /// that is answered.
    pub(super) async fn ask(&self, address: &str, say: &str) -> Result<String, Failure> {
        let asking = async {
            match &self.over {
                None => talk(address, say).await.map_err(|error| refused(address, &error)),
                Some(over) => over.ask(address, say).await,
            }
        };
        let limit = if self.is_here() { ASK } else { CONNECT + ASK };
        match tokio::time::timeout(limit, asking).await {
            Ok(said) => said,
            Err(_) => {
                let cause = format!("{address} did not answer within {} s", limit.as_secs());
                Err(Failure::new(cause, "look whether it hangs"))
            }
        }
    }
}

impl Over {
    async fn ask(&self, address: &str, say: &str) -> Result<String, Failure> {
        let name = &self.host.access.name;
        let of = |trouble: &Trouble| Failure::of(trouble, name);
        let mut folder = self.folder.lock().await;
        for is_last in [false, true] {
            if folder.is_none() {
                let made = tempfile::Builder::new().prefix("shipline-switch-").tempdir();
                let made =
                    made.map_err(|error| Failure::new(error.to_string(), "make room in /tmp"))?;
                let here = made.path().join("socket");
                self.host.forward(&here, there(address)).await.map_err(|it| of(&it))?;
                *folder = Some(made);
            }
            let here = folder.as_ref().map(|folder| folder.path().join("socket"));
            let here = here.unwrap_or_default();
            match talk(&here.to_string_lossy(), say).await {
                // Whoever is not there closes the connection without a word.
                Ok(said) if !said.is_empty() => return Ok(said),
                said => {
                    // The connection may have been lost since: it is made again, once.
                    *folder = None;
                    if is_last {
                        let why = said
                            .err()
                            .map_or_else(|| "nobody listens".to_owned(), |error| error.to_string());
                        let fix = fix_of(address);
                        return Err(Failure::new(format!("{address} on host {name}: {why}"), fix));
                    }
                }
            }
        }
        Err(Failure::new(format!("{address} on host {name} does not answer"), fix_of(address)))
    }
}

fn there(address: &str) -> Socket<'_> {
    match address.rsplit_once(':') {
        Some((host, port)) if !address.starts_with('/') => {
            Socket::TcpSocket { host: host.into(), port: port.parse().unwrap_or_default() }
        }
        _ => Socket::UnixSocket { path: Path::new(address).into() },
    }
}

async fn talk(address: &str, say: &str) -> std::io::Result<String> {
    let mut said = Vec::new();
    if address.starts_with('/') {
        let mut stream = UnixStream::connect(address).await?;
        stream.write_all(say.as_bytes()).await?;
        stream.take(ANSWER_BYTES).read_to_end(&mut said).await?;
    } else {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(say.as_bytes()).await?;
        stream.take(ANSWER_BYTES).read_to_end(&mut said).await?;
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

fn refused(address: &str, error: &std::io::Error) -> Failure {
    let cause = match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no socket {address}"),
        std::io::ErrorKind::ConnectionRefused => format!("nobody listens at {address}"),
        std::io::ErrorKind::PermissionDenied => format!("this user may not use {address}"),
        _ => format!("{address}: {error}"),
    };
    Failure::new(cause, fix_of(address))
}

fn fix_of(address: &str) -> String {
    format!("look whether it runs, and whether its configuration says `{address}`")
}

fn late(deadline: Duration) -> Failure {
    Failure::new(format!("not done within {} s", deadline.as_secs_f64()), "find out why it hangs")
}

/// Runs a command of this machine.
async fn here(words: &[&str], input: &[u8], deadline: Duration) -> Result<Said, Failure> {
    let wrong =
        |error: std::io::Error| Failure::new(format!("`{}`: {error}", words[0]), "install it");
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.current_dir(PathBuf::from("/")).kill_on_drop(true).spawn().map_err(wrong)?;
    let stdin = child.stdin.take();
    let running = async {
        if let Some(mut stdin) = stdin {
            // One that does not read to the end says why by itself.
            let _ = stdin.write_all(input).await;
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(deadline, running).await {
        Ok(output) => output.map_err(wrong)?,
        Err(_) => return Err(late(deadline)),
    };
    Ok(Said {
        code: output.status.code().unwrap_or(LATE[1]),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Reach {
        let spec = pipeline::SwitchSpec::Hook(pipeline::HookSpec {
            command: None,
            url: None,
            timeout: pipeline::HookSpec::patience(),
            ssh: None,
        });
        Reach::new(None, &SwitchAccess { spec, identity: None, known_hosts: None })
    }

    #[tokio::test]
    async fn a_command_that_hangs_ends_with_all_it_began() {
        let marker = tempfile::tempdir().unwrap();
        let file = marker.path().join("alive").display().to_string();
        let script = "(sleep 2; touch \"$1\") & wait";
        let deadline = Duration::from_millis(200);
        let hung = here().run(script, &[&file], Vec::new(), deadline).await.unwrap_err();
        assert_eq!(hung.cause, "not done within 0.2 s");
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        assert!(!Path::new(&file).exists());
    }

    #[tokio::test]
    async fn what_is_not_there_is_named_with_what_to_do() {
        let missing = here().ask("/nonexistent/h.sock", "show info\n").await.unwrap_err();
        assert_eq!(missing.cause, "there is no socket /nonexistent/h.sock");
        assert!(missing.fix.contains("look whether it runs"), "{missing:?}");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap().to_string();
        drop(listener);
        let refused = here().ask(&at, "").await.unwrap_err();
        assert_eq!(refused.cause, format!("nobody listens at {at}"));
    }

    #[test]
    fn sockets_of_another_machine_are_paths_or_ports() {
        assert!(matches!(there("/run/h.sock"), Socket::UnixSocket { .. }));
        assert!(matches!(there("127.0.0.1:9999"), Socket::TcpSocket { port: 9999, .. }));
    }
}
