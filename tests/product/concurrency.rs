//! Concurrency groups between processes of one machine.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::harness::lab::Lab;
use crate::harness::process::{Process, wait_for};
use crate::local_run::repository;

const PIPELINE: &str =
    "image: busybox:1\nconcurrency: { group: board }\nstages:\n  flash: echo begun; sleep 6\n";

/// Starts `shipline run` with its output in the file `log`.
fn start(lab: &Lab, folder: &Path, log: &str) -> Process {
    let mut command = lab.shipline();
    command.current_dir(folder).arg("run");
    Process::start(&mut command, &lab.path().join(log))
}

fn says(process: &Process, part: &str) {
    wait_for(part, Duration::from_secs(60), || process.text().contains(part).then_some(()));
}

#[test]
fn two_processes_take_turns_and_the_second_says_who_is_in_its_way() {
    let lab = Lab::new();
    let folder = repository(&lab, PIPELINE);
    let mut first = start(&lab, &folder, "first");
    says(&first, "flash    | begun");
    let mut second = start(&lab, &folder, "second");
    says(&second, "waits for the group `board`: held by run ");
    let runs = lab.run(&folder, &["runs", "--format", "json"]).json();
    let short = |at: usize| runs[at]["short"].as_str().expect("a run").to_owned();
    let why = lab.run(&folder, &["why", "flash", "--run", &short(0)]).expect(0).stdout;
    let expected = format!(
        "the run waits for the group `board`: held by run {}, position 1 in the queue",
        short(1)
    );
    assert!(why.contains(&expected), "{why}");
    assert_eq!(first.wait(Duration::from_secs(60)), Some(0), "{}", first.text());
    assert_eq!(second.wait(Duration::from_secs(60)), Some(0), "{}", second.text());
    let runs = lab.run(&folder, &["runs", "--format", "json"]).json();
    let time = |at: usize, field: &str| -> chrono::DateTime<chrono::Utc> {
        runs[at][field].as_str().expect("a time").parse().expect("a time")
    };
    assert!(time(0, "started_at") >= time(1, "finished_at"), "{runs:#}");
}

#[test]
fn a_dead_process_is_in_nobodys_way() {
    let lab = Lab::new();
    let folder = repository(&lab, PIPELINE);
    let mut first = start(&lab, &folder, "first");
    says(&first, "flash    | begun");
    let mut second = start(&lab, &folder, "second");
    says(&second, "waits for the group `board`");
    first.kill();
    assert_eq!(second.wait(Duration::from_secs(60)), Some(0), "{}", second.text());
}

#[test]
fn a_newer_run_cancels_the_one_that_runs_where_the_group_says_so() {
    let lab = Lab::new();
    let text = PIPELINE.replace("group: board", "group: board, on-new: cancel-running");
    let folder = repository(&lab, &text.replace("sleep 6", "sleep 60"));
    let mut first = start(&lab, &folder, "first");
    says(&first, "flash    | begun");
    std::fs::write(folder.join(".shipline.yml"), text.replace("sleep 6", "sleep 1"))
        .expect("a file can be written");
    let mut second = start(&lab, &folder, "second");
    assert_eq!(first.wait(Duration::from_secs(60)), Some(1), "{}", first.text());
    assert!(
        first.text().contains(" is newer and takes its place in the group `board`"),
        "{}",
        first.text()
    );
    assert_eq!(second.wait(Duration::from_secs(60)), Some(0), "{}", second.text());
    let runs: Value = lab.run(&folder, &["runs", "--format", "json"]).json();
    assert_eq!((&runs[0]["result"], &runs[1]["result"]), (&"passed".into(), &"cancelled".into()));
}
