//! Where stages run: the [`Backend`] trait and its implementations.

mod coming;
pub mod docker;
mod entry;
pub mod fake;
mod service;
mod usage;

#[cfg(test)]
pub(crate) mod contract;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use event::{OutputStream, Reused, RunId};
use futures_util::stream::BoxStream;
use pipeline::{BuildWork, Merge, Resources, Scan, Shell};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use coming::Coming;
pub use service::{
    LAST_LINES, ServiceEnd, ServiceError, ServiceFailure, ServiceReady, ServiceSpec, Services,
};

pub use usage::{Usage, Use};

use crate::{Registry, Workspace};

/// Runs a stage somewhere, builds and pushes images.
///
/// Contract, the same for every implementation and tested on each:
/// - `prepare` comes first and is idempotent. `checkout` comes before any
///   attempt whose layers name its layer.
/// - `start` creates and starts one attempt. Its name is deterministic; where an
///   object of that name is already there it is ours from a former life and is
///   replaced. Output and exit are subscribed before the start, so nothing is lost.
/// - For one handle: `output` at most once, `wait` once, `stop` any number of
///   times and beside both. After `wait` has returned the attempt is not running.
/// - `serve` comes before the `start` of an attempt that has services, and never else; what
///   it returns lives until the attempt has stopped.
/// - Of a durable run, attempts and their services outlive the process that began them.
///   `adopt` comes in place of `start` where another process may have begun the attempt; what
///   it joins is as if it had been started now, with all its output from the first byte on.
///   Where it says that nothing is there, or never began, `start` may follow. It may be repeated,
///   also after a process that adopted it died. `release` comes once the end of an attempt is
///   written down: until then everything of it stays.
/// - `seal` freezes the attempt's layer; only sealed layers may be named as lower ones.
/// - Different attempts may be handled at once; one attempt is handled by one task.
/// - `Err` of any call tells whose fault it is ([`BackendError`]); a command that
///   exits with 1 is an [`Exit`], not an error.
/// - `read` looks at an attempt's workspace: before `start` it is what the attempt begins
///   with, after `wait` what it left.
/// - `keep` comes after `wait`, and makes the contents of a cache what later attempts are
///   given. Whoever works on an older entry meanwhile does not notice.
/// - `clean` removes everything of the run but what `keep_layers` keeps and caches. It works
///   after any failure at any point and may be repeated; so does `sweep`.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Makes ready what all stages of the run need.
    async fn prepare(&self, run: &RunContext) -> Result<(), BackendError>;

    /// Tells one content of a workspace from another: two checkouts with the same digest
    /// bring the same. `None` where nobody knows it before the checkout.
    async fn base(&self, workspace: &Workspace) -> Result<Option<String>, BackendError>;

    /// Fills the base layer from the workspace, as the attempt `attempt` of the
    /// stage `checkout`; tells what it does through `output`.
    async fn checkout(
        &self,
        run: &RunContext,
        layer: LayerId,
        workspace: &Workspace,
        depth: Option<u32>,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<(), BackendError>;

    /// Starts the services of an attempt, where it will reach them by their names.
    async fn serve(
        &self,
        run: &RunContext,
        attempt: &AttemptSpec,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn Services>, BackendError>;

    async fn start(
        &self,
        run: &RunContext,
        attempt: &AttemptSpec,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn Handle>, BackendError>;

    /// Takes up an attempt of a durable run that another process began.
    async fn adopt(&self, run: &RunContext, attempt: &AttemptSpec)
    -> Result<Adopted, BackendError>;

    /// Removes, some time, what an attempt of a durable run ran in; its layer stays.
    async fn release(&self, run: &RunContext, attempt: &Released);

    /// Lists the files of a workspace to `choose`, and sends those it returns to `to`, in
    /// the order of the list.
    async fn read(
        &self,
        run: &RunContext,
        view: &View,
        choose: Choose,
        to: mpsc::Sender<Piece>,
    ) -> Result<(), BackendError>;

    /// Keeps what is in the `cache`th cache of an attempt, which began as `restored`.
    async fn keep(
        &self,
        run: &RunContext,
        attempt: &AttemptSpec,
        cache: usize,
        restored: Option<&Restored>,
    ) -> Result<Kept, BackendError>;

    async fn seal(&self, run: &RunContext, layer: LayerId) -> Result<(), BackendError>;

    async fn build(
        &self,
        run: &RunContext,
        attempt: &BuildSpec,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<Built, BackendError>;

    async fn push(
        &self,
        run: &RunContext,
        attempt: &PushSpec,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<Pushed, BackendError>;

    /// Has an image ready, and returns its repository digest, else `id:sha256:…`.
    async fn image(
        &self,
        reference: &str,
        registry: Option<&Registry>,
        pull: bool,
        cancel: &CancellationToken,
    ) -> Result<String, BackendError>;

    /// Notes that a sealed layer of another run lies over `lower` in this one, as if its
    /// stage had run.
    async fn place(&self, run: &RunContext, stage: &str, layer: LayerId, lower: &[LayerId]);

    /// Whether what a former pass left is still there.
    async fn still_has(&self, left: &Left) -> Result<bool, BackendError>;

    /// Removes the layers that the runs of which `of` says so keep, but those of `except`,
    /// and returns how many.
    async fn remove_layers(
        &self,
        instance: &str,
        of: &(dyn Fn(RunId) -> bool + Sync),
        except: &[LayerId],
    ) -> Result<usize, BackendError>;

    /// Runs the commands of a check to their end, in a container of no run, where they reach
    /// what the check says and nothing else. When it returns nothing of it is left; cancelled
    /// it ends the commands and says [`BackendError::Cancelled`].
    async fn check(
        &self,
        check: &CheckSpec,
        output: &mpsc::Sender<Chunk>,
        cancel: &CancellationToken,
    ) -> Result<Exit, BackendError>;

    /// Removes what checks of processes left that are dead, and returns how many objects
    /// that were.
    async fn sweep_checks(&self, instance: &str) -> Result<usize, BackendError>;

    async fn clean(&self, run: &RunContext) -> Result<(), BackendError>;

    /// Removes what runs of this instance left behind that are not in `alive`,
    /// and returns how many objects that were. Units and kept volumes stay.
    async fn sweep(&self, instance: &str, alive: &[RunId]) -> Result<usize, BackendError>;
}

/// One started attempt.
#[async_trait]
pub trait Handle: Send + Sync {
    /// The repository digest of the image used, else `id:sha256:…`.
    fn image_digest(&self) -> Option<String>;

    /// What each of its caches began as; `None` is empty.
    fn restored(&self) -> &[Option<Restored>];

    /// The bytes the attempt writes, as they come; ends when the attempt has ended.
    fn output(&self) -> BoxStream<'static, Result<Chunk, BackendError>>;

    /// Returns when the attempt has stopped and its output is complete.
    async fn wait(&self) -> Result<Exit, BackendError>;

    /// TERM to the whole process tree, KILL after `grace`.
    async fn stop(&self, grace: Duration) -> Result<(), BackendError>;
}

/// What is the same for all attempts of a run.
#[derive(Clone, Debug)]
pub struct RunContext {
    pub run: RunId,
    pub instance: String,
    pub project: String,
    pub keep_layers: bool,
    /// Its attempts outlive this process, and can be taken up by another one.
    pub durable: bool,
    /// An untrusted run reads the caches of its project, and writes others.
    pub trusted: bool,
    /// Bytes that all caches of the instance may take.
    pub cache_limit: u64,
    pub coming: Coming,
}

impl RunContext {
    /// Of something that looks at what runs left, and is in no journal.
    pub(crate) fn aside(instance: &str) -> Self {
        Self {
            run: RunId::new(uuid::Uuid::now_v7()),
            instance: instance.to_owned(),
            project: String::new(),
            keep_layers: false,
            durable: false,
            trusted: true,
            cache_limit: 0,
            coming: Coming::default(),
        }
    }
}

/// A layer: that of the `index`th stage of a run's plan, in one attempt. A run may stand on
/// layers of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId {
    pub run: RunId,
    pub index: u32,
    pub attempt: u32,
}

impl From<LayerId> for Reused {
    fn from(LayerId { run, index, attempt }: LayerId) -> Self {
        Self { run, index, attempt }
    }
}

impl From<Reused> for LayerId {
    fn from(Reused { run, index, attempt }: Reused) -> Self {
        Self { run, index, attempt }
    }
}

#[derive(Clone, Debug)]
pub struct AttemptSpec {
    pub stage: String,
    pub attempt: u32,
    /// Of the container: `shipline-<run8>-<stage slug>-<attempt>`.
    pub name: String,
    pub image: String,
    /// Credential for pulling it, when one matches its host.
    pub registry: Option<Registry>,
    /// Also when the engine has an image of that name.
    pub pull: bool,
    /// Run line by line in one shell, each echoed first.
    pub commands: Vec<String>,
    pub shell: Shell,
    /// `USER[:GROUP]`, names or numbers; `None` is root.
    pub user: Option<String>,
    /// An absolute path in the container.
    pub workdir: String,
    /// What is absent is the backend's own limit.
    pub resources: Resources,
    /// Complete: the stage's own and those of the language's §9.
    pub env: BTreeMap<String, String>,
    pub layer: LayerId,
    /// Sealed layers below, newest first; checkout is the last.
    pub lower: Vec<LayerId>,
    /// Where parallel layers below may disagree.
    pub merge: Option<Merge>,
    pub caches: Vec<CacheSpec>,
    pub secrets: Vec<SecretSpec>,
    pub services: Vec<ServiceSpec>,
}

/// Commands that test what is deployed.
#[derive(Clone, Debug)]
pub struct CheckSpec {
    pub instance: String,
    /// Of the container.
    pub name: String,
    pub image: String,
    /// Credential for pulling it, when one matches its host.
    pub registry: Option<Registry>,
    pub commands: Vec<String>,
    /// Complete but for the variables of `reaches`.
    pub env: BTreeMap<String, String>,
    pub reaches: Vec<deploy::Reach>,
}

/// A secret as an attempt gets it; its value is in no argument, configuration or layer.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretSpec {
    pub name: String,
    pub value: String,
    /// The variable that holds it; `None` is the file `/run/secrets/NAME`.
    pub env: Option<String>,
}

impl SecretSpec {
    /// The id by which a build asks for it: the name of its variable, else its own.
    pub fn id(&self) -> String {
        self.env.as_ref().unwrap_or(&self.name).clone()
    }
}

impl std::fmt::Debug for SecretSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretSpec").field("name", &self.name).finish_non_exhaustive()
    }
}

