//! `shipline history`: what was deployed by whom, how it ended, and what it was worth.

use chrono::{DateTime, Utc};
use event::Verdict;
use serde_json::Value;

use super::outcome::kind_of;
use super::trigger::word;
use crate::arguments::HistoryArguments;
use crate::environments::Environments;
use crate::error::CommandError;
use crate::text;

pub(super) async fn history(arguments: &HistoryArguments) -> Result<u8, CommandError> {
    let environments = Environments::open(&arguments.place).await?;
    if let [verdict, id] = arguments.mark.as_slice() {
        let verdict = parse(verdict)?;
        let marked = environments.mark(id, verdict, arguments.reason.as_deref()).await?;
        super::show(arguments.format, &marked, |_| {
            format!("deployment {id} is marked {}\n", verdict.name())
        })?;
        return Ok(0);
    }
    let names = match &arguments.environment {
        Some(name) => vec![name.clone()],
        None => environments.names().await?,
    };
    let mut all = Vec::new();
    for name in &names {
        let history = environments.history(name, arguments.limit).await?;
        all.extend(history.as_array().into_iter().flatten().cloned());
    }
    all.sort_by_key(|deployment| std::cmp::Reverse(word(deployment, "requested_at")));
    super::show(arguments.format, &Value::Array(all), |all| history_text(all, Utc::now()))?;
    Ok(0)
}

fn parse(word: &str) -> Result<Verdict, CommandError> {
    [Verdict::Good, Verdict::Bad, Verdict::Unknown]
        .into_iter()
        .find(|verdict| verdict.name() == word)
        .ok_or_else(|| {
            CommandError::usage(format_args!("`{word}` is no verdict"))
                .hint("`shipline history --mark good ID`, `bad` or `unknown`")
        })
}

fn history_text(all: &Value, now: DateTime<Utc>) -> String {
    let rows: Vec<Vec<String>> =
        all.as_array().into_iter().flatten().map(|deployment| row(deployment, now)).collect();
    if rows.is_empty() {
        return "nothing was deployed yet\n".to_owned();
    }
    let header = ["DEPLOYMENT", "ENVIRONMENT", "KIND", "RELEASE", "BY", "WHEN", "ENDED", "WHY"];
    text::table(&header, &rows)
}

fn row(deployment: &Value, now: DateTime<Utc>) -> Vec<String> {
    let when = word(deployment, "requested_at").parse::<DateTime<Utc>>();
    let mut ended = match deployment["state"].as_str() {
        Some(state) => state.to_owned(),
        None if !deployment["held_until"].is_null() => "held".to_owned(),
        None => "goes on".to_owned(),
    };
    if let Some(verdict @ ("good" | "bad")) = deployment["verdict"].as_str() {
        ended = format!("{ended}, {verdict}");
    }
    // Why it was asked for, and then what became of it.
    let said = ["reason", "outcome"].map(|field| deployment[field].as_str().unwrap_or_default());
    let mut said: Vec<String> =
        said.into_iter().filter(|text| !text.is_empty()).map(str::to_owned).collect();
    // And what it had to bear since.
    let incidents = deployment["incidents"].as_array().into_iter().flatten();
    said.extend(incidents.map(|it| format!("{}: {}", word(it, "kind"), word(it, "cause"))));
    vec![
        word(deployment, "short"),
        word(deployment, "environment"),
        kind_of(deployment),
        text::plain(&word(deployment, "version")),
        text::plain(&word(deployment, "by")),
        when.map_or_else(|_| "-".to_owned(), |when| text::age(when, now)),
        ended,
        text::plain(&said.join("; ")),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deployment_says_who_what_when_and_how_it_ended() {
        let now = "2026-08-11T12:00:00Z".parse().expect("a time");
        let all = json!([
            { "short": "3f9a0c1d", "environment": "prod", "kind": "rollback", "version": "v1", "by": "ann",
              "requested_at": "2026-08-11T11:58:00Z", "state": "succeeded", "verdict": "good",
              "reason": "wrong prices", "outcome": null },
            { "short": "5c0e77a1", "environment": "prod", "kind": "deploy", "version": "v2", "by": "bob",
              "requested_at": "2026-08-11T11:00:00Z", "state": null, "verdict": "unknown",
              "reason": null, "outcome": null,
              "incidents": [{ "kind": "dead", "cause": "it does not run" }] },
        ]);
        assert_eq!(
            history_text(&all, now),
            "DEPLOYMENT  ENVIRONMENT  KIND      RELEASE  BY   WHEN    ENDED            WHY\n\
             3f9a0c1d    prod         rollback  v1       ann  2m ago  succeeded, good  wrong prices\n\
             5c0e77a1    prod         deploy    v2       bob  1h ago  goes on          dead: it does not run\n"
        );
    }

    #[test]
    fn other_words_are_no_verdict() {
        assert_eq!(parse("bad").ok(), Some(Verdict::Bad));
        assert!(parse("awful").is_err());
    }
}
