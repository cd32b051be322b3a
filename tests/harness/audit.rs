//! What came of many runs is looked at from outside: their events, what the engine saw, what
//! the stages said, and what is kept and left.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use event::{Event, EventKind, FrameBody, OutputStream, RunId, StageResult, Stream};
use runner::testing::auditor::{Auditor, Container, Restart};
use store::{RunRow, Store};

use super::lab::objects;
use super::process::wait_for;
use super::witness::{EngineLog, Said};

/// What a process may take, after it was started, until it has ended what must end.
const RECOVERY: TimeDelta = TimeDelta::seconds(10);

/// A run with all that it left in the store.
pub struct Told {
    pub row: RunRow,
    pub events: Vec<Event>,
}

impl Told {
    /// Stages by name: how they ended, and the exit of their last attempt.
    pub fn stages(&self) -> BTreeMap<&str, (StageResult, Option<i64>)> {
        let mut exits = BTreeMap::new();
        let mut stages = BTreeMap::new();
        for event in &self.events {
            match &event.kind {
                EventKind::AttemptFinished { stage, exit, .. } => {
                    exits.insert(stage.as_str(), *exit);
                }
                EventKind::StageFinished { stage, result, .. } => {
                    let exit = exits.get(stage.as_str()).copied().flatten();
                    stages.insert(stage.as_str(), (*result, exit));
                }
                EventKind::StageBlocked { stage, .. } => {
                    stages.insert(stage.as_str(), (StageResult::Blocked, None));
                }
                EventKind::StageSkipped { stage, .. } => {
                    stages.insert(stage.as_str(), (StageResult::Skipped, None));
                }
                _ => {}
            }
        }
        stages
    }

    fn end(&self) -> Option<DateTime<Utc>> {
        self.events.last().filter(|event| event.kind.is_terminal()).map(|event| event.at)
    }

    /// The attempts that passed, of whose output nothing may be missing.
    pub fn passed(&self) -> impl Iterator<Item = (&str, u32)> {
        self.events.iter().filter_map(|event| match &event.kind {
            EventKind::AttemptFinished { stage, attempt, result: StageResult::Passed, .. } => {
                Some((stage.as_str(), *attempt))
            }
            _ => None,
        })
    }
}

/// Reads every run of the store, oldest first.
pub fn read_all(database: &Path) -> Vec<Told> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(async {
        let store = Store::open(database).await.expect("the store is whole");
        store.check().await.expect("the store is whole");
        let mut all = Vec::new();
        let mut before: Option<RunId> = None;
        loop {
            let rows = store.runs(None, 100, before).await.expect("runs can be read");
            let Some(last) = rows.last() else { break };
            before = Some(last.id);
            for row in rows {
                let stream = Stream::Run(row.id);
                let events = store.events(stream, 0, 10_000).await.expect("events can be read");
                all.push(Told { row, events });
            }
        }
        store.close().await;
        all.reverse();
        all
    })
}

/// When processes were killed, and started again.
#[derive(Default)]
pub struct Deaths {
    restarts: Vec<Restart>,
    /// From when to when nobody was there.
    gaps: Vec<(DateTime<Utc>, DateTime<Utc>)>,
}

impl Deaths {
    /// It died at `down`, the next one was begun at `up` and is there by now.
    pub fn add(&mut self, down: DateTime<Utc>, up: DateTime<Utc>) {
        // From the first moment on it may end what was lost; it has some time to do so.
        self.restarts.push(Restart { down, up });
        self.restarts.push(Restart { down, up: up + RECOVERY });
        self.gaps.push((down, Utc::now()));
    }

    pub fn len(&self) -> usize {
        self.gaps.len()
    }

    /// `at`, or when the next one was there if nobody was.
    pub fn somebody_is_there(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        let gap = self.gaps.iter().find(|(from, to)| *from <= at && at < *to);
        gap.map_or(at, |(_, to)| *to)
    }
}

