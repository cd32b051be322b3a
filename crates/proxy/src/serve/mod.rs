//! The data plane: a process of its own, which serves without a living engine.
//!
//! pingora speaks HTTP and TLS; accepting, stopping and cutting are done here, so
//! that a failed bind is an error, the end is ours to say, and a request can be
//! ended exactly. [`table`] has the rule that swapping and draining rest on,
//! [`forward`] the rules of sending a request twice, [`state`] what survives.

mod api;
mod changes;
mod check;
mod connection;
mod counts;
mod ending;
mod forward;
mod headers;
mod http2;
mod leases;
mod listen;
mod metrics;
mod proxy;
mod route;
mod socket;
mod state;
mod sticky;
mod table;
mod tls;
mod unit;
mod upgrade;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use listen::ListenError;
pub use proxy::Proxy;
use socket::SocketError;
use state::StateError;
pub use tls::CertificateFiles;
use tls::{Certificate, CertificateError};
use upgrade::UpgradeError;

/// More threads than this wait for the network more than they work.
const MOST_THREADS: usize = 4;

#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// Where clients connect to.
    pub listen: Vec<SocketAddr>,
    /// Where clients connect to with TLS.
    pub tls_listen: Vec<SocketAddr>,
    /// What is shown to clients with TLS.
    pub certificate: Option<CertificateFiles>,
    /// The control socket.
    pub control: PathBuf,
    /// The state file.
    pub state: PathBuf,
    /// How long requests in flight have when the proxy stops.
    pub drain: Duration,
    /// How long WebSockets have when another proxy takes over.
    pub drain_websockets: Duration,
    /// Whether to take over from the proxy that has the control socket.
    pub upgrade: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("no address to listen on")]
    NoAddress,
    #[error("an address for TLS needs a certificate and its key")]
    NoCertificate,
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
    #[error("cannot copy the listening sockets")]
    Listeners(#[source] io::Error),
    #[error("cannot start the threads of the proxy")]
    Threads(#[source] io::Error),
    #[error("cannot watch for signals")]
    Signals(#[source] io::Error),
    #[error("the control socket failed")]
    Control(#[source] io::Error),
    #[error("a task of the proxy broke: {0}")]
    Task(String),
}

/// Serves until SIGTERM or SIGINT, and returns when the last request has ended.
///
/// To be called in a process of its own. When all is bound one line on standard
/// output says so. After the signal requests in flight have the time of
/// `drain`; a second signal ends at once. SIGHUP reads the certificate again.
pub fn serve(config: ProxyConfig) -> Result<(), ServeError> {
    more_files();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(MOST_THREADS))
        .thread_name("proxy")
        .enable_all()
        .build()
        .map_err(ServeError::Threads)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
        let hangup = signal(SignalKind::hangup()).map_err(ServeError::Signals)?;
        let proxy = Proxy::bind(config).await?;
        let stop = CancellationToken::new();
        let reload = reload(hangup, proxy.certificate());
        let run = proxy.run(stop.clone(), |greeting| {
            // Whoever started us may have closed the other end; that is no reason to stop.
            let _ = writeln!(io::stdout(), "{greeting}");
        });
        tokio::pin!(run, reload);
        let mut signalled = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = &mut reload => {}
            }
        };
        tokio::select! {
            ended = &mut run => return ended,
            () = signalled() => stop.cancel(),
        }
        tokio::select! {
            ended = &mut run => ended,
            () = signalled() => Ok(()),
        }
    })
}

/// Reads the certificate again at every SIGHUP; never returns.
async fn reload(mut hangup: Signal, certificate: Option<Arc<Certificate>>) {
    loop {
        if hangup.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        match certificate.as_ref().map(|certificate| certificate.reload()) {
            Some(Ok(())) => tracing::warn!("the certificate was read again"),
            Some(Err(error)) => {
                tracing::error!("the certificate stays what it was: {}", with_causes(&error));
            }
            None => {}
        }
    }
}

/// An error and what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

/// A connection is two files, and the usual soft limit is 1024: take what the
/// hard one allows.
fn more_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!("the limit of open files stays as it is: {error}");
    }
}
