//! Accepting clients: a task per connection, all of them counted.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::apps::ServerApp;
use pingora_core::listeners::tls::Acceptor;
use pingora_core::protocols::l4;
use pingora_core::protocols::{ALPN, Ssl};
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{CONNECTION, Connection};
use super::forward::{Forward, tcp_keepalive};
use super::http2;

/// After running out of files or memory: somebody has to end before it gets better.
const BREATH: Duration = Duration::from_millis(100);

/// How long a client may take to say its first word.
const FIRST_WORD: Duration = Duration::from_secs(60);

const HANDSHAKE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct ListenError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// A bound address.
#[derive(Debug)]
pub struct Bound {
    pub listener: TcpListener,
    pub address: SocketAddr,
    pub tls: bool,
}

impl Bound {
    pub async fn new(address: SocketAddr, tls: bool) -> Result<Bound, ListenError> {
        let failed = |source| ListenError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Bound { listener, address, tls })
    }
}

/// What all connections share.
#[derive(Clone)]
pub struct Serving {
    pub proxy: Arc<HttpProxy<Forward>>,
    /// Turns true when no connection shall be kept for a next request.
    pub shutdown: ShutdownWatch,
    pub connections: TaskTracker,
    pub over: Over,
}

/// When time is over for what.
#[derive(Clone, Debug, Default)]
pub struct Over {
    /// For connections that wait for a request.
    pub idle: CancellationToken,
    pub requests: CancellationToken,
    pub websockets: CancellationToken,
}

impl Over {
    /// Returns when the time of a connection is over, whatever it carries.
    pub async fn ends(&self, connection: &Connection) {
        self.requests.cancelled().await;
        if connection.is_upgraded() {
            self.websockets.cancelled().await;
        }
    }

    pub fn all(&self) {
        self.idle.cancel();
        self.requests.cancel();
        self.websockets.cancel();
    }
}

/// Ends all when it is dropped.
pub struct EndsAll(pub Over);

impl Drop for EndsAll {
    fn drop(&mut self) {
        self.0.all();
    }
}

pub struct Listen {
    pub listener: TcpListener,
    pub tls: Option<Arc<Acceptor>>,
    pub serving: Serving,
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
        let connection = Connection::new(client, self.tls.is_some());
        let serving = self.serving.clone();
        let tls = self.tls.clone();
        self.serving.connections.spawn(CONNECTION.scope(connection.clone(), async move {
            tokio::select! {
                biased;
                () = speak(stream, tls, client, &serving) => {}
                () = connection.cut() => {}
                () = serving.over.ends(&connection) => {}
            }
        }));
    }
}

/// Finds out what a client speaks, and answers in it.
async fn speak(
    stream: TcpStream,
    tls: Option<Arc<Acceptor>>,
    client: SocketAddr,
    serving: &Serving,
) {
    let proxy = &serving.proxy;
    if let Some(acceptor) = tls {
        let greeted = tokio::time::timeout(HANDSHAKE, acceptor.tls_handshake(prepare(stream)));
        let Ok(Ok(stream)) = greeted.await else {
            return;
        };
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            http2::serve(Box::new(stream), client, true, serving).await;
        } else {
            proxy.process_new(Box::new(stream), &serving.shutdown).await;
        }
        return;
    }
    let first = tokio::select! {
        biased;
        first = tokio::time::timeout(FIRST_WORD, http2::is_spoken(&stream)) => first,
        () = serving.over.idle.cancelled() => return,
    };
    match first {
        Ok(Ok(true)) => http2::serve(Box::new(prepare(stream)), client, false, serving).await,
        Ok(Ok(false)) => {
            proxy.process_new(Box::new(prepare(stream)), &serving.shutdown).await;
        }
        Ok(Err(_)) | Err(_) => {}
    }
}

fn prepare(stream: TcpStream) -> l4::stream::Stream {
    let mut stream = l4::stream::Stream::from(stream);
    // Neither is worth losing a client for.
    let _ = stream.set_nodelay();
    let _ = stream.set_keepalive(&tcp_keepalive());
    stream
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
