//! The files of a base layer as an archive.
//!
//! Directories become 0777 and files 0666 or 0777, so that any user of a stage can
//! work in them: Git sees only the x bit. Symbolic links stay links and are never
//! followed.

use std::collections::HashSet;
use std::fs::{self, File, FileType};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use ignore::WalkBuilder;
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

/// The files of a base layer.
pub(super) struct Files {
    pub(super) root: PathBuf,
    /// Relative to the root; taken also where they are ignored.
    pub(super) tracked: Vec<String>,
    /// Leave out what Git ignores.
    pub(super) ignore: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) left_out: u64,
}

impl Files {
    /// Returns the SHA-256 of the archive: names, kinds, modes, times and contents.
    pub(super) fn digest(&self) -> io::Result<String> {
        let mut builder = tar::Builder::new(Digested(Sha256::new()));
        builder.follow_symlinks(false);
        self.write(&mut builder, Path::new("layer"))?;
        Ok(hex::encode(builder.into_inner()?.0.finalize()))
    }

    /// Writes all of it below `folder` of the archive.
    pub(super) fn write<W: Write>(
        &self,
        builder: &mut tar::Builder<W>,
        folder: &Path,
    ) -> io::Result<Count> {
        let (done, count) = (HashSet::new(), Count::default());
        let mut writer = TreeWriter { root: &self.root, folder, builder, done, count };
        // The first entry is the root itself, with its mode.
        writer.entry(&self.root, fs::metadata(&self.root)?.file_type())?;
        let mut repositories = Vec::new();
        let mut walk = WalkBuilder::new(&self.root);
        walk.standard_filters(false).follow_links(false).sort_by_file_name(Ord::cmp);
        if self.ignore {
            // The user's global ignores are no part of the repository.
            walk.git_ignore(true).git_exclude(true).parents(true).require_git(false);
        }
        walk.filter_entry(|entry| entry.depth() == 0 || entry.file_name() != ".git");
        for entry in walk.build() {
            let entry = entry.map_err(io::Error::other)?;
            let Some(kind) = entry.file_type() else { continue };
            if entry.depth() > 0 {
                writer.entry(entry.path(), kind)?;
            }
            let repository = entry.path().join(".git");
            if kind.is_dir() && fs::symlink_metadata(&repository).is_ok() {
                repositories.push(repository);
            }
        }
        for path in &self.tracked {
            writer.tracked(Path::new(path))?;
        }
        // Whole: rules for the tree, such as `build/` or `*.idx`, are not meant for it.
        for repository in repositories {
            let mut walk = WalkBuilder::new(&repository);
            walk.standard_filters(false).follow_links(false).sort_by_file_name(Ord::cmp);
            for entry in walk.build() {
                let entry = entry.map_err(io::Error::other)?;
                if let Some(kind) = entry.file_type() {
                    writer.entry(entry.path(), kind)?;
                }
            }
        }
        Ok(writer.count)
    }
}

/// Takes an archive and keeps its digest.
struct Digested(Sha256);

impl Write for Digested {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct TreeWriter<'a, W: Write> {
    root: &'a Path,
    folder: &'a Path,
    builder: &'a mut tar::Builder<W>,
    /// Paths already written.
    done: HashSet<PathBuf>,
    count: Count,
}

