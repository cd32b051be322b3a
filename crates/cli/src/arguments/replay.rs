//! What is to be shown again, and how fast.

use clap::Args;

use super::Format;

/// Shows a recorded run again, as it looked: one of the local store, or a file that
/// `shipline run --format json` wrote.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 shown to its end, however the run ended; 2 no such run, or the file is broken;\n3 something cannot be read; 130 interrupted.\n\nExamples:\n  shipline replay 3f9a0c1d\n  shipline replay 3f9a0c1d --speed 4\n  shipline replay 3f9a0c1d --format json > run.ndjson\n  shipline replay run.ndjson\n  ssh build shipline run --format json | shipline replay -"
)]
pub(crate) struct ReplayArguments {
    /// Id of a run, whole or its last eight digits; or a file; `-` is stdin.
    #[arg(value_name = "RUN|FILE")]
    pub(crate) what: String,
    /// So many times as fast as it was; default at once.
    #[arg(long, value_name = "N", value_parser = speed)]
    pub(crate) speed: Option<f64>,
    /// Every line of output stays too, not only the last ones of stages that failed.
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// `json` prints events and output frames, one per line, as `shipline run` does.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.trim_end_matches(['x', '×']).parse::<f64>();
    let speed = speed.ok().filter(|speed| (0.01..=10_000.0).contains(speed));
    speed.ok_or_else(|| "a number between 0.01 and 10000 is expected".to_owned())
}
