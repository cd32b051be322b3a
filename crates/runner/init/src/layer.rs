//! What a layer changed, read from the upper directory of its overlay.
//!
//! Deleted paths are character devices 0/0. A directory may be opaque (what lies
//! below is hidden) or redirected (what lies below is elsewhere); both are
//! attributes that only CAP_SYS_ADMIN can read.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::system;

/// The second name is what can be set where `trusted` cannot: in an engine without root.
const OPAQUE: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];
const REDIRECT: [&str; 2] = ["trusted.overlay.redirect", "user.overlay.redirect"];

/// What a layer holds at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Deleted,
    Directory {
        mode: u32,
        /// Opaque or redirected: it does not merge with a directory of that name below.
        hides: bool,
    },
    File {
        mode: u32,
        size: u64,
    },
    Link(PathBuf),
    /// A FIFO, socket or device: kind and number.
    Node {
        mode: u32,
        device: u64,
    },
}

/// Returns everything in the layer at `root`, by path below it.
pub(crate) fn list(root: &Path) -> io::Result<BTreeMap<PathBuf, Entry>> {
    let mut entries = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        for item in fs::read_dir(root.join(&directory))? {
            let item = item?;
            let path = directory.join(item.file_name());
            let entry = read(&item.path())?;
            if matches!(entry, Entry::Directory { .. }) {
                pending.push(path.clone());
            }
            entries.insert(path, entry);
        }
    }
    Ok(entries)
}

/// What a layer holds at one path; `None` is nothing.
pub(crate) fn at(path: &Path) -> io::Result<Option<Entry>> {
    match read(path) {
        Ok(entry) => Ok(Some(entry)),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether a directory that hides what is below was not moved there.
pub(crate) fn is_only_opaque(path: &Path) -> io::Result<bool> {
    Ok(mark(path, REDIRECT)?.is_none())
}

/// Lets a directory merge with those below it.
pub(crate) fn uncover(path: &Path) -> io::Result<()> {
    for name in OPAQUE {
        if system::attribute(path, name)?.is_some() {
            system::remove_attribute(path, name)?;
        }
    }
    Ok(())
}

/// Lets a directory hide those below it.
pub(crate) fn cover(path: &Path) -> io::Result<()> {
    let [first, second] = OPAQUE;
    match system::set_attribute(path, first, b"y") {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            system::set_attribute(path, second, b"y")
        }
        result => result,
    }
}

/// Whether an attribute belongs to the form of a layer and not to what is in it.
pub(crate) fn is_mark(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

fn mark(path: &Path, names: [&str; 2]) -> io::Result<Option<Vec<u8>>> {
    for name in names {
        if let Some(value) = system::attribute(path, name)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

fn read(path: &Path) -> io::Result<Entry> {
    let metadata = fs::symlink_metadata(path)?;
    let kind = metadata.file_type();
    Ok(if kind.is_dir() {
        let opaque = mark(path, OPAQUE)?.is_some_and(|value| value == b"y");
        let hides = opaque || mark(path, REDIRECT)?.is_some();
        Entry::Directory { mode: metadata.mode(), hides }
    } else if kind.is_file() {
        Entry::File { mode: metadata.mode(), size: metadata.size() }
    } else if kind.is_symlink() {
        Entry::Link(fs::read_link(path)?)
    } else if kind.is_char_device() && metadata.rdev() == 0 {
        Entry::Deleted
    } else {
        Entry::Node { mode: metadata.mode(), device: metadata.rdev() }
    })
}
