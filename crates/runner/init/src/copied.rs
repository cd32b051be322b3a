//! Workspaces without an overlay: layers unpacked into a plain directory, and what was
//! changed there packed as a layer again.
//!
//! A layer has the form of an overlay's upper directory in both cases, so whoever reads
//! layers need not know how they were made. What is unchanged is told by inode and change
//! time, which nobody can set: whatever an overlay would have copied up changes them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::layer::{self, Entry};
use crate::{system, tree};

/// Applies layers, oldest first, to the empty directory `to`, and writes down what came of
/// it in the file `manifest`.
pub(crate) fn unpack(to: &Path, manifest: &Path, layers: &[&Path]) -> io::Result<()> {
    for root in layers {
        refuse_redirects(root)?;
        Unpacker::default().directory(root, to)?;
    }
    let mut file = BufWriter::new(File::create(manifest)?);
    for (path, sign) in signs(to)? {
        write!(file, "{} {} {} {} ", sign.inode, sign.seconds, sign.nanoseconds, sign.born)?;
        file.write_all(path.as_os_str().as_bytes())?;
        file.write_all(&[0])?;
    }
    file.flush()
}

/// A directory that an overlay moved has its contents in the layers below, elsewhere.
fn refuse_redirects(root: &Path) -> io::Result<()> {
    for (path, entry) in layer::list(root)? {
        if matches!(entry, Entry::Directory { hides: true, .. })
            && !layer::is_only_opaque(&root.join(&path))?
        {
            let message = format!("{}: moved by an overlay, it cannot be copied", path.display());
            return Err(io::Error::other(message));
        }
    }
    Ok(())
}

#[derive(Default)]
struct Unpacker {
    /// Files of the layer with several names, by inode: where the first was copied to.
    linked: HashMap<u64, PathBuf>,
}

impl Unpacker {
    fn directory(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        for item in fs::read_dir(from)? {
            let item = item?;
            self.entry(&item.path(), &to.join(item.file_name())).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", item.path().display()))
            })?;
        }
        // After the entries, since they change the time.
        tree::dress_all(&fs::symlink_metadata(from)?, from, to)
    }

    fn entry(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let found = layer::at(from)?.ok_or(io::ErrorKind::NotFound)?;
        let stays = matches!(found, Entry::Directory { hides: false, .. })
            && fs::symlink_metadata(to).is_ok_and(|there| there.is_dir());
        if !stays {
            remove(to)?;
        }
        match found {
            Entry::Deleted => Ok(()),
            Entry::Directory { .. } => {
                if !stays {
                    fs::create_dir(to)?;
                }
                self.directory(from, to)
            }
            _ => file(from, to, &mut self.linked),
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Copies anything but a directory; of one file with several names, once.
fn file(from: &Path, to: &Path, linked: &mut HashMap<u64, PathBuf>) -> io::Result<()> {
    let metadata = fs::symlink_metadata(from)?;
    if metadata.nlink() > 1 {
        if let Some(first) = linked.get(&metadata.ino()) {
            return fs::hard_link(first, to);
        }
        linked.insert(metadata.ino(), to.to_owned());
    }
    if metadata.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
    } else if metadata.is_file() {
        fs::copy(from, to)?;
    } else {
        system::make_node(to, metadata.mode(), metadata.rdev())?;
    }
    tree::dress_all(&metadata, from, to)
}

/// What tells whether an entry is still the one that was unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sign {
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
    /// Nanoseconds since 1970, or 0 where the file system does not know: an inode is used
    /// again as soon as it is free.
    born: u128,
}

impl Sign {
    fn of(found: &Metadata) -> Self {
        let born = found.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Self {
            inode: found.ino(),
            seconds: found.ctime(),
            nanoseconds: found.ctime_nsec(),
            born: born.map_or(0, |time| time.as_nanos()),
        }
    }

    /// Whether it is still the same file or directory, changed or not.
    fn is_same_object(&self, other: &Self) -> bool {
        (self.inode, self.born) == (other.inode, other.born)
    }
}

