//! What the tests stand on: a backend, an instance, a run, and their removal.

use std::path::{Path, PathBuf};
use std::process::Command;

use event::{OutputStream, RunId};
use futures_util::StreamExt;
use tokio::sync::{Mutex, MutexGuard, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::backend::contract;
use crate::backend::docker::{DockerBackend, LayerMode, clean, init, labels};
use crate::backend::{
    AttemptSpec, Backend, BackendError, Chunk, Coming, Exit, Handle, LayerId, RunContext,
};
use crate::{Registry, Workspace};

pub(super) const IMAGE: &str = "busybox:1";

/// The engine starts few containers at a time; beside each other the tests only wait longer.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

pub(super) struct Bench {
    pub(super) backend: DockerBackend,
    pub(super) run: RunContext,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    /// Without a workspace: `prepare` is done, and nothing else.
    pub(super) async fn empty() -> Self {
        let turn = ONE_AT_A_TIME.lock().await;
        let backend = DockerBackend::connect(None).await.expect("these tests need a Docker engine");
        let instance = format!("test-{}", Uuid::now_v7().simple());
        let bench = Self { backend, run: contract::context(&instance), _turn: turn };
        bench.backend.prepare(&bench.run).await.unwrap();
        bench
    }

    /// On an engine that copies workspaces, with a checkout of `files`.
    pub(super) async fn copying(files: &[(&str, &str)]) -> Self {
        let mut bench = Self::empty().await;
        bench.backend.engine.layering.set(LayerMode::Copy);
        bench.begin_with(files).await;
        bench
    }

    /// With a checkout of `files`, and told what is to come.
    pub(super) async fn expecting(coming: Coming, files: &[(&str, &str)]) -> Self {
        let mut bench = Self::empty().await;
        bench.run.coming = coming;
        bench.begin_with(files).await;
        bench
    }

    /// With a checkout of `files`, paths and contents.
    pub(super) async fn with(files: &[(&str, &str)]) -> Self {
        let bench = Self::empty().await;
        bench.begin_with(files).await;
        bench
    }

    /// Prepares the run and checks `files` out.
    pub(super) async fn begin_with(&self, files: &[(&str, &str)]) {
        self.backend.prepare(&self.run).await.unwrap();
        let directory = tree(files);
        self.check_out(self.layer(0), &Workspace::Tree(directory.path().to_owned())).await.unwrap();
    }

    pub(super) const fn layer(&self, index: u32) -> LayerId {
        contract::layer(&self.run, index)
    }

    /// Returns what the checkout said.
    pub(super) async fn check_out(
        &self,
        layer: LayerId,
        workspace: &Workspace,
    ) -> Result<String, BackendError> {
        let cancel = CancellationToken::new();
        let told = heard(async |output| {
            let checkout =
                self.backend.checkout(&self.run, layer, workspace, Some(1), &output, &cancel);
            checkout.await
        });
        let (done, said) = told.await;
        done?;
        self.backend.seal(&self.run, layer).await.unwrap();
        Ok(said)
    }

    pub(super) fn attempt(&self, index: u32, commands: &[&str]) -> AttemptSpec {
        contract::attempt(&self.run, index, IMAGE, commands)
    }

    /// Runs commands over the layers `lower` and seals what they wrote.
    pub(super) async fn stage(&self, index: u32, lower: &[u32], commands: &[&str]) -> Ran {
        let mut attempt = self.attempt(index, commands);
        attempt.lower = lower.iter().map(|&index| self.layer(index)).collect();
        let ran = self.run_attempt(&attempt).await.unwrap();
        self.backend.seal(&self.run, attempt.layer).await.unwrap();
        ran
    }

    pub(super) async fn run_attempt(&self, attempt: &AttemptSpec) -> Result<Ran, BackendError> {
        let handle = self.backend.start(&self.run, attempt, &CancellationToken::new()).await?;
        self.collect(handle.as_ref()).await
    }

    /// What an attempt says, and how it ends.
    pub(super) async fn collect(&self, handle: &dyn Handle) -> Result<Ran, BackendError> {
        let collect = async {
            let mut chunks = Vec::new();
            let mut output = handle.output();
            while let Some(chunk) = output.next().await {
                chunks.push(chunk.unwrap());
            }
            chunks
        };
        let (chunks, exit) = tokio::join!(collect, handle.wait());
        Ok(Ran { chunks, exit: exit?, image_digest: handle.image_digest() })
    }

    /// What the engine has of this instance, as `kind name` lines, sorted.
    pub(super) async fn objects(&self) -> Vec<String> {
        let of = [(labels::INSTANCE, self.run.instance.as_str())];
        let objects = clean::list(&self.backend.engine, &of).await.unwrap();
        let delivered = |object: &clean::Object| init::is_delivered(&object.id);
        let mut told: Vec<String> = objects
            .iter()
            .filter(|object| !delivered(object))
            .map(|object| format!("{:?} {}", object.what, object.id))
            .collect();
        told.sort();
        told
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let instance = self.run.instance.clone();
        // A test that panics has no runtime to wait on; a thread of its own has.
        let cleaning = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let backend = DockerBackend::connect(None).await.unwrap();
                let of = [(labels::INSTANCE, instance.as_str())];
                // What is delivered belongs to the engine and is used by others.
                let goes = |object: &clean::Object| !init::is_delivered(&object.id);
                clean::remove_all(&backend.engine, &of, goes).await.unwrap();
            });
            let filter = format!("label=shipline.instance={instance}");
            remove_images(&filter);
        });
        let cleaned = cleaning.join();
        assert!(cleaned.is_ok() || std::thread::panicking(), "the test left something behind");
    }
}

