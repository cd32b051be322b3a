//! A guide of the documentation, followed step by step.
//!
//! A block ```` ```yaml FILE ```` is written to the file. In a block ```` ```sh ````
//! each line `$ COMMAND` is run, and the lines below it must be found in its output,
//! in this order, each as a part of a line; `…` stands for anything, and
//! `? 2` says that it exits with 2. A comment such as `<!-- guide: skip -->` above a
//! block leaves it out.

use std::path::Path;
use std::process::Command;

use super::lab::{Lab, binary, repository_root};

const SKIP: &str = "<!-- guide: skip";

/// One step of a guide, with the line it stands at.
enum Step {
    Write { file: String, text: String },
    Run { command: String, expected: Vec<String>, code: i32 },
}

/// Follows the guide in `folder`, and returns how many commands it ran.
pub fn follow(lab: &Lab, folder: &Path, guide: &Path) -> usize {
    follow_with(lab, folder, guide, &[])
}

/// As [`follow`], with more variables for its commands.
pub fn follow_with(lab: &Lab, folder: &Path, guide: &Path, variables: &[(&str, &str)]) -> usize {
    follow_where(lab, folder, guide, variables, &[])
}

/// As [`follow_with`], where places that are a reader's own are called otherwise.
pub fn follow_where(
    lab: &Lab,
    folder: &Path,
    guide: &Path,
    variables: &[(&str, &str)],
    called: &[(&str, &str)],
) -> usize {
    let text = std::fs::read_to_string(guide)
        .unwrap_or_else(|error| panic!("{}: {error}", guide.display()));
    let text = called.iter().fold(text, |text, (from, to)| text.replace(from, to));
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
                let shell = shell(lab, folder, variables);
                run(shell, &place, &command, &expected, code);
            }
        }
    }
    commands
}

/// The lines of a block without a language, which no guide follows: what it says is for a test
/// that has what it takes. The block is the one that says `part`.
pub fn block(guide: &str, part: &str) -> Vec<String> {
    let path = repository_root().join("docs").join(guide);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut lines = text.lines();
    while let Some(fence) = lines.by_ref().find(|line| line.starts_with("```")) {
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if fence == "```" && block.iter().any(|line| line.contains(part)) {
            return block.into_iter().map(str::to_owned).collect();
        }
    }
    panic!("{}: no block says `{part}`", path.display());
}

/// A shell that sees the lab, and finds the binaries beside the test.
fn shell(lab: &Lab, folder: &Path, variables: &[(&str, &str)]) -> Command {
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
    shell.envs(variables.iter().copied());
    shell.current_dir(folder).env("PATH", format!("{tools}:{path}"));
    shell
}

fn run(mut shell: Command, place: &str, command: &str, expected: &[String], code: i32) {
    let output = shell.args(["-c", command]).output().expect("sh can be started");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{place}: `{command}`:\n{said}");
    let mut lines = said.lines();
    for wanted in expected {
        assert!(
            lines.any(|line| says(line, wanted.trim())),
            "{place}: `{command}` does not say `{wanted}`, or not here:\n{said}"
        );
    }
}

/// Whether a line has the parts of `wanted` between its `…`, one behind the other.
fn says(line: &str, wanted: &str) -> bool {
    let mut rest = Some(line);
    for part in wanted.split('…') {
        rest = rest.and_then(|rest| rest.find(part).map(|at| &rest[at + part.len()..]));
    }
    rest.is_some()
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
