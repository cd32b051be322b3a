//! The view of a run on a terminal, and a shell on one.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::guide::block;
use crate::harness::lab::{Lab, docker};
use crate::harness::pty::Pty;
use crate::harness::screenshots;
use crate::local_run::repository;

/// Stages that end in every way, one of them slowly enough to be looked at.
const PIPELINE: &str = "image: busybox:1
stages:
  compile:
    run: |
      printf '\\033]0;my title\\007\\033[2J'; echo; echo compiling main.c; sleep 3
    artifacts: { paths: [README] }
  lint: { needs: [compile], allow-failure: true, run: exit 1 }
  unit-test:
    needs: [compile]
    run: |
      i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo \"case $i\"; done
      printf '\\033[31mred\\033[0m'; echo; sleep 1
      exit 3
  pack: { needs: [unit-test], run: 'true' }
  publish: { needs: [compile], when: { branch: release }, run: 'true' }
";

fn started(lab: &Lab, folder: &Path, arguments: &[&str], size: (u16, u16)) -> Pty {
    let command = coloured(lab, folder, arguments);
    Pty::start(&command, size.0, size.1)
}

fn coloured(lab: &Lab, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = lab.shipline();
    command.current_dir(folder).args(arguments).env_remove("NO_COLOR");
    command
}

fn lab(pipeline: &str) -> (Lab, PathBuf) {
    let lab = Lab::new();
    let folder = repository(&lab, pipeline);
    (lab, folder)
}

/// A screen with each duration as `0s`, and the id of the run as `RUN`.
fn normalised(lab: &Lab, folder: &Path, screen: &str) -> String {
    let runs = lab.run(folder, &["runs", "--format", "json"]).json();
    let short = runs[0]["short"].as_str().expect("an id").to_owned();
    let sha = runs[0]["sha"].as_str().expect("a commit").get(..8).expect("a hash").to_owned();
    let screen = screen.replace(&short, "RUN").replace(&sha, "COMMIT");
    let lines = screen.lines().map(|line| {
        let words = line.split(' ').filter(|word| !word.is_empty());
        let words = words.map(|word| if is_duration(word) { "0s" } else { word });
        words.collect::<Vec<_>>().join(" ") + "\n"
    });
    lines.collect()
}

fn is_duration(word: &str) -> bool {
    word.strip_suffix('s').is_some_and(|number| number.parse::<f64>().is_ok())
}

#[test]
fn a_run_on_a_terminal_is_a_quiet_tree_and_ends_as_a_report() {
    let (lab, folder) = lab(PIPELINE);
    let mut pty = started(&lab, &folder, &["run"], (80, 24));
    let seen = pty.wait_for("the output of `compile`", |screen| {
        screen.contains("▸ compile") && screen.contains("compiling main.c")
    });
    assert!(seen.contains("✓ checkout"), "{seen}");
    assert!(seen.contains(" of 6 done, 1 running"), "{seen}");
    assert!(pty.look(vt100::Screen::hide_cursor));
    assert_eq!(pty.wait(), 1);
    let all = pty.everything();
    let cases: String = (12..=40).map(|number| format!("│ case {number}\n")).collect();
    let report = normalised(&lab, &folder, &all);
    for part in [
        "tree #1 main at COMMIT run RUN\n✓ checkout 0s\n✓ compile 0s\n",
        "! lint 0s warning exit 1\n",
        &format!(
            "✗ unit-test 0s exit 3\n--> .shipline.yml:11:7\n\
             last 30 of 44 lines, `shipline logs RUN unit-test` has them all\n{cases}│ red\n"
        ),
        "⊘ pack blocked ",
        "○ publish skipped ",
        "\n\nartifact `compile`: 1 file, ",
        "\n✗ unit-test: `shipline logs RUN unit-test`\n\
         critical path: checkout 0s → compile 0s → unit-test 0s\n\
         failed in 0s 2 passed, 1 warning, 1 skipped, 1 blocked, 1 failed\n",
    ] {
        assert!(report.contains(part), "{part}\nis not in\n{report}");
    }
    assert!(!report.contains('▸') && !report.contains("running"), "{report}");
    assert!(!pty.look(vt100::Screen::hide_cursor));
    assert_eq!(pty.intrusions(), Vec::<String>::new());
    let red = String::from_utf8_lossy(&pty.bytes()).contains("\u{1b}[31mred\u{1b}[0m");
    assert!(red, "output keeps its colours");
    // The same again, from what is kept of it.
    let replayed = {
        let run = lab.run(&folder, &["runs", "--format", "json"]).json();
        let mut pty =
            started(&lab, &folder, &["replay", run[0]["short"].as_str().expect("id")], (80, 24));
        assert_eq!(pty.wait(), 0);
        normalised(&lab, &folder, &pty.everything())
    };
    let until_published = report.split("artifacts in .shipline/out").next();
    assert_eq!(Some(replayed.as_str()), until_published);
}

