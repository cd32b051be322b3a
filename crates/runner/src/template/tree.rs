//! The files that a pipeline lies among: a directory, or a commit in a mirror.

use std::fmt;
use std::path::{Path, PathBuf};

use super::TemplateError;
use crate::git::{self, Sha};

/// Files of one repository, by paths from its root. Links are never followed.
#[derive(Clone, Copy, Debug)]
pub enum Tree<'a> {
    Directory(&'a Path),
    Commit { mirror: &'a Path, sha: &'a Sha },
}

/// What stands at a path.
pub(super) enum Read {
    Bytes(Vec<u8>),
    Nothing,
    /// Something that is no plain file; a sentence about it.
    NoFile(String),
}

/// A template is at most 1 MiB; what is a little larger is read to be told so.
const LIMIT_BYTES: u64 = 2 << 20;

impl Tree<'_> {
    pub(super) async fn read(&self, path: &str) -> Result<Read, TemplateError> {
        match self {
            Self::Directory(root) => read_plain(root, path),
            Self::Commit { mirror, sha } => Ok(match git::read_file(mirror, sha, path).await? {
                Some(bytes) => Read::Bytes(bytes),
                None => Read::Nothing,
            }),
        }
    }

    /// YAML files directly in a folder, for a suggestion.
    pub(super) async fn yaml_files(&self, folder: &str) -> Result<Vec<String>, TemplateError> {
        let mut paths = match self {
            Self::Directory(root) => {
                let entries = std::fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
                let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
                let inside =
                    |name| if folder.is_empty() { name } else { format!("{folder}/{name}") };
                names.map(inside).collect()
            }
            Self::Commit { mirror, sha } => git::list_files(mirror, sha, folder).await?,
        };
        paths.retain(|path| path.ends_with(".yml") || path.ends_with(".yaml"));
        paths.sort();
        Ok(paths)
    }
}

/// Reads a file without following a link at any part of its path.
fn read_plain(root: &Path, path: &str) -> Result<Read, TemplateError> {
    let fault = |source| TemplateError::Tree { path: path.to_owned(), source };
    let mut here = PathBuf::from(root);
    let mut size = 0;
    for part in path.split('/') {
        here.push(part);
        let metadata = match here.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(Read::Nothing);
            }
            Err(error) => return Err(fault(error)),
        };
        if metadata.is_symlink() {
            let part = here.strip_prefix(root).unwrap_or(&here).display().to_string();
            return Ok(Read::NoFile(format!(
                "`{part}` is a symbolic link, and links are not followed"
            )));
        }
        size = metadata.len();
    }
    if !here.is_file() {
        return Ok(Read::NoFile(format!("`{path}` is not a plain file")));
    }
    if size > LIMIT_BYTES {
        return Ok(Read::NoFile(format!("`{path}` has {size} bytes, the limit is 1 MiB")));
    }
    std::fs::read(&here).map(Read::Bytes).map_err(fault)
}

/// As people call it: "the directory", "commit 1a2b3c4d".
impl fmt::Display for Tree<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(root) => write!(f, "{}", root.display()),
            Self::Commit { sha, .. } => write!(f, "commit {}", &sha.as_str()[..8]),
        }
    }
}
