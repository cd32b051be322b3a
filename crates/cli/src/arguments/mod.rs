//! What the user typed: parsed, not yet judged.

mod deployment;
#[cfg(test)]
mod help_tests;
mod init;
mod replay;
mod run;
mod selection;
mod target;
mod template;
mod test_history;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use pipeline::TriggerEvent;

pub(crate) use deployment::{
    CancelArguments, ChangeArguments, DecideArguments, DeployArguments, ExecArguments,
    HistoryArguments, LockArguments, OnlyArguments, ReleasesArguments, RestartArguments,
    RollbackArguments, ScaleArguments, StartArguments, StatusArguments, StopArguments,
    UnlockArguments, WatchArguments,
};
pub(crate) use init::InitArguments;
pub(crate) use replay::ReplayArguments;
pub(crate) use run::{
    DiffArguments, ExecutionArguments, RerunArguments, RunArguments, ShellArguments,
};
pub(crate) use selection::SelectionArguments;
pub(crate) use target::{BootstrapArguments, TargetCommand};
pub(crate) use template::{
    TemplateCommand, TemplateFormat, TemplateLintArguments, TemplateListArguments,
    TemplateNewArguments, TemplateShowArguments, TemplateTestArguments, TemplateUpdateArguments,
};
pub(crate) use test_history::TestsArguments;

pub(crate) fn parse() -> Arguments {
    Arguments::parse()
}

/// Builds, tests, ships and rolls back: one pipeline file, from a laptop to production.
#[derive(Debug, Parser)]
#[command(name = "shipline", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Work as if started in this directory.
    #[arg(short = 'C', long, global = true, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,

    /// Lines without colours, also on a terminal, as in a pipe; `NO_COLOR=1` takes the colours only.
    #[arg(long, global = true)]
    pub(crate) plain: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(InitArguments),
    Check(CheckArguments),
    Plan(PlanArguments),
    Run(RunArguments),
    Rerun(RerunArguments),
    Replay(ReplayArguments),
    Diff(DiffArguments),
    Shell(ShellArguments),
    Why(WhyArguments),
    Serve(ServeArguments),
    Trigger(TriggerArguments),
    Runs(RunsArguments),
    Logs(LogsArguments),
    Tests(TestsArguments),
    Deploy(DeployArguments),
    Rollback(RollbackArguments),
    Releases(ReleasesArguments),
    Status(StatusArguments),
    Watch(WatchArguments),
    Scale(ScaleArguments),
    Restart(RestartArguments),
    Stop(StopArguments),
    Start(StartArguments),
    Cancel(CancelArguments),
    Decide(DecideArguments),
    History(HistoryArguments),
    Lock(LockArguments),
    Unlock(UnlockArguments),
    Exec(ExecArguments),
    Clean(CleanArguments),
    Proxy(ProxyArguments),
    #[command(subcommand)]
    Template(TemplateCommand),
    #[command(subcommand)]
    Project(ProjectCommand),
    #[command(subcommand)]
    Target(TargetCommand),
    Explain(ExplainArguments),
    Schema(SchemaArguments),
    Completions(CompletionsArguments),
    Man(ManArguments),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
}

/// The forms a plan is told in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    #[default]
    /// A tree for people.
    Text,
    /// The whole plan, byte for byte the same for the same input.
    Json,
    /// A graph for Graphviz.
    Dot,
    /// A flowchart for Markdown pages.
    Mermaid,
    /// A picture.
    Svg,
}

/// The forms of what a check finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormat {
    #[default]
    /// For people, on stderr.
    Text,
    /// An array of all findings.
    Json,
    /// SARIF 2.1.0, for forges and editors.
    Sarif,
}

#[derive(Debug, Default, Args)]
pub(crate) struct PipelineArguments {
    /// The pipeline in `.shipline/NAME.yml`, where there are several.
    #[arg(long, value_name = "NAME")]
    pub(crate) pipeline: Option<String>,
    /// Ask no network for templates: those that were fetched before are used.
    #[arg(long)]
    pub(crate) offline: bool,
}