#[test]
fn a_narrow_terminal_without_colours_and_one_that_changes_are_respected() {
    let (lab, folder) = lab(PIPELINE);
    let mut command = coloured(&lab, &folder, &["run"]);
    command.env("NO_COLOR", "1");
    let mut pty = Pty::start(&command, 40, 12);
    pty.wait_for("the output", |screen| screen.contains("▸ compile") && screen.contains("main.c"));
    pty.resize(20, 6);
    let seen = pty.wait_for("a row of its own for each", |screen| screen.contains("\n  1/6  "));
    assert_eq!(seen.lines().filter(|line| line.contains("▸ compile")).count(), 1, "{seen}");
    assert!(seen.lines().all(|line| line.chars().count() <= 20), "{seen}");
    pty.resize(100, 30);
    assert_eq!(pty.wait(), 1);
    let all = pty.everything();
    assert!(!all.contains('▸'), "{all}");
    assert!(all.contains("✓ compile"), "{all}");
    assert!(!pty.bytes().windows(3).any(|bytes| bytes == b"\x1b[3"), "there are no colours");
}

#[test]
fn a_dumb_terminal_and_whoever_asks_for_it_get_lines() {
    let (lab, folder) = lab("image: busybox:1\nstages:\n  hello: echo hi\n");
    let plain = |arguments: &[&str], variable: (&str, &str)| {
        let mut command = coloured(&lab, &folder, arguments);
        command.env(variable.0, variable.1);
        let mut pty = Pty::start(&command, 80, 24);
        assert_eq!(pty.wait(), 0);
        let all = pty.everything();
        assert!(all.contains("hello    | hi") && all.contains("hello    = passed"), "{all}");
        assert!(!all.contains('✓'), "{all}");
        pty.bytes()
    };
    assert!(!plain(&["run"], ("TERM", "dumb")).contains(&0x1b));
    assert!(!plain(&["run", "--plain"], ("X", "")).contains(&0x1b));
    plain(&["run"], ("CI", "true"));
    let mut verbose = started(&lab, &folder, &["run", "-v"], (80, 24));
    assert_eq!(verbose.wait(), 0);
    let all = verbose.everything();
    assert!(all.contains("hello    │ hi") && all.contains("✓ hello"), "{all}");
}

#[test]
fn what_went_wrong_is_told_with_its_code_place_cause_and_help() {
    let (lab, folder) = lab("image: busybox:1\nstages:\n  lost: nosuchcommand\n  \
         slow: { needs: [], timeout: 1s, run: sleep 60 }\n");
    let mut pty = started(&lab, &folder, &["run"], (120, 40));
    assert_eq!(pty.wait(), 1);
    let report = normalised(&lab, &folder, &pty.everything());
    for part in [
        "✗ lost 0s\nerror[E091]: exit 127: a command of `nosuchcommand` is not found in image \
         `busybox:1`\n--> .shipline.yml:3:9\n|\n3 | lost: nosuchcommand\n| ^^^^^^^^^^^^^\n|\n= help: \
         `shipline explain E091` tells more\n",
        "✗ slow 0s timed-out\nerror[E093]: ",
        "\n--> .shipline.yml:4:31\n|\n4 | slow: { needs: [], timeout: 1s, run: sleep 60 }\n| ^^\n",
        "`shipline logs RUN lost`\n",
    ] {
        assert!(report.contains(part), "{part}\nis not in\n{report}");
    }
}

