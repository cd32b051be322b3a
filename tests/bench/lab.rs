//! A place to measure in: directories with pipelines, and a state directory of our own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::runtime::Runtime;

use crate::floor::Engine;
use crate::measure::{Sample, ended, process};

/// What all stages run on.
pub const IMAGE: &str = "busybox:1";

pub struct Lab {
    folder: tempfile::TempDir,
    pub runtime: Runtime,
    pub engine: Engine,
}

impl Lab {
    pub fn new() -> io::Result<Self> {
        // Little of its own: what it starts is measured by the memory it had at most, and
        // before it becomes another program that is ours.
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build()?;
        let engine = runtime.block_on(Engine::connect())?;
        let folder = tempfile::Builder::new().prefix("shipline-bench-").tempdir()?;
        Ok(Self { folder, runtime, engine })
    }

    /// Makes a repository with these files and a commit.
    pub fn repository(&self, name: &str, files: &[(&str, &str)]) -> io::Result<PathBuf> {
        let folder = self.folder.path().join(name);
        for (path, text) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap_or(&folder))?;
            fs::write(path, text)?;
        }
        for arguments in [
            &["init", "--quiet", "--initial-branch=main"][..],
            &["add", "--all"],
            &[
                "-c",
                "user.name=bench",
                "-c",
                "user.email=bench@example.net",
                "commit",
                "--quiet",
                "-m",
                "1",
            ],
        ] {
            process(Command::new("git").args(arguments).current_dir(&folder))?;
        }
        Ok(folder)
    }

    /// A path of the lab.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A `shipline` command in `folder`.
    pub fn shipline(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shipline"));
        command
            .current_dir(folder)
            .args(arguments)
            .env("SHIPLINE_HOME", self.path("home"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("DOCKER_CONFIG", self.path("docker"))
            .env_remove("SHIPLINE_SERVER");
        command
    }

    /// Runs the pipeline of `folder`, which must pass.
    pub fn run(&self, folder: &Path, arguments: &[&str]) -> io::Result<Sample> {
        process(&mut self.shipline(folder, &[&["run"][..], arguments].concat()))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let path = self.folder.path().to_owned();
        let cleaned = ended(&mut self.shipline(&path, &["clean", "--all", "--caches"]), |_| true);
        if let Err(error) = cleaned {
            eprintln!("bench: what was kept on the engine is still there: {error}");
        }
    }
}
