//! What tests of the runner, and of those who use it, begin with: plans by hand,
//! a journal in memory, a configuration that reaches nothing.

pub mod auditor;
mod idle;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use deploy::testing::MemoryLedger;
use event::group::{GroupEntry, Member, Queue, queue};
use event::{Event, EventKind, FORMAT, RunId, RunState, Stream, TestCase};
use pipeline::{Git, Plan, PlannedStage};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    CancelNote, Journal, JournalError, Registries, RunConfig, Secrets, SideEffects, Workspace,
};

pub use idle::IdleBackend;

/// The events of any number of streams.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    events: Mutex<Vec<Event>>,
    /// Events from this `seq` on cannot be written.
    broken_from: Option<u64>,
    /// Stage, attempt and test.
    tests: Mutex<Vec<(String, u32, TestCase)>>,
    groups: Mutex<BTreeMap<String, Vec<Member>>>,
    /// By group: the run that wants the place of whoever holds it.
    superseded: Mutex<BTreeMap<String, RunId>>,
}

impl MemoryJournal {
    /// Returns a journal that holds `events` already.
    pub fn holding(events: Vec<Event>) -> Self {
        Self { events: Mutex::new(events), ..Self::default() }
    }

    /// Returns a journal that fails at the event `seq`.
    pub fn breaking_at(events: Vec<Event>, seq: u64) -> Self {
        Self { events: Mutex::new(events), broken_from: Some(seq), ..Self::default() }
    }

    pub fn events(&self) -> Vec<Event> {
        self.lock().clone()
    }

    /// Tests that were kept: stage, attempt, test.
    pub fn tests(&self) -> Vec<(String, u32, TestCase)> {
        self.tests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets another run hold `group`, or hold it no more.
    pub fn occupy(&self, group: &str, run: RunId, holds: bool) {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let members = groups.entry(group.to_owned()).or_default();
        members.retain(|member| member.run != run);
        if holds {
            members.push(Member { run, stage: None, position: 0, holds });
        }
    }

    /// Lets `run` come to `group` and want the place of who holds it.
    pub fn supersede(&self, group: &str, run: RunId) {
        let mut superseded = self.superseded.lock().unwrap_or_else(PoisonError::into_inner);
        superseded.insert(group.to_owned(), run);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn append(&self, events: &[Event]) -> Result<(), JournalError> {
        // As a database would: others run meanwhile.
        tokio::task::yield_now().await;
        let mut all = self.lock();
        let Some(first) = events.first() else { return Ok(()) };
        let last = all
            .iter()
            .rev()
            .find(|event| event.stream == first.stream)
            .map_or(0, |event| event.seq);
        if first.seq != last + 1 {
            return Err(JournalError::Conflict { seq: first.seq });
        }
        if let Some(broken) = self.broken_from
            && events.iter().any(|event| event.seq >= broken)
        {
            return Err(JournalError::Store("the disk is full".into()));
        }
        all.extend_from_slice(events);
        Ok(())
    }

    async fn enter_group(&self, entry: &GroupEntry) -> Result<Option<Queue>, JournalError> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let members = groups.entry(entry.concurrency.group.clone()).or_default();
        let me = entry.member();
        let is_me = |member: &Member| (member.run, &member.stage) == (me.run, &me.stage);
        if !members.iter().any(is_me) {
            members.push(me.clone());
        }
        let waits = queue(&entry.concurrency.group, members, &me, entry.concurrency.limit);
        members.iter_mut().filter(|member| is_me(member)).for_each(|member| {
            member.holds = waits.is_none();
        });
        Ok(waits)
    }

    async fn leave_group(&self, entry: &GroupEntry) -> Result<(), JournalError> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(members) = groups.get_mut(&entry.concurrency.group) {
            members.retain(|member| (member.run, &member.stage) != (entry.run, &entry.stage));
        }
        Ok(())
    }

    async fn superseded(&self, entry: &GroupEntry) -> Result<Option<RunId>, JournalError> {
        let superseded = self.superseded.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(superseded.get(&entry.concurrency.group).copied())
    }

