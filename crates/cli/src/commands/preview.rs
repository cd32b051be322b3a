//! What a change would do, batch by batch: the text of `--dry-run`.

use std::fmt::Write as _;

use serde_json::Value;

use super::outcome::kind_of;
use crate::terminal::visible;

pub(super) fn preview_text(preview: &Value) -> String {
    let word = |field: &str| visible(preview[field].as_str().unwrap_or("-"));
    let replicas = preview["replicas"].as_u64().unwrap_or_default();
    let s = if replicas == 1 { "" } else { "s" };
    let release = preview["version"].as_str().unwrap_or_default();
    let mut text = format!(
        "{} {}: {} in {replicas} unit{s}\n",
        visible(&kind_of(preview)),
        word("environment"),
        visible(release)
    );
    let findings: Vec<&Value> = preview["findings"].as_array().into_iter().flatten().collect();
    if findings.is_empty() {
        text.push_str("preflight   ok\n");
    }
    for finding in findings {
        text.push_str(&finding_text(finding));
    }
    if preview["nothing_to_do"] == true {
        text.push_str("nothing to do: everything is as it is wanted\n");
        return text;
    }
    if let Some(verified) = verified(&preview["verify"]) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "verify      {verified}, after each batch");
    }
    phase(&mut text, "prepare", &preview["prepare"]);
    let batches = preview["batches"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (number, batch) in (1..).zip(batches) {
        let mut title = format!("batch {number}/{}", batches.len());
        for ops in batch["phases"].as_array().into_iter().flatten() {
            phase(&mut text, &std::mem::take(&mut title), ops);
        }
    }
    phase(&mut text, "finalise", &preview["finalise"]);
    text.push_str("nothing was changed\n");
    text
}

/// What is checked: suites with how many checks they have, and the others by themselves.
fn verified(steps: &Value) -> Option<String> {
    let mut told: Vec<(String, usize)> = Vec::new();
    for step in steps.as_array()? {
        let (http, run) = (&step["http"], &step["run"]);
        let suite = http["suite"].as_str().or(run["suite"].as_str());
        match (suite, http["http"].as_str(), run["image"].as_str()) {
            (Some(suite), ..) => match told.iter_mut().find(|(known, _)| known == suite) {
                Some((_, checks)) => *checks += 1,
                None => told.push((suite.to_owned(), 1)),
            },
            (None, Some(address), _) => told.push((format!("GET {address}"), 0)),
            (None, None, Some(image)) => told.push((format!("commands in {image}"), 0)),
            (None, None, None) => {}
        }
    }
    let text = |(what, checks): &(String, usize)| match checks {
        0 => visible(what),
        1 => format!("{} (1 check)", visible(what)),
        checks => format!("{} ({checks} checks)", visible(what)),
    };
    (!told.is_empty()).then(|| told.iter().map(text).collect::<Vec<_>>().join(", "))
}

fn finding_text(finding: &Value) -> String {
    let word = |field: &str| visible(finding[field].as_str().unwrap_or_default());
    let unit = finding["unit"].as_str().map(|unit| format!("{unit}: ")).unwrap_or_default();
    format!(
        "preflight   {}: {unit}{} [{}]\n            fix: {}\n",
        word("severity"),
        word("cause"),
        word("id"),
        word("fix")
    )
}

/// The ops that are done at once, one a line; the title stands before the first.
fn phase(text: &mut String, title: &str, ops: &Value) {
    for (at, op) in ops.as_array().into_iter().flatten().enumerate() {
        let title = if at == 0 { title } else { "" };
        let word = |field: &str| op[field].as_str().unwrap_or("-");
        // Said where it happens.
        let replaces = op["replaces"].as_str().filter(|_| op["action"] == "admit");
        let replaces = replaces.map(|old| format!("  in place of {old}"));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{title:<12}{:<8}{}{}",
            word("action"),
            word("unit"),
            replaces.unwrap_or_default()
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_step_stands_in_its_batch() {
        let op = |action: &str, unit: &str| json!({ "action": action, "unit": unit, "slot": 0 });
        let admit = json!({ "action": "admit", "unit": "new", "slot": 0, "replaces": "old" });
        let preview = json!({
            "kind": "deploy", "environment": "prod", "version": "v2", "replicas": 1,
            "findings": [{ "id": "health", "severity": "warning", "cause": "no health check", "fix": "add one" }],
            "verify": [
                { "http": { "suite": "smoke", "http": "/a" } },
                { "run": { "suite": "smoke", "image": "curl:1" } },
                { "http": { "http": "https://a.example" } },
            ],
            "nothing_to_do": false, "prepare": [op("fetch", "shop-prod")],
            "batches": [{ "phases": [[op("create", "new")], [admit]] }],
            "finalise": [op("remove", "older")],
        });
        assert_eq!(
            preview_text(&preview),
            "deploy prod: v2 in 1 unit\n\
             preflight   warning: no health check [health]\n\
             \u{20}           fix: add one\n\
             verify      smoke (2 checks), GET https://a.example, after each batch\n\
             prepare     fetch   shop-prod\n\
             batch 1/1   create  new\n\
             \u{20}           admit   new  in place of old\n\
             finalise    remove  older\n\
             nothing was changed\n"
        );
    }

    #[test]
    fn what_runs_already_is_said_to() {
        let preview = json!({
            "kind": "deploy", "environment": "prod", "version": "v2", "replicas": 2,
            "findings": [], "nothing_to_do": true, "prepare": [], "batches": [], "finalise": [],
        });
        assert!(preview_text(&preview).ends_with("nothing to do: everything is as it is wanted\n"));
    }
}
