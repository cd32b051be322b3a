//! The data directory: everything one server remembers, and the lock that makes
//! it the only one.

use std::fs::File;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use event::RunId;

/// An opened data directory, held until it is dropped.
pub struct DataDirectory {
    root: PathBuf,
    _lock: File,
}

#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("cannot make the data directory `{}`", directory.display())]
    Make {
        directory: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot lock the data directory `{}`", directory.display())]
    Lock {
        directory: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("another server uses the data directory `{}`", directory.display())]
    Busy { directory: PathBuf },
}

impl DataDirectory {
    pub fn open(root: &Path) -> Result<Self, DataError> {
        let make = |source| DataError::Make { directory: root.to_owned(), source };
        // Repositories, output and the token are for the server's user alone.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(make)?;
        // Labels and mirrors need a path that means the same in every process.
        let root = root.canonicalize().map_err(make)?;
        let lock = |source| DataError::Lock { directory: root.clone(), source };
        let file = File::create(root.join("lock")).map_err(lock)?;
        match file.try_lock() {
            Ok(()) => {
                let data = Self { root, _lock: file };
                data.remove_checkouts();
                Ok(data)
            }
            Err(std::fs::TryLockError::WouldBlock) => Err(DataError::Busy { directory: root }),
            Err(std::fs::TryLockError::Error(source)) => Err(lock(source)),
        }
    }

    pub fn database(&self) -> PathBuf {
        self.root.join("state.db")
    }

    pub fn token(&self) -> PathBuf {
        self.root.join("admin.token")
    }

    /// The bare mirror of a project's repository.
    pub fn mirror(&self, project: &str) -> PathBuf {
        self.root.join("git").join(format!("{project}.git"))
    }

    /// Where the templates that a project fetched, and their repositories, are kept.
    /// What one project may read is no answer to another.
    pub fn templates(&self, project: &str) -> PathBuf {
        self.root.join("templates").join(project)
    }

    /// Removes the checkouts that a killed process left beside the mirrors. A
    /// folder that resists costs its space, and no start.
    fn remove_checkouts(&self) {
        let Ok(entries) = std::fs::read_dir(self.root.join("git")) else { return };
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_checkout =
                name.starts_with(runner::git::CHECKOUT_PREFIX) && !name.ends_with(".git");
            if is_checkout && let Err(error) = std::fs::remove_dir_all(entry.path()) {
                tracing::warn!("{} cannot be removed: {error}", entry.path().display());
            }
        }
    }

    /// Where the output of a run's attempts lies.
    pub fn output(&self, run: RunId) -> PathBuf {
        self.root.join("runs").join(run.to_string()).join("output")
    }

    /// Where the archives of releases lie.
    pub fn releases(&self) -> PathBuf {
        self.root.join("releases")
    }

    /// Where the archives of a run's artifacts lie.
    pub fn artifacts(&self, run: RunId) -> PathBuf {
        self.archives()(run)
    }

    /// The same for whoever does not hold the directory.
    pub fn archives(&self) -> impl Fn(RunId) -> PathBuf + Send + Sync + use<> {
        let runs = self.root.join("runs");
        move |run| runs.join(run.to_string()).join("artifacts")
    }
}

/// Opens a directory that this process has just let go. A process that another
/// test starts holds copies of our files for the moment before it becomes `git`.
#[cfg(test)]
pub(crate) fn reopen(root: &Path) -> DataDirectory {
    for _ in 0..5_000 {
        match DataDirectory::open(root) {
            Err(DataError::Busy { .. }) => std::thread::sleep(std::time::Duration::from_millis(1)),
            opened => return opened.expect("a data directory"),
        }
    }
    panic!("{} stays locked", root.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkouts_of_a_killed_server_are_removed_and_mirrors_stay() {
        let directory = tempfile::tempdir().expect("directory");
        let root = directory.path().join("data");
        for left in ["git/checkout-a1B2c3/src", "git/checkout-service.git", "git/orders.git"] {
            std::fs::create_dir_all(root.join(left)).expect("made");
        }
        let _data = DataDirectory::open(&root).expect("opened");
        let mut left: Vec<_> = std::fs::read_dir(root.join("git"))
            .expect("listed")
            .map(|entry| entry.expect("read").file_name().into_string().expect("text"))
            .collect();
        left.sort();
        assert_eq!(left, ["checkout-service.git", "orders.git"]);
    }

    #[test]
    fn a_second_server_on_the_same_directory_refuses_to_start() {
        let directory = tempfile::tempdir().expect("directory");
        let root = directory.path().join("data");
        let first = DataDirectory::open(&root).expect("opened");
        assert!(matches!(DataDirectory::open(&root), Err(DataError::Busy { .. })));
        drop(first);
        reopen(&root);
    }
}
