//! How time and memory grow with the work, as pictures for docs/performance.md.

use std::fs;
use std::io;
use std::path::Path;

use crate::chart::{Chart, Panel};
use crate::lab::Lab;
use crate::many::{scheduled, shape};
use crate::measure::{Contestant, Sample, interleave, process};
use crate::output::printed;
use crate::table::Table;

const STAGES: [u32; 7] = [10, 30, 100, 300, 1000, 3000, 10_000];
/// Megabytes of output.
const OUTPUT: [u32; 4] = [1, 10, 100, 1000];

pub fn curves(lab: &Lab, _: &mut Table) -> io::Result<()> {
    let planned = measured(&STAGES, 5, |stages| {
        let name = format!("plan-{stages}");
        let folder = lab.path(&name);
        if !folder.exists() {
            lab.repository(&name, &[(".shipline.yml", &shape(stages as usize).pipeline())])?;
        }
        process(&mut lab.shipline(&folder, &["plan"]))
    })?;
    picture("plan", "shipline plan", "stages", &planned)?;
    let ran = measured(&STAGES, 3, |stages| scheduled(lab, stages as usize))?;
    picture("run", "a run on a backend that does nothing", "stages", &ran)?;
    let told = measured(&OUTPUT, 2, |megabytes| printed(lab, u64::from(megabytes) * 2000))?;
    picture("output", "a run that writes", "MB of output", &told)
}

/// Medians of turns, for each amount.
fn measured(
    amounts: &[u32],
    turns: usize,
    work: impl Fn(u32) -> io::Result<Sample>,
) -> io::Result<Vec<(u32, Sample)>> {
    let work = &work;
    let contestant = |amount: &u32| {
        let amount = *amount;
        Contestant::new("growth", turns, move || work(amount))
    };
    let mut contestants: Vec<_> = amounts.iter().map(contestant).collect();
    interleave(&mut contestants);
    let mut medians = Vec::new();
    for (amount, contestant) in amounts.iter().zip(contestants) {
        match (contestant.median(), contestant.failed) {
            (Some(median), None) => medians.push((*amount, median)),
            (_, failed) => return Err(failed.unwrap_or_else(|| io::Error::other("no turn"))),
        }
    }
    Ok(medians)
}

fn picture(name: &str, title: &str, unit: &str, points: &[(u32, Sample)]) -> io::Result<()> {
    let of = |value: fn(&Sample) -> f64| {
        points.iter().map(|(amount, sample)| (f64::from(*amount), value(sample))).collect()
    };
    let chart = Chart {
        title: title.to_owned(),
        across: unit.to_owned(),
        panels: [
            Panel { up: "seconds".to_owned(), points: of(|sample| sample.wall.as_secs_f64()) },
            Panel {
                up: "MiB at most".to_owned(),
                points: of(|sample| sample.memory.unwrap_or_default() as f64 / f64::from(1 << 20)),
            },
        ],
    };
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/pictures");
    fs::write(docs.join(format!("growth-{name}.svg")), chart.to_string())
}
