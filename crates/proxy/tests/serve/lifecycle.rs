//! Start, stop and start again.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use shipline_proxy::{CertificateFiles, Proxy, ServeError};
use tokio::net::TcpStream;

use crate::client::{Client, ok};
use crate::http2::Certificates;
use crate::ports;
use crate::proxy::{TestProxy, config};
use crate::unit::{Unit, Witness};

const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

#[tokio::test]
async fn after_a_restart_the_last_state_is_served_without_anybody_s_help() {
    let witness = Witness::default();
    let address = SocketAddr::new(LOCAL.ip(), ports::free_port());
    let proxy = TestProxy::start_with(|config| config.listen = vec![address]).await;
    let unit = Unit::start("unit", &witness).await;
    proxy.route(&[&unit]).await;
    let proxy = proxy.restarted().await;
    let answer = Client::new(proxy.address).get("/").await;
    assert_eq!(ok(answer).unwrap(), "unit");
}

#[tokio::test]
async fn what_cannot_be_had_at_the_start_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = tokio::net::TcpListener::bind(LOCAL).await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = start(&folder, address).await;
    assert_eq!(error.to_string(), format!("cannot listen on {address}"));

    std::fs::write(folder.path().join("routes.json"), "{\"version\":1,").unwrap();
    let error = start(&folder, LOCAL).await.to_string();
    let state = folder.path().join("routes.json");
    let expected = format!("the state file {} is damaged: ", state.display());
    assert!(error.starts_with(&expected), "{error}");

    let running = TestProxy::start().await;
    let mut config = config(&folder, LOCAL);
    config.state = folder.path().join("other.json");
    config.control = running.socket();
    let error = Proxy::bind(config).await.err().unwrap();
    let socket = running.socket();
    let expected = format!("another proxy answers on the control socket {}", socket.display());
    assert_eq!(error.to_string(), expected);
}

async fn start(folder: &tempfile::TempDir, address: SocketAddr) -> ServeError {
    Proxy::bind(config(folder, address)).await.err().unwrap()
}

/// The last request has its answer; connections that wait for a next one do not
/// hold the end up, and the address is free at once.
#[tokio::test]
async fn when_it_stops_requests_in_flight_end_first() {
    let witness = Witness::default();
    let proxy = TestProxy::start().await;
    let unit = Unit::start("unit", &witness).await;
    proxy.route(&[&unit]).await;
    let mut idle = Client::new(proxy.address);
    ok(idle.get("/").await).unwrap();
    let mut client = Client::new(proxy.address);
    let slow = tokio::spawn(async move { client.get("/slow/1000").await });
    proxy.until_in_flight(&unit, 1).await;

    let began = Instant::now();
    proxy.stop();
    let address = proxy.address;
    let socket = proxy.socket();
    let folder = proxy.ended().await;
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(ok(slow.await.unwrap()).unwrap(), "unit");
    assert!(TcpStream::connect(address).await.is_err());
    assert!(!socket.exists());
    drop(folder);
}

/// Not a test of its own: the process that the tests below start.
#[test]
fn the_process_of_the_next_tests() {
    let Some(folder) = std::env::var_os("SHIPLINE_TEST_PROXY") else {
        return;
    };
    let folder = std::path::PathBuf::from(folder);
    let certificate = folder.join("server.pem");
    let tls = certificate.exists();
    shipline_proxy::serve(shipline_proxy::ProxyConfig {
        listen: vec![LOCAL],
        tls_listen: if tls { vec![LOCAL] } else { Vec::new() },
        certificate: tls.then(|| CertificateFiles { certificate, key: folder.join("server.key") }),
        control: folder.join("proxy.sock"),
        state: folder.join("routes.json"),
        drain: Duration::from_secs(30),
        drain_websockets: Duration::from_secs(30),
        upgrade: std::env::var_os("SHIPLINE_TEST_UPGRADE").is_some(),
    })
    .unwrap();
}

