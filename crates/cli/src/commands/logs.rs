//! `shipline logs`: the output of a run, stage by stage.

use event::{Frame, FrameBody};
use serde_json::Value;

use crate::arguments::{Format, LogsArguments};
use crate::client::{Client, segment};
use crate::error::CommandError;
use crate::history;
use crate::home::Home;
use crate::terminal::visible;

pub(super) async fn logs(arguments: &LogsArguments) -> Result<u8, CommandError> {
    match Client::of(&arguments.server)? {
        Some(client) => of_server(&client, arguments).await?,
        None => of_home(arguments).await?,
    }
    Ok(0)
}

async fn of_server(client: &Client, arguments: &LogsArguments) -> Result<(), CommandError> {
    let id = segment(&arguments.run);
    let run = client.get(&format!("/api/v1/runs/{id}")).await?;
    for stage in chosen(&run, arguments.stage.as_deref())? {
        title(arguments, &stage)?;
        let path =
            format!("/api/v1/runs/{id}/stages/{}/log?follow={}", segment(&stage), arguments.follow);
        client
            .lines(&path, |line| {
                let frame: Frame = serde_json::from_str(line).map_err(|error| {
                    CommandError::environment(format_args!(
                        "the server sent a frame that cannot be read: {error}"
                    ))
                })?;
                show(arguments.format, &frame)
            })
            .await?;
    }
    Ok(())
}

async fn of_home(arguments: &LogsArguments) -> Result<(), CommandError> {
    let home = Home::from_environment()?;
    let store = home.store().await?;
    let run = history::run(&store, &arguments.run).await?;
    for stage in chosen(&run, arguments.stage.as_deref())? {
        title(arguments, &stage)?;
        for frame in history::frames(&home, &run, &stage)? {
            show(arguments.format, &frame)?;
        }
    }
    Ok(())
}

/// The stage named, or all that have an attempt.
fn chosen(run: &Value, stage: Option<&str>) -> Result<Vec<String>, CommandError> {
    let stages: Vec<&Value> = run["stages"].as_array().into_iter().flatten().collect();
    let names = || stages.iter().filter_map(|stage| stage["name"].as_str());
    match stage {
        Some(name) if names().any(|known| known == name) => Ok(vec![name.to_owned()]),
        Some(name) => Err(CommandError::usage(format_args!("the run has no stage `{name}`"))
            .hint(format_args!("its stages are {}", names().collect::<Vec<_>>().join(", ")))),
        None => Ok(stages
            .iter()
            .filter(|stage| stage["attempts"].as_u64().is_some_and(|attempts| attempts > 0))
            .filter_map(|stage| stage["name"].as_str().map(str::to_owned))
            .collect()),
    }
}

fn title(arguments: &LogsArguments, stage: &str) -> Result<(), CommandError> {
    if arguments.stage.is_none() && arguments.format == Format::Text {
        super::print(&format!("== {stage}\n"))?;
    }
    Ok(())
}

fn show(format: Format, frame: &Frame) -> Result<(), CommandError> {
    match (format, &frame.body) {
        (Format::Json, _) => {
            let line = serde_json::to_string(frame).map_err(|error| {
                CommandError::environment(format_args!("a frame is no JSON: {error}"))
            })?;
            super::print(&format!("{line}\n"))
        }
        (Format::Text, FrameBody::Text(text)) => super::print(&visible_lines(text)),
        (Format::Text, FrameBody::Base64(_)) => super::print("(bytes that are not text)\n"),
    }
}

fn visible_lines(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}
