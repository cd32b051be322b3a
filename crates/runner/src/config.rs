//! What a run is given besides its plan.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use event::{Event, Frame, Outputs, Reused, RunId, RunState, StageResult};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{Approver, Breakpoint, Registries, Results};

/// Everything ambient arrives here as a value; the runner reads no environment,
/// no home directory and no terminal.
pub struct RunConfig {
    pub run: RunId,
    /// The fold of what is already in the journal; at least `run.queued`.
    pub state: RunState,
    /// The instance that makes objects on the engine, for their labels.
    pub instance: String,
    pub project: String,
    /// `SHIPLINE_RUN_URL`; empty on a laptop.
    pub run_url: String,
    pub workspace: Workspace,
    /// The commit of the event, for the variables of a stage.
    pub git: pipeline::Git,
    /// Where output goes: `DIR/STAGE.ATTEMPT.log`; an empty path keeps it nowhere.
    pub output: PathBuf,
    /// What a former run did already, by the names of stages: they do not run again.
    pub carried: BTreeMap<String, Carried>,
    /// Where archives of artifacts go: see [`artifact_path`](crate::artifact_path).
    pub artifacts: PathBuf,
    /// Where archives of releases go, `DIR/PROJECT/SHA256…`; they stay as long as a release
    /// of theirs can be gone back to.
    pub releases: PathBuf,
    pub registries: Registries,
    /// Those that stages may name.
    pub secrets: Secrets,
    /// By environment name; what deploy stages deploy to.
    pub targets: BTreeMap<String, Arc<dyn deploy::Target>>,
    pub ledger: Arc<dyn deploy::Ledger>,
    /// Who is asked by `approve` stages; without one they are not supported.
    pub approver: Option<Arc<dyn Approver>>,
    /// Who looks at what failed.
    pub breakpoint: Option<Arc<dyn Breakpoint>>,
    /// What stages with `inputs` came to before.
    pub results: Option<Arc<dyn Results>>,
    /// Whether a former result may stand for a stage; they are remembered in any case.
    pub reuse: bool,
    /// Stages at a time.
    pub concurrency: usize,
    /// Whether `push` and `deploy` stages run; if not they are skipped and say so.
    pub side_effects: SideEffects,
    /// Layers of this run stay as volumes labelled `shipline.keep=layer` (local runs).
    pub keep_layers: bool,
    /// Attempts outlive this process: another one that is given the same journal goes on with
    /// them (servers). Else they end with the next start.
    pub durable: bool,
    /// Bytes that all caches of the instance may take; what was used longest ago goes first.
    pub cache_limit: u64,
    /// Told of every event once it is durable, and of every frame once it is
    /// written. Bounded: a slow reader slows the run, not the machine.
    pub observer: Option<mpsc::Sender<Observation>>,
    /// The second Ctrl-C: stages are killed without grace. It also cancels.
    pub kill: CancellationToken,
    /// Who cancels and why; written before the token of `run` is cancelled.
    pub cancel_note: CancelNote,
}

/// The good end of a stage in a former run.
#[derive(Clone, Debug, PartialEq)]
pub struct Carried {
    pub result: StageResult,
    pub reused: Reused,
    pub outputs: Outputs,
}

/// Values of secrets by name; only a masker and the stages that name them see them.
#[derive(Clone, Default)]
pub struct Secrets(pub BTreeMap<String, String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What caches may take where nobody says it: 20 GiB.
pub const CACHE_LIMIT: u64 = 20 << 30;

/// What `cancel.requested` says. Without a note it is the run's own starter who interrupts.
#[derive(Clone, Debug, Default)]
pub struct CancelNote(Arc<OnceLock<(String, String)>>);

impl CancelNote {
    /// Notes reason and person; the first note counts.
    pub fn write(&self, reason: impl Into<String>, by: impl Into<String>) {
        // A second cancel changes nothing about who was first.
        let _ = self.0.set((reason.into(), by.into()));
    }

    /// Returns reason and person.
    pub fn read(&self) -> Option<(String, String)> {
        self.0.get().cloned()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SideEffects {
    Allowed,
    /// `push` and `deploy` are skipped with a sentence about `--allow-side-effects`.
    Withheld,
}

/// Where the files of the base layer come from.
#[derive(Clone, Debug)]
pub enum Workspace {
    /// A local directory as it is: tracked, and untracked but not ignored, with `.git`.
    Tree(PathBuf),
    /// A commit of a bare mirror on this machine.
    Commit { mirror: PathBuf, sha: String },
}

#[derive(Clone, Debug)]
pub enum Observation {
    Event(Box<Event>),
    Frame(Frame),
    /// Why the run does not begin yet.
    Waiting(String),
}