/// A proxy as a process of its own, killed when it is dropped.
struct Process {
    child: Child,
    /// What it said when it was ready.
    ready: String,
    addresses: Vec<SocketAddr>,
}

impl Process {
    fn start(folder: &Path, upgrade: bool) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "--nocapture", "lifecycle::the_process_of_the_next_tests"])
            .env("SHIPLINE_TEST_PROXY", folder)
            .stdout(Stdio::piped());
        if upgrade {
            command.env("SHIPLINE_TEST_UPGRADE", "1");
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines
            .by_ref()
            .map(|line| line.unwrap())
            .find(|line| line.contains("proxy listens on "))
            .unwrap();
        // The rest is read away, so that nobody waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        let said = ready.split("listens on ").nth(1).unwrap();
        let addresses = said.split([',', ' ']).filter_map(|word| word.parse().ok()).collect();
        Process { child, ready, addresses }
    }

    fn signal(&self, name: &str) {
        let process = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &process]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn as_a_process_it_says_when_it_is_ready_rests_when_idle_and_ends_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), false);
    let socket = folder.path().join("proxy.sock");
    let ready = &process.ready;
    assert!(ready.ends_with(&format!(", control {}", socket.display())), "{ready}");
    let address = process.addresses[0];
    // A kept connection, as an idle proxy has many of.
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nhost: web\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 404");
    let _idle = std::net::TcpStream::connect(address).unwrap();

    std::thread::sleep(Duration::from_millis(200));
    let before = wakeups(process.child.id());
    std::thread::sleep(Duration::from_secs(1));
    let woke = wakeups(process.child.id()) - before;
    assert!(woke < 20, "an idle proxy woke {woke} times in a second");

    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.child.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files"));
    let mut files = files.unwrap().split_whitespace().skip(3);
    assert_eq!(files.next(), files.next(), "it may open all the files it can");

    // Without a certificate there is nothing to read again, and no reason to end.
    process.signal("-HUP");
    process.signal("-TERM");
    let ended = process.child.wait().unwrap();
    assert!(ended.success(), "{ended}");
    assert!(!socket.exists());
}

#[tokio::test]
async fn on_sighup_the_certificate_is_read_again_and_a_bad_one_is_not_taken() {
    let [one, other] = [Certificates::new(), Certificates::new()];
    let folder = tempfile::tempdir().unwrap();
    let install = |from: &Certificates, name: &str| {
        std::fs::copy(from.path(name), folder.path().join(name)).unwrap();
    };
    install(&one, "server.pem");
    install(&one, "server.key");
    let process = Process::start(folder.path(), false);
    let address = process.addresses[1];
    one.connect(address, "h2").await.unwrap();
    assert!(other.connect(address, "h2").await.is_err());

    // Half of a replacement: the key is another one's.
    install(&other, "server.pem");
    process.signal("-HUP");
    tokio::time::sleep(Duration::from_millis(300)).await;
    one.connect(address, "h2").await.unwrap();

    install(&other, "server.key");
    process.signal("-HUP");
    let mut tries = 0;
    while other.connect(address, "h2").await.is_err() {
        tries += 1;
        assert!(tries < 100, "the new certificate is not shown");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(one.connect(address, "h2").await.is_err());
}

#[test]
fn a_process_that_takes_over_says_so_and_the_other_one_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Process::start(folder.path(), false);
    let second = Process::start(folder.path(), true);
    assert_eq!(second.addresses, first.addresses);
    let ended = first.child.wait().unwrap();
    assert!(ended.success(), "{ended}");
    assert!(folder.path().join("proxy.sock").exists());
    assert!(std::net::TcpStream::connect(second.addresses[0]).is_ok());
    let files = std::fs::read_dir(folder.path()).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["proxy.sock", "proxy.sock.up", "routes.json.lock"]);
}

/// How often the threads of a process went to sleep by themselves.
fn wakeups(process: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads
        .map(|thread| std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap())
        .flat_map(|status| {
            let line =
                status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.map(|count| count.trim().parse::<u64>().unwrap())
        })
        .sum()
}
