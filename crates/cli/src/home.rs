//! Where a laptop remembers: `$SHIPLINE_HOME`, else `~/.local/state/shipline`.
//!
//! The same store as a server's, and `dirs/<hash of the directory>/runs/ID/output`.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use event::RunId;
use sha2::{Digest, Sha256};
use store::Store;

use crate::error::{CommandError, Context};

/// How often a lock that another process holds is tried.
const RETRY: Duration = Duration::from_millis(200);

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

    fn run(&self, directory: &Path, run: RunId) -> PathBuf {
        let digest = Sha256::digest(directory.as_os_str().as_encoded_bytes());
        self.root.join("dirs").join(&hex::encode(digest)[..16]).join("runs").join(run.to_string())
    }
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

pub(crate) fn user_home() -> Result<PathBuf, CommandError> {
    std::env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute()).ok_or_else(|| {
        CommandError::environment("no home directory is known")
            .hint("set SHIPLINE_HOME to a directory for Shipline's state")
    })
}
