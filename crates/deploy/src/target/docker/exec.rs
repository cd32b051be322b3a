//! Commands beside a unit, in its container.
//!
//! The engine goes on with a command whose listener has left: a program that reads
//! its input sees the end of it, any other runs until it ends by itself.

use std::time::Duration;

use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use bollard::query_parameters::ResizeExecOptionsBuilder;
use futures_util::{FutureExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::call::{call, failed};
use super::logs::chunk;
use super::{CALL, DockerTarget};
use crate::health::Look;
use crate::target::stream::PIECES;
use crate::{ExecEnd, ExecInput, ExecOptions, TargetError, Terminal, UnitId};

/// The runtime's own answer where there is no such program.
const CANNOT_RUN: [i64; 3] = [126, 127, 128];

impl DockerTarget {
    pub(in crate::target) async fn run_beside(
        &self,
        unit: &UnitId,
        options: ExecOptions,
    ) -> Result<Terminal, TargetError> {
        let command =
            if options.command.is_empty() { vec!["/bin/sh".to_owned()] } else { options.command };
        let config = ExecConfig {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(options.terminal.is_some()),
            cmd: Some(command),
            ..Default::default()
        };
        let made = call(CALL, "exec", self.docker.create_exec(&unit.0, config)).await;
        let id = match made {
            Ok(made) => made.id,
            Err(error) if error.status == Some(409) => {
                let message = format!("{unit} does not run");
                return Err(TargetError::Refused { message });
            }
            Err(error) => return Err(error.into()),
        };
        let start = StartExecOptions {
            detach: false,
            tty: options.terminal.is_some(),
            ..StartExecOptions::default()
        };
        let started = call(CALL, "exec", self.docker.start_exec(&id, Some(start))).await?;
        let StartExecResults::Attached { output, input } = started else {
            let message = "the engine did not attach the command".to_owned();
            return Err(TargetError::Infrastructure { part: "docker".to_owned(), message });
        };
        if let Some((columns, rows)) = options.terminal {
            self.resize(&id, columns, rows).await;
        }
        let (sender, mut wanted) = mpsc::channel(PIECES);
        let (docker, named) = (self.docker.clone(), id.clone());
        tokio::spawn(async move {
            let mut input = input;
            while let Some(piece) = wanted.recv().await {
                match piece {
                    ExecInput::Resize { columns, rows } => {
                        resize(&docker, &named, columns, rows).await;
                    }
                    ExecInput::Bytes(bytes) => {
                        if input.write_all(&bytes).await.is_err() || input.flush().await.is_err() {
                            return;
                        }
                    }
                }
            }
            let _ = input.shutdown().await;
        });
        let output =
            output.map(|told| told.map(chunk).map_err(|error| failed("exec", error).into()));
        let docker = self.docker.clone();
        let end = async move { end_of(&docker, &id).await };
        Ok(Terminal { input: sender, output: output.boxed(), end: end.boxed() })
    }

    async fn resize(&self, exec: &str, columns: u16, rows: u16) {
        resize(&self.docker, exec, columns, rows).await;
    }

    /// Asks a unit by a command in its container.
    pub(super) async fn run_check(
        &self,
        unit: &UnitId,
        command: &[String],
        timeout: Duration,
    ) -> Result<Look, TargetError> {
        let shown = command.join(" ");
        let options = ExecOptions { command: command.to_vec(), terminal: None };
        let asking = async {
            let mut running = match self.run_beside(unit, options).await {
                Ok(running) => running,
                // It ended between the last look and this question.
                Err(TargetError::Refused { message }) => return Ok(Err(message)),
                Err(error) => return Err(error),
            };
            drop(running.input);
            let mut said = Vec::new();
            while let Some(Ok(piece)) = running.output.next().await {
                said.extend_from_slice(&piece.bytes);
                // The last line is enough to tell people what is wrong.
                let surplus = said.len().saturating_sub(4_096);
                said.drain(..surplus);
            }
            Ok(Ok((running.end.await?.code, said)))
        };
        Ok(match tokio::time::timeout(timeout, asking).await {
            Err(_) => Look::Bad(format!("`{shown}`: not done within {} s", timeout.as_secs_f64())),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(Err(why))) => Look::Bad(why),
            Ok(Ok(Ok((0, _)))) => Look::Good,
            Ok(Ok(Ok((code, said)))) => {
                let said = String::from_utf8_lossy(&said);
                let last = said.trim().lines().last().map(|line| format!(": {line}"));
                let cannot = if CANNOT_RUN.contains(&code) { "cannot be run, " } else { "" };
                let last = last.unwrap_or_default();
                Look::Bad(format!("`{shown}` {cannot}ended with {code}{last}"))
            }
        })
    }
}

/// The size of a terminal is for the eye: a wrong one is worth no error.
async fn resize(docker: &bollard::Docker, exec: &str, columns: u16, rows: u16) {
    let size = ResizeExecOptionsBuilder::new().w(i32::from(columns)).h(i32::from(rows)).build();
    if let Err(error) = call(CALL, "resize", docker.resize_exec(exec, size)).await {
        tracing::debug!(message = error.message, "the terminal keeps its size");
    }
}

/// The code is there a moment after the output has ended.
async fn end_of(docker: &bollard::Docker, exec: &str) -> Result<ExecEnd, TargetError> {
    const LOOKS: u32 = 100;
    for _ in 0..LOOKS {
        let seen = call(CALL, "inspect exec", docker.inspect_exec(exec)).await?;
        if let (Some(false), Some(code)) = (seen.running, seen.exit_code) {
            return Ok(ExecEnd { code });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let message = "the output of the command has ended, and it runs".to_owned();
    Err(TargetError::Infrastructure { part: "docker".to_owned(), message })
}
