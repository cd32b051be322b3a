//! A scenario, from its first event until nobody needs to be started again.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use event::{Event, RunId, RunState};
use futures_util::future::poll_fn;
use pipeline::RunOn;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::engine::FaultyBackend;
use super::mutation::Mutation;
use super::scenario::{Death, Scenario, When};
use super::world::{Chaos, FaultyJournal, Life, Person};
use crate::backend::Backend;
use crate::backend::fake::FakeBackend;
use crate::run::run_from;
use crate::testing::auditor::{Auditor, Container, Restart};
use crate::testing::{MemoryJournal, config, queued, run_id};
use crate::{Outcome, RunError};

/// Whatever happens, a run is over by then.
const PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);
/// After so many lives nothing goes wrong any more.
const LIVES: usize = 12;
const STRANGER: &str = "shipline-stranger";

/// What came of a scenario.
pub(super) struct Played {
    pub(super) events: Vec<Event>,
    pub(super) timeline: Vec<String>,
    /// What does not hold.
    pub(super) broken: Vec<String>,
    pub(super) lives: usize,
}

/// Plays it on a clock of its own that nobody waits for.
pub(super) fn play(scenario: &Scenario, mutation: Option<Mutation>) -> Played {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    // Within, where the clock stands still.
    runtime.block_on(async { Play::new(scenario.clone(), mutation).until_over().await })
}

struct Play {
    scenario: Scenario,
    mutation: Option<Mutation>,
    chaos: Chaos,
    journal: Arc<MemoryJournal>,
    backend: FakeBackend,
    begun: Instant,
    restarts: Vec<Restart>,
    broken: Vec<String>,
}

enum End {
    Died,
    Over(Box<Result<Outcome, RunError>>),
}

impl Play {
    fn new(scenario: Scenario, mutation: Option<Mutation>) -> Self {
        let chaos = Chaos::new(scenario.random.clone(), scenario.fault_percent);
        let stranger = RunId::new(Uuid::from_u128(7));
        let begun = Instant::now();
        let mut backend = FakeBackend::default().with_stranger(STRANGER, stranger);
        backend = backend.with_clock(at(begun, begun));
        for (stage, scripts) in &scenario.scripts {
            backend = backend.with_attempts(stage, scripts.clone());
        }
        for (name, script) in &scenario.services {
            backend = backend.with_service(name, script.clone());
        }
        if mutation == Some(Mutation::Greedy) {
            backend = backend.with_stranger(STRANGER, run_id());
        }
        let mut plan = scenario.plan.clone();
        mutate(&mut plan, mutation);
        Self {
            scenario,
            mutation,
            chaos,
            journal: Arc::new(MemoryJournal::holding(vec![queued(plan)])),
            backend,
            begun,
            restarts: Vec::new(),
            broken: Vec::new(),
        }
    }

    fn now(&self) -> DateTime<Utc> {
        at(self.begun, Instant::now())
    }

    async fn until_over(mut self) -> Played {
        let mut lives = 0;
        let mut deaths = self.scenario.deaths.clone().into_iter();
        loop {
            lives += 1;
            if lives > LIVES {
                self.chaos.calm();
            }
            let death = deaths.next();
            let ended = match timeout(PATIENCE, self.live(death, lives > 1)).await {
                Ok(ended) => ended,
                Err(_) => {
                    self.broken.push("the run does not end".to_owned());
                    break;
                }
            };
            if ended {
                break;
            }
        }
        self.last_sweep().await;
        let broken = self.audit();
        let (events, timeline) = (self.journal.events(), self.chaos.lines());
        Played { events, timeline, broken, lives }
    }

