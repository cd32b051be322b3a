//! Copies a tree with everything that a workspace may hold: modes, owners, times,
//! symbolic and hard links, FIFOs.

use std::collections::HashMap;
use std::fs::{self, File, FileTimes, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use crate::{layer, system};

/// Copies what is in `from` into `to`, which exists and is empty.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    Copier::default().directory(from, to)
}

#[derive(Default)]
struct Copier {
    /// Files with several names, by device and inode: where the first was copied to.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl Copier {
    fn directory(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        for item in fs::read_dir(from)? {
            let item = item?;
            self.entry(&item.path(), &to.join(item.file_name())).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", item.path().display()))
            })?;
        }
        // After the entries, since they change the time.
        dress(&fs::symlink_metadata(from)?, to)
    }

    fn entry(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let metadata = fs::symlink_metadata(from)?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            fs::create_dir(to)?;
            return self.directory(from, to);
        }
        if kind.is_symlink() {
            symlink(fs::read_link(from)?, to)?;
            return lchown(to, Some(metadata.uid()), Some(metadata.gid()));
        }
        if metadata.nlink() > 1 {
            let key = (metadata.dev(), metadata.ino());
            if let Some(first) = self.linked.get(&key) {
                return fs::hard_link(first, to);
            }
            self.linked.insert(key, to.to_owned());
        }
        if kind.is_file() {
            fs::copy(from, to)?;
        } else {
            system::make_node(to, metadata.mode(), metadata.rdev())?;
        }
        dress(&metadata, to)
    }
}

/// Gives `to` the owner, mode and, where it can be opened, times of the original.
fn dress(metadata: &Metadata, to: &Path) -> io::Result<()> {
    lchown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    // After the owner, since changing that clears the setuid bits.
    fs::set_permissions(to, fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    if metadata.is_dir() || metadata.is_file() {
        let times =
            FileTimes::new().set_accessed(metadata.accessed()?).set_modified(metadata.modified()?);
        File::open(to)?.set_times(times)?;
    }
    Ok(())
}

/// Gives `to` all that `from` has but contents: owner, mode, attributes and times, also of a
/// symbolic link. What makes the form of a layer stays behind.
pub(crate) fn dress_all(metadata: &Metadata, from: &Path, to: &Path) -> io::Result<()> {
    lchown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    for name in system::attributes(from)? {
        let Ok(text) = std::str::from_utf8(&name) else { continue };
        if layer::is_mark(&name) {
            continue;
        }
        if let Some(value) = system::attribute(from, text)? {
            system::set_attribute(to, text, &value)?;
        }
    }
    if !metadata.is_symlink() {
        // After the owner, since changing that clears the setuid bits.
        fs::set_permissions(to, fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    }
    system::set_modified(to, metadata.mtime(), metadata.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_tree_is_copied_with_modes_links_and_times() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::create_dir_all(from.join("d/empty")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("d/file"), [0, 159, 146, 150]).unwrap();
        fs::set_permissions(from.join("d/file"), fs::Permissions::from_mode(0o750)).unwrap();
        fs::hard_link(from.join("d/file"), from.join("same")).unwrap();
        symlink("../nowhere", from.join("link")).unwrap();
        let modified = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::open(from.join("d")).unwrap().set_modified(modified).unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o777)).unwrap();

        copy(&from, &to).unwrap();

        let file = fs::metadata(to.join("d/file")).unwrap();
        assert_eq!(fs::read(to.join("d/file")).unwrap(), [0, 159, 146, 150]);
        assert_eq!(file.mode() & 0o7777, 0o750);
        assert_eq!(fs::metadata(to.join("same")).unwrap().ino(), file.ino());
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("../nowhere"));
        assert!(to.join("d/empty").is_dir());
        assert_eq!(fs::metadata(to.join("d")).unwrap().modified().unwrap(), modified);
        assert_eq!(fs::metadata(&to).unwrap().mode() & 0o7777, 0o777);
    }
}