/// What to pretend, where only exceptions are typed.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "As if")]
pub(crate) struct SimulationArguments {
    /// As for this event; default `manual`, or the one the other options belong to.
    #[arg(long, value_name = "EVENT", value_parser = events())]
    pub(crate) event: Option<TriggerEvent>,
    /// As if on this branch instead of that of the repository.
    #[arg(long, value_name = "NAME")]
    pub(crate) branch: Option<String>,
    /// As for this tag; the event is `tag`.
    #[arg(long, value_name = "NAME")]
    pub(crate) tag: Option<String>,
    /// A parameter of a manual run, a schedule or a trigger; may be given several times.
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub(crate) params: Vec<String>,
    /// As if exactly this file had changed; may be given several times.
    #[arg(long, value_name = "PATH")]
    pub(crate) changed: Vec<String>,
    /// Branch the pull request is to be merged into; default the default branch.
    #[arg(long, value_name = "NAME")]
    pub(crate) target_branch: Option<String>,
    /// Title of the pull request.
    #[arg(long, value_name = "TEXT")]
    pub(crate) title: Option<String>,
    /// Number of the pull request.
    #[arg(long, value_name = "N")]
    pub(crate) number: Option<u64>,
    /// As for somebody who may not push.
    #[arg(long)]
    pub(crate) untrusted: bool,
}

impl SimulationArguments {
    /// Whether an event was chosen, by name or by what belongs to it.
    pub(crate) const fn is_typed(&self) -> bool {
        self.event.is_some() || self.tag.is_some() || self.number.is_some()
    }
}

/// The names of all events, as `when.event` has them.
fn events() -> impl TypedValueParser<Value = TriggerEvent> {
    PossibleValuesParser::new(EVENTS.map(TriggerEvent::name)).map(|name| {
        let event = EVENTS.into_iter().find(|event| event.name() == name);
        event.expect("only these names are accepted")
    })
}

const EVENTS: [TriggerEvent; 8] = [
    TriggerEvent::Push,
    TriggerEvent::Tag,
    TriggerEvent::PullRequest,
    TriggerEvent::Schedule,
    TriggerEvent::Manual,
    TriggerEvent::Gerrit,
    TriggerEvent::Svn,
    TriggerEvent::Trigger,
];

#[derive(Debug, Args)]
pub(crate) struct ServerArguments {
    /// Address of the server; without it the command works on this directory.
    #[arg(long, env = "SHIPLINE_SERVER", value_name = "URL")]
    pub(crate) server: Option<String>,

    /// The server's token: that of `DATA/admin.token`.
    #[arg(long, env = "SHIPLINE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
}

/// Finds every mistake of the pipeline file at once.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 a run could be planned; 2 there are errors, or warnings with --strict;\n3 the file cannot be read.\n\nExamples:\n  shipline check\n  shipline check --strict\n  shipline check ci/nightly.yml\n  shipline check --format sarif > shipline.sarif"
)]
pub(crate) struct CheckArguments {
    /// A pipeline file; default that of this directory.
    #[arg(value_name = "FILE", conflicts_with = "pipeline")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) pipeline: PipelineArguments,
    /// Warnings exit with 2 as well.
    #[arg(long)]
    pub(crate) strict: bool,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: CheckFormat,
}

/// Says what a run would do, and why, without doing any of it.
///
/// A stage stands below the one that everything it waits for comes through;
/// needs that the tree cannot show are named. `●` runs, `○` is skipped, `◌` is
/// decided when other stages have finished, `◐` stands for cells that differ.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 there is a plan; 2 the pipeline or an argument is wrong; 3 something cannot be read.\n\nExamples:\n  shipline plan\n  shipline plan --event push --branch main\n  shipline plan --tag v1.2.0 --all\n  shipline plan --param target=prod --changed src/main.rs\n  shipline plan --format svg > plan.svg\n  shipline plan --format dot | dot -Tpdf > plan.pdf"
)]
pub(crate) struct PlanArguments {
    #[command(flatten)]
    pub(crate) pipeline: PipelineArguments,
    /// Every stage and every cell of a matrix, however many there are.
    #[arg(long)]
    pub(crate) all: bool,
    /// Where each value came from.
    #[arg(long)]
    pub(crate) origins: bool,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: PlanFormat,
    #[command(flatten)]
    pub(crate) simulation: SimulationArguments,
}

/// Says why a stage ran or did not: its needs, every condition with what it saw, the first cause.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  shipline why deploy\n  shipline why deploy --branch main --event push\n  shipline why deploy --run 3f9a0c1d"
)]
pub(crate) struct WhyArguments {
    /// As `shipline plan` shows it; a cell of a matrix with its brackets.
    pub(crate) stage: String,
    /// Of this run, by its id or the last eight digits; without it, what a run here would do.
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<String>,
    #[command(flatten)]
    pub(crate) pipeline: PipelineArguments,
    #[command(flatten)]
    pub(crate) simulation: SimulationArguments,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Remembers, starts and shows: the server, with its runner, in one process.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  shipline serve --data ./data\n  shipline serve --config /etc/shipline/shipline.toml"
)]
pub(crate) struct ServeArguments {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where everything is kept; wins over the file's `data`.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Wins over the file's `listen`; default 127.0.0.1:8080.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Validate the configuration and exit.
    #[arg(long)]
    pub(crate) check_config: bool,
    #[arg(long, env = "DOCKER_HOST", hide = true)]
    pub(crate) docker_host: Option<String>,
    #[arg(
        long,
        env = "SHIPLINE_LOG",
        default_value = "info",
        hide_default_value = true,
        value_name = "FILTER"
    )]
    /// What the server logs to stderr: error, warn, info, debug, or a filter.
    pub(crate) log: String,
}

