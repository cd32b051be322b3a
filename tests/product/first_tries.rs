//! What a user first tries to break: each ends in a sentence somebody can act on, with the
//! exit code of whose fault it was, and leaves nothing behind.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::engine::{OwnEngine, SmallDisk};
use crate::harness::guide::block;
use crate::harness::lab::{Lab, docker};
use crate::harness::machine::had;
use crate::harness::process::{Process, signal, wait_for};
use crate::local_run::repository;

/// The second stage is caught in the middle, and would end by itself.
const PIPELINE: &str = "image: busybox:1\nstages:\n  make: echo made >made\n  \
    wait: { needs: [make], run: [echo started, sleep 6] }\n  \
    after: { needs: [wait], run: cat made }\n";

/// What is said at the end of a run that was nobody's fault who wrote it.
const RERUN: &str = "note: once that works again, `shipline rerun` goes on from what passed";

#[test]
fn docker_is_stopped_during_a_run() {
    let Some(mut engine) = had("own-engine", OwnEngine::start()) else { return };
    let lab = Lab::on(engine.host());
    // Several at once: none of them may be blamed for how Docker ends them.
    let beside =
        "  beside: { needs: [make], run: sleep 6 }\n  apart: { needs: [make], run: sleep 6 }\n";
    let folder = repository(&lab, &(PIPELINE.to_owned() + beside));
    let mut run = begin(&lab, &folder, &["run"]);
    for line in ["wait     | started", "beside   | $ sleep 6", "apart    | $ sleep 6"] {
        wait_for_line(&mut run, line);
    }
    engine.stop();
    assert_eq!(run.wait(Duration::from_secs(90)), Some(3), "{}", run.text());
    let said = run.text();
    assert_contains(&said, "error[E099]: docker: ");
    assert_contains(&said, "the docker daemon was stopped");
    assert_contains(&said, "the engine does not answer (");
    assert!(!said.contains("exit 143"), "{said}");
    assert_contains(&said, "= start the engine again, as with `sudo systemctl start docker`");
    assert_contains(&said, "warning: what the run left on the engine is still there: ");
    assert_contains(&said, "  = help: the next `shipline run` removes it");
    assert_contains(&said, RERUN);
    assert!(!said.contains("hyper"), "no words of a library:\n{said}");

    // Without it nothing begins, and the one line says what to do.
    let refused = lab.run(&folder, &["run"]).expect(3).stderr;
    assert_contains(&refused, "error: no Docker engine answers at unix://");
    assert_contains(&refused, ": start it, or install it");

    engine.up().expect("it starts again");
    let again = lab.run(&folder, &["rerun"]).expect(0).stdout;
    assert_contains(&again, "make     = unchanged");
    assert_contains(&again, "after    | made");
    assert_eq!(engine.left(), [""; 0]);
}

#[test]
fn docker_is_restarted_during_a_run_and_the_stage_is_tried_again() {
    let Some(mut engine) = had("own-engine", OwnEngine::start()) else { return };
    for crash in [false, true] {
        let lab = Lab::on(engine.host());
        let folder = repository(&lab, PIPELINE);
        let mut run = begin(&lab, &folder, &["run"]);
        wait_for_line(&mut run, "| started");
        if crash {
            engine.kill();
        } else {
            engine.stop();
        }
        engine.up().expect("it starts again");
        assert_eq!(run.wait(Duration::from_secs(90)), Some(0), "{}", run.text());
        assert_contains(&run.text(), "| attempt 1 infra-error: ");
        assert_contains(&run.text(), "; attempt 2 begins in ");
        assert_eq!(engine.left(), [""; 0]);
    }
}

#[test]
fn the_disk_of_the_state_is_full() {
    let lab = Lab::new();
    let Some(disk) = had("small-disk", SmallDisk::mount(&lab.home(), 3)) else { return };
    let folder = repository(
        &lab,
        "image: busybox:1\nstages:\n  quiet: 'true'\n  \
         loud: { needs: [quiet], run: yes $(printf %04000d 7) | head -c 4000000 }\n",
    );
    // The run itself cannot be written down any more.
    let ran = lab.run(&folder, &["run"]).expect(3);
    assert_contains(
        &ran.stderr,
        "error: the run could not go on: the journal of the run cannot be written",
    );
    assert_contains(&ran.stderr, "database or disk is full");
    assert_contains(
        &ran.stderr,
        "  = help: make room on the disk; `SHIPLINE_HOME` puts the state on another one",
    );
    assert_contains(&ran.stderr, "  = help: `shipline rerun` ends it and goes on from what passed");
    assert_eq!(left_by_home(&lab), [""; 0]);
    // Nor can the next one.
    let next = lab.run(&folder, &["run"]).expect(3).stderr;
    assert_contains(&next, "is full");
    assert_contains(&next, "  = help: make room on the disk");

    disk.grow(64);
    let again = lab.run(&folder, &["rerun"]).expect(0);
    assert_contains(&again.stderr, "did not end: its process died");
    assert_contains(&again.stdout, "quiet    = unchanged");
    assert_contains(&again.stdout, "loud     = passed");
    assert_eq!(left_by_home(&lab), [""; 0]);
    lab.run(&folder, &["clean"]).expect(0);
    std::fs::remove_file(lab.home().join("state.db")).expect("removed");
    drop(disk);
}

