//! Ctrl-C on a run of stages that end when they are told to.

use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::lab::{IMAGE, Lab};
use crate::measure::{Contestant, Sample, interleave, wait};
use crate::table::{Goal, OWN, Table};

const TURNS: usize = 7;
const STAGES: usize = 4;
/// Longer than any container takes to be gone.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn cancel(lab: &Lab, table: &mut Table) -> io::Result<()> {
    let mut pipeline = format!("image: {IMAGE}\nstages:\n");
    for stage in 0..STAGES {
        pipeline.push_str(&format!("  s{stage}: {{ needs: [], run: sleep 600 }}\n"));
    }
    let folder = lab.repository("cancel", &[(".shipline.yml", &pipeline)])?;
    let mut contestants = [Contestant::new(OWN, TURNS, || cancelled(lab, &folder))];
    interleave(&mut contestants);
    let [own] = contestants;
    let own = own.over()?;
    let took = own.median().unwrap_or_default().wall;
    let goals = [Goal::time("", took, Duration::from_millis(500))];
    table.add("P9: from Ctrl-C to the last of 4 containers gone", &[own], &goals);
    Ok(())
}

fn cancelled(lab: &Lab, folder: &Path) -> io::Result<Sample> {
    let mut run = lab.shipline(folder, &["run", "--plain", "--jobs", "4"]);
    let mut child =
        run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let output = child.stdout.take().ok_or_else(|| io::Error::other("it has no stdout"))?;
    let (mut id, mut running) = (String::new(), 0);
    let mut lines = BufReader::new(output).lines();
    while running < STAGES {
        let line = lines.next().ok_or_else(|| io::Error::other("the run ended"))??;
        if id.is_empty() {
            line.rsplit(' ').next().unwrap_or_default().clone_into(&mut id);
        }
        running += usize::from(line.ends_with("$ sleep 600"));
    }
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("it has no id"))?;
    let begun = Instant::now();
    kill_process(pid, Signal::INT)?;
    let name = format!("shipline-{id}-");
    let gone = async {
        while lab.engine.count(&name).await? > 0 {
            if begun.elapsed() > PATIENCE {
                return Err(io::Error::other("containers are left"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    };
    lab.runtime.block_on(gone)?;
    let wall = begun.elapsed();
    for line in lines {
        line?;
    }
    let (status, cpu, memory) = wait(child.id())?;
    if status.code() != Some(130) {
        return Err(io::Error::other(format!("the run ended with {status}")));
    }
    Ok(Sample { wall, cpu: Some(cpu), memory: Some(memory) })
}
