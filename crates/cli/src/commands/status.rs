//! `shipline status`: what should run in an environment, and what does, unit by unit.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::change::wait_for;
use super::outcome::{exit_code, kind_of};
use super::trigger::word;
use crate::arguments::StatusArguments;
use crate::environments::Environments;
use crate::error::CommandError;
use crate::interrupt::Interrupts;
use crate::terminal::{Style, shows_a_tree};
use crate::text;

/// How often `--watch` looks.
const LOOK: Duration = Duration::from_secs(1);
/// Clears the screen, and goes to its corner.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) async fn status(arguments: &StatusArguments) -> Result<u8, CommandError> {
    let environments = Environments::open(&arguments.place).await?;
    if let Some(id) = &arguments.deployment {
        return deployment(&environments, id, arguments).await;
    }
    if arguments.watch {
        return watch(&environments, arguments).await;
    }
    let statuses = statuses(&environments, arguments).await?;
    // One environment is one object; without a name it is a list of them.
    let value = match (&arguments.environment, statuses.as_slice()) {
        (Some(_), [status]) => status.clone(),
        _ => Value::Array(statuses.clone()),
    };
    super::show(arguments.format, &value, |_| text_of(&statuses))?;
    Ok(if arguments.check { checked(&statuses) } else { 0 })
}

async fn deployment(
    environments: &Environments,
    id: &str,
    arguments: &StatusArguments,
) -> Result<u8, CommandError> {
    if arguments.wait {
        return wait_for(environments, id, arguments.format).await;
    }
    let deployment = environments.deployment(id).await?;
    super::show(arguments.format, &deployment, deployment_text)?;
    // One that goes on has no code yet.
    Ok(if deployment["state"].is_null() { 0 } else { exit_code(&deployment) })
}

/// Shows it again whenever it has changed.
async fn watch(
    environments: &Environments,
    arguments: &StatusArguments,
) -> Result<u8, CommandError> {
    let interrupts = Interrupts::listen()?;
    let mut shown = None;
    loop {
        let statuses = statuses(environments, arguments).await?;
        if shown.as_ref() != Some(&statuses) {
            if shows_a_tree() {
                super::print(CLEAR)?;
            }
            let value = Value::Array(statuses.clone());
            super::show(arguments.format, &value, |_| text_of(&statuses))?;
            shown = Some(statuses);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = interrupts.cancel.cancelled() => return Ok(0),
        }
    }
}

async fn statuses(
    environments: &Environments,
    arguments: &StatusArguments,
) -> Result<Vec<Value>, CommandError> {
    let names = match &arguments.environment {
        Some(name) => vec![name.clone()],
        None => environments.names().await?,
    };
    let mut statuses = Vec::new();
    for name in &names {
        statuses.push(environments.status(name).await?);
    }
    Ok(statuses)
}

/// 1 when something differs, 3 when nobody knows.
fn checked(statuses: &[Value]) -> u8 {
    let has = |field: &str| statuses.iter().any(|status| !status[field].is_null());
    match (has("error"), has("drift")) {
        (true, _) => 3,
        (false, true) => 1,
        (false, false) => 0,
    }
}

fn text_of(statuses: &[Value]) -> String {
    if statuses.is_empty() {
        return "there is no environment\n".to_owned();
    }
    statuses.iter().map(status_text).collect::<Vec<_>>().join("\n")
}

