//! A command beside a unit: with its variables and its directory, on pipes or on a
//! terminal of its own. Whoever leaves it hangs up.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use rustix::process::{Pid, Signal};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::infrastructure;
use super::record::UnitFile;
use super::run::in_own_session;
use crate::target::stream::PIECES;
use crate::{ExecEnd, ExecInput, ExecOptions, LogChunk, LogSource, TargetError, Terminal};

const PIECE_BYTES: usize = 16 << 10;
/// From a hang-up to KILL.
const HANG_UP: Duration = Duration::from_secs(2);

type Pieces = mpsc::Sender<Result<LogChunk, TargetError>>;

pub(super) fn exec(unit: &UnitFile, options: &ExecOptions) -> Result<Terminal, TargetError> {
    let mut words = options.command.iter().cloned();
    let mut command = Command::new(words.next().unwrap_or_else(|| "/bin/sh".to_owned()));
    command
        .args(words)
        .current_dir(&unit.directory)
        .env_clear()
        .envs(&unit.variables)
        .kill_on_drop(true);
    start(command, options.terminal)
}

/// Starts a command of this machine, on a terminal of so many columns and rows, or on
/// pipes.
pub(in crate::target) fn start(
    command: Command,
    terminal: Option<(u16, u16)>,
) -> Result<Terminal, TargetError> {
    match terminal {
        Some((columns, rows)) => on_terminal(command, columns, rows),
        None => on_pipes(command),
    }
}

fn on_pipes(mut command: Command) -> Result<Terminal, TargetError> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    in_own_session(&mut command);
    let mut child = command.spawn().map_err(|error| not_started(&error))?;
    let (pieces, output) = mpsc::channel(PIECES);
    if let Some(stdout) = child.stdout.take() {
        tokio::spawn(read(stdout, LogSource::Stdout, pieces.clone()));
    }
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(read(stderr, LogSource::Stderr, pieces.clone()));
    }
    let (input, wanted) = mpsc::channel(PIECES);
    if let Some(stdin) = child.stdin.take() {
        tokio::spawn(write(stdin, wanted, |_, _| {}, b""));
    }
    Ok(terminal(child, input, output, pieces))
}

fn on_terminal(mut command: Command, columns: u16, rows: u16) -> Result<Terminal, TargetError> {
    let (ours, theirs) = pair(columns, rows)
        .map_err(|error| infrastructure(format!("no terminal can be had: {error}")))?;
    let copy = |fd: &OwnedFd| fd.try_clone().map_err(|error| not_started(&error));
    command.stdin(copy(&theirs)?).stdout(copy(&theirs)?).stderr(copy(&theirs)?);
    in_own_session(&mut command);
    controlled(&mut command);
    let child = command.spawn().map_err(|error| not_started(&error))?;
    // Ours would keep the terminal open after the command.
    drop((command, theirs));
    let reading = tokio::fs::File::from_std(File::from(copy(&ours)?));
    let writing = tokio::fs::File::from_std(File::from(copy(&ours)?));
    let (pieces, output) = mpsc::channel(PIECES);
    tokio::spawn(read(reading, LogSource::Stdout, pieces.clone()));
    let (input, wanted) = mpsc::channel(PIECES);
    let resize = move |columns, rows| {
        let _ = tcsetwinsize(ours.as_fd(), size(columns, rows));
    };
    // What a terminal takes for the end of its input.
    tokio::spawn(write(writing, wanted, resize, b"\x04"));
    Ok(terminal(child, input, output, pieces))
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Makes a terminal: our end, and that of the command.
fn pair(columns: u16, rows: u16) -> std::io::Result<(OwnedFd, OwnedFd)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let path = ptsname(&ours, Vec::new())?;
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let theirs = rustix::fs::open(path.as_c_str(), flags, rustix::fs::Mode::empty())?;
    tcsetwinsize(&theirs, size(columns, rows))?;
    Ok((ours, theirs))
}

/// Makes its standard input the controlling terminal, so that Ctrl-C and a hang-up
/// are signals.
#[expect(unsafe_code, reason = "between fork and exec only async-signal-safe calls are made")]
fn controlled(command: &mut Command) {
    // SAFETY: one `ioctl`, on a descriptor that is open in the child.
    unsafe {
        command.pre_exec(|| {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
            Ok(())
        });
    }
}

fn not_started(error: &std::io::Error) -> TargetError {
    let message = format!("the command cannot be started: {error}");
    TargetError::Refused { message }
}

async fn read(mut from: impl AsyncRead + Unpin, source: LogSource, to: Pieces) {
    let mut buffer = vec![0; PIECE_BYTES];
    // A terminal whose command is gone reads as an error.
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if to.send(Ok(LogChunk { source, bytes: buffer[..read].to_vec() })).await.is_err() {
            return;
        }
    }
}

async fn write(
    mut to: impl AsyncWrite + Unpin,
    mut wanted: mpsc::Receiver<ExecInput>,
    resize: impl Fn(u16, u16),
    end: &'static [u8],
) {
    while let Some(input) = wanted.recv().await {
        match input {
            ExecInput::Resize { columns, rows } => resize(columns, rows),
            ExecInput::Bytes(bytes) => {
                if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
                    return;
                }
            }
        }
    }
    if to.write_all(end).await.is_ok() {
        let _ = to.flush().await;
    }
}

/// Watches over a command: it ends, or whoever wanted its output has left.
fn terminal(
    mut child: Child,
    input: mpsc::Sender<ExecInput>,
    output: mpsc::Receiver<Result<LogChunk, TargetError>>,
    pieces: Pieces,
) -> Terminal {
    let (ended, end) = oneshot::channel();
    let left = CancellationToken::new();
    let guard = left.clone().drop_guard();
    tokio::spawn(async move {
        let status = tokio::select! {
            status = child.wait() => status,
            () = left.cancelled() => {
                signal(&child, Signal::HUP);
                if tokio::time::timeout(HANG_UP, child.wait()).await.is_err() {
                    signal(&child, Signal::KILL);
                }
                child.wait().await
            }
        };
        let code = status.map(|status| {
            let signal = status.signal().map(|signal| 128 + signal);
            i64::from(status.code().or(signal).unwrap_or(-1))
        });
        let _ = ended.send(code);
        // Output ends when the last that writes to it is gone, and not before.
        drop(pieces);
    });
    let output = futures_util::stream::unfold((output, guard), |(mut output, guard)| async move {
        output.recv().await.map(|piece| (piece, (output, guard)))
    });
    let end = end.map(|code| match code {
        Ok(Ok(code)) => Ok(ExecEnd { code }),
        Ok(Err(error)) => Err(infrastructure(error.to_string())),
        Err(_) => Err(infrastructure("nobody waited for the command".to_owned())),
    });
    Terminal { input, output: output.boxed(), end: end.boxed() }
}

/// Tells its whole group; a child of it that made another group is left alone.
fn signal(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(group) = pid {
        let _ = rustix::process::kill_process_group(group, signal);
    }
}
