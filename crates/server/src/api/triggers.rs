//! Everything that asked for a run, and what came of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use event::RunId;
use serde::{Deserialize, Serialize};
use store::{Trigger, TriggerId, Verdict};

use super::{Asked, page, project};
use crate::app::App;
use crate::problem::Problem;

#[derive(Serialize)]
pub(crate) struct TriggerView {
    trigger: TriggerId,
    project: String,
    source: String,
    #[serde(rename = "ref")]
    reference: Option<String>,
    sha: Option<String>,
    by: Option<String>,
    verdict: Verdict,
    /// Why there is no run: a sentence, or the diagnostics of the pipeline file.
    reason: Option<String>,
    run: Option<RunId>,
    received_at: DateTime<Utc>,
    decided_at: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
pub(crate) struct ListTriggers {
    project: Option<String>,
    limit: Option<u32>,
    /// The last trigger of the page before.
    before: Option<TriggerId>,
}

/// Triggers of one project, or of all, newest first.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Asked(asked): Asked<ListTriggers>,
) -> Result<Json<Vec<TriggerView>>, Problem> {
    let limit = page(asked.limit);
    let projects = match &asked.project {
        Some(name) => vec![project(&app, name).await?.name],
        None => app.store.projects().await?.into_iter().map(|project| project.name).collect(),
    };
    let mut triggers = Vec::new();
    for project in projects {
        triggers.extend(app.store.triggers(&project, limit, asked.before).await?);
    }
    // Ids grow with time.
    triggers.sort_by_key(|trigger| std::cmp::Reverse(trigger.id));
    triggers.truncate(limit as usize);
    Ok(Json(triggers.into_iter().map(view).collect()))
}

fn view(trigger: Trigger) -> TriggerView {
    TriggerView {
        trigger: trigger.id,
        project: trigger.project,
        source: trigger.source,
        reference: trigger.reference,
        sha: trigger.sha,
        by: trigger.by,
        verdict: trigger.verdict,
        reason: trigger.reason,
        run: trigger.run,
        received_at: trigger.received_at,
        decided_at: trigger.decided_at,
    }
}
