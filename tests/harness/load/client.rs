//! One request and its answer, by hand: what a library would retry, pool or wait for is
//! exactly what is measured here.

#[path = "../../deploy-lab/app/src/frame.rs"]
mod frame;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Class, Mix};

/// How often a WebSocket is asked for its echo.
const ECHO: Duration = Duration::from_millis(500);
const PIECES: usize = 16;

pub struct Answer {
    pub status: u16,
    pub version: String,
    pub unit: String,
    /// How much of its time was asked for.
    pub waited: Duration,
}

pub struct Failure {
    pub what: String,
    pub status: Option<u16>,
}

impl Failure {
    pub fn of(what: impl Into<String>) -> Self {
        Self { what: what.into(), status: None }
    }

    fn io(doing: &str, error: &std::io::Error) -> Self {
        Self::of(format!("{doing}: {}", error.kind()))
    }
}

type Connection = BufReader<TcpStream>;

struct Head {
    status: u16,
    length: Option<usize>,
    closes: bool,
    id: Option<String>,
}

pub struct Client {
    address: SocketAddr,
    mix: Mix,
    used: Mutex<Vec<Connection>>,
    parked: Mutex<Vec<(Instant, Connection)>>,
}

impl Client {
    pub fn new(address: SocketAddr, mix: Mix) -> Self {
        Self { address, mix, used: Mutex::default(), parked: Mutex::default() }
    }

    pub async fn send(&self, class: Class, number: u64) -> Result<Answer, Failure> {
        match class {
            Class::Close => self.ask(self.open().await?, "GET", "/", number, false).await,
            Class::KeepAlive => {
                let connection = self.used.lock().expect("no request panics").pop();
                self.reuse(connection, "GET", "/", number).await
            }
            Class::Post => {
                let connection = self.used.lock().expect("no request panics").pop();
                self.reuse(connection, "POST", "/post", number).await
            }
            Class::Idle => self.idle(number).await,
            Class::Slow => {
                let wait = self.mix.slow(number);
                let path = format!("/slow?ms={}", wait.as_millis());
                let answer = self.ask(self.open().await?, "GET", &path, number, false).await?;
                Ok(Answer { waited: wait, ..answer })
            }
            Class::Socket => self.socket().await,
            Class::Upload => self.upload(number).await,
        }
    }

    async fn open(&self) -> Result<Connection, Failure> {
        let stream = TcpStream::connect(self.address).await;
        let stream = stream.map_err(|error| Failure::io("connect", &error))?;
        let _ = stream.set_nodelay(true);
        Ok(BufReader::new(stream))
    }

    async fn reuse(
        &self,
        connection: Option<Connection>,
        method: &str,
        path: &str,
        number: u64,
    ) -> Result<Answer, Failure> {
        let connection = match connection.filter(is_open) {
            Some(connection) => connection,
            None => self.open().await?,
        };
        self.ask(connection, method, path, number, true).await
    }

    async fn idle(&self, number: u64) -> Result<Answer, Failure> {
        let idle = {
            let mut parked = self.parked.lock().expect("no request panics");
            let is_ripe = parked.first().is_some_and(|(at, _)| at.elapsed() >= self.mix.idle);
            is_ripe.then(|| parked.remove(0).1)
        };
        let mut connection = match idle.filter(is_open) {
            Some(connection) => connection,
            None => self.open().await?,
        };
        let (head, answer) = exchange(&mut connection, "GET", "/", number, true).await?;
        if !head.closes {
            let mut parked = self.parked.lock().expect("no request panics");
            parked.push((Instant::now(), connection));
        }
        Ok(answer)
    }

    async fn ask(
        &self,
        mut connection: Connection,
        method: &str,
        path: &str,
        number: u64,
        keep: bool,
    ) -> Result<Answer, Failure> {
        let (head, answer) = exchange(&mut connection, method, path, number, keep).await?;
        if keep && !head.closes {
            self.used.lock().expect("no request panics").push(connection);
        }
        Ok(answer)
    }

    /// Lasts as long as it was to last, unless somebody else ends it.
    async fn socket(&self) -> Result<Answer, Failure> {
        let mut connection = self.open().await?;
        let request = "GET /socket HTTP/1.1\r\nHost: lab.example.net\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        write(&mut connection, request.as_bytes()).await?;
        let head = head(&mut connection).await?;
        if head.status != 101 {
            return Err(Failure {
                what: format!("status {}", head.status),
                status: Some(head.status),
            });
        }
        // Said at once: without it the connection was lost in its handshake.
        let greeting = frame::read(&mut connection).await;
        let (_, greeting) = greeting
            .map_err(|error| Failure::io("websocket, right after its handshake", &error))?;
        let answer = parse(101, &greeting)?;
        let begun = Instant::now();
        let ended = |error: std::io::Error| {
            // Whether it never came to life, or lived.
            let lived = begun.elapsed() > 2 * ECHO;
            Failure::io(if lived { "websocket" } else { "websocket, at its first echo" }, &error)
        };
        while begun.elapsed() < self.mix.socket {
            tokio::time::sleep(ECHO).await;
            let said = format!("{:?}", begun.elapsed());
            let mask = Some([1, 2, 3, 4]);
            let sent = frame::write(&mut connection, frame::TEXT, said.as_bytes(), mask).await;
            sent.map_err(ended)?;
            let (kind, echo) = frame::read(&mut connection).await.map_err(ended)?;
            if kind == frame::CLOSE {
                return Err(Failure::of("websocket: closed by the other end"));
            }
            if echo != said.as_bytes() {
                return Err(Failure::of("websocket: another echo"));
            }
        }
        let bye = frame::write(&mut connection, frame::CLOSE, &[], Some([0; 4])).await;
        bye.map_err(ended)?;
        Ok(Answer { waited: begun.elapsed(), ..answer })
    }

