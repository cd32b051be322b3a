//! `shipline-init`, the static binary that Shipline brings into containers.
//!
//! | role | does |
//! | --- | --- |
//! | `stage [FILE LIMIT]` | PID 1 of a stage: one request on stdin, records on stdout and in a file |
//! | `records FILE` | prints such a file while it grows |
//! | `pause` | holds a network, and makes it anew for the next stage |
//! | `layer copy FROM TO` | copies a tree: how a long chain of layers is flattened |
//! | `layer unpack TO MANIFEST DIR…` | makes a view of layers, oldest first, by copying |
//! | `layer delta VIEW MANIFEST TO` | makes a layer of what was changed in such a view |
//! | `layer conflicts MOST ANCESTORS DIR…` | says what layers of parallel stages both changed |
//! | `layer changes OLD NEW DIR…` | says what differs between two views, of what is in the layers |
//! | `files pick DIR` | tells what a workspace holds, and sends what is asked for |
//! | `probe tcp …`, `probe http …`, `probe cmd …` | asks a service until it is ready |
//! | `cache keep LIMIT TO FROM… [-- UPPER…]` | copies what a stage left in its caches |

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod changes;
mod conflict;
mod copied;
mod keep;
mod layer;
mod netlink;
mod network;
mod output;
mod pause;
mod pick;
mod probe;
mod records;
mod script;
mod stage;
mod system;
mod tree;
mod usage;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    match words.as_slice() {
        ["stage"] => ExitCode::from(stage::run(None)),
        ["stage", path, limit] => match limit.parse() {
            Ok(limit) => {
                ExitCode::from(stage::run(Some(stage::Kept { path: Path::new(path), limit })))
            }
            Err(_) => usage(),
        },
        ["pause"] => ExitCode::from(pause::run()),
        ["records", path] => report(records::follow(Path::new(path), std::io::stdout())),
        ["layer", "copy", from, to] => report(tree::copy(Path::new(from), Path::new(to))),
        ["layer", "unpack", to, manifest, layers @ ..] => {
            let layers: Vec<&Path> = layers.iter().map(Path::new).collect();
            report(copied::unpack(Path::new(to), Path::new(manifest), &layers))
        }
        ["layer", "delta", view, manifest, to] => {
            report(copied::delta(Path::new(view), Path::new(manifest), Path::new(to)))
        }
        ["layer", "conflicts", most, ancestors, directories @ ..] => {
            report(conflict::print(most, ancestors, directories))
        }
        ["layer", "changes", old, new, layers @ ..] => {
            let layers: Vec<&Path> = layers.iter().map(Path::new).collect();
            report(changes::changes(Path::new(old), Path::new(new), &layers, std::io::stdout()))
        }
        ["files", "pick", directory] => {
            report(pick::pick(Path::new(directory), std::io::stdin().lock(), std::io::stdout()))
        }
        ["probe", question @ ..] => match probe::Probe::parse(question) {
            Some(probe) => ExitCode::from(probe::run(&probe)),
            None => usage(),
        },
        ["cache", "keep", limit, to, rest @ ..] => {
            let paths: Vec<&Path> = rest.iter().map(Path::new).collect();
            let end = rest.iter().position(|word| *word == "--").unwrap_or(rest.len());
            let (from, uppers) = (&paths[..end], paths.get(end + 1..).unwrap_or_default());
            let limit = limit.parse().unwrap_or(u64::MAX);
            let kept = keep::keep(limit, Path::new(to), from, uppers);
            report(kept.map(|answer| println!("{answer}")))
        }
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: shipline-init stage [FILE LIMIT] | records FILE | pause | layer … | files pick DIR | probe … | cache keep …"
    );
    ExitCode::from(2)
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