/// Starts a run of a project's branch on the server.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  shipline trigger orders\n  shipline trigger orders --ref main --wait\n  shipline trigger orders --param target=staging"
)]
pub(crate) struct TriggerArguments {
    /// As `shipline project list` shows it.
    pub(crate) project: String,
    /// Branch; default the project's.
    #[arg(long = "ref", value_name = "REF")]
    pub(crate) reference: Option<String>,
    /// A parameter of `on.manual.params`; may be given several times.
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub(crate) params: Vec<String>,
    /// Wait for the end of the run; exit as `shipline run` would.
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Lists runs, newest first, or shows one with its stages.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  shipline runs\n  shipline runs --project orders --limit 5 --format json\n  shipline runs 3f9a0c1d"
)]
pub(crate) struct RunsArguments {
    /// Id of a run, whole or its last eight digits.
    pub(crate) run: Option<String>,
    /// Only runs of this project.
    #[arg(short, long)]
    pub(crate) project: Option<String>,
    /// How many to list.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Shows the output of a run, of one of its stages, or of what is deployed.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  shipline logs 3f9a0c1d\n  shipline logs 3f9a0c1d compile\n  shipline logs 3f9a0c1d -f\n  shipline logs --env prod -f --since 10m\n  shipline logs --env prod 1 --previous"
)]
pub(crate) struct LogsArguments {
    /// Id of the run, whole or its last eight digits. With --env, a unit, by its name or
    /// its slot; default every unit in traffic.
    #[arg(value_name = "RUN", required_unless_present = "environment")]
    pub(crate) run: Option<String>,
    /// A stage, or STAGE/SERVICE for what a service wrote. Default: every stage, in the
    /// order of the plan.
    #[arg(conflicts_with = "environment")]
    pub(crate) stage: Option<String>,
    /// Of the units of this environment.
    #[arg(long = "env", value_name = "ENV")]
    pub(crate) environment: Option<String>,
    /// Go on until the run has ended, or until Ctrl-C.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Not older than this.
    #[arg(long, value_name = "DURATION", requires = "environment")]
    pub(crate) since: Option<pipeline::Duration>,
    /// Of the units before those in traffic, also of ones that crashed.
    #[arg(long, requires = "environment")]
    pub(crate) previous: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Which project, on which server, or from which file.
#[derive(Debug, Args)]
pub(crate) struct PlaceArguments {
    /// Default: that of this directory.
    #[arg(short, long)]
    pub(crate) project: Option<String>,
    #[command(flatten)]
    pub(crate) pipeline: PipelineArguments,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

/// Removes what runs of this directory left on the Docker engine, by label, and nothing else.
///
/// What other directories keep stays, but what dead runs of theirs left goes as well.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  shipline clean\n  shipline clean --all --caches\n  shipline clean --deployed --root /srv/shipline\n  shipline clean --data ./data --deployed"
)]
pub(crate) struct CleanArguments {
    /// Clean up after the server with this data directory instead of after local runs.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Remove what other directories keep, too, and images without a name.
    #[arg(long)]
    pub(crate) all: bool,
    /// Remove caches of stages too, which belong to projects and not to a directory.
    #[arg(long)]
    pub(crate) caches: bool,
    /// Remove deployed units, their network and their routes too.
    #[arg(long)]
    pub(crate) deployed: bool,
    /// Folder of a `process` target whose units are removed too; may be given several times.
    #[arg(long, value_name = "DIR", requires = "deployed")]
    pub(crate) root: Vec<PathBuf>,
    /// Control socket of the proxy whose routes go; without it, that of the pipeline that deployed.
    #[arg(long, value_name = "SOCKET", requires = "deployed")]
    pub(crate) proxy: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    #[arg(long, env = "DOCKER_HOST", hide = true)]
    pub(crate) docker_host: Option<String>,
}