impl<W: Write> TreeWriter<'_, W> {
    /// Writes a file that Git tracks, and the directories above it.
    fn tracked(&mut self, path: &Path) -> io::Result<()> {
        let mut at = self.root.to_owned();
        for part in path.components() {
            at.push(part);
            match fs::symlink_metadata(&at) {
                // A link above a tracked file: the file is not in this tree any more.
                Ok(metadata) if metadata.is_symlink() && at != self.root.join(path) => {
                    return Ok(());
                }
                // A submodule that the walk has seen, or one that is ignored and stays so.
                Ok(metadata) if metadata.is_dir() && at == self.root.join(path) => return Ok(()),
                Ok(metadata) => self.entry(&at, metadata.file_type())?,
                // Deleted in the working tree.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, kind: FileType) -> io::Result<()> {
        let below = path.strip_prefix(self.root).unwrap_or(path);
        if !self.done.insert(below.to_owned()) {
            return Ok(());
        }
        let name = if below.as_os_str().is_empty() {
            self.folder.to_owned()
        } else {
            self.folder.join(below)
        };
        let written = if kind.is_dir() {
            self.directory(path, &name)
        } else if kind.is_symlink() {
            self.link(path, &name)
        } else if kind.is_file() {
            self.file(path, &name)
        } else {
            self.count.left_out += 1;
            Ok(())
        };
        match written {
            // Removed between listing and reading: as if it had not been listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                Err(io::Error::new(error.kind(), format!("{}: {error}", below.display())))
            }
            Ok(()) => Ok(()),
        }
    }

    fn directory(&mut self, path: &Path, name: &Path) -> io::Result<()> {
        let mut header = header(EntryType::Directory, 0o777, &fs::symlink_metadata(path)?);
        self.builder.append_data(&mut header, name, io::empty())
    }

    fn link(&mut self, path: &Path, name: &Path) -> io::Result<()> {
        let target = fs::read_link(path)?;
        let mut header = header(EntryType::Symlink, 0o777, &fs::symlink_metadata(path)?);
        self.count.files += 1;
        self.builder.append_link(&mut header, name, target)
    }

    fn file(&mut self, path: &Path, name: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let executable = metadata.permissions().mode() & 0o111 != 0;
        let mode = if executable { 0o777 } else { 0o666 };
        let mut header = header(EntryType::Regular, mode, &metadata);
        header.set_size(metadata.len());
        self.count.files += 1;
        self.count.bytes += metadata.len();
        // A file that is being written has another length by now; the header's holds.
        let exact = file.chain(io::repeat(0)).take(metadata.len());
        self.builder.append_data(&mut header, name, exact)
    }
}

