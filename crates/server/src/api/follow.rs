//! What a run does, as it does it: its events, and the output of its stages.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use event::{Event, Frame, Phase, RunId, RunState, Stream};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use serde::Deserialize;
use store::{RunStatus, StoreError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::runs::find;
use super::stream::{Numbered, last_event_id, over, respond, wants_events};
use super::{Asked, Named};
use crate::app::App;
use crate::problem::Problem;

/// Events read at a time.
const EVENTS: u32 = 500;

#[derive(Deserialize)]
pub(crate) struct Follow {
    /// The `seq` of the last event seen.
    #[serde(default)]
    after: u64,
    #[serde(default)]
    follow: bool,
    project: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct FollowLog {
    #[serde(default)]
    follow: bool,
    attempt: Option<u32>,
    /// The byte of the output to begin at.
    #[serde(default)]
    from: u64,
    project: Option<String>,
}

/// The events of a run after a `seq`, and with `follow` those to come.
pub(crate) async fn events(
    State(app): State<Arc<App>>,
    Named(id): Named<String>,
    Asked(asked): Asked<Follow>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = find(&app, &id, asked.project.as_deref()).await?;
    let after = last_event_id(&headers).unwrap_or(asked.after);
    if wants_events(&headers) && row.status == RunStatus::Finished && after >= row.seq {
        return Ok(over());
    }
    let reader = EventReader {
        // Before the first read, so that nothing falls in between.
        hint: app.hints.follow(row.id),
        app,
        run: row.id,
        after,
        follow: asked.follow || wants_events(&headers),
        read: VecDeque::new(),
        over: false,
    };
    let values = stream::try_unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        let numbered = event.map(|event| Numbered { id: event.seq, value: event });
        Ok::<_, StoreError>(numbered.map(|event| (event, reader)))
    });
    Ok(respond(&headers, values))
}

struct EventReader {
    app: Arc<App>,
    run: RunId,
    hint: watch::Receiver<u64>,
    after: u64,
    follow: bool,
    read: VecDeque<Event>,
    over: bool,
}

impl EventReader {
    async fn next(&mut self) -> Result<Option<Event>, StoreError> {
        loop {
            if let Some(event) = self.read.pop_front() {
                self.after = event.seq;
                self.over = event.kind.is_terminal();
                return Ok(Some(event));
            }
            if self.over {
                return Ok(None);
            }
            self.read =
                self.app.store.events(Stream::Run(self.run), self.after, EVENTS).await?.into();
            if self.read.is_empty() && !self.wait().await {
                return Ok(None);
            }
        }
    }

    /// Waits until there may be more; `false` when there will not be.
    async fn wait(&mut self) -> bool {
        if !self.follow {
            return false;
        }
        tokio::select! {
            hint = self.hint.changed() => hint.is_ok(),
            () = self.app.closing.cancelled() => false,
        }
    }
}

/// The output of an attempt, by default the last, as frames.
pub(crate) async fn log(
    State(app): State<Arc<App>>,
    Named((id, stage)): Named<(String, String)>,
    Asked(asked): Asked<FollowLog>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = find(&app, &id, asked.project.as_deref()).await?;
    let hint = app.hints.follow(row.id);
    let state = app.store.run_state(row.id).await?;
    let Some(writer) = runner::stage_of_log(&stage, |name| state.stage(name).is_some()) else {
        return Err(Problem::not_found(format!("run `{id}` has no stage `{stage}`")));
    };
    let writer = writer.to_owned();
    // Frames that begin behind the last one seen.
    let from = last_event_id(&headers).map_or(asked.from, |last| last + 1);
    let reader = LogReader {
        app,
        run: row.id,
        state,
        writer,
        log: stage,
        attempt: asked.attempt,
        from,
        follow: asked.follow || wants_events(&headers),
        hint,
        done: CancellationToken::new(),
        frames: None,
    };
    let values = stream::try_unfold(reader, |mut reader| async move {
        let frame = reader.next().await?;
        let numbered = frame.map(|frame| Numbered { id: frame.offset, value: frame });
        Ok::<_, io::Error>(numbered.map(|frame| (frame, reader)))
    });
    Ok(respond(&headers, values))
}