    async fn upload(&self, number: u64) -> Result<Answer, Failure> {
        let mut connection = self.open().await?;
        let request = format!(
            "POST /upload HTTP/1.1\r\nHost: lab.example.net\r\nConnection: close\r\n\
             Transfer-Encoding: chunked\r\nX-Request-Id: {number}\r\n\r\n"
        );
        write(&mut connection, request.as_bytes()).await?;
        let piece = vec![(number % 251) as u8; self.mix.upload_bytes / PIECES];
        let mut digest = Sha256::new();
        let begun = Instant::now();
        for _ in 0..PIECES {
            write(&mut connection, format!("{:x}\r\n", piece.len()).as_bytes()).await?;
            write(&mut connection, &piece).await?;
            write(&mut connection, b"\r\n").await?;
            digest.update(&piece);
            tokio::time::sleep(self.mix.upload / PIECES as u32).await;
        }
        let waited = begun.elapsed();
        write(&mut connection, b"0\r\n\r\n").await?;
        let (_, answer, body) = answer(&mut connection, number).await?;
        let told = serde_json::from_slice::<serde_json::Value>(&body).unwrap_or_default();
        if told["sha256"] != hex::encode(digest.finalize()).as_str() {
            return Err(Failure::of("upload: another body arrived"));
        }
        Ok(Answer { waited, ..answer })
    }
}

/// Whether the other end has not closed it meanwhile: every client looks before it sends.
fn is_open(connection: &Connection) -> bool {
    let read = connection.get_ref().try_read(&mut [0]);
    read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

async fn exchange(
    connection: &mut Connection,
    method: &str,
    path: &str,
    number: u64,
    keep: bool,
) -> Result<(Head, Answer), Failure> {
    let kept = if keep { "keep-alive" } else { "close" };
    let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: demo.example.net\r\nConnection: {kept}\r\n\
         X-Request-Id: {number}\r\n{length}\r\n"
    );
    write(connection, request.as_bytes()).await?;
    let (head, answer, _) = answer(connection, number).await?;
    Ok((head, answer))
}

async fn write(connection: &mut Connection, bytes: &[u8]) -> Result<(), Failure> {
    let written = connection.get_mut().write_all(bytes).await;
    written.map_err(|error| Failure::io("send", &error))
}

/// Reads one answer whose length is announced.
async fn answer(
    connection: &mut Connection,
    number: u64,
) -> Result<(Head, Answer, Vec<u8>), Failure> {
    let head = head(connection).await?;
    let status = Some(head.status);
    if !(200..300).contains(&head.status) {
        return Err(Failure { what: format!("status {}", head.status), status });
    }
    let length = head.length.ok_or_else(|| Failure::of("answer without a length"))?;
    let mut body = vec![0; length];
    if let Err(error) = connection.read_exact(&mut body).await {
        return Err(Failure { what: format!("short body: {}", error.kind()), status });
    }
    if head.id.as_ref().is_some_and(|id| *id != number.to_string()) {
        return Err(Failure { what: "the answer to another request".to_owned(), status });
    }
    let answer = parse(head.status, &body)?;
    Ok((head, answer, body))
}

async fn head(connection: &mut Connection) -> Result<Head, Failure> {
    let mut head = Head { status: 0, length: None, closes: false, id: None };
    loop {
        let mut line = String::new();
        match connection.read_line(&mut line).await {
            Ok(0) => return Err(Failure::of("closed before the answer")),
            Ok(_) => {}
            Err(error) => return Err(Failure::io("receive", &error)),
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(head);
        }
        match line.split_once(':') {
            None => head.status = line.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0),
            Some((name, value)) => {
                let value = value.trim();
                match &*name.to_ascii_lowercase() {
                    "content-length" => head.length = value.parse().ok(),
                    "connection" => head.closes = value.eq_ignore_ascii_case("close"),
                    "x-request-id" => head.id = Some(value.to_owned()),
                    _ => {}
                }
            }
        }
    }
}

fn parse(status: u16, body: &[u8]) -> Result<Answer, Failure> {
    let value: serde_json::Value =
        serde_json::from_slice(body).map_err(|_| Failure::of("body is no JSON"))?;
    let text = |name: &str| value[name].as_str().unwrap_or("?").to_owned();
    Ok(Answer { status, version: text("version"), unit: text("unit"), waited: Duration::ZERO })
}
