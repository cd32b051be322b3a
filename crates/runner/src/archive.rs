//! Archives of artifacts, taken apart.
//!
//! Nobody trusts what is in one: it may have been exchanged since it was written.
//! Whatever is wrong ends the extraction, and nothing of it is left.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path};

use tar::EntryType;

/// Files of an artifact.
pub(crate) const MOST_FILES: usize = 100_000;
/// Bytes of all its files.
pub(crate) const LARGEST: u64 = 4 << 30;
/// So much may come of a byte of an archive; what is tiny may be all zeros.
const RATIO: u64 = 200;
const TINY: u64 = 1 << 20;
/// Of a path in an archive.
const LONGEST_PATH: usize = 4096;

/// Why an archive is not taken apart.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    #[error("`{0}` leads out of the archive")]
    Outside(String),
    #[error("`{0}` is neither a file nor a directory")]
    Kind(String),
    #[error("it has more than {MOST_FILES} entries")]
    Entries,
    #[error("more comes out of it than it may hold")]
    Bomb,
    #[error("it is damaged")]
    Damaged(#[source] io::Error),
    #[error("`{path}` cannot be written")]
    Write {
        path: String,
        #[source]
        source: io::Error,
    },
}

/// Writes the files of an archive into `into`, which is empty. Links, devices, absolute
/// paths and `..` are refused, other bits than those of permission dropped.
pub fn extract(archive: File, into: &Path) -> Result<(), ExtractError> {
    let extracted = try_extract(archive, into);
    if extracted.is_err() {
        // Half of it is worse than nothing.
        for entry in fs::read_dir(into).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            drop(if is_directory { fs::remove_dir_all(path) } else { fs::remove_file(path) });
        }
    }
    extracted
}

