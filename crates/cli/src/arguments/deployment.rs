//! Commands about what is deployed.

use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};

use super::{Format, PlaceArguments};
use crate::moment::{lock_end, lock_time, lock_wait, pause};

/// Brings an environment to a release: by default the newest one of the project.
///
/// A release is what a run has built and named; a deploy builds nothing. Without a server
/// it is configured as the deploy stage of the pipeline file says; a server takes the
/// configuration that stands.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the release was observed on all units; 1 it failed or was cancelled, and nothing was\nswitched; 2 the arguments, the release or the configuration are wrong; 3 target, registry or server\nunreachable, or the lock not obtained; 4 it failed and was rolled back; 5 the rollback failed too.\n\nExamples:\n  shipline deploy prod\n  shipline deploy prod v1.4.2 --reason 'new prices'\n  shipline deploy test --ref feature/pay\n  shipline deploy test --verify smoke load\n  shipline deploy prod --image harbor.example.net/shop@sha256:9f2c… --dry-run\n  shipline deploy prod --only 0 --reason 'one unit first'\n  shipline deploy prod --detach"
)]
pub(crate) struct DeployArguments {
    pub(crate) environment: String,
    /// Id of a release, whole or its last eight digits, or its version.
    pub(crate) release: Option<String>,
    /// The newest release that was built from this branch, tag or commit. None is built:
    /// `shipline run` does that here, `shipline trigger PROJECT --ref REF` on a server.
    #[arg(long = "ref", value_name = "REF", conflicts_with = "release")]
    pub(crate) reference: Option<String>,
    /// An image by its digest, `REPOSITORY@sha256:…`, or by its id on the engine.
    #[arg(long, value_name = "DIGEST", conflicts_with_all = ["release", "reference"])]
    pub(crate) image: Option<String>,
    /// Check these suites besides what the configuration says, this time.
    #[arg(long, value_name = "SUITE", num_args = 1..)]
    pub(crate) verify: Vec<String>,
    /// Take over what others have changed since the last deployment.
    #[arg(long)]
    pub(crate) adopt: bool,
    /// Deploy units without a health check also to production.
    #[arg(long)]
    pub(crate) no_health: bool,
    #[command(flatten)]
    pub(crate) only: OnlyArguments,
    #[command(flatten)]
    pub(crate) change: ChangeArguments,
}

/// Which units a change is about.
#[derive(Debug, Default, Args)]
pub(crate) struct OnlyArguments {
    /// Only these units, by slot (`0`) or name, or hosts by name, `group=NAME` or
    /// `label=KEY=VALUE`; may be given several times. What the environment should run stays
    /// as it is.
    #[arg(long, value_name = "UNIT", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
}

/// How a change is asked for and followed.
#[derive(Debug, Args)]
pub(crate) struct ChangeArguments {
    /// Why; kept with the deployment.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Say what would be done, batch by batch, and do nothing of it.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Return with its id as soon as the server has begun it.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) detach: bool,
    /// How long to wait while others change the environment, at most 30m; default 15m.
    #[arg(long, value_name = "DURATION", value_parser = lock_wait)]
    pub(crate) lock_wait: Option<pipeline::Duration>,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Goes back to the last good release, or to the one named.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the release runs on all units; 1 nothing was switched; 2 no such release;\n3 target or server unreachable, or the lock not obtained; 5 the rollback failed half-way, the report\nsays what is where.\n\nExamples:\n  shipline rollback prod\n  shipline rollback prod --list\n  shipline rollback prod 5c0e77a1 --reason 'wrong prices'\n  shipline rollback prod --emergency --reason 'orders are lost'"
)]
pub(crate) struct RollbackArguments {
    /// As `shipline status` shows it.
    pub(crate) environment: String,
    /// Id of a release, whole or its last eight digits, or its version; default the last good.
    pub(crate) release: Option<String>,
    /// Say for each release whether it can be gone back to, and why not.
    #[arg(
        long,
        conflicts_with_all = ["release", "reason", "dry_run", "detach", "lock_wait", "emergency", "image_only"]
    )]
    pub(crate) list: bool,
    /// Go back to what the units ran, and keep the configuration as it is now.
    #[arg(long)]
    pub(crate) image_only: bool,
    /// All units at once, unverified, and without waiting for requests in flight. Health is
    /// asked for all the same.
    #[arg(long, requires = "reason")]
    pub(crate) emergency: bool,
    #[command(flatten)]
    pub(crate) change: ChangeArguments,
}

