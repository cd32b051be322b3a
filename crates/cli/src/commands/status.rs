//! `shipline status`: what runs in an environment, unit by unit.

use serde_json::Value;

use super::trigger::word;
use crate::arguments::StatusArguments;
use crate::client::{Client, segment};
use crate::error::CommandError;
use crate::local_environment::{self, LocalEnvironments};
use crate::terminal::Style;
use crate::text;

pub(super) async fn status(arguments: &StatusArguments) -> Result<u8, CommandError> {
    let client = Client::of(&arguments.place.server)?;
    let statuses = match client {
        Some(client) => of_server(&client, arguments).await?,
        None => of_directory(arguments).await?,
    };
    // One environment is one object; without a name it is a list of them.
    let value = match (&arguments.environment, statuses.as_slice()) {
        (Some(_), [status]) => status.clone(),
        _ => Value::Array(statuses),
    };
    super::show(arguments.format, &value, |value| match value {
        Value::Array(statuses) if statuses.is_empty() => "there is no environment\n".to_owned(),
        Value::Array(statuses) => statuses.iter().map(status_text).collect::<Vec<_>>().join("\n"),
        status => status_text(status),
    })?;
    Ok(0)
}

async fn of_server(
    client: &Client,
    arguments: &StatusArguments,
) -> Result<Vec<Value>, CommandError> {
    let project = local_environment::project_name(&arguments.place).await?;
    let path = format!("/api/v1/projects/{}/environments", segment(&project));
    let names: Vec<String> = match &arguments.environment {
        Some(name) => vec![name.clone()],
        None => {
            let environments = client.get(&path).await?;
            environments
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|environment| {
                    environment.as_str().or(environment["environment"].as_str())
                })
                .map(str::to_owned)
                .collect()
        }
    };
    let mut statuses = Vec::new();
    for name in names {
        statuses.push(client.get(&format!("{path}/{}", segment(&name))).await?);
    }
    Ok(statuses)
}

async fn of_directory(arguments: &StatusArguments) -> Result<Vec<Value>, CommandError> {
    let environments = LocalEnvironments::open(&arguments.place).await?;
    let names = match &arguments.environment {
        Some(name) => vec![name.clone()],
        None => environments.names(),
    };
    let mut statuses = Vec::new();
    for name in names {
        statuses.push(environments.status(&name).await?);
    }
    Ok(statuses)
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
    shown.push('\n');
    if let Some(holder) = status["locked_by"].as_str() {
        shown.push_str(&format!("locked by {holder}\n"));
    }
    let rows: Vec<Vec<String>> = status["units"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|unit| {
            vec![
                word(unit, "unit"),
                word(unit, "slot"),
                short(unit["release"].as_str().unwrap_or("-")),
                word(unit, "address"),
                if unit["admitted"] == true { "yes" } else { "no" }.to_owned(),
                word(unit, "state"),
            ]
        })
        .collect();
    if rows.is_empty() {
        shown.push_str("nothing runs here\n");
    } else {
        shown.push_str(&text::table(
            &["UNIT", "SLOT", "RELEASE", "ADDRESS", "TRAFFIC", "STATE"],
            &rows,
        ));
    }
    shown
}

/// The last eight digits of an id.
fn short(id: &str) -> String {
    let digits: String = id.chars().filter(|c| *c != '-').collect();
    digits.get(digits.len().saturating_sub(8)..).unwrap_or(id).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_without_a_release_says_so_and_nothing_else() {
        let status = serde_json::json!({
            "project": "hello", "environment": "demo", "release": null, "wanted": null, "units": [],
        });
        assert_eq!(status_text(&status), "hello demo\nnothing runs here\n");
    }
}
