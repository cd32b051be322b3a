//! Start, stop and start again.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use shipline_proxy::{Proxy, ServeError};
use tokio::net::TcpStream;

use crate::client::{Client, ok};
use crate::proxy::{TestProxy, config};
use crate::unit::{Unit, Witness};

const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

#[tokio::test]
async fn after_a_restart_the_last_state_is_served_without_anybody_s_help() {
    let witness = Witness::default();
    let proxy = TestProxy::start().await;
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

/// Not a test of its own: the process that the test below starts.
#[test]
fn the_process_of_the_next_test() {
    let Some(folder) = std::env::var_os("SHIPLINE_TEST_PROXY") else {
        return;
    };
    let folder = std::path::PathBuf::from(folder);
    shipline_proxy::serve(shipline_proxy::ProxyConfig {
        listen: vec![LOCAL],
        control: folder.join("proxy.sock"),
        state: folder.join("routes.json"),
    })
    .unwrap();
}

#[test]
fn as_a_process_it_says_when_it_is_ready_rests_when_idle_and_ends_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("lifecycle::the_process_of_the_next_test")
        .env("SHIPLINE_TEST_PROXY", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines
        .by_ref()
        .map(|line| line.unwrap())
        .find(|line| line.contains("proxy listens on "))
        .unwrap();
    let socket = folder.path().join("proxy.sock");
    assert!(ready.ends_with(&format!(", control {}", socket.display())), "{ready}");
    let address = ready.split("listens on ").nth(1).unwrap();
    let address: SocketAddr = address.split(',').next().unwrap().parse().unwrap();
    // A kept connection, as an idle proxy has many of.
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nhost: web\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 404");
    let _idle = std::net::TcpStream::connect(address).unwrap();

    std::thread::sleep(Duration::from_millis(200));
    let before = wakeups(child.id());
    std::thread::sleep(Duration::from_secs(1));
    let woke = wakeups(child.id()) - before;
    assert!(woke < 20, "an idle proxy woke {woke} times in a second");

    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files"));
    let mut files = files.unwrap().split_whitespace().skip(3);
    assert_eq!(files.next(), files.next(), "it may open all the files it can");

    let term = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(term.success());
    let ended = child.wait().unwrap();
    assert!(ended.success(), "{ended}");
    assert!(!socket.exists());
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