/// The traffic switch in front of deployed containers, as its own process.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  shipline proxy --listen 0.0.0.0:80 --control /run/shipline/proxy.sock --state /var/lib/shipline/proxy.json\n  shipline proxy --listen 0.0.0.0:80 --tls-listen 0.0.0.0:443 --certificate /etc/shipline/tls.pem --key /etc/shipline/tls.key --control /run/shipline/proxy.sock --state /var/lib/shipline/proxy.json\n  shipline proxy --upgrade --listen 0.0.0.0:80 --control /run/shipline/proxy.sock --state /var/lib/shipline/proxy.json"
)]
pub(crate) struct ProxyArguments {
    /// Address for requests; may be given several times [default: 127.0.0.1:8080 without --tls-listen].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Address for requests over TLS; may be given several times.
    #[arg(long, value_name = "ADDRESS", requires = "certificate")]
    pub(crate) tls_listen: Vec<SocketAddr>,
    /// Certificate chain for TLS (PEM); SIGHUP reads it and the key again.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) certificate: Option<PathBuf>,
    /// Private key of the certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(crate) key: Option<PathBuf>,
    /// Unix socket the deploy engine speaks to (mode 0600).
    #[arg(long, value_name = "PATH")]
    pub(crate) control: PathBuf,
    /// File that keeps the routes over a restart.
    #[arg(long, value_name = "FILE")]
    pub(crate) state: PathBuf,
    /// How long requests in flight have when the proxy ends.
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub(crate) drain: pipeline::Duration,
    /// How long WebSockets have when another proxy takes over.
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub(crate) drain_websockets: pipeline::Duration,
    /// Take over from the proxy that runs with this control socket, losing no request.
    #[arg(long)]
    pub(crate) upgrade: bool,
}

/// Projects of the server.
#[derive(Debug, Subcommand)]
pub(crate) enum ProjectCommand {
    Create(ProjectCreateArguments),
    List(ProjectListArguments),
}

/// Binds a repository to the server: from now on its pushes run.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  shipline project create orders --git https://git.example.net/team/orders.git\n  shipline project create orders --git /srv/git/orders.git --poll 2s --hook-secret-file secret"
)]
pub(crate) struct ProjectCreateArguments {
    /// At most 63 of a-z, 0-9 and `-`.
    pub(crate) name: String,
    /// https or ssh address of the repository, or an absolute path on the server.
    #[arg(long, value_name = "URL")]
    pub(crate) git: String,
    /// Default branch.
    #[arg(long, default_value = "main")]
    pub(crate) branch: String,
    /// How often to look for new commits; default the server's `poll.every`.
    #[arg(long, value_name = "DURATION")]
    pub(crate) poll: Option<String>,
    /// File with the key of signed webhooks; without it webhooks are refused.
    #[arg(long, value_name = "FILE")]
    pub(crate) hook_secret_file: Option<PathBuf>,
    /// Private key for ssh, a path on the server.
    #[arg(long, value_name = "FILE")]
    pub(crate) git_key: Option<PathBuf>,
    /// Run the default branch now instead of waiting for the next push.
    #[arg(long)]
    pub(crate) run: bool,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Lists the projects.
#[derive(Debug, Args)]
pub(crate) struct ProjectListArguments {
    #[command(flatten)]
    pub(crate) server: ServerArguments,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Explains an error code: cause, example, repair.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the code is explained; 2 there is no such code.\n\nExamples:\n  shipline explain\n  shipline explain E010\n  shipline explain --format json"
)]
pub(crate) struct ExplainArguments {
    /// As it stands in brackets after `error` or `warning`; without it all are listed.
    pub(crate) code: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Prints the JSON Schema of pipeline files, for editors and other tools.
#[derive(Debug, Args)]
#[command(
    after_help = "In an editor with the YAML language server, the first line of the pipeline file names it:\n  # yaml-language-server: $schema=./shipline.schema.json\n\nExamples:\n  shipline schema > shipline.schema.json\n  shipline schema --template > shipline-template.schema.json"
)]
pub(crate) struct SchemaArguments {
    /// That of template files instead.
    #[arg(long)]
    pub(crate) template: bool,
}

/// Prints the completions for a shell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  shipline completions bash > /etc/bash_completion.d/shipline")]
pub(crate) struct CompletionsArguments {
    pub(crate) shell: clap_complete::Shell,
}

/// Writes the manual pages into a directory.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  shipline man /usr/local/share/man/man1")]
pub(crate) struct ManArguments {
    /// Where to write them; made when it is not there.
    // Not `directory`: that is the name of `-C`, which every command has.
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
}