fn try_extract(archive: File, into: &Path) -> Result<(), ExtractError> {
    let packed = archive.metadata().map_err(ExtractError::Damaged)?.len();
    let limit = packed.saturating_mul(RATIO).clamp(TINY, LARGEST + TINY);
    let decoder = zstd::Decoder::new(archive).map_err(ExtractError::Damaged)?;
    // Headers and padding count as well: 1,024 bytes a file at most, and its contents.
    let most = limit.saturating_add(1024 * (MOST_FILES as u64 + 2));
    let mut archive = tar::Archive::new(decoder.take(most));
    let mut left = limit;
    for (count, entry) in archive.entries().map_err(ExtractError::Damaged)?.enumerate() {
        if count >= MOST_FILES {
            return Err(ExtractError::Entries);
        }
        let mut entry = entry.map_err(ExtractError::Damaged)?;
        let bytes = entry.path_bytes().into_owned();
        let name: String = String::from_utf8_lossy(&bytes).chars().take(200).collect();
        let path = entry.path().map_err(ExtractError::Damaged)?.into_owned();
        let parts: Vec<Component<'_>> = path.components().collect();
        let inside = parts.iter().all(|part| matches!(part, Component::Normal(_)));
        if !inside || parts.is_empty() || bytes.len() > LONGEST_PATH || bytes.contains(&0) {
            return Err(ExtractError::Outside(name));
        }
        let target = into.join(&path);
        let written = |source| ExtractError::Write { path: name.clone(), source };
        match entry.header().entry_type() {
            EntryType::Directory => fs::create_dir_all(&target).map_err(written)?,
            EntryType::Regular => {
                // A size that an extension gives and the header does not is a trick.
                let size = entry.size();
                if entry.header().size().ok() != Some(size) {
                    return Err(ExtractError::Damaged(io::Error::other("two sizes of one file")));
                }
                left = left.checked_sub(size).ok_or(ExtractError::Bomb)?;
                if let Some(parent) = target.parent() {
                    fs::create_dir_all(parent).map_err(written)?;
                }
                let executable = entry.header().mode().unwrap_or(0) & 0o111 != 0;
                let mode = if executable { 0o755 } else { 0o644 };
                // New each time: no entry writes through what another made.
                let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&target);
                let mut file = file.map_err(written)?;
                let copied = io::copy(&mut entry, &mut file).map_err(ExtractError::Damaged)?;
                if copied != size {
                    return Err(ExtractError::Damaged(io::ErrorKind::UnexpectedEof.into()));
                }
                file.set_permissions(PermissionsExt::from_mode(mode)).map_err(written)?;
            }
            _ => return Err(ExtractError::Kind(name)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// What is extracted of an archive that `fill` makes, or why not.
    fn extracted(
        fill: impl FnOnce(&mut tar::Builder<zstd::Encoder<'static, File>>) -> io::Result<()>,
    ) -> Result<Vec<String>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("archive");
        let encoder = zstd::Encoder::new(File::create(&path).unwrap(), 3).unwrap();
        let mut builder = tar::Builder::new(encoder);
        fill(&mut builder).unwrap();
        builder.into_inner().unwrap().finish().unwrap();
        extracted_file(&path)
    }

    fn extracted_file(path: &Path) -> Result<Vec<String>, String> {
        let out = tempfile::tempdir().unwrap();
        let into = out.path().join("into");
        fs::create_dir(&into).unwrap();
        let done = extract(File::open(path).unwrap(), &into);
        let list = |of: &Path| -> Vec<String> {
            let mut names: Vec<String> = fs::read_dir(of)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        assert_eq!(list(out.path()), ["into"], "nothing is written beside it");
        match done {
            Ok(()) => Ok(list(&into)),
            Err(error) => {
                assert_eq!(list(&into), [""; 0], "nothing is left of it");
                Err(error.to_string())
            }
        }
    }

    fn header(kind: EntryType, name: &str, size: u64) -> tar::Header {
        let mut header = tar::Header::new_old();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o4755);
        // The library would refuse such a name; who means harm does not use it.
        let bytes = &mut header.as_mut_bytes()[..100];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        header
    }

    fn file(
        name: &'static str,
    ) -> impl Fn(&mut tar::Builder<zstd::Encoder<'static, File>>) -> io::Result<()> {
        move |builder| builder.append(&header(EntryType::Regular, name, 1), &b"x"[..])
    }

    #[test]
    fn files_and_directories_come_out_without_further_bits() {
        let found = extracted(|builder| {
            builder.append(&header(EntryType::Directory, "d", 0), io::empty())?;
            file("d/x")(builder)?;
            file("y")(builder)
        });
        assert_eq!(found, Ok(vec!["d".to_owned(), "y".to_owned()]));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("archive");
        let encoder = zstd::Encoder::new(File::create(&path).unwrap(), 3).unwrap();
        let mut builder = tar::Builder::new(encoder);
        file("setuid")(&mut builder).unwrap();
        builder.into_inner().unwrap().finish().unwrap();
        let out = tempfile::tempdir().unwrap();
        extract(File::open(path).unwrap(), out.path()).unwrap();
        let mode = fs::metadata(out.path().join("setuid")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
    }

    #[test]
    fn what_leads_out_or_is_no_file_ends_it_all() {
        for name in ["../x", "a/../../x", "/etc/x"] {
            let found =
                extracted(|builder| file("good")(builder).and_then(|()| file(name)(builder)));
            assert_eq!(found, Err(format!("`{name}` leads out of the archive")));
        }
        for kind in [EntryType::Symlink, EntryType::Link, EntryType::Char, EntryType::Fifo] {
            let found = extracted(|builder| {
                file("good")(builder)?;
                let mut header = header(kind, "l", 0);
                header.as_mut_bytes()[157..161].copy_from_slice(b"/etc");
                header.set_cksum();
                builder.append(&header, io::empty())
            });
            assert_eq!(found, Err("`l` is neither a file nor a directory".to_owned()));
        }
        let twice = extracted(|builder| file("x")(builder).and_then(|()| file("x")(builder)));
        assert_eq!(twice, Err("`x` cannot be written".to_owned()));
    }

    #[test]
    fn a_bomb_is_stopped_before_it_is_large() {
        let found = extracted(|builder| {
            let size = 64 << 20;
            builder.append(&header(EntryType::Regular, "zeros", size), io::repeat(0).take(size))
        });
        assert_eq!(found, Err("more comes out of it than it may hold".to_owned()));
        let many = extracted(|builder| {
            for _ in 0..=MOST_FILES {
                builder.append(&header(EntryType::Directory, "d", 0), io::empty())?;
            }
            Ok(())
        });
        assert_eq!(many, Err("it has more than 100000 entries".to_owned()));
    }

    #[test]
    fn what_is_damaged_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("archive");
        let mut encoder = zstd::Encoder::new(File::create(&path).unwrap(), 3).unwrap();
        let bytes = header(EntryType::Regular, "cut", 1 << 10);
        encoder.write_all(bytes.as_bytes()).unwrap();
        encoder.write_all(&[1; 100]).unwrap();
        encoder.finish().unwrap();
        assert_eq!(extracted_file(&path), Err("it is damaged".to_owned()));
        fs::write(&path, "no archive at all").unwrap();
        assert_eq!(extracted_file(&path), Err("it is damaged".to_owned()));
    }
}
