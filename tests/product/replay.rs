//! A recorded run, shown again.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use crate::harness::lab::{Lab, Ran};
use crate::local_run::{assert_gapless, output_of, repository, split};

const PIPELINE: &str = "image: busybox:1
stages:
  left: echo left; sleep 1; echo again >&2
  right: { needs: [], run: echo right; printf 'l\\366schen\\n' }
  last: { needs: [left, right], run: echo last; exit 4, retry: { max: 1, on: [{ exit: [4] }] } }
";

/// A run that failed, as JSON lines.
fn lab() -> (Lab, std::path::PathBuf, Ran) {
    let lab = Lab::new();
    let folder = repository(&lab, PIPELINE);
    let ran = lab.run(&folder, &["run", "--format", "json"]).expect(1);
    (lab, folder, ran)
}

/// The frames of each attempt, as often as they were told.
fn frames(lines: &[Value]) -> BTreeMap<String, Vec<String>> {
    let mut frames: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for frame in split(lines).1 {
        let attempt = format!("{} {}", frame["stage"], frame["attempt"]);
        frames.entry(attempt).or_default().push(frame.to_string());
    }
    frames
}

#[test]
fn a_stored_run_is_exported_as_it_was_told() {
    let (lab, folder, ran) = lab();
    let told = ran.lines();
    let short = lab.run(&folder, &["runs", "--format", "json"]).json()[0]["short"].clone();
    let short = short.as_str().expect("an id");
    let export = lab.run(&folder, &["replay", short, "--format", "json"]).expect(0);
    let exported = export.lines();
    assert_gapless(&exported);
    assert_eq!(split(&exported).0, split(&told).0, "the events are the same");
    assert_eq!(frames(&exported), frames(&told), "and so are the frames of each attempt");
    // Output comes after the beginning of its attempt and before its end.
    let mut open: Vec<(Value, Value)> = Vec::new();
    for line in &exported {
        let attempt = (line["stage"].clone(), line["attempt"].clone());
        match line["kind"].as_str() {
            Some("attempt.starting") => open.push(attempt),
            Some("attempt.finished") => open.retain(|known| *known != attempt),
            Some(_) => {}
            None => assert!(open.contains(&attempt), "{line}"),
        }
    }
    // A file is told through as it is, from a file and from a pipe.
    let file = lab.path().join("run.ndjson");
    std::fs::write(&file, &ran.stdout).expect("written");
    let name = file.display().to_string();
    let through = lab.run(lab.path(), &["replay", &name, "--format", "json"]).expect(0);
    assert_eq!(through.stdout, ran.stdout);
    assert_eq!(output_of(&through.lines(), "left"), "left\nagain\n");
    let mut command = lab.shipline();
    command.args(["replay", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("started");
    child.stdin.take().expect("piped").write_all(ran.stdout.as_bytes()).expect("written");
    let shown = Ran::from(child.wait_with_output().expect("ended")).expect(0).stdout;
    for part in ["left     | left", "right    | l\u{fffd}schen", "last     = failed", "failed in "]
    {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
}

#[test]
fn a_replay_keeps_the_pace_it_is_given() {
    let (lab, _, ran) = lab();
    let file = lab.path().join("run.ndjson");
    std::fs::write(&file, &ran.stdout).expect("written");
    let name = file.display().to_string();
    let lines = ran.lines();
    let took = lines.last().expect("lines")["duration_ms"].as_u64().expect("a duration");
    let timed = |arguments: &[&str]| {
        let began = std::time::Instant::now();
        lab.run(lab.path(), &[&["replay", &name][..], arguments].concat()).expect(0);
        u64::try_from(began.elapsed().as_millis()).expect("not that long")
    };
    let half = timed(&["--speed", "2"]);
    assert!(half >= took / 2, "{half} ms of {took}");
    let fast = timed(&[]);
    assert!(fast < half, "{fast} ms at once, {half} ms at double speed");
    for wrong in ["0", "fast", "-1"] {
        let told = lab.run(lab.path(), &["replay", &name, &format!("--speed={wrong}")]).expect(2);
        assert!(told.stderr.contains("a number between 0.01 and 10000"), "{}", told.stderr);
    }
}

#[test]
fn a_file_that_is_broken_or_something_else_is_named_with_its_line() {
    let (lab, folder, ran) = lab();
    let file = lab.path().join("broken.ndjson");
    let name = file.display().to_string();
    let told = |text: &str| {
        std::fs::write(&file, text).expect("written");
        lab.run(&folder, &["replay", &name]).expect(2)
    };
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let cut = told(&ran.stdout[..ran.stdout.len() - 20]);
    let wanted = format!("broken.ndjson:{}: no JSON", lines.len());
    assert!(cut.stderr.contains(&wanted), "{}", cut.stderr);
    assert!(cut.stdout.contains("last     = failed"), "what was there is shown: {}", cut.stdout);
    let short = told(&lines[..5].join("\n"));
    assert!(short.stderr.contains("broken.ndjson:6: the file ends here"), "{}", short.stderr);
    let swapped = told(&[lines[0], lines[lines.len() - 1]].join("\n"));
    assert!(swapped.stderr.contains("broken.ndjson:2: event "), "{}", swapped.stderr);
    let other = told("stages:\n  a: true\n");
    assert!(other.stderr.contains("broken.ndjson:1: no JSON"), "{}", other.stderr);
    assert!(other.stderr.contains("`shipline replay RUN --format json` write"), "{}", other.stderr);
    let none = lab.run(&folder, &["replay", "nosuch.ndjson"]).expect(2).stderr;
    assert!(
        none.contains("`nosuch.ndjson` is no file, and no run with this id is known"),
        "{none}"
    );
}
