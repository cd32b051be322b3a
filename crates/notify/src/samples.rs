//! Runs for the tests: a plan as the planner prints it, and events that end it.

use chrono::{DateTime, TimeDelta, Utc};
use event::{Event, EventKind, Outputs, RunId, RunResult, RunState, StageResult, Stream};
use pipeline::Plan;
use serde_json::{Value, json};

use crate::MailContext;

pub(crate) const RUN: &str = "019ca8f0-1234-7000-8000-0123456789ab";

/// A run being told, event by event.
pub(crate) struct Story {
    events: Vec<Event>,
}

impl Story {
    /// `stages` and `notify` as in a printed plan.
    pub(crate) fn new(branch: &str, stages: &[Value], notify: &Value) -> Self {
        let plan: Plan = serde_json::from_value(json!({
            "format": 1, "pipeline": "build", "file": ".shipline.yml", "event": "push",
            "sha": "0123456789abcdef0123456789abcdef01234567", "branch": branch, "trusted": true,
            "stages": stages, "notify": notify, "diagnostics": [],
        }))
        .expect("a plan");
        let queued = EventKind::RunQueued { number: 214, by: "jdoe".into(), plan: Box::new(plan) };
        Self { events: Vec::new() }.with(queued)
    }

    pub(crate) fn with(mut self, kind: EventKind) -> Self {
        let seq = self.events.len() as u64 + 1;
        let stream = Stream::Run(RUN.parse::<RunId>().expect("an id"));
        self.events.push(Event { format: event::FORMAT, seq, at: at(seq), stream, kind });
        self
    }

    /// A stage that ran once.
    pub(crate) fn ran(
        self,
        stage: &str,
        result: StageResult,
        exit: Option<i64>,
        seconds: u64,
    ) -> Self {
        let reason = exit.map(|exit| format!("exit code {exit}"));
        let name = format!("shipline-456789ab-{stage}-1");
        self.with(EventKind::AttemptStarting {
            stage: stage.into(),
            attempt: 1,
            name,
            not_before: None,
        })
        .with(EventKind::AttemptFinished {
            stage: stage.into(),
            attempt: 1,
            result,
            exit,
            reason: reason.clone(),
            code: exit.map(|_| "E090".into()),
            outputs: Outputs::new(),
            peak: event::Peak::default(),
            repeat: false,
            reused: None,
            duration_ms: seconds * 1_000,
        })
        .with(EventKind::StageFinished {
            stage: stage.into(),
            result,
            reason,
            outputs: Outputs::new(),
            reused: None,
            duration_ms: seconds * 1_000,
        })
    }

    /// A deploy stage that ended in `state`.
    pub(crate) fn deployed(
        self,
        stage: &str,
        result: StageResult,
        state: &str,
        reason: &str,
    ) -> Self {
        let outputs = Outputs::from([("state".to_owned(), state.into())]);
        let reason = (!reason.is_empty()).then(|| reason.to_owned());
        let (stage, duration_ms) = (stage.to_owned(), 20_000);
        self.with(EventKind::StageFinished {
            stage,
            result,
            reason,
            outputs,
            reused: None,
            duration_ms,
        })
    }

    pub(crate) fn end(self, result: RunResult, seconds: u64) -> (RunState, Event) {
        let story = self.with(EventKind::RunFinished { result, duration_ms: seconds * 1_000 });
        let state = RunState::fold(&story.events).expect("a legal story");
        (state, story.events.into_iter().next_back().expect("the end"))
    }
}

pub(crate) fn run_stage(name: &str) -> Value {
    json!({
        "name": name, "stage": name, "needs": [], "state": "run", "reason": "no condition",
        "timeout": "1h", "action": "run", "image": "debian:12", "run": ["make"],
    })
}

pub(crate) fn deploy_stage(name: &str) -> Value {
    json!({
        "name": name, "stage": name, "needs": [], "state": "run", "reason": "no condition",
        "timeout": "1h", "action": "deploy", "environment": "test",
        "image": { "reference": "harbor.example.net/orders@sha256:aa" }, "replicas": 2,
    })
}

pub(crate) fn rule(to: &[&str], on: &[&str]) -> Value {
    json!({ "to": to, "on": on })
}

pub(crate) fn context() -> MailContext {
    MailContext {
        project: "orders".into(),
        instance: "019ca000-0000-7000-8000-00000000beef".into(),
        run_url: Some(format!("https://ci.example.net/runs/{RUN}")),
        ..MailContext::default()
    }
}

/// Seconds after a beginning.
fn at(seconds: u64) -> DateTime<Utc> {
    let beginning = DateTime::UNIX_EPOCH + TimeDelta::days(20_513) + TimeDelta::hours(8);
    beginning + TimeDelta::seconds(i64::try_from(seconds).expect("small"))
}
