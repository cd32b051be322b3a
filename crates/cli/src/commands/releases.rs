//! `shipline releases`: what can be deployed, and where an environment can go back to.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::trigger::word;
use crate::arguments::{Format, PlaceArguments, ReleasesArguments};
use crate::environments::Environments;
use crate::error::CommandError;
use crate::text;

pub(super) async fn releases(arguments: &ReleasesArguments) -> Result<u8, CommandError> {
    list(arguments.environment.as_deref(), &arguments.place, arguments.format).await
}

/// Also `shipline rollback ENV --list`.
pub(super) async fn list(
    environment: Option<&str>,
    place: &PlaceArguments,
    format: Format,
) -> Result<u8, CommandError> {
    let releases = Environments::open(place).await?.releases(environment).await?;
    super::show(format, &releases, |releases| {
        releases_text(releases, environment.is_some(), Utc::now())
    })?;
    Ok(0)
}

fn releases_text(releases: &Value, of_environment: bool, now: DateTime<Utc>) -> String {
    let rows: Vec<Vec<String>> = releases
        .as_array()
        .into_iter()
        .flatten()
        .map(|release| row(release, of_environment, now))
        .collect();
    if rows.is_empty() {
        return "there is no release\n".to_owned();
    }
    let commit = if of_environment { "COMMITS" } else { "COMMIT" };
    let mut header = vec!["RELEASE", "VERSION", "BUILT", commit, "BY"];
    if of_environment {
        header.extend(["DEPLOYED", "ENDED", "CONFIG", "CAN ROLL BACK"]);
    }
    text::table(&header, &rows)
}

fn row(release: &Value, of_environment: bool, now: DateTime<Utc>) -> Vec<String> {
    let age = |field: &str| {
        let at = release[field].as_str().and_then(|at| at.parse::<DateTime<Utc>>().ok());
        at.map_or_else(|| "-".to_owned(), |at| text::age(at, now))
    };
    let id = word(release, "id");
    let id = if id == "-" { word(release, "release") } else { id };
    let short = |field: &str| release[field].as_str().and_then(|sha| sha.get(..8));
    let commits = match (short("since"), short("sha")) {
        // What it brings, as Git names a range.
        (Some(since), Some(sha)) => format!("{since}..{sha}"),
        (None, Some(sha)) => sha.to_owned(),
        (_, None) => "-".to_owned(),
    };
    let mut row = vec![
        id.get(id.len().saturating_sub(8)..).unwrap_or(&id).to_owned(),
        text::plain(&word(release, "version")),
        age("built_at"),
        commits,
        text::plain(&word(release, "committer")),
    ];
    if of_environment {
        let back = match (release["can_roll_back"] == true, release["because"].as_str()) {
            (true, _) => "yes".to_owned(),
            (false, because) => {
                format!("no: {}", text::plain(because.unwrap_or("no reason given")))
            }
        };
        let configuration = word(release, "configuration");
        row.extend([age("deployed_at"), word(release, "state"), configuration, back]);
    }
    row
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_release_says_whether_it_can_be_gone_back_to() {
        let now = "2026-08-11T12:00:00Z".parse().expect("a time");
        let release = |id: &str, version: &str| {
            json!({ "id": format!("019a0000-0000-7000-8000-0000{id}"), "version": version,
                    "built_at": "2026-08-11T11:00:00Z", "sha": "0123456789ab", "committer": "ann" })
        };
        let mut good = release("00000001", "v1");
        good["can_roll_back"] = true.into();
        good["deployed_at"] = "2026-08-11T11:30:00Z".into();
        good["state"] = "succeeded".into();
        good["since"] = "fedcba987654".into();
        good["configuration"] = "0a1b2c3d".into();
        let mut new = release("00000002", "v2");
        new["can_roll_back"] = false.into();
        new["because"] = "it never ran here".into();
        let shown = releases_text(&json!([new, good]), true, now);
        assert_eq!(
            shown,
            "RELEASE   VERSION  BUILT   COMMITS             BY   DEPLOYED  ENDED      CONFIG    CAN ROLL BACK\n\
             00000002  v2       1h ago  01234567            ann  -         -          -         no: it never ran here\n\
             00000001  v1       1h ago  fedcba98..01234567  ann  30m ago   succeeded  0a1b2c3d  yes\n"
        );
    }
}
