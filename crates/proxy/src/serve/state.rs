//! The state file: what the proxy serves, so that it can serve it again at once.
//!
//! One JSON file, replaced as a whole (write beside, fsync, rename, fsync the
//! folder) before a change is answered. A file that cannot be read is never
//! taken for an empty one: that would lose all routes.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::check::{check_name, check_options, check_route, check_taken};
use crate::control::{LeaseRequest, RouteMatch, RouteOptions, Target};

pub use crate::control::Page;

const VERSION: u32 = 1;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    version: u32,
    pub routes: BTreeMap<String, SavedRoute>,
    /// Routes that were deleted: their fence still keeps old engines out.
    #[serde(default)]
    pub deleted: BTreeMap<String, SavedFence>,
    /// By `PROJECT/ENVIRONMENT`; those that ended too, for their fence.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub leases: BTreeMap<String, SavedLease>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRoute {
    pub fence: u64,
    /// Grows with every change of matches or targets.
    pub generation: u64,
    #[serde(rename = "match")]
    pub matches: Vec<RouteMatch>,
    pub targets: Vec<Target>,
    #[serde(flatten)]
    pub options: RouteOptions,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<Page>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFence {
    pub fence: u64,
    pub generation: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedLease {
    /// The fence of the last taking.
    pub fence: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<SavedHold>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedHold {
    pub holder: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When it was taken; 0 in files of before.
    #[serde(default)]
    pub since_ms: u64,
    pub ttl_ms: u64,
    pub until_ms: u64,
}

impl SavedHold {
    /// Whether it belongs to who asks now.
    pub fn is_of(&self, request: &LeaseRequest) -> bool {
        match (&self.key, &request.key) {
            (None, None) => self.holder == request.holder,
            (ours, theirs) => ours == theirs,
        }
    }
}

impl Saved {
    /// The highest fence that anything here has.
    pub fn highest_fence(&self) -> u64 {
        let routes = self.routes.values().map(|route| route.fence);
        let deleted = self.deleted.values().map(|deleted| deleted.fence);
        let leases = self.leases.values().map(|lease| lease.fence);
        routes.chain(deleted).chain(leases).max().unwrap_or(0)
    }
}

/// The file, held by one process.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    saved: Saved,
    /// Held as long as the file may be written.
    lock: File,
}

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("another proxy uses the state file {}", path.display())]
    InUse { path: PathBuf },
    #[error("cannot read the state file {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the state file {} is damaged: {reason}; restore it, or remove it to begin without routes", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("cannot write the state file {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl StateFile {
    /// Opens the file for this process alone; a file that is not there is an empty one.
    pub fn open(path: &Path) -> Result<StateFile, StateError> {
        // The lock is on a file of its own, because the other is replaced at each change.
        let lock_path = beside(path, ".lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|source| StateError::Write { path: lock_path.clone(), source })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let path = path.to_owned();
                return Err(StateError::InUse { path });
            }
            Err(TryLockError::Error(source)) => {
                let path = lock_path;
                return Err(StateError::Write { path, source });
            }
        }
        Ok(StateFile { saved: read(path)?, path: path.to_owned(), lock })
    }

    /// Opens the file with the lock that another process passed on.
    ///
    /// Nothing if the lock is that of another file.
    pub fn inherit(path: &Path, lock: File) -> Result<Option<StateFile>, StateError> {
        let lock_path = beside(path, ".lock");
        let identity = |file: std::fs::Metadata| (file.dev(), file.ino());
        let ours = std::fs::metadata(&lock_path).map(identity);
        let passed = lock.metadata().map(identity);
        if ours.ok() != passed.ok() {
            return Ok(None);
        }
        Ok(Some(StateFile { saved: read(path)?, path: path.to_owned(), lock }))
    }

    /// The lock, to be passed on.
    pub fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    pub fn saved(&self) -> &Saved {
        &self.saved
    }

    /// Makes `next` the state; returns when it is durable.
    pub fn save(&mut self, next: Saved) -> Result<(), StateError> {
        write(&self.path, &next)
            .map_err(|source| StateError::Write { path: self.path.clone(), source })?;
        self.saved = next;
        Ok(())
    }
}

fn read(path: &Path) -> Result<Saved, StateError> {
    let damaged = |reason: String| StateError::Damaged { path: path.to_owned(), reason };
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Saved { version: VERSION, ..Saved::default() });
        }
        Err(source) => {
            let path = path.to_owned();
            return Err(StateError::Read { path, source });
        }
    };
    let saved: Saved = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    if saved.version != VERSION {
        let version = saved.version;
        return Err(damaged(format!("it has version {version}, this proxy knows {VERSION}")));
    }
    for (name, route) in &saved.routes {
        check_name(name)
            .and_then(|()| check_route(&route.matches, &route.targets))
            .and_then(|()| check_options(&route.options))
            .and_then(|()| check_taken(name, &route.matches, &saved))
            .map_err(|error| damaged(format!("route `{name}`: {error}")))?;
    }
    Ok(saved)
}

fn write(path: &Path, saved: &Saved) -> io::Result<()> {
    let new = beside(path, ".new");
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    let mut text = serde_json::to_vec_pretty(saved).map_err(io::Error::other)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // The rename is durable only when the folder is.
    File::open(folder)?.sync_all()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(fence: u64) -> SavedRoute {
        SavedRoute {
            fence,
            generation: 1,
            matches: vec![RouteMatch { host: "*".to_owned(), path: "/".to_owned() }],
            targets: Vec::new(),
            options: RouteOptions::default(),
            page: None,
        }
    }

    #[test]
    fn what_was_saved_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.json");
        let mut file = StateFile::open(&path).unwrap();
        let mut next = file.saved().clone();
        next.routes.insert("web-prod".to_owned(), route(41));
        next.deleted.insert("web-test".to_owned(), SavedFence { fence: 7, generation: 3 });
        file.save(next.clone()).unwrap();
        drop(file);
        assert_eq!(StateFile::open(&path).unwrap().saved(), &next);
    }

    #[test]
    fn a_damaged_file_is_named_and_never_taken_for_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.json");
        let mut file = StateFile::open(&path).unwrap();
        let mut next = file.saved().clone();
        next.routes.insert("web-prod".to_owned(), route(41));
        file.save(next).unwrap();
        drop(file);
        let whole = std::fs::read_to_string(&path).unwrap();
        let truncated = &whole[..whole.len() / 2];
        let newer = whole.replace("\"version\": 1", "\"version\": 2");
        let wrong = whole.replace("\"*\"", "\"a b\"");
        for text in ["", "{}", truncated, &newer, &wrong] {
            std::fs::write(&path, text).unwrap();
            let error = StateFile::open(&path).unwrap_err();
            assert!(
                matches!(&error, StateError::Damaged { .. })
                    && error.to_string().contains(path.to_str().unwrap()),
                "{text:?}: {error}"
            );
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn two_proxies_cannot_have_the_same_state() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.json");
        let first = StateFile::open(&path).unwrap();
        assert!(matches!(StateFile::open(&path), Err(StateError::InUse { .. })));
        drop(first);
        StateFile::open(&path).unwrap();
    }

    #[test]
    fn a_change_that_cannot_be_written_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/routes.json");
        std::fs::create_dir(folder.path().join("state")).unwrap();
        let mut file = StateFile::open(&path).unwrap();
        std::fs::remove_dir_all(folder.path().join("state")).unwrap();
        let mut next = file.saved().clone();
        next.routes.insert("web-prod".to_owned(), route(41));
        assert!(matches!(file.save(next), Err(StateError::Write { .. })));
        assert!(file.saved().routes.is_empty());
    }
}
