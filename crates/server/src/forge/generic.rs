//! `POST /hooks/generic/PROJECT`: anything that can sign `{"ref": …, "sha": …}`.
//!
//! The delivery says what moved; whether that is so is read from the repository.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use chrono::Utc;
use runner::git::Sha;
use serde::{Deserialize, Serialize};
use store::{NewTrigger, Recorded, Trigger, TriggerId, Verdict};
use tokio::time::Instant;

use super::signature;
use crate::api::Named;
use crate::app::App;
use crate::body;
use crate::problem::Problem;
use crate::reference::Reference;

/// The longest id of a delivery.
const DELIVERY: usize = 200;

/// Senders may say more than we read.
#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    reference: String,
    sha: String,
}

#[derive(Serialize)]
pub(crate) struct Receipt {
    trigger: TriggerId,
    /// `accepted`, or `duplicate` for a delivery that was here before.
    status: &'static str,
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Verifies a delivery, writes it down, and answers; the run comes later.
pub(crate) async fn receive(
    State(app): State<Arc<App>>,
    Named(name): Named<String>,
    request: Request,
) -> Result<(StatusCode, Json<Receipt>), Problem> {
    let (parts, body) = request.into_parts();
    let body = body::read(body).await?;
    let project = app.store.project(&name).await?;
    let secret = project.as_ref().and_then(|project| project.hook_secret.as_deref());
    let now = Utc::now();
    let signature = header(&parts.headers, "x-shipline-signature");
    let timestamp = header(&parts.headers, "x-shipline-timestamp");
    let verified = signature::verify(secret, timestamp, signature, &body, now);
    // A project that does not exist has no secret: the answer is the same.
    let (Some(project), Ok(())) = (&project, &verified) else {
        if let Err(error) = verified {
            tracing::warn!("a delivery for project {name:?} is refused: {error}");
        }
        let detail = "the delivery is not signed with the secret of this project";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail));
    };
    if !app.rate.admits(&project.name, Instant::now()) {
        let detail = format!("project `{name}` sends too many deliveries");
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many", detail));
    }
    let push: Push = body::parse(&body)?;
    let reference = Reference::parse(&push.reference)
        .map_err(|error| Problem::bad_request(format!("ref: {error}")))?;
    let sha =
        Sha::parse(&push.sha).map_err(|error| Problem::bad_request(format!("sha: {error}")))?;
    // Without an id of the sender the signature is one: it covers time and body.
    let signature = signature.unwrap_or_default();
    let delivery = header(&parts.headers, "x-shipline-delivery").unwrap_or(signature);
    if delivery.len() > DELIVERY {
        return Err(Problem::bad_request("x-shipline-delivery is longer than 200 bytes"));
    }
    let delivery = app.replays.first_id(&project.name, signature, delivery, Instant::now());
    let trigger = NewTrigger {
        project: project.name.clone(),
        source: "generic".to_owned(),
        delivery: Some(format!("generic:{delivery}")),
        received_at: now,
        reference: Some(reference.as_str().to_owned()),
        sha: Some(sha.to_string()),
        by: None,
        body: body.to_vec(),
        moves_head: true,
    };
    match app.store.record_trigger(trigger).await? {
        Recorded::New(trigger) => {
            app.hints.wake_project(&project.name);
            Ok((StatusCode::ACCEPTED, Json(receipt(trigger, "accepted"))))
        }
        Recorded::Duplicate(trigger) => Ok((StatusCode::OK, Json(receipt(trigger, "duplicate")))),
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn receipt(trigger: Trigger, status: &'static str) -> Receipt {
    Receipt { trigger: trigger.id, status, verdict: trigger.verdict, reason: trigger.reason }
}
