//! A base layer written without the engine's help, where its volume lies on this machine
//! and may be written: no container has to be made for it.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::archive;
use super::engine::Engine;

/// Returns where a volume of this run lies. Its name is nobody else's: an empty directory of
/// that name is what the engine has just made, whoever's machine it may be on.
pub(super) fn place(engine: &Engine, volume: &str) -> Option<PathBuf> {
    let path = PathBuf::from(engine.volume_path(volume));
    let is_empty = || fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none());
    // Only who may write there can change its mode, which has to be this one.
    let may_write = || fs::set_permissions(&path, Permissions::from_mode(0o777)).is_ok();
    (engine.of_root && is_empty() && may_write()).then_some(path)
}

/// Unpacks an archive of ours there.
pub(super) async fn unpack(
    body: BoxStream<'static, io::Result<Bytes>>,
    to: PathBuf,
) -> io::Result<()> {
    let (reader, pump) = archive::reader(body);
    let unpacking = tokio::task::spawn_blocking(move || {
        let mut archive = tar::Archive::new(reader);
        archive.set_preserve_permissions(true);
        archive.set_preserve_mtime(true);
        // The entry of the root itself is passed over; it is nowhere seen but as its mode.
        archive.unpack(&to)
    });
    let (unpacked, ()) = tokio::join!(unpacking, pump);
    unpacked.map_err(io::Error::other)?
}
