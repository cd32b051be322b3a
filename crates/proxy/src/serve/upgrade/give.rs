//! The side of the proxy that ends.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use super::pass::{read_line, write_line, write_with_files};
use super::{GREETING, Offer, OfferedAddress, PATIENCE, RELEASED, SERVING};
use crate::serve::changes::Control;
use crate::serve::listen::Bound;

/// A successor serves and waits to hear that nobody else does.
#[derive(Debug)]
pub struct Given {
    stream: UnixStream,
}

impl Given {
    /// Says that this proxy accepts no longer; who does not listen is no trouble of ours.
    pub fn released(self) {
        if let Err(error) = write_line(&self.stream, RELEASED) {
            tracing::warn!("the successor did not wait for the end: {error}");
        }
    }
}

/// What can be given: copies of the listening sockets.
#[derive(Debug)]
pub struct Goods(Vec<(OfferedAddress, OwnedFd)>);

impl Goods {
    pub fn of(listeners: &[Bound]) -> io::Result<Goods> {
        let copies = listeners.iter().map(|Bound { listener, address, tls }| {
            let offered = OfferedAddress { address: *address, tls: *tls };
            Ok((offered, listener.as_fd().try_clone_to_owned()?))
        });
        Ok(Goods(copies.collect::<io::Result<_>>()?))
    }
}

/// Offers everything to whoever asked on `stream`; returns when they serve.
///
/// Until then the routes stand still; after it they belong to the successor.
pub async fn give(
    stream: tokio::net::UnixStream,
    control: Arc<Control>,
    goods: Arc<Goods>,
    follow: PathBuf,
) -> io::Result<Given> {
    let mut predecessors = control.predecessors().paths().await;
    predecessors.push(follow);
    let stream = stream.into_std()?;
    let given = tokio::task::spawn_blocking(move || {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        if read_line(&stream)? != GREETING {
            return Err(io::Error::other("whoever asked is no proxy of this version"));
        }
        control.give_up(|lock| {
            let (addresses, sockets): (Vec<OfferedAddress>, Vec<_>) =
                goods.0.iter().map(|(address, socket)| (*address, socket.as_fd())).unzip();
            let files: Vec<_> = [lock].into_iter().chain(sockets).collect();
            let offer = serde_json::to_string(&Offer { addresses, predecessors })?;
            write_with_files(&stream, &offer, &files)?;
            match read_line(&stream)?.as_str() {
                SERVING => Ok(()),
                other => Err(io::Error::other(format!("the successor said `{other}`"))),
            }
        })?;
        Ok(Given { stream })
    });
    given.await.map_err(io::Error::other)?
}
