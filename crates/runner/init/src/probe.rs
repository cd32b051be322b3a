//! The role `probe`: asks a service, from inside its container, until it answers.
//!
//! It needs nothing of the image, and works wherever the engine is. It has no
//! deadline: whoever asked takes the container away. Each new answer that is not
//! yet the right one is a line on stdout.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a connection and an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a command may take.
const COMMAND: Duration = Duration::from_secs(30);
/// So much of an answer is looked at.
const ANSWER: usize = 4096;
/// The question itself is wrong, and will be next time.
const WRONG: u8 = 3;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Probe<'a> {
    /// A port takes connections.
    Tcp(SocketAddr),
    /// A path is answered with 200 to 399.
    Http { address: SocketAddr, host: &'a str, path: &'a str },
    /// A command exits with 0.
    Command(&'a [&'a str]),
}

enum NotYet {
    Answer(String),
    Wrong(String),
}

impl<'a> Probe<'a> {
    pub(crate) fn parse(words: &'a [&'a str]) -> Option<Self> {
        let address = |ip: &str, port: &str| {
            Some(SocketAddr::new(ip.parse::<IpAddr>().ok()?, port.parse().ok()?))
        };
        match words {
            ["tcp", ip, port] => Some(Self::Tcp(address(ip, port)?)),
            ["http", ip, port, host, path] => {
                Some(Self::Http { address: address(ip, port)?, host, path })
            }
            ["cmd", command @ ..] if !command.is_empty() => Some(Self::Command(command)),
            _ => None,
        }
    }

    fn ask(&self) -> Result<(), NotYet> {
        match self {
            Self::Tcp(address) => connect(*address).map(drop),
            Self::Http { address, host, path } => http(*address, host, path),
            Self::Command(words) => command(words),
        }
    }
}

/// Asks until the answer is right, and returns the exit code.
pub(crate) fn run(probe: &Probe<'_>) -> u8 {
    let begun = Instant::now();
    let mut told = String::new();
    loop {
        let (said, wrong) = match probe.ask() {
            Ok(()) => return 0,
            Err(NotYet::Answer(said)) => (said, false),
            Err(NotYet::Wrong(said)) => (said, true),
        };
        if said != told {
            let mut stdout = io::stdout().lock();
            // Whoever asked may have gone.
            if writeln!(stdout, "{said}").and_then(|()| stdout.flush()).is_err() {
                return WRONG;
            }
            told = said;
        }
        if wrong {
            return WRONG;
        }
        std::thread::sleep(pause(begun.elapsed()));
    }
}

/// Soon at first, since most services need little; seldom later.
const fn pause(waited: Duration) -> Duration {
    Duration::from_millis(match waited.as_secs() {
        0..3 => 100,
        3..15 => 300,
        _ => 1000,
    })
}

fn connect(address: SocketAddr) -> Result<TcpStream, NotYet> {
    TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| NotYet::Answer(words(&error)))
}

fn http(address: SocketAddr, host: &str, path: &str) -> Result<(), NotYet> {
    let mut stream = connect(address)?;
    let asked = stream.set_read_timeout(Some(PATIENCE)).and_then(|()| {
        let port = address.port();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())
    });
    asked.map_err(|error| NotYet::Answer(words(&error)))?;
    let mut answer = Vec::new();
    let read = stream.take(ANSWER as u64).read_to_end(&mut answer);
    match status(&answer) {
        Some(200..400) => Ok(()),
        Some(status) => Err(NotYet::Answer(format!("HTTP {status}"))),
        None => Err(NotYet::Answer(match read {
            Err(error) => words(&error),
            Ok(_) => "no answer in HTTP".to_owned(),
        })),
    }
}

/// The status of an answer, whose first line is `HTTP/1.1 200 OK`.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r' || *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/")?;
    line.split(' ').nth(1)?.parse().ok()
}

