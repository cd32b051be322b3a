//! Runs on this machine: making them, repeating them, looking at what they left.

use std::path::PathBuf;

use clap::Args;
use runner::SideEffects;

use super::{Format, PipelineArguments, SelectionArguments, SimulationArguments};

/// Runs the pipeline of this directory on the local Docker engine.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 passed, also with warnings or everything skipped; 1 a stage failed;\n2 the pipeline or an argument is wrong; 3 no Docker, no network, or another fault that is not\nthe pipeline's; 130 interrupted.\n\nExamples:\n  shipline run\n  shipline run test --matrix db=mysql:8\n  shipline run --from test --until package\n  shipline run --allow-side-effects\n  shipline run --reproduce https://ci.example.net/runs/3f9a0c1d\n  shipline run --format json > events.ndjson"
)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) selection: SelectionArguments,
    #[command(flatten)]
    pub(crate) pipeline: PipelineArguments,
    #[command(flatten)]
    pub(crate) simulation: SimulationArguments,
    /// Repeat a run of a server here: its plan, its commit and its images.
    #[arg(long, value_name = "URL", conflicts_with_all = ["stages", "from", "until", "only", "matrix", "event"])]
    pub(crate) reproduce: Option<String>,
    /// The server's token, for `--reproduce`.
    #[arg(long, env = "SHIPLINE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    #[command(flatten)]
    pub(crate) options: ExecutionArguments,
}

/// Runs the last run of this directory again, from where it did not pass.
///
/// The plan and the files are those of that run: what passed is taken as it is, and what
/// has changed in the directory since does not count.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: as `shipline run`; 0 when everything had passed.\n\nExamples:\n  shipline rerun\n  shipline rerun 3f9a0c1d"
)]
pub(crate) struct RerunArguments {
    /// Id of a run, whole or its last eight digits; default the last one here.
    pub(crate) run: Option<String>,
    #[command(flatten)]
    pub(crate) options: ExecutionArguments,
}

/// Shows the files that a stage added, modified or deleted, or in which two of its attempts
/// differ. Times and owners do not count.
#[derive(Debug, Args)]
#[command(
    override_usage = "shipline diff [OPTIONS] [RUN] STAGE [ATTEMPT ATTEMPT]",
    after_help = "Exit codes: 0 shown, also when nothing differs; 2 no such run, stage or attempt, or its files\nare gone: only those of the last run of a directory are kept; 3 no Docker.\n\nExamples:\n  shipline diff compile\n  shipline diff 3f9a0c1d compile\n  shipline diff flaky-test 1 2"
)]
pub(crate) struct DiffArguments {
    /// A stage of the last run here; before it another run, behind it two attempts.
    #[arg(value_name = "STAGE", required = true, num_args = 1..=4)]
    pub(crate) what: Vec<String>,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    #[arg(long, env = "DOCKER_HOST", hide = true)]
    pub(crate) docker_host: Option<String>,
}

/// Opens a shell where a stage of the last run was: its image, variables, user and limits,
/// and the files it left, also when it failed.
///
/// It has no secrets, services or caches, and what is changed in it is discarded. Without a
/// terminal the shell reads commands from stdin.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: that of the shell or command; 2 no such run or stage, or its files are gone;\n3 no Docker.\n\nExamples:\n  shipline shell test\n  shipline shell test -- ls -l target\n  shipline shell 'test[db=pg]' --run 3f9a0c1d < look.sh"
)]
pub(crate) struct ShellArguments {
    /// A stage of the last run here, a cell of a matrix with its brackets.
    pub(crate) stage: String,
    /// Id of another run, whole or its last eight digits.
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<String>,
    /// Instead of a shell.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
    #[arg(long, env = "DOCKER_HOST", hide = true)]
    pub(crate) docker_host: Option<String>,
}

/// How a run goes on this machine.
#[derive(Debug, Args)]
pub(crate) struct ExecutionArguments {
    /// Run `push` and `deploy` stages too; without it they are skipped and say what they would do.
    #[arg(long)]
    pub(crate) allow_side_effects: bool,
    /// When a stage fails, stop there: a shell on what it left, another attempt, or on.
    #[arg(long = "break")]
    pub(crate) breaks: bool,
    /// Approve this `approve` stage beforehand, with the defaults of its fields; may be
    /// given several times.
    #[arg(long, value_name = "STAGE")]
    pub(crate) approve: Vec<String>,
    /// Run stages with `inputs` also when nothing has changed for them.
    #[arg(long)]
    pub(crate) no_reuse: bool,
    /// On a terminal, every line of output stays too; elsewhere it does anyway.
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Stages at a time; default 2 × cores.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: Option<u16>,
    /// `json` prints events and output frames, one per line.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Write where the time goes, step by step, to a file that ui.perfetto.dev and
    /// chrome://tracing open.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    #[arg(long, env = "DOCKER_HOST", hide = true)]
    pub(crate) docker_host: Option<String>,
}

impl ExecutionArguments {
    pub(crate) const fn side_effects(&self) -> SideEffects {
        if self.allow_side_effects { SideEffects::Allowed } else { SideEffects::Withheld }
    }
}