fn header(kind: EntryType, mode: u32, metadata: &fs::Metadata) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    header.set_mtime(modified.unwrap_or(Duration::ZERO).as_secs());
    header
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::backend::docker::archive;

    /// Returns path, mode and link or length of each entry, sorted.
    async fn listed(files: Files) -> Vec<String> {
        let (stream, writing) =
            archive::write(move |builder| files.write(builder, Path::new("layer")));
        let (reader, pump) = archive::reader(stream);
        let reading = tokio::task::spawn_blocking(move || {
            let mut listed = Vec::new();
            for entry in tar::Archive::new(reader).entries().unwrap() {
                let entry = entry.unwrap();
                let header = entry.header();
                let path = entry.path().unwrap().display().to_string();
                let rest = match entry.link_name().unwrap() {
                    Some(target) => format!(" -> {}", target.display()),
                    None => format!(" {}", header.size().unwrap()),
                };
                listed.push(format!("{path} {:o}{rest}", header.mode().unwrap()));
            }
            listed.sort();
            listed
        });
        let (written, listed, ()) = tokio::join!(writing, reading, pump);
        written.unwrap().unwrap();
        listed.unwrap()
    }

    fn put(root: &Path, path: &str, contents: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    fn files(root: &Path, tracked: &[&str]) -> Files {
        let tracked = tracked.iter().map(|&path| path.to_owned()).collect();
        Files { root: root.to_owned(), tracked, ignore: true }
    }

    #[tokio::test]
    async fn what_is_ignored_stays_out_unless_it_is_tracked_and_git_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        put(root, ".gitignore", "*.o\nout/\nobjects/\n");
        put(root, "main.c", "int");
        put(root, "main.o", "x");
        put(root, "out/kept", "k");
        put(root, "out/left", "l");
        put(root, ".hidden", "");
        put(root, ".git/objects/a.o", "o");
        assert_eq!(
            listed(files(root, &["main.c", "out/kept", "deleted"])).await,
            [
                "layer 777 0",
                "layer/.git 777 0",
                "layer/.git/objects 777 0",
                "layer/.git/objects/a.o 666 1",
                "layer/.gitignore 666 18",
                "layer/.hidden 666 0",
                "layer/main.c 666 3",
                "layer/out 777 0",
                "layer/out/kept 666 1",
            ]
        );
    }

    #[tokio::test]
    async fn modes_are_those_any_user_can_work_with_and_links_stay_links() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        put(root, "run.sh", "#");
        fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o700)).unwrap();
        put(root, "secret", "s");
        fs::set_permissions(root.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink("/etc/passwd", root.join("absolute")).unwrap();
        symlink("missing/../run.sh", root.join("broken")).unwrap();
        symlink("/etc", root.join("directory")).unwrap();
        assert_eq!(
            listed(files(root, &["directory/passwd"])).await,
            [
                "layer 777 0",
                "layer/absolute 777 -> /etc/passwd",
                "layer/broken 777 -> missing/../run.sh",
                "layer/directory 777 -> /etc",
                "layer/run.sh 777 1",
                "layer/secret 666 1",
            ]
        );
    }

    #[test]
    fn the_digest_of_a_tree_changes_with_all_that_a_checkout_brings() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        put(root, ".gitignore", "*.o\n");
        put(root, "src/main.c", "int a;");
        put(root, ".git/HEAD", "ref: refs/heads/main\n");
        symlink("src", root.join("link")).unwrap();
        let digest = || files(root, &[]).digest().unwrap();
        let mut known = vec![digest()];
        assert_eq!(digest(), known[0]);
        put(root, "main.o", "ignored");
        assert_eq!(digest(), known[0]);
        let kept = fs::metadata(root.join("src/main.c")).unwrap().modified().unwrap();
        let touch = |time| {
            let file = File::options().write(true).open(root.join("src/main.c")).unwrap();
            file.set_modified(time).unwrap();
        };
        let changes: [&dyn Fn(); 10] = [
            &|| {
                put(root, "src/main.c", "int b;");
                touch(kept);
            },
            &|| put(root, "src/other.c", ""),
            &|| fs::rename(root.join("src/other.c"), root.join("src/third.c")).unwrap(),
            &|| fs::remove_file(root.join("src/third.c")).unwrap(),
            &|| {
                let executable = fs::Permissions::from_mode(0o755);
                fs::set_permissions(root.join("src/main.c"), executable).unwrap();
            },
            &|| touch(kept + Duration::from_secs(60)),
            &|| {
                fs::remove_file(root.join("link")).unwrap();
                symlink("srd", root.join("link")).unwrap();
            },
            &|| {
                fs::remove_file(root.join("link")).unwrap();
                put(root, "link", "srd");
            },
            &|| fs::create_dir(root.join("empty")).unwrap(),
            &|| put(root, ".git/HEAD", "ref: refs/heads/next\n"),
        ];
        for (number, change) in changes.iter().enumerate() {
            change();
            let now = digest();
            // Without `third.c` the files are those before it came, the directory is newer.
            assert!(number == 3 || !known.contains(&now), "change {number}");
            known.push(now);
        }
    }

    #[tokio::test]
    async fn a_socket_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(directory.path().join("s")).unwrap();
        assert_eq!(listed(files(directory.path(), &[])).await, ["layer 777 0"]);
    }

    #[tokio::test]
    async fn long_names_and_names_that_are_no_text_arrive() {
        use std::os::unix::ffi::OsStrExt;
        let directory = tempfile::tempdir().unwrap();
        let long = "d/".repeat(80) + "file";
        put(directory.path(), &long, "x");
        fs::write(directory.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
        let listed = listed(files(directory.path(), &[])).await;
        assert!(listed.contains(&format!("layer/{long} 666 1")));
        assert!(listed.contains(&"layer/\u{fffd} 666 0".to_owned()));
    }
}
