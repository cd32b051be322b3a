use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use event::{FORMAT, Stream};
use pipeline::PlannedStage;
use proptest::prelude::*;

use super::*;
use crate::schedule::{Intake, Schedule};
use crate::testing::{self, checkout, stage, stage_of};

/// A run whose attempts end as the test says, without anything that executes them.
struct Play {
    schedule: Schedule,
    state: RunState,
    events: Vec<Event>,
    effects: Vec<Effect>,
}

impl Play {
    fn new(stages: Vec<PlannedStage>, concurrency: usize, side_effects: SideEffects) -> Self {
        let plan = Arc::new(testing::plan(stages));
        let queued = testing::queued((*plan).clone());
        let state = RunState::fold([&queued]).unwrap();
        let schedule =
            Schedule::new(plan, testing::run_id(), concurrency, side_effects, Intake::Open)
                .unwrap();
        Self { schedule, state, events: vec![queued], effects: Vec::new() }
    }

    /// A run of `stages`, four at a time, that has started.
    fn started(stages: Vec<PlannedStage>) -> Self {
        let mut play = Self::new(stages, 4, SideEffects::Allowed);
        play.start();
        play
    }

    fn start(&mut self) {
        self.take(EventKind::RunStarted { by: "jo".to_owned() });
    }

    fn finish(&mut self, stage: &str, result: StageResult) {
        self.take(EventKind::AttemptFinished {
            stage: stage.to_owned(),
            attempt: 1,
            result,
            exit: None,
            reason: (result != StageResult::Passed).then(|| "it says so".to_owned()),
            code: None,
            outputs: Outputs::from([("of".to_owned(), stage.into())]),
            duration_ms: 1000,
        });
    }

    fn cancel(&mut self) {
        let (reason, by) = ("enough".to_owned(), "jo".to_owned());
        self.take(EventKind::CancelRequested { reason, by });
    }

    fn take(&mut self, fact: EventKind) {
        let fact = self.fold(fact);
        let (events, effects) = decide(&self.schedule, &self.state, &fact);
        for event in events {
            self.fold(event);
        }
        self.effects.extend(effects);
    }

    fn fold(&mut self, kind: EventKind) -> Event {
        let seq = self.state.seq + 1;
        let at = DateTime::<Utc>::UNIX_EPOCH + Duration::seconds(i64::try_from(seq).unwrap());
        let event = Event { format: FORMAT, seq, at, stream: Stream::Run(testing::run_id()), kind };
        self.state.apply(&event).unwrap();
        self.events.push(event.clone());
        event
    }

    /// Names of the stages that run now, in the order they were started.
    fn running(&self) -> Vec<&str> {
        let started = self.effects.iter().filter_map(|effect| match effect {
            Effect::Start { index, .. } => Some(self.schedule.stage(*index).name.as_str()),
            Effect::Stop { .. } => None,
        });
        started.filter(|name| self.state.stage(name).unwrap().phase == Phase::Running).collect()
    }

    /// How it went, without what only says that something began.
    fn told(&self) -> String {
        let lines = self.events.iter().filter_map(|event| match &event.kind {
            EventKind::StageSkipped { stage, reason } => Some(format!("{stage} skipped: {reason}")),
            EventKind::StageBlocked { stage, reason } => Some(format!("{stage} blocked: {reason}")),
            EventKind::StageFinished { stage, result, .. } => Some(format!("{stage} {result}")),
            EventKind::RunFinished { result, .. } => Some(format!("run {result}")),
            _ => None,
        });
        lines.collect::<Vec<_>>().join(" · ")
    }
}

fn must(mut stage: PlannedStage) -> PlannedStage {
    for need in &mut stage.needs {
        need.must = Some("run".to_owned());
    }
    stage
}

fn skipped(mut stage: PlannedStage) -> PlannedStage {
    stage.state = Planned::Skip;
    stage.reason = "branch is not `main`".to_owned();
    stage
}

fn build(name: &str, needs: &[&str]) -> PlannedStage {
    stage_of(
        name,
        needs,
        serde_json::json!({"action": "build", "context": ".", "file": "Dockerfile"}),
    )
}

fn push(name: &str, needs: &[&str], image: &str) -> PlannedStage {
    let work = serde_json::json!({
        "action": "push", "image": {"stage": image}, "registry": "harbor", "tags": ["h.example/app:1"],
    });
    must(stage_of(name, needs, work))
}