fn status_text(status: &Value) -> String {
    let style = Style::of_stdout();
    let title = format!("{} {}", word(status, "project"), word(status, "environment"));
    let mut shown = style.bold(&title);
    if let Some(release) = status["release"].as_str() {
        shown.push_str(&format!(
            "  release {} ({})  wanted {}",
            word(status, "version"),
            short(release),
            word(status, "wanted"),
        ));
    }
    if status["stopped"] == true {
        shown.push_str("  stopped on purpose");
    }
    if let Some(slots) = status["resting"].as_array() {
        let slots: Vec<String> = slots.iter().map(ToString::to_string).collect();
        shown.push_str(&format!("  slot {} stopped on purpose", slots.join(", ")));
    }
    shown.push('\n');
    if let Some(promises) = status["switch"]["promises"].as_str() {
        shown.push_str(&format!("behind {}\n", text::plain(promises)));
    }
    if let Some(error) = status["error"].as_str() {
        shown.push_str(&format!("nobody knows what runs: {}\n", text::plain(error)));
    }
    if let Some(holder) = status["locked_by"].as_str() {
        shown.push_str(&format!("locked by {holder}\n"));
    }
    for held in status["deployments"].as_array().into_iter().flatten() {
        if !held["held_until"].is_null() {
            shown.push_str(&held_text(held));
        }
    }
    if let Some(owner) = status["lock"]["owner"].as_str() {
        let (until, reason) = (word(&status["lock"], "until"), word(&status["lock"], "reason"));
        shown.push_str(&format!(
            "{} {owner} until {until}: {}\n",
            if status["lock"]["reserved"] == true { "reserved for" } else { "locked by hand by" },
            text::plain(&reason)
        ));
    }
    for wait in status["waits"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        shown.push_str(&format!("waiting: {}\n", text::plain(wait)));
    }
    let rows: Vec<Vec<String>> =
        status["units"].as_array().into_iter().flatten().map(unit_row).collect();
    if rows.is_empty() {
        shown.push_str("nothing runs here\n");
    } else {
        shown.push_str(&text::table(
            &["UNIT", "SLOT", "RELEASE", "ADDRESS", "TRAFFIC", "STATE"],
            &rows,
        ));
    }
    for host in status["hosts"].as_array().into_iter().flatten() {
        shown.push_str(&host_text(host, status["stopped"] == true));
    }
    for drift in status["drift"].as_array().into_iter().flatten() {
        shown.push_str(&drift_text(style, drift));
    }
    for incident in status["incidents"].as_array().into_iter().flatten() {
        shown.push_str(&incident_text(style, incident));
    }
    shown
}

fn unit_row(unit: &Value) -> Vec<String> {
    let release = short(unit["release"].as_str().unwrap_or("-"));
    let release = match unit["version"].as_str() {
        Some(version) => format!("{} ({release})", text::plain(version)),
        None => release,
    };
    vec![
        word(unit, "unit"),
        word(unit, "slot"),
        release,
        word(unit, "address"),
        if unit["admitted"] == true { "yes" } else { "no" }.to_owned(),
        word(unit, "state"),
    ]
}

/// What the table of units does not tell of a host.
fn host_text(host: &Value, stopped: bool) -> String {
    let group = host["group"].as_str().map(|group| format!(" ({})", text::plain(group)));
    let state = match host["state"].as_str() {
        Some("empty") => "empty: nothing was deployed to it yet",
        Some("idle") if !stopped => "idle: it has units, and none serves",
        Some("away") => "away: nobody can look at it",
        _ => return String::new(),
    };
    let group = group.unwrap_or_default();
    format!("host {}{group}: {state}\n", text::plain(&word(host, "host")))
}

fn drift_text(style: Style, drift: &Value) -> String {
    let unit = drift["unit"].as_str().map(|unit| format!(" {unit}")).unwrap_or_default();
    format!(
        "{} slot {}{unit}: {}\n",
        style.result_colour("failed", "drift:"),
        drift["slot"],
        text::plain(&word(drift, "cause"))
    )
}

/// What whoever watches has found, and since when it is so.
fn incident_text(style: Style, incident: &Value) -> String {
    let slot = incident["slot"].as_u64().map(|slot| format!(" slot {slot}")).unwrap_or_default();
    let unit = incident["unit"].as_str().map(|unit| format!(" {unit}")).unwrap_or_default();
    let given_up = match incident["given_up_at"].is_null() {
        true => "",
        false => "; nobody repairs it any more",
    };
    format!(
        "{} since {}{slot}{unit}: {}{given_up}\n",
        style.result_colour("failed", &word(incident, "kind")),
        word(incident, "since"),
        text::plain(&word(incident, "cause")),
    )
}

fn deployment_text(deployment: &Value) -> String {
    let goes_on = if deployment["held_until"].is_null() { "goes on" } else { "held" };
    let state = deployment["state"].as_str().unwrap_or(goes_on);
    let mut text = format!(
        "{} {}  {} {}  {state}\n",
        word(deployment, "name"),
        word(deployment, "short"),
        kind_of(deployment),
        text::plain(&word(deployment, "version")),
    );
    for (field, what) in [("by", "by"), ("reason", "why"), ("outcome", "outcome")] {
        if let Some(said) = deployment[field].as_str() {
            text.push_str(&format!("{what}: {}\n", text::plain(said)));
        }
    }
    if !deployment["held_until"].is_null() {
        text.push_str(&held_text(deployment));
    }
    text
}

