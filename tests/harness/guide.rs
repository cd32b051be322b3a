//! A guide of the documentation, followed step by step.
//!
//! A block ```` ```yaml FILE ```` is written to the file. In a block ```` ```sh ````
//! each line `$ COMMAND` is run, and the lines below it must be found in its output,
//! in this order, each as a part of a line; `…` at the end stands for anything, and
//! `? 2` says that it exits with 2. A comment such as `<!-- guide: skip -->` above a
//! block leaves it out.

use std::path::Path;
use std::process::Command;

use super::lab::{Lab, binary};

const SKIP: &str = "<!-- guide: skip";

/// One step of a guide, with the line it stands at.
enum Step {
    Write { file: String, text: String },
    Run { command: String, expected: Vec<String>, code: i32 },
}

/// Follows the guide in `folder`, and returns how many commands it ran.
pub fn follow(lab: &Lab, folder: &Path, guide: &Path) -> usize {
    let text = std::fs::read_to_string(guide)
        .unwrap_or_else(|error| panic!("{}: {error}", guide.display()));
    let mut commands = 0;
    for (line, step) in steps(&text) {
        let place = format!("{}:{line}", guide.display());
        match step {
            Step::Write { file, text } => {
                let path = folder.join(file);
                let parent = path.parent().expect("a file has a folder");
                std::fs::create_dir_all(parent).expect("a folder can be made");
                std::fs::write(&path, text).expect("a file can be written");
            }
            Step::Run { command, expected, code } => {
                commands += 1;
                run(lab, folder, &place, &command, &expected, code);
            }
        }
    }
    commands
}

fn run(lab: &Lab, folder: &Path, place: &str, command: &str, expected: &[String], code: i32) {
    let binary = binary();
    let tools = binary.parent().expect("a binary lies in a folder").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    // What the commands of a lab see, the shell sees.
    for (name, value) in lab.shipline().get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    for (name, value) in [("NAME", "Ada Dev"), ("EMAIL", "ada@example.net")] {
        shell.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
    }
    shell.current_dir(folder).env("PATH", format!("{tools}:{path}")).args(["-c", command]);
    let output = shell.output().expect("sh can be started");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{place}: `{command}`:\n{said}");
    let mut lines = said.lines();
    for wanted in expected {
        let part = wanted.trim_end_matches('…').trim();
        assert!(
            lines.any(|line| line.contains(part)),
            "{place}: `{command}` does not say `{wanted}`, or not here:\n{said}"
        );
    }
}

fn steps(text: &str) -> Vec<(usize, Step)> {
    let mut steps = Vec::new();
    let mut lines = text.lines().enumerate();
    let mut skipped = false;
    while let Some((at, line)) = lines.next() {
        if line.starts_with(SKIP) {
            skipped = true;
        }
        let Some(fence) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        if std::mem::take(&mut skipped) {
            continue;
        }
        match fence.split_once(' ') {
            Some((_, file)) => {
                let text = block.join("\n") + "\n";
                steps.push((at + 1, Step::Write { file: file.to_owned(), text }));
            }
            None if fence == "sh" => steps.extend(commands(&block, at + 2)),
            None => {}
        }
    }
    steps
}

fn commands(block: &[&str], first: usize) -> Vec<(usize, Step)> {
    let mut steps: Vec<(usize, Step)> = Vec::new();
    for (at, line) in block.iter().enumerate() {
        if let Some(command) = line.strip_prefix("$ ") {
            let command = command.to_owned();
            steps.push((first + at, Step::Run { command, expected: Vec::new(), code: 0 }));
            continue;
        }
        let Some((_, Step::Run { expected, code, .. })) = steps.last_mut() else { continue };
        match line.strip_prefix("? ") {
            Some(exit) => *code = exit.parse().expect("an exit code follows `? `"),
            None if line.trim().is_empty() => {}
            None => expected.push((*line).to_owned()),
        }
    }
    steps
}