#[test]
fn the_excerpt_of_a_failure_is_of_the_text_that_was_run() {
    let (lab, folder) = lab("image: busybox:1\nstages:\n  lost: nosuchcommand\n");
    let excerpt = "3 |   lost: nosuchcommand\n    |         ^^^^^^^^^^^^^\n";
    let ran = lab.run(&folder, &["run"]).expect(1);
    assert!(ran.stdout.contains(excerpt), "{}", ran.stdout);
    let title = ran.stdout.lines().next().unwrap_or_default();
    let run = title.split(' ').next_back().unwrap_or_default().to_owned();
    std::fs::write(folder.join(".shipline.yml"), "# Another text.\n").expect("a file is written");
    let shown = lab.run(&folder, &["replay", &run]).expect(0).stdout;
    assert!(shown.contains(excerpt) && !shown.contains("Another"), "{shown}");
    let mut narrow = started(&lab, &folder, &["replay", &run], (40, 30));
    assert_eq!(narrow.wait(), 0);
    let all = narrow.everything();
    assert!(all.contains("3 |   lost: nosuchcommand"), "{all}");
    // Of a bare recording there is no text: the place is all that is known.
    let recording = lab.run(&folder, &["replay", &run, "--format", "json"]).expect(0).stdout;
    std::fs::write(folder.join("recording"), recording).expect("a file is written");
    let bare = lab.run(&folder, &["replay", "recording"]).expect(0).stdout;
    assert!(bare.contains("--> .shipline.yml:3:9\n") && !bare.contains("^^^"), "{bare}");
}

#[test]
fn thirty_stages_fit_on_ten_lines() {
    let numbers: Vec<String> = (10..40).map(|number| number.to_string()).collect();
    let (lab, folder) = lab(&format!(
        "image: busybox:1\nstages:\n  cell:\n    matrix: {{ n: [{}] }}\n    run: sleep 1\n",
        numbers.join(", ")
    ));
    let mut pty = started(&lab, &folder, &["run", "--jobs", "30"], (60, 10));
    let seen = pty.wait_for("more than there is room for", |screen| {
        screen.contains("and 23 more") && screen.contains("30 running")
    });
    assert_eq!(seen.matches("▸ cell[").count(), 7, "{seen}");
    assert_eq!(pty.wait(), 0);
    let all = pty.everything();
    assert_eq!(all.matches("✓ cell[").count(), 30, "{all}");
    assert!(!all.contains("more") && !all.contains('▸'), "{all}");
}

#[test]
fn ctrl_c_is_told_above_and_the_cursor_comes_back() {
    let (lab, folder) = lab(
        "image: busybox:1\nstages:\n  stubborn: \"trap '' TERM; echo started; while true; do sleep 1; done\"\n",
    );
    let mut pty = started(&lab, &folder, &["run"], (80, 24));
    pty.wait_for("the stage", |screen| screen.contains("  started"));
    pty.write("\x03");
    let seen = pty.wait_for("what Ctrl-C does", |screen| screen.contains("press Ctrl-C again"));
    assert!(seen.contains("▸ stubborn"), "{seen}");
    pty.wait_for("that it ends", |screen| screen.contains("1 running, ending"));
    pty.write("\x03");
    assert_eq!(pty.wait(), 130);
    let all = pty.everything();
    assert!(all.contains("cancelled again"), "{all}");
    assert!(all.contains("■ stubborn") && all.contains("\ncancelled in "), "{all}");
    assert!(!pty.look(vt100::Screen::hide_cursor), "{all}");

    let mut once = started(&lab, &folder, &["run", "checkout"], (80, 24));
    assert_eq!(once.wait(), 0);
    let runs = lab.run(&folder, &["runs", "--format", "json"]).json();
    let left = docker(&["ps", "--all", "--format", "{{.Names}}"]);
    for run in runs.as_array().expect("rows") {
        let short = run["short"].as_str().expect("an id");
        assert!(!left.contains(short), "{left}");
    }
}

