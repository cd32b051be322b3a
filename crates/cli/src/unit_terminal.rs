//! A command beside a deployed unit, on this terminal or in a pipe.

use std::io::{IsTerminal as _, Write};

use deploy::{ExecInput, LogChunk, LogSource, Terminal};
use futures_util::StreamExt as _;
use rustix::termios;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{CommandError, Context as _};
use crate::interrupt::Interrupts;
use crate::keyboard;
use crate::shell::Raw;

/// Refuses where there is no terminal to give.
pub(crate) fn required() -> Result<(), CommandError> {
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        return Ok(());
    }
    Err(CommandError::usage("`-t` needs a terminal, and this is none").hint("leave `-t` out"))
}

/// Columns and rows of this terminal.
pub(crate) fn size() -> (u16, u16) {
    termios::tcgetwinsize(std::io::stdout()).map_or((80, 24), |size| (size.ws_col, size.ws_row))
}

/// Carries input and output until the command has ended, and returns its exit code.
pub(crate) async fn speak(opened: Terminal, tty: bool) -> Result<u8, CommandError> {
    let interrupts = Interrupts::listen()?;
    let mut resized =
        signal(SignalKind::window_change()).environment("cannot listen for signals")?;
    let raw = if tty { Some(Raw::enter()?) } else { None };
    let Terminal { input, mut output, end } = opened;
    let mut input = Some(input);
    loop {
        tokio::select! {
            chunk = output.next() => match chunk {
                None => break,
                Some(chunk) => show(&chunk.environment("the command broke off")?)?,
            },
            piece = keyboard::piece(), if input.is_some() => match (piece, &input) {
                // It may have ended already: its output and its end say so.
                (Some(piece), Some(to)) => drop(to.send(ExecInput::Bytes(piece)).await),
                _ => input = None,
            },
            _ = resized.recv(), if tty => {
                let (columns, rows) = size();
                if let Some(to) = &input {
                    drop(to.send(ExecInput::Resize { columns, rows }).await);
                }
            }
            // With a terminal of its own the command gets Ctrl-C itself.
            () = interrupts.cancel.cancelled() => return Ok(130),
        }
    }
    drop(input);
    let end = end.await.environment("the end of the command is not known")?;
    drop(raw);
    Ok(u8::try_from(end.code).unwrap_or(1))
}

fn show(chunk: &LogChunk) -> Result<(), CommandError> {
    let write = |out: &mut dyn Write| out.write_all(&chunk.bytes).and_then(|()| out.flush());
    let written = match chunk.source {
        LogSource::Stdout => write(&mut std::io::stdout()),
        LogSource::Stderr => write(&mut std::io::stderr()),
    };
    written.environment("cannot write to the terminal")
}
