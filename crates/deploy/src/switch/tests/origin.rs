//! Servers behind a balancer, and people who ask it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// Answers with its name: at `/slow/MS` after so many milliseconds, at once else. While it
/// is not `well`, it answers 500.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    pub(super) well: Arc<AtomicBool>,
    _serving: AbortOnDropHandle<()>,
}

impl Origin {
    pub(super) async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (name, well) = (name.to_owned(), Arc::new(AtomicBool::new(true)));
        let is_well = Arc::clone(&well);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, name.clone(), Arc::clone(&is_well)));
            }
        });
        Self { address, well, _serving: AbortOnDropHandle::new(serving) }
    }
}

/// One connection, kept for as many requests as come.
async fn serve(stream: TcpStream, name: String, well: Arc<AtomicBool>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut first = String::new();
        loop {
            let mut line = String::new();
            match stream.read_line(&mut line).await {
                Ok(0) | Err(_) => return,
                Ok(_) if line.trim().is_empty() => break,
                Ok(_) if first.is_empty() => first = line,
                Ok(_) => {}
            }
        }
        let path = first.split(' ').nth(1).unwrap_or_default();
        if let Some(time) = path.strip_prefix("/slow/").and_then(|time| time.parse().ok()) {
            tokio::time::sleep(Duration::from_millis(time)).await;
        }
        let status = if well.load(Ordering::Relaxed) { "200 OK" } else { "500 No" };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{name}", name.len());
        if stream.get_mut().write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Asks once, on a connection of its own; `None` for whatever is no good answer.
pub(super) async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let asking = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.ok()?
}

/// Somebody who asks all the time, and counts.
pub(crate) struct Visitor {
    sent: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    asking: Arc<AtomicBool>,
    visits: Vec<tokio::task::JoinHandle<()>>,
}

impl Visitor {
    /// Comes `at_once` at a time.
    pub(crate) fn of(address: SocketAddr, at_once: usize) -> Self {
        let (sent, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let asking = Arc::new(AtomicBool::new(true));
        let visit = |_| {
            let (sent, failed, asking) =
                (Arc::clone(&sent), Arc::clone(&failed), Arc::clone(&asking));
            tokio::spawn(async move {
                while asking.load(Ordering::Relaxed) {
                    sent.fetch_add(1, Ordering::Relaxed);
                    if get(address, "/slow/30").await.is_none() {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        };
        let visits = (0..at_once).map(visit).collect();
        Self { sent, failed, asking, visits }
    }

    /// Returns how often it asked, and how often in vain.
    pub(crate) async fn go_home(self) -> (u64, u64) {
        self.asking.store(false, Ordering::Relaxed);
        for visit in self.visits {
            visit.await.unwrap();
        }
        (self.sent.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}
