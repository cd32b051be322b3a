//! The data plane: a process of its own, which serves without a living engine.
//!
//! pingora speaks HTTP; accepting, stopping and cutting are done here, so that a
//! failed bind is an error, the end is ours to say, and a request can be ended
//! exactly. [`table`] has the rule that swapping and draining rest on,
//! [`forward`] the rules of sending a request twice, [`state`] what survives.

mod api;
mod check;
mod connection;
mod counts;
mod forward;
mod listen;
mod route;
mod socket;
mod state;
mod table;
mod unit;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pingora_core::apps::HttpServerApp;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use api::Control;
use forward::Forward;
use listen::{Listen, ListenError};
use socket::{SocketError, SocketFile};
use state::{StateError, StateFile};

/// More threads than this wait for the network more than they work.
const MOST_THREADS: usize = 4;

/// Idle connections to units, over all of them.
const POOLED_CONNECTIONS: usize = 1024;

/// How long requests in flight have when the proxy stops.
const LAST_REQUESTS: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// Where clients connect to.
    pub listen: Vec<SocketAddr>,
    /// The control socket.
    pub control: PathBuf,
    /// The state file.
    pub state: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("no address to listen on")]
    NoAddress,
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    State(#[from] StateError),
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
/// output says so. After the signal requests in flight have 30 s; a second
/// signal ends at once.
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
        let proxy = Proxy::bind(config).await?;
        // Whoever started us may have closed the other end; that is no reason to stop.
        let _ = writeln!(io::stdout(), "{}", proxy.greeting());
        let stop = CancellationToken::new();
        let run = proxy.run(stop.clone());
        tokio::pin!(run);
        let mut signalled = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
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

/// A proxy with everything bound, not yet serving.
pub struct Proxy {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    control: Arc<Control>,
    control_listener: UnixListener,
    control_file: SocketFile,
}

impl Proxy {
    /// Takes state file, addresses and control socket; an error names what it could not get.
    pub async fn bind(config: ProxyConfig) -> Result<Proxy, ServeError> {
        if config.listen.is_empty() {
            return Err(ServeError::NoAddress);
        }
        let file = StateFile::open(&config.state)?;
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for address in config.listen {
            let (listener, address) = listen::bind(address).await?;
            listeners.push(listener);
            addresses.push(address);
        }
        let (control_listener, control_file) = socket::bind(&config.control).await?;
        Ok(Proxy {
            listeners,
            addresses,
            control: Arc::new(Control::new(file)),
            control_listener,
            control_file,
        })
    }

    /// The addresses that are listened on, with the ports the kernel chose.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    fn greeting(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(SocketAddr::to_string).collect();
        let control = self.control_file.path().display();
        format!("proxy listens on {}, control {control}", addresses.join(", "))
    }

    /// Serves until `stop`, then gives requests in flight time to end.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ServeError> {
        // The default clock of pingora's time-outs is a thread that wakes every
        // 10 ms for ever; all of ours are long enough for tokio's, which sleeps.
        pingora_timeout::fast_timeout::set_fast_timeout_to_tokio_threshold(Some(Duration::ZERO));
        let mut proxy = HttpProxy::new(Forward::new(self.control.table().clone()), conf());
        proxy.handle_init_modules();
        let proxy = Arc::new(proxy);
        let (stopping, shutdown) = watch::channel(false);
        let connections = TaskTracker::new();
        let abandon = CancellationToken::new();
        // Also when this future is dropped nothing that it began goes on.
        let _abandon = abandon.clone().drop_guard();
        let closing = stop.child_token();

        let mut tasks = JoinSet::new();
        for listener in self.listeners {
            let listen = Listen {
                listener,
                proxy: proxy.clone(),
                shutdown: shutdown.clone(),
                connections: connections.clone(),
                abandon: abandon.clone(),
            };
            let closing = closing.clone();
            tasks.spawn(async move {
                listen.accept(closing).await;
                Ok(())
            });
        }
        let router = api::router(self.control.clone());
        let server = axum::serve(self.control_listener, router)
            .with_graceful_shutdown(closing.clone().cancelled_owned());
        tasks.spawn(async move { server.await.map_err(ServeError::Control) });

        let broken = tokio::select! {
            // First, because the tasks end when it is: that they did is no failure then.
            biased;
            () = closing.cancelled() => None,
            ended = tasks.join_next() => ended.map(ended_early),
        };
        closing.cancel();
        // A successor may have socket, file and addresses from here on.
        drop(self.control_file);
        self.control.stop();
        let _ = stopping.send(true);
        proxy.http_cleanup().await;
        connections.close();
        let last = async {
            connections.wait().await;
            while tasks.join_next().await.is_some() {}
        };
        if tokio::time::timeout(LAST_REQUESTS, last).await.is_err() {
            tracing::warn!("stopped with {} connections open", connections.len());
            abandon.cancel();
            connections.wait().await;
        }
        match broken {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// None of the tasks ends before it is told to.
fn ended_early(ended: Result<Result<(), ServeError>, tokio::task::JoinError>) -> ServeError {
    match ended {
        Ok(Ok(())) => ServeError::Task("it ended early".to_owned()),
        Ok(Err(error)) => error,
        Err(error) => ServeError::Task(error.to_string()),
    }
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

fn conf() -> Arc<ServerConf> {
    Arc::new(ServerConf {
        // Attempts, not retries: the hooks allow a second one, and nothing allows a third.
        max_retries: 2,
        upstream_keepalive_pool_size: POOLED_CONNECTIONS,
        // Units are spoken to without TLS; by default every root of the system
        // would be loaded, and a system without any would be a panic.
        ca_file: Some("/dev/null".to_owned()),
        ..ServerConf::default()
    })
}
