//! Who is told that somebody acted in haste or over another's head.
//!
//! Those whom the pipeline of an environment mails about anything are its people: nobody
//! else has an address here.

use chrono::Utc;
use deploy::{EnvironmentKey, Ledger as _};
use notify::{Notice, NoticeContext, notice};
use serde::Serialize;

use crate::app::App;
use crate::mails::{queued, rules_of};

/// Deployments looked through for the last one of a run, whose rules count.
const HISTORY: u32 = 200;

/// Who was told, and why not, for whoever acted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Told {
    /// The addresses that get a mail.
    pub(crate) told: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// Puts the mail into the outbox; says so where there is nobody to write to. Whatever
/// happens to the mail, what was to be done in haste is done.
pub(crate) async fn tell(app: &App, key: &EnvironmentKey, what: &Notice) -> Told {
    let history = app.store.history(key, HISTORY).await.unwrap_or_else(|error| {
        tracing::warn!("nobody knows whom to tell: {}", runner::causes(&error));
        Vec::new()
    });
    let context = NoticeContext {
        project: key.project.clone(),
        environment: key.environment.clone(),
        instance: app.store.instance().to_owned(),
        rules: rules_of(app, &history).await,
        at: Utc::now(),
    };
    let Some(message) = notice(what, &context) else {
        let note = format!(
            "nobody is told: the pipeline that deploys to `{}` names no address in `notify`",
            key.environment
        );
        return Told { told: Vec::new(), note: Some(note) };
    };
    let told = message.to.iter().map(|address| address.as_str().to_owned()).collect();
    let mails: Vec<_> = queued(message).into_iter().collect();
    if let Err(error) = app.store.append(&[], &mails).await {
        tracing::error!(error = %runner::causes(&error), "a mail could not be kept");
        let note = "nobody is told: the mail could not be written down".to_owned();
        return Told { told: Vec::new(), note: Some(note) };
    }
    app.hints.outbox.notify_one();
    let waits = "the mail waits: the server's configuration has no [smtp]";
    Told { told, note: app.config.smtp.is_none().then(|| waits.to_owned()) }
}
