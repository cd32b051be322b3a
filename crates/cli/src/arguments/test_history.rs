//! The command about tests of reports.

use clap::Args;

use super::{Format, PlaceArguments};

/// Shows what tests came to over the last runs: which fail, which are flaky, which are slow.
///
/// They are read from the JUnit reports of stages. A sign stands for each run, the newest
/// last: `✓` passed, `✗` failed, `~` failed in one attempt and passed in another, `○` skipped.
/// A test is flaky that passed and failed on the same files: those of one commit on a server,
/// those of one run on a laptop, where files are edited in between. What the newest report of
/// a stage does not have any more is not listed.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0, whatever the tests came to; 2 no such run or project; 3 store or server unreachable.\n\nExamples:\n  shipline tests\n  shipline tests --failed --stage unit-test\n  shipline tests --flaky --branch main --last 100\n  shipline tests --slowest --limit 10 --format json\n  shipline tests 'OrderTest adds'\n  shipline tests --run 3f9a0c1d"
)]
pub(crate) struct TestsArguments {
    /// Part of a test's class and name as they are listed; one test alone is shown run by run.
    pub(crate) test: Option<String>,
    /// The tests of this run, by its id or the last eight digits of it.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["flaky", "branch", "last"])]
    pub(crate) run: Option<String>,
    /// Only of this stage with all cells of its matrix, or of one cell.
    #[arg(long, value_name = "STAGE")]
    pub(crate) stage: Option<String>,
    /// Only of runs of this branch.
    #[arg(long, value_name = "NAME")]
    pub(crate) branch: Option<String>,
    /// Only those that failed the last time.
    #[arg(long)]
    pub(crate) failed: bool,
    /// Only those that passed and failed on the same files.
    #[arg(long)]
    pub(crate) flaky: bool,
    /// The slowest first, in place of those that failed.
    #[arg(long)]
    pub(crate) slowest: bool,
    /// How many of the newest runs that reported tests to look at.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) last: u32,
    /// How many tests to list.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}