#[test]
fn a_cancelled_run_shows_what_still_cleans_up() {
    let (lab, folder) = lab("image: busybox:1\nstages:\n  work: echo started; exec sleep 300\n  \
         teardown: { run-on: always, run: echo clearing the table; sleep 2 }\n");
    let mut pty = started(&lab, &folder, &["run"], (80, 24));
    pty.wait_for("the stage", |screen| screen.contains("  started"));
    pty.write("\x03");
    pty.wait_for("what cleans up", |screen| {
        screen.contains("▸ teardown") && screen.contains("clearing the table")
    });
    assert_eq!(pty.wait(), 130);
    let all = pty.everything();
    assert!(all.contains("■ work") && all.contains("✓ teardown"), "{all}");
    assert!(!pty.look(vt100::Screen::hide_cursor), "{all}");
}

#[test]
fn a_run_that_is_stopped_and_continued_gives_the_cursor_back_meanwhile() {
    let (lab, folder) = lab("image: busybox:1\nstages:\n  slow: echo started; sleep 4\n");
    let mut pty = started(&lab, &folder, &["run"], (80, 24));
    pty.wait_for("the stage", |screen| screen.contains("  started"));
    // Its session has no shell to stop for, so the terminal itself sends nothing.
    crate::harness::process::signal(pty.pid(), "TSTP");
    pty.wait_for("an empty screen", |screen| !screen.contains('▸'));
    assert!(!pty.look(vt100::Screen::hide_cursor));
    crate::harness::process::signal(pty.pid(), "CONT");
    pty.wait_for("the tree", |screen| screen.contains("▸ slow"));
    assert_eq!(pty.wait(), 0);
}

#[test]
fn a_terminal_that_takes_nothing_slows_the_run_and_takes_no_memory() {
    let (lab, folder) =
        lab("image: busybox:1\nstages:\n  loud: 'yes a line of output that is not short'\n");
    let mut pty = started(&lab, &folder, &["run", "-v"], (80, 24));
    pty.wait_for("the output", |screen| screen.contains("loud     │ a line"));
    pty.stick(true);
    std::thread::sleep(std::time::Duration::from_secs(1));
    let (before, written) = (memory(pty.pid()), log_size(&lab));
    std::thread::sleep(std::time::Duration::from_secs(3));
    let after = memory(pty.pid());
    assert!(after < before + 20_000, "from {before} to {after} KiB");
    // The container waits too: what it had written is all there is.
    assert_eq!(log_size(&lab), written);
    pty.write("\x03");
    std::thread::sleep(std::time::Duration::from_millis(500));
    pty.write("\x03");
    std::thread::sleep(std::time::Duration::from_millis(500));
    pty.stick(false);
    assert_eq!(pty.wait(), 130);
    assert!(!pty.look(vt100::Screen::hide_cursor));
}

/// What a process has in memory, in KiB.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("the kernel tells it")
}