/// The signs of everything in `root`, and of `root` itself at the empty path.
fn signs(root: &Path) -> io::Result<BTreeMap<PathBuf, Sign>> {
    let mut signs = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(path) = pending.pop() {
        let place = if path.as_os_str().is_empty() { root.to_owned() } else { root.join(&path) };
        let found = fs::symlink_metadata(&place)?;
        if found.is_dir() {
            for item in fs::read_dir(&place)? {
                pending.push(path.join(item?.file_name()));
            }
        }
        signs.insert(path, Sign::of(&found));
    }
    Ok(signs)
}

fn parse(manifest: &[u8]) -> Option<BTreeMap<PathBuf, Sign>> {
    let lines = manifest.split(|byte| *byte == 0).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let mut fields = line.splitn(5, |byte| *byte == b' ');
            let mut word = || std::str::from_utf8(fields.next()?).ok();
            let inode = word()?.parse().ok()?;
            let seconds = word()?.parse().ok()?;
            let nanoseconds = word()?.parse().ok()?;
            let born = word()?.parse().ok()?;
            let path = PathBuf::from(OsStr::from_bytes(fields.next()?));
            Some((path, Sign { inode, seconds, nanoseconds, born }))
        })
        .collect()
}

/// Writes what `view` has, and no more has, since `manifest` into the empty directory `to`.
pub(crate) fn delta(view: &Path, manifest: &Path, to: &Path) -> io::Result<()> {
    let before = parse(&fs::read(manifest)?);
    let before = before.ok_or_else(|| io::Error::other("the manifest of the view is not ours"))?;
    let after = signs(view)?;
    let mut hiding = BTreeSet::new();
    let mut shown: BTreeSet<&Path> = BTreeSet::new();
    for (path, sign) in &after {
        let is_new = before.get(path).is_none_or(|old| !old.is_same_object(sign));
        let in_new = path.ancestors().skip(1).any(|above| hiding.contains(above));
        // Sorted, so a directory comes before what is in it.
        if (is_new || in_new) && fs::symlink_metadata(view.join(path))?.is_dir() {
            hiding.insert(path.as_path());
        }
        if in_new || before.get(path) != Some(sign) {
            shown.extend(path.ancestors());
        }
    }
    let gone: Vec<&PathBuf> = before
        .keys()
        .filter(|path| !after.contains_key(*path))
        .filter(|path| {
            let Some(above) = path.parent() else { return false };
            // What is in a directory that went or hides needs no mark of its own.
            after.contains_key(above)
                && !path.ancestors().skip(1).any(|above| hiding.contains(above))
                && fs::symlink_metadata(view.join(above)).is_ok_and(|found| found.is_dir())
        })
        .collect();
    shown.extend(gone.iter().flat_map(|path| path.ancestors().skip(1)));

    let mut linked = HashMap::new();
    let mut directories = Vec::new();
    for path in shown.iter().filter(|path| !path.as_os_str().is_empty()) {
        let (from, target) = (view.join(path), to.join(path));
        if fs::symlink_metadata(&from)?.is_dir() {
            fs::create_dir(&target)?;
            directories.push(*path);
        } else {
            file(&from, &target, &mut linked)?;
        }
    }
    for path in gone {
        system::make_node(&to.join(path), WHITEOUT, 0)?;
    }
    // Deepest first, and after all that changes their times.
    for path in directories.iter().rev() {
        let (from, target) = (view.join(path), to.join(path));
        tree::dress_all(&fs::symlink_metadata(&from)?, &from, &target)?;
        if hiding.contains(path) && before.contains_key(*path) {
            layer::cover(&target)?;
        }
    }
    tree::dress_all(&fs::symlink_metadata(view)?, view, to)
}