fn command(words: &[&str]) -> Result<(), NotYet> {
    let (program, arguments) = words.split_first().expect("a command has a first word");
    let mut command = Command::new(program);
    let (reader, writer) = io::pipe().map_err(|error| NotYet::Answer(self::words(&error)))?;
    let spawned = writer.try_clone().and_then(|errors| {
        command.args(arguments).stdin(Stdio::null()).stdout(writer).stderr(errors);
        command.process_group(0).spawn()
    });
    // Our own ends of the pipe, without which it would never end.
    drop(command);
    let child = spawned.map_err(|error| match error.kind() {
        ErrorKind::NotFound => NotYet::Wrong(format!("`{program}` is not in the image")),
        _ => NotYet::Wrong(format!("`{program}` cannot be run: {}", self::words(&error))),
    })?;
    let reading = std::thread::spawn(move || last_line(reader));
    let ended = wait(child).map_err(|error| NotYet::Answer(self::words(&error)))?;
    let said = reading.join().unwrap_or_default();
    match ended {
        Some(status) if status.success() => Ok(()),
        Some(status) => {
            let mut told = match status.code() {
                Some(code) => format!("exit {code}"),
                None => status.to_string(),
            };
            if !said.is_empty() {
                // Writing to a text always works.
                let _ = write!(told, ", {said}");
            }
            Err(NotYet::Answer(told))
        }
        None => Err(NotYet::Answer(format!("no end within {} s", COMMAND.as_secs()))),
    }
}

/// Waits for the end, and brings it about when it takes too long.
fn wait(mut child: Child) -> io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    let group = i32::try_from(child.id()).map_err(io::Error::other)?;
    let ended = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if begun.elapsed() > COMMAND => break None,
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    // Also what it left in the background, which holds the pipe.
    crate::system::kill_group(group);
    if ended.is_none() {
        child.wait()?;
    }
    Ok(ended)
}

/// Reads to the end; what it keeps is the last line, of bounded length.
fn last_line(mut from: impl Read) -> String {
    let (mut last, mut buffer) = (Vec::new(), [0; ANSWER]);
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        last.extend_from_slice(&buffer[..count]);
        let surplus = last.len().saturating_sub(ANSWER);
        last.drain(..surplus);
    }
    let text = String::from_utf8_lossy(&last);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect()
}

/// `connection refused`, without the number of the error.
fn words(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "no answer".to_owned(),
        _ => error.to_string().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Answers one connection with `text`, and returns where.
    fn answering(text: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 512];
            let count = stream.read(&mut asked).unwrap();
            assert!(asked[..count].starts_with(b"GET /health HTTP/1.1\r\nHost: db:"));
            stream.write_all(text.as_bytes()).unwrap();
        });
        address
    }

    fn said(probe: &Probe<'_>) -> String {
        match probe.ask() {
            Ok(()) => "ready".to_owned(),
            Err(NotYet::Answer(said)) => said,
            Err(NotYet::Wrong(said)) => format!("wrong: {said}"),
        }
    }

    #[test]
    fn a_port_is_ready_when_it_takes_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(said(&Probe::Tcp(address)), "ready");
        drop(listener);
        assert_eq!(said(&Probe::Tcp(address)), "connection refused");
    }

    #[test]
    fn a_path_is_ready_when_it_is_answered_with_success() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n", "ready"),
            ("HTTP/1.0 302 Found\r\n\r\n", "ready"),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\nstarting", "HTTP 503"),
            ("SSH-2.0-OpenSSH\r\n", "no answer in HTTP"),
            ("", "no answer in HTTP"),
        ] {
            let address = answering(answer);
            assert_eq!(said(&Probe::Http { address, host: "db", path: "/health" }), expected);
        }
    }

    #[test]
    fn a_command_is_ready_when_it_exits_with_0_and_else_its_last_line_is_told() {
        let shell = |script| said(&Probe::Command(&["sh", "-c", script]));
        assert_eq!(shell("echo fine"), "ready");
        assert_eq!(shell("echo one; echo two >&2; exit 2"), "exit 2, two");
        assert_eq!(shell("exit 1"), "exit 1");
        let missing = said(&Probe::Command(&["no-such-program"]));
        assert_eq!(missing, "wrong: `no-such-program` is not in the image");
    }

    #[test]
    fn words_are_read_as_a_probe() {
        let address = "10.0.0.2:80".parse().unwrap();
        assert_eq!(Probe::parse(&["tcp", "10.0.0.2", "80"]), Some(Probe::Tcp(address)));
        let http = Probe::parse(&["http", "10.0.0.2", "80", "web", "/"]);
        assert_eq!(http, Some(Probe::Http { address, host: "web", path: "/" }));
        assert_eq!(Probe::parse(&["cmd", "true"]), Some(Probe::Command(&["true"])));
        assert_eq!(Probe::parse(&["cmd"]), None);
        assert_eq!(Probe::parse(&["tcp", "db", "80"]), None);
    }
}