/// Changes the number of units, which then holds across deployments.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: as of `shipline deploy`.\n\nExamples:\n  shipline scale prod 5\n  shipline scale prod 2 --reason 'night'"
)]
pub(crate) struct ScaleArguments {
    pub(crate) environment: String,
    /// Units that shall run, at least one.
    #[arg(value_parser = replicas)]
    pub(crate) replicas: u32,
    #[command(flatten)]
    pub(crate) change: ChangeArguments,
}

/// Makes every unit of an environment anew, of what runs, batch by batch.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: as of `shipline deploy`.\n\nExamples:\n  shipline restart prod\n  shipline restart prod --only 1 --reason 'a leak'"
)]
pub(crate) struct RestartArguments {
    pub(crate) environment: String,
    #[command(flatten)]
    pub(crate) only: OnlyArguments,
    #[command(flatten)]
    pub(crate) change: ChangeArguments,
}

/// Takes every unit out of traffic and down; it stays so until `shipline start`.
///
/// With `--only` the others go on, and the next deployment brings back what was stopped.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: as of `shipline deploy`.\n\nExamples:\n  shipline stop test\n  shipline stop test --reason 'nobody needs it at night'"
)]
pub(crate) struct StopArguments {
    pub(crate) environment: String,
    #[command(flatten)]
    pub(crate) only: OnlyArguments,
    #[command(flatten)]
    pub(crate) change: ChangeArguments,
}

/// Reads a number of units. None at all is what `stop` is for.
fn replicas(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) => Err("at least 1; `shipline stop` stops all units".to_owned()),
        Ok(units) => Ok(units),
        Err(_) => Err(format!("`{text}` is no number of units, such as 3")),
    }
}

/// Brings back what was stopped.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: as of `shipline deploy`.\n\nExamples:\n  shipline start test")]
pub(crate) struct StartArguments {
    pub(crate) environment: String,
    #[command(flatten)]
    pub(crate) only: OnlyArguments,
    #[command(flatten)]
    pub(crate) change: ChangeArguments,
}

/// Cancels a deployment of the server: what it made is undone, what it switched goes back.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 it is asked to end; 2 there is none, it has ended, or no server is named; 3 server\nunreachable.\n\nExamples:\n  shipline cancel 3f9a0c1d"
)]
pub(crate) struct CancelArguments {
    /// Id of the deployment, whole or its last eight digits.
    pub(crate) deployment: String,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

/// Decides about a deployment that is held: by `on-failure: hold`, after a batch of it failed.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 it is decided; 2 nothing is held there; 3 server or state unreachable.\n\nExamples:\n  shipline decide prod continue --reason 'web-07 is being replaced'\n  shipline decide prod rollback"
)]
pub(crate) struct DecideArguments {
    pub(crate) environment: String,
    pub(crate) decision: Choice,
    /// Why; kept with the deployment.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// What somebody may choose for a deployment that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// What failed keeps its former unit, and the rest goes on.
    Continue,
    /// Everything goes back.
    Rollback,
}

impl From<Choice> for event::Decision {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::Continue => Self::Continue,
            Choice::Rollback => Self::Rollback,
        }
    }
}

