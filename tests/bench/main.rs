//! How long runs take, against floors and peers: `make bench` prints the table into
//! docs/performance.md.
//!
//! A floor is what the engine needs for the same containers when somebody speaks to its API
//! and does nothing else, or starts `docker run`. A peer is a program that does the same
//! work from its own file. All of them take turns, so that what disturbs one disturbs all.

mod cancel;
mod chart;
mod floor;
mod graph;
mod growth;
mod lab;
mod many;
mod measure;
mod output;
mod peers;
mod program;
mod stages;
mod table;
mod unchanged;

use std::io;

use lab::Lab;
use table::Table;

/// A part of the table: its name, what it measures.
type Part = (&'static str, fn(&Lab, &mut Table) -> io::Result<()>);

const PARTS: [Part; 11] = [
    ("W1", stages::one),
    ("W2", stages::sequence),
    ("W3", stages::fan),
    ("W4", stages::lattice),
    ("W5", output::hundred),
    ("W6", program::compile),
    ("unchanged", unchanged::twenty),
    ("memory", many::eight),
    ("scheduler", many::ten_thousand),
    ("P9", cancel::cancel),
    ("growth", growth::curves),
];

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, stages, folder, ..] = arguments.as_slice()
        && word == many::SCHEDULER
    {
        return many::schedule(stages, folder.as_ref());
    }
    // `cargo test --all-targets` starts benches too, without this word.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let only = std::env::var("ONLY").unwrap_or_default();
    let lab = Lab::new()?;
    let mut table = Table::default();
    for (name, part) in PARTS {
        if only.is_empty() || name == only {
            eprintln!("bench: {name}");
            part(&lab, &mut table)?;
        }
    }
    print!("{table}");
    Ok(())
}
