//! A run of the local store: its events, and the output in the files of its attempts.
//!
//! The files do not say when a line was written. An attempt is taken to have written as
//! much a second from its beginning to its end, which it could have.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use event::{Event, EventKind, Frame, RunId, Stream};
use runner::{Frames, Observation, log_path, read_frames};
use store::Store;

use crate::error::{CommandError, Context as _};

const WHAT: &str = "cannot read the recorded run";
/// Events that are read at a time.
const PAGE: u32 = 1000;

/// Merges events and frames; what of both there is stays on the disk until it is told.
pub(crate) struct Stored {
    events: std::iter::Peekable<std::vec::IntoIter<Event>>,
    output: PathBuf,
    /// When each attempt ended.
    ends: BTreeMap<(String, u32), DateTime<Utc>>,
    open: Vec<Attempt>,
}

struct Attempt {
    stage: String,
    number: u32,
    began: DateTime<Utc>,
    took: TimeDelta,
    bytes: u64,
    frames: std::iter::Peekable<Frames>,
}

impl Attempt {
    /// When its next frame was written, as far as anybody can say.
    fn next_at(&mut self) -> Option<DateTime<Utc>> {
        let Some(Ok(frame)) = self.frames.peek() else {
            // An error is told at once.
            return self.frames.peek().map(|_| self.began);
        };
        let part = frame.offset as f64 / self.bytes.max(1) as f64;
        let passed = self.took.num_milliseconds() as f64 * part.min(1.0);
        Some(self.began + TimeDelta::milliseconds(passed as i64))
    }
}

impl Stored {
    /// `output` is the folder of the run's log files.
    pub(crate) async fn open(
        store: &Store,
        run: RunId,
        output: PathBuf,
    ) -> Result<Self, CommandError> {
        let mut events: Vec<Event> = Vec::new();
        loop {
            let after = events.last().map_or(0, |event| event.seq);
            let page = store.events(Stream::Run(run), after, PAGE).await.environment(WHAT)?;
            if page.is_empty() {
                break;
            }
            events.extend(page);
        }
        Ok(Self::of(events, output))
    }

    fn of(events: Vec<Event>, output: PathBuf) -> Self {
        let ends = events.iter().filter_map(|event| match &event.kind {
            EventKind::AttemptFinished { stage, attempt, .. } => {
                Some(((stage.clone(), *attempt), event.at))
            }
            _ => None,
        });
        let ends = ends.collect();
        Self { events: events.into_iter().peekable(), output, ends, open: Vec::new() }
    }

    fn step(&mut self) -> Result<Option<Observation>, CommandError> {
        let limit = self.events.peek().map(|event| event.at);
        let ending = self.events.peek().and_then(|event| match &event.kind {
            EventKind::AttemptFinished { stage, attempt, .. } => Some((stage.clone(), *attempt)),
            _ => None,
        });
        if let Some((stage, number)) = &ending
            && let Some(at) =
                self.open.iter().position(|open| open.stage == *stage && open.number == *number)
        {
            // Its output comes before its end, however the clocks went.
            return match self.open[at].frames.next() {
                Some(frame) => Ok(Some(Observation::Frame(frame.environment(WHAT)?))),
                None => {
                    self.open.remove(at);
                    self.step()
                }
            };
        }
        if let Some(frame) = self.frame_before(limit)? {
            return Ok(Some(Observation::Frame(frame)));
        }
        let Some(event) = self.events.next() else { return Ok(None) };
        if let EventKind::AttemptStarting { stage, attempt, .. } = &event.kind {
            self.begin(stage, *attempt, event.at)?;
        }
        Ok(Some(Observation::Event(Box::new(event))))
    }

    /// The earliest frame that was written before `limit`; without a limit all were.
    fn frame_before(
        &mut self,
        limit: Option<DateTime<Utc>>,
    ) -> Result<Option<Frame>, CommandError> {
        let nexts = self.open.iter_mut().enumerate();
        let next = nexts.filter_map(|(at, open)| Some((open.next_at()?, at))).min();
        match next {
            Some((when, at)) if limit.is_none_or(|limit| when <= limit) => {
                self.open[at].frames.next().transpose().environment(WHAT)
            }
            _ => Ok(None),
        }
    }

    fn begin(
        &mut self,
        stage: &str,
        number: u32,
        began: DateTime<Utc>,
    ) -> Result<(), CommandError> {
        let path = log_path(&self.output, stage, number);
        let Some(bytes) = length(&path)? else { return Ok(()) };
        let end = self.ends.get(&(stage.to_owned(), number)).copied().unwrap_or(began);
        let frames = read_frames(&path).environment(WHAT)?.peekable();
        let (stage, took) = (stage.to_owned(), end - began);
        self.open.push(Attempt { stage, number, began, took, bytes, frames });
        Ok(())
    }
}

impl Iterator for Stored {
    type Item = Result<Observation, CommandError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// Bytes of the output in a file; `None` where there is none: not every attempt has output.
fn length(path: &Path) -> Result<Option<u64>, CommandError> {
    let frames = match read_frames(path) {
        Ok(frames) => frames,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).environment(WHAT),
    };
    let mut bytes = 0;
    for frame in frames {
        bytes = frame.environment(WHAT)?.offset;
    }
    Ok(Some(bytes))
}
