//! What was fetched once: texts by their digest, and mirrors of their repositories.

use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{TemplateError, sha256};

/// How often a lock that another process holds is tried.
const RETRY: Duration = Duration::from_millis(100);

pub(super) struct Store {
    root: PathBuf,
}

impl Store {
    pub(super) fn open(root: &Path) -> Result<Self, TemplateError> {
        let store = Self { root: root.to_owned() };
        for folder in ["text", "git"] {
            std::fs::create_dir_all(root.join(folder)).map_err(|error| store.fault(error))?;
        }
        Ok(store)
    }

    /// The text with this digest. A file that is not what its name says is removed:
    /// a disk that failed once is no reason to fail for ever.
    pub(super) fn text(&self, digest: &str) -> Result<Option<Vec<u8>>, TemplateError> {
        let path = self.path_of(digest);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.fault(error)),
        };
        if sha256(&bytes) == digest {
            return Ok(Some(bytes));
        }
        std::fs::remove_file(&path).map_err(|error| self.fault(error))?;
        Ok(None)
    }

    /// Whole or not at all: it is written beside, and then gets its name.
    pub(super) fn keep(&self, digest: &str, bytes: &[u8]) -> Result<(), TemplateError> {
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(self.root.join("text"))?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(self.path_of(digest)).map(drop).map_err(|error| error.error)
        };
        write().map_err(|error| self.fault(error))
    }

    fn path_of(&self, digest: &str) -> PathBuf {
        self.root.join("text").join(digest)
    }

    /// The bare mirror of a repository, and the right to change it.
    pub(super) async fn mirror(&self, url: &str) -> Result<(PathBuf, File), TemplateError> {
        let name = &sha256(url.as_bytes())[..32];
        let git = self.root.join("git");
        let file = File::create(git.join(format!("{name}.lock")));
        let file = file.map_err(|error| self.fault(error))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok((git.join(format!("{name}.git")), file)),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(RETRY).await,
                Err(TryLockError::Error(error)) => return Err(self.fault(error)),
            }
        }
    }

    fn fault(&self, source: io::Error) -> TemplateError {
        TemplateError::Store { folder: self.root.display().to_string(), source }
    }
}