/// That somebody is to decide, and how.
pub(super) fn held_text(deployment: &Value) -> String {
    let environment = word(deployment, "environment");
    let until = word(deployment, "held_until").parse::<DateTime<Utc>>();
    let until = until.map_or_else(|_| "-".to_owned(), |at| at.format("%H:%M UTC").to_string());
    format!(
        "held: {} {} goes back at {until} unless somebody decides: `shipline decide {environment} continue` or `rollback`\n",
        word(deployment, "kind"),
        word(deployment, "short"),
    )
}

/// The last eight digits of an id.
fn short(id: &str) -> String {
    let digits: String = id.chars().filter(|c| *c != '-').collect();
    digits.get(digits.len().saturating_sub(8)..).unwrap_or(id).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_environment_without_a_release_says_so_and_nothing_else() {
        let status = json!({
            "project": "hello", "environment": "demo", "release": null, "wanted": null, "units": [],
        });
        assert_eq!(status_text(&status), "hello demo\nnothing runs here\n");
    }

    #[test]
    fn hosts_that_serve_nothing_are_said() {
        let host = |name: &str, state: &str| json!({ "host": name, "group": "north", "slot": 0, "state": state });
        let hosts =
            json!([host("web-1", "serving"), host("web-2", "empty"), host("web-3", "away")]);
        let status =
            json!({ "project": "hello", "environment": "demo", "units": [], "hosts": hosts });
        let said = "hello demo\nnothing runs here\n\
                    host web-2 (north): empty: nothing was deployed to it yet\n\
                    host web-3 (north): away: nobody can look at it\n";
        assert_eq!(status_text(&status), said);
    }

    #[test]
    fn drift_and_locks_are_said_and_checked() {
        let drift = json!([{ "slot": 1, "unit": "hello-demo-1", "kind": "dead", "cause": "it does not run" }]);
        let lock = json!({ "owner": "ada", "reason": "QA", "until": "2026-08-11T18:00:00Z" });
        let status = json!({
            "project": "hello", "environment": "demo", "release": null, "units": [],
            "drift": drift, "lock": lock, "waits": ["deploy 3f9a0c1d by bob waits for ada to open it"],
        });
        let text = status_text(&status);
        assert!(text.contains("locked by hand by ada until 2026-08-11T18:00:00Z: QA\n"), "{text}");
        assert!(
            text.contains("waiting: deploy 3f9a0c1d by bob waits for ada to open it\n"),
            "{text}"
        );
        assert!(text.ends_with("drift: slot 1 hello-demo-1: it does not run\n"), "{text}");
        let held = json!({
            "kind": "deploy", "short": "3f9a0c1d", "environment": "demo", "state": null,
            "held_until": "2026-08-11T18:00:00Z",
        });
        let text = status_text(&json!({ "project": "hello", "deployments": [held] }));
        assert!(
            text.contains("held: deploy 3f9a0c1d goes back at 18:00 UTC unless somebody decides: `shipline decide demo continue` or `rollback`\n"),
            "{text}"
        );
        let dead = json!([{ "kind": "dead", "slot": 1, "unit": "hello-demo-1", "cause": "it does not run",
            "since": "2026-08-11T17:00:00Z", "given_up_at": "2026-08-11T17:09:00Z" }]);
        let watched = json!({ "project": "hello", "environment": "demo", "incidents": dead });
        let text = status_text(&watched);
        assert!(
            text.ends_with(
                "dead since 2026-08-11T17:00:00Z slot 1 hello-demo-1: it does not run; nobody repairs it any more\n"
            ),
            "{text}"
        );
        let (good, away) = (json!({}), json!({ "error": "the engine is away" }));
        assert_eq!(checked(std::slice::from_ref(&good)), 0);
        assert_eq!(checked(&[good, status.clone()]), 1);
        assert_eq!(checked(&[status, away]), 3);
    }
}