fn deploy(name: &str, needs: &[&str], image: &str) -> PlannedStage {
    let work = serde_json::json!({
        "action": "deploy", "environment": "demo", "image": {"stage": image}, "replicas": 1,
    });
    must(stage_of(name, needs, work))
}

#[test]
fn a_stage_starts_as_soon_as_its_last_need_is_done() {
    let mut play = Play::started(vec![
        checkout(),
        stage("a", &["checkout"]),
        stage("b", &["checkout"]),
        stage("c", &["a"]),
    ]);
    assert_eq!(play.running(), ["checkout"]);
    play.finish("checkout", StageResult::Passed);
    assert_eq!(play.running(), ["a", "b"]);
    play.finish("a", StageResult::Passed);
    assert_eq!(play.running(), ["b", "c"], "c does not wait for its sibling's layer of the graph");
    play.finish("c", StageResult::Passed);
    play.finish("b", StageResult::Passed);
    assert_eq!(play.told(), "checkout passed · a passed · c passed · b passed · run passed");
}

#[test]
fn an_attempt_is_announced_with_the_name_of_its_container() {
    let play = Play::started(vec![stage("unit_test", &[])]);
    let name = format!("shipline-{}-unit-test-1", testing::run_id().short());
    let starting = EventKind::AttemptStarting {
        stage: "unit_test".to_owned(),
        attempt: 1,
        name: name.clone(),
    };
    assert_eq!(play.events.last().unwrap().kind, starting);
    assert_eq!(play.effects, [Effect::Start { index: 0, attempt: 1, name }]);
}

#[test]
fn a_stage_is_blocked_by_the_first_cause_however_far_above() {
    let mut play = Play::started(vec![
        stage("compile", &[]),
        stage("test", &["compile"]),
        stage("image", &["test"]),
    ]);
    play.finish("compile", StageResult::Failed);
    assert_eq!(
        play.told(),
        "compile failed · test blocked: `compile` failed · image blocked: `compile` failed · run failed"
    );
}

#[test]
fn a_failure_stops_nothing_that_does_not_need_it() {
    let mut play = Play::started(vec![stage("a", &[]), stage("b", &[]), stage("c", &["b"])]);
    play.finish("a", StageResult::TimedOut);
    play.finish("b", StageResult::Passed);
    assert_eq!(play.running(), ["c"]);
    play.finish("c", StageResult::Passed);
    assert_eq!(play.told(), "a timed-out · b passed · c passed · run failed");
}

#[test]
fn a_skipped_need_satisfies_unless_it_must_run() {
    let mut play = Play::started(vec![
        skipped(stage("docs", &[])),
        stage("free", &["docs"]),
        must(stage("bound", &["docs"])),
    ]);
    assert_eq!(play.running(), ["free"]);
    play.finish("free", StageResult::Passed);
    assert_eq!(
        play.told(),
        "docs skipped: branch is not `main` · bound skipped: `docs` was skipped · free passed · run passed"
    );
}

#[test]
fn a_failed_need_blocks_even_beside_a_need_that_must_run_and_was_skipped() {
    let mut play = Play::started(vec![
        skipped(stage("a", &[])),
        stage("b", &[]),
        must(stage("c", &["a", "b"])),
    ]);
    play.finish("b", StageResult::Failed);
    assert_eq!(
        play.told(),
        "a skipped: branch is not `main` · b failed · c blocked: `b` failed · run failed"
    );
}

#[test]
fn a_run_of_which_everything_is_skipped_is_skipped_although_it_checked_out() {
    let mut play = Play::started(vec![checkout(), skipped(stage("a", &["checkout"]))]);
    play.finish("checkout", StageResult::Passed);
    assert_eq!(play.told(), "checkout passed · a skipped: branch is not `main` · run skipped");
}

/// Edges are reduced, so `last` has one on `between` alone.
#[test]
fn a_stage_behind_a_skipped_one_waits_for_what_is_above_it() {
    let stages = || {
        vec![
            stage("first", &[]),
            skipped(stage("between", &["first"])),
            stage("last", &["between"]),
        ]
    };
    let mut play = Play::started(stages());
    assert_eq!(play.running(), ["first"]);
    play.finish("first", StageResult::Passed);
    assert_eq!(play.running(), ["last"]);

    let mut play = Play::started(stages());
    play.finish("first", StageResult::Failed);
    assert_eq!(
        play.told(),
        "first failed · between blocked: `first` failed · last blocked: `first` failed · run failed"
    );
}

#[test]
fn a_run_with_nothing_but_its_checkout_passes() {
    let mut play = Play::started(vec![checkout()]);
    play.finish("checkout", StageResult::Passed);
    assert_eq!(play.told(), "checkout passed · run passed");
}

