//! What units write, and commands beside them.

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;

use crate::TargetError;

/// Which part of what a unit has written is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Goes on until the unit ends or nobody listens any more.
    pub follow: bool,
    /// The last lines only.
    pub tail: Option<u32>,
    pub since: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogSource {
    Stdout,
    Stderr,
}

/// Some bytes a unit wrote, not always whole lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    pub source: LogSource,
    pub bytes: Vec<u8>,
}

pub type LogStream = BoxStream<'static, Result<LogChunk, TargetError>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOptions {
    /// A program and its arguments; empty for a shell.
    pub command: Vec<String>,
    /// Columns and rows of the terminal it gets; without one, pipes.
    pub terminal: Option<(u16, u16)>,
}

/// What goes in to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecInput {
    Bytes(Vec<u8>),
    Resize { columns: u16, rows: u16 },
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecEnd {
    /// As a shell tells it: 128 and more for a signal.
    pub code: i64,
}

/// A command that runs beside a unit. To drop its parts is to leave it; it then
/// gets a hang-up where the target can send one, and an end of input anywhere.
pub struct Terminal {
    /// Dropped, the command reads an end of file.
    pub input: mpsc::Sender<ExecInput>,
    /// Ends with the command. With a terminal all of it is `Stdout`.
    pub output: LogStream,
    /// Known once the output has ended.
    pub end: BoxFuture<'static, Result<ExecEnd, TargetError>>,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal").finish_non_exhaustive()
    }
}

/// How many pieces of input or output wait for whoever is slower.
pub(super) const PIECES: usize = 16;
