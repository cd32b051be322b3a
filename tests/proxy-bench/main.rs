//! The proxy beside nginx and HAProxy, measured by wrk: `make bench` prints the table into
//! docs/performance.md.
//!
//! All have the same upstream on the loopback interface and take turns, so that what
//! disturbs one disturbs all; figures are medians, and those that count are ratios of one
//! turn. Whoever is not installed is left out. `SECONDS=1` and `TURNS=2` shorten it.

mod contestant;
mod table;
mod upstream;
mod wrk;

#[path = "../harness/ports.rs"]
mod ports;

use std::io;
use std::path::{Path, PathBuf};

use contestant::Contestant;
use table::Table;
use upstream::Upstream;
use wrk::{Kind, Wrk};

/// With three proxies, the upstream alone, two kinds of load and three seconds for each,
/// two minutes.
const TURNS: usize = 5;
const SECONDS: u32 = 3;

fn main() -> io::Result<()> {
    // `cargo test --all-targets` starts benches too, without this word.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let turns = number("TURNS").map_or(TURNS, |turns| turns.max(1) as usize);
    let Some(wrk) = program("wrk") else {
        println!("Not measured: wrk is not installed (`sudo apt-get install wrk`).");
        return Ok(());
    };
    let wrk = Wrk { program: wrk, seconds: number("SECONDS").unwrap_or(SECONDS).max(1) };
    let folder = tempfile::tempdir()?;
    let upstream = Upstream::start()?;
    let mut contestants = vec![
        Contestant::shipline(folder.path(), upstream.port())?,
        Contestant::direct(upstream.port()),
    ];
    let mut absent = Vec::new();
    for (name, start) in [
        ("nginx", Contestant::nginx as fn(&Path, &Path, u16) -> io::Result<Contestant>),
        ("haproxy", Contestant::haproxy),
    ] {
        match program(name) {
            Some(program) => contestants.push(start(&program, folder.path(), upstream.port())?),
            None => absent.push(name),
        }
    }
    for contestant in &mut contestants {
        contestant.is_up()?;
    }
    let mut table = Table::new(&contestants, absent);
    for turn in 0..turns {
        for kind in Kind::ALL {
            eprintln!("bench: turn {} of {turns}, {}", turn + 1, kind.name());
            let measured: io::Result<Vec<_>> =
                contestants.iter().map(|contestant| wrk.measure(contestant.port, kind)).collect();
            table.add(kind, measured?);
        }
    }
    print!("{table}");
    Ok(())
}

/// A program of this machine; those of administrators are not in everybody's `PATH`.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}
