//! The promises of the codec and of the fold.

use chrono::{DateTime, Utc};
use pipeline::{Duration, Edge, EdgeReason, Plan, PlannedStage, RunWork, TriggerEvent, Work};
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use crate::{
    Event, EventKind, FORMAT, Frame, FrameBody, IllegalEvent, OutputStream, Phase, RunId,
    RunResult, RunState, StageResult, Stream,
};

const RUN: RunId = RunId::new(Uuid::from_u128(0x019c_a800_0000_7000_8000_0000_1234_abcd));

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_772_352_000 + seconds, 0).expect("a time in range")
}

fn event(seq: u64, kind: EventKind) -> Event {
    let seconds = i64::try_from(seq).expect("a small number");
    Event { format: FORMAT, seq, at: at(seconds), stream: Stream::Run(RUN), kind }
}

fn plan(stages: &[&str]) -> Plan {
    let stages = stages
        .iter()
        .enumerate()
        .map(|(index, name)| PlannedStage {
            needs: stages[..index]
                .last()
                .map(|need| Edge { stage: (*need).to_owned(), by: EdgeReason::Order, must: None })
                .into_iter()
                .collect(),
            timeout: Duration::from_secs(60),
            ..PlannedStage::new(
                name,
                Work::Run(Box::new(RunWork {
                    image: "debian:12".to_owned(),
                    run: vec!["true".to_owned()],
                    ..RunWork::default()
                })),
            )
        })
        .collect();
    Plan {
        pipeline: "orders".to_owned(),
        file: ".shipline.yml".to_owned(),
        event: TriggerEvent::Push,
        sha: "0123456789abcdef0123456789abcdef01234567".to_owned(),
        branch: Some("main".to_owned()),
        stages,
        ..Plan::default()
    }
}

fn queued(stages: &[&str]) -> EventKind {
    EventKind::RunQueued { number: 7, by: "ada".to_owned(), plan: Box::new(plan(stages)) }
}

fn starting(stage: &str) -> EventKind {
    EventKind::AttemptStarting {
        stage: stage.to_owned(),
        attempt: 1,
        name: format!("shipline-1234abcd-{stage}-1"),
        not_before: None,
    }
}

fn finished(stage: &str, result: StageResult) -> EventKind {
    EventKind::StageFinished {
        stage: stage.to_owned(),
        result,
        reason: None,
        outputs: Default::default(),
        reused: None,
        duration_ms: 5,
    }
}

#[test]
fn an_event_is_one_flat_object() {
    let kind = EventKind::AttemptFinished {
        stage: "compile".to_owned(),
        attempt: 1,
        result: StageResult::TimedOut,
        exit: Some(143),
        reason: None,
        code: Some("E093".to_owned()),
        outputs: Default::default(),
        peak: crate::Peak::default(),
        repeat: false,
        reused: None,
        duration_ms: 5120,
    };
    assert_eq!(
        serde_json::to_value(event(7, kind)).expect("an event is JSON"),
        json!({
            "format": 1, "seq": 7, "at": "2026-03-01T08:00:07Z",
            "run": "019ca800-0000-7000-8000-00001234abcd", "kind": "attempt.finished",
            "stage": "compile", "attempt": 1, "result": "timed-out", "exit": 143, "code": "E093",
            "duration_ms": 5120
        })
    );
    assert_eq!(RUN.short(), "1234abcd");
}

#[test]
fn every_event_survives_being_written_and_read() {
    for kind in [queued(&["a", "b"]), starting("a"), finished("a", StageResult::Passed)] {
        let event = event(3, kind);
        let text = serde_json::to_string(&event).expect("an event is JSON");
        assert_eq!(serde_json::from_str::<Event>(&text).expect("what was written is read"), event);
    }
}

#[test]
fn a_field_of_a_later_version_is_ignored() {
    let text = json!({
        "format": 1, "seq": 2, "at": "2026-03-01T08:00:07Z", "run": RUN, "kind": "run.started",
        "by": "ada", "colour": "green"
    });
    let event: Event = serde_json::from_value(text).expect("unknown fields do no harm");
    assert_eq!(event.kind, EventKind::RunStarted { by: "ada".to_owned() });
}

