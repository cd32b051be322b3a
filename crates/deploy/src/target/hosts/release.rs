//! What a release is made of: its files here, and the difference to what a host has.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use event::ReleaseId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Beside the files of a release on a host: what it is.
pub(super) const ABOUT: &str = "RELEASE.json";

/// One file of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct FileEntry {
    pub(super) sha256: String,
    pub(super) mode: u32,
}

/// `RELEASE.json`: the labels of a release on a host, and the hashes of its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ReleaseFile {
    #[serde(rename = "shipline.instance")]
    pub(super) instance: String,
    #[serde(rename = "shipline.kind")]
    pub(super) kind: String,
    #[serde(rename = "shipline.project")]
    pub(super) project: String,
    #[serde(rename = "shipline.release")]
    pub(super) release: ReleaseId,
    pub(super) artifact: String,
    pub(super) files: BTreeMap<String, FileEntry>,
}

/// The files of a release, in a folder of this machine.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) folder: PathBuf,
    pub(super) files: BTreeMap<String, FileEntry>,
    /// Folders and symbolic links, which are always sent.
    others: Vec<String>,
    pub(super) bytes: u64,
}

impl Tree {
    /// Reads and hashes what is there.
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        let mut tree = Self {
            folder: folder.to_path_buf(),
            files: BTreeMap::new(),
            others: Vec::new(),
            bytes: 0,
        };
        let mut folders = vec![PathBuf::new()];
        while let Some(inner) = folders.pop() {
            for entry in fs::read_dir(folder.join(&inner))? {
                let entry = entry?;
                let path = inner.join(entry.file_name());
                let kind = entry.file_type()?;
                let name = path.to_str().ok_or_else(|| not_text(&path))?.to_owned();
                if kind.is_file() {
                    let metadata = entry.metadata()?;
                    let mode = metadata.permissions().mode() & 0o7777;
                    tree.bytes += metadata.len();
                    let sha256 = hash(&entry.path())?;
                    tree.files.insert(name, FileEntry { sha256, mode });
                } else {
                    if kind.is_dir() {
                        folders.push(path);
                    }
                    tree.others.push(name);
                }
            }
        }
        // A folder comes before what is in it.
        tree.others.sort();
        Ok(tree)
    }

    /// Returns the files that another release has, too, as they are.
    pub(super) fn unchanged<'a>(
        &'a self,
        base: &'a BTreeMap<String, FileEntry>,
    ) -> impl Iterator<Item = &'a str> {
        let same = |(name, entry): &(&'a String, &'a FileEntry)| base.get(*name) == Some(*entry);
        self.files.iter().filter(same).map(|(name, _)| name.as_str())
    }

    /// Writes the archive that makes this release of one with the files `base`: what is
    /// not `unchanged`, the list of what is, and the sums of all. Returns its sha256.
    pub(super) fn pack(
        &self,
        about: &ReleaseFile,
        base: &BTreeMap<String, FileEntry>,
        into: &Path,
    ) -> io::Result<String> {
        let writer = Summing { inner: File::create(into)?, hasher: Sha256::new() };
        let mut archive = tar::Builder::new(zstd::Encoder::new(writer, 3)?);
        archive.follow_symlinks(false);
        let links: Vec<_> = self.unchanged(base).collect();
        let mut list = Vec::new();
        for name in &links {
            list.extend_from_slice(name.as_bytes());
            list.push(0);
        }
        let sums: String = self.files.iter().map(|(name, entry)| sum_line(name, entry)).collect();
        let about = serde_json::to_vec(about)?;
        append(&mut archive, "links", 0o600, &list)?;
        append(&mut archive, "sums", 0o600, sums.as_bytes())?;
        let mut root = tar::Header::new_gnu();
        root.set_entry_type(tar::EntryType::Directory);
        root.set_size(0);
        // The service of a host is somebody else than who brings it files.
        root.set_mode(0o755);
        root.set_mtime(0);
        archive.append_data(&mut root, "tree", io::empty())?;
        for name in &self.others {
            let path = self.folder.join(name);
            archive.append_path_with_name(&path, Path::new("tree").join(name))?;
        }
        for name in self.files.keys().filter(|name| links.binary_search(&name.as_str()).is_err()) {
            let path = self.folder.join(name);
            archive.append_path_with_name(&path, Path::new("tree").join(name))?;
        }
        append(&mut archive, &format!("tree/{ABOUT}"), 0o644, &about)?;
        let writer = archive.into_inner()?.finish()?;
        Ok(hex::encode(writer.hasher.finalize()))
    }
}

fn not_text(path: &Path) -> io::Error {
    let why = format!("the name `{}` is not UTF-8", path.display());
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn append(
    archive: &mut tar::Builder<impl Write>,
    name: &str,
    mode: u32,
    bytes: &[u8],
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    archive.append_data(&mut header, name, bytes)
}

/// A line as `sha256sum` reads it; a name with a line's end in it is written with `\`.
fn sum_line(name: &str, entry: &FileEntry) -> String {
    let plain = name.replace('\\', "\\\\").replace('\n', "\\n");
    let mark = if plain == name { "" } else { "\\" };
    format!("{mark}{}  ./{plain}\n", entry.sha256)
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// Sums up what is written through it.
struct Summing<W> {
    inner: W,
    hasher: Sha256,
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_packed() {
        let folder = tempfile::tempdir().unwrap();
        let release = folder.path().join("release");
        fs::create_dir_all(release.join("inner")).unwrap();
        fs::write(release.join("inner/same"), "same").unwrap();
        fs::write(release.join("changed"), "new").unwrap();
        fs::write(release.join("tool"), "tool").unwrap();
        std::os::unix::fs::symlink("inner/same", release.join("link")).unwrap();
        let tree = Tree::read(&release).unwrap();
        let mut base = tree.files.clone();
        base.get_mut("changed").unwrap().sha256 = "of another text".to_owned();
        base.get_mut("tool").unwrap().mode = 0;
        assert_eq!(tree.unchanged(&base).collect::<Vec<_>>(), ["inner/same"]);
        let about = ReleaseFile {
            instance: "i".to_owned(),
            kind: "unit".to_owned(),
            project: "web".to_owned(),
            release: ReleaseId::new(uuid::Uuid::from_u128(1)),
            artifact: String::new(),
            files: tree.files.clone(),
        };
        let packed = folder.path().join("packed");
        let sum = tree.pack(&about, &base, &packed).unwrap();
        assert_eq!(sum, hash(&packed).unwrap());
        let mut archive =
            tar::Archive::new(zstd::Decoder::new(File::open(&packed).unwrap()).unwrap());
        let names: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        let wanted = [
            "links",
            "sums",
            "tree/",
            "tree/inner/",
            "tree/link",
            "tree/changed",
            "tree/tool",
            "tree/RELEASE.json",
        ];
        let names: Vec<_> = names.iter().map(|name| name.trim_end_matches('/')).collect();
        assert_eq!(names, wanted.map(|name| name.trim_end_matches('/')));
    }

    #[test]
    fn a_name_with_a_line_in_it_is_one_line() {
        let entry = FileEntry { sha256: "ab".to_owned(), mode: 0 };
        assert_eq!(sum_line("a b", &entry), "ab  ./a b\n");
        assert_eq!(sum_line("a\nb", &entry), "\\ab  ./a\\nb\n");
    }
}
