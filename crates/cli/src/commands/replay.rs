//! `shipline replay`: a recorded run again, as it looked.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use pipeline::SourceFile;
use runner::Observation;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::arguments::ReplayArguments;
use crate::display::{self, Clock, View};
use crate::error::{CommandError, Context as _, Kind};
use crate::history;
use crate::home::Home;
use crate::interrupt::Interrupts;
use crate::recording::{Lines, Recording, Stored};

/// Observations that may wait for a slow terminal.
const BACKLOG: usize = 256;

pub(super) async fn replay(arguments: &ReplayArguments) -> Result<u8, CommandError> {
    let (recording, files) = open(&arguments.what).await?;
    let interrupts = Interrupts::listen()?;
    let view = View::of(
        arguments.format,
        arguments.verbose,
        Clock::Recorded(arguments.speed.unwrap_or(0.0)),
    );
    let (send, observations) = mpsc::channel(BACKLOG);
    let (_turns, requests) = display::turns();
    let shown = tokio::task::spawn_blocking(move || {
        display::display(view, files, &[], observations, requests)
    });
    let (speed, cancel) = (arguments.speed, interrupts.cancel.clone());
    // Files and pipes are read where it may take as long as it likes.
    let reads = tokio::task::spawn_blocking(move || tell(recording, &send, speed, &cancel));
    let told = tokio::select! {
        told = reads => told.environment("cannot read the recorded run")?,
        // A pipe that says no more cannot be taken out of its read.
        () = interrupts.cancel.cancelled() => Ok(()),
    };
    let shown = tokio::select! {
        shown = shown => shown,
        () = interrupts.kill.cancelled() => return Ok(130),
    };
    if interrupts.came() {
        return Ok(130);
    }
    if let Ok(Err(error)) = shown
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        return Err(CommandError::environment(format_args!("cannot write to stdout: {error}")));
    }
    told.map(|()| 0)
}

/// Whatever has this name: stdin, a file, a run; and the texts of its plan, where they are
/// at hand.
async fn open(what: &str) -> Result<(Recording, Vec<SourceFile>), CommandError> {
    if what == "-" {
        let stdin = BufReader::new(std::io::stdin());
        return Ok((Box::new(Lines::new("stdin", stdin)), Vec::new()));
    }
    if Path::new(what).is_file() {
        let file = File::open(what).environment(&format!("cannot read {what}"))?;
        return Ok((Box::new(Lines::new(what, BufReader::new(file))), Vec::new()));
    }
    let home = Home::from_environment()?;
    let store = home.store().await?;
    let row = history::find(&store, what).await.map_err(|error| match error.kind() {
        Kind::Usage => CommandError::usage(format_args!(
            "`{what}` is no file, and no run with this id is known"
        ))
        .hint("`shipline runs` lists the runs; `shipline run --format json > FILE` records one"),
        Kind::Environment => error,
    })?;
    let output = home.find(row.id).ok_or_else(|| {
        CommandError::usage(format_args!("of run {what} only the events are left"))
    })?;
    let stored = Stored::open(&store, row.id, output.join("output")).await?;
    Ok((Box::new(stored), home.files(row.id)))
}

/// Tells the observations, at `speed` times the pace they had; at once without one.
fn tell(
    recording: Recording,
    listener: &mpsc::Sender<Observation>,
    speed: Option<f64>,
    cancel: &CancellationToken,
) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Handle::current();
    let mut begin: Option<(DateTime<Utc>, tokio::time::Instant)> = None;
    for observation in recording {
        let observation = observation?;
        if let (Observation::Event(event), Some(speed)) = (&observation, speed) {
            let (first, since) = *begin.get_or_insert((event.at, tokio::time::Instant::now()));
            let passed = (event.at - first).to_std().unwrap_or(Duration::ZERO).div_f64(speed);
            let waited = runtime
                .block_on(cancel.run_until_cancelled(tokio::time::sleep_until(since + passed)));
            if waited.is_none() {
                return Ok(());
            }
        }
        if cancel.is_cancelled() || listener.blocking_send(observation).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
