//! `shipline project`: repositories the server watches.

use serde_json::json;

use crate::arguments::{ProjectCreateArguments, ProjectListArguments};
use crate::client::Client;
use crate::error::{CommandError, Context as _};
use crate::text;

pub(super) async fn create(arguments: &ProjectCreateArguments) -> Result<u8, CommandError> {
    let client = Client::required(&arguments.server)?;
    let secret = match &arguments.hook_secret_file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .environment(&format!("cannot read {}", path.display()))?;
            Some(text.trim_end_matches(['\r', '\n']).to_owned())
        }
        None => None,
    };
    let body = json!({
        "name": arguments.name,
        "git": arguments.git,
        "branch": arguments.branch,
        "poll": arguments.poll,
        "hook_secret": secret,
        "git_key": arguments.git_key,
        "run": arguments.run,
    });
    let project = client.post("/api/v1/projects", &body).await?;
    super::show(arguments.format, &project, |project| {
        format!(
            "project {} watches {} every {}\n",
            project["name"].as_str().unwrap_or_default(),
            project["git"].as_str().unwrap_or_default(),
            project["poll"].as_str().unwrap_or_default(),
        )
    })?;
    Ok(0)
}

pub(super) async fn list(arguments: &ProjectListArguments) -> Result<u8, CommandError> {
    let client = Client::required(&arguments.server)?;
    let projects = client.get("/api/v1/projects").await?;
    super::show(arguments.format, &projects, |projects| {
        let rows: Vec<Vec<String>> = projects
            .as_array()
            .into_iter()
            .flatten()
            .map(|project| {
                ["name", "branch", "git"]
                    .map(|field| project[field].as_str().unwrap_or_default().to_owned())
                    .to_vec()
            })
            .collect();
        text::table(&["PROJECT", "BRANCH", "REPOSITORY"], &rows)
    })?;
    Ok(0)
}
