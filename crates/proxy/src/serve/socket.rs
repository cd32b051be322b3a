//! The control socket in the file system: one owner, readable by nobody else.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// The number of no file.
const NO_INODE: u64 = 0;

/// A bound socket, and the file that stands for it until it is dropped.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("another proxy answers on the control socket {}", path.display())]
    InUse { path: PathBuf },
    #[error("{} is in the place of the control socket and is no socket", path.display())]
    NoSocket { path: PathBuf },
    #[error("cannot listen on the control socket {}", path.display())]
    Bind {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Listens on `path`; a socket that nobody answers on is taken over.
pub async fn bind(path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    let failed = |source| SocketError::Bind { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => {
            let path = path.to_owned();
            return Err(SocketError::NoSocket { path });
        }
        Ok(_) => match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            // Who cannot be asked may well be alive.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Err(_) => {}
            Ok(_) => {
                let path = path.to_owned();
                return Err(SocketError::InUse { path });
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    replace(path)
}

/// Listens on `path` in place of whoever does.
pub fn replace(path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    prepare(path)?.place()
}

/// A socket that is bound and not yet in its place.
#[derive(Debug)]
pub struct Prepared {
    listener: UnixListener,
    beside: Beside,
    file: SocketFile,
}

/// The file of a socket on its way; gone if it never gets there.
#[derive(Debug)]
struct Beside(PathBuf);

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Binds the socket for `path` beside it: at its place it never stands with
/// another mode, and replaces another one without a moment of nothing.
pub fn prepare(path: &Path) -> Result<Prepared, SocketError> {
    let failed = |source| SocketError::Bind { path: path.to_owned(), source };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Beside(PathBuf::from(beside));
    match std::fs::remove_file(&beside.0) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&beside.0).map_err(failed)?;
    std::fs::set_permissions(&beside.0, Permissions::from_mode(0o600)).map_err(failed)?;
    let inode = std::fs::symlink_metadata(&beside.0).map_err(failed)?.ino();
    let file = SocketFile { path: path.to_owned(), inode };
    Ok(Prepared { listener, beside, file })
}

impl Prepared {
    pub fn place(self) -> Result<(UnixListener, SocketFile), SocketError> {
        let Prepared { listener, beside, file } = self;
        std::fs::rename(&beside.0, &file.path)
            .map_err(|source| SocketError::Bind { path: file.path.clone(), source })?;
        Ok((listener, file))
    }
}

impl SocketFile {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the file to a successor, who will put its own in its place.
    pub fn leave(mut self) {
        self.inode = NO_INODE;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Only our own: a successor may have put its socket in this place.
        if std::fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_for_its_owner_alone_and_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy.sock");
        let (_listener, file) = bind(&path).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(file);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_is_taken_over_only_when_nobody_answers_on_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy.sock");
        let (listener, dead) = bind(&path).await.unwrap();
        let error = bind(&path).await.unwrap_err();
        assert!(matches!(error, SocketError::InUse { .. }), "{error}");

        drop(listener);
        let (_listener, _file) = bind(&path).await.unwrap();
        drop(dead);
        assert!(
            UnixStream::connect(&path).await.is_ok(),
            "the file of the dead one took that of the living with it"
        );
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        std::fs::write(&path, "text").unwrap();
        let error = bind(&path).await.unwrap_err();
        assert!(matches!(error, SocketError::NoSocket { .. }), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "text");
    }
}