impl AttemptSpec {
    pub fn view(&self) -> View {
        View {
            stage: self.stage.clone(),
            attempt: self.attempt,
            name: self.name.clone(),
            layer: self.layer,
            lower: self.lower.clone(),
            merge: self.merge.clone(),
        }
    }
}

/// What became of an attempt that another process began.
pub enum Adopted {
    /// It runs, or ended while nobody was told.
    Joined(Joined),
    /// Nothing of it ever ran, and it is not there any more.
    NeverBegan,
    Absent,
    /// It was there, and is not any more; how it ended cannot be found out, and why.
    Lost(String),
}

/// An attempt as it goes on.
pub struct Joined {
    pub handle: Box<dyn Handle>,
    /// Those that run beside it, ready or not there any more.
    pub services: Option<Box<dyn Services>>,
    pub started: DateTime<Utc>,
    /// When it ended, if it had by now.
    pub ended: Option<DateTime<Utc>>,
}

/// An attempt whose end is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// Of the container.
    pub name: String,
    pub layer: LayerId,
    /// Names of its services.
    pub services: Vec<String>,
}

/// Directories that are kept under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSpec {
    pub key: String,
    /// Without an entry of that key, the newest whose key begins with the first of these
    /// that any does.
    pub restore: Vec<String>,
    /// Absolute, or in the home directory of the stage's user: `~/…`.
    pub paths: Vec<String>,
}

