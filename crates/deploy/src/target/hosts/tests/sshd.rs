//! Servers of SSH on this machine, for the user who runs the test, each at an address of
//! its own. A connection is accepted by the test and handed to an `sshd`, so that no port
//! is found free and used later.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

pub(crate) fn run(program: &str, arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Keys of hosts and clients.
pub(crate) struct Keys(tempfile::TempDir);

impl Keys {
    pub(crate) fn new() -> Self {
        let keys = Self(tempfile::tempdir().unwrap());
        for name in ["host", "client", "other"] {
            run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", name], keys.0.path());
        }
        std::fs::copy(keys.path("client.pub"), keys.path("authorized")).unwrap();
        keys
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a list of known hosts in which `servers` have the key `name`.
    pub(crate) fn known<'a>(
        &self,
        list: &str,
        name: &str,
        servers: impl IntoIterator<Item = &'a Sshd>,
    ) -> PathBuf {
        let key = std::fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap();
        let line = |server: &Sshd| format!("[{}]:{} {key}", server.at.ip(), server.at.port());
        let text: String = servers.into_iter().map(line).collect();
        std::fs::write(self.path(list), text).unwrap();
        self.path(list)
    }
}

pub(crate) struct Sshd {
    pub(crate) at: SocketAddr,
    listener: Option<std::net::TcpListener>,
    config: PathBuf,
    serving: Option<AbortOnDropHandle<()>>,
}

impl Sshd {
    /// Serves at 127.0.1.`number`; programs are looked for in `tools` first.
    pub(crate) fn start(keys: &Keys, number: u8, tools: &Path) -> Self {
        // Wants to be called by its whole path, and this folder to be there.
        let _ = std::fs::create_dir_all("/run/sshd");
        let config = keys.path(&format!("config-{number}"));
        let path = std::env::var("PATH").unwrap();
        let text = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nUsePAM no\n\
             SetEnv PATH={}:{path} HOME={}\n",
            keys.path("host").display(),
            keys.path("authorized").display(),
            tools.display(),
            // What the user's own shell does first takes its time.
            tools.display(),
        );
        std::fs::write(&config, text).unwrap();
        let listener = std::net::TcpListener::bind((format!("127.0.1.{number}"), 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let at = listener.local_addr().unwrap();
        let mut sshd = Self { at, listener: Some(listener), config, serving: None };
        sshd.cut();
        sshd
    }

    /// Ends all connections; new ones are served.
    pub(crate) fn cut(&mut self) {
        let listener = self.listener.as_ref().unwrap().try_clone().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let serving = tokio::spawn(serve(listener, self.config.clone()));
        self.serving = Some(AbortOnDropHandle::new(serving));
    }

    /// From now on nobody is there, and those who were are gone.
    pub(crate) async fn die(&mut self) {
        self.listener = None;
        let serving = self.serving.take().unwrap();
        serving.abort();
        // The listening socket is gone when the task is.
        let _ = serving.await;
    }

    /// Somebody is there again.
    pub(super) fn revive(&mut self) {
        let listener = std::net::TcpListener::bind(self.at).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.listener = Some(listener);
        self.cut();
    }
}

/// Dropped, it takes its children with it.
async fn serve(listener: TcpListener, config: PathBuf) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                let stream = stream.into_std().unwrap();
                stream.set_nonblocking(false).unwrap();
                let socket = OwnedFd::from(stream);
                let mut child = tokio::process::Command::new("/usr/sbin/sshd")
                    .args(["-i", "-e", "-f"])
                    .arg(&config)
                    .stdin(Stdio::from(socket.try_clone().unwrap()))
                    .stdout(Stdio::from(socket))
                    .stderr(Stdio::null())
                    .kill_on_drop(true)
                    .spawn()
                    .unwrap();
                connections.spawn(async move { drop(child.wait().await) });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
