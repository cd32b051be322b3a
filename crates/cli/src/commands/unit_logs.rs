//! `shipline logs --env`: what deployed units write.

use std::collections::BTreeMap;

use chrono::{TimeDelta, Utc};
use deploy::LogOptions;
use event::OutputStream;
use futures_util::future::join_all;
use serde_json::Value;
use server::UnitOutput;
use tokio::sync::mpsc;

use crate::arguments::{Format, LogsArguments};
use crate::environments::Environments;
use crate::error::CommandError;
use crate::interrupt::Interrupts;
use crate::terminal::visible;

/// Pieces that wait to be shown.
const PIECES: usize = 64;

pub(super) async fn show(environment: &str, arguments: &LogsArguments) -> Result<u8, CommandError> {
    let environments = Environments::open(&arguments.place).await?;
    let status = environments.status(environment).await?;
    let units = chosen(&status, arguments.run.as_deref(), arguments.previous)?;
    let since = arguments.since.and_then(|since| TimeDelta::from_std(since.std()).ok());
    let options = LogOptions {
        follow: arguments.follow,
        tail: None,
        since: since.map(|since| Utc::now() - since),
    };
    let interrupts = Interrupts::listen()?;
    let (send, mut pieces) = mpsc::channel(PIECES);
    let read = async {
        let of_unit = |unit| environments.unit_log(environment, unit, options, &send);
        let read = join_all(units.iter().map(|unit| of_unit(unit.as_str()))).await;
        drop(send);
        read.into_iter().collect::<Result<Vec<()>, CommandError>>()
    };
    let mut shown = Shown::new(arguments.format, units.len() > 1);
    let show = async {
        while let Some(piece) = pieces.recv().await {
            shown.piece(&piece)?;
        }
        shown.rest()
    };
    tokio::select! {
        ended = async { tokio::try_join!(read, show) } => ended.map(|_| 0),
        () = interrupts.cancel.cancelled() => Ok(0),
    }
}

/// The units that are meant: those in traffic, or before them, or the one that is named.
fn chosen(
    status: &Value,
    named: Option<&str>,
    previous: bool,
) -> Result<Vec<String>, CommandError> {
    let all: Vec<&Value> = status["units"].as_array().into_iter().flatten().collect();
    let name = |unit: &Value| unit["unit"].as_str().unwrap_or_default().to_owned();
    let is_named = |unit: &Value| {
        let slot = unit["slot"].as_u64().map(|slot| slot.to_string());
        named.is_none_or(|text| unit["unit"] == *text || slot.as_deref() == Some(text))
    };
    if let Some(unit) = all.iter().find(|unit| named.is_some_and(|text| unit["unit"] == *text)) {
        return Ok(vec![name(unit)]);
    }
    // Of a slot, the one that was made last.
    let mut latest: BTreeMap<u64, &Value> = BTreeMap::new();
    for unit in all.iter().filter(|unit| is_named(unit) && (unit["admitted"] != true) == previous) {
        let slot = unit["slot"].as_u64().unwrap_or_default();
        let made = |unit: &Value| unit["fence"].as_u64();
        if latest.get(&slot).is_none_or(|known| made(known) <= made(unit)) {
            latest.insert(slot, unit);
        }
    }
    if !latest.is_empty() {
        return Ok(latest.into_values().map(name).collect());
    }
    let what = if previous { "unit out of traffic" } else { "unit in traffic" };
    let which = named.map(|text| format!(" `{text}`")).unwrap_or_default();
    let names: Vec<String> = all.iter().map(|unit| name(unit)).collect();
    let told = CommandError::usage(format_args!("there is no {what}{which}"));
    Err(if names.is_empty() {
        told
    } else {
        told.hint(format_args!("there are {}", names.join(", ")))
    })
}

/// Picks one unit of an environment, for those who want exactly one.
pub(super) fn one(status: &Value, named: Option<&str>) -> Result<String, CommandError> {
    let mut units = chosen(status, named, false)?;
    Ok(units.swap_remove(0))
}

/// Shows whole lines, each with its unit where there are several.
struct Shown {
    format: Format,
    named: bool,
    /// Of each unit and stream, what has no end of line yet.
    open: BTreeMap<(String, OutputStream), Vec<u8>>,
}

impl Shown {
    const fn new(format: Format, named: bool) -> Self {
        Self { format, named, open: BTreeMap::new() }
    }

    fn piece(&mut self, piece: &UnitOutput) -> Result<(), CommandError> {
        if self.format == Format::Json {
            let line = serde_json::to_string(piece).map_err(|error| {
                CommandError::environment(format_args!("a piece is no JSON: {error}"))
            })?;
            return super::print(&format!("{line}\n"));
        }
        let open = self.open.entry((piece.unit.clone(), piece.stream)).or_default();
        open.extend(piece.bytes());
        let Some(end) = open.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let whole: Vec<u8> = open.drain(..=end).collect();
        super::print(&lines(self.named.then_some(&piece.unit), &whole))
    }

    /// What was left without an end of line.
    fn rest(&mut self) -> Result<(), CommandError> {
        for ((unit, _), rest) in std::mem::take(&mut self.open) {
            if !rest.is_empty() {
                super::print(&lines(self.named.then_some(&unit), &rest))?;
            }
        }
        Ok(())
    }
}

fn lines(unit: Option<&String>, bytes: &[u8]) -> String {
    let prefix = unit.map(|unit| format!("{unit} | ")).unwrap_or_default();
    let text = String::from_utf8_lossy(bytes);
    text.lines().map(|line| format!("{prefix}{}\n", visible(line))).collect()
}

#[cfg(test)]
mod tests {
    use event::FrameBody;
    use serde_json::json;

    use super::*;

    fn status() -> Value {
        let unit = |name: &str, slot: u32, admitted: bool, fence: u64| json!({ "unit": name, "slot": slot, "admitted": admitted, "fence": fence });
        json!({ "units": [
            unit("old-0", 0, false, 2), unit("older-0", 0, false, 1), unit("new-0", 0, true, 3),
            unit("new-1", 1, true, 3),
        ]})
    }

    #[test]
    fn a_unit_is_meant_by_name_by_slot_or_by_its_traffic() {
        let of = |named, previous| chosen(&status(), named, previous).ok();
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(of(None, false), names(&["new-0", "new-1"]));
        assert_eq!(of(Some("1"), false), names(&["new-1"]));
        assert_eq!(of(Some("older-0"), false), names(&["older-0"]));
        assert_eq!(of(None, true), names(&["old-0"]));
        assert_eq!(of(Some("1"), true), None);
        assert_eq!(one(&status(), None).ok().as_deref(), Some("new-0"));
    }

    #[test]
    fn lines_are_whole_and_do_nothing_to_the_terminal() {
        assert_eq!(lines(None, b"a\nb\x1b[2J"), "a\nb\\u{1b}[2J\n");
        assert_eq!(lines(Some(&"web-0".to_owned()), b"a\n"), "web-0 | a\n");
        let bytes = UnitOutput {
            unit: "web-0".to_owned(),
            stream: OutputStream::Stdout,
            body: FrameBody::Base64("/w==".to_owned()),
        };
        assert_eq!(bytes.bytes(), [0xff]);
    }
}
