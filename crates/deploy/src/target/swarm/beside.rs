//! What a unit has written, and commands in its container.

use std::time::Duration;

use bollard::query_parameters::LogsOptions;
use futures_util::StreamExt;

use super::SwarmTarget;
use super::task::{Stage, newest, stage_of};
use crate::target::docker::CALL;
use crate::target::docker::call::{call, failed};
use crate::target::docker::logs::{asked, chunk, last_lines};
use crate::{ExecOptions, LogOptions, LogStream, TargetError, Terminal, UnitId};

const LINES: u32 = 200;
const LOGS: Duration = Duration::from_secs(5);

impl SwarmTarget {
    pub(super) fn log_stream(&self, unit: &UnitId, options: LogOptions) -> LogStream {
        let asked = asked(&options);
        let told = self.docker().service_logs(&unit.0, Some(asked));
        told.map(|told| told.map(chunk).map_err(|error| failed("logs", error).into())).boxed()
    }

    /// Returns the last lines of a unit; what cannot be read is not worth an error.
    pub(super) async fn last_lines(&self, unit: &UnitId) -> Vec<String> {
        let options = LogsOptions {
            stdout: true,
            stderr: true,
            tail: LINES.to_string(),
            ..LogsOptions::default()
        };
        let mut text = Vec::new();
        let mut reading = self.docker().service_logs(&unit.0, Some(options)).boxed();
        let read = async {
            while let Some(Ok(output)) = reading.next().await {
                text.extend_from_slice(&chunk(output).bytes);
            }
        };
        // What was read until then is kept.
        let _ = tokio::time::timeout(LOGS, read).await;
        last_lines(&text)
    }

    /// A manager runs commands on its own node alone.
    pub(super) async fn run_in_task(
        &self,
        unit: &UnitId,
        options: ExecOptions,
    ) -> Result<Terminal, TargetError> {
        let service = self.own(unit).await?;
        let tasks = self.tasks(service.id.into_iter().collect()).await?;
        let running = newest(&tasks)
            .filter(|task| matches!(stage_of(task), Stage::Begins | Stage::Runs))
            .and_then(|task| {
                let container = task.status.as_ref()?.container_status.as_ref()?;
                Some((container.container_id.clone()?, task.node_id.clone()?))
            });
        let Some((container, node)) = running else {
            return Err(not_running(unit));
        };
        let info = call(CALL, "ask the engine", self.docker().info()).await?;
        let own = info.swarm.and_then(|swarm| swarm.node_id);
        if own.as_ref() != Some(&node) {
            let nodes = self.nodes().await?;
            let name = nodes.name(&node).unwrap_or(&node);
            let message = format!(
                "{unit} runs on node {name}, and a manager runs commands on its own node alone: there, `docker exec -it {} sh` does",
                &container[..container.len().min(12)]
            );
            return Err(TargetError::Refused { message });
        }
        match self.engine.run_beside(&UnitId(container), options).await {
            // It ended since it was looked at; people know the unit, not its container.
            Err(TargetError::Refused { .. }) => Err(not_running(unit)),
            other => other,
        }
    }
}

fn not_running(unit: &UnitId) -> TargetError {
    TargetError::Refused { message: format!("{unit} does not run") }
}