    async fn keep_tests(
        &self,
        _: RunId,
        stage: &str,
        attempt: u32,
        cases: &[TestCase],
    ) -> Result<(), JournalError> {
        if self.broken_from.is_some() {
            return Err(JournalError::Store("the disk is full".into()));
        }
        let mut tests = self.tests.lock().unwrap_or_else(PoisonError::into_inner);
        tests.extend(cases.iter().map(|case| (stage.to_owned(), attempt, case.clone())));
        Ok(())
    }
}

/// Always the same.
pub fn run_id() -> RunId {
    RunId::new(Uuid::from_u128(0x019c_a8f0_0000_7000_8000_0000_1a2b_3c4d))
}

/// Returns a stage that runs `true` after `needs`.
pub fn stage(name: &str, needs: &[&str]) -> PlannedStage {
    stage_running(name, needs, &["true"])
}

/// Returns a stage that runs `commands` after `needs`.
pub fn stage_running(name: &str, needs: &[&str], commands: &[&str]) -> PlannedStage {
    stage_of(
        name,
        needs,
        serde_json::json!({"action": "run", "image": "busybox:1", "run": commands}),
    )
}

pub fn checkout() -> PlannedStage {
    stage_of("checkout", &[], serde_json::json!({"action": "checkout", "depth": 1}))
}

/// Returns a stage with `work` as the plan writes it: `action` and its keys.
pub fn stage_of(name: &str, needs: &[&str], work: serde_json::Value) -> PlannedStage {
    let needs: Vec<_> = needs
        .iter()
        .map(|need| serde_json::json!({"stage": need, "by": "needs", "must": null}))
        .collect();
    let mut stage = serde_json::json!({
        "name": name, "stage": name, "needs": needs, "state": "run", "reason": "no condition",
        "timeout": "1h",
    });
    if let (Some(stage), serde_json::Value::Object(work)) = (stage.as_object_mut(), work) {
        stage.extend(work);
    }
    serde_json::from_value(stage).expect("a stage as plans write them")
}

/// Returns the plan of a push to `main`.
pub fn plan(stages: Vec<PlannedStage>) -> Plan {
    let mut plan: Plan = serde_json::from_value(serde_json::json!({
        "format": 1, "pipeline": "test", "file": ".shipline.yml", "event": "push",
        "sha": "0123456789abcdef0123456789abcdef01234567", "branch": "main", "trusted": true,
        "stages": [],
    }))
    .expect("a plan as it is written");
    plan.stages = stages;
    plan
}

/// Returns the plan of a pipeline file, for a manual run.
pub fn plan_of(text: &str) -> Plan {
    let source = pipeline::SourceFile::new(".shipline.yml", text);
    let (document, _) = pipeline::parse(&source);
    let (pipeline, diagnostics) = pipeline::check(&document, &pipeline::Bundled);
    let pipeline = pipeline.unwrap_or_else(|| panic!("{diagnostics}"));
    let plan = pipeline::plan(&pipeline, &pipeline::Context::default());
    plan.unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

/// Returns the first event of a run of `plan`.
pub fn queued(plan: Plan) -> Event {
    Event {
        format: FORMAT,
        seq: 1,
        at: DateTime::<Utc>::UNIX_EPOCH,
        stream: Stream::Run(run_id()),
        kind: EventKind::RunQueued { number: 1, by: "jo".to_owned(), plan: Box::new(plan) },
    }
}

/// Returns a configuration that goes on after `events`, with output in `output`.
pub fn config(events: &[Event], output: &Path) -> RunConfig {
    RunConfig {
        run: run_id(),
        state: RunState::fold(events).expect("events of one run"),
        instance: "test".to_owned(),
        project: "test".to_owned(),
        run_url: String::new(),
        workspace: Workspace::Tree(output.to_owned()),
        git: Git::default(),
        output: output.to_owned(),
        carried: BTreeMap::new(),
        artifacts: output.join("artifacts"),
        releases: output.join("releases"),
        registries: Registries::default(),
        secrets: Secrets::default(),
        targets: BTreeMap::new(),
        ledger: Arc::new(MemoryLedger::default()),
        approver: None,
        breakpoint: None,
        results: None,
        reuse: true,
        concurrency: 4,
        side_effects: SideEffects::Allowed,
        keep_layers: false,
        durable: false,
        cache_limit: crate::CACHE_LIMIT,
        observer: None,
        kill: CancellationToken::new(),
        cancel_note: CancelNote::default(),
    }
}
