//! `shipline watch`: what goes wrong with what was deployed, when it begins and when it is
//! over. Without a server it is this process that looks; with one, the server does, and this
//! shows what it found.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Local, Utc};
use serde_json::{Value, json};
use server::Watcher;
use tokio_util::sync::CancellationToken;

use super::trigger::word;
use crate::arguments::{Format, WatchArguments};
use crate::environments::Environments;
use crate::error::{CommandError, Context as _};
use crate::interrupt::Interrupts;
use crate::local_environment::LocalEnvironments;
use crate::terminal::Style;
use crate::text;

/// Incidents read of each environment.
const READ: u32 = 200;
/// Between two looks of `--once`.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How often a server is asked what it found.
const ASK: Duration = Duration::from_secs(1);

/// One environment, and what was said of it.
struct Watched {
    name: String,
    /// `None` where a server watches.
    watcher: Option<Watcher>,
    said: BTreeMap<String, Value>,
    /// Whether anything was told yet: what was over before is history.
    begun: bool,
    /// Whether nobody could see what runs at the last look.
    blind: bool,
}

pub(super) async fn watch(arguments: &WatchArguments) -> Result<u8, CommandError> {
    let environments = Environments::open(&arguments.place).await?;
    let interrupts = Interrupts::listen()?;
    let every = arguments.every.std();
    let mut watched = open(&environments, arguments, every).await?;
    if watched.is_empty() {
        return Err(CommandError::usage("there is no environment to watch"));
    }
    let pause = match (&environments, arguments.once) {
        (Environments::Server(_), _) => ASK.min(every),
        (Environments::Local(_), true) => AT_ONCE.min(every),
        (Environments::Local(_), false) => every,
    };
    let looks = |watched: &Watched| watched.watcher.as_ref().map_or(1, Watcher::looks);
    let mut left = watched.iter().map(looks).max().unwrap_or(1);
    loop {
        for watched in &mut watched {
            let repaired = tokio::select! {
                repaired = look(&environments, watched, arguments, &interrupts.cancel) => repaired?,
                // A repair is ended by the token, and not by going away.
                () = gone(&interrupts) => return Ok(0),
            };
            if repaired {
                left = looks(watched) + 1;
            }
        }
        left = left.saturating_sub(1);
        if arguments.once && left == 0 {
            return ended(&environments, &watched, arguments).await;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = interrupts.cancel.cancelled() => return Ok(0),
        }
    }
}

/// Waits for the second Ctrl-C.
async fn gone(interrupts: &Interrupts) {
    interrupts.kill.cancelled().await;
}

async fn open(
    environments: &Environments,
    arguments: &WatchArguments,
    every: Duration,
) -> Result<Vec<Watched>, CommandError> {
    let names = match &arguments.environment {
        Some(name) => vec![name.clone()],
        None => environments.names().await?,
    };
    let mut watched = Vec::new();
    for name in names {
        let watcher = match environments {
            Environments::Local(local) => {
                Some(local.watcher(&name, every, arguments.ensure).await?)
            }
            Environments::Server(_) if arguments.ensure => {
                return Err(CommandError::usage("a server repairs what its configuration says")
                    .hint(format_args!("set `ensure = true` for environment `{name}` there")));
            }
            Environments::Server(_) => None,
        };
        watched.push(Watched { name, watcher, said: BTreeMap::new(), begun: false, blind: false });
    }
    Ok(watched)
}