struct LogReader {
    app: Arc<App>,
    run: RunId,
    state: RunState,
    /// The stage.
    writer: String,
    /// Its output, or that of one of its services.
    log: String,
    attempt: Option<u32>,
    from: u64,
    follow: bool,
    hint: watch::Receiver<u64>,
    /// Cancelled when the attempt writes no more.
    done: CancellationToken,
    frames: Option<BoxStream<'static, io::Result<Frame>>>,
}

/// What the state of the run says about an attempt.
enum Writing {
    NotYet,
    Now(u32),
    Ended(u32),
    Never,
}

impl LogReader {
    async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let Some(mut frames) = self.frames.take() else {
                if self.open().await? {
                    continue;
                }
                return Ok(None);
            };
            tokio::select! {
                frame = frames.next() => {
                    self.frames = Some(frames);
                    return frame.transpose();
                }
                // What was written before the end is still read.
                () = self.ended(), if !self.done.is_cancelled() => {
                    self.done.cancel();
                    self.frames = Some(frames);
                }
            }
        }
    }

    /// Waits for the attempt; `false` when there is none and will be none.
    async fn open(&mut self) -> io::Result<bool> {
        let attempt = loop {
            match self.writing().await? {
                Writing::Now(attempt) => break attempt,
                Writing::Ended(attempt) => {
                    self.done.cancel();
                    break attempt;
                }
                Writing::NotYet if self.follow => {
                    tokio::select! {
                        _ = self.hint.changed() => {}
                        () = self.app.closing.cancelled() => return Ok(false),
                    }
                }
                Writing::NotYet | Writing::Never => return Ok(false),
            }
        };
        if !self.follow {
            self.done.cancel();
        }
        // From now on it is this one, also when there is a next.
        self.attempt = Some(attempt);
        let path = runner::log_path(&self.app.data.output(self.run), &self.log, attempt);
        self.frames = Some(runner::follow(path, self.from, self.done.clone()).boxed());
        Ok(true)
    }

    /// Returns when the attempt has ended, or the server is closing.
    async fn ended(&mut self) {
        loop {
            match self.writing().await {
                Ok(Writing::Now(_) | Writing::NotYet) => {}
                Ok(Writing::Ended(_) | Writing::Never) | Err(_) => return,
            }
            tokio::select! {
                _ = self.hint.changed() => {}
                () = self.app.closing.cancelled() => return,
            }
        }
    }

    /// Folds what was appended since the last look.
    async fn catch_up(&mut self) -> Result<(), StoreError> {
        let run = self.run;
        loop {
            let events = self.app.store.events(Stream::Run(run), self.state.seq, EVENTS).await?;
            if events.is_empty() {
                return Ok(());
            }
            for event in &events {
                let applied = self.state.apply(event);
                applied.map_err(|source| StoreError::IllegalHistory { run, source })?;
            }
        }
    }

    async fn writing(&mut self) -> io::Result<Writing> {
        self.catch_up().await.map_err(io::Error::other)?;
        let state = &self.state;
        let Some(stage) = state.stage(&self.writer) else { return Ok(Writing::Never) };
        let attempt = match self.attempt {
            Some(number) => stage.attempts.iter().find(|attempt| attempt.number == number),
            None => stage.attempts.last(),
        };
        Ok(match attempt {
            Some(attempt) if attempt.result.is_some() => Writing::Ended(attempt.number),
            Some(attempt) => Writing::Now(attempt.number),
            None if matches!(stage.phase, Phase::Done(_)) || state.result.is_some() => {
                Writing::Never
            }
            None => Writing::NotYet,
        })
    }
}
