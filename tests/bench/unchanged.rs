//! Twenty stages for which nothing has changed.

use std::io;
use std::time::Duration;

use crate::lab::{IMAGE, Lab};
use crate::measure::{Contestant, interleave};
use crate::table::{Goal, OWN, Table};

const STAGES: usize = 20;
const TURNS: usize = 11;

pub fn twenty(lab: &Lab, table: &mut Table) -> io::Result<()> {
    let mut pipeline = format!("image: {IMAGE}\nstages:\n");
    for stage in 0..STAGES {
        pipeline.push_str(&format!(
            "  s{stage}: {{ run: cat source{stage} >built{stage}, inputs: [source{stage}] }}\n"
        ));
    }
    let mut files = vec![(".shipline.yml".to_owned(), pipeline)];
    files.extend((0..STAGES).map(|stage| (format!("source{stage}"), format!("{stage}\n"))));
    let files: Vec<(&str, &str)> =
        files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let folder = lab.repository("unchanged", &files)?;
    lab.run(&folder, &[])?;
    let mut contestants = [Contestant::new(OWN, TURNS, || lab.run(&folder, &[]))];
    interleave(&mut contestants);
    let [own] = contestants;
    let own = own.over()?;
    let took = own.median().unwrap_or_default().wall;
    let goals = [Goal::time("", took, Duration::from_millis(300))];
    table.add("20 stages, unchanged", &[own], &goals);
    Ok(())
}