#[test]
fn the_disk_of_the_output_is_full() {
    let lab = Lab::new();
    let Some(disk) = had("small-disk", SmallDisk::mount(&lab.home().join("dirs"), 1)) else {
        return;
    };
    let folder = repository(
        &lab,
        "image: busybox:1\nstages:\n  loud:\n    retry: { max: 0, on: [infrastructure] }\n    \
         run: ['yes $(printf %04000d 7) | head -c 3000000; echo the end']\n",
    );
    let ran = lab.run(&folder, &["run"]).expect(3);
    assert_contains(&ran.stdout, "the end\n");
    assert_contains(
        &ran.stdout,
        "error[E099]: the output could not be kept: No space left on device (os error 28)",
    );
    assert_contains(&ran.stdout, &format!("= make room on the disk of {}", lab.home().display()));
    assert_contains(&ran.stderr, RERUN);
    assert_eq!(left_by_home(&lab), [""; 0]);
    disk.grow(64);
    lab.run(&folder, &["rerun"]).expect(0);
    lab.run(&folder, &["clean"]).expect(0);
    std::fs::remove_file(lab.home().join("state.db")).expect("removed");
    drop(disk);
}

#[test]
fn the_disk_of_the_engine_is_full() {
    let Some(engine) = had("own-engine", OwnEngine::on_disk_of(60)) else { return };
    let lab = Lab::on(engine.host());
    let folder = repository(
        &lab,
        "image: busybox:1\nstages:\n  big: 'dd if=/dev/zero of=big bs=1M count=${MEGABYTES:-100}'\n",
    );
    // While a stage runs it is what the stage wrote,
    let ran = lab.run(&folder, &["run"]).expect(1).stdout;
    assert_contains(&ran, "big      = resource-limit");
    assert_contains(&ran, "error[E092]: no space left (exit 1): the disk of the engine, with ");
    assert_contains(&ran, "has no room for the workspace; make room, or let the stage write less");
    assert_eq!(engine.left(), [""; 0]);
    // and before one it is nobody's who wrote the pipeline.
    lab.run(&folder, &["clean"]).expect(0);
    engine.fill();
    let ran = lab.run(&folder, &["run"]).expect(3);
    assert_contains(&ran.stdout, "error[E099]: docker: ");
    assert_contains(&ran.stdout, "no space left on device");
    assert_contains(
        &ran.stdout,
        "= the disk of the engine is full: `docker system df` tells what takes it",
    );
    assert_contains(&ran.stderr, RERUN);
    assert_eq!(engine.left(), [""; 0]);

    engine.make_room();
    std::fs::write(
        folder.join(".shipline.yml"),
        "image: busybox:1\nstages:\n  big: dd if=/dev/zero of=big bs=1M count=1\n",
    )
    .expect("written");
    lab.run(&folder, &["run"]).expect(0);
    assert_eq!(engine.left(), [""; 0]);
}

#[test]
fn ctrl_c_twice_says_each_time_what_happens_now() {
    let lab = Lab::new();
    let folder = repository(
        &lab,
        "image: busybox:1\nstages:\n  stubborn:\n    cancel-grace: 5m\n    \
         run: [\"trap '' TERM\", echo started, 'while true; do sleep 1; done']\n",
    );
    let mut run = begin(&lab, &folder, &["run"]);
    wait_for_line(&mut run, "| started");
    signal(run.pid(), "INT");
    let first = "stages get time to end, press Ctrl-C again to kill them";
    wait_for_line(&mut run, first);
    assert!(run.is_alive(), "it waits for the stage");
    signal(run.pid(), "INT");
    let begun = Instant::now();
    assert_eq!(run.wait(Duration::from_secs(30)), Some(130), "{}", run.text());
    assert!(begun.elapsed() < Duration::from_secs(8), "it took {:?}", begun.elapsed());
    assert_contains(&run.text(), "cancelled again: what still runs is killed");
    assert_contains(&run.text(), "stubborn = cancelled");
    assert_contains(&run.text(), "\ncancelled in ");
    assert_eq!(left_by_home(&lab), [""; 0]);
}

