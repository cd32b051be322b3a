//! A host before its first release: its key compared and pinned, what it has, and the
//! folders it needs.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::connection::{Host, Input};
use super::preflight::Facts;
use super::trouble::Trouble;
use super::{CALL, HostsTarget};

/// What asking for keys may take.
const SCAN: Duration = Duration::from_secs(10);

/// Which keys of hosts that nobody knows yet are taken for theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acceptance {
    /// Whatever they show now.
    pub new: bool,
    /// Those with these fingerprints, as `ssh-keygen -l` writes them.
    pub fingerprints: Vec<String>,
}

impl Acceptance {
    fn takes(&self, key: &HostKey) -> bool {
        self.new || self.fingerprints.contains(&key.fingerprint)
    }
}

/// What is known of the key of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    Known,
    /// Now it is: it was accepted.
    Pinned,
    Unknown,
    /// Another one is known.
    Changed,
    /// Nobody answers there.
    Unreachable,
}

/// A key that a host shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostKey {
    /// `ED25519`.
    pub kind: String,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// As it stands in a list of known hosts.
    #[serde(skip)]
    line: String,
}

/// What became of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bootstrapped {
    pub host: String,
    pub address: String,
    pub key: KeyState,
    /// What it shows, where that is not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<HostKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The folder of the releases.
    pub path: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_mb: Option<u64>,
    /// Programs that a service may need, as far as they are there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runtimes: Vec<String>,
    /// Folders that were made, or would be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<String>,
    /// What keeps it from being deployed to; empty where nothing does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

impl HostsTarget {
    /// Looks at every host, and, if it is to `apply`, pins the keys that are accepted and
    /// makes the folders of a project. A key that has changed is never accepted.
    pub async fn bootstrap(
        &self,
        project: &str,
        accept: &Acceptance,
        apply: bool,
    ) -> Vec<Bootstrapped> {
        // Lists of known hosts are written to by one after another.
        let writing = tokio::sync::Mutex::new(());
        let each = self.hosts.iter().map(|host| bootstrap(host, project, accept, apply, &writing));
        join_all(each).await
    }
}

async fn bootstrap(
    host: &Host,
    project: &str,
    accept: &Acceptance,
    apply: bool,
    writing: &tokio::sync::Mutex<()>,
) -> Bootstrapped {
    let mut found = Bootstrapped {
        host: host.access.name.clone(),
        address: host.access.address.clone(),
        key: KeyState::Known,
        keys: Vec::new(),
        user: None,
        path: host.root(project),
        free_mb: None,
        runtimes: Vec::new(),
        folders: Vec::new(),
        problems: Vec::new(),
    };
    // Nobody is known by a list that is yet to be made.
    let mut told = match host.known_hosts() {
        Some(list) if !list.exists() => Err(Trouble::KeyUnknown),
        _ => look(host, project, apply).await,
    };
    if let Err(trouble @ (Trouble::KeyUnknown | Trouble::KeyChanged)) = &told {
        found.key = match trouble {
            Trouble::KeyUnknown => KeyState::Unknown,
            _ => KeyState::Changed,
        };
        match scan(host).await {
            Ok(keys) => found.keys = keys,
            Err(why) => found.problems.push(why),
        }
        let accepted: Vec<_> = found.keys.iter().filter(|key| accept.takes(key)).collect();
        if apply && found.key == KeyState::Unknown && !accepted.is_empty() {
            let _alone = writing.lock().await;
            match pin(host, &accepted) {
                Ok(()) => found.key = KeyState::Pinned,
                Err(why) => found.problems.push(why),
            }
        }
        if found.key == KeyState::Pinned {
            told = look(host, project, apply).await;
        }
    }
    match told {
        Ok(facts) => {
            let Facts { missing, free_kib, readonly, user, runtimes, folders, .. } = facts;
            found.user = user;
            found.free_mb = free_kib.map(|free| free >> 10);
            found.runtimes = runtimes;
            found.folders = folders;
            if !missing.is_empty() {
                found.problems.push(format!("it lacks {}", missing.join(", ")));
            }
            found.problems.extend(readonly.map(|place| {
                let path = found.path.display();
                format!("its user may not write into {place}: make {path} there, and give it to that user")
            }));
        }
        Err(trouble) => {
            if trouble.is_away() {
                found.key = KeyState::Unreachable;
            }
            let fix = trouble.fix().map(|fix| format!("; {fix}")).unwrap_or_default();
            found.problems.push(format!("{}{fix}", trouble.cause()));
        }
    }
    found
}

