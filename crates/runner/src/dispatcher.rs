//! The dispatcher: the only writer of a run's events.
//!
//! Executors report, [`decide`] says what follows, the dispatcher appends it.
//! An effect leaves only after its event is durable, so what is decided is
//! what everybody sees.

use std::collections::BTreeMap;
use std::sync::Arc;

use event::{Event, EventKind, FORMAT, Outputs, RunId, RunState, StageResult, Stream};
use pipeline::Finished;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::decide::{Effect, decide};
use crate::schedule::Schedule;
use crate::when;
use crate::{Journal, Observation, RunError};

pub(crate) struct Dispatcher {
    pub(crate) run: RunId,
    pub(crate) schedule: Schedule,
    /// Ahead of the journal by `events`; nobody else sees it before they are durable.
    pub(crate) state: RunState,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) observer: Option<mpsc::Sender<Observation>>,
    pub(crate) halt: CancellationToken,
    pub(crate) clock: Clock,
    /// How the stages ended that are done, as expressions read it.
    pub(crate) finished: BTreeMap<String, Finished>,
    events: Vec<Event>,
    effects: Vec<Effect>,
}

impl Dispatcher {
    pub(crate) fn new(
        run: RunId,
        schedule: Schedule,
        state: RunState,
        journal: Arc<dyn Journal>,
        observer: Option<mpsc::Sender<Observation>>,
        halt: CancellationToken,
        clock: Clock,
    ) -> Self {
        let done = state.stages.iter().filter_map(|(name, stage)| match stage.phase {
            event::Phase::Done(result) => {
                Some((name.clone(), when::finished(result, stage.outputs.clone())))
            }
            event::Phase::Waiting | event::Phase::Running => None,
        });
        let finished = done.collect();
        let (events, effects) = (Vec::new(), Vec::new());
        Self { run, schedule, state, journal, observer, halt, clock, finished, events, effects }
    }

    /// Takes a fact and what follows from it; [`Dispatcher::commit`] makes it so.
    pub(crate) fn take(&mut self, fact: EventKind) -> Result<(), RunError> {
        let fact = self.event(fact);
        self.fold(fact.clone())?;
        self.conclude(&fact)
    }

    /// Goes on after a restart: what follows from the start, as things stand now.
    pub(crate) fn resume(&mut self) -> Result<(), RunError> {
        let start = self.event(EventKind::RunStarted { by: self.state.by.clone() });
        self.conclude(&start)
    }

    fn conclude(&mut self, fact: &Event) -> Result<(), RunError> {
        let (events, effects) = decide(&self.schedule, &self.state, fact);
        for kind in events {
            self.fold(self.event(kind))?;
        }
        self.effects.extend(effects);
        Ok(())
    }

    /// Appends what was taken, tells it, and returns what is to be done now. All
    /// of it is one append, so no crash leaves a fact without its consequences.
    pub(crate) async fn commit(&mut self) -> Result<Vec<Effect>, RunError> {
        if self.events.is_empty() {
            return Ok(Vec::new());
        }
        let events = std::mem::take(&mut self.events);
        self.journal.append(&events).await.map_err(RunError::Journal)?;
        if let Some(observer) = &self.observer {
            for event in events {
                tokio::select! {
                    biased;
                    // Nobody listening any more is not an error of the run.
                    _ = observer.send(Observation::Event(Box::new(event))) => {}
                    () = self.halt.cancelled() => break,
                }
            }
        }
        Ok(std::mem::take(&mut self.effects))
    }

    fn event(&self, kind: EventKind) -> Event {
        Event {
            format: FORMAT,
            seq: self.state.seq + 1,
            at: self.clock.now(),
            stream: Stream::Run(self.run),
            kind,
        }
    }

    fn fold(&mut self, event: Event) -> Result<(), RunError> {
        self.state.apply(&event).map_err(RunError::Illegal)?;
        if let Some((stage, result, outputs)) = end_of_stage(&event.kind) {
            self.finished.insert(stage.to_owned(), when::finished(result, outputs));
        }
        self.events.push(event);
        Ok(())
    }
}

fn end_of_stage(kind: &EventKind) -> Option<(&str, StageResult, Outputs)> {
    match kind {
        EventKind::StageFinished { stage, result, outputs, .. } => {
            Some((stage, *result, outputs.clone()))
        }
        EventKind::StageSkipped { stage, .. } => {
            Some((stage, StageResult::Skipped, Outputs::new()))
        }
        EventKind::StageBlocked { stage, .. } => {
            Some((stage, StageResult::Blocked, Outputs::new()))
        }
        _ => None,
    }
}