/// Everything that must hold of every run, and what does not.
pub fn audit(
    runs: &[Told],
    engine: &EngineLog,
    said: &[Said],
    deaths: &Deaths,
    durable: bool,
) -> Vec<String> {
    let containers = engine.containers();
    let nobody = BTreeMap::new();
    let mut broken = Vec::new();
    for told in runs {
        let short = told.row.id.short();
        let plan = told.events.iter().find_map(|event| match &event.kind {
            EventKind::RunQueued { plan, .. } => Some(plan.clone()),
            _ => None,
        });
        let Some(plan) = plan else {
            broken.push(format!("{short}: it was never queued"));
            continue;
        };
        let id = told.row.id.to_string();
        let own: &[Container] = containers.get(&id).map_or(&[], Vec::as_slice);
        let own: Vec<Container> = if durable { asked(own) } else { own.to_vec() };
        let auditor = Auditor {
            plan: &plan,
            events: &told.events,
            containers: &own,
            restarts: &deaths.restarts,
            durable,
            blamed: &nobody,
        };
        broken.extend(auditor.audit().into_iter().map(|what| format!("{short}: {what}")));
        broken.extend(of_stages(told, said));
    }
    broken
}

/// Without the containers whose process died before it had told them what to run: they say so
/// (125), and another takes their place. That nothing ran in them is seen by what stages said.
fn asked(containers: &[Container]) -> Vec<Container> {
    let replaced = |at: usize| {
        let container: &Container = &containers[at];
        let never = container.exit.is_none_or(|(code, ..)| code == 125 || code == 137);
        never && containers[at + 1..].iter().any(|later| later.name == container.name)
    };
    (0..containers.len()).filter(|at| !replaced(*at)).map(|at| containers[at].clone()).collect()
}

/// What the stages said: each attempt began once, and none after the end of its run.
fn of_stages(told: &Told, said: &[Said]) -> Vec<String> {
    let id = told.row.id.to_string();
    let mut broken = Vec::new();
    let mut begun = BTreeMap::new();
    for word in said.iter().filter(|said| said.run == id && said.word == "begin") {
        *begun.entry((word.stage.as_str(), word.attempt)).or_insert(0) += 1;
        if told.end().is_some_and(|end| end < word.at) {
            broken.push(format!("{}: `{}` said it began after the end", told.row.id, word.stage));
        }
    }
    for ((stage, attempt), times) in begun {
        if times > 1 {
            broken.push(format!("{}: {attempt} of `{stage}` began {times} times", told.row.id));
        }
    }
    broken
}

/// The bytes of stdout of an attempt, as they are kept.
pub fn stdout(output: &Path, stage: &str, attempt: u32) -> Vec<u8> {
    let path = runner::log_path(output, stage, attempt);
    let frames = runner::read_frames(&path)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
    let mut bytes = Vec::new();
    for frame in frames {
        let frame = frame.expect("a frame can be read");
        if frame.stream == OutputStream::Stdout {
            match frame.body {
                FrameBody::Text(text) => bytes.extend_from_slice(text.as_bytes()),
                FrameBody::Base64(text) => {
                    use base64::Engine as _;
                    let engine = base64::engine::general_purpose::STANDARD;
                    bytes.extend(engine.decode(text).expect("it is base64"));
                }
            }
        }
    }
    bytes
}

/// Waits until nothing of an instance is left but what says it stays, no mount either.
pub fn assert_nothing_left(instance: &str, runs: &[Told], limit: Duration) {
    let mounted = || {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        let of = |line: &&str| {
            runs.iter().any(|told| line.contains(&format!("sl-{}", told.row.id.short())))
        };
        mounts.lines().filter(of).map(str::to_owned).collect::<Vec<_>>()
    };
    wait_for("nothing to be left on the engine", limit, || {
        let left = objects(instance);
        if left.is_empty() && mounted().is_empty() {
            return Some(());
        }
        std::thread::sleep(Duration::from_millis(500));
        None
    });
}

/// Whose objects those of a store are.
pub fn instance(database: &Path) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let store = runtime.expect("a runtime can be made").block_on(Store::open(database));
    store.expect("the store can be opened").instance().to_owned()
}