#[test]
fn the_result_of_a_run_is_its_worst_in_the_order_of_the_language() {
    let result = |results: &[StageResult]| {
        let names: Vec<String> = (0..results.len()).map(|index| format!("s{index}")).collect();
        let mut play = Play::started(names.iter().map(|name| stage(name, &[])).collect());
        for (name, result) in names.iter().zip(results) {
            play.finish(name, *result);
        }
        play.state.result.unwrap()
    };
    use StageResult::{Failed, InfraError, Passed, ResourceLimit, TimedOut, Warning};
    assert_eq!(result(&[Passed, Passed]), RunResult::Passed);
    assert_eq!(result(&[Passed, Warning]), RunResult::Warning);
    assert_eq!(result(&[Warning, InfraError]), RunResult::InfraError);
    assert_eq!(result(&[InfraError, Failed]), RunResult::Failed);
    assert_eq!(result(&[InfraError, TimedOut]), RunResult::Failed);
    assert_eq!(result(&[InfraError, ResourceLimit]), RunResult::Failed);
}

#[test]
fn no_more_stages_run_at_once_than_allowed_and_the_longest_path_goes_first() {
    let stages = vec![
        stage("leaf", &[]),
        stage("short", &[]),
        stage("long", &[]),
        stage("after-short", &["short"]),
        stage("after-long", &["long"]),
        stage("at-last", &["after-long"]),
    ];
    let mut play = Play::new(stages, 2, SideEffects::Allowed);
    play.start();
    assert_eq!(play.running(), ["long", "short"]);
    play.finish("short", StageResult::Passed);
    assert_eq!(play.running(), ["long", "leaf"]);
    play.finish("long", StageResult::Passed);
    assert_eq!(play.running(), ["leaf", "after-long"]);
}

#[test]
fn cancelling_stops_what_runs_and_ends_what_waits() {
    let mut play =
        Play::started(vec![stage("a", &[]), stage("b", &["a"]), skipped(stage("c", &["b"]))]);
    play.cancel();
    assert_eq!(play.effects.last(), Some(&Effect::Stop { index: 0 }));
    assert_eq!(play.told(), "b cancelled · c skipped: branch is not `main`");
    play.finish("a", StageResult::Cancelled);
    assert_eq!(
        play.told(),
        "b cancelled · c skipped: branch is not `main` · a cancelled · run cancelled"
    );
}

#[test]
fn a_run_cancelled_before_its_start_starts_nothing() {
    let mut play = Play::new(vec![stage("a", &[]), stage("b", &["a"])], 4, SideEffects::Allowed);
    play.cancel();
    assert_eq!(play.told(), "");
    play.start();
    assert_eq!(play.told(), "a cancelled · b cancelled · run cancelled");
    assert!(play.effects.is_empty());
}

#[test]
fn withheld_side_effects_say_what_they_would_do_one_behind_the_other() {
    let stages = vec![
        build("image", &[]),
        push("publish", &["image"], "image"),
        deploy("deploy", &["publish"], "publish"),
        stage("report", &["deploy"]),
    ];
    let mut play = Play::new(stages, 4, SideEffects::Withheld);
    play.start();
    play.finish("image", StageResult::Passed);
    play.finish("report", StageResult::Passed);
    assert_eq!(
        play.told(),
        "image passed · \
         publish skipped: side effects are withheld; `--allow-side-effects` runs it: \
         would push `h.example/app:1` to `harbor` · \
         deploy skipped: side effects are withheld; `--allow-side-effects` runs it: \
         would deploy the image of `publish` to `demo` · \
         report passed · run passed"
    );
}

#[test]
fn a_withheld_stage_is_blocked_like_any_other() {
    let stages = vec![build("image", &[]), push("publish", &["image"], "image")];
    let mut play = Play::new(stages, 4, SideEffects::Withheld);
    play.start();
    play.finish("image", StageResult::Failed);
    assert_eq!(play.told(), "image failed · publish blocked: `image` failed · run failed");
}

#[test]
fn a_stage_has_the_outputs_and_the_reason_of_its_attempt() {
    let mut play = Play::started(vec![stage("a", &[]), stage("b", &[])]);
    play.finish("a", StageResult::Failed);
    let stage = play.state.stage("a").unwrap();
    assert_eq!(stage.outputs, Outputs::from([("of".to_owned(), "a".into())]));
    assert_eq!((stage.reason.as_deref(), stage.duration_ms), (Some("it says so"), 1000));
}

