//! Following a deployment: its events after a `seq`, and with `follow` those to come.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use event::{DeploymentId, Event, Stream};
use futures_util::stream;
use serde::Deserialize;
use store::StoreError;

use super::deployments::found;
use super::stream::{Numbered, last_event_id, over, respond, wants_events};
use super::{Asked, Named};
use crate::app::App;
use crate::problem::Problem;

/// Events read at a time.
const EVENTS: u32 = 500;
/// A deployment is written by its engine, which gives no hint: it is looked at so often.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Deserialize)]
pub(crate) struct Follow {
    /// The `seq` of the last event seen.
    #[serde(default)]
    after: u64,
    #[serde(default)]
    follow: bool,
}

pub(crate) async fn events(
    State(app): State<Arc<App>>,
    Named(id): Named<String>,
    Asked(asked): Asked<Follow>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let record = found(&app, &id).await?;
    let after = last_event_id(&headers).unwrap_or(asked.after);
    let deployment = record.deployment.id;
    if wants_events(&headers) && record.state.is_some() {
        let next = app.store.events(Stream::Deployment(deployment), after, 1).await?;
        if next.is_empty() {
            return Ok(over());
        }
    }
    let follow = asked.follow || wants_events(&headers);
    let reader = Reader { app, deployment, after, follow, read: VecDeque::new(), ended: false };
    let values = stream::try_unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        let numbered = event.map(|event| Numbered { id: event.seq, value: event });
        Ok::<_, StoreError>(numbered.map(|event| (event, reader)))
    });
    Ok(respond(&headers, values))
}

struct Reader {
    app: Arc<App>,
    deployment: DeploymentId,
    after: u64,
    follow: bool,
    read: VecDeque<Event>,
    ended: bool,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Event>, StoreError> {
        loop {
            if let Some(event) = self.read.pop_front() {
                self.after = event.seq;
                self.ended |= event.kind.is_terminal();
                return Ok(Some(event));
            }
            let stream = Stream::Deployment(self.deployment);
            self.read = self.app.store.events(stream, self.after, EVENTS).await?.into();
            // Marks may follow the end, but nobody waits for them.
            if self.read.is_empty() && (self.ended || !self.wait().await) {
                return Ok(None);
            }
        }
    }

    /// Waits until there may be more; `false` when there will not be.
    async fn wait(&self) -> bool {
        if !self.follow {
            return false;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => true,
            () = self.app.closing.cancelled() => false,
        }
    }
}
