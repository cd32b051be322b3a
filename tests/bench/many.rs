//! Many stages at a time, and many in one run.

use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use event::{RunResult, Stream};
use runner::testing;
use store::{NewRun, Store};
use tokio_util::sync::CancellationToken;

use crate::graph::Graph;
use crate::lab::{IMAGE, Lab};
use crate::measure::{Contestant, Sample, interleave, process};
use crate::table::{Goal, OWN, Table};

/// The first argument of this program where it only schedules.
pub const SCHEDULER: &str = "--scheduler";

/// Memory while eight stages run.
pub fn eight(lab: &Lab, table: &mut Table) -> io::Result<()> {
    let mut pipeline = format!("image: {IMAGE}\nstages:\n");
    for stage in 0..8 {
        pipeline.push_str(&format!("  s{stage}: {{ needs: [], run: sleep 2 }}\n"));
    }
    let folder = lab.repository("eight", &[(".shipline.yml", &pipeline)])?;
    let mut contestants = [Contestant::new(OWN, 3, || lab.run(&folder, &["--jobs", "8"]))];
    interleave(&mut contestants);
    let [own] = contestants;
    let own = own.over()?;
    let goals = [Goal::memory(own.median().and_then(|sample| sample.memory), 40 << 20)];
    table.add("8 stages of 2 s at a time", &[own], &goals);
    Ok(())
}

/// A run of ten thousand stages, on a backend that does nothing.
pub fn ten_thousand(lab: &Lab, table: &mut Table) -> io::Result<()> {
    const STAGES: u32 = 10_000;
    let mut contestants = [Contestant::new(OWN, 3, || scheduled(lab, STAGES as usize))];
    interleave(&mut contestants);
    let [own] = contestants;
    let own = own.over()?;
    let sample = own.median().unwrap_or_default();
    let goals = [
        Goal::time("", sample.wall, Duration::from_secs(60)),
        Goal::memory(sample.memory, 300 << 20),
        Goal::time(
            "CPU of a stage",
            sample.cpu.unwrap_or_default() / STAGES,
            Duration::from_millis(1),
        ),
    ];
    table.add("10,000 stages on a backend that does nothing", &[own], &goals);
    Ok(())
}

/// Runs so many stages in a process of their own.
pub fn scheduled(lab: &Lab, stages: usize) -> io::Result<Sample> {
    let folder = lab.path("scheduler");
    std::fs::create_dir_all(&folder)?;
    let mut command = Command::new(std::env::current_exe()?);
    let sample = process(command.arg(SCHEDULER).arg(stages.to_string()).arg(&folder));
    std::fs::remove_dir_all(folder)?;
    sample
}

/// What that process does.
pub fn schedule(stages: &str, folder: &Path) -> io::Result<()> {
    let stages: usize = stages.parse().map_err(io::Error::other)?;
    let plan = testing::plan_of(&shape(stages).pipeline());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = Store::open(&folder.join("state.db")).await.map_err(io::Error::other)?;
        let run = testing::run_id();
        let new = NewRun {
            run,
            at: chrono::Utc::now(),
            project: "bench".to_owned(),
            by: "bench".to_owned(),
            plan,
            trigger: None,
            reason: None,
        };
        store.queue_run(new).await.map_err(io::Error::other)?;
        let events = store.events(Stream::Run(run), 0, 10).await.map_err(io::Error::other)?;
        let mut config = testing::config(&events, &folder.join("output"));
        config.concurrency = 8;
        let journal = Arc::new(server::StoreJournal::new(store));
        let backend = Arc::new(testing::IdleBackend);
        let ran = runner::run(config, backend, journal, CancellationToken::new()).await;
        match ran.map_err(io::Error::other)?.result {
            RunResult::Passed => Ok(()),
            other => Err(io::Error::other(format!("the run ended as {other}"))),
        }
    })
}

/// A lattice of so many stages, as square as tens allow.
pub fn shape(stages: usize) -> Graph {
    let rows = match stages {
        0..100 => 2,
        100..10_000 => 10,
        10_000.. => 100,
    };
    Graph::lattice(rows, stages / rows)
}