/// Bytes of all output that is kept.
fn log_size(lab: &Lab) -> u64 {
    let mut sizes = Command::new("du");
    sizes.args(["--bytes", "--summarize"]).arg(lab.home().join("dirs"));
    let output = sizes.output().expect("du can be started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().next().and_then(|size| size.parse().ok()).expect("a size")
}

#[test]
fn a_shell_on_a_terminal_has_its_size_its_signals_and_gives_it_back() {
    let (lab, folder) = lab("image: busybox:1\nstages:\n  work: touch made\n");
    lab.run(&folder, &["run"]).expect(0);
    let mut pty = started(&lab, &folder, &["shell", "work"], (90, 20));
    let before = pty.settings();
    pty.wait_for("a prompt", |screen| screen.contains("/workspace #"));
    pty.write("ls made; stty size\r");
    pty.wait_for("the files and the size", |screen| {
        screen.contains("\nmade") && screen.contains("\n20 90")
    });
    pty.resize(70, 15);
    pty.wait_for("the new size", |_| {
        std::thread::sleep(std::time::Duration::from_millis(300));
        true
    });
    pty.write("stty size\r");
    pty.wait_for("the new size", |screen| screen.contains("\n15 70"));
    pty.write("sleep 600\r");
    std::thread::sleep(std::time::Duration::from_millis(500));
    pty.write("\x03");
    pty.write("echo after $?\r");
    pty.wait_for("that Ctrl-C ended `sleep`", |screen| screen.contains("\nafter 130"));
    pty.write("exit 5\r");
    assert_eq!(pty.wait(), 5);
    let after = pty.settings();
    assert_eq!(
        (after.input_modes, after.local_modes, after.output_modes),
        (before.input_modes, before.local_modes, before.output_modes)
    );
}

const WITH_SECRET: &str = "image: busybox:1
stages:
  use: { secrets: [TOKEN], run: 'echo it has ${#TOKEN} letters; echo $TOKEN' }
  again: { secrets: [TOKEN], run: 'echo and ${#TOKEN} here' }
";

#[test]
fn a_missing_secret_is_asked_for_once_and_never_shown() {
    let (lab, folder) = lab(WITH_SECRET);
    let mut pty = started(&lab, &folder, &["run", "-v"], (100, 24));
    pty.wait_for("the question", |screen| screen.contains("secret `TOKEN` for `use`"));
    std::thread::sleep(std::time::Duration::from_millis(300));
    pty.write("a-long-secret\r");
    assert_eq!(pty.wait(), 0);
    let all = pty.everything();
    assert!(all.contains("it has 13 letters") && all.contains("and 13 here"), "{all}");
    assert_eq!(all.matches("secret `TOKEN`").count(), 1, "{all}");
    assert!(!all.contains("a-long-secret"), "{all}");
    assert!(pty.settings().local_modes.contains(rustix::termios::LocalModes::ECHO));

    let mut cancelled = started(&lab, &folder, &["run"], (100, 24));
    cancelled.wait_for("the question", |screen| screen.contains("secret `TOKEN` for `use`"));
    std::thread::sleep(std::time::Duration::from_millis(300));
    cancelled.write("\x03");
    assert_eq!(cancelled.wait(), 130);
    assert!(cancelled.settings().local_modes.contains(rustix::termios::LocalModes::ECHO));
    let runs = lab.run(&folder, &["runs", "--format", "json"]).json();
    assert_eq!(runs.as_array().map(Vec::len), Some(1), "what never began is not written down");
}

/// As the page on local runs has it.
const OF_THE_PAGE: &str = "name: orders
image: busybox:1
stages:
  unit-test:
    matrix: { db: [mysql] }
    secrets: [DB_PASSWORD]
    run: echo it has ${#DB_PASSWORD} letters; echo $DB_PASSWORD
";

/// Keeps what it is given under its attributes, as libsecret's program does.
const SECRET_TOOL: &str = r#"#!/bin/sh
verb=$1
shift
[ "$1" = --label ] && shift 2
case $verb in
  store) mkdir -p "$0.kept" && cat >"$0.kept/$*" ;;
  lookup) cat "$0.kept/$*" 2>/dev/null ;;
esac
"#;

#[test]
fn a_keyring_is_asked_before_a_person() {
    use std::os::unix::fs::PermissionsExt as _;
    let (lab, folder) = lab(OF_THE_PAGE);
    let tool = lab.folder("bin").join("secret-tool");
    std::fs::write(&tool, SECRET_TOOL).expect("written");
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).expect("set");
    let path =
        format!("{}:{}", lab.path().join("bin").display(), std::env::var("PATH").expect("a path"));
    let mut command = coloured(&lab, &folder, &["run", "-v"]);
    command.env("PATH", &path);
    let page = block("running-locally.md", "secret-tool");
    let [store, run, question] = &page[..] else { panic!("three lines: {page:?}") };
    assert_eq!(run, "$ shipline run");

    let mut asked = Pty::start(&command, 120, 24);
    asked.wait_for("the question", |screen| screen.contains(question.as_str()));
    std::thread::sleep(std::time::Duration::from_millis(300));
    asked.write("\x03");
    assert_eq!(asked.wait(), 130);

    let store = store.strip_prefix("$ ").expect("a command");
    let kept = Command::new("sh")
        .args(["-c", &format!("echo from-the-keyring | {store}")])
        .env("PATH", &path)
        .status();
    assert!(kept.expect("sh can be started").success(), "{store}");
    let mut pty = Pty::start(&command, 100, 24);
    assert_eq!(pty.wait(), 0);
    let all = pty.everything();
    assert!(all.contains("it has 16 letters") && !all.contains("from-the-keyring"), "{all}");
    assert!(!all.contains("secret `DB_PASSWORD`"), "nobody is asked: {all}");
}