/// Looks once, says what is new, and repairs; returns whether it did.
async fn look(
    environments: &Environments,
    watched: &mut Watched,
    arguments: &WatchArguments,
    cancel: &CancellationToken,
) -> Result<bool, CommandError> {
    let mut repair = None;
    if let Some(watcher) = &mut watched.watcher {
        let found = tokio::select! {
            found = watcher.look() => found,
            () = cancel.cancelled() => return Ok(false),
        };
        match found {
            Ok(found) => {
                watched.blind = found.blind.is_some();
                repair = found.repair;
            }
            Err(error) if error.is_temporary() => {
                super::note(&format!("a look came to nothing: {}", runner::causes(&error)));
            }
            Err(error) => return Err(error).environment("cannot watch the environment"),
        }
    }
    tell(environments, watched, arguments.format).await?;
    let (Environments::Local(local), Some(repair)) = (environments, repair) else {
        return Ok(false);
    };
    carry_out(local, watched, repair, arguments.format, cancel).await?;
    Ok(true)
}

async fn carry_out(
    local: &LocalEnvironments,
    watched: &Watched,
    repair: deploy::Deployment,
    format: Format,
    cancel: &CancellationToken,
) -> Result<(), CommandError> {
    let (id, reason) = (repair.id.short(), repair.reason.clone().unwrap_or_default());
    say(
        format,
        &watched.name,
        &json!({ "state": "repairing", "deployment": id, "cause": reason }),
    )?;
    let ended = local.repair(&watched.name, repair, cancel).await;
    let (state, cause) = match &ended {
        Ok(deployed) => (deployed.state.name(), deployed.reason.clone().unwrap_or_default()),
        // The next look tries again, if that is of any use.
        Err(error) => ("failed", error.to_string()),
    };
    say(
        format,
        &watched.name,
        &json!({ "state": "repair-ended", "deployment": id, "ended": state, "cause": cause }),
    )
}

/// Says what differs from what was said.
async fn tell(
    environments: &Environments,
    watched: &mut Watched,
    format: Format,
) -> Result<(), CommandError> {
    let incidents = environments.incidents(&watched.name, READ).await?;
    let first = !std::mem::replace(&mut watched.begun, true);
    // Read newest first, said in the order they began.
    for incident in incidents.as_array().into_iter().flatten().rev() {
        let id = ["deployment", "place", "since"].map(|field| word(incident, field)).join(" ");
        let before = watched.said.insert(id, incident.clone());
        let Some(state) = news(before.as_ref(), incident) else { continue };
        if first && state == "resolved" && before.is_none() {
            continue;
        }
        let mut line = incident.clone();
        line["state"] = state.into();
        say(format, &watched.name, &line)?;
    }
    Ok(())
}

/// What became of an incident since it was last spoken of.
fn news(before: Option<&Value>, now: &Value) -> Option<&'static str> {
    let had = |field: &str| before.is_some_and(|before| !before[field].is_null());
    if !now["resolved_at"].is_null() {
        return (!had("resolved_at")).then_some("resolved");
    }
    if !now["given_up_at"].is_null() && !had("given_up_at") {
        return Some("given-up");
    }
    let Some(before) = before else { return Some("opened") };
    (before["kind"] != now["kind"] || before["unit"] != now["unit"]).then_some("changed")
}

fn say(format: Format, environment: &str, line: &Value) -> Result<(), CommandError> {
    match format {
        Format::Json => {
            let mut line = line.clone();
            line["environment"] = environment.into();
            super::print(&format!("{line}\n"))
        }
        Format::Text => super::print(&line_text(environment, line, Utc::now())),
    }
}