/// The entry that a cache began as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    pub key: String,
    /// Whether this run may write it; else it is the project's, and the run untrusted.
    pub own: bool,
}

/// What a pass left, that a later run may stand on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// Sealed.
    Layer(LayerId),
    /// `sha256:…` of its configuration.
    Image(String),
}

/// What became of a cache that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Saved {
        bytes: u64,
    },
    /// It is what it began as.
    Unchanged,
    /// Larger than all caches together may be.
    TooLarge {
        bytes: u64,
    },
}

/// The workspace of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub stage: String,
    pub attempt: u32,
    /// Of the attempt's container.
    pub name: String,
    pub layer: LayerId,
    pub lower: Vec<LayerId>,
    pub merge: Option<Merge>,
}

/// A file or symbolic link of a workspace; `.git` is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Below the workspace.
    pub path: String,
    /// Its contents are the target.
    pub link: bool,
    pub size: u64,
    pub mode: u32,
}

/// Chooses positions of a list that is sorted by path.
pub type Choose = Box<dyn FnOnce(&[FileEntry]) -> Vec<usize> + Send>;

/// Files as they come: each begins, then come its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    File(FileEntry),
    Bytes(Bytes),
}

#[derive(Clone, Debug)]
pub struct BuildSpec {
    pub stage: String,
    pub attempt: u32,
    pub name: String,
    pub work: BuildWork,
    pub layer: LayerId,
    pub lower: Vec<LayerId>,
    pub merge: Option<Merge>,
    pub registries: Vec<Registry>,
    /// Mounts for the steps that ask for them.
    pub secrets: Vec<SecretSpec>,
}