fn remove_images(filter: &str) {
    let list = ["images", "-q", "--no-trunc", "--filter", filter];
    let listed = Command::new("docker").args(list).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for id in listed.split_whitespace() {
        if id != delivered_image() {
            drop(Command::new("docker").args(["rmi", "--force", id]).output());
        }
    }
}

fn delivered_image() -> String {
    let name = crate::backend::docker::init::image();
    let found = Command::new("docker").args(["inspect", "--format", "{{.Id}}", &name]).output();
    String::from_utf8(found.unwrap().stdout).unwrap().trim().to_owned()
}

/// What an attempt left.
pub(super) struct Ran {
    pub(super) chunks: Vec<Chunk>,
    pub(super) exit: Exit,
    pub(super) image_digest: Option<String>,
}

impl Ran {
    pub(super) fn bytes(&self, stream: OutputStream) -> Vec<u8> {
        let chunks = self.chunks.iter().filter(|chunk| chunk.stream == stream);
        chunks.flat_map(|chunk| chunk.bytes.to_vec()).collect()
    }

    pub(super) fn stdout(&self) -> String {
        String::from_utf8(self.bytes(OutputStream::Stdout)).unwrap()
    }

    /// Everything in order, whoever said it.
    pub(super) fn all(&self) -> String {
        let bytes: Vec<u8> = self.chunks.iter().flat_map(|chunk| chunk.bytes.to_vec()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Runs `work` and returns its result and what it said through the channel.
pub(super) async fn heard<T>(work: impl AsyncFnOnce(mpsc::Sender<Chunk>) -> T) -> (T, String) {
    let (output, mut said) = mpsc::channel::<Chunk>(64);
    let hear = async {
        let mut text = String::new();
        while let Some(chunk) = said.recv().await {
            text.push_str(&String::from_utf8_lossy(&chunk.bytes));
        }
        text
    };
    tokio::join!(work(output), hear)
}

pub(super) fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (path, contents) in files {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
    }
    directory
}

/// A registry of the test harness, with TLS and a login.
pub(super) struct RegistryServer {
    directory: tempfile::TempDir,
    pub(super) registry: Registry,
}

impl RegistryServer {
    pub(super) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Without TLS, which BuildKit does not speak to this machine.
    pub(super) fn start_plain() -> Self {
        Self::start_with(&[("SHIPLINE_REGISTRY_TLS", "off")])
    }

    fn start_with(variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port().to_string();
        let arguments = ["start".as_ref(), directory.path(), port.as_ref()];
        script("registry.sh", &arguments, variables);
        let registry = Registry {
            host: format!("127.0.0.1:{port}"),
            username: "ci".to_owned(),
            password: "robot-secret$1".to_owned(),
            ca_file: Some(directory.path().join("ca.pem")),
        };
        Self { directory, registry }
    }

    pub(super) fn stop(&self) {
        script("registry.sh", &["stop".as_ref(), self.directory.path()], &[]);
    }
}

impl Drop for RegistryServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What clients see of Harbor, before a registry that trusts its tokens.
pub(super) struct HarborServer {
    directory: tempfile::TempDir,
    pub(super) registry: Registry,
}

/// A robot account of the project `team`, with the `$` that Harbor puts into its name.
pub(super) const ROBOT: &str = "robot$team+ci";
pub(super) const ROBOT_SECRET: &str = "robot-secret$1";

impl HarborServer {
    /// Starts one with the project `team`; `world` is merged over what `harbor.py` is told.
    pub(super) fn start(world: &serde_json::Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let registry = Registry {
            host: format!("127.0.0.1:{port}"),
            username: ROBOT.to_owned(),
            password: ROBOT_SECRET.to_owned(),
            ca_file: Some(directory.path().join("ca.pem")),
        };
        let server = Self { directory, registry };
        server.change(world);
        script(
            "harbor.sh",
            &["start".as_ref(), server.directory.path(), port.to_string().as_ref()],
            &[],
        );
        server
    }

    /// Changes what there is, from the next request on.
    pub(super) fn change(&self, with: &serde_json::Value) {
        let mut world = serde_json::json!({
            "users": {(ROBOT): ROBOT_SECRET},
            "projects": {"team": {"id": 2}},
        });
        for (key, value) in with.as_object().unwrap() {
            world[key] = value.clone();
        }
        // Never half of it: a request may read it now.
        let new = self.directory.path().join("world.new");
        std::fs::write(&new, world.to_string()).unwrap();
        std::fs::rename(new, self.directory.path().join("world.json")).unwrap();
    }

    /// `METHOD PATH STATUS` of every request so far.
    pub(super) fn requests(&self) -> Vec<String> {
        let log = self.directory.path().join("requests.log");
        std::fs::read_to_string(log).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

impl Drop for HarborServer {
    fn drop(&mut self) {
        script("harbor.sh", &["stop".as_ref(), self.directory.path()], &[]);
    }
}

/// Free now, and with luck still when somebody takes it.
pub(super) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn script(name: &str, arguments: &[&Path], variables: &[(&str, &str)]) {
    let services = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/services");
    let script = services.join(name);
    let output = Command::new("bash")
        .arg(script)
        .args(arguments)
        .env("SHIPLINE_REGISTRY_USER", "ci")
        .env("SHIPLINE_REGISTRY_PASSWORD", "robot-secret$1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A run that ended long ago, as far as anybody knows.
pub(super) fn other_run() -> RunId {
    RunId::new(Uuid::now_v7())
}
