use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use event::{FORMAT, Stream};
use pipeline::{AllowFailure, PlannedStage};
use proptest::prelude::*;

use super::*;
use crate::SideEffects;
use crate::schedule::{Intake, Schedule};
use crate::testing::{self, checkout, stage, stage_of};

/// A run whose attempts end as the test says, without anything that executes them.
struct Play {
    schedule: Schedule,
    state: RunState,
    events: Vec<Event>,
    effects: Vec<Effect>,
    /// Seconds in which nothing happened.
    passed: i64,
}

impl Play {
    fn new(stages: Vec<PlannedStage>, concurrency: usize, side_effects: SideEffects) -> Self {
        let plan = Arc::new(testing::plan(stages));
        let queued = testing::queued((*plan).clone());
        let state = RunState::fold([&queued]).unwrap();
        let schedule =
            Schedule::new(plan, testing::run_id(), concurrency, side_effects, Intake::Open)
                .unwrap();
        Self { schedule, state, events: vec![queued], effects: Vec::new(), passed: 0 }
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
        self.finish_with(stage, result, None);
    }

    fn finish_with(&mut self, stage: &str, result: StageResult, exit: Option<i64>) {
        // Also the attempts that repeat it come to that.
        for attempt in 1.. {
            self.take(EventKind::AttemptFinished {
                stage: stage.to_owned(),
                attempt,
                result,
                exit,
                reason: (result != StageResult::Passed).then(|| "it says so".to_owned()),
                code: None,
                outputs: Outputs::from([("of".to_owned(), stage.into())]),
                peak: event::Peak::default(),
                repeat: false,
                reused: None,
                duration_ms: 1000,
            });
            if self.state.stage(stage).unwrap().phase != Phase::Running {
                break;
            }
        }
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

    /// Lets time pass before the next fact.
    fn wait(&mut self, seconds: i64) {
        self.passed += seconds;
    }

    fn fold(&mut self, kind: EventKind) -> Event {
        let seq = self.state.seq + 1;
        let seconds = i64::try_from(seq).unwrap() + self.passed;
        let at = DateTime::<Utc>::UNIX_EPOCH + Duration::seconds(seconds);
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

    /// What has become of stages that wait for others, in half a sentence each.
    fn verdicts(&self, stages: &[&str]) -> String {
        let verdicts = stages.iter().map(|name| {
            let stage = self.state.stage(name).unwrap();
            let reason = stage.reason.as_deref().unwrap_or_default();
            match stage.phase {
                Phase::Waiting => "waits".to_owned(),
                Phase::Running => "runs".to_owned(),
                Phase::Done(result) => format!("{result}: {reason}"),
            }
        });
        verdicts.collect::<Vec<_>>().join(" · ")
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

fn cell(of: &str, name: &str) -> PlannedStage {
    PlannedStage { stage: of.to_owned(), ..stage(name, &[]) }
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
        not_before: None,
    };
    assert_eq!(play.events.last().unwrap().kind, starting);
    assert_eq!(play.effects, [Effect::Start { index: 0, attempt: 1, name, not_before: None }]);
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
    assert_eq!(play.effects.last(), Some(&Effect::Stop { index: 0, overdue: None }));
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

/// A stage with this `run-on`.
fn on(run_on: RunOn, mut stage: PlannedStage) -> PlannedStage {
    stage.run_on = run_on;
    stage
}

fn allowing(allowed: AllowFailure, mut stage: PlannedStage) -> PlannedStage {
    stage.allow_failure = Some(allowed);
    stage
}

#[test]
fn run_on_says_with_which_results_of_its_needs_a_stage_runs() {
    use StageResult::{Failed, InfraError, Passed, ResourceLimit, TimedOut, Unchanged, Warning};
    let verdicts = |result: StageResult| {
        let mut play = Play::started(vec![
            stage("a", &[]),
            stage("success", &["a"]),
            on(RunOn::Failure, stage("failure", &["a"])),
            on(RunOn::Always, stage("always", &["a"])),
        ]);
        play.finish("a", result);
        play.verdicts(&["success", "failure", "always"])
    };
    for good in [Passed, Unchanged, Warning] {
        assert_eq!(verdicts(good), "runs · skipped: nothing failed · runs", "{good}");
    }
    for bad in [Failed, TimedOut, ResourceLimit, InfraError] {
        assert_eq!(verdicts(bad), "blocked: `a` failed · runs · runs", "{bad}");
    }
}

#[test]
fn what_is_blocked_is_a_failure_above_for_those_below() {
    let mut play = Play::started(vec![
        stage("a", &[]),
        stage("b", &["a"]),
        stage("success", &["b"]),
        on(RunOn::Failure, stage("failure", &["b"])),
        on(RunOn::Always, stage("always", &["b"])),
        must(on(RunOn::Always, stage("bound", &["b"]))),
    ]);
    play.finish("a", StageResult::Failed);
    assert_eq!(
        play.verdicts(&["success", "failure", "always", "bound"]),
        "blocked: `a` failed · runs · runs · skipped: `b` did not run"
    );
}

#[test]
fn a_need_that_must_run_and_was_skipped_skips_whatever_the_stage_runs_on() {
    let play = Play::started(vec![
        skipped(stage("a", &[])),
        must(stage("success", &["a"])),
        must(on(RunOn::Failure, stage("failure", &["a"]))),
        must(on(RunOn::Always, stage("always", &["a"]))),
        on(RunOn::Always, stage("free", &["a"])),
    ]);
    assert_eq!(
        play.verdicts(&["success", "failure", "always", "free"]),
        "skipped: `a` was skipped · skipped: nothing failed · skipped: `a` was skipped · runs"
    );
}

#[test]
fn when_is_applied_after_run_on() {
    let stages = || {
        vec![
            stage("a", &[]),
            skipped(stage("success", &["a"])),
            skipped(on(RunOn::Failure, stage("failure", &["a"]))),
            skipped(on(RunOn::Always, stage("always", &["a"]))),
        ]
    };
    let verdicts = |result| {
        let mut play = Play::started(stages());
        play.finish("a", result);
        play.verdicts(&["success", "failure", "always"])
    };
    let own = "skipped: branch is not `main`";
    assert_eq!(verdicts(StageResult::Passed), format!("{own} · skipped: nothing failed · {own}"));
    assert_eq!(verdicts(StageResult::Failed), format!("blocked: `a` failed · {own} · {own}"));
}

#[test]
fn a_need_on_a_stage_with_a_matrix_is_a_need_on_every_cell() {
    let cells = || ["test[os=x]", "test[os=y]", "test[os=z]"].map(|name| cell("test", name));
    let below = || [stage("pack", &["test"]), must(stage("publish", &["test"]))];
    let mut play = Play::started([cells().as_slice(), below().as_slice()].concat());
    play.finish("test[os=y]", StageResult::Passed);
    play.finish("test[os=x]", StageResult::Passed);
    assert_eq!(play.running(), ["test[os=z]"]);
    play.finish("test[os=z]", StageResult::Failed);
    assert_eq!(
        play.verdicts(&["pack", "publish"]),
        "blocked: `test[os=z]` failed · blocked: `test[os=z]` failed"
    );

    let mut stages = [cells().as_slice(), below().as_slice()].concat();
    stages[1] = skipped(stages[1].clone());
    let mut play = Play::started(stages);
    play.finish("test[os=x]", StageResult::Passed);
    play.finish("test[os=z]", StageResult::Passed);
    assert_eq!(play.verdicts(&["pack", "publish"]), "runs · skipped: `test[os=y]` was skipped");
}

#[test]
fn an_allowed_failure_is_a_warning_and_what_needs_it_runs() {
    use AllowFailure::{Any, ExitCodes};
    use StageResult::{Cancelled, Failed, InfraError, ResourceLimit, TimedOut};
    let ends = |allowed: AllowFailure, result: StageResult, exit: Option<i64>| {
        let mut play = Play::started(vec![allowing(allowed, stage("a", &[])), stage("b", &["a"])]);
        play.finish_with("a", result, exit);
        play.state.result_of("a").unwrap().name()
    };
    for (allowed, result, exit, end) in [
        (Any, Failed, Some(1), "warning"),
        (Any, Failed, None, "warning"),
        (Any, TimedOut, Some(143), "warning"),
        (Any, ResourceLimit, Some(137), "warning"),
        (Any, InfraError, None, "infra-error"),
        (Any, Cancelled, None, "cancelled"),
        (ExitCodes(vec![1, 2]), Failed, Some(2), "warning"),
        (ExitCodes(vec![1, 2]), Failed, Some(3), "failed"),
        (ExitCodes(vec![1, 2]), Failed, None, "failed"),
        (ExitCodes(vec![137]), ResourceLimit, Some(137), "warning"),
        // It was us who ended it: the command did not choose this exit.
        (ExitCodes(vec![143]), TimedOut, Some(143), "timed-out"),
        (ExitCodes(vec![1]), InfraError, Some(1), "infra-error"),
    ] {
        assert_eq!(ends(allowed.clone(), result, exit), end, "{allowed:?} {result} {exit:?}");
    }
    let mut play = Play::started(vec![allowing(Any, stage("a", &[])), stage("b", &["a"])]);
    play.finish("a", StageResult::Failed);
    play.finish("b", StageResult::Passed);
    assert_eq!(play.told(), "a warning · b passed · run warning");
}

#[test]
fn what_cleans_up_runs_after_the_cancelled_stages_have_ended() {
    let mut play = Play::started(vec![
        stage("start", &[]),
        stage("test", &["start"]),
        on(RunOn::Failure, stage("report", &["test"])),
        on(RunOn::Always, stage("teardown", &["test"])),
        stage("after", &["teardown"]),
    ]);
    play.cancel();
    assert_eq!(play.told(), "test cancelled · report cancelled · after cancelled");
    assert_eq!(play.running(), ["start"], "`teardown` waits for what it cleans up after");
    play.finish("start", StageResult::Cancelled);
    assert_eq!(play.running(), ["teardown"]);
    play.finish("teardown", StageResult::Passed);
    assert_eq!(
        play.told(),
        "test cancelled · report cancelled · after cancelled · start cancelled · \
         teardown passed · run cancelled"
    );
}

#[test]
fn what_cleans_up_already_is_outside_of_what_is_cancelled() {
    let mut play = Play::started(vec![
        stage("a", &[]),
        on(RunOn::Always, stage("teardown", &[])),
        on(RunOn::Always, stage("last", &["teardown"])),
    ]);
    play.cancel();
    let stops = |play: &Play| {
        let stops = play.effects.iter().filter(|effect| matches!(effect, Effect::Stop { .. }));
        stops.cloned().collect::<Vec<_>>()
    };
    assert_eq!(stops(&play), [Effect::Stop { index: 0, overdue: None }]);
    // A second interrupt is for everything.
    play.cancel();
    assert_eq!(
        stops(&play),
        [
            Effect::Stop { index: 0, overdue: None },
            Effect::Stop { index: 0, overdue: None },
            Effect::Stop { index: 1, overdue: None }
        ]
    );
    play.finish("a", StageResult::Cancelled);
    play.finish("teardown", StageResult::Cancelled);
    assert_eq!(play.told(), "last cancelled · a cancelled · teardown cancelled · run cancelled");
}

#[test]
fn cleaning_up_has_two_minutes_from_the_end_of_what_was_cancelled() {
    let stages = || {
        vec![
            stage("a", &[]),
            on(RunOn::Always, stage("first", &["a"])),
            on(RunOn::Always, stage("second", &["first"])),
        ]
    };
    let mut play = Play::started(stages());
    play.cancel();
    play.wait(600);
    play.finish("a", StageResult::Cancelled);
    play.wait(100);
    play.finish("first", StageResult::Passed);
    assert_eq!(play.running(), ["second"], "the way back of `a` may take as long as it needs");

    let mut play = Play::started(stages());
    play.cancel();
    play.finish("a", StageResult::Cancelled);
    play.wait(121);
    play.finish("first", StageResult::Cancelled);
    assert_eq!(play.told(), "a cancelled · first cancelled · second cancelled · run cancelled");
    let reason = |stage: &str| play.state.stage(stage).unwrap().reason.clone().unwrap();
    assert_eq!(reason("first"), "not done within 2 minutes after the cancellation");
    assert_eq!(reason("second"), "not begun within 2 minutes after the cancellation");
}

#[test]
fn a_run_that_was_cancelled_before_anything_began_has_nothing_to_clean_up() {
    let stages = vec![stage("a", &[]), on(RunOn::Always, stage("teardown", &["a"]))];
    let mut play = Play::new(stages, 4, SideEffects::Allowed);
    play.cancel();
    play.start();
    assert_eq!(play.told(), "a cancelled · teardown cancelled · run cancelled");
}

#[path = "decide_model.rs"]
mod model;
