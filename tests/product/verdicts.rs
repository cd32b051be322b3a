//! How a stage ends, and whose fault it was: each provoked for real.

use std::time::Duration;

use serde_json::Value;

use crate::harness::lab::{Lab, docker};
use crate::harness::process::Process;
use crate::local_run::{assert_gapless, repository};

/// How the only attempt of a stage ended.
fn attempt<'a>(lines: &'a [Value], stage: &str) -> &'a Value {
    let finished =
        lines.iter().find(|line| line["kind"] == "attempt.finished" && line["stage"] == stage);
    finished.unwrap_or_else(|| panic!("`{stage}` has no finished attempt"))
}

#[test]
fn every_end_of_a_command_has_its_verdict() {
    // Name, keys, result, code, exit, a part of the reason.
    let ends = [
        ("e0", "run: exit 0", "passed", "", 0, ""),
        ("e1", "run: exit 1", "failed", "", 1, "exit 1"),
        ("e2", "run: exit 2", "failed", "", 2, "exit 2"),
        (
            "e126",
            "run: \"echo x >f; chmod 644 f; ./f\"",
            "failed",
            "E091",
            126,
            "is not executable in image `busybox:1`",
        ),
        ("e127", "run: mkae", "failed", "E091", 127, "`mkae` is not found in image `busybox:1`"),
        ("e137", "run: kill -KILL $$", "failed", "", 137, "exit 137 (SIGKILL, "),
        (
            "e139",
            "run: kill -SEGV $$",
            "failed",
            "",
            139,
            "exit 139 (SIGSEGV, a wrong access to memory)",
        ),
        ("e143", "run: kill -TERM $$", "failed", "", 143, "exit 143 (SIGTERM, "),
        ("e255", "run: exit 255", "failed", "", 255, "exit 255"),
        (
            "memory",
            "resources: { memory: 32Mi }\n    run: awk 'BEGIN { s = \"0123456789abcdef\"; while (1) s = s s }'",
            "resource-limit",
            "E092",
            137,
            "may use 32.0 MiB, and used 3",
        ),
        (
            "pids",
            "resources: { pids: 20 }\n    run: i=0; while [ $i -lt 60 ]; do sleep 9 & i=$((i+1)); done",
            "resource-limit",
            "E092",
            2,
            "may have 20, threads included, and had 20; write `resources: { pids: 40 }`",
        ),
        (
            "disk",
            "run: cat /dev/zero >/dev/shm/large",
            "resource-limit",
            "E092",
            1,
            "`/dev/shm` is in memory, and holds 64.0 MiB",
        ),
        (
            "hint",
            "run: cat /dev/zero >/dev/shm/large || { rm /dev/shm/large; exit 9; }",
            "failed",
            "",
            9,
            "its output says `No space left on device`",
        ),
        (
            "slow",
            "timeout: 1s\n    run: echo begun; sleep 60",
            "timed-out",
            "E093",
            143,
            "(`timeout` at .shipline.yml:",
        ),
        ("binary", "run: \"cat /bin/busybox; printf 'a\\\\000\\\\377b'\"", "passed", "", 0, ""),
    ];
    let mut text = "image: busybox:1\nstages:\n".to_owned();
    for (name, keys, ..) in &ends {
        text.push_str(&format!("  {name}:\n    needs: []\n    {keys}\n"));
    }
    let lab = Lab::new();
    let folder = repository(&lab, &text);
    let lines = lab.run(&folder, &["run", "--format", "json"]).expect(1).lines();
    assert_gapless(&lines);
    for (name, _, result, code, exit, reason) in ends {
        let ended = attempt(&lines, name);
        let found = (
            ended["result"].as_str(),
            ended["code"].as_str().unwrap_or_default(),
            ended["exit"].as_i64(),
        );
        assert_eq!(found, (Some(result), code, Some(exit)), "{name}: {ended}");
        assert!(ended["reason"].as_str().unwrap_or_default().contains(reason), "{name}: {ended}");
        assert!(ended["memory_peak"].as_u64().is_some_and(|peak| peak > 0), "{name}: {ended}");
    }
    let run = lines[0]["run"].as_str().expect("a run has an id");
    let why = lab.run(&folder, &["why", "pids", "--run", run]).expect(0).stdout;
    assert!(why.contains(" MiB of memory and 20 processes"), "{why}");
}

