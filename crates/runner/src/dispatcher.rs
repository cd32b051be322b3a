//! The dispatcher: the only writer of a run's events.
//!
//! Executors report, [`decide`](crate::decide()) says what follows, the dispatcher appends it.
//! An effect leaves only after its event is durable, so what is decided is
//! what everybody sees.

use std::collections::BTreeMap;
use std::sync::Arc;

use event::{Event, EventKind, FORMAT, Outputs, RunId, RunState, StageResult, Stream};
use pipeline::Finished;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::decide::{Effect, decide_at};
use crate::schedule::Schedule;
use crate::standing::Standing;
use crate::when;
use crate::{Carried, Journal, Observation, RunError};

pub(crate) struct Dispatcher {
    pub(crate) run: RunId,
    pub(crate) schedule: Schedule,
    /// Ahead of the journal by `events`; nobody else sees it before they are durable.
    pub(crate) state: RunState,
    pub(crate) standing: Standing,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) observer: Option<mpsc::Sender<Observation>>,
    pub(crate) halt: CancellationToken,
    pub(crate) clock: Clock,
    /// How the stages ended that are done, as expressions read it.
    pub(crate) finished: BTreeMap<String, Finished>,
    events: Vec<Event>,
    effects: Vec<Effect>,
    /// Attempts whose ends are durable, since somebody asked: stage and number.
    ended: Vec<(String, u32)>,
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
        let standing = Standing::of(&schedule, &state);
        let (events, effects, ended) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            run,
            schedule,
            state,
            standing,
            journal,
            observer,
            halt,
            clock,
            finished,
            events,
            effects,
            ended,
        }
    }

    /// Takes a fact and what follows from it; [`Dispatcher::commit`] makes it so.
    pub(crate) fn take(&mut self, fact: EventKind) -> Result<(), RunError> {
        let fact = self.event(fact);
        self.fold(fact.clone())?;
        self.conclude(&fact)
    }

    /// Starts the run, with the stages that a former run did.
    pub(crate) fn start(&mut self, mut carried: BTreeMap<String, Carried>) -> Result<(), RunError> {
        let start = self.event(EventKind::RunStarted { by: self.state.by.clone() });
        self.fold(start.clone())?;
        let plan = Arc::clone(self.schedule.plan());
        let names = plan.stages.iter().map(|stage| stage.name.as_str());
        for (stage, carried) in names.filter_map(|name| carried.remove_entry(name)) {
            let Carried { result, reused, outputs } = carried;
            let result =
                if result == StageResult::Warning { result } else { StageResult::Unchanged };
            let reason = Some(format!("taken from run {}", reused.run.short()));
            let reused = Some(reused);
            let end =
                EventKind::StageFinished { stage, result, reason, outputs, reused, duration_ms: 0 };
            self.fold(self.event(end))?;
        }
        self.conclude(&start)
    }

    /// Goes on after a restart: what follows from the start, as things stand now.
    pub(crate) fn resume(&mut self) -> Result<(), RunError> {
        let start = self.event(EventKind::RunStarted { by: self.state.by.clone() });
        self.conclude(&start)
    }

    fn conclude(&mut self, fact: &Event) -> Result<(), RunError> {
        let (events, effects) = decide_at(&self.schedule, &self.state, &self.standing, fact);
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
        self.ended.extend(events.iter().filter_map(|event| match &event.kind {
            EventKind::AttemptFinished { stage, attempt, .. } => Some((stage.clone(), *attempt)),
            _ => None,
        }));
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

    /// Returns the attempts whose ends became durable since it was last asked.
    pub(crate) fn ended(&mut self) -> Vec<(String, u32)> {
        std::mem::take(&mut self.ended)
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
        self.standing.follow(&self.schedule, &self.state, &event.kind);
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