#[test]
fn an_approval_is_asked_for_while_nothing_is_drawn() {
    let (lab, folder) = lab("image: busybox:1\nstages:\n  \
         long: { needs: [], run: echo working; sleep 8 }\n  \
         ask: { needs: [], approve: { by: [jo], message: Deploy it? } }\n  \
         use: { needs: [ask], run: echo on it goes }\n");
    let mut pty = started(&lab, &folder, &["run", "-v"], (80, 24));
    let seen = pty.wait_for("the question", |screen| screen.contains("approve? yes or no"));
    assert!(seen.contains("Deploy it?") && !seen.contains('▸'), "{seen}");
    assert!(!pty.look(vt100::Screen::hide_cursor));
    pty.write("yes\r");
    pty.wait_for("the tree", |screen| screen.contains("▸ long"));
    assert_eq!(pty.wait(), 0);
    let all = pty.everything();
    assert!(all.contains("✓ ask") && all.contains("✓ use"), "{all}");
    assert!(all.contains("use      │ on it goes"), "{all}");
    assert!(!all.contains('▸') && !pty.look(vt100::Screen::hide_cursor), "{all}");
}

#[test]
fn a_failed_stage_is_looked_at_in_a_shell_and_tried_again() {
    let (lab, folder) =
        lab("image: busybox:1\nstages:\n  test: touch made; exit $((SHIPLINE_ATTEMPT < 3))\n");
    let mut pty = started(&lab, &folder, &["run", "--break"], (80, 24));
    const QUESTION: &str = "shell, retry, continue or abort";
    pty.wait_for("the question", |screen| screen.contains(QUESTION));
    pty.write("shell\r");
    pty.wait_for("a shell", |screen| screen.contains("/workspace #"));
    pty.write("ls made\r");
    pty.wait_for("its files", |screen| screen.contains("\nmade"));
    pty.write("exit\r");
    pty.wait_for("the question", |screen| screen.matches(QUESTION).count() == 2);
    pty.write("retry\r");
    pty.wait_for("the next failure", |screen| screen.contains("failed in attempt 2"));
    pty.write("retry\r");
    assert_eq!(pty.wait(), 0, "{}", pty.everything());
    let all = pty.everything();
    assert!(all.contains("✓ test") && !pty.look(vt100::Screen::hide_cursor), "{all}");
}

/// The words of a picture, row by row.
fn words(svg: &str) -> Vec<String> {
    let mut rows: Vec<(String, String)> = Vec::new();
    for text in svg.lines().filter(|line| line.starts_with("<text")) {
        let y = text.split(" y=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a row");
        let inside = text.split('>').nth(1).and_then(|rest| rest.split('<').next()).expect("text");
        match rows.last_mut() {
            Some((last, row)) if last == y => *row = format!("{row} {}", inside.trim()),
            _ => rows.push((y.to_owned(), inside.trim().to_owned())),
        }
    }
    let squeezed = |row: &str| row.split_whitespace().collect::<Vec<_>>().join(" ");
    rows.iter().map(|(_, row)| squeezed(row)).collect()
}

#[test]
fn the_pictures_of_the_documentation_show_what_a_run_looks_like() {
    let lab = Lab::new();
    for (name, svg) in screenshots::take(&lab) {
        let path = screenshots::folder().join(name);
        let kept = std::fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!("{}: {error}; `make screenshots` draws it", path.display())
        });
        let (mut now, mut then) = (words(&svg), words(&kept));
        // Of two stages side by side either may end first.
        now.sort_unstable();
        then.sort_unstable();
        assert_eq!(now, then, "{name} is out of date: `make screenshots` draws it anew");
        assert!(now.len() > 5, "{now:?}");
    }
}
