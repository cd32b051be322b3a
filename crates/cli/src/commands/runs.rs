//! `shipline runs`: what ran, newest first, or one run with its stages.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::trigger::word;
use crate::arguments::RunsArguments;
use crate::client::{Client, segment};
use crate::error::CommandError;
use crate::history;
use crate::home::Home;
use crate::terminal::Style;
use crate::text;

pub(super) async fn runs(arguments: &RunsArguments) -> Result<u8, CommandError> {
    let client = Client::of(&arguments.server)?;
    match &arguments.run {
        Some(id) => {
            let run = match client {
                Some(client) => client.get(&format!("/api/v1/runs/{}", segment(id))).await?,
                None => history::run(&Home::from_environment()?.store().await?, id).await?,
            };
            super::show(arguments.format, &run, run_text)?;
        }
        None => {
            let rows = match client {
                Some(client) => client.get(&path(arguments)).await?,
                None => {
                    let store = Home::from_environment()?.store().await?;
                    history::runs(&store, arguments.project.as_deref(), arguments.limit).await?
                }
            };
            super::show(arguments.format, &rows, rows_text)?;
        }
    }
    Ok(0)
}

fn path(arguments: &RunsArguments) -> String {
    let mut path = format!("/api/v1/runs?limit={}", arguments.limit);
    if let Some(project) = &arguments.project {
        path.push_str(&format!("&project={}", segment(project)));
    }
    path
}

fn rows_text(rows: &Value) -> String {
    let style = Style::of_stdout();
    let now = Utc::now();
    if rows.as_array().is_some_and(Vec::is_empty) {
        return "there are no runs\n".to_owned();
    }
    let cells: Vec<Vec<String>> = rows
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| {
            let queued = row["queued_at"].as_str().and_then(|text| text.parse().ok());
            let sha = word(row, "sha");
            vec![
                word(row, "short"),
                word(row, "project"),
                format!("#{}", row["number"]),
                word(row, "branch"),
                if sha.is_empty() { "-" } else { sha.get(..8).unwrap_or(&sha) }.to_owned(),
                took(row),
                queued.map_or_else(|| "-".to_owned(), |then| text::age(then, now)),
                // Last, since colours have no width.
                style.result(&verdict(row)),
            ]
        })
        .collect();
    text::table(
        &["RUN", "PROJECT", "NUMBER", "BRANCH", "COMMIT", "TOOK", "QUEUED", "RESULT"],
        &cells,
    )
}

fn run_text(run: &Value) -> String {
    let style = Style::of_stdout();
    let branch = run["branch"].as_str().map(|branch| format!(" {branch}")).unwrap_or_default();
    let title = format!("{} #{}{branch}", word(run, "pipeline"), run["number"]);
    let commit = match run["sha"].as_str() {
        None | Some("") => String::new(),
        Some(sha) => format!("  commit {sha}"),
    };
    let took = match took(run).as_str() {
        "-" => String::new(),
        took => format!(" in {took}"),
    };
    let mut shown = format!(
        "{}  run {}{commit}\n{}{took}, by {}\n\n",
        style.bold(&title),
        word(run, "run"),
        style.result(&verdict(run)),
        word(run, "by"),
    );
    let rows: Vec<Vec<String>> = run["stages"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|stage| {
            let result = stage["result"].as_str().or(stage["state"].as_str()).unwrap_or("waiting");
            let reason = match (stage["code"].as_str(), stage["reason"].as_str()) {
                (Some(code), Some(reason)) => format!("  [{code}] {reason}"),
                (None, Some(reason)) => format!("  {reason}"),
                _ => String::new(),
            };
            vec![
                word(stage, "name"),
                word(stage, "action"),
                text::duration(stage["duration_ms"].as_u64().unwrap_or_default()),
                format!("{}{reason}", style.result(result)),
            ]
        })
        .collect();
    shown.push_str(&text::table(&["STAGE", "ACTION", "TOOK", "RESULT"], &rows));
    for wait in run["waits"].as_array().into_iter().flatten() {
        let who = wait["stage"].as_str().unwrap_or("the run");
        shown.push_str(&format!("\n{who} {}\n", word(wait, "reason")));
    }
    shown
}

fn verdict(row: &Value) -> String {
    row["result"].as_str().or(row["state"].as_str()).unwrap_or("-").to_owned()
}

fn took(row: &Value) -> String {
    let time = |field: &str| -> Option<DateTime<Utc>> { row[field].as_str()?.parse().ok() };
    match (time("started_at"), time("finished_at")) {
        (Some(start), Some(end)) => {
            text::duration(u64::try_from((end - start).num_milliseconds()).unwrap_or_default())
        }
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_outside_a_repository_has_no_branch_and_no_commit() {
        let run = json!({
            "pipeline": "hello", "number": 1, "run": "019c", "branch": null, "sha": "",
            "state": "running", "result": null, "by": "local", "stages": [],
        });
        let text = run_text(&run);
        assert!(text.starts_with("hello #1  run 019c\nrunning, by local\n\n"), "{text}");
        assert_eq!(rows_text(&json!([])), "there are no runs\n");
    }
}
