//! The side of the proxy that begins.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::pass::{read_line, read_with_files, write_line};
use super::{
    GREETING, Offer, OfferedAddress, PATIENCE, RELEASED, SERVING, UpgradeError, socket_of,
};
use crate::serve::listen::Bound;

/// What a predecessor gave, and the line to tell it that it may end.
#[derive(Debug)]
pub struct Taken {
    /// The lock of the state file.
    pub lock: File,
    pub predecessors: Vec<PathBuf>,
    pub listeners: TakenListeners,
    pub taking: Taking,
}

/// Listening sockets; those that nobody wants are closed with it.
#[derive(Debug)]
pub struct TakenListeners(Vec<(OfferedAddress, OwnedFd)>);

/// A predecessor that waits for us to serve.
#[derive(Debug)]
pub struct Taking {
    stream: UnixStream,
}

impl TakenListeners {
    /// Takes the socket of an address out of what was given, if it was.
    ///
    /// A configuration that leaves the port to the kernel takes whatever port it was.
    pub fn take(&mut self, wanted: SocketAddr, tls: bool) -> Result<Option<Bound>, UpgradeError> {
        let fits = |offered: &OfferedAddress| {
            let port = wanted.port() == 0 || offered.address.port() == wanted.port();
            port && offered.address.ip() == wanted.ip() && offered.tls == tls
        };
        let Some(index) = self.0.iter().position(|(offered, _)| fits(offered)) else {
            return Ok(None);
        };
        let (OfferedAddress { address, tls }, socket) = self.0.remove(index);
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true).map_err(UpgradeError::Broken)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(UpgradeError::Broken)?;
        Ok(Some(Bound { listener, address, tls }))
    }
}

/// Asks the proxy with this control socket for all it has.
pub async fn take(control: &Path) -> Result<Taken, UpgradeError> {
    let socket = socket_of(control);
    blocking(move || {
        let stream = UnixStream::connect(&socket)
            .map_err(|source| UpgradeError::Nobody { socket, source })?;
        ask(&stream).map_err(UpgradeError::Broken).map(|(offer, lock, sockets)| Taken {
            lock,
            predecessors: offer.predecessors,
            listeners: TakenListeners(offer.addresses.into_iter().zip(sockets).collect()),
            taking: Taking { stream },
        })
    })
    .await
}

fn ask(stream: &UnixStream) -> io::Result<(Offer, File, Vec<OwnedFd>)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write_line(stream, GREETING)?;
    let (line, files) = read_with_files(stream)?;
    let offer: Offer = serde_json::from_str(&line)?;
    let mut files = files.into_iter();
    let lock = files.next().ok_or_else(|| io::Error::other("the lock was not passed"))?;
    let sockets: Vec<OwnedFd> = files.collect();
    if sockets.len() != offer.addresses.len() {
        return Err(io::Error::other("not all sockets were passed"));
    }
    Ok((offer, File::from(lock), sockets))
}

impl Taking {
    /// Says that we serve, and waits until the other one does no longer.
    ///
    /// When it dies over that, it serves no longer either.
    pub async fn serving(self) {
        let stream = self.stream;
        let released = blocking(move || {
            write_line(&stream, SERVING)?;
            read_line(&stream)
        });
        match released.await {
            Ok(line) if line == RELEASED => {}
            Ok(line) => tracing::warn!("the predecessor said `{line}`"),
            Err(error) => tracing::warn!("the predecessor did not say that it ended: {error}"),
        }
    }
}

/// Runs what waits for the other side; it does so no longer than its time-outs.
async fn blocking<T: Send + 'static, E: Send + 'static>(
    wait: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    tokio::task::spawn_blocking(wait).await.expect("it has nothing that panics")
}
