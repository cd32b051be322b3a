//! Open-loop load: requests at a constant rate, whatever the answers do, so
//! that a stall shows as failures and not as a lower rate. No retries.
//!
//! Half of the requests open a connection of their own, half reuse one. It
//! speaks only to loopback and stops by itself after `limit`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

#[derive(Clone, Debug, Default)]
pub struct Report {
    pub sent: u64,
    /// Refused, reset, late, not 2xx, or with a short body.
    pub failed: u64,
    /// What the failures were, with their number.
    pub failures: BTreeMap<String, u64>,
    /// Answers by the version they carry.
    pub versions: BTreeMap<String, u64>,
    pub slowest: Duration,
}

pub struct Load {
    stop: CancellationToken,
    report: Arc<Mutex<Report>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    pub fn start(address: SocketAddr, per_second: u32, limit: Duration) -> Self {
        assert!(address.ip().is_loopback(), "load goes to loopback only");
        let stop = CancellationToken::new();
        let report = Arc::new(Mutex::new(Report::default()));
        let thread = std::thread::spawn({
            let (stop, report) = (stop.clone(), Arc::clone(&report));
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime
                    .expect("a runtime can be made")
                    .block_on(generate(address, per_second, limit, stop, report));
            }
        });
        Self { stop, report, thread: Some(thread) }
    }

    /// The counts so far.
    pub fn so_far(&self) -> Report {
        self.report.lock().expect("no request panics").clone()
    }

    /// Ends the load, waits for the answers under way, and returns all counts.
    pub fn stop(mut self) -> Report {
        self.end();
        self.so_far()
    }

    fn end(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

async fn generate(
    address: SocketAddr,
    per_second: u32,
    limit: Duration,
    stop: CancellationToken,
    report: Arc<Mutex<Report>>,
) {
    let pool: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
    let end = tokio::time::Instant::now() + limit;
    let mut requests = JoinSet::new();
    let mut number = 0_u64;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep_until(end) => break,
            Some(_) = requests.join_next() => continue,
            _ = ticks.tick() => {}
        }
        number += 1;
        let (pool, report) = (Arc::clone(&pool), Arc::clone(&report));
        requests.spawn(async move {
            let began = tokio::time::Instant::now();
            let reuse = number.is_multiple_of(2);
            let answer =
                tokio::time::timeout(Duration::from_secs(10), request(address, reuse, &pool)).await;
            let mut report = report.lock().expect("no request panics");
            report.sent += 1;
            report.slowest = report.slowest.max(began.elapsed());
            match answer.unwrap_or_else(|_| Err("no answer within 10 s".to_owned())) {
                Ok(version) => *report.versions.entry(version).or_default() += 1,
                Err(failure) => {
                    report.failed += 1;
                    *report.failures.entry(failure).or_default() += 1;
                }
            }
        });
    }
    while requests.join_next().await.is_some() {}
}

/// Sends one GET and returns the `version` field of the answer.
async fn request(
    address: SocketAddr,
    reuse: bool,
    pool: &Mutex<Vec<TcpStream>>,
) -> Result<String, String> {
    let pooled = if reuse { pool.lock().expect("no request panics").pop() } else { None };
    let mut stream = match pooled {
        Some(stream) => stream,
        None => TcpStream::connect(address)
            .await
            .map_err(|error| format!("connect: {}", error.kind()))?,
    };
    let connection = if reuse { "keep-alive" } else { "close" };
    let head =
        format!("GET / HTTP/1.1\r\nHost: demo.example.net\r\nConnection: {connection}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.map_err(|error| format!("send: {}", error.kind()))?;
    let (head, body) = answer(&mut stream).await?;
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    if !status.starts_with('2') {
        return Err(format!("status {status}"));
    }
    if reuse && !head.to_ascii_lowercase().contains("connection: close") {
        pool.lock().expect("no request panics").push(stream);
    }
    let value: serde_json::Value =
        serde_json::from_str(&body).map_err(|_| "body is no JSON".to_owned())?;
    Ok(value["version"].as_str().unwrap_or("?").to_owned())
}

/// Reads one answer whose length is announced.
async fn answer(stream: &mut TcpStream) -> Result<(String, String), String> {
    let mut bytes = Vec::new();
    let mut part = [0_u8; 4096];
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length: usize = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .and_then(|(_, value)| value.trim().parse().ok())
                .ok_or("answer without a length")?;
            if bytes.len() >= end + 4 + length {
                let body = String::from_utf8_lossy(&bytes[end + 4..end + 4 + length]).into_owned();
                return Ok((head, body));
            }
        }
        match stream.read(&mut part).await {
            Ok(0) => return Err("connection closed before the end of the answer".to_owned()),
            Ok(read) => bytes.extend_from_slice(&part[..read]),
            Err(error) => return Err(format!("receive: {}", error.kind())),
        }
    }
}
