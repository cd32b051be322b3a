//! What stages of the fake backend do, act by act.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use event::OutputStream;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::super::{BackendError, Chunk, Exit, Usage, Use};
use super::files::AttemptFiles;
use super::infrastructure;

/// What a stage does, act by act; at the end it exits with 0.
#[derive(Clone, Debug, Default)]
pub struct Script {
    acts: Vec<Act>,
}

#[derive(Clone, Debug)]
enum Act {
    Print(OutputStream, Bytes),
    /// Appends to `$SHIPLINE_OUTPUT`.
    PutOut(Bytes),
    Write(String, Bytes),
    Append(String, Bytes),
    /// Prints a file; without it the stage ends with 1.
    Cat(String),
    /// So many bytes, in lines of 64.
    Fill(u64),
    Sleep(Duration),
    Hang,
    IgnoreTerm,
    Exit(Exit),
    /// The engine fails while the stage runs.
    Break(String),
    /// The attempt cannot even be started.
    Refuse {
        user: Option<&'static str>,
        message: String,
    },
    Panic,
}

impl Script {
    pub fn exit(code: i64) -> Self {
        Self::default().then(Act::Exit(Exit { code, ..Exit::default() }))
    }

    /// Runs until it is stopped.
    pub fn hang() -> Self {
        Self::default().then(Act::Hang)
    }

    /// The image or the command is not what the user thought.
    pub fn refused(code: &'static str, message: &str) -> Self {
        Self::default().then(Act::Refuse { user: Some(code), message: message.to_owned() })
    }

    /// The engine cannot start it.
    pub fn unstartable(message: &str) -> Self {
        Self::default().then(Act::Refuse { user: None, message: message.to_owned() })
    }

    /// The engine fails while it runs.
    pub fn broken(message: &str) -> Self {
        Self::default().then(Act::Break(message.to_owned()))
    }

    /// The engine restarts, or the container vanishes.
    pub fn lost(reason: &str) -> Self {
        let lost = Some(reason.to_owned());
        Self::default().then(Act::Exit(Exit { code: 137, lost, ..Exit::default() }))
    }

    pub fn out_of_memory() -> Self {
        let usage =
            Usage { memory: Use { peak: Some(1 << 30), limit: Some(1 << 30) }, ..Usage::default() };
        Self::ending(Exit { code: 137, oom_killed: true, usage, ..Exit::default() })
    }

    pub fn ending(exit: Exit) -> Self {
        Self::default().then(Act::Exit(exit))
    }

    /// The backend has a bug.
    pub fn panicking() -> Self {
        Self::default().then(Act::Panic)
    }

    pub fn after(self, time: Duration) -> Self {
        self.first(Act::Sleep(time))
    }

    pub fn printing(self, text: &str) -> Self {
        self.first(Act::Print(OutputStream::Stdout, Bytes::copy_from_slice(text.as_bytes())))
    }

    /// Lines of `$SHIPLINE_OUTPUT`.
    pub fn putting_out(self, lines: &str) -> Self {
        self.first(Act::PutOut(Bytes::copy_from_slice(lines.as_bytes())))
    }

    /// Writes a file, of the workspace unless its path is absolute or in `~`.
    pub fn writing(self, path: &str, contents: &str) -> Self {
        self.first(Act::Write(path.to_owned(), Bytes::copy_from_slice(contents.as_bytes())))
    }

    pub fn printing_bytes(self, amount: u64) -> Self {
        self.first(Act::Fill(amount))
    }

    pub fn ignoring_term(self) -> Self {
        self.first(Act::IgnoreTerm)
    }

    fn first(mut self, act: Act) -> Self {
        self.acts.insert(0, act);
        self
    }

    fn then(mut self, act: Act) -> Self {
        self.acts.push(act);
        self
    }

    /// Plays the steps of a Dockerfile, as if each `RUN` were a command.
    pub(super) fn of_dockerfile(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let steps = text.lines().filter_map(|line| line.strip_prefix("RUN "));
        let commands = steps.map(|step| match step.strip_prefix("--") {
            Some(flag) => flag.split_once(' ').map_or("", |(_, command)| command).to_owned(),
            None => step.to_owned(),
        });
        Self::of_commands(&commands.collect::<Vec<_>>(), &BTreeMap::new())
    }

