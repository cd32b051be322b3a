//! Doors: addresses on a network that is sealed otherwise, each of which leads to one
//! place.
//!
//! What listens on this machine's loopback interface, or on another network of the engine,
//! is not reached from a container. A door listens where the container can go and carries
//! the bytes over. It leads to one address, so nothing else of the machine is opened.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// Connections through one door at a time; more wait.
const CONNECTIONS: usize = 256;
/// How long the other side may take to accept.
const CONNECT: Duration = Duration::from_secs(10);
/// After running out of files: somebody has to end before it gets better.
const BREATH: Duration = Duration::from_millis(100);

/// An open door; dropped, it is shut, and whatever goes through it is cut.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    _carrying: AbortOnDropHandle<()>,
}

impl Door {
    /// Opens a door at a free port of `at` that leads to `to`.
    pub(super) async fn open(at: IpAddr, to: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((at, 0)).await?;
        let address = listener.local_addr()?;
        let carrying = AbortOnDropHandle::new(tokio::spawn(carry(listener, to)));
        Ok(Self { address, _carrying: carrying })
    }
}

async fn carry(listener: TcpListener, to: SocketAddr) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // Never closed.
        let Ok(room) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((from, _)) => {
                connections.spawn(async move {
                    if let Err(error) = through(from, to).await {
                        tracing::debug!("a connection to {to} broke: {error}");
                    }
                    drop(room);
                });
            }
            Err(error) => {
                tracing::debug!("a door to {to} could not be gone through: {error}");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

async fn through(mut from: TcpStream, to: SocketAddr) -> io::Result<()> {
    let late = || io::Error::from(io::ErrorKind::TimedOut);
    let connecting = tokio::time::timeout(CONNECT, TcpStream::connect(to));
    let mut there = connecting.await.map_err(|_| late())??;
    copy_bidirectional(&mut from, &mut there).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_door_leads_to_one_place_until_it_is_shut() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = [0; 4];
                stream.read_exact(&mut asked).await.unwrap();
                stream.write_all(&asked).await.unwrap();
            }
        });
        let door = Door::open(Ipv4Addr::LOCALHOST.into(), to).await.unwrap();
        assert_ne!(door.address, to);
        let ask = async || {
            let mut stream = TcpStream::connect(door.address).await?;
            stream.write_all(b"ping").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            io::Result::Ok(answer)
        };
        for _ in 0..3 {
            assert_eq!(ask().await.unwrap(), "ping");
        }
        let address = door.address;
        drop(door);
        // The task ends when the runtime comes to it.
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        serving.abort();
    }

    #[tokio::test]
    async fn nobody_behind_a_door_is_a_connection_that_ends() {
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        let door = Door::open(Ipv4Addr::LOCALHOST.into(), nobody).await.unwrap();
        let mut stream = TcpStream::connect(door.address).await.unwrap();
        let mut answer = Vec::new();
        // Whether it is reset or closed is the kernel's to say.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty());
    }
}
