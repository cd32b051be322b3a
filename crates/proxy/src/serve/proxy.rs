//! A proxy from the first bound address to the last request.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pingora_core::connectors::ConnectorOptions;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::api;
use super::changes::Control;
use super::ending::Ending;
use super::forward::Forward;
use super::listen::{Bound, EndsAll, Listen, Over, Serving};
use super::socket::{self, Prepared, SocketFile};
use super::state::StateFile;
use super::tls::{self, Certificate};
use super::upgrade::{self, Given, Goods, Taken, Taking, UpgradeError, follow};
use super::{ProxyConfig, ServeError, with_causes};

/// Idle connections to units, over all of them.
const POOLED_CONNECTIONS: usize = 1024;

/// A proxy with everything bound, not yet serving.
pub struct Proxy {
    listeners: Vec<Bound>,
    addresses: Vec<SocketAddr>,
    certificate: Option<Arc<Certificate>>,
    control: Arc<Control>,
    control_path: PathBuf,
    sockets: Sockets,
    drain: Duration,
    drain_websockets: Duration,
}

/// The sockets in the file system.
enum Sockets {
    Placed(Placed),
    /// Put in their place when the predecessor has left them.
    After(Taking, Prepared, Prepared),
}

struct Placed {
    control: (UnixListener, SocketFile),
    successor: (UnixListener, SocketFile),
}

/// Why a proxy ends.
enum End {
    Stopped,
    Broken(ServeError),
    /// A successor serves; the socket is where it is followed.
    Succeeded(Given, (UnixListener, SocketFile)),
}

impl Proxy {
    /// Takes state file, addresses and control socket; an error names what it could not get.
    pub async fn bind(config: ProxyConfig) -> Result<Proxy, ServeError> {
        if config.listen.is_empty() && config.tls_listen.is_empty() {
            return Err(ServeError::NoAddress);
        }
        let certificate = match &config.certificate {
            Some(files) => Some(Arc::new(Certificate::load(files.clone())?)),
            None if config.tls_listen.is_empty() => None,
            None => return Err(ServeError::NoCertificate),
        };
        let (control, listeners, sockets) = match config.upgrade {
            false => start(&config).await?,
            true => take_over(&config).await?,
        };
        let plain = listeners.iter().filter(|bound| !bound.tls).map(|bound| bound.address);
        let control = control.listening(plain.collect());
        Ok(Proxy {
            addresses: listeners.iter().map(|bound| bound.address).collect(),
            listeners,
            certificate,
            control: Arc::new(control),
            control_path: config.control,
            sockets,
            drain: config.drain,
            drain_websockets: config.drain_websockets,
        })
    }

    /// The addresses that are listened on, with the ports the kernel chose; those of TLS last.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub(super) fn certificate(&self) -> Option<Arc<Certificate>> {
        self.certificate.clone()
    }

    fn greeting(&self) -> String {
        let addresses = self.listeners.iter().map(|bound| match bound.tls {
            true => format!("{} (TLS)", bound.address),
            false => bound.address.to_string(),
        });
        let addresses: Vec<String> = addresses.collect();
        let control = self.control_path.display();
        format!("proxy listens on {}, control {control}", addresses.join(", "))
    }

    /// Serves until `stop` or a successor, then gives what is in flight time to end.
    ///
    /// `ready` hears a line for people when everything is there.
    pub async fn run(
        self,
        stop: CancellationToken,
        ready: impl FnOnce(&str),
    ) -> Result<(), ServeError> {
        let greeting = self.greeting();
        let goods = Arc::new(Goods::of(&self.listeners).map_err(ServeError::Listeners)?);
        let (stopping, shutdown) = watch::channel(false);
        let serving = Serving {
            proxy: pingora(&self.control),
            shutdown,
            connections: TaskTracker::new(),
            over: Over::default(),
        };
        // Also when this future is dropped nothing that it began goes on.
        let _ends = EndsAll(serving.over.clone());
        let closing = stop.child_token();
        let mut tasks = JoinSet::new();
        let acceptor = self.certificate.map(|certificate| Arc::new(tls::acceptor(certificate)));
        for Bound { listener, tls, .. } in self.listeners {
            let tls = if tls { acceptor.clone() } else { None };
            let listen = Listen { listener, tls, serving: serving.clone() };
            let closing = closing.clone();
            tasks.spawn(async move {
                listen.accept(closing).await;
                Ok(())
            });
        }
        let Placed { control: (control_listener, control_file), successor } =
            self.sockets.place().await?;
        let router = api::router(self.control.clone());
        let server = axum::serve(control_listener, router)
            .with_graceful_shutdown(closing.clone().cancelled_owned());
        tasks.spawn(async move { server.await.map_err(ServeError::Control) });
        ready(&greeting);

        let (successors, successor_file) = successor;
        let end = tokio::select! {
            // First, because the tasks end when it is: that they did is no failure then.
            biased;
            () = closing.cancelled() => End::Stopped,
            ended = tasks.join_next() => End::Broken(ended_early(ended)),
            end = succeeded(&successors, &self.control, &goods, &self.control_path) => end,
        };
        closing.cancel();
        drop((goods, successors));
        let _ = stopping.send(true);
        let mut ending = Ending { serving, tasks, requests: self.drain, stop };
        match end {
            End::Succeeded(given, (listener, _follow_file)) => {
                control_file.leave();
                successor_file.leave();
                given.released();
                let router = follow::router(self.control);
                let mut followed = JoinSet::new();
                followed.spawn(async move { axum::serve(listener, router).await });
                ending.after_a_successor(self.drain_websockets).await;
                Ok(())
            }
            end => {
                // A new start may have sockets, file and addresses from here on.
                drop((control_file, successor_file));
                self.control.stop();
                ending.alone().await;
                match end {
                    End::Broken(error) => Err(error),
                    _ => Ok(()),
                }
            }
        }
    }
}

