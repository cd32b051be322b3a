//! What others are to be told, told: the loop that delivers what the outbox holds.
//!
//! At least once, with pauses that grow, for three days; what is given up stays
//! visible. A mail server that is away holds up nobody.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use notify::{Mailer, MailerError, Message, SendError, SmtpConfig, backoff};
use store::{OutboxRow, Retry, StoreError};

use crate::app::App;
use crate::config::{Config, PasswordError, read_password};
use crate::serve::LoopError;

/// Rows read at a time.
const PAGE: u32 = 20;
/// For a whole delivery.
const DELIVERY: Duration = Duration::from_secs(30);
/// The loop also looks by itself.
const LOOK: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);

/// The way out for mails; without a mail server they wait.
#[derive(Default)]
pub struct Post {
    mailer: Option<Mailer>,
}

#[derive(Debug, thiserror::Error)]
pub enum PostError {
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Mailer(#[from] MailerError),
}

impl Post {
    /// Reads the password of `[smtp]`; the mail server itself is reached by a delivery.
    pub fn of(config: &Config) -> Result<Self, PostError> {
        let Some(smtp) = &config.smtp else { return Ok(Self::default()) };
        let password = smtp.password_file.as_deref().map(read_password).transpose()?;
        let mailer = Mailer::new(SmtpConfig {
            url: smtp.url.clone(),
            from: smtp.from.clone(),
            // Both or none: the configuration was checked for it.
            username: password.as_ref().and(smtp.username.clone()),
            password: smtp.username.as_ref().and(password),
            ca_file: smtp.ca_file.clone(),
            timeout: DELIVERY,
        })?;
        Ok(Self { mailer: Some(mailer) })
    }

    async fn deliver(&self, row: &OutboxRow) -> Result<(), SendError> {
        let Some(mailer) = &self.mailer else {
            return Err(SendError::Temporary("the configuration has no [smtp]".to_owned()));
        };
        let message: Message = serde_json::from_value(row.payload.clone()).map_err(|error| {
            SendError::Permanent(format!("the message cannot be read: {error}"))
        })?;
        let delivered = mailer.send(&message).await?;
        for refused in delivered.refused {
            tracing::warn!("mail {} was not taken for {}: {}", row.id, refused.to, refused.answer);
        }
        Ok(())
    }
}

/// Delivers until the server is closing.
pub(crate) async fn run(app: Arc<App>) -> Result<(), LoopError> {
    while !app.closing.is_cancelled() {
        if app.abort.is_cancelled() {
            app.closing.cancelled().await;
            break;
        }
        let pause = match deliver_due(&app, Utc::now()).await {
            Ok(()) => pause(&app, Utc::now()).await,
            Err(error) => Err(error),
        };
        let pause = match pause {
            Ok(pause) => pause,
            Err(error) if error.is_temporary() => PAUSE,
            Err(error) => return Err(error.into()),
        };
        tokio::select! {
            () = app.closing.cancelled() => {}
            () = app.hints.outbox.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
    Ok(())
}

/// How long there is nothing to do.
async fn pause(app: &App, now: DateTime<Utc>) -> Result<Duration, StoreError> {
    let next = app.store.next_due().await?;
    Ok(next.map_or(LOOK, |next| (next - now).to_std().unwrap_or_default().min(LOOK)))
}

/// Tries everything that is due at `now`, once.
async fn deliver_due(app: &App, now: DateTime<Utc>) -> Result<(), StoreError> {
    loop {
        let due = app.store.due(now, PAGE).await?;
        if due.is_empty() {
            return Ok(());
        }
        for row in due {
            tokio::select! {
                delivered = app.post.deliver(&row) => settle(app, &row, delivered, now).await?,
                // Not delivered as far as we know: it is tried again after the next start.
                () = app.abort.cancelled() => return Ok(()),
            }
        }
    }
}

async fn settle(
    app: &App,
    row: &OutboxRow,
    delivered: Result<(), SendError>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let error = match delivered {
        Ok(()) => {
            tracing::info!("mail {} was delivered", row.id);
            return app.store.sent(row.id, now).await;
        }
        Err(error) => error,
    };
    let pause = if error.is_permanent() { None } else { backoff(row.attempts + 1) };
    let retry = match pause.and_then(|pause| TimeDelta::from_std(pause).ok()) {
        Some(pause) => Retry::At(now + pause),
        None => Retry::Never,
    };
    match retry {
        Retry::At(at) => {
            tracing::warn!("mail {} was not delivered, next try at {at}: {error}", row.id);
        }
        Retry::Never => tracing::error!("mail {} is given up: {error}", row.id),
    }
    app.store.failed(row.id, &error.to_string(), retry).await
}

#[cfg(test)]
mod tests;
