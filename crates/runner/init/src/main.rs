//! `shipline-init`, the static binary that Shipline brings into containers.
//!
//! | role | does |
//! | --- | --- |
//! | `stage` | PID 1 of a stage: one request on stdin, records on stdout |
//! | `layer copy FROM TO` | copies a tree: how a long chain of layers is flattened |
//! | `layer conflicts ANCESTORS DIR…` | says what layers of parallel stages both changed |
//! | `files pick DIR` | tells what a workspace holds, and sends what is asked for |
//! | `cache keep LIMIT TO FROM… [-- UPPER…]` | copies what a stage left in its caches |

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod conflict;
mod keep;
mod layer;
mod output;
mod pick;
mod script;
mod stage;
mod system;
mod tree;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    match words.as_slice() {
        ["stage"] => ExitCode::from(stage::run()),
        ["layer", "copy", from, to] => report(tree::copy(Path::new(from), Path::new(to))),
        ["layer", "conflicts", ancestors, directories @ ..] => {
            report(conflict::print(ancestors, directories))
        }
        ["files", "pick", directory] => {
            report(pick::pick(Path::new(directory), std::io::stdin().lock(), std::io::stdout()))
        }
        ["cache", "keep", limit, to, rest @ ..] => {
            let paths: Vec<&Path> = rest.iter().map(Path::new).collect();
            let end = rest.iter().position(|word| *word == "--").unwrap_or(rest.len());
            let (from, uppers) = (&paths[..end], paths.get(end + 1..).unwrap_or_default());
            let limit = limit.parse().unwrap_or(u64::MAX);
            let kept = keep::keep(limit, Path::new(to), from, uppers);
            report(kept.map(|answer| println!("{answer}")))
        }
        _ => {
            eprintln!("usage: shipline-init stage | layer … | files pick DIR | cache keep …");
            ExitCode::from(2)
        }
    }
}

fn report(result: std::io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
