//! `shipline-init`, the static binary that Shipline brings into containers.
//!
//! | role | does |
//! | --- | --- |
//! | `stage` | PID 1 of a stage: one request on stdin, records on stdout |
//! | `layer copy FROM TO` | copies a tree: how a long chain of layers is flattened |
//! | `layer conflicts ANCESTORS DIR…` | says what layers of parallel stages both changed |

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod conflict;
mod layer;
mod output;
mod script;
mod stage;
mod system;
mod tree;
mod user;

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
        _ => {
            eprintln!("usage: shipline-init stage | layer copy FROM TO | layer conflicts …");
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
