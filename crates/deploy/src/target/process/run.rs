//! Units started and ended. A unit has a session of its own and no pipe to the
//! engine: it does not notice when the engine ends.

use std::fs::{self, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use chrono::Utc;
use rustix::process::Signal;
use tokio::time::Instant;

use super::record::{Root, UnitFile, replace};
use super::system::Process;
use super::unit::UnitView;
use super::{ProcessTarget, blocking, done, failed, infrastructure, key_of};
use crate::{EnvironmentKey, OpOutcome, Spec, TargetError, UnitId};

/// Writes down who it is and becomes the unit, in this order: there is no moment at
/// which a unit runs that nobody can find again. It is the same process before and
/// after, so its start time is that of the unit.
const BEGIN: &str =
    r#"IFS= read -r line <"/proc/$$/stat" && printf '%s\n' "$line" >"$0" && exec "$@""#;
const BEGINS_WITHIN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);
/// From KILL to the end, which only a process stuck in the kernel does not meet.
const DIES_WITHIN: Duration = Duration::from_secs(10);

impl ProcessTarget {
    pub(super) async fn start(
        &self,
        unit: &UnitId,
        key: &EnvironmentKey,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        let (root, key, unit) = (self.root.clone(), key.clone(), unit.clone());
        blocking(move || {
            let _alone = root.lock_fence(&key, fence)?;
            let Some(file) = root.read(&unit)? else {
                return Err(infrastructure(format!("{unit} does not exist")));
            };
            let folder = root.unit(&unit)?;
            let record = folder.join("process");
            if Process::recorded(&record).is_some_and(Process::is_alive) {
                return Ok(done("runs already"));
            }
            match fs::remove_file(&record) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed("remove", &record, &error));
                }
                _ => {}
            }
            if file.stopped_at.is_some() {
                root.write(&unit, &UnitFile { stopped_at: None, ..file.clone() })?;
            }
            spawn(&file, &folder)?;
            begun(&unit, &record)
        })
        .await
    }

    pub(super) async fn stop(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        self.confirm_out(unit, spec, fence).await?;
        // Before the end, or whoever watches would take it for a crash.
        self.set_comes_back(&unit.seen.unit, false, &key_of(spec), fence).await?;
        self.end(unit).await?;
        let (root, name, key) = (self.root.clone(), unit.seen.unit.clone(), key_of(spec));
        blocking(move || {
            let _alone = root.lock_fence(&key, fence)?;
            match root.read(&name)? {
                Some(file) if file.stopped_at.is_none() => {
                    root.write(&name, &UnitFile { stopped_at: Some(Utc::now()), ..file })
                }
                _ => Ok(()),
            }
        })
        .await?;
        Ok(done("stopped, warm"))
    }

    /// Ends whatever runs of a unit: TERM, its `stop-timeout`, KILL; each to all of
    /// its session, since children of children survive a plain signal.
    pub(super) async fn end(&self, unit: &UnitView) -> Result<(), TargetError> {
        self.end_within(unit, unit.file.stop_timeout.std()).await
    }

    async fn end_within(&self, unit: &UnitView, grace: Duration) -> Result<(), TargetError> {
        let Some(process) = unit.process else { return Ok(()) };
        for (signal, patience) in [(Signal::TERM, grace), (Signal::KILL, DIES_WITHIN)] {
            process.signal_group(signal);
            let until = Instant::now() + patience;
            while !process.session().is_empty() {
                if Instant::now() >= until {
                    break;
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        if process.session().is_empty() {
            return Ok(());
        }
        let message = format!("{} does not end, not even by KILL", unit.seen.unit);
        Err(infrastructure(message))
    }

    /// Takes a unit away that gets no traffic.
    pub(super) async fn remove(
        &self,
        unit: &UnitView,
        spec: &Spec,
        fence: u64,
    ) -> Result<OpOutcome, TargetError> {
        self.confirm_out(unit, spec, fence).await?;
        // A crash may have come between its leaving the route and its drain.
        if unit.file.routed && unit.file.comes_back {
            self.traffic.drain(&unit.member(), spec, fence).await?;
        }
        // A unit behind the proxy that was never admitted never got a request:
        // nothing of it is worth waiting for.
        let served = !unit.file.routed || unit.file.comes_back;
        let grace = if served { unit.file.stop_timeout.std() } else { Duration::ZERO };
        self.end_within(unit, grace).await?;
        let (root, name, key) = (self.root.clone(), unit.seen.unit.clone(), key_of(spec));
        blocking(move || {
            let _alone = root.lock_fence(&key, fence)?;
            remove_folder(&root, &name)
        })
        .await?;
        Ok(done("removed"))
    }

    pub(super) async fn remove_folder(&self, unit: &UnitId) -> Result<(), TargetError> {
        let (root, unit) = (self.root.clone(), unit.clone());
        blocking(move || remove_folder(&root, &unit)).await
    }
}

/// The record goes first: what is left of a folder without one is no unit.
fn remove_folder(root: &Root, unit: &UnitId) -> Result<(), TargetError> {
    let folder = root.unit(unit)?;
    let gone = |result: std::io::Result<()>| match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    gone(fs::remove_file(folder.join("unit.json")))
        .and_then(|()| gone(fs::remove_dir_all(&folder)))
        .map_err(|error| failed("remove", &folder, &error))
}

fn spawn(file: &UnitFile, folder: &Path) -> Result<(), TargetError> {
    let log = |name: &str| {
        let path = folder.join(name);
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        opened.map(Stdio::from).map_err(|error| failed("open", &path, &error))
    };
    let mut command = tokio::process::Command::new("/bin/sh");
    command
        .arg("-c")
        .arg(BEGIN)
        .arg(folder.join("process"))
        .args(&file.command)
        .current_dir(&file.directory)
        .env_clear()
        .envs(&file.variables)
        .stdin(Stdio::null())
        .stdout(log("stdout.log")?)
        .stderr(log("stderr.log")?);
    in_own_session(&mut command);
    let mut child = command.spawn().map_err(|error| failed("start in", &file.directory, &error))?;
    // Asked how it ended, so that no zombie is left; after the death of this engine
    // the system's first process does the same.
    let end = folder.join("end");
    let pid = child.id();
    tokio::spawn(async move {
        if let (Ok(status), Some(pid)) = (child.wait().await, pid) {
            let text = format!("{pid} {}", words(status));
            let _ = tokio::task::spawn_blocking(move || record_end(&end, &text)).await;
        }
    });
    Ok(())
}

/// The folder may be gone by now, and with it whoever would ask.
fn record_end(path: &Path, text: &str) {
    if path.parent().is_some_and(|folder| folder.join("unit.json").exists()) {
        let _ = replace(path, text.as_bytes());
    }
}

/// Waits until the unit has written down who it is. One that cannot even do that,
/// because its directory or `/bin/sh` is not there, was not started.
fn begun(unit: &UnitId, record: &Path) -> Result<OpOutcome, TargetError> {
    let until = std::time::Instant::now() + BEGINS_WITHIN;
    while std::time::Instant::now() < until {
        if Process::recorded(record).is_some() {
            return Ok(done("started"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Err(infrastructure(format!("{unit} did not begin within {} s", BEGINS_WITHIN.as_secs())))
}

/// Says how a process ended, if that is known: only the engine that started it is
/// told, and only while it lives.
pub(super) fn end_of(folder: &Path, process: Process) -> String {
    let text = fs::read_to_string(folder.join("end")).unwrap_or_default();
    match text.split_once(' ') {
        Some((pid, words)) if pid == process.pid.to_string() => words.to_owned(),
        _ => "it ended".to_owned(),
    }
}

fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it exited with {code}"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}

/// A session of its own: no terminal, no signal and no group of the engine reaches
/// it, and all of its children can be found.
#[expect(unsafe_code, reason = "between fork and exec only async-signal-safe calls are made")]
pub(super) fn in_own_session(command: &mut tokio::process::Command) {
    // SAFETY: `setsid` is one system call; it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            Ok(())
        });
    }
}
