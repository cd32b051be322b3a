//! Accepting clients: a task per connection, all of them counted.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::apps::ServerApp;
use pingora_core::protocols::Stream;
use pingora_core::protocols::l4;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{CONNECTION, Connection};
use super::forward::{Forward, tcp_keepalive};

/// After running out of files or memory: somebody has to end before it gets better.
const BREATH: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct ListenError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

pub async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ListenError> {
    let failed = |source| ListenError { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

pub struct Listen {
    pub listener: TcpListener,
    pub proxy: Arc<HttpProxy<Forward>>,
    pub shutdown: ShutdownWatch,
    pub connections: TaskTracker,
    /// Ends all connections at once.
    pub abandon: CancellationToken,
}

impl Listen {
    /// Accepts until `closing`; then the address is free, and what was accepted goes on.
    pub async fn accept(self, closing: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                // First, so that who already waits is let in at the end; tokio's budget bounds that.
                biased;
                accepted = self.listener.accept() => accepted,
                () = closing.cancelled() => return,
            };
            match accepted {
                Ok((stream, client)) => self.serve(stream, client),
                Err(error) if is_about_one_client(&error) => {}
                Err(error) => {
                    tracing::error!("cannot accept connections: {error}");
                    tokio::select! {
                        () = tokio::time::sleep(BREATH) => {}
                        () = closing.cancelled() => return,
                    }
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream, client: SocketAddr) {
        let connection = Connection::new(client);
        let proxy = self.proxy.clone();
        let shutdown = self.shutdown.clone();
        let abandon = self.abandon.clone();
        self.connections.spawn(CONNECTION.scope(connection.clone(), async move {
            tokio::select! {
                biased;
                _ = proxy.process_new(prepare(stream), &shutdown) => {}
                () = connection.cut() => {}
                () = abandon.cancelled() => {}
            }
        }));
    }
}

fn prepare(stream: TcpStream) -> Stream {
    let mut stream = l4::stream::Stream::from(stream);
    // Neither is worth losing a client for.
    let _ = stream.set_nodelay();
    let _ = stream.set_keepalive(&tcp_keepalive());
    Box::new(stream)
}

/// The client was gone before it was accepted; the next one has nothing to do with it.
fn is_about_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}
