//! `shipline trigger`: a run by hand, on the server.

use event::{Event, EventKind, RunResult};
use serde_json::{Value, json};

use crate::arguments::{Format, TriggerArguments};
use crate::client::{Client, segment};
use crate::error::{CommandError, Kind};
use crate::local_run::exit_code;
use crate::simulation;
use crate::terminal::{Excerpts, Reporter, Style};

pub(super) async fn trigger(arguments: &TriggerArguments) -> Result<u8, CommandError> {
    let client = Client::required(&arguments.server)?;
    let path = format!("/api/v1/projects/{}/runs", segment(&arguments.project));
    let params = simulation::params(&arguments.params)?;
    let asked = json!({ "ref": arguments.reference, "params": params });
    let run = client.post(&path, &asked).await?;
    if !arguments.wait {
        super::show(arguments.format, &run, |run| {
            let word = |field: &str| run[field].as_str().unwrap_or_default().to_owned();
            format!("run {} #{} of {} is queued\n", word("run"), run["number"], arguments.project)
        })?;
        return Ok(0);
    }
    let id = run["run"].as_str().unwrap_or_default();
    let result = follow(&client, id, arguments.format).await?;
    result.map(exit_code).ok_or_else(|| {
        CommandError::new(
            Kind::Environment,
            "the server ended the stream before the end of the run",
        )
    })
}

/// Shows the events of a run until its end.
async fn follow(
    client: &Client,
    id: &str,
    format: Format,
) -> Result<Option<RunResult>, CommandError> {
    let mut result = None;
    let mut reporter = Reporter::new(std::io::stdout(), Style::of_stdout(), Excerpts::default());
    client
        .lines(&format!("/api/v1/runs/{}/events?follow=true", segment(id)), |line| {
            let event: Event = serde_json::from_str(line).map_err(|error| {
                CommandError::environment(format_args!(
                    "the server sent an event that cannot be read: {error}"
                ))
            })?;
            if let EventKind::RunFinished { result: end, .. } = &event.kind {
                result = Some(*end);
            }
            match format {
                Format::Json => super::print(&format!("{line}\n")),
                Format::Text => {
                    // A reader that went away is no reason to stop waiting for the verdict.
                    let _ = reporter.event(&event);
                    Ok(())
                }
            }
        })
        .await?;
    Ok(result)
}

/// The word of a field, for tables.
pub(super) fn word(value: &Value, field: &str) -> String {
    match &value[field] {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}