/// Lists the releases of the project, newest first, and where an environment can go back to.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0; 2 no such environment; 3 target, store or server unreachable.\n\nExamples:\n  shipline releases\n  shipline releases prod\n  shipline releases prod --format json"
)]
pub(crate) struct ReleasesArguments {
    /// Also what became of each release here, and whether it can be gone back to.
    pub(crate) environment: Option<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Lists deployments, newest first: who, what, how it ended and why.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0; 2 no such environment or deployment, or it has not ended; 3 store or server\nunreachable.\n\nExamples:\n  shipline history prod\n  shipline history prod --limit 100 --format json\n  shipline history --mark bad 3f9a0c1d --reason 'orders were lost'"
)]
pub(crate) struct HistoryArguments {
    /// Default: every environment of the project.
    pub(crate) environment: Option<String>,
    /// How many to list of each environment.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
    /// Say what a deployment was worth: one marked `bad` is no place to go back to.
    #[arg(long, num_args = 2, value_names = ["VERDICT", "DEPLOYMENT"], conflicts_with = "environment")]
    pub(crate) mark: Vec<String>,
    /// Why it is marked; kept with it.
    #[arg(long, value_name = "TEXT", requires = "mark")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Compares what should run in an environment with what does, unit by unit.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0; with --check 1 when something differs, 3 when nobody knows; with --deployment and\n--wait those of the command that began it.\n\nExamples:\n  shipline status\n  shipline status prod --check\n  shipline status prod --watch\n  shipline status --deployment 3f9a0c1d --wait\n  shipline status prod --project orders --format json"
)]
pub(crate) struct StatusArguments {
    /// Default: every environment of the project.
    pub(crate) environment: Option<String>,
    /// Exit with 1 when what runs is not what should.
    #[arg(long)]
    pub(crate) check: bool,
    /// Show it again whenever it changes, until Ctrl-C.
    #[arg(long, conflicts_with_all = ["check", "deployment"])]
    pub(crate) watch: bool,
    /// Of this deployment, by its id or the last eight digits.
    #[arg(long, value_name = "ID", conflicts_with_all = ["environment", "check"])]
    pub(crate) deployment: Option<String>,
    /// Follow the deployment to its end.
    #[arg(long, requires = "deployment")]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Watches what was deployed: says when a unit is dead, unhealthy or starts again and again, when
/// what runs is not what was deployed, and when it is well again.
///
/// Without a server this process looks; with one, the server does, and this shows what it finds.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0; with --once 1 when something is wrong, 3 when nobody can see what runs.\n\nExamples:\n  shipline watch\n  shipline watch demo --ensure\n  shipline watch demo --once || echo look at demo\n  shipline watch prod --project orders --format json"
)]
pub(crate) struct WatchArguments {
    /// Default: every environment of the project.
    pub(crate) environment: Option<String>,
    /// Between two looks.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = pause)]
    pub(crate) every: pipeline::Duration,
    /// Bring back units that died, also where the file does not say `ensure: true`.
    #[arg(long)]
    pub(crate) ensure: bool,
    /// Look until it is known how things are, a few seconds, and end.
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
    /// `json`: one object a line.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Keeps others from changing an environment: deployments are refused, with your name and
/// reason. A rollback never is.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 it is locked; 2 somebody else has locked it, or the end is none; 3 store or server\nunreachable.\n\nExamples:\n  shipline lock test --reason 'QA has trunk' --for 2h\n  shipline lock test --mine --reason 'trying the new prices' --for 90m\n  shipline lock prod --reason 'stocktaking' --until 18:00"
)]
pub(crate) struct LockArguments {
    pub(crate) environment: String,
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// How long; at most 30d.
    #[arg(
        long = "for",
        value_name = "DURATION",
        value_parser = lock_time,
        required_unless_present = "until",
        conflicts_with = "until"
    )]
    pub(crate) duration: Option<pipeline::Duration>,
    /// The next time it is HH:MM here, or a time such as 2026-08-11T18:00:00+08:00.
    #[arg(long, value_name = "TIME", value_parser = lock_end)]
    pub(crate) until: Option<DateTime<Utc>>,
    /// A reservation: your own deployments go on, only those of others are refused.
    #[arg(long)]
    pub(crate) mine: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Opens an environment that was locked by hand.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 it is open; 2 it was not locked, or somebody else has locked it; 3 store or server\nunreachable.\n\nExamples:\n  shipline unlock test\n  shipline unlock test --force"
)]
pub(crate) struct UnlockArguments {
    pub(crate) environment: String,
    /// Also one that somebody else has locked, who is not told of it.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

/// Runs a command beside a unit, with its files and its environment. Not through a server:
/// the target must be in reach from here.
#[derive(Debug, Args)]
#[command(
    after_help = "Exits as the command does; 2 no such unit, or a server is named; 3 target unreachable.\n\nExamples:\n  shipline exec prod -- ls /srv\n  shipline exec prod 1 -t\n  shipline exec prod 1 -t -- sh"
)]
pub(crate) struct ExecArguments {
    pub(crate) environment: String,
    /// By its name or its slot; default the one of the first slot.
    pub(crate) unit: Option<String>,
    /// With this terminal, as for a shell.
    #[arg(short = 't', long)]
    pub(crate) tty: bool,
    /// Default: a shell.
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_counted_from_one() {
        assert_eq!(replicas("3"), Ok(3));
        assert!(replicas("0").is_err_and(|error| error.contains("shipline stop")));
        assert!(replicas("four").is_err_and(|error| error.contains("`four` is no number")));
    }
}
