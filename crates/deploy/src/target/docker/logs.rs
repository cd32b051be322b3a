//! What a unit has written, as the engine kept it.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::query_parameters::{LogsOptions, LogsOptionsBuilder};
use futures_util::StreamExt;

use super::call::failed;
use super::unit::{INSTANCE, KIND, label};
use super::{CALL, DockerTarget};
use crate::{LogChunk, LogOptions, LogSource, LogStream, TargetError, UnitId};

const LOG_LINES: usize = 200;
const LOG_LINE_BYTES: usize = 2_000;
const LOGS: Duration = Duration::from_secs(5);

impl DockerTarget {
    /// Refuses what is no unit of this instance: a name is not yet a permission.
    pub(super) async fn own(&self, unit: &UnitId) -> Result<(), TargetError> {
        let found = match self.inspect(&unit.0).await {
            Ok(found) => Some(found),
            Err(error) if error.status == Some(404) => None,
            Err(error) => return Err(error.into()),
        };
        let ours = found.is_some_and(|found| {
            label(&found, INSTANCE).as_ref() == Some(&self.instance)
                && label(&found, KIND).as_deref() == Some("unit")
        });
        if ours {
            return Ok(());
        }
        let message = format!("{unit} does not exist");
        Err(TargetError::Infrastructure { part: "docker".to_owned(), message })
    }

    pub(super) fn log_stream(&self, unit: &UnitId, options: LogOptions) -> LogStream {
        let asked = asked(&options);
        let told = self.docker.logs(&unit.0, Some(asked));
        told.map(|told| told.map(chunk).map_err(|error| failed("logs", error).into())).boxed()
    }

    /// Returns the last lines of a unit; what cannot be read is not worth an error.
    pub(super) async fn last_lines(&self, unit: &UnitId) -> Vec<String> {
        let options = LogsOptions {
            stdout: true,
            stderr: true,
            tail: LOG_LINES.to_string(),
            ..LogsOptions::default()
        };
        let mut text = Vec::new();
        let mut reading = self.docker.logs(&unit.0, Some(options));
        let read = async {
            while let Some(Ok(output)) = reading.next().await {
                text.extend_from_slice(&chunk(output).bytes);
            }
        };
        // What was read until then is kept.
        let _ = tokio::time::timeout(LOGS.min(CALL), read).await;
        last_lines(&text)
    }
}

/// What the engine is asked for, of a container as of a service.
pub(in crate::target) fn asked(options: &LogOptions) -> LogsOptions {
    let tail = options.tail.map_or("all".to_owned(), |tail| tail.to_string());
    // The engine takes whole seconds: rather one too many than a line too few.
    let since = options.since.map_or(0, |since| since.timestamp());
    LogsOptionsBuilder::new()
        .stdout(true)
        .stderr(true)
        .follow(options.follow)
        .tail(&tail)
        .since(i32::try_from(since).unwrap_or(i32::MAX))
        .build()
}

/// Takes a frame off its header, which tells where it came from.
pub(in crate::target) fn chunk(output: LogOutput) -> LogChunk {
    let (source, message) = match output {
        LogOutput::StdErr { message } => (LogSource::Stderr, message),
        LogOutput::StdOut { message }
        | LogOutput::StdIn { message }
        | LogOutput::Console { message } => (LogSource::Stdout, message),
    };
    LogChunk { source, bytes: message.to_vec() }
}

pub(in crate::target) fn last_lines(text: &[u8]) -> Vec<String> {
    let line = |line: &[u8]| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        String::from_utf8_lossy(&line[..line.len().min(LOG_LINE_BYTES)]).into_owned()
    };
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    if text.is_empty() {
        return Vec::new();
    }
    let lines: Vec<_> = text.split(|byte| *byte == b'\n').map(line).collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].to_vec()
}