fn line_text(environment: &str, line: &Value, now: DateTime<Utc>) -> String {
    let style = Style::of_stdout();
    let state = word(line, "state");
    let (said, colour) = match state.as_str() {
        "opened" | "changed" => (word(line, "kind"), "failed"),
        "given-up" => ("given up".to_owned(), "failed"),
        "resolved" => (word(line, "because"), "passed"),
        "repair-ended" if line["ended"] == "succeeded" => ("repair done".to_owned(), "passed"),
        "repair-ended" => (format!("repair {}", word(line, "ended")), "failed"),
        _ => (state.clone(), "warning"),
    };
    let said = style.result_colour(colour, &format!("{said:<13}"));
    let slot = line["slot"].as_u64().map(|slot| format!("slot {slot}"));
    let unit = line["unit"].as_str().map(str::to_owned);
    let about: Vec<String> = slot.into_iter().chain(unit).collect();
    let about = about.join(" ");
    let cause = match state.as_str() {
        "resolved" => {
            let times =
                ["since", "resolved_at"].map(|field| word(line, field).parse::<DateTime<Utc>>());
            let [Ok(since), Ok(until)] = times else { return String::new() };
            let took = u64::try_from((until - since).num_milliseconds()).unwrap_or(0);
            format!("was {} for {}", word(line, "kind"), text::duration(took))
        }
        _ => text::plain(line["cause"].as_str().unwrap_or_default()),
    };
    let parts: Vec<String> = [about, cause].into_iter().filter(|part| !part.is_empty()).collect();
    let clock = now.with_timezone(&Local).format("%H:%M:%S");
    let line = format!("{clock}  {environment}  {said} {}", parts.join(": "));
    format!("{}\n", line.trim_end())
}

/// What `--once` has to say in the end, and its exit code.
async fn ended(
    environments: &Environments,
    watched: &[Watched],
    arguments: &WatchArguments,
) -> Result<u8, CommandError> {
    let (mut open, mut blind) = (false, false);
    for watched in watched {
        let is_open = |incident: &&Value| incident["resolved_at"].is_null();
        let left: Vec<&Value> = watched.said.values().filter(is_open).collect();
        blind |= watched.blind || left.iter().any(|incident| incident["kind"] == "unreachable");
        open |= !left.is_empty();
        if left.is_empty() && !watched.blind && arguments.format == Format::Text {
            let name = &watched.name;
            let status = environments.history(name, 1).await?;
            let nothing = status.as_array().is_none_or(Vec::is_empty);
            super::print(&match nothing {
                true => format!("nothing was deployed to {name} yet\n"),
                false => format!("{name} is as it was deployed\n"),
            })?;
        }
    }
    Ok(match (blind, open) {
        (true, _) => 3,
        (false, true) => 1,
        (false, false) => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_an_incident_is_said_once() {
        let open = json!({ "kind": "dead", "unit": "a" });
        let gone = json!({ "kind": "missing" });
        let given_up = json!({ "kind": "missing", "given_up_at": "2026-08-11T12:00:00Z" });
        let over = json!({ "kind": "missing", "given_up_at": "2026-08-11T12:00:00Z", "resolved_at": "2026-08-11T13:00:00Z" });
        assert_eq!(news(None, &open), Some("opened"));
        assert_eq!(news(Some(&open), &open), None);
        assert_eq!(news(Some(&open), &gone), Some("changed"));
        assert_eq!(news(Some(&gone), &given_up), Some("given-up"));
        assert_eq!(news(Some(&given_up), &given_up), None);
        assert_eq!(news(Some(&given_up), &over), Some("resolved"));
        assert_eq!(news(Some(&over), &over), None);
    }

    #[test]
    fn a_line_says_where_what_and_why() {
        let now = Utc::now();
        let rest = |line: &Value| {
            let text = line_text("demo", line, now);
            text.split_once("  ").expect("a time").1.to_owned()
        };
        let dead = json!({ "state": "opened", "kind": "dead", "slot": 1, "unit": "shop-demo-1",
            "cause": "it does not run: it exited with 137" });
        assert_eq!(
            rest(&dead),
            "demo  dead          slot 1 shop-demo-1: it does not run: it exited with 137\n"
        );
        let over = json!({ "state": "resolved", "kind": "dead", "slot": 1, "because": "repaired",
            "since": "2026-08-11T12:00:00Z", "resolved_at": "2026-08-11T12:03:12Z" });
        assert_eq!(rest(&over), "demo  repaired      slot 1: was dead for 3m 12s\n");
        let away = json!({ "state": "opened", "kind": "unreachable", "cause": "docker: away" });
        assert_eq!(rest(&away), "demo  unreachable   docker: away\n");
    }
}