impl Sockets {
    async fn place(self) -> Result<Placed, ServeError> {
        match self {
            Sockets::Placed(placed) => Ok(placed),
            Sockets::After(taking, control, successor) => {
                taking.serving().await;
                Ok(Placed { control: control.place()?, successor: successor.place()? })
            }
        }
    }
}

/// A proxy on its own.
async fn start(config: &ProxyConfig) -> Result<(Control, Vec<Bound>, Sockets), ServeError> {
    let file = StateFile::open(&config.state)?;
    let mut listeners = Vec::new();
    for (address, tls) in wanted(&config.listen, &config.tls_listen) {
        listeners.push(Bound::new(address, tls).await?);
    }
    let control = socket::bind(&config.control).await?;
    // With the control socket there is nobody else who could have this one.
    let successor = socket::replace(&upgrade::socket_of(&config.control))?;
    let placed = Placed { control, successor };
    Ok((Control::new(file, Vec::new()), listeners, Sockets::Placed(placed)))
}

/// A proxy in place of another one, which goes on until this one serves.
async fn take_over(config: &ProxyConfig) -> Result<(Control, Vec<Bound>, Sockets), ServeError> {
    let Taken { lock, predecessors, listeners: mut taken, taking } =
        upgrade::take(&config.control).await?;
    let file = StateFile::inherit(&config.state, lock)?
        .ok_or_else(|| UpgradeError::OtherState { state: config.state.clone() })?;
    let mut listeners = Vec::new();
    for (address, tls) in wanted(&config.listen, &config.tls_listen) {
        listeners.push(match taken.take(address, tls)? {
            Some(bound) => bound,
            None => Bound::new(address, tls).await?,
        });
    }
    let control = socket::prepare(&config.control)?;
    let successor = socket::prepare(&upgrade::socket_of(&config.control))?;
    let sockets = Sockets::After(taking, control, successor);
    Ok((Control::new(file, predecessors), listeners, sockets))
}

/// Waits for a successor that serves; one that gives up has changed nothing.
async fn succeeded(
    successors: &UnixListener,
    control: &Arc<Control>,
    goods: &Arc<Goods>,
    path: &Path,
) -> End {
    loop {
        let broken_off = match successors.accept().await {
            Ok((stream, _)) => match socket::replace(&upgrade::follow_socket_of(path)) {
                Ok(follow) => {
                    let name = follow.1.path().to_owned();
                    match upgrade::give(stream, control.clone(), goods.clone(), name).await {
                        Ok(given) => return End::Succeeded(given, follow),
                        Err(error) => with_causes(&error),
                    }
                }
                Err(error) => with_causes(&error),
            },
            Err(error) => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                error.to_string()
            }
        };
        tracing::warn!("an upgrade was broken off: {broken_off}");
    }
}

/// The addresses of a configuration, and which of them speak TLS.
fn wanted(plain: &[SocketAddr], tls: &[SocketAddr]) -> impl Iterator<Item = (SocketAddr, bool)> {
    let plain = plain.iter().map(|address| (*address, false));
    plain.chain(tls.iter().map(|address| (*address, true)))
}

/// None of the tasks ends before it is told to.
fn ended_early(ended: Option<Result<Result<(), ServeError>, JoinError>>) -> ServeError {
    match ended.unwrap_or(Ok(Ok(()))) {
        Ok(Ok(())) => ServeError::Task("it ended early".to_owned()),
        Ok(Err(error)) => error,
        Err(error) => ServeError::Task(error.to_string()),
    }
}

fn pingora(control: &Control) -> Arc<HttpProxy<Forward>> {
    // The default clock of pingora's time-outs is a thread that wakes every
    // 10 ms for ever; all of ours are long enough for tokio's, which sleeps.
    pingora_timeout::fast_timeout::set_fast_timeout_to_tokio_threshold(Some(Duration::ZERO));
    let conf = ServerConf {
        // Attempts, not retries: the hooks allow a second one, and nothing allows a third.
        max_retries: 2,
        upstream_keepalive_pool_size: POOLED_CONNECTIONS,
        // Units are spoken to without TLS; by default every root of the system
        // would be loaded, and a system without any would be a panic.
        ca_file: Some("/dev/null".to_owned()),
        ..ServerConf::default()
    };
    let connections = ConnectorOptions::from_server_conf(&conf);
    let forward = Forward::new(control.table().clone(), connections);
    let mut proxy = HttpProxy::new(forward, Arc::new(conf));
    proxy.handle_init_modules();
    Arc::new(proxy)
}
