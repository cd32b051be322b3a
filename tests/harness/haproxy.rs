//! A HAProxy in front of hosts, as somebody has it before there is a Shipline.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::hosts::{Hosts, get};
use super::lab::Lab;
use super::ports::free_port;
use super::process::{Process, wait_for};

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Haproxy {
    pub address: SocketAddr,
    pub socket: PathBuf,
    pub config: PathBuf,
    _process: Process,
}

impl Haproxy {
    /// Starts one with a server for each host, and waits until they are up.
    pub fn start(lab: &Lab, hosts: &Hosts, count: usize) -> Self {
        let folder = lab.folder("haproxy");
        let (socket, config) = (folder.join("admin.sock"), folder.join("haproxy.cfg"));
        let address: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().expect("an address");
        let server = |number| {
            format!("  server web-{number} 127.0.1.{number}:{} check inter 100ms\n", hosts.web)
        };
        let servers: String = (1..=count).map(server).collect();
        let text = format!(
            "global\n  stats socket {} mode 600 level admin expose-fd listeners\n  \
             server-state-file {}\ndefaults\n  mode http\n  timeout connect 2s\n  \
             timeout client 30s\n  timeout server 30s\n  load-server-state-from-file global\n\
             frontend web\n  bind {address}\n  default_backend web\nbackend web\n  \
             option httpchk GET /health.txt\n{servers}",
            socket.display(),
            folder.join("state").display(),
        );
        std::fs::write(&config, text).expect("a file can be written");
        let mut command = Command::new("/usr/sbin/haproxy");
        command.args(["-db", "-f"]).arg(&config);
        let process = Process::start(&mut command, &folder.join("log"));
        wait_for("haproxy", PATIENCE, || UnixStream::connect(&socket).ok());
        Self { address, socket, config, _process: process }
    }

    /// The key of the target, in place of `proxy`.
    pub fn entrance(&self) -> String {
        format!(
            "switch: {{ haproxy: {{ socket: {}, backend: web, config: {} }} }}",
            self.socket.display(),
            self.config.display()
        )
    }

    /// Waits until somebody answers through it.
    pub fn serves(&self) {
        wait_for("an answer through haproxy", PATIENCE, || get(self.address));
    }
}