    /// One process; returns whether the run is over and no other process is needed.
    async fn live(&mut self, death: Option<Death>, again: bool) -> bool {
        let life = Life::until(death.map(|death| death.when));
        let backend = FaultyBackend {
            inner: self.backend.clone(),
            chaos: self.chaos.clone(),
            life: Arc::clone(&life),
            mutation: self.mutation,
            again,
        };
        let end = self.process(&backend, &life, death.map(|death| death.when)).await;
        let down = self.now();
        match end {
            End::Over(outcome) => match *outcome {
                Ok(outcome) => {
                    self.look_at(&outcome);
                    return true;
                }
                Err(error) => self.chaos.tell(format!("ENDED {}", crate::causes(&error))),
            },
            End::Died => self.chaos.tell("DIED"),
        }
        // What was aborted ends when it is looked at next.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        if let Some(death) = death {
            if death.engine {
                self.chaos.tell("the engine restarts");
                self.backend.restart();
            }
            sleep(death.away).await;
        }
        if self.mutation == Some(Mutation::VolatileJournal) {
            self.forget();
        }
        self.chaos.tell("STARTED AGAIN");
        self.restarts.push(Restart { down, up: self.now() });
        false
    }

    /// What a server does when it starts: nothing of it can run yet; then its runs.
    async fn process(&self, backend: &FaultyBackend, life: &Arc<Life>, when: Option<When>) -> End {
        let journal = FaultyJournal {
            inner: Arc::clone(&self.journal),
            chaos: self.chaos.clone(),
            life: Arc::clone(life),
            mutation: self.mutation,
        };
        let mut config = config(&self.journal.events(), Path::new(""));
        config.concurrency = self.scenario.concurrency;
        config.durable = self.scenario.durable;
        let alive = if config.durable { vec![config.run] } else { Vec::new() };
        config.approver = Some(Arc::new(Person { answers: self.scenario.answers.clone() }));
        let (cancel, kill) = (CancellationToken::new(), config.kill.clone());
        let run = async {
            if backend.again {
                // The run itself says it if the engine stays away.
                let _ = backend.sweep("test", &alive).await;
            }
            run_from(
                self.now(),
                config,
                Arc::new(backend.clone()),
                Arc::new(journal),
                cancel.clone(),
            )
            .await
        };
        let mut run = pin!(run);
        let polls = AtomicU64::new(0);
        let run = poll_fn(|context| {
            let poll = polls.fetch_add(1, Ordering::Relaxed) + 1;
            if when == Some(When::Await(poll)) {
                return Poll::Ready(None);
            }
            run.as_mut().poll(context).map(Some)
        });
        let after = async {
            match when {
                Some(When::After(time)) => sleep(time).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = life.died() => End::Died,
            () = after => End::Died,
            outcome = run => outcome.map_or(End::Died, |outcome| End::Over(Box::new(outcome))),
            () = self.people(&cancel, &kill) => End::Died,
        }
    }

    /// Whoever cancels; what was cancelled while nobody was there is so at once.
    async fn people(&self, cancel: &CancellationToken, kill: &CancellationToken) {
        if let Some((first, second)) = self.scenario.cancel {
            sleep_until(self.begun + first).await;
            cancel.cancel();
            if let Some(second) = second {
                sleep_until(self.begun + first + second).await;
                kill.cancel();
            }
        }
        std::future::pending::<()>().await;
    }

    /// What the process knows at its end is what the journal says.
    fn look_at(&mut self, outcome: &Outcome) {
        let folded = RunState::fold(&self.journal.events());
        if folded.as_ref().map(|state| format!("{state:?}")).ok()
            != Some(format!("{:?}", outcome.state))
        {
            self.broken.push("the state of the run is not the fold of its journal".to_owned());
        }
        if outcome.left_behind.is_none() && !self.chaos.blamed().contains_key("clean") {
            self.check_engine("when the run said that nothing is left");
        }
    }

    async fn last_sweep(&mut self) {
        let ended = self.mutation == Some(Mutation::NoCleaning);
        if !ended && self.mutation != Some(Mutation::NoCleaningAfterRestart) {
            let _ = self.backend.sweep("test", &[]).await;
        }
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        self.check_engine("at the end");
    }

    fn check_engine(&mut self, when: &str) {
        let mut running = self.backend.running();
        if !running.remove(STRANGER) {
            self.broken.push(format!("a container of somebody else was removed {when}"));
        }
        if !running.is_empty() || !self.backend.serving().is_empty() {
            let serving = self.backend.serving();
            self.broken.push(format!("{running:?} and services of {serving:?} run {when}"));
        }
    }

    fn forget(&mut self) {
        let mut events = self.journal.events();
        let kept = events.len().div_ceil(2).max(1);
        events.truncate(kept);
        self.journal = Arc::new(MemoryJournal::holding(events));
    }

    fn audit(&mut self) -> Vec<String> {
        let containers = self.backend.witnessed().into_iter().map(|seen| Container {
            name: seen.name,
            stage: seen.stage,
            attempt: seen.attempt,
            begun: at(self.begun, seen.begun),
            ended: seen.ended.map(|ended| at(self.begun, ended)),
            exit: seen.exit.map(|exit| (exit.code, exit.oom_killed, exit.lost.is_some())),
            stopped: seen.stopped.map(|stopped| at(self.begun, stopped)),
        });
        let containers: Vec<Container> = containers.collect();
        let events = self.journal.events();
        let blamed: BTreeMap<String, u32> = self.chaos.blamed();
        let auditor = Auditor {
            plan: &self.scenario.plan,
            events: &events,
            containers: &containers,
            restarts: &self.restarts,
            durable: self.scenario.durable,
            blamed: &blamed,
        };
        let mut broken = std::mem::take(&mut self.broken);
        broken.extend(auditor.audit());
        broken.extend(self.backend.violations());
        broken
    }
}

fn at(begun: Instant, instant: Instant) -> DateTime<Utc> {
    let passed = instant.saturating_duration_since(begun);
    let passed = TimeDelta::from_std(passed).expect("a simulated week");
    DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(20_000) + passed
}

/// What the runner takes for the plan.
fn mutate(plan: &mut pipeline::Plan, mutation: Option<Mutation>) {
    for stage in &mut plan.stages {
        match mutation {
            Some(Mutation::NoNeeds) => {
                stage.needs.clear();
                stage.run_on = RunOn::Always;
            }
            Some(Mutation::Stubborn) => {
                stage.retry.max = 3;
                stage.retry.on.push(pipeline::RetryOn::Exit(vec![1, 2, 75]));
            }
            Some(Mutation::NoDeadline) => stage.timeout = pipeline::Duration::from_secs(9000),
            _ => {}
        }
    }
}
