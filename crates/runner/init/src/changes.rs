//! What differs between two views of a workspace that share most of their layers.
//!
//! Only paths that one of the layers between them touches are looked at. A layer may hide
//! or move a whole directory, so there everything below it is looked at, in both views.
//!
//! To stdout goes a line for each difference, ended by a NUL: `+`, `-` or `~` for what is
//! there in the second view alone, in the first alone, or in both and not the same; the kind
//! and size of what is there now, or was; and the path. Sorted by path.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::conflict::same_bytes;
use crate::layer::{Entry, list};

/// More are nothing to be read.
const MOST: usize = 200_000;

/// Tells what differs from `old` to `new`, of what is in `layers`.
pub(crate) fn changes(
    old: &Path,
    new: &Path,
    layers: &[&Path],
    output: impl Write,
) -> io::Result<()> {
    let mut output = io::BufWriter::new(output);
    let mut told = 0;
    for path in touched(old, new, layers)? {
        let found = [old, new].map(|view| fs::symlink_metadata(view.join(&path)));
        let [before, after] = found.map(|found| match found {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // Below a file there is nothing.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
            Err(error) => Err(error),
        });
        let (sign, shown) = match (before?, after?) {
            (None, None) => continue,
            (None, Some(after)) => ('+', after),
            (Some(before), None) => ('-', before),
            (Some(before), Some(after)) => {
                if is_same(&before, &after, &old.join(&path), &new.join(&path))? {
                    continue;
                }
                ('~', after)
            }
        };
        told += 1;
        if told > MOST {
            return Err(io::Error::other(format!("more than {MOST} paths differ")));
        }
        write!(output, "{sign} {} {} ", kind(&shown), size(&shown))?;
        output.write_all(path.as_os_str().as_bytes())?;
        output.write_all(&[0])?;
    }
    output.flush()
}

/// The paths that may differ.
fn touched(old: &Path, new: &Path, layers: &[&Path]) -> io::Result<BTreeSet<PathBuf>> {
    let mut paths = BTreeSet::new();
    for layer in layers {
        for (path, entry) in list(layer)? {
            match entry {
                Entry::Directory { hides: true, .. } | Entry::Deleted => {
                    below(old, &path, &mut paths)?;
                    below(new, &path, &mut paths)?;
                }
                // It may stand where a directory was.
                Entry::File { .. } | Entry::Link(_) | Entry::Node { .. } => {
                    below(old, &path, &mut paths)?;
                }
                Entry::Directory { .. } => {}
            }
            paths.insert(path);
        }
    }
    Ok(paths)
}

/// Adds everything below a directory of a view, if it is one.
fn below(view: &Path, path: &Path, paths: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    let mut pending = vec![path.to_owned()];
    while let Some(path) = pending.pop() {
        let is_directory = fs::symlink_metadata(view.join(&path)).is_ok_and(|found| found.is_dir());
        if is_directory {
            for item in fs::read_dir(view.join(&path))? {
                pending.push(path.join(item?.file_name()));
            }
        }
        paths.insert(path);
    }
    Ok(())
}

/// Times and owners do not count: every build sets them anew.
fn is_same(before: &Metadata, after: &Metadata, old: &Path, new: &Path) -> io::Result<bool> {
    if before.mode() != after.mode() {
        return Ok(false);
    }
    if after.is_file() {
        return Ok(before.size() == after.size() && same_bytes(old, new)?);
    }
    if after.is_symlink() {
        return Ok(fs::read_link(old)? == fs::read_link(new)?);
    }
    Ok(after.is_dir() || before.rdev() == after.rdev())
}

fn kind(of: &Metadata) -> char {
    match () {
        () if of.is_dir() => 'd',
        () if of.is_file() => 'f',
        () if of.is_symlink() => 'l',
        () => 'o',
    }
}

fn size(of: &Metadata) -> u64 {
    if of.is_file() { of.size() } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn what_a_layer_changed_is_told_and_what_it_only_touched_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let [old, new, layer] = ["old", "new", "layer"].map(|name| directory.path().join(name));
        let write = |root: &Path, path: &str, contents: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, contents).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        };
        for (path, before, after) in [
            ("same", Some("1"), Some("1")),
            ("changed", Some("1"), Some("2")),
            ("new/file", None, Some("three")),
            ("was/a/directory", Some("1"), None),
            ("mode", Some("1"), Some("1")),
            ("elsewhere", Some("1"), Some("2")),
        ] {
            before.inspect(|text| write(&old, path, text));
            after.inspect(|text| write(&new, path, text));
            if let Some(text) = after.filter(|_| path != "elsewhere") {
                write(&layer, path, text);
            }
        }
        fs::set_permissions(new.join("mode"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("same", new.join("was")).unwrap();
        symlink("same", layer.join("was")).unwrap();

        let mut told = Vec::new();
        changes(&old, &new, &[&layer], &mut told).unwrap();
        let told = String::from_utf8(told).unwrap().replace('\0', "\n");
        assert_eq!(
            told,
            "~ f 1 changed\n~ f 1 mode\n+ d 0 new\n+ f 5 new/file\n~ l 0 was\n- d 0 was/a\n\
             - f 1 was/a/directory\n"
        );
    }
}
