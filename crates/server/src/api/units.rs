//! Units of an environment: what they write.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use deploy::{LogChunk, LogOptions, LogSource, UnitId};
use event::{FrameBody, OutputStream};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};

use super::deployments::target;
use super::environments::key;
use super::stream::{Numbered, respond};
use super::{Asked, Named};
use crate::app::App;
use crate::problem::Problem;

/// Some bytes that a unit wrote, not always whole lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitOutput {
    pub unit: String,
    pub stream: OutputStream,
    #[serde(flatten)]
    pub body: FrameBody,
}

impl UnitOutput {
    pub fn new(unit: &UnitId, chunk: LogChunk) -> Self {
        let stream = match chunk.source {
            LogSource::Stdout => OutputStream::Stdout,
            LogSource::Stderr => OutputStream::Stderr,
        };
        let body = match String::from_utf8(chunk.bytes) {
            Ok(text) => FrameBody::Text(text),
            Err(other) => FrameBody::Base64(STANDARD.encode(other.as_bytes())),
        };
        Self { unit: unit.0.clone(), stream, body }
    }

    pub fn bytes(&self) -> Vec<u8> {
        match &self.body {
            FrameBody::Text(text) => text.clone().into_bytes(),
            FrameBody::Base64(text) => STANDARD.decode(text).unwrap_or_default(),
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct Wanted {
    #[serde(default)]
    follow: bool,
    /// The last lines only.
    tail: Option<u32>,
    since: Option<DateTime<Utc>>,
}

/// What a unit has written, and with `follow` what it will.
pub(crate) async fn log(
    State(app): State<Arc<App>>,
    Named((name, environment, unit)): Named<(String, String, String)>,
    Asked(Wanted { follow, tail, since }): Asked<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let key = key(&app, &name, &environment).await?;
    let target = target(&app, &key)?;
    let upstream = |error: deploy::TargetError| Problem::upstream(error.to_string());
    let seen = target.observe(&key).await.map_err(upstream)?;
    let unit = UnitId(unit);
    // The name alone is no permission: it could be a unit of somebody else.
    if seen.unit(&unit).is_none() {
        let detail = format!("environment `{environment}` has no unit `{unit}`");
        return Err(Problem::not_found(detail));
    }
    let output = target.logs(&unit, LogOptions { follow, tail, since }).await.map_err(upstream)?;
    let closing = app.closing.clone().cancelled_owned();
    let output = output.take_until(closing).enumerate().map(move |(at, chunk)| {
        let value = UnitOutput::new(&unit, chunk?);
        Ok::<_, deploy::TargetError>(Numbered { id: at as u64 + 1, value })
    });
    Ok(respond(&headers, output))
}
