//! Ctrl-C ends a run and leaves nothing behind.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::lab::{Lab, docker};
use crate::harness::process::{Process, signal, wait_for};
use crate::local_run::repository;

const PIPELINE: &str =
    "image: debian:12\nstages:\n  sleep: [echo started, sleep 300]\n  after: 'true'\n";

#[test]
fn ctrl_c_leaves_no_container_network_mount_or_volume() {
    let lab = Lab::new();
    let folder = repository(&lab, PIPELINE);
    let mut process = start(&lab, &folder);
    wait_for_output(&mut process, "started");
    let began = Instant::now();
    signal(process.pid(), "INT");
    let code = process.wait(Duration::from_secs(30));
    assert_eq!(code, Some(130), "{}", process.text());
    assert!(began.elapsed() < Duration::from_secs(15), "it took {:?}", began.elapsed());
    assert!(process.text().contains("cancelled"), "{}", process.text());
    assert_nothing_left(&lab, &folder);
}

#[test]
fn a_process_that_ignores_term_is_killed_by_the_second_ctrl_c() {
    let lab = Lab::new();
    let folder = repository(
        &lab,
        "image: debian:12\nstages:\n  stubborn: [\"trap '' TERM\", echo started, 'while true; do sleep 1; done']\n",
    );
    let mut process = start(&lab, &folder);
    wait_for_output(&mut process, "started");
    signal(process.pid(), "INT");
    std::thread::sleep(Duration::from_millis(500));
    let began = Instant::now();
    signal(process.pid(), "INT");
    assert_eq!(process.wait(Duration::from_secs(30)), Some(130), "{}", process.text());
    assert!(began.elapsed() < Duration::from_secs(8), "it took {:?}", began.elapsed());
    assert_nothing_left(&lab, &folder);
}

#[test]
fn a_reader_that_has_stopped_reading_does_not_hold_up_the_second_ctrl_c() {
    let lab = Lab::new();
    let folder = repository(&lab, "image: debian:12\nstages:\n  loud: 'yes'\n");
    let mut command = lab.shipline();
    command.current_dir(&folder).arg("run").stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the binary starts");
    // As a pager does at its first page: the rest stays in the pipe.
    let mut page = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert!(page.any(|line| line.is_ok_and(|line| line.ends_with('y'))), "there is some output");
    signal(child.id(), "INT");
    std::thread::sleep(Duration::from_millis(500));
    signal(child.id(), "INT");
    let began = Instant::now();
    let ended = wait_for("the end", Duration::from_secs(30), || {
        if began.elapsed() > Duration::from_secs(20) {
            child.kill().expect("a child can be killed");
        }
        child.try_wait().expect("a child can be asked")
    });
    assert_eq!(ended.code(), Some(130));
    drop(page);
    assert_nothing_left(&lab, &folder);
}

#[test]
fn a_killed_run_is_swept_by_the_next_one_and_ends_in_a_stated_verdict() {
    let lab = Lab::new();
    let folder = repository(&lab, PIPELINE);
    let mut process = start(&lab, &folder);
    wait_for_output(&mut process, "started");
    process.kill();
    let killed = short_id(&lab, &folder);
    assert!(!names_of(&killed).is_empty(), "the container outlives its runner");
    std::fs::write(folder.join(".shipline.yml"), "image: debian:12\nstages:\n  quick: 'true'\n")
        .expect("a file can be written");
    lab.run(&folder, &["run"]).expect(0);
    assert_eq!(names_of(&killed), Vec::<String>::new());
    let rows = lab.run(&folder, &["runs", "--format", "json"]).expect(0).json();
    let row = rows.as_array().expect("rows").iter().find(|row| row["short"] == killed.as_str());
    assert_eq!(row.expect("the run is remembered")["result"], "infra-error");
}

fn start(lab: &Lab, folder: &std::path::Path) -> Process {
    let mut command = lab.shipline();
    command.current_dir(folder).arg("run");
    Process::start(&mut command, &lab.path().join("run.log"))
}

fn wait_for_output(process: &mut Process, text: &str) {
    wait_for("the stage to start", Duration::from_secs(60), || {
        process.assert_alive();
        // The echoed command contains the word too; the output is a line of its own.
        process
            .text()
            .lines()
            .any(|line| line.trim_end().ends_with(text) && !line.contains("echo"))
            .then_some(())
    });
}

fn short_id(lab: &Lab, folder: &std::path::Path) -> String {
    let rows = lab.run(folder, &["runs", "--format", "json"]).expect(0).json();
    rows[0]["short"].as_str().expect("a run has a short id").to_owned()
}

fn assert_nothing_left(lab: &Lab, folder: &std::path::Path) {
    let short = short_id(lab, folder);
    assert_eq!(names_of(&short), Vec::<String>::new());
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    assert!(!mounts.contains(&format!("sl-{short}")), "{mounts}");
}

/// Names of containers, networks and volumes that carry a run's short id, but for the files
/// that say they stay.
fn names_of(short: &str) -> Vec<String> {
    let mut names = docker(&["ps", "--all", "--format", "{{.Names}}"]);
    names.push_str(&docker(&["network", "ls", "--format", "{{.Name}}"]));
    let volumes = docker(&["volume", "ls", "--format", "{{.Name}} {{.Labels}}"]);
    let volumes = volumes.lines().filter(|line| !line.contains("shipline.keep="));
    names.extend(volumes.map(|line| format!("{line}\n")));
    names.lines().filter(|name| name.contains(short)).map(str::to_owned).collect()
}
