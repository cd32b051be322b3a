//! A shell in the container of a stage, on this terminal or in a pipe.

use std::io::{IsTerminal as _, Write as _};

use event::OutputStream;
use futures_util::StreamExt as _;
use pipeline::Shell;
use runner::backend::docker::{DockerBackend, OpenShell, ShellStreams};
use runner::{Registries, Scene};
use rustix::termios::{self, OptionalActions, Termios};
use tokio::io::AsyncWriteExt as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{CommandError, Context as _, Kind};
use crate::interrupt::Interrupts;
use crate::keyboard;

/// Opens a shell, or runs `command`, and returns the exit code when it has ended. Nothing
/// that is changed in it stays.
pub(crate) async fn open(
    backend: &DockerBackend,
    instance: &str,
    scene: &Scene,
    registries: &Registries,
    command: &[String],
) -> Result<u8, CommandError> {
    let interrupts = Interrupts::listen()?;
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let default = [if scene.shell == Shell::Bash { "bash" } else { "sh" }.to_owned()];
    let command = if command.is_empty() { &default } else { command };
    if terminal {
        greet(scene);
    }
    let registry = registries.for_reference(&scene.image);
    let opened =
        backend.shell(instance, scene, registry, command, terminal, &interrupts.cancel).await;
    if matches!(opened, Err(runner::backend::BackendError::Cancelled)) {
        return Ok(130);
    }
    let (open, streams) = opened.map_err(|error| match error {
        runner::backend::BackendError::User { .. } => CommandError::usage(error),
        error => CommandError::caused(Kind::Environment, "cannot open a shell", &error),
    })?;
    let raw = if terminal { Some(Raw::enter()?) } else { None };
    let code = tokio::select! {
        code = speak(&open, streams, terminal) => code,
        () = interrupts.cancel.cancelled() => Ok(130),
    };
    drop(raw);
    open.close().await.environment("cannot remove what the shell left")?;
    code
}

fn greet(scene: &Scene) {
    let secrets = match scene.secrets.as_slice() {
        [] => String::new(),
        names => format!("; without its secrets {}", names.join(", ")),
    };
    // A closed stderr changes nothing.
    let _ = writeln!(
        std::io::stderr(),
        "`{}` in {}, on the files it left{secrets}; what is changed here is discarded",
        scene.stage,
        scene.named
    );
}

/// Carries input and output until the command has ended.
async fn speak(
    open: &OpenShell<'_>,
    streams: ShellStreams,
    terminal: bool,
) -> Result<u8, CommandError> {
    let mut resized =
        signal(SignalKind::window_change()).environment("cannot listen for signals")?;
    if terminal {
        fit(open).await;
    }
    let mut listens = true;
    let ShellStreams { input: mut to, mut output } = streams;
    loop {
        tokio::select! {
            piece = output.next() => match piece {
                None => break,
                Some(piece) => show(&piece.environment("the shell broke off")?)?,
            },
            piece = keyboard::piece(), if listens => match piece {
                // It may have ended already: its output and its end say so.
                Some(piece) => drop(to.write_all(&piece).await),
                None => {
                    listens = false;
                    drop(to.shutdown().await);
                }
            },
            _ = resized.recv(), if terminal => fit(open).await,
        }
    }
    let code = open.wait().await.environment("the end of the shell is not known")?;
    Ok(u8::try_from(code).unwrap_or(1))
}

fn show(chunk: &runner::backend::Chunk) -> Result<(), CommandError> {
    let write =
        |out: &mut dyn std::io::Write| out.write_all(&chunk.bytes).and_then(|()| out.flush());
    let written = match chunk.stream {
        OutputStream::Stderr => write(&mut std::io::stderr()),
        OutputStream::Stdout | OutputStream::Engine => write(&mut std::io::stdout()),
    };
    written.environment("cannot write to the terminal")
}

/// Makes the terminal in the container as large as this one.
async fn fit(open: &OpenShell<'_>) {
    if let Ok(size) = termios::tcgetwinsize(std::io::stdout()) {
        // One that was not told so is only ugly.
        drop(open.resize(size.ws_col, size.ws_row).await);
    }
}

/// The terminal without line editing and signals of its own, until this is dropped.
pub(crate) struct Raw(Termios);

impl Raw {
    pub(crate) fn enter() -> Result<Self, CommandError> {
        const WHAT: &str = "cannot set up the terminal";
        let before = termios::tcgetattr(std::io::stdin()).environment(WHAT)?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).environment(WHAT)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
