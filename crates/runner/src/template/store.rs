//! What was fetched once: texts by where they are from and by their digest, and mirrors
//! of their repositories.

use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pipeline::TemplateReference;

use super::{TemplateError, sha256};

/// How often a lock that another process holds is tried.
const RETRY: Duration = Duration::from_millis(100);

/// A file of one commit of one repository, and the digest of its text.
///
/// The digest alone is no name: a lock is written by whoever pushes, and could give the
/// text of any other template to this one.
pub(super) struct Text<'a> {
    pub(super) reference: &'a TemplateReference,
    pub(super) commit: &'a str,
    pub(super) digest: &'a str,
}

impl Text<'_> {
    fn file_name(&self) -> String {
        let (git, path) = match self.reference {
            TemplateReference::Git(git) => (git, git.path.clone()),
            TemplateReference::Beside { git, path } => (git, format!("./{path}")),
            // These are never kept.
            other => return sha256(other.to_string().as_bytes()),
        };
        let source = format!("{}\0{}\0{path}", git.repository, self.commit);
        format!("{}-{}", &sha256(source.as_bytes())[..32], self.digest)
    }
}

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

    /// The text, if it was kept. A file that is not what its name says is removed:
    /// a disk that failed once is no reason to fail for ever.
    pub(super) fn text(&self, text: &Text<'_>) -> Result<Option<Vec<u8>>, TemplateError> {
        let path = self.path_of(text);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.fault(error)),
        };
        if sha256(&bytes) == text.digest {
            return Ok(Some(bytes));
        }
        std::fs::remove_file(&path).map_err(|error| self.fault(error))?;
        Ok(None)
    }

    /// Whole or not at all: it is written beside, and then gets its name.
    pub(super) fn keep(&self, text: &Text<'_>, bytes: &[u8]) -> Result<(), TemplateError> {
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(self.root.join("text"))?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(self.path_of(text)).map(drop).map_err(|error| error.error)
        };
        write().map_err(|error| self.fault(error))
    }

    fn path_of(&self, text: &Text<'_>) -> PathBuf {
        self.root.join("text").join(text.file_name())
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
