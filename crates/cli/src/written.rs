//! Files that are written into a repository, which may be that of somebody else.

use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Writes a file whole or not at all. A symbolic link in its place is replaced and not
/// followed: it may lead out of the repository.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    let everybody = std::fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().permissions(everybody).tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// Makes a folder, and those above it below `root`; none of them may be a link.
pub(crate) fn folder(root: &Path, inside: &Path) -> io::Result<()> {
    let mut folder = root.to_owned();
    for part in inside {
        folder.push(part);
        match folder.symlink_metadata() {
            Ok(metadata) if metadata.is_symlink() => {
                return Err(io::Error::other("it is a symbolic link, and links are not followed"));
            }
            Ok(_) => {}
            Err(_) => std::fs::create_dir(&folder)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_is_written_through_a_link() {
        let place = tempfile::tempdir().unwrap();
        let (root, outside) = (place.path().join("root"), place.path().join("outside"));
        std::fs::create_dir(&root).unwrap();
        std::fs::create_dir(&outside).unwrap();
        symlink(outside.join("new"), root.join("file")).unwrap();
        symlink(&outside, root.join("folder")).unwrap();
        write(&root.join("file"), "text").unwrap();
        assert_eq!(std::fs::read_to_string(root.join("file")).unwrap(), "text");
        assert!(!root.join("file").is_symlink());
        assert!(folder(&root, Path::new("folder/inside")).is_err());
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        folder(&root, Path::new("a/b")).unwrap();
        folder(&root, Path::new("a/b")).unwrap();
        assert!(root.join("a/b").is_dir());
    }
}