#[test]
fn the_image_is_removed_before_the_stage_that_needs_it() {
    let lab = Lab::new();
    // Nobody listens there.
    let image = format!("127.0.0.1:1/{}:1", name(&lab));
    docker(&["tag", "busybox:1", &image]);
    let retry = "defaults: { retry: { max: 0, on: [infrastructure] } }\n";
    let folder = repository(&lab, &(retry.to_owned() + &PIPELINE.replace("busybox:1", &image)));
    let mut run = begin(&lab, &folder, &["run"]);
    wait_for_line(&mut run, "| started");
    // The stage that runs has its container, and goes on without the name.
    docker(&["rmi", &image]);
    assert_eq!(run.wait(Duration::from_secs(120)), Some(3), "{}", run.text());
    let said = run.text();
    assert_contains(&said, "wait     = passed");
    let error = format!(
        "error[E099]: registry: image `{image}` is not on this engine, and its registry cannot be used: "
    );
    assert_contains(&said, &error);
    let way_out = format!(
        "= `docker pull {image}`, `docker load` or `docker build` brings it to this engine again"
    );
    assert_contains(&said, &way_out);
    assert_contains(&said, RERUN);
    assert_eq!(left_by_home(&lab), [""; 0]);

    docker(&["tag", "busybox:1", &image]);
    let again = lab.run(&folder, &["rerun"]);
    docker(&["rmi", &image]);
    let again = again.expect(0).stdout;
    assert_contains(&again, "wait     = unchanged");
    assert_contains(&again, "after    | made");
}

#[test]
fn the_process_is_killed_and_the_next_one_tells_what_became_of_it() {
    let lab = Lab::new();
    let folder = repository(&lab, PIPELINE);
    let mut run = begin(&lab, &folder, &["run"]);
    wait_for_line(&mut run, "| started");
    run.kill();
    let rows = lab.run(&folder, &["runs", "--format", "json"]).expect(0).json();
    let killed = rows[0]["short"].as_str().expect("a run has a short id").to_owned();
    assert_eq!(rows[0]["state"], "running");

    let again = lab.run(&folder, &["rerun"]).expect(0);
    // As the page on local runs tells it of its pipeline.
    let page = block("running-locally.md", "did not end: its process died");
    assert_eq!(page[0], "$ shipline rerun");
    let notes: Vec<&String> = page.iter().filter(|line| line.starts_with("note: ")).collect();
    assert_eq!(notes.len(), 3);
    for note in notes {
        let note = note.replace("3f9a0c1d", &killed).replace("`orders`", "`tree`");
        assert_contains(&again.stderr, &note.replace("compile", "make"));
    }
    assert_contains(&again.stdout, "make     = unchanged");
    assert_contains(&again.stdout, "wait     = passed");
    assert_contains(&again.stdout, "after    | made");
    let told = lab.run(&folder, &["runs", &killed]).expect(0).stdout;
    assert_contains(&told, "infra-error");
    assert_eq!(left_by_home(&lab), [""; 0]);
    // It is told once.
    assert_eq!(lab.run(&folder, &["rerun"]).expect(0).stderr, "");
}

fn begin(lab: &Lab, folder: &Path, arguments: &[&str]) -> Process {
    let mut command = lab.shipline();
    command.current_dir(folder).args(arguments);
    Process::start(&mut command, &lab.path().join("run.log"))
}

fn wait_for_line(process: &mut Process, end: &str) {
    wait_for(&format!("`{end}`"), Duration::from_secs(60), || {
        process.assert_alive();
        process.text().lines().any(|line| line.trim_end().ends_with(end)).then_some(())
    });
}

#[track_caller]
fn assert_contains(text: &str, part: &str) {
    assert!(text.contains(part), "no `{part}` in\n{text}");
}

/// Unlike that of any other lab.
fn name(lab: &Lab) -> String {
    lab.path().file_name().expect("a name").to_string_lossy().to_lowercase()
}

/// What runs of the lab left on the engine of this machine.
fn left_by_home(lab: &Lab) -> Vec<String> {
    let mut left = lab.objects(&lab.instance());
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let rows = lab.run(lab.path(), &["runs", "--format", "json"]).expect(0).json();
    for row in rows.as_array().into_iter().flatten() {
        let volumes = format!("sl-{}", row["short"].as_str().expect("a run has a short id"));
        left.extend(mounts.lines().filter(|line| line.contains(&volumes)).map(str::to_owned));
    }
    left
}
