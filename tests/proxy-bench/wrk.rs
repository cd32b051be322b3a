//! One turn of wrk, and what it says.

use std::io;
use std::path::PathBuf;
use std::process::Command;

const CONNECTIONS: u32 = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    KeepAlive,
    /// Each request on a connection of its own.
    New,
}

impl Kind {
    pub const ALL: [Kind; 2] = [Kind::KeepAlive, Kind::New];

    pub const fn name(self) -> &'static str {
        match self {
            Kind::KeepAlive => "32 connections that stay",
            Kind::New => "a connection per request, 32 at once",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    pub per_second: f64,
    pub p99_ms: f64,
    /// Answers that were none, or none of ours.
    pub errors: u64,
}

pub struct Wrk {
    pub program: PathBuf,
    pub seconds: u32,
}

impl Wrk {
    pub fn measure(&self, port: u16, kind: Kind) -> io::Result<Measured> {
        let mut command = Command::new(&self.program);
        command.args(["-t1", "--latency", &format!("-c{CONNECTIONS}")]);
        command.arg(format!("-d{}s", self.seconds));
        if kind == Kind::New {
            command.args(["-H", "Connection: close"]);
        }
        let output = command.arg(format!("http://127.0.0.1:{port}/")).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        read(&said).ok_or_else(|| {
            let error = String::from_utf8_lossy(&output.stderr);
            io::Error::other(format!("wrk said no figures: {said}{error}"))
        })
    }
}

fn read(said: &str) -> Option<Measured> {
    let after =
        |word: &str| said.lines().find_map(|line| line.trim().strip_prefix(word).map(str::trim));
    let per_second = after("Requests/sec:")?.parse().ok()?;
    let p99_ms = milliseconds(after("99%")?)?;
    // `Socket errors: connect 0, read 3, write 0, timeout 0`
    let broken = after("Socket errors:").unwrap_or_default();
    let broken =
        broken.split(|c: char| !c.is_ascii_digit()).filter_map(|it| it.parse::<u64>().ok());
    let refused = after("Non-2xx or 3xx responses:").and_then(|count| count.parse().ok());
    Some(Measured { per_second, p99_ms, errors: broken.sum::<u64>() + refused.unwrap_or(0) })
}

fn milliseconds(text: &str) -> Option<f64> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let value: f64 = text[..unit].parse().ok()?;
    Some(match &text[unit..] {
        "us" => value / 1_000.0,
        "ms" => value,
        "s" => value * 1_000.0,
        "m" => value * 60_000.0,
        _ => return None,
    })
}
