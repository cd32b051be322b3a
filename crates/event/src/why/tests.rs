//! Whole traces, of plans made from text.

use chrono::{DateTime, Utc};
use pipeline::{Bundled, Context, Git, SourceFile, TriggerEvent};
use uuid::Uuid;

use super::*;
use crate::{Event, EventKind, FORMAT, Outputs, Stream};

const RUN: RunId = RunId::new(Uuid::from_u128(0x019c_a800_0000_7000_8000_0000_1234_abcd));

const PIPELINE: &str = "\
name: orders
image: debian:12
stages:
  compile: { run: make, outputs: { version: string } }
  lint: { needs: [], run: make lint }
  image:
    needs: [compile]
    when: [{ branch: main, event: push }, { event: tag }]
    build: { file: Dockerfile }
  publish:
    needs: [image]
    push: { image: image, registry: harbor, tags: [\"h.example/orders:1\"] }
  notes:
    needs: [compile]
    when: { if: \"stages.compile.outputs.version != '0'\", branch: \"*\" }
    run: make notes
  report: { needs: [compile, lint], run-on: failure, run: ./report.sh }
  teardown: { needs: [publish, lint], run-on: always, run: ./down.sh }
";

fn plan(branch: &str) -> Plan {
    let source = SourceFile::new(".shipline.yml", PIPELINE);
    let (document, _) = pipeline::parse(&source);
    let (pipeline, diagnostics) = pipeline::check(&document, &Bundled);
    let pipeline = pipeline.unwrap_or_else(|| panic!("{diagnostics}"));
    let git = Git {
        sha: "0123456789abcdef0123456789abcdef01234567".to_owned(),
        branch: Some(branch.to_owned()),
        ..Git::default()
    };
    let context = Context { event: TriggerEvent::Push, git, trusted: true, ..Context::default() };
    pipeline::plan(&pipeline, &context).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

/// What is told of `stage` before a run on `branch`.
fn planned(branch: &str, stage: &str) -> String {
    why(&plan(branch), None, stage).expect("the stage").to_string()
}

/// A run on `main` after these facts.
fn recorded(facts: Vec<EventKind>) -> RunState {
    let queued =
        EventKind::RunQueued { number: 7, by: "jo".to_owned(), plan: Box::new(plan("main")) };
    let started = EventKind::RunStarted { by: "jo".to_owned() };
    let events: Vec<Event> = (1..)
        .zip([queued, started].into_iter().chain(facts))
        .map(|(seq, kind)| Event {
            format: FORMAT,
            seq,
            at: DateTime::<Utc>::UNIX_EPOCH,
            stream: Stream::Run(RUN),
            kind,
        })
        .collect();
    RunState::fold(&events).expect("legal events")
}

fn told(state: &RunState, stage: &str) -> String {
    let plan = state.plan.clone().expect("a plan");
    why(&plan, Some(state), stage).expect("the stage").to_string()
}

fn finished(stage: &str, result: StageResult, reason: Option<&str>) -> EventKind {
    let outputs = match stage {
        "compile" if result.is_good() => {
            Outputs::from([("version".to_owned(), serde_json::Value::from("0"))])
        }
        _ => Outputs::new(),
    };
    let reason = reason.map(str::to_owned);
    EventKind::StageFinished {
        stage: stage.to_owned(),
        result,
        reason,
        outputs,
        reused: None,
        duration_ms: 5,
    }
}

fn attempt(stage: &str, exit: i64) -> [EventKind; 3] {
    let (stage, name) = (stage.to_owned(), format!("shipline-1234abcd-{stage}-1"));
    let reason = format!("exit {exit}");
    let end = finished(&stage, StageResult::Failed, Some(&reason));
    [
        EventKind::AttemptStarting { stage: stage.clone(), attempt: 1, name, not_before: None },
        EventKind::AttemptFinished {
            stage,
            attempt: 1,
            result: StageResult::Failed,
            exit: Some(exit),
            reason: Some(reason),
            code: None,
            outputs: Outputs::new(),
            peak: crate::Peak::default(),
            repeat: false,
            reused: None,
            duration_ms: 5,
        },
        end,
    ]
}

#[test]
fn a_condition_is_told_with_what_it_saw_and_its_line() {
    assert_eq!(
        planned("feature", "image"),
        "\
image would be skipped: branch `feature` matches no pattern of `main`; the event is `push`, not `tag`

needs, none of which may fail
  compile  would run  (needs)

when, the tests of one number must hold
  1  no    branch `feature` matches no pattern of `main`  .shipline.yml:8:22
           branch wants main, saw feature
  1  yes   the event is `push`  .shipline.yml:8:35
           event wants push, saw push
  2  no    the event is `push`, not `tag`  .shipline.yml:8:52
           event wants tag, saw push
"
    );
}

#[test]
fn a_stage_that_is_skipped_with_another_leads_to_the_first_cause() {
    assert_eq!(
        planned("feature", "publish"),
        "\
publish would be skipped: `image` was skipped

needs, none of which may fail
  image  would be skipped: branch `feature` matches no pattern of `main`; the event is `push`, not `tag`  (needs, must run)

first cause
  publish would be skipped: `image` was skipped
  <- image would be skipped: branch `feature` matches no pattern of `main`; the event is `push`, not `tag`  .shipline.yml:8:22
"
    );
}

#[test]
fn a_blocked_stage_leads_to_what_failed_however_far_above() {
    let blocked = |stage: &str| EventKind::StageBlocked {
        stage: stage.to_owned(),
        reason: "`compile` failed".to_owned(),
    };
    let mut facts = vec![
        finished("checkout", StageResult::Passed, None),
        finished("lint", StageResult::Passed, None),
    ];
    facts.extend(attempt("compile", 2));
    facts.extend([blocked("image"), blocked("publish")]);
    let state = recorded(facts);
    assert_eq!(
        told(&state, "publish"),
        "\
publish blocked: `compile` failed  (run 1234abcd of orders)

needs, none of which may fail
  image  blocked: `compile` failed  (needs, must run)

first cause
  publish blocked: `compile` failed
  <- image blocked: `compile` failed
     <- compile failed: exit 2  .shipline.yml:4:19
"
    );
    assert_eq!(
        told(&state, "compile"),
        "\
compile failed: exit 2  (run 1234abcd of orders)
  attempt 1: failed, exit 2

needs, none of which may fail
  checkout  passed  (order of the file)
"
    );
    assert_eq!(
        told(&state, "report"),
        "\
report waits  (run 1234abcd of orders)

needs, one of which must fail (`run-on: failure`)
  compile  failed: exit 2  (needs)
  lint     passed  (needs)
"
    );
}

#[test]
fn a_trace_is_json_for_machines() {
    let why = why(&plan("feature"), None, "publish").expect("the stage");
    let json = serde_json::to_value(&why).expect("json");
    let skipped = "branch `feature` matches no pattern of `main`; the event is `push`, not `tag`";
    assert_eq!(
        json,
        serde_json::json!({
            "format": 1, "pipeline": "orders", "run": null, "stage": "publish",
            "state": "would-be-skipped", "reason": "`image` was skipped", "run_on": "success",
            "needs": [{
                "stage": "image", "by": "needs", "must_run": true,
                "state": "would-be-skipped", "reason": skipped,
            }],
            "condition": null, "undecided": null, "attempts": [],
            "chain": [
                {"stage": "publish", "state": "would-be-skipped", "reason": "`image` was skipped", "origin": null},
                {"stage": "image", "state": "would-be-skipped", "reason": skipped,
                 "origin": {"file": ".shipline.yml", "line": 8, "column": 22, "by": "file"}},
            ],
        })
    );
    let done = serde_json::to_value(State::Done(StageResult::TimedOut)).expect("json");
    assert_eq!(done, "timed-out");
}
