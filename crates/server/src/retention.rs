//! What has had its time is removed: the loop behind `expire` of artifacts.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use store::StoreError;

use crate::app::App;
use crate::serve::LoopError;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(600);
/// Archives removed at a time.
const PAGE: u32 = 100;

/// Removes until the server is closing.
pub(crate) async fn run(app: Arc<App>) -> Result<(), LoopError> {
    loop {
        match remove_expired(&app, Utc::now()).await {
            Ok(()) => {}
            Err(error) if error.is_temporary() => {
                tracing::warn!(%error, "the store is busy; artifacts stay a little longer");
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = app.closing.cancelled() => return Ok(()),
        }
    }
}

/// Removes the archives that nobody refers to any more at `now`.
pub(crate) async fn remove_expired(app: &App, now: DateTime<Utc>) -> Result<(), StoreError> {
    loop {
        let expired = app.store.expired_archives(now, PAGE).await?;
        if expired.is_empty() || app.closing.is_cancelled() {
            return Ok(());
        }
        for (run, sha256) in expired {
            let path = runner::artifact_path(&app.data.artifacts(run), &sha256);
            match tokio::fs::remove_file(&path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    // Noted as gone all the same: it would be tried for ever.
                    tracing::error!("{} cannot be removed: {error}", path.display());
                }
                _ => {}
            }
            app.store.forget_archive(run, &sha256, now).await?;
        }
    }
}