#[test]
fn the_duration_of_a_run_is_the_time_between_its_start_and_the_last_fact() {
    let mut play = Play::started(vec![stage("a", &[])]);
    play.finish("a", StageResult::Passed);
    // The start is event 2, the end of the attempt event 4, a second each.
    let finished = EventKind::RunFinished { result: RunResult::Passed, duration_ms: 2000 };
    assert_eq!(play.events.last().unwrap().kind, finished);
}

fn result() -> impl Strategy<Value = StageResult> {
    prop_oneof![
        4 => Just(StageResult::Passed),
        1 => Just(StageResult::Failed),
        1 => Just(StageResult::TimedOut),
        1 => Just(StageResult::InfraError),
        1 => Just(StageResult::Warning),
    ]
}

#[derive(Clone, Debug)]
struct Random {
    needs: Vec<usize>,
    must: bool,
    skip: bool,
    result: StageResult,
}

/// Graphs of up to 24 stages, each with up to four needs above it.
fn graph() -> impl Strategy<Value = Vec<Random>> {
    let stage = (proptest::collection::vec(any::<usize>(), 0..4), any::<bool>(), 0..8, result());
    proptest::collection::vec(stage, 1..24).prop_map(|stages| {
        let stages = stages.into_iter().enumerate();
        stages
            .map(|(index, (needs, must, skip, result))| Random {
                needs: if index == 0 {
                    Vec::new()
                } else {
                    needs.iter().map(|need| need % index).collect()
                },
                must,
                skip: skip == 0,
                result,
            })
            .collect()
    })
}

fn planned(graph: &[Random]) -> Vec<PlannedStage> {
    let stages = graph.iter().enumerate().map(|(index, random)| {
        let needs: Vec<String> = random.needs.iter().map(|need| format!("s{need}")).collect();
        let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
        let mut planned = stage(&format!("s{index}"), &needs);
        if random.must {
            planned = must(planned);
        }
        if random.skip { skipped(planned) } else { planned }
    });
    stages.collect()
}

proptest! {
    #[test]
    fn whatever_happens_a_run_ends_once_and_nothing_starts_before_its_needs(
        graph in graph(),
        concurrency in 1_usize..5,
        order in proptest::collection::vec(any::<usize>(), 64),
        cancel_at in proptest::option::of(0_usize..20),
    ) {
        let mut play = Play::new(planned(&graph), concurrency, SideEffects::Allowed);
        play.start();
        for (step, pick) in order.iter().enumerate() {
            if play.state.result.is_some() {
                break;
            }
            if cancel_at == Some(step) {
                play.cancel();
                continue;
            }
            let running: Vec<String> = play.running().into_iter().map(str::to_owned).collect();
            prop_assert!(!running.is_empty(), "nothing runs and nothing ends: {}", play.told());
            prop_assert!(running.len() <= concurrency);
            let stage = &running[pick % running.len()];
            let index: usize = stage[1..].parse().unwrap();
            let result = if play.state.cancel.is_some() { StageResult::Cancelled } else { graph[index].result };
            play.finish(stage, result);
        }
        check_history(&graph, &play.events);
        prop_assert!(play.state.result.is_some());
    }
}

/// Gapless, one end per stage, the end of the run last, needs before starts.
fn check_history(graph: &[Random], events: &[Event]) {
    let mut ended: BTreeMap<String, (bool, usize)> = BTreeMap::new();
    for (position, event) in events.iter().enumerate() {
        assert_eq!(event.seq, position as u64 + 1);
        assert_eq!(event.kind.is_terminal(), position + 1 == events.len());
        match &event.kind {
            EventKind::AttemptStarting { stage, .. } => {
                let index: usize = stage[1..].parse().unwrap();
                for need in &graph[index].needs {
                    let (good, _) = ended[&format!("s{need}")];
                    assert!(good, "{stage} started although s{need} did not end well");
                }
            }
            EventKind::StageFinished { stage, result, .. } => {
                ended.entry(stage.clone()).or_insert((result.is_good(), 0)).1 += 1;
            }
            EventKind::StageSkipped { stage, .. } => {
                ended.entry(stage.clone()).or_insert((true, 0)).1 += 1;
            }
            EventKind::StageBlocked { stage, .. } => {
                ended.entry(stage.clone()).or_insert((false, 0)).1 += 1;
            }
            _ => {}
        }
    }
    assert_eq!(ended.len(), graph.len());
    assert!(ended.values().all(|(_, times)| *times == 1));
}
