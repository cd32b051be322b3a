//! Programs that do the same from files of their own, where they are installed in
//! `target/peers`: tests/bench.sh says how.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::{IMAGE, Lab};
use crate::measure::{Contestant, Sample, process};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers")
}

/// act, on the workflow of a repository.
pub fn act<'a>(
    lab: &'a Lab,
    repository: &'a Path,
    image: &'a str,
    jobs: usize,
    turns: usize,
) -> Option<Contestant<'a>> {
    let program = folder().join("act/bin/act");
    let run = move || -> io::Result<Sample> {
        let mut command = Command::new(&program);
        command.args(["push", "--pull=false", "--rm"]);
        command.args(["--concurrent-jobs", &jobs.to_string()]);
        command.arg("-P").arg(format!("ubuntu-latest={image}"));
        command.current_dir(repository).env("XDG_CACHE_HOME", lab.path("cache"));
        process(&mut command)
    };
    folder().join("act/bin/act").exists().then(|| Contestant::new("act", turns, run))
}

/// gitlab-ci-local, on the file of a repository.
pub fn gitlab<'a>(repository: &'a Path, jobs: usize, turns: usize) -> Option<Contestant<'a>> {
    let modules = folder().join("gitlab-ci-local/node_modules");
    let script = modules.join("gitlab-ci-local/dist/index.js");
    let there = script.exists();
    let run = move || -> io::Result<Sample> {
        let mut command = Command::new(modules.join(".bin/node"));
        command.arg(&script).args(["--helper-image", IMAGE, "--pull-policy", "if-not-present"]);
        command.args(["--concurrency", &jobs.to_string()]).current_dir(repository);
        process(&mut command)
    };
    there.then(|| Contestant::new("gitlab-ci-local", turns, run))
}