/// A character device, of number 0/0, that nobody may open.
const WHITEOUT: u32 = 0o020_000;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    /// Numbers that are the same each time for one seed.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) % limit
        }
    }

    /// Does something to a tree; what cannot be done is not done.
    fn edit(root: &Path, numbers: &mut Numbers) {
        let mut place = || {
            let names = ["a", "b", "c"];
            let depth = numbers.below(3) + 1;
            (0..depth).map(|_| names[numbers.below(3) as usize]).collect::<PathBuf>()
        };
        let (one, other) = (root.join(place()), root.join(place()));
        let number = numbers.below(1000);
        drop(match number % 8 {
            0 | 1 => fs::write(&one, number.to_string()),
            2 | 3 => fs::create_dir_all(&one),
            4 => remove(&one),
            5 => fs::rename(&one, &other),
            6 => symlink("../nowhere", &one),
            _ => match number % 3 {
                0 => fs::hard_link(&one, &other),
                1 => fs::set_permissions(&one, fs::Permissions::from_mode(0o700)),
                _ => remove(&one).and_then(|()| fs::create_dir(&one)),
            },
        });
    }

    /// Everything in a tree that a stage can see.
    fn seen(root: &Path) -> Vec<String> {
        let paths = signs(root).unwrap().into_keys();
        paths
            .map(|path| {
                let place = root.join(&path);
                let found = fs::symlink_metadata(&place).unwrap();
                let contents = match () {
                    () if found.is_file() => fs::read_to_string(&place).unwrap(),
                    () if found.is_symlink() => {
                        fs::read_link(&place).unwrap().display().to_string()
                    }
                    () => String::new(),
                };
                let (mode, time) = (found.mode(), (found.mtime(), found.mtime_nsec()));
                format!("{} {mode:o} {time:?} {contents}", path.display())
            })
            .collect()
    }

    /// Chains of random edits: what is unpacked is what the stage before left. Needs root.
    #[test]
    fn layers_that_were_packed_unpack_to_what_was_there() {
        for seed in 0..60 {
            let directory = tempfile::tempdir().unwrap();
            let mut numbers = Numbers(seed);
            let mut layers: Vec<PathBuf> = Vec::new();
            let mut left = Vec::new();
            for stage in 0..4 {
                let [view, upper, manifest] = ["view", "upper", "manifest"]
                    .map(|name| directory.path().join(format!("{name}{stage}")));
                fs::create_dir(&view).unwrap();
                fs::create_dir(&upper).unwrap();
                let below: Vec<&Path> = layers.iter().map(PathBuf::as_path).collect();
                unpack(&view, &manifest, &below).unwrap();
                if stage > 0 {
                    assert_eq!(seen(&view), left, "seed {seed}, stage {stage}");
                }
                // As long as a container takes to begin: more than a tick of the clock.
                std::thread::sleep(Duration::from_millis(12));
                for _ in 0..20 {
                    edit(&view, &mut numbers);
                }
                left = seen(&view);
                delta(&view, &manifest, &upper).unwrap();
                layers.push(upper);
            }
        }
    }

    #[test]
    fn what_is_unchanged_is_in_no_layer() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["base/d/e", "view", "upper"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        for name in ["base/d/gone", "base/d/same", "base/d/e/file", "base/changed"] {
            fs::write(path(name), "1").unwrap();
        }
        unpack(&path("view"), &path("manifest"), &[&path("base")]).unwrap();
        std::thread::sleep(Duration::from_millis(12));
        fs::write(path("view/changed"), "2").unwrap();
        fs::remove_file(path("view/d/gone")).unwrap();
        fs::remove_dir_all(path("view/d/e")).unwrap();
        fs::create_dir(path("view/d/e")).unwrap();
        delta(&path("view"), &path("manifest"), &path("upper")).unwrap();
        let found = layer::list(&path("upper")).unwrap();
        let paths: Vec<String> = found.keys().map(|path| path.display().to_string()).collect();
        assert_eq!(paths, ["changed", "d", "d/e", "d/gone"]);
        assert_eq!(found[Path::new("d/gone")], Entry::Deleted);
        assert!(matches!(found[Path::new("d/e")], Entry::Directory { hides: true, .. }));
        assert!(matches!(found[Path::new("d")], Entry::Directory { hides: false, .. }));
    }
}
