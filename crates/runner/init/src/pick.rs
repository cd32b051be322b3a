//! Files of a workspace for the runner: it is told what there is, and gets what it asks for.
//!
//! To stdout go entries, each `KIND SIZE MODE PATH` and a NUL, sorted by path, and an
//! empty one behind the last. On stdin come the positions of those wanted, one a line,
//! and an empty line. Then each of them goes out: eight bytes of length, then its bytes;
//! of a symbolic link its target. Links are never followed, `.git` is left out.

use std::fs::{self, File};
use std::io::{self, BufRead, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// More files are nothing that patterns should be matched against.
const MOST: usize = 1_000_000;

struct Entry {
    path: PathBuf,
    /// `f` or `l`.
    kind: char,
    size: u64,
    mode: u32,
}

/// Speaks with the runner as the module says.
pub(crate) fn pick(root: &Path, input: impl BufRead, output: impl Write) -> io::Result<()> {
    let mut output = io::BufWriter::with_capacity(1 << 16, output);
    let entries = list(root)?;
    for Entry { path, kind, size, mode } in &entries {
        write!(output, "{kind} {size} {mode} ")?;
        output.write_all(path.as_os_str().as_bytes())?;
        output.write_all(&[0])?;
    }
    output.write_all(&[0])?;
    output.flush()?;
    for line in input.lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        let position: Option<usize> = line.parse().ok();
        let entry = position.and_then(|position| entries.get(position));
        let entry = entry.ok_or_else(|| io::Error::other("asked for what is not there"))?;
        send(root, entry, &mut output)?;
    }
    output.flush()
}

fn send(root: &Path, entry: &Entry, output: &mut impl Write) -> io::Result<()> {
    let path = root.join(&entry.path);
    if entry.kind == 'l' {
        let target = fs::read_link(path)?;
        let target = target.as_os_str().as_bytes();
        output.write_all(&(target.len() as u64).to_be_bytes())?;
        return output.write_all(target);
    }
    output.write_all(&entry.size.to_be_bytes())?;
    let copied = io::copy(&mut File::open(path)?.take(entry.size), output)?;
    if copied == entry.size {
        Ok(())
    } else {
        Err(io::Error::other(format!("{} became shorter", entry.path.display())))
    }
}

/// Everything but directories, sorted by path.
fn list(root: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        for item in fs::read_dir(root.join(&directory))? {
            let item = item?;
            let path = directory.join(item.file_name());
            let metadata = item.metadata()?;
            let kind = metadata.file_type();
            if kind.is_dir() {
                if path != Path::new(".git") {
                    pending.push(path);
                }
                continue;
            }
            let kind = match () {
                () if kind.is_file() => 'f',
                () if kind.is_symlink() => 'l',
                // Sockets, pipes and devices have no contents.
                () => continue,
            };
            if entries.len() == MOST {
                return Err(io::Error::other(format!("the workspace has more than {MOST} files")));
            }
            entries.push(Entry { path, kind, size: metadata.size(), mode: metadata.mode() });
        }
    }
    entries.sort_unstable_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn entries_are_told_and_those_asked_for_are_sent() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join(".git")).unwrap();
        fs::create_dir_all(root.join("d")).unwrap();
        for (path, contents) in [(".git/HEAD", "x"), ("d/a", "one"), ("b\nc", "")] {
            fs::write(root.join(path), contents).unwrap();
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(0o644)).unwrap();
        }
        symlink("/etc/passwd", root.join("link")).unwrap();
        let mut output = Vec::new();
        pick(root, "2\n1\n\n".as_bytes(), &mut output).unwrap();
        let mode = fs::symlink_metadata(root.join("link")).unwrap().mode();
        let told = format!("f 0 33188 b\nc\0f 3 33188 d/a\0l 11 {mode} link\0\0");
        let sent = b"\0\0\0\0\0\0\0\x0b/etc/passwd\0\0\0\0\0\0\0\x03one";
        assert_eq!(output, [told.as_bytes(), sent].concat());
        assert!(pick(root, "9\n\n".as_bytes(), io::sink()).is_err());
    }
}
