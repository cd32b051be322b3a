//! `shipline rollback`: back to the last good release, or to the one named.

use serde_json::{Value, json};

use super::trigger::word;
use crate::arguments::RollbackArguments;
use crate::client::{Client, segment};
use crate::error::CommandError;
use crate::local_environment::{self, LocalEnvironments};
use crate::text;

pub(super) async fn rollback(arguments: &RollbackArguments) -> Result<u8, CommandError> {
    let outcome = match Client::of(&arguments.place.server)? {
        Some(client) => {
            let project = local_environment::project_name(&arguments.place).await?;
            let path = format!(
                "/api/v1/projects/{}/environments/{}/rollback?wait=true",
                segment(&project),
                segment(&arguments.environment)
            );
            let body = json!({ "release": arguments.release, "reason": arguments.reason });
            client.post(&path, &body).await?
        }
        None => {
            let environments = LocalEnvironments::open(&arguments.place).await?;
            environments
                .rollback(
                    &arguments.environment,
                    arguments.release.as_deref(),
                    arguments.reason.clone(),
                )
                .await?
        }
    };
    super::show(arguments.format, &outcome, |outcome| {
        outcome_text(&arguments.environment, outcome)
    })?;
    Ok(exit_code(outcome["state"].as_str().unwrap_or_default()))
}

/// Exit codes of deploy.md §15: a rollback that fails after its first batch began is stuck.
fn exit_code(state: &str) -> u8 {
    match state {
        "succeeded" => 0,
        "refused" => 2,
        "rolled-back" | "stuck" => 5,
        _ => 1,
    }
}

fn outcome_text(environment: &str, outcome: &Value) -> String {
    let release =
        outcome["version"].as_str().map_or_else(|| word(outcome, "release"), str::to_owned);
    let took = text::duration(outcome["duration_ms"].as_u64().unwrap_or_default());
    match outcome["state"].as_str() {
        Some("succeeded") => format!("{environment} runs {release} on all units; {took}\n"),
        state => format!(
            "{environment}: {} after {took}: {}\n",
            state.unwrap_or("unknown"),
            outcome["reason"].as_str().unwrap_or("no reason given")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_observed_release_exits_with_0() {
        let states = ["succeeded", "failed", "cancelled", "refused", "rolled-back", "stuck", ""];
        assert_eq!(states.map(exit_code), [0, 1, 1, 2, 5, 5, 1]);
    }
}
