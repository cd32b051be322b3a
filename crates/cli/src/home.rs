//! Where a laptop remembers: `$SHIPLINE_HOME`, else `~/.local/state/shipline`.
//!
//! The same store as a server's, and `dirs/<hash of the directory>/runs/ID/output`.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use deploy::Machine;
use event::RunId;
use pipeline::SourceFile;
use sha2::{Digest, Sha256};
use store::Store;

use crate::error::{CommandError, Context};

/// How often a lock that another process holds is tried.
const RETRY: Duration = Duration::from_millis(200);

/// Beside the output of a run: the texts of its plan.
const FILES: &str = "files.json";

#[derive(Clone)]
pub(crate) struct Home {
    root: PathBuf,
}

impl Home {
    pub(crate) fn from_environment() -> Result<Self, CommandError> {
        let root = state_directory()?;
        std::fs::create_dir_all(&root)
            .environment(&format!("cannot make the state directory {}", root.display()))?;
        Ok(Self { root })
    }

    pub(crate) async fn store(&self) -> Result<Store, CommandError> {
        Store::open(&self.root.join("state.db")).await.environment("cannot open the local store")
    }

    /// Where the output of a run of `directory` lies.
    pub(crate) fn output(&self, directory: &Path, run: RunId) -> PathBuf {
        self.run(directory, run).join("output")
    }

    /// Where the archives of its artifacts lie.
    pub(crate) fn artifacts(&self, directory: &Path, run: RunId) -> PathBuf {
        self.run(directory, run).join("artifacts")
    }

    /// Where the archives of releases lie.
    pub(crate) fn releases(&self) -> PathBuf {
        self.root.join("releases")
    }

    /// Takes the lock that tells other processes that this run is alive. It goes
    /// with the process, however that ends.
    pub(crate) fn claim(&self, directory: &Path, run: RunId) -> Result<File, CommandError> {
        let folder = self.run(directory, run);
        std::fs::create_dir_all(&folder)
            .environment(&format!("cannot make the directory {}", folder.display()))?;
        let file =
            File::create(folder.join("lock")).environment("cannot make the lock of the run")?;
        file.lock().environment("cannot take the lock of the run")?;
        Ok(file)
    }

    /// Keeps the texts that the plan of a run was made from, to show excerpts of them later.
    pub(crate) fn keep_files(
        &self,
        directory: &Path,
        run: RunId,
        files: &[SourceFile],
    ) -> Result<(), CommandError> {
        let texts: BTreeMap<&str, &str> =
            files.iter().map(|file| (file.name(), file.text())).collect();
        let path = self.run(directory, run).join(FILES);
        let text = serde_json::to_string(&texts).environment("the plan's files are no JSON")?;
        std::fs::write(&path, text).environment(&format!("cannot write {}", path.display()))
    }

    /// The texts that were kept of a run; none where there are none any more.
    pub(crate) fn files(&self, run: RunId) -> Vec<SourceFile> {
        let text = self.find(run).and_then(|folder| std::fs::read(folder.join(FILES)).ok());
        let texts =
            text.and_then(|text| serde_json::from_slice::<BTreeMap<String, String>>(&text).ok());
        let texts = texts.into_iter().flatten();
        texts.map(|(name, text)| SourceFile::new(name, text)).collect()
    }

    /// Whether the process that executes this run, of whatever directory, is still there.
    pub(crate) fn is_alive(&self, run: RunId) -> bool {
        self.find(run).is_some_and(|folder| {
            File::open(folder.join("lock"))
                .is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
        })
    }

    /// Takes the right to end what dead processes left: two of us would end the
    /// same run twice. Waits for another process that is at it.
    pub(crate) async fn alone(&self) -> Result<File, CommandError> {
        const WHAT: &str = "cannot take the lock of the state directory";
        let file = File::create(self.root.join("recovery.lock")).environment(WHAT)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(RETRY).await,
                Err(TryLockError::Error(error)) => return Err(error).environment(WHAT),
            }
        }
    }

    /// Finds the folder of a run without knowing its directory.
    pub(crate) fn find(&self, run: RunId) -> Option<PathBuf> {
        let directories = std::fs::read_dir(self.root.join("dirs")).ok()?;
        directories
            .filter_map(Result::ok)
            .map(|entry| entry.path().join("runs").join(run.to_string()))
            .find(|folder| folder.is_dir())
    }

    /// Where the commits of a repository of this machine are read.
    pub(crate) fn mirror(&self, repository: &Path) -> Result<PathBuf, CommandError> {
        let digest = Sha256::digest(repository.as_os_str().as_encoded_bytes());
        let folder = self.root.join("git");
        std::fs::create_dir_all(&folder)
            .environment(&format!("cannot make the directory {}", folder.display()))?;
        Ok(folder.join(format!("{}.git", &hex::encode(digest)[..16])))
    }

    /// The runs of a directory, newest first.
    pub(crate) fn runs_of(&self, directory: &Path) -> Vec<RunId> {
        let mut runs = runs_in(&self.runs(directory));
        runs.sort_unstable_by(|a, b| b.cmp(a));
        runs
    }

    /// The runs of every other directory.
    pub(crate) fn runs_beside(&self, directory: &Path) -> Vec<RunId> {
        let own = self.runs(directory);
        let Ok(entries) = std::fs::read_dir(self.root.join("dirs")) else { return Vec::new() };
        let runs = entries.filter_map(Result::ok).map(|entry| entry.path().join("runs"));
        runs.filter(|runs| *runs != own).flat_map(|runs| runs_in(&runs)).collect()
    }

    fn run(&self, directory: &Path, run: RunId) -> PathBuf {
        self.runs(directory).join(run.to_string())
    }

    fn runs(&self, directory: &Path) -> PathBuf {
        let digest = Sha256::digest(directory.as_os_str().as_encoded_bytes());
        self.root.join("dirs").join(&hex::encode(digest)[..16]).join("runs")
    }
}

fn runs_in(folder: &Path) -> Vec<RunId> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// `$SHIPLINE_HOME`, else `~/.local/state/shipline`; it need not exist.
pub(crate) fn state_directory() -> Result<PathBuf, CommandError> {
    match std::env::var_os("SHIPLINE_HOME").filter(|path| !path.is_empty()) {
        Some(path) => Ok(PathBuf::from(path)),
        None => Ok(user_home()?.join(".local/state/shipline")),
    }
}

#[cfg(test)]
impl Home {
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
}

/// `~/.config/shipline/config.toml`, or under `$XDG_CONFIG_HOME`.
pub(crate) fn configuration_file() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| user_home().ok().map(|home| home.join(".config")))?;
    Some(base.join("shipline/config.toml"))
}

/// `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
pub(crate) fn docker_configuration_file() -> Option<PathBuf> {
    let folder = std::env::var_os("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| user_home().ok().map(|home| home.join(".docker")))?;
    Some(folder.join("config.json"))
}

/// What units that are processes have of this machine.
pub(crate) fn machine() -> Machine {
    let variable = |name: &str| std::env::var(name).ok();
    Machine::of(variable("DOCKER_HOST"), variable)
}

pub(crate) fn user_home() -> Result<PathBuf, CommandError> {
    std::env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute()).ok_or_else(|| {
        CommandError::environment("no home directory is known")
            .hint("set SHIPLINE_HOME to a directory for Shipline's state")
    })
}
