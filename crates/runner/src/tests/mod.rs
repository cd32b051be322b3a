//! Whole runs on the fake backend, with paused time.

mod adopting;
mod cancelling;
mod deploying;
mod groups;
mod images;
mod keys;
mod order;
mod recovery;
mod resuming;
mod retrying;
mod run_timeout;
mod services;
mod unchanged;
mod verdicts;

use std::sync::Arc;

use event::{Event, EventKind, RunState};
use futures_util::FutureExt;
use pipeline::PlannedStage;
use tokio_util::sync::CancellationToken;

use crate::backend::fake::FakeBackend;
use crate::testing::{MemoryJournal, config, plan, queued};
use crate::{Outcome, RunConfig, RunError, log_path, read_frames, run};

/// A run to be, and what it leaves.
pub(crate) struct Lab {
    pub(crate) backend: FakeBackend,
    pub(crate) journal: Arc<MemoryJournal>,
    pub(crate) config: Option<RunConfig>,
    pub(crate) cancel: CancellationToken,
    output: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new(stages: Vec<PlannedStage>) -> Self {
        Self::after(vec![queued(plan(stages))])
    }

    /// A run whose process died after `events`.
    pub(crate) fn after(events: Vec<Event>) -> Self {
        let output = tempfile::tempdir().unwrap();
        Self {
            backend: FakeBackend::default(),
            config: Some(config(&events, output.path())),
            journal: Arc::new(MemoryJournal::holding(events)),
            cancel: CancellationToken::new(),
            output,
        }
    }

    pub(crate) fn on(mut self, backend: FakeBackend) -> Self {
        self.backend = backend;
        self
    }

    pub(crate) fn configured(mut self, change: impl FnOnce(&mut RunConfig)) -> Self {
        if let Some(config) = &mut self.config {
            change(config);
        }
        self
    }

    pub(crate) async fn run(&mut self) -> Result<Outcome, RunError> {
        let config = self.config.take().expect("a lab runs once");
        let backend = Arc::new(self.backend.clone());
        // A future of its own, so that it is as movable as in a server.
        let run = run(config, backend, self.journal.clone(), self.cancel.clone()).boxed();
        let outcome = run.await;
        assert!(self.backend.running().is_empty(), "{:?} still run", self.backend.running());
        assert_eq!(self.backend.cleaned_away(), [""; 0], "nothing runs when it is cleaned up");
        assert_eq!(self.backend.violations(), [""; 0]);
        outcome
    }

    /// Runs, checks what holds for every run, and tells how it went.
    pub(crate) async fn told(&mut self) -> String {
        let outcome = self.run().await.unwrap();
        let events = self.journal.events();
        check(&events);
        assert_eq!(RunState::fold(&events).unwrap().result, Some(outcome.result));
        if let Some(last) = self.backend.calls().last() {
            assert_eq!(last, "clean");
        }
        told(&events)
    }

    /// The text a stage printed in its first attempt.
    pub(crate) fn printed(&self, stage: &str) -> String {
        let frames = read_frames(&log_path(self.output.path(), stage, 1)).unwrap();
        let texts = frames.map(|frame| match frame.unwrap().body {
            event::FrameBody::Text(text) => text,
            event::FrameBody::Base64(_) => panic!("{stage} printed bytes"),
        });
        texts.collect()
    }
}

/// What holds for every run that ended: no gap, the end last, attempts in order.
pub(crate) fn check(events: &[Event]) {
    let state = RunState::fold(events).unwrap();
    assert!(state.result.is_some(), "the run has no end");
    assert!(events.last().unwrap().kind.is_terminal());
    for stage in state.stages.values() {
        assert!(matches!(stage.phase, event::Phase::Done(_)));
        let numbers: Vec<u32> = stage.attempts.iter().map(|attempt| attempt.number).collect();
        assert!((1..).zip(&numbers).all(|(expected, number)| expected == *number), "{numbers:?}");
        assert!(stage.attempts.iter().all(|attempt| attempt.result.is_some()));
    }
}

/// How a run went: what ended, in order, with reasons.
pub(crate) fn told(events: &[Event]) -> String {
    let lines = events.iter().filter_map(|event| match &event.kind {
        EventKind::StageSkipped { stage, reason } => Some(format!("{stage} skipped: {reason}")),
        EventKind::StageBlocked { stage, reason } => Some(format!("{stage} blocked: {reason}")),
        EventKind::StageFinished { stage, result, reason, .. } => Some(match reason {
            Some(reason) => format!("{stage} {result}: {reason}"),
            None => format!("{stage} {result}"),
        }),
        EventKind::RunFinished { result, .. } => Some(format!("run {result}")),
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n")
}
