//! Streams: one JSON value per line, or server-sent events for those who ask.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _};
use serde::Serialize;

/// A value and what a reader that comes back names as the last it has seen.
pub(super) struct Numbered<T> {
    pub(super) id: u64,
    pub(super) value: T,
}

/// Whether the client speaks server-sent events.
pub(super) fn wants_events(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/event-stream"))
}

/// What a client that was cut off has seen last.
pub(super) fn last_event_id(headers: &HeaderMap) -> Option<u64> {
    headers.get("last-event-id")?.to_str().ok()?.trim().parse().ok()
}

/// Answers with a stream. A fault in the middle of it cuts the connection, so
/// that nobody takes a part for the whole.
pub(super) fn respond<T, E>(
    headers: &HeaderMap,
    values: impl Stream<Item = Result<Numbered<T>, E>> + Send + 'static,
) -> Response
where
    T: Serialize + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let lines = values.map(|value| {
        let Numbered { id, value } = value.map_err(std::io::Error::other)?;
        let line = serde_json::to_string(&value).map_err(std::io::Error::other)?;
        Ok::<_, std::io::Error>((id, line))
    });
    if !wants_events(headers) {
        let lines = lines.map(|line| {
            line.map(|(_, mut line)| {
                line.push('\n');
                Bytes::from(line)
            })
        });
        let kind = HeaderValue::from_static("application/x-ndjson");
        return ([(header::CONTENT_TYPE, kind)], Body::from_stream(lines)).into_response();
    }
    let events =
        lines.map(|line| line.map(|(id, line)| Event::default().id(id.to_string()).data(line)));
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    Sse::new(events).keep_alive(keep_alive).into_response()
}

/// Tells a client of server-sent events that there will be no more.
pub(super) fn over() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
