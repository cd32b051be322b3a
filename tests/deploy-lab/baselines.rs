//! What others make of the same service under the same load: reported, and held to nothing.
//!
//! - *stop, then start*: `docker stop`, `docker rm`, `docker run` on the same port;
//! - *`docker service update`*: a swarm of this one node, which is initialised for it and
//!   left again, unless this engine is in one already; three replicas, `start-first`, a
//!   health check, as its documentation advises;
//! - *nginx reload*: three plain processes behind nginx; three new ones are started, asked
//!   until they are well, written into its configuration, `nginx -s reload`, and the old
//!   ones are told to end.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::application;
use super::experiments::Scale;
use super::table::Row;
use crate::harness::lab::{Lab, Ran, docker};
use crate::harness::load::{Load, Settings};
use crate::harness::ports::free_port;
use crate::harness::process::{Process, signal, wait_for};

type Baseline = fn(&Scale) -> Result<Row, String>;

pub const ALL: [(&str, Baseline); 3] = [
    ("stop, then start", stop_then_start),
    ("docker service update", service_update),
    ("nginx reload", nginx_reload),
];

/// How often each of them deploys.
const DEPLOYS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(30);

/// Deploys under load, and tells the longest of the deployments.
fn measure(
    scale: &Scale,
    address: SocketAddr,
    what: &str,
    on: &'static str,
    mut deploy: impl FnMut(usize) -> Result<(), String>,
) -> Result<Row, String> {
    let begun = Instant::now();
    while !is_well(address) {
        if begun.elapsed() > PATIENCE {
            return Err(format!("its first version does not answer at {address}"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let (per_second, mix) = (scale.per_second, scale.others);
    let limit = Duration::from_secs(1800);
    let load = Load::mixed(Settings { address, per_second, limit, mix, log: None });
    std::thread::sleep(Duration::from_secs(3));
    let mut slowest = Duration::ZERO;
    for version in 2..DEPLOYS + 2 {
        let begun = Instant::now();
        deploy(version)?;
        slowest = slowest.max(begun.elapsed());
        std::thread::sleep(Duration::from_secs(3));
    }
    let report = load.stop();
    let what = format!("{what}, {DEPLOYS} times");
    Ok(Row::reported(what, on, report).deploys(slowest))
}

fn is_well(address: SocketAddr) -> bool {
    let url = format!("http://{address}/health");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--max-time", "1", "--output", "/dev/null", &url]);
    curl.status().is_ok_and(|status| status.success())
}

/// An image of the service, removed with its owner.
struct Image(String);

impl Image {
    fn build(lab: &Lab) -> Self {
        let folder = lab.folder("image");
        std::fs::copy(application::built(), folder.join("testapp")).expect("it can be copied");
        // A health check of the engine runs something in the container.
        let text = "FROM busybox:1\nCOPY testapp /testapp\nCMD [\"/testapp\"]\n";
        std::fs::write(folder.join("Dockerfile"), text).expect("it can be written");
        let name = format!("shipline-deploy-lab:{}", std::process::id());
        docker(&["build", "--quiet", "--tag", &name, &folder.display().to_string()]);
        Self(name)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        drop(Command::new("docker").args(["image", "rm", "--force", &self.0]).output());
    }
}

/// A container or a service, removed with its owner.
struct Thing {
    kind: &'static str,
    name: String,
}

impl Drop for Thing {
    fn drop(&mut self) {
        let arguments: &[&str] = match self.kind {
            "service" => &["service", "rm", &self.name],
            _ => &["rm", "--force", &self.name],
        };
        drop(Command::new("docker").args(arguments).output());
    }
}

fn stop_then_start(scale: &Scale) -> Result<Row, String> {
    let lab = Lab::new();
    let image = Image::build(&lab);
    let port = free_port();
    let thing =
        Thing { kind: "container", name: format!("shipline-deploy-lab-{}", std::process::id()) };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let start = |version: usize| {
        let (published, version) = (format!("{address}:8080"), format!("VERSION={version}"));
        docker(&[
            "run",
            "--detach",
            "--name",
            &thing.name,
            "-p",
            &published,
            "-e",
            &version,
            &image.0,
        ]);
    };
    start(1);
    measure(scale, address, "`docker stop`, then `docker run`", "docker", |version| {
        docker(&["stop", &thing.name]);
        docker(&["rm", &thing.name]);
        start(version);
        Ok(())
    })
}

/// A swarm of this one node, left again unless it was there before.
struct Swarm {
    is_ours: bool,
    /// Whether the network of that name, which a swarm leaves behind, was there before.
    had_bridge: bool,
}

const BRIDGE: &str = "docker_gwbridge";

impl Swarm {
    fn join() -> Result<Self, String> {
        let state = docker(&["info", "--format", "{{.Swarm.LocalNodeState}}"]);
        if state.trim() == "active" {
            return Ok(Self { is_ours: false, had_bridge: true });
        }
        let networks = docker(&["network", "ls", "--format", "{{.Name}}"]);
        let had_bridge = networks.lines().any(|name| name == BRIDGE);
        eprintln!("deploy-lab: this engine becomes a swarm of one node on loopback, for a while");
        let mut init = Command::new("docker");
        let ran = Ran::of(init.args([
            "swarm",
            "init",
            "--advertise-addr",
            "127.0.0.1",
            "--listen-addr",
            "127.0.0.1",
        ]));
        match ran.code {
            0 => Ok(Self { is_ours: true, had_bridge }),
            _ => Err(format!("it cannot be a swarm: {}", ran.stderr.trim())),
        }
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        if self.is_ours {
            drop(Command::new("docker").args(["swarm", "leave", "--force"]).output());
            if !self.had_bridge {
                drop(Command::new("docker").args(["network", "rm", BRIDGE]).output());
            }
            eprintln!("deploy-lab: this engine has left its swarm");
        }
    }
}

fn service_update(scale: &Scale) -> Result<Row, String> {
    let lab = Lab::new();
    let image = Image::build(&lab);
    let _swarm = Swarm::join()?;
    let port = free_port();
    let thing =
        Thing { kind: "service", name: format!("shipline-deploy-lab-{}", std::process::id()) };
    let published = format!("published={port},target=8080");
    let mut create = Command::new("docker");
    create.args(["service", "create", "--quiet", "--detach=false", "--name", &thing.name]);
    create.args(["--replicas", "3", "--publish", &published, "--env", "VERSION=1"]);
    create.args(["--update-order", "start-first", "--update-parallelism", "1"]);
    create.args(["--health-cmd", "wget -q -O /dev/null http://127.0.0.1:8080/health"]);
    create.args(["--health-interval", "1s", "--stop-grace-period", "30s", &image.0]);
    let ran = Ran::of(&mut create);
    if ran.code != 0 {
        return Err(format!("no service can be made: {}", ran.stderr.trim()));
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let row = measure(scale, address, "`docker service update`, start-first", "swarm", |version| {
        let version = format!("VERSION={version}");
        let mut update = Command::new("docker");
        update.args(["service", "update", "--quiet", "--detach=false", "--env-add", &version]);
        let ran = Ran::of(update.arg(&thing.name));
        if ran.code == 0 { Ok(()) } else { Err(ran.stderr) }
    });
    // Its module is there once a swarm has asked for it.
    row.map_err(|why| match Path::new("/proc/net/ip_vs").exists() {
        true => why,
        false => format!("{why}: the routing mesh of a swarm needs IPVS, which this kernel lacks"),
    })
}

fn nginx_reload(scale: &Scale) -> Result<Row, String> {
    let binary =
        ["/usr/sbin/nginx", "/usr/bin/nginx"].into_iter().find(|path| Path::new(path).exists());
    let binary = binary.ok_or("nginx is not installed; sudo apt-get install nginx-light")?;
    let lab = Lab::new();
    let folder = lab.folder("nginx");
    let port = free_port();
    let mut units = start_units(&lab, 1);
    configure(&folder, port, &units);
    let nginx = |arguments: &[&str]| {
        let mut command = Command::new(binary);
        command.arg("-p").arg(&folder).arg("-c").arg(folder.join("nginx.conf")).args(arguments);
        command
    };
    let mut server = Process::start(&mut nginx(&["-g", "daemon off;"]), &folder.join("log"));
    std::thread::sleep(Duration::from_millis(500));
    server.assert_alive();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    measure(scale, address, "nginx reload", "process", |version| {
        let new = start_units(&lab, version);
        configure(&folder, port, &new);
        Ran::of(&mut nginx(&["-s", "reload"])).expect(0);
        // The old ones are told when its new workers are there.
        std::thread::sleep(Duration::from_secs(1));
        for (mut unit, _) in std::mem::replace(&mut units, new) {
            signal(unit.pid(), "TERM");
            unit.wait(Duration::from_secs(30));
        }
        Ok(())
    })
}

fn start_units(lab: &Lab, version: usize) -> Vec<(Process, u16)> {
    (0..3)
        .map(|number| {
            let port = free_port();
            let mut command = Command::new(application::built());
            command.env("PORT", port.to_string()).env("VERSION", version.to_string());
            let log = lab.path().join(format!("unit-{version}-{number}.log"));
            let unit = Process::start(&mut command, &log);
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            wait_for("a unit", PATIENCE, || is_well(address).then_some(()));
            (unit, port)
        })
        .collect()
}

fn configure(folder: &Path, port: u16, units: &[(Process, u16)]) {
    let servers: String =
        units.iter().map(|(_, port)| format!("server 127.0.0.1:{port};\n")).collect();
    let place = folder.display();
    let text = format!(
        "pid {place}/pid;\nerror_log {place}/error.log;\nworker_processes 2;\n\
         events {{ worker_connections 4096; }}\nhttp {{\n  access_log off;\n  \
         client_body_temp_path {place}/body;\n  proxy_temp_path {place}/proxy;\n  \
         fastcgi_temp_path {place}/fastcgi;\n  uwsgi_temp_path {place}/uwsgi;\n  \
         scgi_temp_path {place}/scgi;\n  \
         map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}\n  \
         upstream units {{ {servers} keepalive 32; }}\n  \
         server {{\n    listen 127.0.0.1:{port};\n    location / {{\n      \
         proxy_pass http://units;\n      proxy_http_version 1.1;\n      \
         proxy_set_header Upgrade $http_upgrade;\n      \
         proxy_set_header Connection $connection_upgrade;\n      \
         proxy_request_buffering off;\n      proxy_read_timeout 60s;\n    }}\n  }}\n}}\n"
    );
    std::fs::write(folder.join("nginx.conf"), text).expect("it can be written");
}
