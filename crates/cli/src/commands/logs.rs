//! `shipline logs`: the output of a run, stage by stage.

use std::time::Duration;

use event::Frame;
use futures_util::StreamExt as _;
use serde_json::Value;
use store::Store;
use tokio_util::sync::CancellationToken;

use super::unit_logs;
use crate::arguments::{Format, LogsArguments};
use crate::client::{Client, segment};
use crate::error::{CommandError, Context as _};
use crate::history;
use crate::home::Home;
use crate::terminal::{readable, visible};

/// How often a follower asks whether a local stage has ended.
const LOOK: Duration = Duration::from_millis(200);

pub(super) async fn logs(arguments: &LogsArguments) -> Result<u8, CommandError> {
    if let Some(environment) = &arguments.environment {
        return unit_logs::show(environment, arguments).await;
    }
    match Client::of(&arguments.place.server)? {
        Some(client) => of_server(&client, arguments).await?,
        None => of_home(arguments).await?,
    }
    Ok(0)
}

/// The run; without `--env` there is one.
fn named(arguments: &LogsArguments) -> &str {
    arguments.run.as_deref().unwrap_or_default()
}

async fn of_server(client: &Client, arguments: &LogsArguments) -> Result<(), CommandError> {
    let id = segment(named(arguments));
    let run = client.get(&format!("/api/v1/runs/{id}")).await?;
    for stage in chosen(&run, arguments)? {
        let mut shown = Shown::of(arguments, &stage);
        let path =
            format!("/api/v1/runs/{id}/stages/{}/log?follow={}", segment(&stage), arguments.follow);
        client
            .lines(&path, |line| {
                let frame: Frame = serde_json::from_str(line).map_err(|error| {
                    CommandError::environment(format_args!(
                        "the server sent a frame that cannot be read: {error}"
                    ))
                })?;
                shown.frame(&frame)
            })
            .await?;
    }
    Ok(())
}

async fn of_home(arguments: &LogsArguments) -> Result<(), CommandError> {
    let home = Home::from_environment()?;
    let store = home.store().await?;
    let run = history::run(&store, named(arguments)).await?;
    for stage in chosen(&run, arguments)? {
        let mut shown = Shown::of(arguments, &stage);
        if arguments.follow {
            follow(&home, &store, &run, &stage, &mut shown).await?;
            continue;
        }
        for frame in history::frames(&home, &run, &stage)? {
            shown.frame(&frame)?;
        }
    }
    Ok(())
}

/// Shows output as it is written, until its stage has ended or the run's process is gone.
async fn follow(
    home: &Home,
    store: &Store,
    run: &Value,
    stage: &str,
    shown: &mut Shown,
) -> Result<(), CommandError> {
    let Some(path) = history::log(home, run, stage) else { return Ok(()) };
    let done = CancellationToken::new();
    let mut frames = std::pin::pin!(runner::follow(path, 0, done.clone()));
    let end = async {
        while !history::has_ended(home, store, run, stage).await? {
            tokio::time::sleep(LOOK).await;
        }
        done.cancel();
        Ok(())
    };
    let show = async {
        while let Some(frame) = frames.next().await {
            shown.frame(&frame.environment("cannot read the output")?)?;
        }
        Ok::<_, CommandError>(())
    };
    tokio::try_join!(end, show)?;
    Ok(())
}

/// The stage or service named; else all that have an attempt, and with `--follow` those that will.
fn chosen(run: &Value, arguments: &LogsArguments) -> Result<Vec<String>, CommandError> {
    let stages: Vec<&Value> = run["stages"].as_array().into_iter().flatten().collect();
    let names = || stages.iter().filter_map(|stage| stage["name"].as_str());
    match arguments.stage.as_deref() {
        Some(name) if history::writer(run, name).is_some() => Ok(vec![name.to_owned()]),
        Some(name) => Err(CommandError::usage(format_args!("the run has no stage `{name}`"))
            .hint(format_args!("its stages are {}", names().collect::<Vec<_>>().join(", ")))),
        None => Ok(stages
            .iter()
            .filter(|stage| {
                arguments.follow || stage["attempts"].as_u64().is_some_and(|attempts| attempts > 0)
            })
            .filter_map(|stage| stage["name"].as_str().map(str::to_owned))
            .collect()),
    }
}

/// Shows the frames of a stage, with its name above the first where there are several.
struct Shown {
    format: Format,
    title: Option<String>,
}

impl Shown {
    fn of(arguments: &LogsArguments, stage: &str) -> Self {
        let wanted = arguments.stage.is_none() && arguments.format == Format::Text;
        Self { format: arguments.format, title: wanted.then(|| format!("== {stage}\n")) }
    }

    fn frame(&mut self, frame: &Frame) -> Result<(), CommandError> {
        if let Some(title) = self.title.take() {
            super::print(&title)?;
        }
        match self.format {
            Format::Json => {
                let line = serde_json::to_string(frame).map_err(|error| {
                    CommandError::environment(format_args!("a frame is no JSON: {error}"))
                })?;
                super::print(&format!("{line}\n"))
            }
            Format::Text => super::print(&visible_lines(&readable(&frame.body))),
        }
    }
}

fn visible_lines(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}
