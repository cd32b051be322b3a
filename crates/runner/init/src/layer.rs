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

const OPAQUE: &str = "trusted.overlay.opaque";
const REDIRECT: &str = "trusted.overlay.redirect";

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

fn read(path: &Path) -> io::Result<Entry> {
    let metadata = fs::symlink_metadata(path)?;
    let kind = metadata.file_type();
    Ok(if kind.is_dir() {
        let opaque = system::attribute(path, OPAQUE)?.is_some_and(|value| value == b"y");
        let hides = opaque || system::attribute(path, REDIRECT)?.is_some();
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
