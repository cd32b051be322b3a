//! A scratch place with its own state directory: nothing of it is left behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

pub struct Lab {
    folder: PathBuf,
    /// `None` when the lab stays (the demo's).
    scratch: Option<tempfile::TempDir>,
    /// Where its runs find their engine, if not at that of this machine.
    engine: Option<String>,
}

impl Lab {
    pub fn new() -> Self {
        // In /tmp, and short: a Unix socket's path has at most 107 bytes.
        let scratch = tempfile::Builder::new()
            .prefix("shipline-lab-")
            .tempdir()
            .expect("a scratch folder can be made");
        Self { folder: scratch.path().to_owned(), scratch: Some(scratch), engine: None }
    }

    /// Its runs are on the engine at `host`, as `DOCKER_HOST` has it.
    pub fn on(host: String) -> Self {
        let mut lab = Self::new();
        lab.engine = Some(host);
        lab
    }

    /// A lab that outlives the process.
    pub fn at(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("a folder can be made");
        Self { folder: folder.to_owned(), scratch: None, engine: None }
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Makes a folder of the lab.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(&path).expect("a folder can be made");
        path
    }

    /// Whose engine is told to copy workspaces.
    pub fn copying() -> Self {
        let lab = Self::new();
        let folder = lab.folder("config/shipline");
        std::fs::write(folder.join("config.toml"), "[runner]\nlayers = \"copy\"\n")
            .expect("written");
        lab
    }

    pub fn home(&self) -> PathBuf {
        self.folder("home")
    }

    /// A `shipline` command that sees this lab's state and nothing of the user's.
    pub fn shipline(&self) -> Command {
        let mut command = Command::new(binary());
        command
            .env("SHIPLINE_HOME", self.home())
            .env("XDG_CONFIG_HOME", self.folder("config"))
            .env("DOCKER_CONFIG", self.folder("docker"))
            .env_remove("SHIPLINE_SERVER")
            .env_remove("SHIPLINE_TOKEN")
            .env("NO_COLOR", "1");
        if let Some(host) = &self.engine {
            command.env("DOCKER_HOST", host);
        }
        command
    }

    /// Runs `shipline ARGUMENTS` in `folder`.
    pub fn run(&self, folder: &Path, arguments: &[&str]) -> Ran {
        let mut command = self.shipline();
        command.current_dir(folder).args(arguments);
        Ran::of(&mut command)
    }

    /// Locks the templates of the repository in `folder`, as its people would.
    pub fn lock(&self, folder: &Path) {
        self.run(folder, &["template", "update"]).expect(0);
    }

    /// The instance of its local runs.
    pub fn instance(&self) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let store = runtime
            .expect("a runtime can be made")
            .block_on(store::Store::open(&self.home().join("state.db")));
        store.expect("the store can be opened").instance().to_owned()
    }

    /// Objects of an instance, as they are labelled on the engine.
    pub fn objects(&self, instance: &str) -> Vec<String> {
        objects(instance)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // What local runs of this lab made; a server cleans up after itself.
        if self.scratch.is_some() && self.path().join("home/state.db").exists() {
            let ran = self.run(self.path(), &["clean", "--all", "--caches", "--deployed"]);
            if ran.code != 0 && !std::thread::panicking() {
                panic!("clean failed: {}", ran.stderr);
            }
        }
    }
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(command: &mut Command) -> Self {
        let output =
            command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self::from(output)
    }

    /// Panics with everything the command said unless it exited with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in:\n{}", self.stdout))
    }

    /// One value a line.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in: {line}"))
            })
            .collect()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Containers, networks and volumes of an instance, but for volumes that say they stay.
pub fn objects(instance: &str) -> Vec<String> {
    let label = format!("label=shipline.instance={instance}");
    let mut found = Vec::new();
    for arguments in [
        vec!["ps", "--all", "--filter", &label, "--format", "container {{.Names}}"],
        vec!["network", "ls", "--filter", &label, "--format", "network {{.Name}}"],
    ] {
        found.extend(docker(&arguments).lines().map(str::to_owned));
    }
    let volumes =
        docker(&["volume", "ls", "--filter", &label, "--format", "{{.Name}} {{.Labels}}"]);
    found.extend(
        volumes
            .lines()
            .filter(|line| !line.contains("shipline.keep="))
            .map(|line| format!("volume {line}")),
    );
    found
}

pub fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().expect("docker can be started");
    assert!(
        output.status.success(),
        "docker {arguments:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The binary built beside this test or example.
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("a process knows its own file");
    let folder = own.parent().and_then(Path::parent).expect("a test lies in target/PROFILE/deps");
    folder.join("shipline")
}

pub fn repository_root() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.join("../..").canonicalize().expect("the crate lies two folders below the root")
}

pub fn services() -> PathBuf {
    repository_root().join("tests/services")
}
