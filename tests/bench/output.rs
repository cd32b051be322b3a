//! A stage that writes a lot: its output is read, masked, stored and shown.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use crate::lab::{IMAGE, Lab};
use crate::measure::{Contestant, Sample, call, interleave, process};
use crate::peers;
use crate::table::{Goal, OWN, Table};

/// Lines of 500 bytes in 100 MB.
const LINES: u64 = 200_000;
/// Of one stage; more than 256 MiB of one stage are not kept.
const STAGE: u64 = 2 * LINES;
const TURNS: usize = 5;
/// What each line has, and nothing else has.
const MARK: &str = "0123456789";

fn line() -> String {
    MARK.repeat(50)[..499].to_owned()
}

fn command(lines: u64) -> String {
    format!("yes {} | head -n {lines}", line())
}

/// Writes so many lines, in one stage after another.
fn pipeline(lines: u64) -> String {
    let mut text = format!("image: {IMAGE}\nstages:\n");
    let mut left = lines;
    while left > 0 {
        let part = left.min(STAGE);
        text.push_str(&format!("  s{left}: {{ run: '{}' }}\n", command(part)));
        left -= part;
    }
    text
}

pub fn hundred(lab: &Lab, table: &mut Table) -> io::Result<()> {
    let text = command(LINES);
    let workflow = format!(
        "on: push\njobs:\n  s:\n    runs-on: ubuntu-latest\n    steps:\n      - {{ shell: sh, run: '{text}' }}\n"
    );
    let gitlab = format!("s: {{ image: {IMAGE}, script: ['{text}'] }}\n");
    let folder = lab.repository(
        "output",
        &[
            (".shipline.yml", &pipeline(LINES)),
            (".github/workflows/run.yml", &workflow),
            (".gitlab-ci.yml", &gitlab),
            (".gitignore", ".gitlab-ci-local\n"),
        ],
    )?;
    let (shown, stored) = counted(lab, &folder)?;
    let own = || lab.run(&folder, &[]);
    let words = ["sh", "-c", &text];
    let attach = || {
        call(|| {
            let bytes = lab.runtime.block_on(lab.engine.attached(&words))?;
            let all = bytes == LINES * 500;
            all.then_some(()).ok_or_else(|| io::Error::other(format!("only {bytes} bytes came")))
        })
    };
    let docker = || {
        let mut command = std::process::Command::new("docker");
        process(command.args(["run", "--rm", "--log-driver", "none", IMAGE]).args(words))
    };
    let mut contestants = vec![
        Contestant::new(OWN, TURNS, own),
        Contestant::new("engine API", TURNS, attach),
        Contestant::new("`docker run`", TURNS, docker),
    ];
    contestants.extend(peers::act(lab, &folder, IMAGE, 4, 2));
    contestants.extend(peers::gitlab(&folder, 4, 1));
    interleave(&mut contestants);
    let contestants =
        contestants.into_iter().map(Contestant::over).collect::<io::Result<Vec<_>>>()?;
    let own = contestants[0].median().unwrap_or_default();
    let goals = [
        Goal::ratio(own, contestants[1].median(), 1.2, "attach"),
        Goal::all("lines shown", shown, LINES),
        Goal::all("lines stored", stored, LINES),
        Goal::memory(own.memory, 40 << 20),
    ];
    table.add("W5: 100 MB of output, in 200,000 lines", &contestants, &goals);

    let mut whole = [Contestant::new(OWN, 1, || printed(lab, 10 * LINES))];
    interleave(&mut whole);
    let [whole] = whole;
    let whole = whole.over()?;
    let goals = [Goal::memory(whole.median().and_then(|sample| sample.memory), 40 << 20)];
    table.add("1 GB of output, in five stages", &[whole], &goals);
    Ok(())
}

/// Runs a pipeline that prints so many lines of 500 bytes.
pub fn printed(lab: &Lab, lines: u64) -> io::Result<Sample> {
    let name = format!("output-{lines}");
    let folder = lab.path(&name);
    if !folder.exists() {
        lab.repository(&name, &[(".shipline.yml", &pipeline(lines))])?;
    }
    lab.run(&folder, &[])
}

/// How many lines one run shows, and how many are there afterwards.
fn counted(lab: &Lab, folder: &Path) -> io::Result<(u64, u64)> {
    let file = lab.path("shown");
    let mut run = lab.shipline(folder, &["run", "--plain"]);
    run.stdout(File::create(&file)?).stderr(Stdio::null());
    if !run.status()?.success() {
        return Err(io::Error::other("the run failed"));
    }
    let mut first = String::new();
    BufReader::new(File::open(&file)?).read_line(&mut first)?;
    let id = first.trim().rsplit(' ').next().unwrap_or_default().to_owned();
    let stored = lab.path("stored");
    let mut logs = lab.shipline(folder, &["logs", &id]);
    logs.stdout(File::create(&stored)?).stderr(Stdio::null());
    if !logs.status()?.success() {
        return Err(io::Error::other(format!("the output of {id} cannot be read")));
    }
    let counts = (lines(&file)?, lines(&stored)?);
    std::fs::remove_file(file)?;
    std::fs::remove_file(stored)?;
    Ok(counts)
}

fn lines(file: &Path) -> io::Result<u64> {
    let whole = line();
    let mut count = 0;
    for line in BufReader::new(File::open(file)?).lines() {
        count += u64::from(line?.ends_with(&whole));
    }
    // The command itself is told as well.
    Ok(count)
}