async fn look(host: &Host, project: &str, apply: bool) -> Result<Facts, Trouble> {
    let verb = if apply { "prepare" } else { "facts" };
    let said = host.call(&host.root(project), verb, &[], &Input::Nothing, CALL).await?;
    Ok(Facts::read(&said))
}

/// Asks a host for its keys, with nobody's word that it is the right one.
async fn scan(host: &Host) -> Result<Vec<HostKey>, String> {
    let (name, port) = host.access.host_and_port();
    let seconds = SCAN.as_secs().to_string();
    let mut scan = Command::new("ssh-keyscan");
    scan.args(["-T", &seconds, "-p", port.unwrap_or("22"), "--", name]);
    let lines = said(scan, "", 2 * SCAN).await?;
    let mut keys = Vec::new();
    for line in lines.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let mut print = Command::new("ssh-keygen");
        print.args(["-l", "-f", "-"]);
        let printed = said(print, line, SCAN).await?;
        keys.extend(key_of(line, &printed));
    }
    if keys.is_empty() {
        return Err("it shows no key to this machine".to_owned());
    }
    Ok(keys)
}

/// Reads `256 SHA256:… web-1 (ED25519)`.
fn key_of(line: &str, printed: &str) -> Option<HostKey> {
    let mut words = printed.split_whitespace();
    let fingerprint = words.nth(1)?.to_owned();
    let kind = words.last()?.trim_matches(['(', ')']).to_owned();
    Some(HostKey { kind, fingerprint, line: line.to_owned() })
}

/// What a program says that is given `input`.
async fn said(mut command: Command, input: &str, limit: Duration) -> Result<String, String> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let failed = |error: std::io::Error| format!("`{program}`: {error}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let speaking = async {
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that reads nothing says why by its end.
            let _ = stdin.write_all(input.as_bytes()).await;
            let _ = stdin.write_all(b"\n").await;
        }
        child.wait_with_output().await.map_err(failed)
    };
    match tokio::time::timeout(limit, speaking).await {
        Ok(output) => Ok(String::from_utf8_lossy(&output?.stdout).into_owned()),
        Err(_) => Err(format!("`{program}`: not done within {} s", limit.as_secs())),
    }
}

/// Adds keys to the list of known hosts, at once.
fn pin(host: &Host, keys: &[&HostKey]) -> Result<(), String> {
    let list = match host.known_hosts() {
        Some(list) => list,
        None => return Err("this user has no home for a list of known hosts".to_owned()),
    };
    let lines: String = keys.iter().map(|key| format!("{}\n", key.line)).collect();
    let written = || {
        if let Some(folder) = list.parent() {
            std::fs::create_dir_all(folder)?;
        }
        OpenOptions::new().create(true).append(true).open(&list)?.write_all(lines.as_bytes())
    };
    written().map_err(|error| format!("{} cannot be written: {error}", list.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_fingerprint() {
        let line = "[web-1]:2222 ssh-ed25519 AAAA";
        let key = key_of(line, "256 SHA256:abc [web-1]:2222 (ED25519)\n").unwrap();
        assert_eq!((key.kind.as_str(), key.line.as_str()), ("ED25519", line));
        let of = |words: &[&str]| Acceptance {
            new: false,
            fingerprints: words.iter().map(|word| (*word).to_owned()).collect(),
        };
        assert!(of(&["SHA256:x", "SHA256:abc"]).takes(&key));
        assert!(!of(&["SHA256:ab"]).takes(&key));
        assert!(Acceptance { new: true, ..Acceptance::default() }.takes(&key));
        assert_eq!(key_of(line, ""), None);
    }
}
