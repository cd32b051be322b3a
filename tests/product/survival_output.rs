//! What stages write is kept whole, and their time is over when it is, whoever dies meanwhile.

use std::time::Duration;

use chrono::TimeDelta;
use event::{EventKind, StageResult};
use sha2::{Digest as _, Sha256};

use crate::harness::audit::{assert_nothing_left, audit, read_all, stdout};
use crate::harness::process::wait_for;
use crate::harness::witness::Said;
use crate::survival::{CLEAN, Dice, Place, faults};

#[test]
fn output_is_kept_byte_by_byte_whoever_dies_meanwhile() {
    let mut dice = Dice::cast("output_is_kept_byte_by_byte_whoever_dies_meanwhile");
    // From nothing to 64 MiB, small ones more often.
    let sizes: Vec<u64> = match faults() {
        Some(_) => (0..20u64).map(|number| (64 << 20) * number.pow(3) / 19u64.pow(3)).collect(),
        None => vec![0, 1, 70_001, 1 << 20],
    };
    let mut place = Place::new(|witness| {
        let mut text = "image: busybox:1\nstages:\n".to_owned();
        for (number, size) in sizes.iter().enumerate() {
            text.push_str(&format!(
                "  s{number}:\n    needs: []\n    run:\n      - |\n        {say}\n        say begin\n        \
                 head -c {size} /dev/urandom >/tmp/f\n        \
                 say sum $(sha256sum /tmp/f | cut -c1-64)\n        \
                 i=0; while [ $i -lt 16 ]; do\n          \
                 dd if=/tmp/f bs={piece} skip=$i count=1 2>/dev/null; sleep 0.3; i=$((i+1))\n        \
                 done\n",
                piece = size.div_ceil(16).max(1),
                say = witness.say(),
            ));
        }
        text
    });
    assert!(place.trigger());
    let kills = faults().map_or(2, |_| 10);
    wait_for("a stage to begin", Duration::from_secs(60), || {
        place.witness.said().iter().any(|said| said.word == "sum").then_some(())
    });
    for _ in 0..kills {
        dice.sleep(Duration::from_secs(3));
        place.kill(&mut dice);
    }
    place.wait_for_all(Duration::from_secs(900));
    place.server.terminate();
    let runs = read_all(&place.server.data.join("state.db"));
    assert_nothing_left(&place.instance, &runs, CLEAN);
    let said = place.witness.said();
    let mut broken = audit(&runs, &place.engine, &said, &place.deaths, true);
    let told = &runs[0];
    let output = place.server.data.join("runs").join(told.row.id.to_string()).join("output");
    let run = told.row.id.to_string();
    let mut bytes = 0;
    for (number, size) in sizes.iter().enumerate() {
        let stage = format!("s{number}");
        let is_sum =
            |said: &&Said| (&*said.run, &*said.stage, &*said.word) == (&run, &stage, "sum");
        let sum = said.iter().find(is_sum);
        let sum = sum.map(|said| said.rest.clone()).unwrap_or_default();
        let kept = stdout(&output, &stage, 1);
        bytes += kept.len();
        if hex::encode(Sha256::digest(&kept)) != sum {
            broken.push(format!("{} of {size} bytes are kept of {stage}", kept.len()));
        }
        if told.stages().get(stage.as_str()) != Some(&(StageResult::Passed, Some(0))) {
            broken.push(format!("{stage} ended as {:?}", told.stages().get(stage.as_str())));
        }
    }
    assert_eq!(broken, [""; 0]);
    eprintln!("{kills} kills, {} stages, {bytes} bytes", sizes.len());
}

#[test]
fn a_deadline_holds_across_deaths() {
    let mut dice = Dice::cast("a_deadline_holds_across_deaths");
    let (limit, rounds) = if faults().is_some() { (20, 25) } else { (8, 1) };
    let mut place = Place::new(|witness| {
        format!(
            "image: busybox:1\nstages:\n  long:\n    timeout: {limit}s\n    run:\n      - |\n        \
             {say}\n        say begin\n        while true; do sleep 0.2; done\n",
            say = witness.say(),
        )
    });
    for _ in 0..rounds {
        let begun = place.witness.said().len();
        // Two at a time, as many as may be.
        assert!(place.trigger() && place.trigger());
        wait_for("both to begin", Duration::from_secs(60), || {
            (place.witness.said().len() >= begun + 2).then_some(())
        });
        for _ in 0..3 {
            std::thread::sleep(Duration::from_secs(limit) / 4);
            place.kill(&mut dice);
        }
        place.wait_for_all(Duration::from_secs(60));
    }
    place.server.terminate();
    let runs = read_all(&place.server.data.join("state.db"));
    assert_nothing_left(&place.instance, &runs, CLEAN);
    let containers = place.engine.containers();
    let mut broken = audit(&runs, &place.engine, &place.witness.said(), &place.deaths, true);
    let limit = TimeDelta::seconds(limit.try_into().expect("it is short"));
    for told in &runs {
        let container = &containers[&told.row.id.to_string()][0];
        let ended = container.ended.expect("it ended");
        // While no server is there, nobody stops it.
        let deadline = container.begun + limit;
        let due = place.deaths.somebody_is_there(deadline);
        let slack = TimeDelta::seconds(3);
        if ended < deadline - slack || ended > due + slack {
            let lasted = ended - container.begun;
            broken.push(format!("{} lasted {lasted}, not {limit}; due at {due}", container.name));
        }
        let end = told.stages()["long"].0;
        if end != StageResult::TimedOut {
            broken.push(format!("{} is {end}", container.name));
        }
    }
    assert_eq!(broken, [""; 0]);
    eprintln!("{} deadlines, {} kills", runs.len(), place.deaths.len());
}

/// The quarter of it that is kept takes minutes.
#[test]
#[ignore = "a gigabyte is written; `make test-faults` does it"]
fn a_gigabyte_of_output_is_read_to_its_end_kept_to_the_cap_and_changes_no_verdict() {
    let limit = runner::OUTPUT_LIMIT;
    // A pipe that nobody reads would hold the stage up for ever.
    let mut place = Place::new(|_| {
        let bytes = 1 << 30;
        format!("image: busybox:1\nstages:\n  loud: head -c {bytes} /dev/zero | tr '\\0' x\n")
    });
    let before = place.server.peak_memory();
    assert!(place.trigger());
    place.wait_for_all(Duration::from_secs(900));
    let grown = place.server.peak_memory() - before;
    place.server.terminate();
    let runs = read_all(&place.server.data.join("state.db"));
    let told = &runs[0];
    assert_eq!(told.stages()["loud"], (StageResult::Passed, Some(0)));
    let output = place.server.data.join("runs").join(told.row.id.to_string()).join("output");
    let kept = stdout(&output, "loud", 1);
    assert!(kept.iter().all(|byte| *byte == b'x'));
    let marker = std::fs::read_to_string(runner::log_path(&output, "loud", 1)).expect("kept");
    let marker = marker.lines().last().expect("a last line").to_owned();
    assert!(marker.contains("output ends here: an attempt may write 256 MiB"), "{marker}");
    // The line that echoes the command counts as well.
    let echoed = limit - kept.len() as u64;
    assert!(echoed < 100, "{} bytes are kept", kept.len());
    assert!(grown < 64 << 20, "the server grew by {grown} bytes");
    let ended = told.events.iter().any(|event| matches!(event.kind, EventKind::RunFinished { .. }));
    assert!(ended);
    eprintln!("{} bytes are kept, the server grew by {} KiB", kept.len(), grown >> 10);
}