#[test]
fn a_frame_has_neither_seq_nor_kind() {
    let frame = Frame {
        stage: "a".to_owned(),
        attempt: 1,
        stream: OutputStream::Stdout,
        offset: 5,
        body: FrameBody::Text("hi\n".to_owned()),
    };
    assert_eq!(
        serde_json::to_value(frame).expect("a frame is JSON"),
        json!({"stage": "a", "attempt": 1, "stream": "stdout", "offset": 5, "text": "hi\n"})
    );
}

#[test]
fn a_state_is_what_its_events_say() {
    let events = [
        event(1, queued(&["a", "b"])),
        event(2, EventKind::RunStarted { by: "ada".to_owned() }),
        event(3, starting("a")),
        event(4, finished("a", StageResult::Failed)),
        event(
            5,
            EventKind::StageBlocked { stage: "b".to_owned(), reason: "`a` failed".to_owned() },
        ),
        event(6, EventKind::RunFinished { result: RunResult::Failed, duration_ms: 9 }),
    ];
    let state = RunState::fold(&events).expect("the events follow each other");
    assert_eq!((state.number, state.seq, state.result), (7, 6, Some(RunResult::Failed)));
    assert_eq!(state.stage("a").map(|stage| stage.phase), Some(Phase::Done(StageResult::Failed)));
    assert_eq!(state.result_of("b"), Some(StageResult::Blocked));
    assert_eq!(state.stage("b").and_then(|stage| stage.reason.as_deref()), Some("`a` failed"));
}

#[test]
fn what_cannot_follow_is_refused() {
    let end = EventKind::RunFinished { result: RunResult::Passed, duration_ms: 0 };
    let fold = |kinds: Vec<(u64, EventKind)>| {
        let events: Vec<Event> = kinds.into_iter().map(|(seq, kind)| event(seq, kind)).collect();
        RunState::fold(&events).expect_err("the last event is illegal")
    };
    assert!(matches!(fold(vec![(2, queued(&["a"]))]), IllegalEvent::Gap { last: 0, found: 2 }));
    assert!(matches!(fold(vec![(1, starting("a"))]), IllegalEvent::NoPlan(1)));
    assert!(matches!(
        fold(vec![(1, queued(&["a"])), (2, end.clone()), (3, end)]),
        IllegalEvent::AfterEnd(3)
    ));
    assert!(matches!(
        fold(vec![(1, queued(&["a"])), (2, starting("b"))]),
        IllegalEvent::UnknownStage { seq: 2, .. }
    ));
    let twice = vec![
        (1, queued(&["a"])),
        (2, finished("a", StageResult::Passed)),
        (3, finished("a", StageResult::Failed)),
    ];
    assert!(matches!(fold(twice), IllegalEvent::StageDone { seq: 3, .. }));
}

/// Any kind about one of three stages, legal or not.
fn any_kind() -> impl Strategy<Value = EventKind> {
    let stage = prop::sample::select(vec!["a", "b", "nobody"]);
    (stage, 0..7_u8).prop_map(|(stage, kind)| match kind {
        0 => queued(&["a", "b"]),
        1 => EventKind::RunStarted { by: "ada".to_owned() },
        2 => starting(stage),
        3 => finished(stage, StageResult::Passed),
        4 => EventKind::StageSkipped { stage: stage.to_owned(), reason: "no".to_owned() },
        5 => EventKind::CancelRequested { reason: "no".to_owned(), by: "ada".to_owned() },
        _ => EventKind::RunFinished { result: RunResult::Passed, duration_ms: 1 },
    })
}

proptest! {
    /// Whatever comes, a done stage stays as it was and nothing follows the end.
    #[test]
    fn a_run_and_a_stage_end_at_most_once(kinds in prop::collection::vec(any_kind(), 0..40)) {
        let mut state = RunState::default();
        for kind in kinds {
            let before = state.clone();
            let applied = state.apply(&event(state.seq + 1, kind)).is_ok();
            if before.result.is_some() {
                prop_assert!(!applied);
            }
            if !applied {
                prop_assert_eq!(state.seq, before.seq);
            }
            for (name, stage) in &before.stages {
                if let Phase::Done(result) = stage.phase
                    && state.plan.is_some()
                {
                    prop_assert_eq!(state.result_of(name), Some(result));
                }
            }
        }
    }
}