impl BuildSpec {
    pub fn view(&self) -> View {
        View {
            stage: self.stage.clone(),
            attempt: self.attempt,
            name: self.name.clone(),
            layer: self.layer,
            lower: self.lower.clone(),
            merge: self.merge.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct PushSpec {
    pub stage: String,
    pub attempt: u32,
    /// `sha256:…` of an image's configuration, or a reference known to the engine.
    pub image: String,
    pub tags: Vec<String>,
    /// Name of the credential, for messages; `None` where the user's own Docker configuration is used.
    pub credential: Option<String>,
    pub registry: Registry,
    /// The verdict of the registry's scanner that it waits for.
    pub scan: Option<Scan>,
}

/// Bytes of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub stream: OutputStream,
    pub bytes: Bytes,
}

impl Chunk {
    /// A line the engine says itself.
    pub fn engine(line: impl AsRef<str>) -> Self {
        let mut bytes = line.as_ref().as_bytes().to_vec();
        bytes.push(b'\n');
        Self { stream: OutputStream::Engine, bytes: bytes.into() }
    }
}

/// How an attempt ended, judged after it has stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    pub code: i64,
    pub oom_killed: bool,
    /// The engine was restarted, or the container vanished, while it ran.
    pub lost: Option<String>,
    /// Why no command could begin.
    pub refused: Option<String>,
    /// What the stage wrote to `$SHIPLINE_OUTPUT`.
    pub outputs: Vec<u8>,
    pub usage: Usage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// `sha256:…` of the image's configuration.
    pub id: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// `sha256:…` of the manifest, as the registry reports it.
    pub digest: String,
    /// `repo@sha256:…`.
    pub reference: String,
}

/// Why a call did not do what it should, told by whose fault it is.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The user's: image not found, access denied, Dockerfile failed. `code` as in language.md §10.2.
    #[error("{message}")]
    User { code: Option<&'static str>, message: String },
    /// Docker's, the registry's, the network's, the disk's or ours; `part` says which.
    #[error("{part}: {message}")]
    Infrastructure { part: &'static str, message: String },
    #[error("cancelled")]
    Cancelled,
}