#[test]
fn what_kept_a_stage_from_beginning_is_named_where_it_is_written() {
    let lab = Lab::new();
    let text = "image: busybox:1\nstages:\n  \
        user:\n    needs: []\n    user: nobody9\n    run: 'true'\n  \
        place:\n    needs: []\n    workdir: nowhere\n    run: 'true'\n  \
        shell:\n    needs: []\n    shell: bash\n    run: 'true'\n";
    let folder = repository(&lab, text);
    let told = lab.run(&folder, &["run"]).expect(1).stdout;
    for expected in [
        "error[E091]: exit 126: user `nobody9` is not in the image `busybox:1`",
        "error[E091]: exit 126: the working directory `/workspace/nowhere` does not exist in image `busybox:1`",
        "error[E091]: exit 127: `bash` is not in the image `busybox:1`",
        ".shipline.yml:5:11",
        ".shipline.yml:9:14",
        ".shipline.yml:13:12",
    ] {
        assert!(told.contains(expected), "`{expected}` is not in: {told}");
    }
}

#[test]
fn a_container_that_a_stranger_removes_is_infrastructure_and_tried_again() {
    let lab = Lab::new();
    let folder = repository(
        &lab,
        "image: busybox:1\nstages:\n  a:\n    retry: { max: 0 }\n    run: echo begun; sleep 60\n",
    );
    let mut command = lab.shipline();
    command.current_dir(&folder).args(["run", "--format", "json"]);
    let log = lab.path().join("log");
    let mut running = Process::start(&mut command, &log);
    let name = crate::harness::process::wait_for("the stage", Duration::from_secs(30), || {
        let said = running.text();
        said.contains("\"text\":\"begun").then(|| {
            let starting = said
                .lines()
                .find(|line| line.contains("attempt.starting") && line.contains("\"stage\":\"a\""));
            let starting: Value =
                serde_json::from_str(starting.expect("it began")).expect("a line is JSON");
            starting["name"].as_str().expect("it has a name").to_owned()
        })
    });
    docker(&["rm", "--force", &name]);
    assert_eq!(running.wait(Duration::from_secs(30)), Some(3), "{}", running.text());
    // What is said to people goes to stderr, which is in the same file.
    let text = running.text();
    let lines: Vec<Value> = text
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect();
    let ended = attempt(&lines, "a");
    assert_eq!((&ended["result"], &ended["code"]), (&"infra-error".into(), &"E099".into()));
    assert_eq!(ended["reason"], "the container was removed from outside");
}

#[test]
fn a_run_that_takes_longer_than_its_run_timeout_ends() {
    let lab = Lab::new();
    let folder = repository(
        &lab,
        "image: busybox:1\nrun-timeout: 4s\nstages:\n  a: { needs: [], run: sleep 60 }\n  \
         b: sleep 1\n  teardown: { needs: [a], run-on: always, run: echo cleaned }\n",
    );
    let ran = lab.run(&folder, &["run"]).expect(1);
    for part in [
        "a        = timed-out  ",
        "the run took longer than 4s (`run-timeout` at .shipline.yml:2:14)",
        "b        = timed-out  ",
        "teardown = passed  ",
        "failed in ",
    ] {
        assert!(ran.stdout.contains(part), "{part} is not in\n{}", ran.stdout);
    }
}

/// The most memory that a process had, in KiB.
fn memory_of(process: &mut Process) -> u64 {
    let path = format!("/proc/{}/status", process.pid());
    let mut most = 0;
    while process.wait(Duration::from_millis(50)).is_none() {
        let status = std::fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let size = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        most = size.unwrap_or(most);
    }
    most
}

#[test]
fn a_line_of_100_mb_takes_no_memory() {
    let lab = Lab::new();
    let folder = repository(
        &lab,
        "image: busybox:1\nstages:\n  line: \"head -c 100000000 /dev/zero | tr '\\\\000' x\"\n",
    );
    let mut command = lab.shipline();
    command.current_dir(&folder).args(["run", "--format", "json"]);
    let log = lab.path().join("log");
    let mut running = Process::start(&mut command, &log);
    let most = memory_of(&mut running);
    assert!(most < 150 << 10, "{most} KiB");
    let (mut bytes, mut longest) = (0, 0);
    for frame in running.text().lines().filter(|line| line.contains("\"stdout\"")) {
        let text = frame.split_once("\"text\":\"").expect("it is text").1;
        let length = text.bytes().take_while(|byte| *byte == b'x').count();
        bytes += length;
        longest = longest.max(length);
    }
    assert_eq!((bytes, longest), (100_000_000, 16 << 10), "in pieces of 16 KiB, and all of it");
}
