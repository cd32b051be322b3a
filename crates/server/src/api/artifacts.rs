//! What runs published: listed, and handed out as archives.
//!
//! The files in an archive are a build's, so nobody trusts them: an archive is saved
//! and never shown, and should a browser show it all the same, it may do nothing.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Serialize;
use store::ArtifactRow;
use tokio_util::io::ReaderStream;

use super::runs::{WhichRun, find};
use super::{Asked, Named};
use crate::app::App;
use crate::problem::Problem;

#[derive(Serialize)]
pub(crate) struct ArtifactView {
    name: String,
    stage: String,
    attempt: u32,
    size: u64,
    sha256: String,
    files: u64,
    stored_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

impl From<ArtifactRow> for ArtifactView {
    fn from(row: ArtifactRow) -> Self {
        let ArtifactRow {
            run: _,
            stage,
            attempt,
            name,
            size,
            sha256,
            files,
            stored_at,
            expires_at,
        } = row;
        Self { name, stage, attempt, size, sha256, files, stored_at, expires_at }
    }
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Named(id): Named<String>,
    Asked(which): Asked<WhichRun>,
) -> Result<Json<Vec<ArtifactView>>, Problem> {
    let row = find(&app, &id, which.project.as_deref()).await?;
    let rows = app.store.artifacts(row.id).await?;
    Ok(Json(rows.into_iter().map(ArtifactView::from).collect()))
}

/// Hands out the archive that was stored last under a name, or the one with a hash.
pub(crate) async fn download(
    State(app): State<Arc<App>>,
    Named((id, name)): Named<(String, String)>,
    Asked(which): Asked<WhichRun>,
) -> Result<Response, Problem> {
    let row = find(&app, &id, which.project.as_deref()).await?;
    let rows = app.store.artifacts(row.id).await?;
    let missing = || Problem::not_found(format!("the run has no artifact `{name}`"));
    let wanted = |row: &&ArtifactRow| row.name == name || row.sha256 == name;
    let artifact = rows.iter().rfind(wanted).ok_or_else(missing)?;
    let path = runner::artifact_path(&app.data.artifacts(row.id), &artifact.sha256);
    let file = tokio::fs::File::open(path).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => missing(),
        _ => Problem::internal(&error),
    })?;
    let mut response = Response::new(Body::from_stream(ReaderStream::new(file)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(artifact.size));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zstd"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox; default-src 'none'; frame-ancestors 'none'"),
    );
    if let Ok(disposition) = HeaderValue::from_str(&disposition(&artifact.name)) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", artifact.sha256)) {
        headers.insert(header::ETAG, tag);
    }
    Ok(response)
}

/// The name as RFC 6266 has it: every byte that is not a plain letter is encoded.
fn disposition(name: &str) -> String {
    let encoded: String = format!("{name}.tar.zst")
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect();
    format!("attachment; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::disposition;

    #[test]
    fn a_name_cannot_leave_its_header() {
        let name = "b\"\r\nX: é";
        let expected = "attachment; filename*=UTF-8''b%22%0D%0AX%3A%20%C3%A9.tar.zst";
        assert_eq!(disposition(name), expected);
    }
}
