//! HTTP/2 from clients: a task for each stream, so that one can be cut and the others go on.
//!
//! pingora's own loop spawns streams where nobody can end them, so the loop is
//! here; what happens on a stream is pingora's. That HTTP/2 is spoken is known
//! from ALPN, or from the first bytes of a connection without TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{
    H2Accept, HttpSession, default_h2_options, handshake,
};
use pingora_core::protocols::{Digest, Stream};
use tokio::net::TcpStream;

use super::connection::{CONNECTION, Connection};
use super::listen::Serving;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// As long as kept connections of HTTP/1 may be idle.
const IDLE: Duration = Duration::from_secs(600);

/// A client that knows of HTTP/2 sends its first words without waiting.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Streams that no request can be made of; more are no mistake.
const MOST_MALFORMED: u32 = 32;

/// Looks at the first bytes of a connection and leaves them where they are.
///
/// pingora's way waits for 24 bytes, which a short request of HTTP/1 never has.
pub async fn is_spoken(stream: &TcpStream) -> io::Result<bool> {
    let mut seen = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut seen).await?;
        if count == 0 || seen[..count] != PREFACE[..count] {
            return Ok(false);
        }
        if count == PREFACE.len() {
            return Ok(true);
        }
        // Readiness says nothing about more bytes while there are some.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Serves a connection until it ends; dropping it ends its streams one by one.
pub async fn serve(stream: Stream, client: SocketAddr, secure: bool, serving: &Serving) {
    let handshake = handshake(stream, Some(default_h2_options()));
    let Ok(Ok(mut connection)) = tokio::time::timeout(HANDSHAKE, handshake).await else {
        return;
    };
    let digest = Arc::new(Digest::default());
    let mut shutdown = serving.shutdown.clone();
    let mut closing = false;
    let mut malformed = 0;
    // Each stream has a share of it: alone means idle.
    let busy = Arc::new(());
    loop {
        let accepted = tokio::select! {
            biased;
            // GOAWAY: what the client sent before it heard is still accepted below.
            _ = shutdown.changed(), if !closing => {
                connection.graceful_shutdown();
                closing = true;
                continue;
            }
            accepted = HttpSession::from_h2_conn(&mut connection, digest.clone()) => accepted,
            () = tokio::time::sleep(IDLE) => {
                if Arc::strong_count(&busy) == 1 {
                    if closing {
                        return;
                    }
                    connection.graceful_shutdown();
                    closing = true;
                }
                continue;
            }
        };
        match accepted {
            Ok(Some(H2Accept::Session(session))) => {
                spawn(session, Connection::new(client, secure), serving, busy.clone());
            }
            Ok(Some(H2Accept::Rejected)) => {
                malformed += 1;
                if malformed == MOST_MALFORMED {
                    return;
                }
            }
            Ok(None) | Err(_) => return,
        }
    }
}

fn spawn(session: HttpSession, stream: Arc<Connection>, serving: &Serving, busy: Arc<()>) {
    let proxy = serving.proxy.clone();
    let shutdown = serving.shutdown.clone();
    let over = serving.over.clone();
    serving.connections.spawn(CONNECTION.scope(stream.clone(), async move {
        let _busy = busy;
        tokio::select! {
            biased;
            _ = proxy.process_new_http(ServerSession::new_http2(session), &shutdown) => {}
            () = stream.cut() => {}
            () = over.ends(&stream) => {}
        }
    }));
}