    /// Returns what `commands` look like, with these variables; what is not known does nothing.
    pub(super) fn of_commands(commands: &[String], env: &BTreeMap<String, String>) -> Self {
        let words = |text: &str| {
            let text = text.trim().trim_matches(['"', '\'']);
            let value = text.strip_prefix('$').and_then(|name| env.get(name));
            Bytes::from(format!("{}\n", value.map_or(text, String::as_str)))
        };
        let print = |stream, text: &str| Act::Print(stream, words(text));
        let acts = commands.iter().flat_map(|command| command.lines()).filter_map(|line| {
            let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
            match word {
                "echo" => Some(match rest.strip_suffix(">&2") {
                    Some(text) => print(OutputStream::Stderr, text),
                    None => match rest.rsplit_once(" >") {
                        Some((text, to)) if to.ends_with("$SHIPLINE_OUTPUT") => {
                            Act::PutOut(words(text))
                        }
                        Some((text, to)) if to.starts_with('>') => {
                            Act::Append(to.trim_start_matches('>').trim().to_owned(), words(text))
                        }
                        Some((text, path)) => Act::Write(path.trim().to_owned(), words(text)),
                        None => print(OutputStream::Stdout, rest),
                    },
                }),
                "cat" => Some(Act::Cat(rest.to_owned())),
                // `infinity` and what is no number lasts for ever.
                "sleep" => {
                    let time =
                        rest.parse().ok().and_then(|time| Duration::try_from_secs_f64(time).ok());
                    Some(time.map_or(Act::Hang, Act::Sleep))
                }
                "exit" | "false" => {
                    let code = rest.parse().unwrap_or(i64::from(word == "false"));
                    Some(Act::Exit(Exit { code, ..Exit::default() }))
                }
                "trap" => Some(Act::IgnoreTerm),
                _ => None,
            }
        });
        Self { acts: acts.collect() }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Ended {
    Exit(Exit),
    Broken(String),
}

pub(super) async fn play(
    script: &Script,
    files: &AttemptFiles,
    output: mpsc::Sender<Result<Chunk, BackendError>>,
    term: &CancellationToken,
    kill: &CancellationToken,
) -> Ended {
    let mut hears_term = true;
    let mut outputs = Vec::new();
    for act in &script.acts {
        let done = async {
            match act {
                Act::Print(stream, bytes) => {
                    // Printing to nobody is no reason to end.
                    let _ = output.send(Ok(Chunk { stream: *stream, bytes: bytes.clone() })).await;
                }
                Act::Fill(amount) => fill(&output, *amount).await,
                Act::Sleep(time) => sleep(*time).await,
                Act::Hang => std::future::pending().await,
                Act::IgnoreTerm
                | Act::PutOut(_)
                | Act::Write(..)
                | Act::Append(..)
                | Act::Cat(_)
                | Act::Exit(_)
                | Act::Break(_)
                | Act::Refuse { .. }
                | Act::Panic => {}
            }
        };
        tokio::select! {
            biased;
            () = kill.cancelled() => return exit(137),
            () = term.cancelled(), if hears_term => return exit(143),
            () = done => {}
        }
        match act {
            Act::IgnoreTerm => hears_term = false,
            Act::Write(path, contents) => files.write(path, contents.clone()),
            Act::Append(path, contents) => {
                let before = files.read(path).unwrap_or_default();
                files.write(path, [before, contents.clone()].concat().into());
            }
            Act::Cat(path) => match files.read(path) {
                Some(bytes) => {
                    let chunk = Chunk { stream: OutputStream::Stdout, bytes };
                    let _ = output.send(Ok(chunk)).await;
                }
                None => return exit(1),
            },
            Act::PutOut(lines) => outputs.extend_from_slice(lines),
            Act::Exit(exit) => return Ended::Exit(Exit { outputs, ..exit.clone() }),
            Act::Break(message) => return Ended::Broken(message.clone()),
            _ => {}
        }
    }
    Ended::Exit(Exit { outputs, ..Exit::default() })
}

async fn fill(output: &mpsc::Sender<Result<Chunk, BackendError>>, amount: u64) {
    let block: Bytes = format!("{}\n", "x".repeat(63)).repeat(1024).into();
    let mut left = usize::try_from(amount).unwrap_or(usize::MAX);
    while left > 0 {
        let bytes = block.slice(..left.min(block.len()));
        left -= bytes.len();
        let _ = output.send(Ok(Chunk { stream: OutputStream::Stdout, bytes })).await;
    }
}

fn exit(code: i64) -> Ended {
    Ended::Exit(Exit { code, ..Exit::default() })
}

pub(super) fn refuse(script: &Script) -> Result<(), BackendError> {
    for act in &script.acts {
        match act {
            Act::Refuse { user: None, message } => return Err(infrastructure(message)),
            Act::Refuse { user, message } => {
                return Err(BackendError::User { code: *user, message: message.clone() });
            }
            Act::Panic => panic!("as the script says"),
            _ => {}
        }
    }
    Ok(())
}
